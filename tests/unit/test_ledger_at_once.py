"""Borrowing without the queue, and giving back to the next in it: as a pump would have done it."""

from __future__ import annotations

from ftppool.ledger import Ledger
from ftppool.slots import Place, Slot, State, Tenant, Waiter

NOW = 1000.0


class Loan:
    def __init__(self, thread: int) -> None:
        self.thread = thread


def enter(ledger: Ledger, tenant: Tenant, thread: int = 99) -> Waiter:
    waiter = Waiter(tenant, (thread,), NOW)
    ledger.wait(waiter, NOW)
    return waiter


def held(tenant: Tenant, *, sessions: int, ledger: Ledger) -> list[tuple[Place, Loan]]:
    """Sessions in use."""
    loans = []
    for thread in range(sessions):
        waiter, loan = enter(ledger, tenant, thread), Loan(thread)
        slot = next(slot for slot in ledger.slots if slot.state is State.OPENING)
        ledger.opened(slot, object(), NOW, expires=NOW + 1800.0)
        loans.append((ledger.accept(waiter, loan, NOW), loan))
    return loans


def owner_of(place: Place) -> object:
    return place.owner


def state_of(slot: Slot) -> State:
    return slot.state


def test_what_nobody_uses_is_lent_at_once_the_one_that_was_used_last() -> None:
    ledger, tenant, loan = Ledger(), Tenant(cap=3, proven=True), Loan(9)
    loans = held(tenant, sessions=3, ledger=ledger)
    for seconds, number in enumerate((0, 2, 1)):
        ledger.release(*loans[number], NOW + seconds)
    place = ledger.take(tenant, loan, NOW + 3)
    assert place is loans[1][0]
    assert owner_of(place) is loan
    assert (tenant.totals.acquired, tenant.totals.reused) == (4, 1)


def test_a_newcomer_does_not_overtake_one_who_was_given_a_place_but_has_not_looked_at_it() -> None:
    ledger, tenant = Ledger(), Tenant(cap=2, proven=True)
    for place, loan in held(tenant, sessions=2, ledger=ledger):
        ledger.release(place, loan, NOW)
    first = enter(ledger, tenant)
    assert first.served
    assert ledger.take(tenant, Loan(9), NOW) is None


def test_a_closed_pool_lends_nothing_at_once() -> None:
    ledger, tenant = Ledger(), Tenant(cap=2, proven=True)
    ((place, loan),) = held(tenant, sessions=1, ledger=ledger)
    ledger.release(place, loan, NOW)
    tenant.closed = True  # and the pump that is to follow was interrupted
    assert ledger.take(tenant, Loan(9), NOW) is None


def test_who_found_a_dead_session_comes_before_those_who_came_meanwhile() -> None:
    ledger, tenant, loan = Ledger(), Tenant(cap=1, proven=True), Loan(9)
    ((place, before),) = held(tenant, sessions=1, ledger=ledger)
    ledger.release(place, before, NOW)
    assert ledger.take(tenant, loan, NOW) is place
    newcomer, unlucky = enter(ledger, tenant), Waiter(tenant, (9,), NOW)
    ledger.queue_again(unlucky, place, loan, NOW)
    assert state_of(place.slot) is State.CLOSING
    assert list(ledger.waiters) == [unlucky, newcomer]


def test_who_found_a_dead_session_that_close_took_away_hears_of_the_close() -> None:
    ledger, tenant, loan = Ledger(), Tenant(cap=1, proven=True), Loan(9)
    ((place, before),) = held(tenant, sessions=1, ledger=ledger)
    ledger.release(place, before, NOW)
    assert ledger.take(tenant, loan, NOW) is place
    ledger.shut(tenant, NOW)
    ledger.revoke(place.slot, NOW)
    unlucky = Waiter(tenant, (9,), NOW)
    ledger.queue_again(unlucky, place, loan, NOW)
    assert unlucky.error is not None


def test_a_session_beyond_the_cap_is_not_handed_on_but_ended() -> None:
    ledger, tenant = Ledger(), Tenant(cap=3, proven=True)
    loans = held(tenant, sessions=3, ledger=ledger)
    waiter = enter(ledger, tenant)
    tenant.cap = 2
    ledger.pump(NOW)
    assert ledger.release(*loans[0], NOW)
    assert state_of(loans[0][0].slot) is State.CLOSING
    assert not waiter.served
    assert ledger.release(*loans[1], NOW)
    assert owner_of(loans[1][0]) is waiter


def test_a_place_is_not_handed_on_to_one_who_has_gone() -> None:
    ledger, tenant = Ledger(), Tenant(cap=1, proven=True)
    ((place, loan),) = held(tenant, sessions=1, ledger=ledger)
    gone, next_one = enter(ledger, tenant, 7), enter(ledger, tenant, 8)
    gone.alive = False  # and the pump that is to follow was interrupted
    ledger.release(place, loan, NOW)
    assert owner_of(place) is next_one


def test_after_the_queue_has_emptied_the_first_to_come_again_is_served() -> None:
    ledger, tenant = Ledger(), Tenant(cap=1, proven=True)
    ((place, loan),) = held(tenant, sessions=1, ledger=ledger)
    waiter = enter(ledger, tenant)
    ledger.release(place, loan, NOW)
    ledger.accept(waiter, loan, NOW)
    ledger.release(place, loan, NOW)
    assert enter(ledger, tenant).served
