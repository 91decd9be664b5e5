r"""What a slot is and what may become of it: the values of the pure slot machine.

Theory
------
A *slot* is room for one connection at the address. It is taken before the TCP connect and is free
again only after the connection is closed **and** the server has had time to notice::

    FREE -> OPENING -> OPEN -> CLOSING -> SETTLING -> FREE
                 \__________________________/   (refused or failed: OPENING -> SETTLING)
                  \______________________________/  (no permit from the limiter: OPENING -> FREE)

A slot that is not FREE is in ``Ledger.slots``; a free one is only a number, the difference to
the effective cap. A slot has one or more *places*, one for each borrower that its session can serve
at a time. ``place.owner`` is the one truth about who has what: None, the :class:`Waiter` that it
was handed to, or the :class:`Owner` (a lease) that accepted it. It is changed by one store, and all
counts are derived. "Idle" and "leased" are therefore not states of a slot but what its owners say.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Any, Protocol

from ftppool.errors import FTPPoolError
from ftppool.typed import override

__all__ = ["TRANSITIONS", "Event", "Owner", "Place", "Slot", "State", "Tenant", "Totals", "Waiter"]


class State(Enum):
    """What a slot is doing."""

    FREE = "free"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    SETTLING = "settling"


class Event(Enum):
    """What moves a slot to another state."""

    OPEN = "open"
    OPENED = "opened"
    OPEN_FAILED = "open failed"
    DENIED = "denied"
    CLOSE = "close"
    CLOSED = "closed"
    SETTLED = "settled"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.FREE, Event.OPEN): State.OPENING,
    (State.OPENING, Event.OPENED): State.OPEN,
    (State.OPENING, Event.OPEN_FAILED): State.SETTLING,
    (State.OPENING, Event.DENIED): State.FREE,
    (State.OPEN, Event.CLOSE): State.CLOSING,
    (State.CLOSING, Event.CLOSED): State.SETTLING,
    (State.SETTLING, Event.SETTLED): State.FREE,
}


class Owner(Protocol):
    """Whoever holds a place; `thread` tells borrowers apart when a deadlock is looked for."""

    @property
    def thread(self) -> Hashable:
        """The identity under which this owner would wait for another place."""


class Totals:
    """What happened to one pool at this address since it came; see PoolStats for the fields."""

    opened: int = 0
    closed: int = 0
    quits: int = 0
    cut: int = 0
    refused: int = 0
    connect_failed: int = 0
    lost: int = 0
    acquired: int = 0
    reused: int = 0
    queued: int = 0
    acquire_timeouts: int = 0
    wait_seconds: float = 0.0
    wait_max: float = 0.0
    returned: int = 0
    discarded: int = 0
    use_seconds: float = 0.0
    open_seconds: float = 0.0
    leaked: int = 0


class Tenant:
    """One pool's terms at this address. All times are seconds.

    Attributes:
        cap: The pool's ``max_per_ip``.
        user: Who logs in: several pools may do so as the same.
        places: Borrowers that one connection of it can serve at a time.
        max_idle: How long an unused session is kept.
        learned: What refusals that spoke of this user taught, or None.
        learned_from: The words of the last of them.
        probe_at: When one connection more than that may be tried.
        not_before: Until when this pool opens none, while others may.
        generation: Sessions of an older generation end as soon as nobody uses them.
        proven: True once these credentials have logged in. Until then one connection at a time may
            try them, so that a wrong password is not tried several times.
        holds: True if its connections ask before they log in: until the credentials are proven
            several may be opened as far as that, else only one.
        rejected: True once they were tried in vain and until they are proven.
        closed: True once the pool was closed.
        totals: What happened to it so far.
    """

    learned: int | None = None
    learned_from: str = ""
    probe_at: float = float("inf")
    not_before: float = 0.0
    rejected: bool = False

    def __init__(
        self,
        *,
        cap: int,
        user: str = "",
        places: int = 1,
        max_idle: float = 30.0,
        proven: bool = False,
        holds: bool = False,
    ) -> None:
        self.cap: int = cap
        self.user: str = user
        self.places: int = places
        self.max_idle: float = max_idle
        self.generation: int = 0
        self.closed: bool = False
        self.proven: bool = proven
        self.holds: bool = holds
        self.totals: Totals = Totals()

    def same_user(self, other: Tenant) -> bool:
        """True if the server cannot tell their connections apart."""
        return self is other or (self.user != "" and self.user == other.user)


class Waiter:
    """A borrower in the queue: served when `place` or `error` is set.

    Attributes:
        threads: The thread that waits, and behind it the one on whose behalf it works, if any (the
            caller of a batch waits as well while its workers do).
    """

    alive: bool = True
    place: Place | None = None
    error: FTPPoolError | None = None

    def __init__(self, tenant: Tenant, threads: tuple[Hashable, ...], since: float) -> None:
        self.tenant: Tenant = tenant
        self.threads: tuple[Hashable, ...] = threads
        self.since: float = since

    @property
    def served(self) -> bool:
        """True once there is something to wake up for."""
        return self.place is not None or self.error is not None

    def ring(self) -> None:
        """Called when it is served: who sleeps meanwhile wakes up."""


class Place:
    """What one borrower uses of a session."""

    def __init__(self, slot: Slot) -> None:
        self.slot: Slot = slot
        self.owner: Waiter | Owner | None = None


class Slot:
    """Room for one connection, from before its connect until the server has forgotten it."""

    def __init__(
        self, tenant: Tenant, generation: int, *, state: State = State.FREE, claimed: bool = False
    ) -> None:
        self.tenant: Tenant = tenant
        self.generation: int = generation
        self.state: State = state
        self.claimed: bool = claimed
        self.greeted: bool = False
        self.logging_in: bool = False
        self.trying: bool = False
        self.doomed: bool = False
        self.session: Any = None
        self.used: bool = False
        self.last_used: float = 0.0
        self.expires: float = float("inf")
        self.settled_at: float = 0.0
        self.places: list[Place] = []

    def move(self, event: Event) -> None:
        """Change the state as the table says; anything else is a bug of ours."""
        self.state = TRANSITIONS[self.state, event]
        self.claimed = False

    @property
    def idle(self) -> bool:
        """True if the session is open and nobody has a place of it."""
        return self.state is State.OPEN and all(place.owner is None for place in self.places)

    def fit(self, now: float) -> bool:
        """True if the session may be lent (again): nothing wants its end."""
        tenant = self.tenant
        return not (
            self.doomed
            or tenant.closed
            or self.generation != tenant.generation
            or now >= self.expires
        )

    @property
    def connected(self) -> bool:
        """True if the server counts, or may still count, a connection for this slot."""
        return self.greeted or bool(self.places)

    def settled(self, now: float) -> bool:
        """True if the server has forgotten the connection, even if nobody has looked since."""
        return self.state is State.SETTLING and self.settled_at <= now

    @override
    def __repr__(self) -> str:
        owners = [type(place.owner).__name__ for place in self.places if place.owner is not None]
        return f"<Slot {self.state.value}{' doomed' if self.doomed else ''} {owners}>"
