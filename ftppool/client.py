"""A pool's terms at one address, and a snapshot of what it has there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ftppool.bell import Bell
from ftppool.drivers.base import Driver
from ftppool.estate import Estate
from ftppool.lease import Grip
from ftppool.ledger import Ledger
from ftppool.limits.base import Limiter
from ftppool.retry import RetryPolicy
from ftppool.slots import State, Tenant, Totals
from ftppool.stats import Holder, PoolStats
from ftppool.words import legible

if TYPE_CHECKING:
    from ftppool.events import Event

__all__ = ["Cancel", "Cancelled", "Client", "holders_of", "snapshot"]


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

    listening: bool = False
    heard: bool = False
    broken_off: bool = False

    def __init__(
        self,
        *,
        cap: int,
        user: str,
        places: int = 1,
        max_idle: float,
        holds: bool = False,
        estate: Estate,
        driver: Driver,
        limiter: Limiter,
        policy: RetryPolicy,
        max_lifetime: float,
        check_after_idle: float,
        alternatives: bool = False,
        relieve: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(cap=cap, user=user, places=places, max_idle=max_idle, holds=holds)
        self.estate: Estate = estate
        self.driver: Driver = driver
        self.limiter: Limiter = limiter
        self.policy: RetryPolicy = policy
        self.max_lifetime: float = max_lifetime
        self.check_after_idle: float = check_after_idle
        self.alternatives: bool = alternatives
        self.relieve: Callable[[], object] = relieve
        self.done: Bell = Bell()

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.estate.name

    def emit(self, event: Event) -> None:
        """Tell the pool's listener."""
        self.estate.emit(event)


_TOTALS = tuple(Totals.__annotations__)


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
    now = time.monotonic()
    mine = [slot for slot in ledger.slots if slot.tenant is client and not slot.settled(now)]
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
