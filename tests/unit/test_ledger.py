"""The slot machine of one address by example: the life of a slot, the queue, and what it learns."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass
from math import inf

import pytest

from ftppool.deadlock import deadlocked
from ftppool.errors import AuthError, FTPPoolError, PoolClosed, ServerBusy
from ftppool.ledger import BUDGET, BUDGET_TIME, Ledger
from ftppool.settling import FIRST_SETTLE, LONGEST_SETTLE, MEMORY
from ftppool.slots import TRANSITIONS, Event, Owner, Place, Slot, State, Tenant, Waiter

NOW = 1000.0
REFUSED = ServerBusy("421 too many connections")


@dataclass(eq=False)
class Loan:
    """What holds a place: a lease."""

    thread: Hashable


def pool(cap: int = 2, **terms: float | str) -> Tenant:
    """A pool that has logged in before."""
    return Tenant(cap=cap, proven=True, **terms)  # type: ignore[arg-type]  # terms by name


def enter(ledger: Ledger, tenant: Tenant, *threads: Hashable, now: float = NOW) -> Waiter:
    waiter = Waiter(tenant, threads or (object(),), now)
    ledger.wait(waiter, now)
    return waiter


def jobs(ledger: Ledger, state: State) -> list[Slot]:
    return [slot for slot in ledger.slots if slot.state is state]


def log_in(ledger: Ledger, now: float = NOW, lifetime: float = 1800.0) -> Slot:
    """The oldest open that is under way succeeds."""
    slot = jobs(ledger, State.OPENING)[0]
    ledger.opened(slot, object(), now, expires=now + lifetime)
    return slot


def close(ledger: Ledger, now: float = NOW) -> Slot:
    """The oldest close that is under way is done; the server has not noticed yet."""
    slot = jobs(ledger, State.CLOSING)[0]
    ledger.closed(slot, now, politely=True)
    return slot


def accept(ledger: Ledger, waiter: Waiter, now: float = NOW) -> tuple[Place, Loan]:
    loan = Loan(waiter.threads[0])
    return ledger.accept(waiter, loan, now), loan


def borrow(
    ledger: Ledger, tenant: Tenant, *threads: Hashable, now: float = NOW
) -> tuple[Place, Loan]:
    """Wait, have a session opened if there is none, and accept it."""
    waiter = enter(ledger, tenant, *threads, now=now)
    if not waiter.served:
        log_in(ledger, now)
    return accept(ledger, waiter, now)


def refuse(
    ledger: Ledger,
    now: float = NOW,
    *,
    hint: int | None = None,
    of_user: bool = False,
    of_server: bool = False,
    delay: float = 0.0,
) -> None:
    """The oldest open that is under way is refused."""
    slot = jobs(ledger, State.OPENING)[0]
    ledger.refused(slot, now, hint=hint, of_user=of_user, of_server=of_server)
    ledger.open_failed(slot, REFUSED, now, delay=delay, for_good=False)


def states(ledger: Ledger) -> list[State]:
    return [slot.state for slot in ledger.slots]


# What a call changes is read through functions: a type checker believes that it cannot change.


def state_of(slot: Slot) -> State:
    return slot.state


def place_of(waiter: Waiter) -> Place | None:
    return waiter.place


def owner_of(place: Place | None) -> Waiter | Owner | None:
    assert place is not None
    return place.owner


# -- the life of a slot ----------------------------------------------------------------------------


def test_a_slot_goes_from_free_over_opening_open_closing_and_settling_to_free() -> None:
    ledger, tenant = Ledger(), pool()
    waiter = enter(ledger, tenant)
    (slot,) = ledger.claim_jobs()
    assert (slot.state, slot.connected) == (State.OPENING, False)
    ledger.greeted(slot, NOW)
    assert (slot.state, slot.connected) == (State.OPENING, True)
    session = object()
    ledger.opened(slot, session, NOW, expires=NOW + 1800)
    assert state_of(slot) is State.OPEN
    assert slot.session is session
    assert not slot.idle
    place, loan = accept(ledger, waiter)
    assert owner_of(place) is loan
    assert ledger.release(place, loan, NOW + 1, doom=True)
    assert state_of(slot) is State.CLOSING
    assert list(ledger.claim_jobs()) == [slot]
    ledger.closed(slot, NOW + 2, politely=True)
    assert state_of(slot) is State.SETTLING
    assert slot.connected
    assert slot.session is None
    ledger.pump(NOW + 2 + FIRST_SETTLE / 2)
    assert ledger.slots == [slot]
    ledger.pump(NOW + 2 + FIRST_SETTLE)
    assert ledger.slots == []
    assert ledger.freed == [slot]
    assert state_of(slot) is State.FREE


def test_a_failed_open_settles_before_its_slot_is_free() -> None:
    ledger = Ledger()
    enter(ledger, pool(cap=1))
    refuse(ledger)
    assert states(ledger) == [State.SETTLING]
    ledger.pump(NOW + FIRST_SETTLE)
    assert states(ledger) == [State.OPENING]
    assert len(ledger.freed) == 1


def test_an_open_without_a_permit_frees_its_slot_at_once() -> None:
    ledger = Ledger()
    waiter = enter(ledger, pool(cap=1))
    slot = ledger.slots[0]
    ledger.denied(slot, NOW, delay=0.25)
    assert ledger.slots == ledger.freed == []
    assert state_of(slot) is State.FREE
    assert not waiter.served
    assert ledger.next_deadline(NOW) == NOW + 0.25
    ledger.pump(NOW + 0.25)
    assert states(ledger) == [State.OPENING]


def test_a_repr_of_a_slot_says_what_matters() -> None:
    ledger = Ledger()
    place, _ = borrow(ledger, pool())
    assert repr(place.slot) == "<Slot open ['Loan']>"
    place.slot.doomed = True
    assert repr(place.slot) == "<Slot open doomed ['Loan']>"


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_a_slot_moves_as_the_table_says_and_in_no_other_way(state: State, event: Event) -> None:
    slot = Slot(pool(), 0, state=state, claimed=True)
    if (state, event) in TRANSITIONS:
        slot.move(event)
        assert state_of(slot) is TRANSITIONS[state, event]
        assert not slot.claimed
    else:
        with pytest.raises(KeyError):
            slot.move(event)
        assert state_of(slot) is state


def test_the_table_has_seven_rows_and_each_event_leads_to_one_state() -> None:
    assert TRANSITIONS == {
        (State.FREE, Event.OPEN): State.OPENING,
        (State.OPENING, Event.OPENED): State.OPEN,
        (State.OPENING, Event.OPEN_FAILED): State.SETTLING,
        (State.OPENING, Event.DENIED): State.FREE,
        (State.OPEN, Event.CLOSE): State.CLOSING,
        (State.CLOSING, Event.CLOSED): State.SETTLING,
        (State.SETTLING, Event.SETTLED): State.FREE,
    }


def test_a_job_is_handed_out_once() -> None:
    ledger = Ledger()
    enter(ledger, pool())
    assert len(list(ledger.claim_jobs())) == 1
    assert list(ledger.claim_jobs()) == []


# -- the queue -------------------------------------------------------------------------------------


def test_waiters_of_a_pool_are_served_first_come_first_served() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    place, loan = borrow(ledger, tenant)
    waiters = [enter(ledger, tenant) for _ in range(3)]
    for number, waiter in enumerate(waiters):
        ledger.release(place, loan, NOW)
        assert [other.served for other in waiters] == [True] * (number + 1) + [False] * (2 - number)
        place, loan = accept(ledger, waiter)


def test_pump_returns_whoever_has_something_to_wake_up_for() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    place, loan = borrow(ledger, tenant)
    first, second = enter(ledger, tenant), enter(ledger, tenant)
    assert ledger.pump(NOW) == []
    ledger.release(place, loan, NOW)
    assert ledger.pump(NOW) == [first]
    ledger.cancel(first, NOW)
    assert ledger.pump(NOW) == [second]


def test_the_session_that_was_used_last_is_lent_first() -> None:
    ledger, tenant = Ledger(), pool(cap=3)
    loans = [borrow(ledger, tenant) for _ in range(3)]
    for later, number in enumerate((2, 0, 1)):
        ledger.release(*loans[number], NOW + later)
    assert enter(ledger, tenant, now=NOW + 5).place is loans[1][0]
    assert enter(ledger, tenant, now=NOW + 5).place is loans[0][0]


def test_an_idle_session_of_another_pool_is_ended_for_the_first_in_the_queue() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=1), pool(cap=1)
    ledger.release(*borrow(ledger, theirs), NOW)
    waiter = enter(ledger, ours)
    assert states(ledger) == [State.CLOSING]
    close(ledger)
    ledger.pump(NOW + FIRST_SETTLE)
    log_in(ledger)
    assert owner_of(waiter.place) is waiter


def test_a_newcomer_does_not_overtake_a_waiter_of_another_pool() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=1), pool(cap=1)
    place, loan = borrow(ledger, theirs)
    first, newcomer = enter(ledger, ours), enter(ledger, theirs)
    ledger.release(place, loan, NOW)
    assert state_of(place.slot) is State.CLOSING
    close(ledger)
    ledger.pump(NOW + FIRST_SETTLE)
    assert [slot.tenant for slot in ledger.slots] == [ours]
    log_in(ledger)
    assert first.served
    assert not newcomer.served


def test_the_session_that_was_unused_longest_is_the_one_that_makes_room() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=2), pool(cap=2)
    old, young = borrow(ledger, theirs), borrow(ledger, theirs)
    ledger.release(*old, NOW + 1)
    ledger.release(*young, NOW + 2)
    enter(ledger, ours, now=NOW + 3)
    assert jobs(ledger, State.CLOSING) == [old[0].slot]


def test_for_each_waiter_one_session_is_ended_and_not_more() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=3), pool(cap=3)
    for place, loan in [borrow(ledger, theirs) for _ in range(3)]:
        ledger.release(place, loan, NOW)
    enter(ledger, ours)
    ledger.pump(NOW)
    assert ledger.count(State.CLOSING) == 1
    enter(ledger, ours)
    assert ledger.count(State.CLOSING) == 2
    assert ledger.count(State.CLOSING, theirs) == 2
    assert ledger.count(State.CLOSING, ours) == 0


def test_a_slot_on_its_way_is_not_opened_twice_for_one_waiter() -> None:
    ledger, tenant = Ledger(), pool(cap=3)
    enter(ledger, tenant)
    ledger.greeted(ledger.slots[0], NOW)
    assert states(ledger) == [State.OPENING]


def test_one_session_serves_as_many_as_it_has_places() -> None:
    ledger, tenant = Ledger(), pool(cap=2, places=3)
    waiters = [enter(ledger, tenant) for _ in range(4)]
    slot = log_in(ledger)
    assert [waiter.place is not None for waiter in waiters] == [True, True, True, False]
    assert states(ledger) == [State.OPEN, State.OPENING]
    assert {waiter.place for waiter in waiters[:3]} == set(slot.places)


def test_room_is_kept_for_whoever_may_not_open_yet() -> None:
    # The other pool has logged in before and might open at once; ours must wait for an open.
    ledger, ours, theirs = Ledger(), Tenant(cap=2), pool(cap=2)
    enter(ledger, theirs)
    ledger.greeted(ledger.slots[0], NOW)
    first, second = enter(ledger, ours), enter(ledger, theirs)
    assert [slot.tenant for slot in ledger.slots] == [theirs]
    log_in(ledger)
    assert [slot.tenant for slot in ledger.slots] == [theirs, ours]
    log_in(ledger)
    assert first.served
    assert not second.served


def test_in_a_back_off_room_is_kept_once_for_all_whom_one_connection_will_serve() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=2, places=3), pool(cap=2)
    ledger.release(*borrow(ledger, theirs), NOW)
    ledger.not_before = NOW + 5.0
    for _ in range(3):
        enter(ledger, ours)
    assert states(ledger) == [State.OPEN]
    enter(ledger, ours)
    assert states(ledger) == [State.OPEN], "nothing could be opened in its place yet"
    ledger.pump(NOW + 5.0)
    assert states(ledger) == [State.CLOSING, State.OPENING]


# -- giving, accepting, giving back ----------------------------------------------------------------


def test_what_comes_too_late_for_one_goes_to_the_next() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    place, loan = borrow(ledger, tenant)
    late, second = enter(ledger, tenant), enter(ledger, tenant)
    ledger.release(place, loan, NOW)
    assert place_of(late) is place
    ledger.cancel(late, NOW + 1)
    assert place_of(second) is place
    assert owner_of(second.place) is second
    assert list(ledger.waiters) == [second]


def test_who_declines_a_dead_session_keeps_his_turn() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    place, loan = borrow(ledger, tenant)
    first, second = enter(ledger, tenant), enter(ledger, tenant)
    ledger.release(place, loan, NOW)
    ledger.decline(first, NOW)
    assert place_of(first) is None
    assert states(ledger) == [State.CLOSING]
    close(ledger)
    ledger.pump(NOW + FIRST_SETTLE)
    log_in(ledger)
    assert first.place is not None
    assert place_of(second) is None


def test_a_doomed_session_is_not_lent_again_and_ends_with_its_last_borrower() -> None:
    ledger, tenant = Ledger(), pool(cap=1, places=2)
    one, other = borrow(ledger, tenant), borrow(ledger, tenant)
    ledger.release(*one, NOW, doom=True)
    waiter = enter(ledger, tenant)
    assert place_of(waiter) is None
    assert states(ledger) == [State.OPEN]
    ledger.release(*other, NOW)
    assert states(ledger) == [State.CLOSING]


def test_a_place_is_given_back_once() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    place, loan = borrow(ledger, tenant)
    waiter = enter(ledger, tenant)
    assert ledger.release(place, loan, NOW)
    assert not ledger.release(place, loan, NOW, doom=True)
    assert place_of(waiter) is place
    assert not place.slot.doomed


def test_accepting_is_counted_with_the_time_that_it_took() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    first, second = enter(ledger, tenant), enter(ledger, tenant)
    log_in(ledger, NOW + 2)
    ledger.release(*accept(ledger, first, NOW + 2), NOW + 3)
    accept(ledger, second, NOW + 5)
    totals = tenant.totals
    assert (totals.acquired, totals.reused, totals.opened) == (2, 1, 1)
    assert (totals.wait_seconds, totals.wait_max) == (7.0, 5.0)


def test_closes_are_counted_by_their_manner() -> None:
    ledger, tenant = Ledger(), pool()
    for politely in (True, False, False):
        ledger.release(*borrow(ledger, tenant), NOW, doom=True)
        ledger.closed(ledger.slots[-1], NOW, politely=politely)
        ledger.pump(NOW + 1)
    assert (tenant.totals.closed, tenant.totals.quits, tenant.totals.cut) == (3, 1, 2)


# -- opening ---------------------------------------------------------------------------------------


def test_the_next_open_starts_when_the_one_before_has_its_greeting() -> None:
    ledger, tenant = Ledger(), pool(cap=3)
    for _ in range(3):
        enter(ledger, tenant)
    assert len(ledger.slots) == 1
    ledger.greeted(ledger.slots[0], NOW)
    assert len(ledger.slots) == 2
    ledger.greeted(ledger.slots[1], NOW)
    assert len(ledger.slots) == 3


def test_after_a_failure_opens_go_strictly_one_by_one_until_one_succeeds() -> None:
    ledger, tenant = Ledger(), pool(cap=4)
    for _ in range(4):
        enter(ledger, tenant)
    refuse(ledger)
    assert (ledger.failures, ledger.last_failure) == (1, REFUSED)
    ledger.greeted(jobs(ledger, State.OPENING)[0], NOW)
    assert ledger.count(State.OPENING) == 1
    log_in(ledger)
    assert (ledger.failures, ledger.last_failure) == (0, None)
    ledger.greeted(jobs(ledger, State.OPENING)[0], NOW)
    assert ledger.count(State.OPENING) == 2


def test_credentials_that_never_logged_in_are_tried_one_by_one() -> None:
    ledger, tenant = Ledger(), Tenant(cap=3)
    for _ in range(3):
        enter(ledger, tenant)
    ledger.greeted(ledger.slots[0], NOW)
    assert len(ledger.slots) == 1
    log_in(ledger)
    assert tenant.proven
    assert len(ledger.slots) == 2
    ledger.greeted(ledger.slots[1], NOW)
    assert len(ledger.slots) == 3


def holding(cap: int = 3) -> Tenant:
    """A pool whose connections wait with their login until the credentials are proven."""
    return Tenant(cap=cap, holds=True)


def open_up_to_the_login(ledger: Ledger, tenant: Tenant) -> list[Slot]:
    """As many connections as there may be; the first one logs in, the others are to wait."""
    for _ in range(tenant.cap):
        enter(ledger, tenant)
    for slot in ledger.slots:  # it grows: each greeting lets the next one begin
        ledger.greeted(slot, NOW)
    granted = [ledger.may_log_in(slot) for slot in ledger.slots]
    assert granted == [True] + [None] * (tenant.cap - 1)
    return list(ledger.slots)


def test_connections_wait_with_the_login_until_the_first_one_has_succeeded() -> None:
    ledger, tenant = Ledger(), holding()
    _, second, third = open_up_to_the_login(ledger, tenant)
    log_in(ledger)
    assert ledger.may_log_in(second)
    assert ledger.may_log_in(third)


def test_after_a_failed_login_those_who_waited_for_it_end_without_one() -> None:
    ledger, tenant = Ledger(), holding()
    first, second, third = open_up_to_the_login(ledger, tenant)
    ledger.open_failed(first, AuthError("530"), NOW, delay=0.0, for_good=True)
    for slot in (second, third):
        assert ledger.may_log_in(slot) is False
        ledger.withdrawn(slot, NOW)
        assert state_of(slot) is State.SETTLING
    ledger.pump(NOW + FIRST_SETTLE)
    assert ledger.slots == []
    assert not tenant.totals.opened


def test_after_a_refused_login_the_next_one_comes_when_the_back_off_is_over() -> None:
    ledger, tenant = Ledger(), holding()
    first, second, third = open_up_to_the_login(ledger, tenant)
    ledger.open_failed(first, REFUSED, NOW, delay=5.0, for_good=False)
    for slot in (second, third):
        assert ledger.may_log_in(slot) is False
        ledger.withdrawn(slot, NOW)
    ledger.pump(NOW + 4.9)
    assert ledger.slots == []
    ledger.pump(NOW + 5.0)
    (slot,) = ledger.slots
    ledger.greeted(slot, NOW + 5.0)
    assert ledger.slots == [slot], "after a refusal one by one"
    assert ledger.may_log_in(slot)


def test_a_rejected_password_is_not_tried_again_for_nobody() -> None:
    ledger, tenant = Ledger(), holding(cap=1)
    (first,) = open_up_to_the_login(ledger, tenant)
    ledger.open_failed(first, AuthError("530"), NOW, delay=0.0, for_good=True)
    ledger.pump(NOW + 1)
    late = enter(ledger, tenant, now=NOW + 1)
    (second,) = ledger.slots
    ledger.greeted(second, NOW + 1)
    ledger.cancel(late, NOW + 1)
    assert ledger.may_log_in(second) is False
    enter(ledger, tenant, now=NOW + 1)
    assert ledger.may_log_in(second), "but for somebody who asks for it"
    log_in(ledger)
    assert not tenant.rejected


def test_a_closed_pool_tries_no_password() -> None:
    ledger, tenant = Ledger(), holding()
    slots = open_up_to_the_login(ledger, tenant)
    ledger.shut(tenant, NOW)
    assert [ledger.may_log_in(slot) for slot in slots] == [False] * 3


def test_a_password_of_another_pool_that_was_never_accepted_waits_too() -> None:
    ledger, tenant, other, plain = Ledger(), holding(), holding(), Tenant(cap=4)
    first, *_ = open_up_to_the_login(ledger, tenant)
    ledger.open_failed(first, AuthError("530"), NOW, delay=0.0, for_good=True)
    for slot in list(ledger.slots[1:]):
        ledger.withdrawn(slot, NOW)
    ledger.pump(NOW + 1)
    enter(ledger, plain, now=NOW + 1)  # it does not ask
    ledger.greeted(ledger.slots[0], NOW + 1)
    enter(ledger, other, now=NOW + 1)
    ledger.greeted(ledger.slots[1], NOW + 1)
    assert ledger.may_log_in(ledger.slots[1]) is None
    log_in(ledger, NOW + 1)
    assert ledger.may_log_in(ledger.slots[1])


def test_no_idle_session_of_others_ends_while_the_slots_of_ended_connections_settle() -> None:
    ledger, rich, tenant = Ledger(), pool(cap=3), holding()
    place, loan = borrow(ledger, rich)
    ledger.release(place, loan, NOW)
    for _ in range(2):
        enter(ledger, tenant)
        ledger.greeted(ledger.slots[-1], NOW)
    first, second = jobs(ledger, State.OPENING)
    assert ledger.may_log_in(first)
    ledger.open_failed(first, REFUSED, NOW, delay=0.0, for_good=False)
    assert second.doomed
    assert jobs(ledger, State.OPEN) == [place.slot]
    ledger.withdrawn(second, NOW)
    assert jobs(ledger, State.OPEN) == [place.slot]


def test_at_a_login_those_do_not_count_that_wait_for_theirs() -> None:
    ledger, tenant = Ledger(), holding()
    first, *_ = open_up_to_the_login(ledger, tenant)
    words = {"hint": None, "of_user": False, "of_server": False}
    assert ledger.refused(first, NOW, **words) is None  # type: ignore[arg-type]  # terms by name
    assert ledger.learned is None


def test_nothing_is_opened_before_the_back_off_is_over() -> None:
    ledger, tenant = Ledger(), pool(cap=2)
    enter(ledger, tenant)
    refuse(ledger, delay=5.0)
    ledger.pump(NOW + 4.9)
    assert ledger.slots == []
    assert ledger.next_deadline(NOW + 4.9) == NOW + 5.0
    ledger.pump(NOW + 5.0)
    assert states(ledger) == [State.OPENING]


def test_a_shorter_back_off_does_not_end_a_longer_one() -> None:
    ledger, tenant = Ledger(), pool(cap=2)
    for _ in range(2):
        enter(ledger, tenant)
    ledger.greeted(ledger.slots[0], NOW)
    refuse(ledger, delay=600.0)
    refuse(ledger, delay=0.1)
    assert ledger.not_before == NOW + 600.0


def test_an_error_for_good_goes_to_the_waiters_of_that_pool_only() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=3), pool(cap=3)
    given = enter(ledger, ours)
    log_in(ledger)
    mine, other, also_mine = (enter(ledger, tenant) for tenant in (ours, theirs, ours))
    error = AuthError("530 wrong password")
    slot = jobs(ledger, State.OPENING)[0]
    assert slot.tenant is ours
    ledger.open_failed(slot, error, NOW, delay=0.0, for_good=True)
    assert mine.error is also_mine.error is error
    assert given.error is other.error is None
    assert ledger.failures == 0
    assert ledger.last_failure is None
    assert [slot.tenant for slot in jobs(ledger, State.OPENING)] == [theirs]


def test_a_failure_that_may_pass_goes_to_nobody() -> None:
    ledger, tenant = Ledger(), pool()
    waiter = enter(ledger, tenant)
    refuse(ledger)
    assert not waiter.served


# -- learning --------------------------------------------------------------------------------------


def refused_with(connections: int, cap: int = 5) -> tuple[Ledger, Tenant]:
    """So many sessions are open; the next open has begun."""
    ledger, tenant = Ledger(), pool(cap=cap)
    for _ in range(connections):
        borrow(ledger, tenant)
    enter(ledger, tenant)
    ledger.greeted(ledger.slots[-1], NOW)
    return ledger, tenant


def test_a_refusal_teaches_how_many_connections_there_were() -> None:
    ledger, tenant = refused_with(3)
    assert ledger.effective == 5
    refuse(ledger)
    assert ledger.learned == 3
    assert ledger.effective == 3
    assert tenant.learned is None


@pytest.mark.parametrize(("hint", "learned"), [(None, 3), (5, 3), (3, 3), (2, 2), (1, 1), (0, 3)])
def test_a_number_in_the_refusal_counts_if_it_is_lower(hint: int | None, learned: int) -> None:
    ledger, _ = refused_with(3)
    refuse(ledger, hint=hint)
    assert ledger.learned == learned


def test_a_refusal_without_a_connection_of_ours_teaches_nothing() -> None:
    ledger, tenant = refused_with(0)
    refuse(ledger, hint=1)
    assert ledger.learned is None
    assert tenant.learned is None


def test_words_about_the_whole_server_teach_nothing() -> None:
    ledger, tenant = refused_with(3)
    refuse(ledger, hint=1, of_server=True)
    assert ledger.learned is None
    assert tenant.learned is None


def test_what_was_learned_only_falls() -> None:
    ledger, _ = refused_with(3)
    ledger.learned = 1
    refuse(ledger)
    assert ledger.learned == 1


def test_words_about_a_user_teach_about_his_pool_and_count_only_his_connections() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=6), pool(cap=6)
    for tenant in (theirs, theirs, ours):
        borrow(ledger, tenant)
    waiter = enter(ledger, ours)
    refuse(ledger, of_user=True)
    assert (ledger.learned, ours.learned, theirs.learned) == (None, 1, None)
    ledger.pump(NOW + 1)
    assert ledger.count(State.OPENING) == 0
    assert not waiter.served
    enter(ledger, theirs)
    assert [slot.tenant for slot in jobs(ledger, State.OPENING)] == [theirs]


def test_the_ended_connections_of_other_users_teach_nothing_about_this_one() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=3), pool(cap=3)
    ledger.release(*borrow(ledger, theirs), NOW, doom=True)
    close(ledger)
    ledger.pump(NOW + FIRST_SETTLE)
    enter(ledger, ours, now=NOW + FIRST_SETTLE)
    refuse(ledger, NOW + 0.1, of_user=True)
    assert ours.learned is None


def test_a_connection_that_ended_within_the_last_second_counts() -> None:
    ledger, tenant = Ledger(), pool(cap=5)
    borrow(ledger, tenant)
    ledger.release(*borrow(ledger, tenant), NOW, doom=True)
    close(ledger)
    ended = NOW + FIRST_SETTLE
    ledger.pump(ended)
    for _ in range(2):
        enter(ledger, tenant, now=ended)
    slot = jobs(ledger, State.OPENING)[0]
    ledger.refused(slot, ended + MEMORY - 0.01, hint=None, of_user=False, of_server=False)
    assert ledger.learned == 2
    ledger.refused(slot, ended + MEMORY, hint=None, of_user=False, of_server=False)
    assert ledger.learned == 1


def test_a_refusal_after_a_close_of_ours_doubles_the_time_to_settle_up_to_half_a_second() -> None:
    ledger, tenant = Ledger(), pool(cap=2)
    enter(ledger, tenant)
    log_in(ledger)
    slot = ledger.slots[0]
    slot.move(Event.CLOSE)
    enter(ledger, tenant)
    opening = jobs(ledger, State.OPENING)[0]
    for settle in (0.1, 0.2, 0.4, LONGEST_SETTLE, LONGEST_SETTLE):
        ledger.refused(opening, NOW, hint=None, of_user=False, of_server=True)
        assert ledger.settle == settle
    ledger.open_failed(opening, REFUSED, NOW, delay=0.0, for_good=False)
    assert opening.settled_at == NOW + LONGEST_SETTLE


def test_a_refusal_while_another_login_is_under_way_does_not_double_it() -> None:
    ledger, tenant = Ledger(), pool(cap=2)
    for _ in range(2):
        enter(ledger, tenant)
    ledger.greeted(ledger.slots[0], NOW)
    ledger.refused(ledger.slots[1], NOW, hint=None, of_user=False, of_server=False)
    assert ledger.settle == FIRST_SETTLE
    assert ledger.learned == 1


@pytest.mark.parametrize("of_user", [False, True])
def test_when_a_lesson_is_due_one_more_is_tried(of_user: bool) -> None:
    ledger, tenant = Ledger(), pool(cap=5)
    borrow(ledger, tenant)
    waiters = [enter(ledger, tenant) for _ in range(3)]
    refuse(ledger, of_user=of_user)
    assert (tenant.learned if of_user else ledger.learned) == 1
    ledger.taught(tenant if of_user else None, 1, NOW + 300, NOW)
    ledger.pump(NOW + 299)
    assert states(ledger) == [State.OPEN]
    assert of_user or ledger.next_deadline(NOW + 299) == NOW + 300
    ledger.pump(NOW + 300)
    assert states(ledger) == [State.OPEN, State.OPENING]
    ledger.pump(NOW + 301)
    assert states(ledger) == [State.OPEN, State.OPENING], "one, and not one after another"
    assert not any(waiter.served for waiter in waiters)


def test_a_probe_under_way_is_no_surplus_although_the_next_one_is_far() -> None:
    ledger, tenant = Ledger(), pool(cap=5)
    held = borrow(ledger, tenant)
    ledger.taught(None, 1, NOW, NOW)
    enter(ledger, tenant)
    assert states(ledger) == [State.OPEN, State.OPENING]
    ledger.taught(None, 1, NOW + 300, NOW)  # the limiter has noted that one is tried
    ledger.release(*held, NOW)
    assert states(ledger) == [State.OPEN, State.OPENING]
    ledger.taught(None, 2, NOW + 300, NOW)
    log_in(ledger)
    assert states(ledger) == [State.OPEN, State.OPEN]


def test_a_lesson_that_was_learned_elsewhere_ends_idle_sessions_beyond_it() -> None:
    ledger, tenant = Ledger(), pool(cap=3)
    held = [borrow(ledger, tenant) for _ in range(3)]
    ledger.release(*held[0], NOW)
    ledger.taught(None, 1, NOW + 300, NOW)
    assert states(ledger) == [State.CLOSING, State.OPEN, State.OPEN]
    ledger.release(*held[1], NOW)
    assert states(ledger) == [State.CLOSING, State.CLOSING, State.OPEN]


def test_a_lesson_may_be_taken_back() -> None:
    ledger, tenant = Ledger(), pool(cap=3)
    ledger.taught(None, 1, NOW + 300, NOW)
    ledger.taught(tenant, 1, NOW + 300, NOW)
    borrow(ledger, tenant)
    enter(ledger, tenant)
    assert states(ledger) == [State.OPEN]
    ledger.taught(None, None, inf, NOW)
    ledger.taught(tenant, None, inf, NOW)
    assert states(ledger) == [State.OPEN, State.OPENING]


def test_after_thirty_connects_without_a_login_within_a_minute_there_is_a_pause() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    waiter, now = enter(ledger, tenant), NOW
    for _ in range(BUDGET):
        slot = jobs(ledger, State.OPENING)[0]
        ledger.open_failed(slot, REFUSED, now, delay=0.0, for_good=False)
        now += 1.0
        ledger.pump(now)
    assert states(ledger) == []
    assert ledger.next_deadline(now) == NOW + BUDGET_TIME
    ledger.pump(NOW + BUDGET_TIME)
    assert states(ledger) == [State.OPENING]
    assert not waiter.served


def test_opens_that_never_connected_do_not_use_up_the_budget() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    for _ in range(2 * BUDGET):
        waiter = enter(ledger, tenant)
        slot = jobs(ledger, State.OPENING)[0]
        ledger.open_failed(slot, REFUSED, NOW, delay=0.0, for_good=True, connected=False)
        assert waiter.error is REFUSED
        ledger.cancel(waiter, NOW)
        ledger.pump(NOW + 1)


def test_a_user_who_may_have_no_more_holds_nobody_else_up() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=3, user="one"), pool(cap=3, user="two")
    enter(ledger, ours)
    ledger.denied(jobs(ledger, State.OPENING)[0], NOW, delay=0.2, of_user=True)
    enter(ledger, theirs)
    assert [slot.tenant for slot in jobs(ledger, State.OPENING)] == [theirs]
    assert ledger.next_deadline(NOW) == NOW + 0.2
    log_in(ledger)
    ledger.pump(NOW + 0.2)
    assert [slot.tenant for slot in jobs(ledger, State.OPENING)] == [ours]


def test_pools_of_one_user_are_one_to_the_server() -> None:
    ledger, ours, same = Ledger(), pool(cap=6, user="one"), pool(cap=6, user="one")
    for _ in range(2):
        borrow(ledger, ours)
    borrow(ledger, same)
    enter(ledger, same)
    slot = jobs(ledger, State.OPENING)[0]
    assert ledger.refused(slot, NOW, hint=None, of_user=True, of_server=False) == 3


# -- sessions of several places --------------------------------------------------------------------


def test_a_session_that_is_never_idle_is_drained_for_a_pool_that_waits() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=1, places=2), pool(cap=1, places=2)
    one, two = borrow(ledger, ours), borrow(ledger, ours)
    waiter = enter(ledger, theirs)
    late = enter(ledger, ours)
    ledger.release(*one, NOW)
    assert not late.served, "it came later, and would keep the session busy"
    ledger.release(*two, NOW)
    assert states(ledger) == [State.CLOSING]
    close(ledger)
    ledger.pump(NOW + 1)
    assert [slot.tenant for slot in jobs(ledger, State.OPENING)] == [theirs]
    assert not waiter.served


def test_a_busy_session_of_several_places_beyond_the_cap_takes_no_new_borrower() -> None:
    ledger, tenant = Ledger(), pool(cap=2, places=2)
    held = [borrow(ledger, tenant) for _ in range(4)]
    ledger.taught(None, 1, NOW + 300, NOW)
    ledger.release(*held[0], NOW)
    ledger.release(*held[2], NOW)
    waiter = enter(ledger, tenant)
    assert waiter.place is not None
    assert sum(slot.doomed for slot in ledger.slots) == 1
    assert not waiter.place.slot.doomed


# -- the cap ---------------------------------------------------------------------------------------


def test_an_empty_ledger_may_take_one_slot() -> None:
    ledger = Ledger()
    assert ledger.cap is None
    assert ledger.effective == 1
    ledger.learned = 3
    assert ledger.effective == 3


def test_the_smallest_cap_of_those_that_hold_or_wait_counts() -> None:
    ledger, big, small = Ledger(), pool(cap=3), pool(cap=1)
    one = borrow(ledger, big)
    borrow(ledger, big)
    assert ledger.effective == 3
    waiter = enter(ledger, small)
    assert ledger.effective == 1
    ledger.release(*one, NOW)
    assert states(ledger) == [State.CLOSING, State.OPEN]
    ledger.cancel(waiter, NOW)
    assert ledger.effective == 3


def test_a_waiter_that_has_got_an_error_counts_no_more() -> None:
    ledger, big, small = Ledger(), pool(cap=3), pool(cap=1)
    borrow(ledger, big, "thread")
    enter(ledger, small)
    ledger.shut(small, NOW)
    assert ledger.effective == 3
    waiter = enter(ledger, big, "thread")
    assert not deadlocked(ledger, waiter, NOW)
    assert states(ledger) == [State.OPEN, State.OPENING]


def test_when_the_cap_falls_the_surplus_is_ended_the_longest_unused_first() -> None:
    ledger, tenant = Ledger(), pool(cap=3)
    loans = [borrow(ledger, tenant) for _ in range(3)]
    ledger.release(*loans[2], NOW + 1)
    ledger.release(*loans[0], NOW + 2)
    tenant.cap = 2
    ledger.pump(NOW + 3)
    assert jobs(ledger, State.CLOSING) == [loans[2][0].slot]
    tenant.cap = 1
    ledger.pump(NOW + 3)
    assert jobs(ledger, State.CLOSING) == [loans[0][0].slot, loans[2][0].slot]


def test_a_session_that_ends_anyway_does_not_stand_in_for_a_surplus_one() -> None:
    ledger, tenant = Ledger(), pool(cap=3)
    old, young, _ = (borrow(ledger, tenant) for _ in range(3))
    ledger.release(*old, NOW)
    ledger.release(*young, NOW + 1)
    old[0].slot.expires = NOW + 2
    tenant.cap = 1
    ledger.pump(NOW + 2)
    assert ledger.count(State.CLOSING) == 2


# -- the end of a session --------------------------------------------------------------------------


def test_an_unused_session_is_ended_after_max_idle() -> None:
    ledger, tenant = Ledger(), pool(max_idle=30.0)
    ledger.release(*borrow(ledger, tenant), NOW)
    assert ledger.next_deadline(NOW) == NOW + 30.0
    ledger.pump(NOW + 29.9)
    assert states(ledger) == [State.OPEN]
    ledger.pump(NOW + 30.0)
    assert states(ledger) == [State.CLOSING]


def test_an_unused_session_is_lent_rather_than_ended() -> None:
    ledger, tenant = Ledger(), pool(max_idle=30.0)
    place, loan = borrow(ledger, tenant)
    ledger.release(place, loan, NOW)
    assert enter(ledger, tenant, now=NOW + 31).place is place


def test_max_idle_0_ends_a_session_whenever_it_is_given_back() -> None:
    ledger, tenant = Ledger(), pool(cap=1, max_idle=0)
    place, loan = borrow(ledger, tenant)
    waiter = enter(ledger, tenant)
    ledger.release(place, loan, NOW)
    assert states(ledger) == [State.CLOSING]
    assert place_of(waiter) is None


def test_max_idle_0_ends_a_session_that_nobody_waits_for_any_more() -> None:
    ledger, tenant = Ledger(), pool(max_idle=0)
    ledger.cancel(enter(ledger, tenant), NOW)
    log_in(ledger)
    assert states(ledger) == [State.CLOSING]


def test_a_session_is_ended_at_the_end_of_its_life_as_soon_as_nobody_uses_it() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    enter(ledger, tenant)
    slot = log_in(ledger, lifetime=10.0)
    place, loan = accept(ledger, next(iter(ledger.waiters)))
    waiter = enter(ledger, tenant, now=NOW + 10)
    assert state_of(slot) is State.OPEN
    ledger.release(place, loan, NOW + 10)
    assert state_of(slot) is State.CLOSING
    assert place_of(waiter) is None


def test_an_idle_session_is_ended_at_the_end_of_its_life() -> None:
    ledger, tenant = Ledger(), pool(max_idle=100.0)
    ledger.cancel(enter(ledger, tenant), NOW)
    log_in(ledger, lifetime=10.0)
    assert ledger.next_deadline(NOW) == NOW + 10.0
    ledger.pump(NOW + 10.0)
    assert states(ledger) == [State.CLOSING]


def test_a_session_with_several_places_is_not_lent_beyond_its_life() -> None:
    ledger, tenant = Ledger(), pool(cap=1, places=2)
    enter(ledger, tenant)
    log_in(ledger, lifetime=10.0)
    accept(ledger, next(iter(ledger.waiters)))
    assert enter(ledger, tenant, now=NOW + 10).place is None


def test_expire_ends_the_sessions_of_now_and_spares_those_to_come() -> None:
    ledger, tenant = Ledger(), pool(cap=3, places=2)
    busy = borrow(ledger, tenant)
    borrow(ledger, tenant)
    idle = borrow(ledger, tenant)
    ledger.release(*idle, NOW)
    ledger.expire(tenant, NOW)
    assert states(ledger) == [State.OPEN, State.CLOSING]
    ledger.release(*busy, NOW)
    waiter = enter(ledger, tenant)
    assert place_of(waiter) is None, "a place of an expired session is free, but not lent"
    log_in(ledger)
    assert waiter.place is not None
    ledger.release(*accept(ledger, waiter), NOW)
    assert states(ledger) == [State.OPEN, State.CLOSING, State.OPEN]


def test_an_open_that_began_before_expire_ends_too() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    waiter = enter(ledger, tenant)
    ledger.expire(tenant, NOW)
    log_in(ledger)
    assert states(ledger) == [State.CLOSING]
    assert place_of(waiter) is None


def test_a_revoked_session_is_ended_and_its_borrower_has_nothing_to_give_back() -> None:
    ledger, tenant = Ledger(), pool(places=2)
    place, loan = borrow(ledger, tenant)
    given = enter(ledger, tenant)
    ledger.revoke(place.slot, NOW)
    assert state_of(place.slot) is State.CLOSING
    assert not ledger.release(place, loan, NOW)
    assert place_of(given) is None
    assert states(ledger) == [State.CLOSING, State.OPENING], "his turn is not lost"


# -- the end of a pool -----------------------------------------------------------------------------


def test_shut_fails_the_waiters_of_that_pool_and_ends_what_nobody_uses() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=3), pool(cap=3)
    busy, idle, other = borrow(ledger, ours), borrow(ledger, ours), borrow(ledger, theirs)
    mine, also_mine, foreign = (enter(ledger, tenant) for tenant in (ours, ours, theirs))
    ledger.shut(ours, NOW)
    assert isinstance(mine.error, PoolClosed)
    assert isinstance(also_mine.error, PoolClosed)
    assert foreign.error is None
    ledger.release(*idle, NOW)
    assert state_of(idle[0].slot) is State.CLOSING
    assert state_of(busy[0].slot) is State.OPEN
    assert state_of(other[0].slot) is State.OPEN
    ledger.release(*busy, NOW)
    assert state_of(busy[0].slot) is State.CLOSING


def test_who_comes_to_a_closed_pool_is_told_so_at_once() -> None:
    ledger, tenant = Ledger(), pool()
    ledger.shut(tenant, NOW)
    waiter = enter(ledger, tenant)
    assert isinstance(waiter.error, PoolClosed)
    assert not ledger.waiters
    assert not ledger.slots


def test_an_open_that_began_before_shut_ends_too() -> None:
    ledger, tenant = Ledger(), pool()
    enter(ledger, tenant)
    ledger.shut(tenant, NOW)
    log_in(ledger)
    assert states(ledger) == [State.CLOSING]


def test_who_declines_a_dead_session_of_a_closed_pool_is_told_so() -> None:
    ledger, tenant = Ledger(), pool()
    waiter = enter(ledger, tenant)
    log_in(ledger)
    ledger.shut(tenant, NOW)
    assert waiter.place is not None
    ledger.decline(waiter, NOW)
    assert isinstance(waiter.error, PoolClosed)
    assert states(ledger) == [State.CLOSING]


def test_who_declines_what_was_revoked_meanwhile_changes_nothing() -> None:
    ledger, tenant = Ledger(), pool()
    waiter = enter(ledger, tenant)
    slot = log_in(ledger)
    ledger.shut(tenant, NOW)
    ledger.revoke(slot, NOW)
    ledger.decline(waiter, NOW)
    assert isinstance(waiter.error, PoolClosed)
    assert states(ledger) == [State.CLOSING]


def test_who_is_robbed_of_what_he_was_given_by_a_closed_pool_is_told_so() -> None:
    ledger, tenant = Ledger(), pool()
    waiter = enter(ledger, tenant)
    slot = log_in(ledger)
    ledger.shut(tenant, NOW)
    ledger.revoke(slot, NOW)
    assert place_of(waiter) is None
    assert isinstance(waiter.error, PoolClosed)
    assert states(ledger) == [State.CLOSING]


# -- deadlock --------------------------------------------------------------------------------------


def test_a_thread_that_holds_the_only_place_and_asks_for_another_is_told() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    borrow(ledger, tenant, "thread")
    assert deadlocked(ledger, enter(ledger, tenant, "thread"), NOW)


def test_two_threads_that_hold_one_place_each_and_ask_for_another_are_deadlocked() -> None:
    ledger, tenant = Ledger(), pool(cap=2)
    borrow(ledger, tenant, "one")
    borrow(ledger, tenant, "two")
    assert not deadlocked(ledger, enter(ledger, tenant, "one"), NOW), "two may give its place back"
    assert deadlocked(ledger, enter(ledger, tenant, "two"), NOW)


def test_a_worker_waits_on_behalf_of_a_caller_that_holds_a_place() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    borrow(ledger, tenant, "caller")
    assert deadlocked(ledger, enter(ledger, tenant, "worker", "caller"), NOW)


def test_a_worker_that_works_is_waited_for() -> None:
    ledger, tenant = Ledger(), pool(cap=2)
    borrow(ledger, tenant, "caller")
    borrow(ledger, tenant, "worker 1", "caller")
    assert not deadlocked(ledger, enter(ledger, tenant, "worker 2", "caller"), NOW)


def test_a_thread_that_holds_nothing_may_wait_for_the_deadlocked() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    borrow(ledger, tenant, "thread")
    assert not deadlocked(ledger, enter(ledger, tenant, "bystander"), NOW)


def test_whoever_is_served_is_not_deadlocked() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    ledger.release(*borrow(ledger, tenant, "thread"), NOW)
    waiter = enter(ledger, tenant, "thread")
    assert waiter.served
    assert not deadlocked(ledger, waiter, NOW)


def test_a_slot_on_its_way_or_room_for_one_is_no_deadlock() -> None:
    ledger, tenant = Ledger(), pool(cap=2)
    borrow(ledger, tenant, "thread")
    waiter = enter(ledger, tenant, "thread")
    assert not deadlocked(ledger, waiter, NOW), "one is on its way"
    refuse(ledger, delay=5.0, of_server=True)
    assert not deadlocked(ledger, waiter, NOW), "one is settling"
    ledger.pump(NOW + 1)
    assert not deadlocked(ledger, waiter, NOW), "there is room, and a back-off that will pass"
    ledger.learned = 1
    assert deadlocked(ledger, waiter, NOW), "there is no room any more"


def test_a_slot_on_its_way_at_a_full_address_is_no_deadlock() -> None:
    ledger, tenant = Ledger(), pool(cap=2)
    borrow(ledger, tenant, "thread")
    enter(ledger, tenant, "other")
    assert not deadlocked(ledger, enter(ledger, tenant, "thread"), NOW)


def test_a_place_that_was_given_but_not_accepted_may_come_back() -> None:
    ledger, tenant = Ledger(), pool(cap=1, places=2)
    borrow(ledger, tenant, "thread")
    enter(ledger, tenant, "other")
    assert not deadlocked(ledger, enter(ledger, tenant, "thread"), NOW)


def test_a_free_place_of_another_pool_is_no_deadlock() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=1), pool(cap=1, places=2)
    borrow(ledger, theirs, "thread")
    assert not deadlocked(ledger, enter(ledger, ours, "thread"), NOW)


def test_a_limit_of_one_user_makes_a_deadlock_although_the_address_has_room() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=3), pool(cap=3)
    ours.learned = 1
    borrow(ledger, ours, "thread")
    borrow(ledger, theirs, "other")
    assert deadlocked(ledger, enter(ledger, ours, "thread"), NOW)


def test_at_the_limit_of_one_user_another_of_his_threads_may_give_back() -> None:
    ledger, tenant = Ledger(), pool(cap=3)
    tenant.learned = 2
    borrow(ledger, tenant, "thread")
    borrow(ledger, tenant, "other")
    assert not deadlocked(ledger, enter(ledger, tenant, "thread"), NOW)


def test_at_the_limit_of_one_user_a_thread_that_waits_elsewhere_may_give_back() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=3), pool(cap=3)
    ours.learned = 2
    borrow(ledger, ours, "one")
    borrow(ledger, ours, "two")
    enter(ledger, theirs, "two")
    assert not deadlocked(ledger, enter(ledger, ours, "one"), NOW)


def test_two_pools_can_deadlock_each_other() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=2), pool(cap=2)
    ours.learned = 1
    borrow(ledger, ours, "one")
    borrow(ledger, theirs, "two")
    assert not deadlocked(ledger, enter(ledger, theirs, "one"), NOW)
    assert deadlocked(ledger, enter(ledger, ours, "two"), NOW)


# -- time ------------------------------------------------------------------------------------------


def test_without_slots_or_waiters_nothing_happens_by_the_clock() -> None:
    ledger = Ledger()
    assert ledger.next_deadline(NOW) is None
    ledger.not_before = NOW + 5
    assert ledger.next_deadline(NOW) is None, "nobody waits for the end of the back-off"


def test_the_next_deadline_is_the_nearest_of_settling_idling_and_back_off() -> None:
    ledger, tenant = Ledger(), pool(cap=3, max_idle=30.0)
    idle, busy, dead = (borrow(ledger, tenant) for _ in range(3))
    assert ledger.next_deadline(NOW) is None
    ledger.release(*idle, NOW)
    assert ledger.next_deadline(NOW) == NOW + 30.0
    ledger.release(*dead, NOW, doom=True)
    close(ledger)
    assert ledger.next_deadline(NOW) == NOW + FIRST_SETTLE
    ledger.pump(NOW + 1)
    ledger.not_before = NOW + 20.0
    ledger.release(*busy, NOW + 1)
    for _ in range(3):
        enter(ledger, tenant, now=NOW + 1)
    assert ledger.next_deadline(NOW + 1) == NOW + 20.0


def test_a_second_pump_changes_nothing() -> None:
    ledger, ours, theirs = Ledger(), pool(cap=2), pool(cap=2)
    for place, loan in [borrow(ledger, theirs), borrow(ledger, theirs)]:
        ledger.release(place, loan, NOW)
    enter(ledger, ours)
    before = states(ledger)
    for _ in range(3):
        ledger.pump(NOW)
        assert states(ledger) == before == [State.CLOSING, State.OPEN]


# -- interrupts: a borrower's call may end between any two stores ----------------------------------


def test_interrupted_before_the_waiter_knows_his_place_he_is_told_by_the_next_pump() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    place, _ = borrow(ledger, tenant)
    waiter = enter(ledger, tenant)
    place.owner = waiter
    assert place_of(waiter) is None
    assert ledger.pump(NOW) == [waiter]
    assert place_of(waiter) is place


def test_interrupted_waiters_are_forgotten_and_what_they_own_goes_on() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    first = enter(ledger, tenant)
    second = enter(ledger, tenant)
    log_in(ledger)
    first.alive = False
    ledger.pump(NOW)
    assert list(ledger.waiters) == [second]
    assert owner_of(second.place) is second


def test_interrupted_waiters_count_no_more_for_the_cap() -> None:
    ledger, big, small = Ledger(), pool(cap=3), pool(cap=1)
    borrow(ledger, big)
    waiter = enter(ledger, small)
    assert ledger.effective == 1
    waiter.alive = False
    assert ledger.effective == 3


def test_interrupted_before_he_knows_his_place_and_dead_he_does_not_keep_it() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    place, loan = borrow(ledger, tenant)
    waiter = enter(ledger, tenant)
    place.owner = waiter
    waiter.alive = False
    ledger.pump(NOW)
    assert owner_of(place) is None
    assert not ledger.release(place, loan, NOW)


def test_interrupted_after_the_owner_was_stored_a_lost_lease_gives_the_place_back() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    waiter = enter(ledger, tenant)
    log_in(ledger)
    place, loan = waiter.place, Loan("thread")
    assert place is not None
    place.owner = loan
    waiter.alive = False
    ledger.pump(NOW)
    assert owner_of(place) is loan
    assert not ledger.waiters
    assert ledger.release(place, loan, NOW, doom=True), "what the mailbox does"
    assert states(ledger) == [State.CLOSING]


def test_interrupted_before_the_owner_was_stored_a_lost_lease_gives_nothing_back() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    waiter, second = enter(ledger, tenant), enter(ledger, tenant)
    slot = log_in(ledger)
    waiter.alive = False
    ledger.pump(NOW)
    assert not ledger.release(slot.places[0], Loan("thread"), NOW, doom=True)
    assert owner_of(second.place) is second
    assert not slot.doomed


def test_interrupted_after_the_place_was_free_a_second_release_harms_nobody() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    place, loan = borrow(ledger, tenant)
    waiter = enter(ledger, tenant)
    place.owner = None
    ledger.pump(NOW)
    assert not ledger.release(place, loan, NOW, doom=True)
    assert owner_of(waiter.place) is waiter


def test_interrupted_in_decline_the_dead_session_ends_with_its_waiter() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    waiter = enter(ledger, tenant)
    slot = log_in(ledger)
    slot.doomed = True
    waiter.place = None
    waiter.alive = False
    ledger.pump(NOW)
    assert state_of(slot) is State.CLOSING


def test_interrupted_in_shut_the_waiters_still_fail() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    waiter = enter(ledger, tenant)
    tenant.closed = True
    ledger.pump(NOW)
    assert isinstance(waiter.error, PoolClosed)


def test_interrupted_before_he_knows_his_place_an_error_for_good_comes_first() -> None:
    ledger, tenant = Ledger(), pool(cap=2)
    place, _ = borrow(ledger, tenant)
    waiter, second = enter(ledger, tenant), enter(ledger, tenant)
    place.owner = waiter
    error: FTPPoolError = AuthError("530 wrong password")
    ledger.open_failed(ledger.slots[1], error, NOW, delay=0.0, for_good=True)
    assert waiter.error is second.error is error
    assert place_of(waiter) is None
    assert owner_of(place) is None


def test_interrupted_while_a_slot_is_forgotten_its_permit_is_given_back_all_the_same() -> None:
    ledger, tenant = Ledger(), pool(cap=1)
    ledger.release(*borrow(ledger, tenant), NOW, doom=True)
    slot = close(ledger)
    ledger.freed.append(slot)
    ledger.pump(NOW + 1)
    assert set(ledger.freed) == {slot}
    assert ledger.slots == []
