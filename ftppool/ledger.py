"""The pure slot machine of one server address: no lock, thread, socket or clock call.

The theory of a slot's life stands above :mod:`ftppool.slots`. Here are the rules.

Two kinds of callers exist. The gate's own threads report what became of connections
(:meth:`Ledger.opened`, :meth:`Ledger.closed` …); no signal handler ever runs there. Borrowers'
threads call :meth:`Ledger.wait`, :meth:`Ledger.accept`, :meth:`Ledger.release` … and may be torn
out of any line by a KeyboardInterrupt. So these publish in the new place before they forget the
old one, and :meth:`Ledger.pump` is idempotent: it repairs and assigns everything from
``place.owner`` and ``waiter.alive``, and every event calls it. Opening and closing is not an
action that is returned (an interrupt would lose it) but a state that :meth:`Ledger.claim_jobs`
finds.

What happens for each file need not be pumped: :meth:`Ledger.take`, and what :meth:`Ledger.wait` and
:meth:`Ledger.release` do where the ledger can tell that a pump would find nothing else to do.

The caller holds the gate's lock around every call and passes ``now`` in seconds of a monotonic
clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ftppool.errors import FTPPoolError, PoolClosed
from ftppool.logins import besides, end_those_behind, may_log_in
from ftppool.retiring import make_room, retire, retire_unused
from ftppool.serving import NOBODY, Serving
from ftppool.settling import FIRST_SETTLE, begin_settling, end_settling, unnoticed
from ftppool.slots import Event, Owner, Place, Slot, State, Tenant, Waiter

__all__ = ["Ledger"]

BUDGET = 30
"""Connects that may end without a login in ``BUDGET_TIME``; more would look like an attack."""
BUDGET_TIME = 60.0
"""Seconds."""
OPEN = State.OPEN
"""A look into an Enum takes 0.1 µs in Python 3.11: too long where it is done for each file."""


class Ledger:
    """Slots, waiters, back-off and learned cap of one address.

    Attributes:
        busy: True if a pump found work for the dispatcher, until that calls :meth:`claim_jobs`.
    """

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.waiters: dict[Waiter, None] = {}
        self.freed: list[Slot] = []
        self.learned: int | None = None
        self.learned_from: str = ""
        self.not_before: float = 0.0
        self.failures: int = 0
        self.last_failure: FTPPoolError | None = None
        self.failed_at: float = 0.0
        self.settle: float = FIRST_SETTLE
        self.owed: int = 0
        self.busy: bool = False
        # What the last pump found: pools of which somebody waits whom nothing can help, and if a
        # place that comes back may concern more than the next in the queue: there are sessions
        # beyond the cap, or room is kept for one who may not open yet.
        self._stuck: frozenset[Tenant] = NOBODY
        self._unsettled: bool = True
        self.probe_at: float = float("inf")
        self.last_fruitless: FTPPoolError | None = None
        self._fruitless: deque[float] = deque(maxlen=BUDGET)
        self.ended: deque[tuple[float, Tenant]] = deque(maxlen=64)

    # -- what borrowers do (any line may be the last one) ------------------------------------------

    def take(self, tenant: Tenant, owner: Owner, now: float) -> Place | None:
        """Lend a session that nobody uses, if nobody waits either: :meth:`wait` and ``accept``."""
        if self.waiters:
            return None
        place = self.free_place(tenant, now)
        if place is not None:
            place.owner = owner
            tenant.totals.acquired += 1
            tenant.totals.reused += place.slot.used
            place.slot.used = True
        return place

    def queue_again(
        self, waiter: Waiter, place: Place, owner: Owner, now: float, *, refused: bool = False
    ) -> None:
        """What :meth:`take` gave proved dead: end it, and wait; who came meanwhile comes after.

        With `refused` only the place is gone, see :meth:`place_refused`.
        """
        self.waiters = {waiter: None, **self.waiters}
        if refused:
            self.place_refused(place, owner, now)
        elif not self.release(place, owner, now, doom=True):
            self.pump(now)  # close() took it away meanwhile

    def wait(self, waiter: Waiter, now: float) -> None:
        """Put a borrower at the end of the queue, and serve it if that can be done at once."""
        if waiter.tenant.closed:
            waiter.error = PoolClosed("the pool is closed; make a new one")
            return
        self.waiters[waiter] = None
        if waiter.tenant not in self._stuck:  # else he is behind one whom nothing could help
            self.pump(now)

    def cancel(self, waiter: Waiter, now: float) -> None:
        """Take a borrower out of the queue; what it was given goes to the next one."""
        waiter.alive = False
        self.pump(now)

    def accept(self, waiter: Waiter, owner: Owner, now: float) -> Place:
        """Turn what the waiter was given into what `owner` holds."""
        place = waiter.place
        assert place is not None, "bug: accepted what was not given"
        assert place.owner is waiter, "bug: accepted what another has"
        place.owner = owner
        waiter.alive = False
        self.waiters.pop(waiter, None)
        totals, waited = waiter.tenant.totals, now - waiter.since
        totals.acquired += 1
        totals.reused += place.slot.used
        totals.wait_seconds += waited
        totals.wait_max = max(totals.wait_max, waited)
        place.slot.used = True
        return place

    def decline(self, waiter: Waiter, now: float) -> None:
        """The session that the waiter was given proved dead: end it, keep the turn."""
        place = waiter.place
        if place is not None and place.owner is waiter:  # else it was revoked meanwhile
            place.slot.doomed = True
            waiter.place = None
            place.owner = None
        self.pump(now)

    def place_refused(self, place: Place, owner: Waiter | Owner, now: float) -> None:
        """The server serves fewer borrowers on one connection: lower the number."""
        if place.owner is owner:  # else it was revoked meanwhile
            slot = place.slot
            if isinstance(owner, Waiter):
                owner.place = None  # it keeps its turn
            if len(slot.places) > 1:
                slot.places.remove(place)
                slot.tenant.places = min(slot.tenant.places, len(slot.places))
            else:
                slot.doomed = True  # not one: the session is of no use
            place.owner = None
        self.pump(now)

    def release(self, place: Place, owner: Owner, now: float, *, doom: bool = False) -> bool:
        """Give a place back; with `doom` its session ends when its last borrower has gone.

        Returns:
            False if `owner` did not hold the place (any more); nothing is changed then.
        """
        if place.owner is not owner:
            return False
        slot = place.slot
        if doom or self.owed > 0 or (slot.tenant.max_idle <= 0 and _alone(place)):
            self.owed = max(0, self.owed - (not slot.doomed))
            slot.doomed = True
        slot.last_used = now
        place.owner = None
        if self._unsettled or not slot.fit(now) or not self._hand_on(place):
            self.pump(now)
        return True

    def _hand_on(self, place: Place) -> bool:
        """Give a place that came back to the next in the queue; False if he has no use for it."""
        tenant = place.slot.tenant
        for waiter in self.waiters:
            if not waiter.served:
                if waiter.tenant is not tenant or not waiter.alive:
                    return False
                self.give(place, waiter)
                return True
        self._stuck = NOBODY
        return True

    @staticmethod
    def give(place: Place, waiter: Waiter) -> None:
        """Hand a place to a waiter; he has it when he accepts."""
        place.owner = waiter
        waiter.place = place
        waiter.ring()

    # -- what the gate's threads report ------------------------------------------------------------

    def claim_jobs(self) -> Iterator[Slot]:
        """Hand out each slot that is to be opened or closed, once."""
        self.busy = False
        for slot in self.slots:
            if slot.state in (State.OPENING, State.CLOSING) and not slot.claimed:
                slot.claimed = True
                yield slot

    def greeted(self, slot: Slot, now: float) -> None:
        """The server has said 220: from now on it counts this connection."""
        slot.greeted = True
        self.pump(now)

    def may_log_in(self, slot: Slot) -> bool | None:
        """Tell if a connection that was greeted may log in now, see :mod:`ftppool.logins`.

        Returns:
            False if it is to end without a login; None if it is to ask again later.
        """
        return may_log_in(self, slot)

    def withdrawn(self, slot: Slot, now: float) -> None:
        """A connection was closed that was not to log in."""
        self._fruitless.append(now)
        begin_settling(self, slot, Event.OPEN_FAILED, now)
        self.pump(now)

    def opened(self, slot: Slot, session: object, now: float, *, expires: float) -> None:
        """A session is logged in; it may be lent until `expires`."""
        slot.session = session
        slot.places = [Place(slot) for _ in range(slot.tenant.places)]
        slot.last_used = now
        slot.expires = expires
        slot.move(Event.OPENED)
        self.failures = 0
        self.last_failure = None
        slot.tenant.proven, slot.tenant.rejected = True, False
        slot.tenant.totals.opened += 1
        self.pump(now)

    def open_failed(
        self,
        slot: Slot,
        error: FTPPoolError,
        now: float,
        *,
        delay: float,
        for_good: bool,
        connected: bool = True,
    ) -> None:
        """No session came of it.

        Args:
            error: Goes to the waiters of this slot's pool if `for_good`, else is only remembered.
            delay: Seconds before the next connection to this address may be tried.
            for_good: True if another try would end the same way.
            connected: False if the server was not even asked.
        """
        self.not_before = max(self.not_before, now + delay)
        if connected:
            self._fruitless.append(now)
            self.last_fruitless = error
        end_those_behind(self, slot)
        slot.greeted = False
        begin_settling(self, slot, Event.OPEN_FAILED, now)
        if for_good:
            slot.tenant.rejected |= slot.logging_in and not slot.tenant.proven
            self.failures = 0
            self._fail_waiters(slot.tenant, error)
        else:
            self.failures += 1
            self.last_failure, self.failed_at = error, now
        self.pump(now)

    def refused(
        self,
        slot: Slot,
        now: float,
        *,
        hint: int | None,
        of_user: bool,
        of_server: bool,
        elsewhere: int = 0,
        words: str = "",
    ) -> int | None:
        """Learn from a refusal: call before :meth:`open_failed`.

        Args:
            hint: The number in the server's sentence, if it speaks of this client.
            of_user: True if the words are about this user, not about the address.
            of_server: True if they are about all clients together, which teaches nothing.
            elsewhere: Connections of other processes to this address (of this user, if the words
                are about him), as far as known.
            words: What the server said.

        Returns:
            How many connections the server allows, of all or of this user; None: nothing learned.
        """
        slot.doomed = True  # no session will come of it: none of ours has to make room for it
        others = besides(self, slot)
        ended = unnoticed(self, others, now)
        tenants = [other.tenant for other in others] + ended
        if of_user:
            tenants = [tenant for tenant in tenants if tenant.same_user(slot.tenant)]
        connections = len(tenants) + elsewhere
        if of_server or not connections:
            return None  # somebody else holds the places: nothing to learn
        who = slot.tenant if of_user else self
        limit = max(1, min(connections, hint or connections, who.learned or connections))
        who.learned, who.learned_from = limit, words
        who.probe_at = float("inf")  # the gate will say when: see `taught`
        return limit

    def taught(
        self,
        tenant: Tenant | None,
        limit: int | None,
        probe_at: float,
        now: float,
        *,
        words: str = "",
    ) -> None:
        """Take over a lesson that is known elsewhere, about one pool's user or about all.

        Args:
            limit: Connections that the server allows; None: no such lesson.
            probe_at: From when on one more may be tried.
            words: What the server said.
        """
        who = self if tenant is None else tenant
        who.learned, who.learned_from, who.probe_at = limit, words, probe_at
        self.pump(now)

    def denied(self, slot: Slot, now: float, *, delay: float, of_user: bool = False) -> None:
        """The limiter had no permit, for this user or for anybody; nothing was connected."""
        who = slot.tenant if of_user else self
        who.not_before = max(who.not_before, now + delay)
        slot.move(Event.DENIED)
        self.slots.remove(slot)
        self.pump(now)

    def closed(self, slot: Slot, now: float, *, politely: bool) -> None:
        """The connection is closed; the server may need a moment to notice."""
        slot.session = None
        begin_settling(self, slot, Event.CLOSED, now)
        totals = slot.tenant.totals
        totals.closed += 1
        totals.quits += politely
        totals.cut += not politely
        self.pump(now)

    def revoke(self, slot: Slot, now: float) -> None:
        """Take a session away from its borrowers, who did not give it back in time."""
        slot.doomed = True
        for place in slot.places:
            place.owner = None
        self.pump(now)

    # -- what the pool's owner does ----------------------------------------------------------------

    def expire(self, tenant: Tenant, now: float) -> None:
        """End all sessions that a pool has now as soon as nobody uses them."""
        tenant.generation += 1
        self.pump(now)

    def shut(self, tenant: Tenant, now: float) -> None:
        """Close a pool: its waiters fail now, its sessions end when they are given back."""
        tenant.closed = True
        self.pump(now)

    # -- what other processes need -----------------------------------------------------------------

    def make_room(self, with_idle: int, in_use: int, now: float) -> None:
        """Give sessions up to other processes; called again and again while they wait.

        Args:
            with_idle: Idle sessions end now while there are more sessions than that.
            in_use: While there are more than that, one ends when its borrower gives it back.
        """
        make_room(self, with_idle, in_use)
        self.pump(now)

    # -- the rules ---------------------------------------------------------------------------------

    @property
    def cap(self) -> int | None:
        """The smallest ``max_per_ip`` of the pools that hold or wait; None if none does."""
        caps = [slot.tenant.cap for slot in self.slots]
        caps += [
            waiter.tenant.cap for waiter in self.waiters if waiter.alive and waiter.error is None
        ]
        return min(caps, default=None)

    @property
    def effective(self) -> int:
        """How many slots may be taken now: the cap, lowered by what refusals taught, at least 1."""
        limits = [limit for limit in (self.cap, self.learned) if limit is not None]
        return max(1, min(limits, default=1))

    def pump(self, now: float) -> list[Waiter]:
        """Repair and assign everything; idempotent.

        Returns:
            The waiters that have something to wake up for.
        """
        self._stuck, self._unsettled = NOBODY, True
        self._drop_the_dead()
        end_settling(self, now)
        unsettled = retire(self, now) > 0
        if self.waiters:
            serving = Serving(self, now)
            serving.run()
            self._stuck = frozenset(serving.stuck)
            unsettled |= serving.kept > 0
        retire_unused(self, now)
        self._unsettled = unsettled
        self.busy = bool(self.freed) or any(
            slot.state in (State.OPENING, State.CLOSING) and not slot.claimed for slot in self.slots
        )
        return [waiter for waiter in self.waiters if waiter.served]

    def next_deadline(self, now: float) -> float | None:
        """When the next thing happens by the clock alone, in the caller's clock; None if never."""
        times = [slot.settled_at for slot in self.slots if slot.state is State.SETTLING]
        times += [
            min(slot.expires, slot.last_used + slot.tenant.max_idle)
            for slot in self.slots
            if slot.idle
        ]
        if self.waiters:
            times += [
                when
                for when in (
                    self.not_before,
                    self.probe_at,
                    self.budget_ends(),
                    *(waiter.tenant.probe_at for waiter in self.waiters),
                    *(waiter.tenant.not_before for waiter in self.waiters),
                )
                if now < when < float("inf")
            ]
        return min(times, default=None)

    def count(self, state: State, tenant: Tenant | None = None) -> int:
        """Count the slots in a state, of one pool or of all."""
        return sum(
            1
            for slot in self.slots
            if slot.state is state and (tenant is None or slot.tenant is tenant)
        )

    def _drop_the_dead(self) -> None:
        for slot in self.slots:
            for place in slot.places:
                owner = place.owner
                if isinstance(owner, Waiter):
                    if not owner.alive or owner.error is not None:
                        place.owner = None
                    elif owner.place is None:
                        self.give(place, owner)
        for waiter in [waiter for waiter in self.waiters if not waiter.alive]:
            self.waiters.pop(waiter, None)
        for waiter in self.waiters:
            if waiter.place is not None and waiter.place.owner is not waiter:
                waiter.place = None  # revoked
            if waiter.tenant.closed and not waiter.served:
                waiter.error = PoolClosed("the pool was closed while this waited for a session")
                waiter.ring()

    def room(self, now: float) -> int:
        """How many slots may be taken, with one that is to show if the server allows more."""
        cap = self.cap or 1
        if self.learned is None:
            return cap
        return min(cap, self.learned + (now >= self.probe_at))

    def free_place(self, tenant: Tenant, now: float) -> Place | None:
        """The place of a pool's session that was used last, if one is free."""
        best, latest = None, float("-inf")
        for slot in self.slots:
            if slot.last_used > latest and slot.tenant is tenant and slot.state is OPEN:
                for place in slot.places:
                    if place.owner is None:
                        if slot.fit(now):
                            best, latest = place, slot.last_used
                        break
        return best

    def at_own_limit(self, tenant: Tenant, now: float) -> bool:
        """True if a pool has as many slots as its user may have."""
        if tenant.learned is None:
            return False
        mine = sum(1 for slot in self.slots if slot.tenant.same_user(tenant))
        return mine >= tenant.learned + (now >= tenant.probe_at)

    def budget_ends(self) -> float:
        """When the next connect may be tried after many that came to nothing."""
        return self._fruitless[0] + BUDGET_TIME if len(self._fruitless) == BUDGET else 0.0

    def _fail_waiters(self, tenant: Tenant, error: FTPPoolError) -> None:
        for waiter in self.waiters:
            if waiter.tenant is tenant and not waiter.served:
                waiter.error = error
                waiter.ring()


def _alone(place: Place) -> bool:
    return all(other is place or other.owner is None for other in place.slot.places)
