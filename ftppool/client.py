"""A pool's terms at one address, and what it would say about itself."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING
from weakref import ReferenceType

from ftppool.bell import Bell
from ftppool.drivers.base import Driver
from ftppool.leaks import Stack, tell_leak
from ftppool.lease import Grip
from ftppool.ledger import Ledger
from ftppool.limits.base import Limiter
from ftppool.logs import log
from ftppool.retry import RetryPolicy
from ftppool.slots import State, Tenant, Totals
from ftppool.stats import Holder, PoolStats
from ftppool.words import legible

if TYPE_CHECKING:
    from ftppool.events import Event

__all__ = ["Cancel", "Cancelled", "Client", "Estate", "holders_of", "snapshot"]


@dataclass(eq=False, slots=True, kw_only=True)
class Estate:
    """What outlives a pool that is lost: its sessions are still to be ended, and somebody told.

    Attributes:
        name: The pool's name.
        stack: Where it was made.
        close_timeout: Seconds for the end of all its sessions.
        leak_warn_after: Seconds after which a lease that is out is suspected, or None.
        on_event: The listener.
        pool: A weak reference to the pool.
        settled: True once the pool was closed, or its loss was told.
    """

    name: str
    stack: Stack
    close_timeout: float
    leak_warn_after: float | None
    on_event: Callable[[Event], object] | None
    pool: ReferenceType[object]
    settled: bool = False

    @property
    def listening(self) -> bool:
        """True if somebody wants to know of what happens all the time, at every lease and file."""
        logged = log.isEnabledFor(logging.DEBUG) and log.hasHandlers()
        return self.on_event is not None or logged

    @property
    def heard(self) -> bool:
        """True if anybody takes events at all; then they can be made in any thread.

        They are imported only now, in the thread of who uses the pool: a fork while another thread
        imports leaves the child with a module that it can never import.
        """
        heard = self.on_event is not None or log.hasHandlers()
        if heard:
            importlib.import_module("ftppool.eventlog")
        return heard

    def emit(self, event: Event) -> None:
        """Tell the log and the listener, whose errors are logged and go no further."""
        from ftppool.eventlog import log_event

        log_event(event)
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception:  # noqa: BLE001 - whatever it is, it is the listener's
            log.exception("ftppool: on_event failed for %s", type(event).__name__, pool=self.name)

    def lost(self) -> bool:
        """True if nobody has the pool any more."""
        return self.pool() is None

    def tell_loss(self, how: str) -> None:
        """Say once that the pool was never closed."""
        if not self.settled:
            self.settled = True
            tell_leak(
                f"the pool {self.name} {how}, and its sessions were ended; use 'with', or close() "
                "it",
                self.stack,
                pool=self.name,
            )


@dataclass(eq=False, slots=True, kw_only=True)
class Client(Tenant):
    """A pool's terms at this address, with what is needed to make its sessions.

    Nothing here may lead back to the pool: it is told when nobody else has it any more.

    Attributes:
        alternatives: True while the server's name has other addresses that were not tried yet; a
            failed connect is then not repeated here.
        listening: What :attr:`Estate.listening` was when last asked: each lease asks this one.
        heard: The same of :attr:`Estate.heard`.
        broken_off: True once its opens have no more time: none of them may go on.
        done: Rung whenever something of this pool may have ended.
        relieve: Called, without any lock, by a borrower who has waited for a while.
    """

    estate: Estate
    driver: Driver
    limiter: Limiter
    policy: RetryPolicy
    max_lifetime: float
    check_after_idle: float
    alternatives: bool = False
    listening: bool = False
    heard: bool = False
    broken_off: bool = False
    done: Bell = field(default_factory=Bell)
    relieve: Callable[[], object] = lambda: None

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.estate.name

    def emit(self, event: Event) -> None:
        """Tell the pool's listener."""
        self.estate.emit(event)


_TOTALS = tuple(field.name for field in fields(Totals))


class Cancelled(Exception):
    """Waiting was given up by another thread."""


class Cancel:
    """Lets one thread end the waiting of others."""

    def __init__(self) -> None:
        self.cancelled: bool = False
        self.bells: set[Bell] = set()

    def cancel(self) -> None:
        """End all waiting now, and any that begins later."""
        self.cancelled = True
        for bell in list(self.bells):
            bell.ring()


def snapshot(ledger: Ledger, client: Client, address: str = "") -> PoolStats:
    """Count what one pool has and did. The caller holds the gate's lock."""
    mine = [slot for slot in ledger.slots if slot.tenant is client]
    states = [slot.state for slot in mine]
    opened = [slot for slot in mine if slot.state is State.OPEN]
    owners = [place.owner for slot in opened for place in slot.places]
    waiting = [waiter.tenant for waiter in ledger.waiters]
    learned, words = ledger.learned, ledger.learned_from
    if client.learned is not None and (learned is None or client.learned < learned):
        learned, words = client.learned, client.learned_from
    return PoolStats(
        cap=client.cap,
        learned=learned,
        learned_from=legible(words),
        effective=max(1, min(client.cap, learned or client.cap)),
        open=len(opened),
        idle=[slot.idle for slot in opened].count(True),
        leased=[type(owner) for owner in owners].count(Grip),
        opening=states.count(State.OPENING),
        closing=states.count(State.CLOSING),
        settling=states.count(State.SETTLING),
        waiting=waiting.count(client),
        address=address,
        **{name: getattr(client.totals, name) for name in _TOTALS},
    )


def holders_of(ledger: Ledger, now: float) -> tuple[Holder, ...]:
    """Name the borrowers of all sessions at an address. The caller holds the gate's lock."""
    return tuple(
        place.owner.holder(now)
        for slot in ledger.slots
        for place in slot.places
        if isinstance(place.owner, Grip)
    )
