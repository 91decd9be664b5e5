"""Held logins: connections opened up to the login wait while the first one tries the credentials.

The rules are here; the threads of those that wait do so in :mod:`ftppool.turns`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftppool.slots import Slot, State, Tenant

if TYPE_CHECKING:
    from ftppool.ledger import Ledger

__all__ = ["besides", "end_those_behind", "may_log_in"]


def may_log_in(ledger: Ledger, slot: Slot) -> bool | None:
    """Tell if a connection that was greeted may log in now.

    Until credentials are proven one connection at a time tries them: some servers lock an
    account after a few wrong passwords. The others wait, and if it fails none of them tries.
    After that they are tried only for who still waits: not once more for the workers of a
    batch that ends because of them.

    Returns:
        False if it is to end without a login; None if it is to ask again later.
    """
    tenant = slot.tenant
    if not tenant.proven:
        if slot.doomed or tenant.closed or (tenant.rejected and not _waits(ledger, tenant)):
            return False
        if any(
            other.state is State.OPENING
            and not other.tenant.proven
            and (other.logging_in or not other.tenant.holds)
            for other in ledger.slots
            if other is not slot
        ):
            return None
    slot.logging_in = True
    return True


def _waits(ledger: Ledger, tenant: Tenant) -> bool:
    return any(w.tenant is tenant and w.alive and not w.served for w in ledger.waiters)


def end_those_behind(ledger: Ledger, slot: Slot) -> None:
    """Let none try the credentials that wait for this login, which failed, or are about to."""
    if slot.logging_in and not slot.tenant.proven:
        for other in ledger.slots:
            if other.tenant is slot.tenant and other.state is State.OPENING:
                other.doomed = True


def besides(ledger: Ledger, slot: Slot) -> list[Slot]:
    """Our other connections, as far as the server counts them against this one.

    At a login those do not count that have not come as far (ProFTPD: authenticated clients).
    """
    return [
        other
        for other in ledger.slots
        if other is not slot
        and other.connected
        and not (slot.logging_in and other.state is State.OPENING and not other.logging_in)
    ]
