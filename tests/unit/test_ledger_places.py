"""Sessions that serve several borrowers: fewer places than promised, and too many sessions."""

from __future__ import annotations

from ftppool.ledger import Ledger
from ftppool.slots import Place, Slot, State, Tenant, Waiter

NOW = 1000.0


class Loan:
    def __init__(self, thread: object = 1) -> None:
        self.thread = thread


def state(slot: Slot) -> str:
    return slot.state.value


def doomed(slot: Slot) -> bool:
    return slot.doomed


def opened(ledger: Ledger) -> None:
    for slot in ledger.slots:
        if slot.state is State.OPENING:
            ledger.opened(slot, object(), NOW, expires=NOW + 1000)


def wait(ledger: Ledger, tenant: Tenant, thread: object = 1) -> Waiter:
    waiter = Waiter(tenant, (thread,), NOW)
    ledger.wait(waiter, NOW)
    opened(ledger)
    return waiter


def lend(ledger: Ledger, tenant: Tenant, thread: object = 1) -> tuple[Place, Loan]:
    waiter, loan = wait(ledger, tenant, thread), Loan(thread)
    return ledger.accept(waiter, loan, NOW), loan


def refuse(ledger: Ledger, waiter: Waiter) -> None:
    assert waiter.place is not None
    ledger.place_refused(waiter.place, waiter, NOW)


def test_a_place_that_the_server_refuses_is_gone_and_its_waiter_keeps_his_turn() -> None:
    ledger, tenant = Ledger(), Tenant(cap=1, places=3, proven=True)
    held = lend(ledger, tenant)
    first, second = wait(ledger, tenant), wait(ledger, tenant)
    refuse(ledger, first)
    assert tenant.places == 2
    assert not first.served
    refuse(ledger, second)
    assert tenant.places == len(ledger.slots[0].places) == 1
    ledger.release(*held, NOW)
    assert first.place is held[0]
    assert not second.served


def test_the_next_connection_has_as_many_places_as_the_server_allowed() -> None:
    ledger, tenant = Ledger(), Tenant(cap=2, places=3, proven=True)
    lend(ledger, tenant)
    lend(ledger, tenant)
    third = wait(ledger, tenant)
    refuse(ledger, third)
    opened(ledger)
    assert [len(slot.places) for slot in ledger.slots] == [2, 2]
    assert third.place is not None
    assert third.place.slot is ledger.slots[1]


def test_a_session_without_a_single_place_is_ended() -> None:
    ledger, tenant = Ledger(), Tenant(cap=1, places=2, proven=True)
    waiter = wait(ledger, tenant)
    refuse(ledger, waiter)
    refuse(ledger, waiter)
    assert state(ledger.slots[0]) == "closing"
    assert tenant.places == 1
    assert not waiter.served


def test_a_place_that_was_revoked_meanwhile_is_not_taken_for_refused() -> None:
    ledger, tenant = Ledger(), Tenant(cap=1, places=2, proven=True)
    waiter = wait(ledger, tenant)
    place = waiter.place
    assert place is not None
    ledger.revoke(ledger.slots[0], NOW)
    ledger.place_refused(place, waiter, NOW)
    assert tenant.places == 2


def test_who_took_a_place_that_is_refused_goes_to_the_head_of_the_queue() -> None:
    ledger, tenant = Ledger(), Tenant(cap=1, places=2, proven=True)
    held = lend(ledger, tenant)
    loan = Loan()
    place = ledger.take(tenant, loan, NOW)
    assert place is not None
    late, early = wait(ledger, tenant), Waiter(tenant, (1,), NOW)
    ledger.queue_again(early, place, loan, NOW, refused=True)
    assert tenant.places == 1
    assert late.place is None
    ledger.release(*held, NOW)
    assert early.place is held[0]


def test_of_too_many_shared_sessions_one_takes_nobody_in_any_more() -> None:
    ledger, tenant = Ledger(), Tenant(cap=2, places=2, proven=True)
    held = [lend(ledger, tenant) for _ in range(4)]
    old, young = ledger.slots
    tenant.cap = 1
    ledger.pump(NOW)
    assert old.doomed
    assert not young.doomed
    late = wait(ledger, tenant)
    ledger.release(*held[0], NOW)
    assert late.place is None
    assert state(old) == "open"
    ledger.release(*held[1], NOW)
    assert state(old) == "closing"
    ledger.release(*held[2], NOW)
    assert late.place is held[2][0]


def test_without_idle_time_a_shared_session_ends_with_its_last_borrower() -> None:
    ledger, tenant = Ledger(), Tenant(cap=1, places=2, proven=True, max_idle=0)
    first, second = lend(ledger, tenant), lend(ledger, tenant)
    ledger.release(*first, NOW)
    third = lend(ledger, tenant)
    ledger.release(*second, NOW)
    assert state(ledger.slots[0]) == "open"
    ledger.release(*third, NOW)
    assert state(ledger.slots[0]) == "closing"
