"""The slot machine under every order of events, with interrupts at every line of a borrower's call.

:class:`World` plays all that is around the ledger: the gate (it claims jobs, reports what became of
them, reads the mailbox), borrowers, the pools' owners, and the server. Any call of a borrower or of
a pool's owner may be torn out of a line, as a KeyboardInterrupt does. The next event that runs to
its end must have repaired everything; then the invariants of DESIGN 11 in which the ledger has a
part are checked. Hypothesis chooses the events; a last test goes through one crowded world and
interrupts every call at every line.
"""

from __future__ import annotations

import copy
import os.path
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from math import inf
from types import FrameType
from typing import Any, ClassVar, TypeVar, cast

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import ftppool
from ftppool.deadlock import deadlocked
from ftppool.errors import AuthError, FTPPoolError, PoolClosed, ServerBusy
from ftppool.ledger import Ledger
from ftppool.settling import FIRST_SETTLE, LONGEST_SETTLE, MEMORY
from ftppool.slots import Place, Slot, State, Tenant, Waiter

T = TypeVar("T")
PACKAGE = os.path.dirname(os.path.abspath(ftppool.__file__))
THREADS = range(7)
NOTES = {"_stuck", "_unsettled", "busy"}
"""What a pump of the ledger notes for the events that need none."""
LATEST = 0.03
"""Seconds: a borrower's `now` may be that old when he has the lock at last."""


@dataclass(eq=False)
class Loan:
    """What holds a place: a lease."""

    thread: Hashable


class Interrupt:
    """Runs a call; raises a KeyboardInterrupt in it before the n-th line of ours that it reaches.

    No line of the ledger stores more than one thing that others see: lines are fine enough.
    """

    def __init__(self, line: int | None) -> None:
        self.line = line
        self.lines = 0

    def tears(self, call: Callable[[], object]) -> bool:
        """Run `call`; True if it was interrupted."""
        if self.line is None:
            call()
            return False
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._count if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _count(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self.lines += 1
            self.at_line()
        return self._count

    def at_line(self) -> None:
        if self.lines == self.line:
            raise KeyboardInterrupt


class StoreFinder(Interrupt):
    """Runs a call and finds the lines before which something was stored."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(0)
        self.ledger = ledger
        self.found = [1]
        self.state = snapshot(ledger)

    def at_line(self) -> None:
        before, self.state = self.state, snapshot(self.ledger)
        if self.state != before:
            self.found.append(self.lines)


def picked(things: list[T], pick: int) -> T:
    return things[pick % len(things)]


def snapshot(ledger: Ledger, *, notes: bool = True) -> tuple[object, ...]:
    """Everything that a pump could change, or looks at.

    The `notes` that a pump makes of whom nothing can help, and of work for the dispatcher, may be
    out of date: they need not tell of what is no more.
    """
    slots = [
        [value for name, value in vars(slot).items() if name != "places"]
        + [(place, place.owner) for place in slot.places]
        for slot in ledger.slots
    ]
    waiters = [(waiter, waiter.alive, waiter.place, waiter.error) for waiter in ledger.waiters]
    tenants = [slot.tenant for slot in ledger.slots] + [waiter.tenant for waiter in ledger.waiters]
    terms = [
        (tenant.learned, tenant.probe_at, tenant.generation, tenant.closed) for tenant in tenants
    ]
    plain = {
        name: list(value) if isinstance(value, Iterable) else value
        for name, value in vars(ledger).items()
        if notes or name not in NOTES
    }
    return slots, waiters, terms, plain


def unserved(ledger: Ledger) -> list[Waiter]:
    return [waiter for waiter in ledger.waiters if waiter.alive and not waiter.served]


def waits_for_nothing(ledger: Ledger, waiter: Waiter, now: float) -> bool:
    """True if it is never served, although all threads that do not wait give back what they hold.

    Changes the ledger: give it a copy.
    """
    for _ in range(50):
        for other in list(ledger.waiters):
            if other.served:
                ledger.cancel(other, now)
        blocked = {thread for other in unserved(ledger) for thread in other.threads}
        for slot in list(ledger.slots):
            if slot.state is State.OPENING:
                ledger.opened(slot, object(), now, expires=now + 1000)
            elif slot.state is State.CLOSING:
                ledger.closed(slot, now, politely=True)
            for place in slot.places:
                if isinstance(place.owner, Loan) and place.owner.thread not in blocked:
                    ledger.release(place, place.owner, now)
        now += 1.0
        ledger.pump(now)
        if waiter.served:
            return False
    return True


Line = int | Interrupt | None
"""Which line of a call is the last one; None: it runs to its end."""


class World:
    """All that is around a ledger. `stale`: something has changed and no pump ran to its end."""

    def __init__(self, places: int, *, holds: bool = False) -> None:
        self.places = places
        self.holds = holds
        self.ledger = Ledger()
        self.now = 1000.0
        self.seen = self.now  # what the last call took for now: no lesson came due after that
        self.stale = False
        self.interrupted = False
        self.result: object = None
        self.tenants: list[Tenant] = []
        # Borrowers: who waits, in order of arrival; whose call was torn and whose `finally` is yet
        # to come; who holds what; who looks at what he took; what finalizers have noted.
        self.queue: list[Waiter] = []
        self.torn: set[Waiter] = set()
        self.held: list[tuple[Place, Loan]] = []
        self.looking: list[tuple[Place, Loan]] = []
        self.mailbox: list[tuple[Place, Loan]] = []
        # The gate: jobs that it has claimed, and what it has of the limiter.
        self.jobs: list[Slot] = []
        self.logging_in: set[Slot] = set()
        self.permits: set[Slot] = set()
        # The server: what it counts, from when on it may forget it, and what it has seen end.
        self.server: dict[Slot, float] = {}
        self.ended: list[tuple[float, Tenant]] = []
        # What was seen after the last step.
        self.known: set[Slot] = set()
        self.given: set[tuple[Place, Waiter]] = set()
        self.allowance = 0

    def pool(self, cap: int, max_idle: float = 30.0) -> Tenant:
        self.tenants.append(
            Tenant(cap=cap, places=self.places, max_idle=max_idle, holds=self.holds)
        )
        return self.tenants[-1]

    def do(
        self,
        method: str,
        *args: object,
        line: Line = None,
        late: float = 0.0,
        pumps: bool = True,
        **keywords: object,
    ) -> bool:
        """Make one call of the ledger; False if it was torn. Then look at what it did."""

        self.seen = self.now - late

        def call() -> None:
            self.result = getattr(self.ledger, method)(*args, self.now - late, **keywords)

        # A pump for an older time leaves things to do now.
        self.stale |= late > 0
        interrupt = line if isinstance(line, Interrupt) else Interrupt(line)
        torn = interrupt.tears(call)
        self.interrupted |= torn
        if torn:
            self.stale = True
        elif pumps and not late:
            self.stale = False
        self._look_at_new_slots(complete=not torn)
        self._look_at_gifts(complete=not torn)
        self._look_at_the_server()
        return not torn

    # -- borrowers: what Gate.acquire() and Lease do -----------------------------------------------

    def free_threads(self) -> list[int]:
        busy: set[Hashable] = {waiter.threads[0] for waiter in self.queue}
        busy |= {loan.thread for _, loan in self.looking}
        return [thread for thread in THREADS if thread not in busy]

    def take(self, tenant: Tenant, *, line: Line = None, late: float = 0.0) -> None:
        """What it gives is what the queue would have given."""
        loan, alone = Loan(self.free_threads()[0]), not self.ledger.waiters
        future, ghost = copy.deepcopy((self.ledger, Waiter(tenant, (loan.thread,), self.now)))
        future.wait(ghost, self.now)
        if not self.do("take", tenant, loan, line=line, late=late, pumps=False):
            self.mailbox += [(place, loan) for place in self.places_of(loan)]
            return
        place = cast("Place | None", self.result)
        assert alone or place is None, "overtook those who wait"
        if not late and not self.stale and alone:
            gift = ghost.place and future.slots.index(ghost.place.slot)
            assert gift == (place and self.ledger.slots.index(place.slot))
        if place is not None:
            assert self.places_of(loan) == [place]
            assert place.slot.tenant is tenant
            assert place.slot.fit(self.now - late)
            self.looking.append((place, loan))

    def places_of(self, loan: Loan) -> list[Place]:
        places = [place for slot in self.ledger.slots for place in slot.places]
        return [place for place in places if place.owner is loan]

    def begin(self, place: Place, loan: Loan) -> None:
        """What he took looks alive."""
        self.looking.remove((place, loan))
        self.held.append((place, loan))

    def queue_again(self, place: Place, loan: Loan, *, line: Line = None) -> Waiter:
        """What he took proved dead. Nobody waited when he took it, so all others come after him."""
        owned, waiter = place.owner is loan, Waiter(place.slot.tenant, (loan.thread,), self.now)
        self.looking.remove((place, loan))
        self.queue.insert(0, waiter)
        if not self.do("queue_again", waiter, place, loan, line=line):
            self.torn.add(waiter)
            self.mailbox += [(place, loan) for place in self.places_of(loan)]
        elif self._is_told_of_a_deadlock(waiter):
            self.torn.add(waiter)
        assert not owned or place.slot.doomed or place.owner is loan, "a dead session may be lent"
        return waiter

    def enter(
        self, tenant: Tenant, *threads: Hashable, line: Line = None, late: float = 0.0
    ) -> Waiter:
        self.read_mailbox()
        waiter = Waiter(tenant, threads or (self.free_threads()[0],), self.now)
        self.queue.append(waiter)
        pumps = not tenant.closed and tenant not in self.ledger._stuck
        if not self.do("wait", waiter, line=line, late=late, pumps=pumps):
            self.torn.add(waiter)
        elif tenant.closed:
            assert isinstance(waiter.error, PoolClosed)
            self.queue.remove(waiter)
        elif self._is_told_of_a_deadlock(waiter):
            self.torn.add(waiter)
        return waiter

    def _is_told_of_a_deadlock(self, waiter: Waiter) -> bool:
        """What is told must come true; where a session is a place, and no more are open than may
        be, all that is true is told as soon as each is held by somebody.
        """
        told, slots = deadlocked(self.ledger, waiter, self.now), self.ledger.slots
        owners = [place.owner for slot in slots for place in slot.places]
        loans = [owner for owner in owners if isinstance(owner, Loan)]
        holds = any(loan.thread in waiter.threads for loan in loans)
        # While a probe is due there may be room for one more, or one more is open than is sure to
        # stay: a hope for the ledger, none in the future that is looked at here.
        plain = self.places == 1 and len(loans) == len(slots) <= self.allowed()
        plain = plain and self.now < self.ledger.probe_at
        # With a limit of one user, threads may wait in a ring over two pools: not all is told then.
        plain = plain and all(tenant.learned is None for tenant in self.tenants)
        if told or (holds and plain):
            future, ghost = copy.deepcopy((self.ledger, waiter))
            for who in (future, ghost.tenant):
                who.probe_at = inf  # a probe is a hope
            assert told == (holds and waits_for_nothing(future, ghost, self.now))
        return told

    def customers(self) -> list[Waiter]:
        """Who was given a place and has not looked at it yet."""
        waiting = [waiter for waiter in self.queue if waiter not in self.torn]
        return [
            waiter
            for waiter in waiting
            if waiter.error is None and waiter.place is not None and waiter.place.owner is waiter
        ]

    def accept(self, waiter: Waiter, *, line: Line = None, late: float = 0.0) -> None:
        place, loan = waiter.place, Loan(waiter.threads[0])
        assert place is not None
        if self.do("accept", waiter, loan, line=line, late=late, pumps=False):
            assert self.result is place
            assert place.owner is loan
            self.queue.remove(waiter)
            self.held.append((place, loan))
        else:
            self.mailbox.append((place, loan))  # the lease was made before, and is lost now
            self.torn.add(waiter)

    def decline(self, waiter: Waiter, *, line: Line = None, late: float = 0.0) -> None:
        place = waiter.place
        assert place is not None
        if self.do("decline", waiter, line=line, late=late):
            assert place.owner is not waiter
        else:
            self.torn.add(waiter)
        assert place.slot.doomed or place.owner is waiter, "a dead session may be lent"

    def leave(self, waiter: Waiter, *, line: Line = None) -> None:
        """He gives up; or was torn, and this is his `finally`, which may be torn as well."""
        again = waiter in self.torn
        if again:
            waiter.alive = False
        if self.do("cancel", waiter, line=line) or again:
            self.queue.remove(waiter)
            self.torn.discard(waiter)
        else:
            self.torn.add(waiter)

    def give_back(
        self,
        place: Place,
        loan: Loan,
        *,
        doom: bool = False,
        line: Line = None,
        lost: bool = False,
    ) -> None:
        """A lease ends. If that is torn, it will be ended again, or is `lost`."""
        owned = place.owner is loan
        self.held.remove((place, loan))
        done = self.do("release", place, loan, doom=doom, line=line, pumps=owned and doom)
        if owned and doom:
            assert place.slot.doomed or place.owner is loan, "a session not clean may be lent"
        if not done:
            (self.mailbox if lost else self.held).append((place, loan))
            return
        assert self.result == owned
        before = snapshot(self.ledger)
        assert not self.ledger.release(place, loan, self.now, doom=True), "given back twice"
        assert snapshot(self.ledger) == before

    def lose(self, place: Place, loan: Loan) -> None:
        self.held.remove((place, loan))
        self.mailbox.append((place, loan))

    # -- the gate's threads ------------------------------------------------------------------------

    def dispatch(self) -> None:
        """One round of the dispatcher."""
        self.read_mailbox()
        self.do("pump")
        self.claim()
        freed, self.ledger.freed = self.ledger.freed, []
        assert not set(freed) & set(self.ledger.slots), "its permit went while a slot was taken"
        self.permits -= set(freed)
        assert self.permits == set(self.ledger.slots), "a permit is lost"

    def read_mailbox(self) -> None:
        while self.mailbox:
            place, loan = self.mailbox.pop()
            self.do("release", place, loan, doom=True, pumps=place.owner is loan)

    def claim(self) -> None:
        for slot in list(self.ledger.claim_jobs()):
            assert slot not in self.jobs, "a job was handed out twice"
            assert (slot in self.permits) == (slot.state is State.CLOSING), "opened twice"
            self.permits.add(slot)
            self.jobs.append(slot)
        assert not list(self.ledger.claim_jobs()), "a job was handed out twice"
        assert not self.ledger.busy

    def claimed(self, state: State) -> list[Slot]:
        self.claim()
        assert set(self.jobs) == {
            slot for slot in self.ledger.slots if slot.state in {State.OPENING, State.CLOSING}
        }
        return [slot for slot in self.jobs if slot.state is state]

    def greet(self, slot: Slot) -> None:
        self.server[slot] = float("inf")
        self.do("greeted", slot)

    def may_log_in(self, slot: Slot) -> bool:
        """A driver that holds asks; one that is not to log in says QUIT."""
        if not self.holds or slot in self.logging_in:
            return True
        if not slot.greeted:
            self.greet(slot)
        tenant = slot.tenant
        trying = [other for other in self.logging_in if not other.tenant.proven]
        nobody = all(waiter.tenant is not tenant for waiter in unserved(self.ledger))
        useless = slot.doomed or tenant.closed or (tenant.rejected and nobody)
        useless &= not tenant.proven
        granted = self.ledger.may_log_in(slot)
        assert granted is (False if useless else None if trying and not tenant.proven else True)
        if granted:
            self.logging_in.add(slot)
        elif granted is False:
            self.jobs.remove(slot)
            self.server[slot] = self.now + FIRST_SETTLE
            self.do("withdrawn", slot)
            assert slot.state in {State.SETTLING, State.FREE}
        return bool(granted)

    def log_in(self, slot: Slot, lifetime: float) -> None:
        if not self.may_log_in(slot):
            return
        self.logging_in.discard(slot)
        self.jobs.remove(slot)
        self.server[slot] = float("inf")
        self.do("opened", slot, object(), expires=self.now + lifetime)
        assert self.ledger.failures == 0

    def close(self, slot: Slot, *, politely: bool = True) -> None:
        self.jobs.remove(slot)
        assert self.server[slot] == float("inf"), "closed twice"
        self.server[slot] = self.now + FIRST_SETTLE
        self.do("closed", slot, politely=politely)

    def deny(self, slot: Slot, delay: float) -> None:
        self.jobs.remove(slot)
        self.permits.remove(slot)
        self.do("denied", slot, delay=delay)
        assert slot.state is State.FREE

    def fail(self, slot: Slot, error: FTPPoolError, delay: float, *, for_good: bool) -> None:
        waiting = unserved(self.ledger)
        in_vain = slot in self.logging_in and not slot.tenant.proven
        held_back = [
            other
            for other in self.ledger.slots
            if other.state is State.OPENING and other.tenant is slot.tenant and other is not slot
        ]
        self.logging_in.discard(slot)
        self.jobs.remove(slot)
        self.server.pop(slot, None)
        self.do("open_failed", slot, error, delay=delay, for_good=for_good)
        if in_vain:
            assert all(other.doomed for other in held_back), "tried by one who waited for it"
            assert slot.tenant.rejected or not for_good
        for waiter in waiting:
            if waiter.tenant is slot.tenant and waiter.place is None:
                assert (waiter.error is error) == for_good or waiter.tenant.closed
            else:
                assert waiter.error is not error

    def refuse(self, slot: Slot, delay: float, hint: int | None, about: str) -> None:
        ledger, expected = self.ledger, self._what_it_teaches(slot, hint, about)
        of_user, of_server = about == "user", about == "server"
        ledger.refused(slot, self.now, hint=hint, of_user=of_user, of_server=of_server)
        if not self.interrupted:  # an interrupt may count an ended connection twice
            learned = slot.tenant.learned if of_user else ledger.learned
            assert (learned, ledger.settle) == expected
        self.stale = True
        self.fail(slot, ServerBusy("421"), delay, for_good=False)

    def _what_it_teaches(
        self, slot: Slot, hint: int | None, about: str
    ) -> tuple[int | None, float]:
        """The server's own count of our connections, and DESIGN 4."""
        ended = [tenant for when, tenant in self.ended if self.now - when < MEMORY]
        others = [other for other in self.server if other is not slot]
        if slot in self.logging_in:  # then the server counts those that have come as far
            others = [
                other
                for other in others
                if other.state is not State.OPENING or other in self.logging_in
            ]
        ending = [other for other in others if other.state in {State.CLOSING, State.SETTLING}]
        settle = self.ledger.settle * (2 if ended or ending else 1)
        tenants, learned = [other.tenant for other in others] + ended, self.ledger.learned
        if about == "user":
            tenants = [tenant for tenant in tenants if tenant is slot.tenant]
            learned = slot.tenant.learned
        if tenants and about != "server":
            learned = max(1, min(len(tenants), hint or 99, learned or 99))
        return learned, min(settle, LONGEST_SETTLE)

    def make_room(self, with_idle: int, in_use: int) -> None:
        """Idle sessions end at once, those in use as they come back."""
        before = self._living()
        idle = [slot for slot in before if slot.idle]
        self.do("make_room", with_idle, in_use)
        gone = [slot for slot in before if slot.state is State.CLOSING]
        due = min(len(idle), max(0, len(before) - with_idle))
        assert self.interrupted or len([slot for slot in idle if slot in gone]) >= due
        assert self.ledger.owed == max(0, len(before) - due - in_use)

    def _living(self) -> list[Slot]:
        """What the server counts and nobody has asked to end."""
        return [
            slot
            for slot in self.ledger.slots
            if slot.connected and not slot.doomed and slot.state in {State.OPENING, State.OPEN}
        ]

    def all_goes_well(self, *, accept: bool = True) -> None:
        """Every job that there is succeeds, and what was given is accepted."""
        for slot in self.claimed(State.CLOSING):
            self.close(slot)
        for slot in self.claimed(State.OPENING):
            self.log_in(slot, lifetime=picked([1000.0, 4.0], len(self.known)))
        for waiter in self.customers() if accept else ():
            self.accept(waiter)

    def work(self, *, accept: bool = True) -> None:
        """The same until nothing moves; time goes from one deadline to the next."""
        for _ in range(100):
            self.dispatch()
            self.all_goes_well(accept=accept)
            self.dispatch()
            if self.jobs or (accept and self.customers()):
                continue
            backing_off = unserved(self.ledger) and self.ledger.not_before > self.now
            if not self.ledger.count(State.SETTLING) and not backing_off:
                return
            deadline = self.ledger.next_deadline(self.now)
            assert deadline is not None
            self.now = deadline
        raise AssertionError("the ledger never comes to rest")

    # -- the end -----------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """All leases end, and everybody in the queue is served in his turn."""
        for waiter in list(self.torn):
            self.leave(waiter)
        for _ in range(20):
            while self.looking:
                self.begin(*self.looking[0])
            while self.held:
                self.give_back(*self.held[0])
            self.work()
            for waiter in [waiter for waiter in self.queue if waiter.error is not None]:
                self.leave(waiter)
            if not self.queue and not self.held:
                return
        raise AssertionError("a waiter is stuck")

    def finish(self) -> None:
        """DESIGN 11.3 and 11.9: N sessions can be had again; after close() there is none."""
        self.calm_down()
        newcomer = self.pool(cap=3)
        self.do("taught", None, self.ledger.learned, inf)
        sessions = min(newcomer.cap, self.ledger.learned or newcomer.cap)
        for thread in range(sessions * self.places):
            self.enter(newcomer, f"newcomer {thread}")
        self.work()
        assert len(self.held) == sessions * self.places, "a slot is lost"
        assert len({place.slot for place, _ in self.held}) == sessions
        self.calm_down()
        for tenant in self.tenants:
            self.do("shut", tenant)
        self.work()
        assert not self.ledger.slots, "a closed pool has a session"
        assert not self.permits
        assert not self.server
        assert all(tenant.totals.opened == tenant.totals.closed for tenant in self.tenants)

    # -- what must hold at the moment when something is done ---------------------------------------

    def allowed(self, *, probe: bool = True) -> int:
        """How many slots may exist: DESIGN 2 and 4; with one more where a lesson is due."""
        tenants = [slot.tenant for slot in self.ledger.slots]
        waiting = [waiter for waiter in self.ledger.waiters if waiter.error is None]
        tenants += [waiter.tenant for waiter in waiting if waiter.alive]
        more = probe and self.seen >= self.ledger.probe_at
        learned = [self.ledger.learned + more] if self.ledger.learned else []
        return max(1, min([tenant.cap for tenant in tenants] + learned, default=1))

    def allowed_to(self, tenant: Tenant) -> int:
        """How many slots a pool may have after what was learned of its user."""
        return (tenant.learned or 99) + (self.seen >= tenant.probe_at)

    def one_by_one(self, tenant: Tenant, new: Slot | None = None) -> bool:
        """The open before has its greeting; after a failure, or before any login, its login."""
        before = [slot for slot in self.ledger.slots if slot.state is State.OPENING]
        before = [slot for slot in before if slot is not new]
        strictly = self.ledger.failures or not (tenant.proven or tenant.holds)
        return not before if strictly else all(slot.greeted for slot in before)

    def coming(self) -> int:
        """How many slots will be free without anybody's doing."""
        states = {State.CLOSING, State.SETTLING}
        return sum(
            slot.state in states or (slot.state is State.OPENING and slot.doomed)
            for slot in self.ledger.slots
        )

    def needy(self, waiters: list[Waiter]) -> list[Waiter]:
        """Who of these needs room at the address: no slot of his pool is on its way to him."""
        promised: Counter[Tenant] = Counter()
        for slot in self.ledger.slots:
            if slot.state is State.OPENING and not slot.doomed:
                promised[slot.tenant] += slot.tenant.places
        needy = []
        for waiter in waiters:
            mine = [slot for slot in self.ledger.slots if slot.tenant is waiter.tenant]
            if promised[waiter.tenant] > 0:
                promised[waiter.tenant] -= 1
            elif len(mine) < self.allowed_to(waiter.tenant):
                needy.append(waiter)
        return needy

    def _look_at_new_slots(self, *, complete: bool) -> None:
        """Cap, one by one, back-off, and no overtaking between pools."""
        slots, new = (
            self.ledger.slots,
            [slot for slot in self.ledger.slots if slot not in self.known],
        )
        assert len(new) <= 1, "two opens at once"
        for slot in new:
            self.known.add(slot)
            self.allowance = self.allowed()
            assert len(slots) <= self.allowance, "the cap is broken"
            assert not slot.tenant.closed
            assert self.now >= self.ledger.not_before, "opened during the back-off"
            assert self.one_by_one(slot.tenant, new=slot)
            mine = [other for other in slots if other.tenant is slot.tenant]
            assert len(mine) <= self.allowed_to(slot.tenant)
            if complete:
                opening = [
                    other for other in mine if other.state is State.OPENING and not other.doomed
                ]
                waiting = unserved(self.ledger)
                his = [waiter for waiter in waiting if waiter.tenant is slot.tenant]
                beneficiary = his[(len(opening) - 1) * self.places]
                earlier = waiting[: waiting.index(beneficiary)]
                kept = Counter(waiter.tenant for waiter in self.needy(earlier))
                room = sum(-(-count // self.places) for count in kept.values())
                assert len(slots) + room <= self.allowance, "overtook a waiter of another pool"

    def _look_at_gifts(self, *, complete: bool) -> None:
        """First come, first served; and nobody is handed what he must not get."""
        given = {
            (place, place.owner)
            for slot in self.ledger.slots
            for place in slot.places
            if isinstance(place.owner, Waiter)
        }
        owners = {waiter for _, waiter in given}
        for place, waiter in given - self.given:
            slot, tenant = place.slot, waiter.tenant
            assert waiter.error is None, "served twice"
            assert slot.tenant is tenant
            # One of several places may be given away while the rest is drained for a later waiter.
            drained_for = [other for other in unserved(self.ledger) if other.tenant is not tenant]
            drained = self.places > 1 and drained_for
            assert not slot.doomed or drained, "a doomed session was handed out"
            assert not tenant.closed, "a closed pool's session was handed out"
            assert slot.generation == tenant.generation, "an expired session was handed out"
            assert self.now - LATEST < slot.expires, "an old session was handed out"
            earlier = [
                other
                for other in self.queue[: self.queue.index(waiter)]
                if other in self.ledger.waiters and other.alive
                if other not in owners and other.error is None
            ]
            assert all(other.tenant is not tenant for other in earlier), "not FIFO"
            # In a back-off nothing can be opened, so nobody gains by a session that is kept unused.
            useful = self.seen >= self.ledger.not_before
            full = len(self.ledger.slots) >= self.allowed()
            if complete and useful and full and self.places == 1:
                coming = self.coming()
                assert len(self.needy(earlier)) <= coming, "overtook a waiter of another pool"
        self.given = given

    def _look_at_the_server(self) -> None:
        """No slot is free before the server may have forgotten the connection."""
        for slot in list(self.server):
            if slot not in self.ledger.slots:
                assert self.now >= self.server.pop(slot), "not settled yet"
                self.ended.append((slot.settled_at, slot.tenant))

    # -- what must hold after every step -----------------------------------------------------------

    def check_the_cap(self) -> None:
        """DESIGN 11.2, and of 11.10: a refusal never raises the number of sessions."""
        ledger = self.ledger
        assert len(ledger.slots) <= self.allowance
        assert set(self.server) <= set(ledger.slots)
        assert ledger.effective == self.allowed(probe=False) >= 1
        learned = [ledger.learned, *(tenant.learned for tenant in self.tenants)]
        assert all(limit is None or limit >= 1 for limit in learned)

    def check_that_no_slot_is_lost(self) -> None:
        """DESIGN 11.3: whoever has a place is known, and has one."""
        owners: Counter[object] = Counter()
        for slot in self.ledger.slots:
            assert slot.state is not State.FREE
            assert (slot.session is not None) == (slot.state in {State.OPEN, State.CLOSING})
            for place in slot.places:
                if place.owner is not None:
                    assert slot.state is State.OPEN
                    owners[place.owner] += 1
        assert set(owners.values()) <= {1}, "one owner has two places"
        loans = {loan for _, loan in self.held + self.looking + self.mailbox}
        for owner in owners:
            known = owner in loans if isinstance(owner, Loan) else owner in self.queue
            assert known or (isinstance(owner, Waiter) and not owner.alive)

    def check_that_a_password_is_tried_by_one(self) -> None:
        """DESIGN 4: until it is known to be right."""
        opening = {slot for slot in self.ledger.slots if slot.state is State.OPENING}
        assert self.logging_in <= opening
        assert sum(not slot.tenant.proven for slot in self.logging_in) <= 1

    def check_the_queue(self) -> None:
        """DESIGN 11.4; `_look_at_gifts` has the rest of it."""
        alive = [waiter for waiter in self.ledger.waiters if waiter.alive]
        assert alive == [waiter for waiter in self.queue if waiter in alive]
        if self.stale:
            return
        assert alive == list(self.ledger.waiters)
        for waiter in alive:
            assert waiter.place is None or waiter.error is None, "served twice"
            assert waiter.place is None or waiter.place.owner is waiter
        for slot in self.ledger.slots:
            for place in slot.places:
                if isinstance(place.owner, Waiter):
                    assert place.owner.place is place
                    assert place.owner in alive, "a dead waiter has a place"

    def check_that_no_waiter_is_stuck(self) -> None:
        """DESIGN 11.5."""
        ledger, waiting = self.ledger, unserved(self.ledger)
        if self.stale:
            return
        for slot in ledger.slots:
            tenant = slot.tenant
            fit = not slot.doomed and slot.generation == tenant.generation
            if slot.state is State.OPEN and fit and self.now < slot.expires:
                free = any(place.owner is None for place in slot.places)
                assert not (free and any(waiter.tenant is tenant for waiter in waiting))
        assert not any(waiter.tenant.closed for waiter in waiting)
        needy = self.needy(waiting)
        if len(ledger.slots) < self.allowed():
            may_open = needy and self.one_by_one(needy[0].tenant)
            assert not (may_open and self.now >= ledger.not_before)
            return
        if self.now < ledger.not_before:
            return  # nothing could be opened in the place of what others do not use
        for waiter in needy[self.coming() :]:
            others = [slot for slot in ledger.slots if slot.tenant is not waiter.tenant]
            assert not any(slot.idle for slot in others)

    def check_what_must_end(self) -> None:
        """DESIGN 11.8 and 11.9: no session is kept that nobody may have."""
        if self.stale:
            return
        idle = [slot for slot in self.ledger.slots if slot.idle]
        for slot in idle:
            assert not slot.doomed
            assert not slot.tenant.closed
            assert slot.generation == slot.tenant.generation
            assert self.now < min(slot.expires, slot.last_used + slot.tenant.max_idle)
        # What was drained ends in place of what is idle; a probe is to show if it may stay.
        staying = [
            slot
            for slot in self.ledger.slots
            if slot.state is State.OPEN or (slot.state is State.OPENING and not slot.trying)
            if not slot.doomed
        ]
        assert not idle or len(staying) <= self.allowed()

    def check_that_a_second_pump_changes_nothing(self) -> None:
        """Nor does one at any time before the next deadline: who sleeps until it misses nothing.

        It leaves no note in the ledger: those of the last event must serve the next one, and none
        may come from a later time.
        """
        if self.stale:
            return
        notes = {name: getattr(self.ledger, name) for name in NOTES}
        jobs = [slot for slot in self.ledger.slots if slot.state in {State.OPENING, State.CLOSING}]
        assert self.ledger.busy or all(slot.claimed for slot in jobs)
        before = snapshot(self.ledger, notes=False)
        unsettled = self.ledger._unsettled
        served = self.ledger.pump(self.now)
        assert snapshot(self.ledger, notes=False) == before
        assert unsettled or not self.ledger._unsettled, "what comes back would be handed on"
        assert served == [waiter for waiter in self.ledger.waiters if waiter.served]
        deadline = self.ledger.next_deadline(self.now)
        assert deadline is None or deadline > self.now
        self.ledger.pump(self.now + 50.0 if deadline is None else (self.now + deadline) / 2)
        assert snapshot(self.ledger, notes=False) == before
        for name, value in notes.items():
            setattr(self.ledger, name, value)

    def check_the_counts(self) -> None:
        ledger = self.ledger
        assert sum(ledger.count(state) for state in State) == len(ledger.slots)
        for tenant in self.tenants:
            totals = tenant.totals
            living = ledger.count(State.OPEN, tenant) + ledger.count(State.CLOSING, tenant)
            assert totals.opened - totals.closed == living
            assert totals.closed == totals.quits + totals.cut

    def check_all(self) -> None:
        self.check_the_cap()
        self.check_that_no_slot_is_lost()
        self.check_that_a_password_is_tried_by_one()
        self.check_the_queue()
        self.check_that_no_waiter_is_stuck()
        self.check_what_must_end()
        self.check_that_a_second_pump_changes_nothing()
        self.check_the_counts()


PICK = st.integers(0, 5)
LATE = st.sampled_from([0.0, 0.0, LATEST])
LINE = st.one_of(st.none(), st.none(), st.integers(1, 60), st.integers(1, 500))
DELAY = st.sampled_from([0.0, 0.1, 5.0])


class LedgerMachine(RuleBasedStateMachine):
    """Few rules for much: Hypothesis leaves out some of the rules in each run."""

    places: ClassVar[int]
    holds: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.places, holds=self.holds)

    @initialize(
        terms=st.lists(
            st.tuples(st.sampled_from([3, 2, 4, 1]), st.sampled_from([30.0, 1.0, 0.0])),
            min_size=2,
            max_size=3,
        ),
        borrowers=st.lists(PICK, max_size=6),
        idle=st.integers(0, 3),
    )
    def pools_come(self, terms: list[tuple[int, float]], borrowers: list[int], idle: int) -> None:
        """Two or three pools; some have sessions, so that runs begin in the midst of life."""
        for cap, max_idle in terms:
            self.world.pool(cap, max_idle)
        for pick in borrowers:
            if self.world.free_threads():
                self.world.enter(picked(self.world.tenants, pick))
                self.world.work()
        for _ in range(min(idle, len(self.world.held))):
            self.world.give_back(*self.world.held[0])

    def pick_pool(self, pick: int) -> Tenant:
        """Most go to an open pool."""
        pools = [tenant for tenant in self.world.tenants if not tenant.closed]
        return picked(pools if pools and pick < 5 else self.world.tenants, pick)

    @precondition(lambda self: self.world.free_threads())
    @rule(pool=PICK, thread=PICK, caller=st.one_of(st.none(), PICK), late=LATE, line=LINE)
    def wait(
        self, pool: int, thread: int, caller: int | None, late: float, line: int | None
    ) -> None:
        threads = [picked(self.world.free_threads(), thread)]
        if caller is not None:
            threads.append(picked(list(THREADS), caller))
        self.world.enter(self.pick_pool(pool), *threads, line=line, late=late)

    @precondition(lambda self: self.world.free_threads())
    @rule(pool=PICK, late=LATE, line=LINE)
    def take(self, pool: int, late: float, line: int | None) -> None:
        self.world.take(self.pick_pool(pool), late=late, line=line)

    @precondition(lambda self: self.world.looking)
    @rule(pick=PICK, alive=st.booleans(), line=LINE)
    def look_at_what_was_taken(self, pick: int, alive: bool, line: int | None) -> None:
        place, loan = picked(self.world.looking, pick)
        if alive:
            self.world.begin(place, loan)
        else:
            self.world.queue_again(place, loan, line=line)

    @rule(pools=st.lists(PICK, min_size=2, max_size=4))
    def crowd(self, pools: list[int]) -> None:
        for pick in pools:
            if self.world.free_threads():
                self.world.enter(self.pick_pool(pick))

    @precondition(lambda self: self.world.free_threads())
    @rule(pool=PICK)
    def borrow(self, pool: int) -> None:
        self.world.enter(self.pick_pool(pool))
        self.world.work()

    @precondition(lambda self: self.world.customers())
    @rule(pick=PICK, accepts=st.booleans(), late=LATE, line=LINE)
    def look(self, pick: int, accepts: bool, late: float, line: int | None) -> None:
        act = self.world.accept if accepts else self.world.decline
        act(picked(self.world.customers(), pick), late=late, line=line)

    @precondition(lambda self: self.world.queue)
    @rule(pick=PICK, line=LINE)
    def leave(self, pick: int, line: int | None) -> None:
        self.world.leave(picked(self.world.queue, pick), line=line)

    @precondition(lambda self: self.world.held)
    @rule(pick=PICK, doom=st.booleans(), line=LINE, lost=st.booleans())
    def give_back(self, pick: int, doom: bool, line: int | None, lost: bool) -> None:
        place, loan = picked(self.world.held, pick)
        if lost and line is None:
            self.world.lose(place, loan)
        else:
            self.world.give_back(place, loan, doom=doom, line=line, lost=lost)

    @rule(
        what=st.sampled_from(["resize", "expire", "revoke", "shut"]),
        pick=PICK,
        cap=st.integers(1, 4),
        line=LINE,
    )
    def pool_owner(self, what: str, pick: int, cap: int, line: int | None) -> None:
        world, tenant = self.world, picked(self.world.tenants, pick)
        slots = [slot for slot in world.ledger.slots if slot.state is State.OPEN]
        if what == "resize":
            tenant.cap = cap
            world.stale = True
            world.do("pump", line=line)
        elif what == "expire":
            world.do("expire", tenant, line=line)
        elif what == "shut":
            world.do("shut", tenant, line=line)
            if all(other.closed for other in world.tenants):
                world.pool(cap)
        elif slots:
            slot = picked(slots, pick)
            if world.do("revoke", slot, line=line):
                assert slot.state is State.CLOSING

    @rule(
        of_all=st.booleans(),
        pick=PICK,
        limit=st.sampled_from([None, 1, 2, 3]),
        due=st.sampled_from([0.0, 5.0, 300.0]),
    )
    def teach(self, of_all: bool, pick: int, limit: int | None, due: float) -> None:
        """The limiter tells what is known now: lessons come, rise, fall, and are put to a test."""
        world = self.world
        tenant = None if of_all else picked(world.tenants, pick)
        world.do("taught", tenant, limit, inf if limit is None else world.now + due)

    @rule(with_idle=st.integers(0, 3), in_use=st.integers(0, 3))
    def other_processes_need_some(self, with_idle: int, in_use: int) -> None:
        self.world.make_room(with_idle, max(with_idle, in_use))

    @rule()
    def dispatch(self) -> None:
        self.world.dispatch()

    @rule(
        seconds=st.sampled_from([None, 0.05, 1.0, 5.0, 31.0, 301.0]), pumps=st.booleans(), line=LINE
    )
    def time_passes(self, seconds: float | None, pumps: bool, line: int | None) -> None:
        """Without a number: until the next deadline."""
        world = self.world
        deadline = world.ledger.next_deadline(world.now) or world.now
        world.now = max(world.now, deadline) if seconds is None else world.now + seconds
        world.stale = True
        if pumps:
            world.do("pump", line=line)

    @precondition(lambda self: self.world.claimed(State.OPENING))
    @rule(
        how=st.sampled_from(
            [
                "logs in",
                "greets",
                "asks",
                "address",
                "user",
                "server",
                "fails",
                "fails for good",
                "denied",
            ]
        ),
        pick=PICK,
        lifetime=st.sampled_from([1000.0, 5.0]),
        delay=DELAY,
        hint=st.one_of(st.none(), st.integers(0, 4)),
    )
    def open_ends(
        self, how: str, pick: int, lifetime: float, delay: float, hint: int | None
    ) -> None:
        self.end_open(how, picked(self.world.claimed(State.OPENING), pick), lifetime, delay, hint)

    def end_open(
        self, how: str, slot: Slot, lifetime: float, delay: float, hint: int | None
    ) -> None:
        world = self.world
        if how == "logs in":
            world.log_in(slot, lifetime)
        elif how == "asks":
            world.may_log_in(slot)
        elif how.startswith("fails"):
            world.fail(slot, AuthError("530"), delay, for_good=how == "fails for good")
        elif how in {"address", "user", "server"}:
            world.refuse(slot, delay, hint, how)
        elif slot.greeted:
            return
        elif how == "greets":
            world.greet(slot)
        else:
            world.deny(slot, delay)

    @precondition(lambda self: self.world.claimed(State.CLOSING))
    @rule(pick=PICK, politely=st.booleans())
    def close_ends(self, pick: int, politely: bool) -> None:
        self.world.close(picked(self.world.claimed(State.CLOSING), pick), politely=politely)

    @rule(accept=st.booleans())
    def all_goes_well(self, accept: bool) -> None:
        self.world.all_goes_well(accept=accept)

    @invariant()
    def everything_holds(self) -> None:
        self.world.check_all()

    def teardown(self) -> None:
        self.world.finish()


class OnePlace(LedgerMachine):
    """FTP: a session serves one borrower."""

    places = 1


class ThreePlaces(LedgerMachine):
    """SFTP: a connection has several channels."""

    places = 3


class Holding(OnePlace):
    """FTP: connections wait with their login until the password is known to be right."""

    holds = True


@pytest.mark.parametrize("machine", [OnePlace, ThreePlaces, Holding])
def test_cap_lost_slots_fifo_and_stuck_waiters_in_any_order_of_events(
    machine: type[LedgerMachine],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            deadline=None,
            stateful_step_count=40,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


NEWCOMERS = st.sampled_from(
    [
        "asks", "asks", "asks", "logs in", "address", "user", "fails", "fails for good",
        "one more", "another pool", "leaves", "dispatch", "time passes", "shut",
    ]
)  # fmt: skip


@given(cap=st.integers(2, 4), count=st.integers(2, 4), steps=st.lists(st.tuples(NEWCOMERS, PICK)))
@settings(deadline=None, max_examples=400)
def test_until_a_password_is_known_to_be_right_one_connection_at_a_time_tries_it(
    cap: int, count: int, steps: list[tuple[str, int]]
) -> None:
    """The same from the start of a pool, where the machine above seldom stays for long."""
    world = World(1, holds=True)
    tenant = world.pool(cap)
    for _ in range(count):
        world.enter(tenant)
    for step, pick in steps:
        opening = world.claimed(State.OPENING)
        if step == "another pool" and len(world.tenants) < 3:
            tenant = world.pool(cap)
        if step in {"one more", "another pool"}:
            if world.free_threads() and not tenant.closed:
                world.enter(tenant)
        elif step == "leaves":
            if world.queue:
                world.leave(picked(world.queue, pick))
        elif step == "dispatch":
            world.dispatch()
        elif step == "time passes":
            world.now += 0.06
            world.do("pump")
        elif step == "shut":
            world.do("shut", picked(world.tenants, pick))
        elif not opening:
            continue
        elif step == "asks":
            world.may_log_in(picked(opening, pick))
        elif step == "logs in":
            world.log_in(picked(opening, pick), 1000.0)
        elif step in {"address", "user"}:
            world.refuse(picked(opening, pick), 0.0, None, step)
        else:
            error = AuthError("530")
            world.fail(picked(opening, pick), error, 0.0, for_good=step == "fails for good")
        world.check_all()
    world.finish()


def two_in_use_beyond_a_lesson_of_one(probe_in: float) -> World:
    """Threads "one" and "two" hold sessions of the first of two pools; then one was allowed."""
    world = World(1)
    tenant = world.pool(3)
    world.pool(3)
    for thread in ("one", "two"):
        world.enter(tenant, thread)
        world.work()
    world.do("taught", None, 1, world.now + probe_in)
    world.check_all()
    return world


@pytest.mark.parametrize("probe_in", [0.0, 300.0])
def test_who_holds_one_of_more_than_a_lesson_allows_is_not_told_before_the_others_wait_too(
    probe_in: float,
) -> None:
    world = two_in_use_beyond_a_lesson_of_one(probe_in)
    waiter = world.enter(world.tenants[1], "one")
    world.check_all()
    assert not world.torn, "what thread two gives back may be of use"
    world.give_back(*world.held[1])
    world.work()
    world.check_all()
    if probe_in:
        assert deadlocked(world.ledger, waiter, world.now), "only his own is left"
        world.leave(waiter)
    assert len(world.held) == (1 if probe_in else 2), "the probe was his"
    world.finish()


def test_who_is_not_served_yet_when_a_probe_comes_due_is_not_told_of_a_deadlock() -> None:
    world = World(1)
    ours, theirs = world.pool(4), world.pool(4)
    world.enter(theirs, "one")
    world.work()
    world.do("taught", None, 1, world.now)
    first = world.enter(ours, "two", late=LATEST)
    world.enter(ours, "one")  # he is behind one whom nothing could help a moment ago
    assert not world.torn, "the probe may be for him"
    world.leave(first)
    world.work()
    assert [loan.thread for _, loan in world.held] == ["one", "one"]
    world.finish()


def test_a_look_at_a_later_time_leaves_no_note_of_what_may_be_handed_on() -> None:
    """In 50 seconds, which the check looks ahead, the address may have room for both."""
    world = two_in_use_beyond_a_lesson_of_one(probe_in=5.0)
    world.check_all()
    waiter = world.enter(world.tenants[0], "three")
    world.check_all()
    world.give_back(*world.held[0])
    assert not waiter.served, "one beyond the lesson was handed on"
    world.check_all()
    assert world.ledger.count(State.CLOSING) == 1
    world.finish()


def test_in_a_back_off_who_comes_later_may_use_what_who_waits_for_it_could_not_replace() -> None:
    world = World(1)
    ours, theirs = world.pool(3), world.pool(3)
    world.enter(theirs)
    world.work()
    world.give_back(*world.held[0])
    first = world.enter(ours)
    world.refuse(world.claimed(State.OPENING)[0], 5.0, None, "address")
    world.now += FIRST_SETTLE
    world.do("pump")
    world.check_all()
    assert world.ledger.count(State.OPEN) == 1, "nothing could be opened in its place yet"
    second, third = world.enter(theirs), world.enter(theirs)
    assert second.served
    world.accept(second)
    world.check_all()
    world.now = world.ledger.not_before
    world.do("pump")
    world.give_back(*world.held[0])
    assert not third.served, "overtook who waited for the end of the back-off"
    world.dispatch()
    world.all_goes_well(accept=False)
    world.now += FIRST_SETTLE
    world.dispatch()
    world.all_goes_well(accept=False)
    assert first.served
    world.finish()


def test_who_reads_the_clock_before_a_lesson_comes_due_overtakes_nobody() -> None:
    world = World(3)
    limited, other = world.pool(2), world.pool(2)
    for _ in range(3):
        world.enter(limited)
        world.work()
    world.do("taught", limited, 1, world.now + 5.0)
    world.enter(limited)
    world.now += 5.0
    world.enter(other, late=LATEST)
    assert world.ledger.count(State.OPENING) == 1
    world.dispatch()
    world.check_all()
    world.finish()


def test_what_was_drained_ends_instead_of_what_is_idle() -> None:
    world = World(3)
    tenant = world.pool(2)
    for _ in range(6):
        world.enter(tenant)
        world.work()
    tenant.cap = 1
    world.do("pump")
    world.check_all()
    drained, kept = (
        next(held[0].slot for held in world.held if held[0].slot.doomed is doomed)
        for doomed in (True, False)
    )
    for place, loan in [held for held in world.held if held[0].slot is kept]:
        world.give_back(place, loan)
    world.check_all()
    assert kept.idle, "a second one would end for one too many"
    for place, loan in list(world.held):
        world.give_back(place, loan)
    assert drained.state is State.CLOSING
    assert kept.idle
    world.finish()


def test_a_probe_under_way_ends_no_idle_session_when_a_lesson_falls() -> None:
    world = World(1)
    tenant = world.pool(3)
    world.enter(tenant)
    world.work()
    world.do("taught", None, 1, world.now)
    world.enter(tenant)
    probe = world.claimed(State.OPENING)[0]
    assert probe.trying
    world.do("taught", None, 1, world.now + 300.0)
    world.leave(world.queue[0])
    world.give_back(*world.held[0])
    world.check_all()
    assert world.ledger.count(State.OPEN) == 1
    world.log_in(probe, 1000.0)
    world.check_all()
    assert world.ledger.count(State.OPEN) == 1, "no lesson says yet that both may stay"
    world.finish()


def crowded(places: int) -> World:
    """Two pools at a full address, with something of everything and work for the next pump.

    Of pool a: one session that is held, one that has settled, a lesson that comes due. Of pool b:
    one that is held, one that was just given. Two of a and one of b wait.
    """
    world = World(places)
    a, b = world.pool(4), world.pool(4)
    for number, tenant in enumerate((a, b, a)):
        for channel in range(places):
            world.enter(tenant, f"holder {number} {channel}")
        world.work()
    refused = world.enter(a, "refused")
    world.refuse(world.claimed(State.OPENING)[0], 0.0, None, "user")
    world.leave(refused)
    world.do("taught", a, 2, world.now + 300.0)
    world.now += 299.0
    world.work()
    assert a.learned == 2
    for place, loan in world.held[2 * places :]:
        world.give_back(place, loan, doom=True)
    world.all_goes_well()
    world.enter(b, "customer")
    world.all_goes_well(accept=False)
    for name, tenant in (("waiter 1", a), ("waiter 2", b), ("waiter 3", a)):
        world.enter(tenant, name)
    world.now += 1.0
    world.stale = True
    return world


def calm(places: int) -> World:
    """A pool with one session in use and one that is free, and nobody who waits."""
    world = World(places)
    tenant = world.pool(3)
    for number in range(2 * places):
        world.enter(tenant, f"holder {number}")
        world.work()
    for place, loan in world.held[places:]:
        world.give_back(place, loan)
    return world


def take_and_look(world: World, line: Line) -> None:
    world.take(world.tenants[0])
    world.queue_again(*world.looking[0], line=line)


BEFORE_THE_QUEUE: dict[str, Callable[[World, Line], object]] = {
    "take": lambda world, line: world.take(world.tenants[0], line=line),
    "queue again": take_and_look,
}


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("name", BEFORE_THE_QUEUE)
def test_after_an_interrupt_of_a_borrower_who_need_not_wait_one_pump_repairs_everything(
    name: str, places: int
) -> None:
    world = calm(places)
    stores = StoreFinder(world.ledger)
    BEFORE_THE_QUEUE[name](world, stores)
    assert len(stores.found) >= 2
    for line in stores.found:
        world = calm(places)
        BEFORE_THE_QUEUE[name](world, line)
        assert world.interrupted
        world.dispatch()
        world.check_all()
        world.finish()


def held_by(world: World, tenant: Tenant) -> tuple[Place, Loan]:
    return next(held for held in world.held if held[0].slot.tenant is tenant)


CALLS: dict[str, Callable[[World, Tenant, Tenant, Line], object]] = {
    "wait": lambda world, a, b, line: world.enter(b, line=line),
    "accept": lambda world, a, b, line: world.accept(world.customers()[0], line=line),
    "decline": lambda world, a, b, line: world.decline(world.customers()[0], line=line),
    "cancel what was given": lambda world, a, b, line: world.leave(world.queue[0], line=line),
    "cancel a waiter": lambda world, a, b, line: world.leave(world.queue[1], line=line),
    "release": lambda world, a, b, line: world.give_back(*held_by(world, a), line=line),
    "release, then lose": lambda world, a, b, line: world.give_back(
        *held_by(world, b), line=line, lost=True
    ),
    "discard": lambda world, a, b, line: world.give_back(*held_by(world, a), doom=True, line=line),
    "expire": lambda world, a, b, line: world.do("expire", b, line=line),
    "shut": lambda world, a, b, line: world.do("shut", a, line=line),
    "shut what was given": lambda world, a, b, line: world.do("shut", b, line=line),
    "revoke": lambda world, a, b, line: world.do("revoke", held_by(world, b)[0].slot, line=line),
    "revoke what was given": lambda world, a, b, line: world.do(
        "revoke", picked(world.ledger.slots, -1), line=line
    ),
    "pump": lambda world, a, b, line: world.do("pump", line=line),
}


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("name", CALLS)
def test_after_an_interrupt_between_any_two_stores_one_pump_repairs_everything(
    name: str, places: int
) -> None:
    world = crowded(places)
    a, b = world.tenants
    stores = StoreFinder(world.ledger)
    CALLS[name](world, a, b, stores)
    assert len(stores.found) > 3
    for line in stores.found:
        world = crowded(places)
        a, b = world.tenants
        CALLS[name](world, a, b, line)
        assert world.interrupted
        world.dispatch()
        world.check_all()
        for waiter in list(world.torn):
            world.leave(waiter)
        world.dispatch()
        world.check_all()
        world.finish()
