"""Which sessions end: what nobody may have any more, and what others need more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ftppool.slots import Event, Slot, State

if TYPE_CHECKING:
    from ftppool.ledger import Ledger

__all__ = ["drain", "make_room", "retire", "retire_unused"]


def retire(ledger: Ledger, now: float) -> int:
    """End what nobody may have; how many of those in use are still beyond the cap."""
    for slot in ledger.slots:
        if slot.idle and not slot.fit(now):
            slot.move(Event.CLOSE)
    staying = [
        slot
        for slot in ledger.slots
        if not slot.doomed
        and (slot.state is State.OPEN or (slot.state is State.OPENING and not slot.trying))
    ]
    surplus = max(0, len(staying) - ledger.room(now))
    idle = sorted((slot for slot in staying if slot.idle), key=lambda slot: slot.last_used)
    for slot in idle[:surplus]:
        slot.move(Event.CLOSE)
    surplus = max(0, surplus - len(idle))
    return surplus - sum(drain(staying) for _ in range(surplus))


def retire_unused(ledger: Ledger, now: float) -> None:
    """End what nobody has used for as long as its pool keeps it."""
    for slot in ledger.slots:
        if slot.idle and now >= slot.last_used + slot.tenant.max_idle:
            slot.move(Event.CLOSE)


def make_room(ledger: Ledger, with_idle: int, in_use: int) -> None:
    """Give sessions up to other processes, see :meth:`ftppool.ledger.Ledger.make_room`."""
    live = [
        slot
        for slot in ledger.slots
        if not slot.doomed and slot.connected and slot.state in (State.OPENING, State.OPEN)
    ]
    idle = sorted((slot for slot in live if slot.idle), key=lambda slot: slot.last_used)
    ending = idle[: max(0, len(live) - with_idle)]
    for slot in ending:
        slot.move(Event.CLOSE)
    ledger.owed = max(0, len(live) - len(ending) - in_use)


def drain(slots: Iterable[Slot]) -> bool:
    """Let nobody else use a session of several places, which might else never be idle."""
    shared = [
        slot
        for slot in slots
        if slot.state is State.OPEN and len(slot.places) > 1 and not slot.doomed
    ]
    if shared:
        min(shared, key=_users).doomed = True
    return bool(shared)


def _users(slot: Slot) -> int:
    return sum(place.owner is not None for place in slot.places)
