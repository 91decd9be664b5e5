"""One pass over the queue: who gets which place, what is opened, and what others end for it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ftppool.retiring import drain
from ftppool.slots import Event, Slot, State, Tenant

if TYPE_CHECKING:
    from ftppool.ledger import Ledger

__all__ = ["NOBODY", "Serving"]

NOBODY: frozenset[Tenant] = frozenset()


class Serving:
    """Serves the waiters of a ledger, first come, first served.

    Attributes:
        stuck: The pools of those for whom there is nothing.
        kept: For how many, who may not open yet, room is kept.
    """

    def __init__(self, ledger: Ledger, now: float) -> None:
        self._ledger = ledger
        self._now = now
        self.stuck: set[Tenant] = set()
        self.kept: int = 0

    def run(self) -> None:
        """Find something for each waiter."""
        while self._pass():
            pass  # whose session was drained may need room now; each time there is one less

    def _pass(self) -> bool:
        """Go through the queue once; True if a session was drained."""
        ledger, now = self._ledger, self._now
        self.stuck, self.kept = set(), 0
        promised: Counter[Tenant] = Counter()
        for slot in ledger.slots:
            if slot.state is State.OPENING and not slot.doomed:
                promised[slot.tenant] += slot.tenant.places
        ending = _Ending(ledger, now)
        room = ledger.room(now) - len(ledger.slots)
        for waiter in ledger.waiters:
            tenant = waiter.tenant
            if waiter.served or not waiter.alive or tenant in self.stuck:
                continue
            place = ledger.free_place(tenant, now)
            if place is not None:
                ledger.give(place, waiter)
            elif promised[tenant] > 0:
                promised[tenant] -= 1
            elif now < tenant.not_before or ledger.at_own_limit(tenant, now):
                self.stuck.add(tenant)
            elif room > 0:
                room -= 1
                if self._may_open(tenant):
                    self._open(tenant)
                else:
                    self.kept += 1
                promised[tenant] += tenant.places - 1
            elif not ending.make_room_for(tenant):
                self.stuck.add(tenant)
        return ending.drained

    def _may_open(self, tenant: Tenant) -> bool:
        ledger, now = self._ledger, self._now
        # One by one up to the greeting, so that a refusal stops the next one; after a refusal one
        # by one up to the end of the login, as with credentials that were never accepted, where
        # the others cannot wait for that with their login.
        strictly = ledger.failures > 0 or not (tenant.proven or tenant.holds)
        for slot in ledger.slots:
            if slot.state is State.OPENING and (strictly or not slot.greeted):
                return False
        return now >= ledger.not_before and now >= ledger.budget_ends()

    def _open(self, tenant: Tenant) -> None:
        ledger = self._ledger
        slot = Slot(tenant, tenant.generation)
        slot.trying = ledger.learned is not None and len(ledger.slots) >= ledger.learned
        slot.move(Event.OPEN)
        ledger.slots.append(slot)


class _Ending:
    """Ends what others do not use, one session for each waiter who finds no room."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        self._slots = ledger.slots
        self._coming = sum(
            slot.state in (State.CLOSING, State.SETTLING)
            or (slot.state is State.OPENING and slot.doomed)
            for slot in self._slots
        )
        self._draining = sum(1 for slot in self._slots if slot.state is State.OPEN and slot.doomed)
        # Nothing could be opened in its place.
        self._useless = now < max(ledger.not_before, ledger.budget_ends())
        self.drained: bool = False

    def make_room_for(self, tenant: Tenant) -> bool:
        """True if something ends for this waiter."""
        if self._coming > 0:
            self._coming -= 1
            return True
        if self._useless:
            return False
        if self._end_idle(tenant):
            return True
        if self._shares(tenant):
            return False
        if self._draining > 0:
            self._draining -= 1
            return True
        drained = drain(slot for slot in self._slots if slot.tenant is not tenant)
        self.drained |= drained
        return drained

    def _end_idle(self, tenant: Tenant) -> bool:
        idle = [slot for slot in self._slots if slot.idle and slot.tenant is not tenant]
        if idle:
            min(idle, key=lambda slot: slot.last_used).move(Event.CLOSE)
        return bool(idle)

    def _shares(self, tenant: Tenant) -> bool:
        """True if a place of a session of this pool will come free, whoever waits for room."""
        return tenant.places > 1 and any(
            slot.tenant is tenant and slot.state is State.OPEN and not slot.doomed
            for slot in self._slots
        )
