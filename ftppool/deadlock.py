"""Tells who waits for ever: a thread that holds a session and asks for another."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from ftppool.ledger import Ledger
from ftppool.slots import Slot, State, Waiter

__all__ = ["deadlocked"]


def deadlocked(ledger: Ledger, waiter: Waiter, now: float) -> bool:
    """Tell whether this waiter's turn can never come.

    That is so if its thread holds a place and every other place is held by threads that wait
    as well, with no slot on its way and no room for one. If there is no more room for its user
    alone, only this user's places count.
    """
    if waiter.served:
        return False
    tenant = waiter.tenant
    if ledger.at_own_limit(tenant, now):
        mine = [slot for slot in ledger.slots if slot.tenant.same_user(tenant)]
        rivals = [other for other in ledger.waiters if other.tenant.same_user(tenant)]
        if _all_wait(waiter, mine, rivals):
            return True
    all_wait = _all_wait(waiter, ledger.slots, ledger.waiters)
    return all_wait and len(ledger.slots) >= ledger.room(now)


def _all_wait(waiter: Waiter, slots: Iterable[Slot], rivals: Iterable[Waiter]) -> bool:
    holders: set[Hashable] = set()
    for slot in slots:
        if slot.state is not State.OPEN:
            return False
        for place in slot.places:
            if place.owner is None or isinstance(place.owner, Waiter):
                return False
            holders.add(place.owner.thread)
    if holders.isdisjoint(waiter.threads):
        return False
    waiting = {
        thread for other in rivals if other.alive and not other.served for thread in other.threads
    }
    return holders <= waiting
