"""What the slot machine gives up to other processes."""

from __future__ import annotations

from ftppool.errors import ServerBusy
from ftppool.ledger import Ledger
from ftppool.slots import Place, Slot, State, Tenant, Waiter

NOW = 1000.0


class Loan:
    thread = 1


def borrowed(count: int, places: int = 1) -> tuple[Ledger, list[tuple[Place, Loan]]]:
    """A ledger with sessions in use."""
    ledger, tenant = Ledger(), Tenant(cap=count, places=places, proven=True)
    held = []
    for number in range(count * places):
        waiter = Waiter(tenant, (number,), NOW)
        ledger.wait(waiter, NOW)
        for slot in ledger.slots:
            if slot.state is State.OPENING:
                ledger.opened(slot, object(), NOW, expires=NOW + 1000)
        loan = Loan()
        held.append((ledger.accept(waiter, loan, NOW), loan))
    return ledger, held


def ending(ledger: Ledger) -> list[Slot]:
    return [slot for slot in ledger.slots if slot.state is State.CLOSING]


def test_idle_sessions_end_at_once_the_least_recently_used_first() -> None:
    ledger, held = borrowed(3)
    for age, (place, loan) in enumerate(held):
        ledger.release(place, loan, NOW + age)
    ledger.make_room(2, 3, NOW + 5)
    assert ending(ledger) == [held[0][0].slot]
    ledger.make_room(2, 3, NOW + 5)
    assert len(ending(ledger)) == 1  # the one that is ending counts as given up
    assert not ledger.owed


def test_of_those_in_use_the_next_to_be_given_back_ends() -> None:
    ledger, held = borrowed(3)
    ledger.make_room(0, 2, NOW)
    ledger.make_room(0, 2, NOW)
    assert ledger.owed == 1
    assert not ending(ledger)
    waiter = Waiter(held[0][0].slot.tenant, ("another",), NOW)
    ledger.wait(waiter, NOW)
    ledger.release(*held[1], NOW + 1)
    assert ending(ledger) == [held[1][0].slot]
    assert not ledger.owed
    assert not waiter.served
    ledger.release(*held[0], NOW + 1)
    assert waiter.served


def test_a_session_of_several_places_ends_when_the_last_is_given_back() -> None:
    ledger, held = borrowed(2, places=2)
    ledger.make_room(0, 1, NOW)
    ledger.release(*held[0], NOW)
    assert not ledger.owed
    assert held[0][0].slot.doomed
    assert not ending(ledger)
    ledger.make_room(0, 1, NOW)
    assert not ledger.owed  # it is on its way
    ledger.release(*held[1], NOW)
    assert ending(ledger) == [held[0][0].slot]


def test_a_refusal_ends_no_session_that_the_server_has_allowed() -> None:
    ledger, held = borrowed(2)
    tenant = held[0][0].slot.tenant
    tenant.cap = 3
    ledger.wait(Waiter(tenant, ("third",), NOW), NOW)
    (opening,) = [slot for slot in ledger.slots if slot.state is State.OPENING]
    # One of the two is given back just now: it is idle for a moment.
    ledger.waiters.clear()
    ledger.release(*held[0], NOW)
    limit = ledger.refused(opening, NOW, hint=None, of_user=False, of_server=False)
    assert limit == 2
    ledger.taught(None, limit, NOW + 300, NOW)
    assert not ending(ledger)
    error = ServerBusy("421")
    ledger.open_failed(opening, error, NOW, delay=0.1, for_good=False)
    assert not ending(ledger)


def test_connections_of_other_processes_count_in_what_a_refusal_teaches() -> None:
    ledger, tenant = Ledger(), Tenant(cap=8, proven=True)
    ledger.wait(Waiter(tenant, (1,), NOW), NOW)
    (slot,) = ledger.slots
    ledger.refused(slot, NOW, hint=None, of_user=False, of_server=False, elsewhere=3)
    assert ledger.learned == 3


def test_what_is_given_back_unclean_counts_as_well() -> None:
    ledger, held = borrowed(2)
    ledger.make_room(0, 0, NOW)
    assert ledger.owed == 2
    ledger.release(*held[0], NOW, doom=True)
    assert ledger.owed == 1


def test_a_slot_that_still_asks_for_a_permit_is_nothing_to_give_up() -> None:
    ledger, tenant = Ledger(), Tenant(cap=2, proven=True)
    ledger.wait(Waiter(tenant, (1,), NOW), NOW)
    ledger.make_room(0, 0, NOW)
    nothing = ledger.owed
    assert nothing == 0
    ledger.greeted(ledger.slots[0], NOW)
    ledger.make_room(0, 0, NOW)
    assert ledger.owed == 1
