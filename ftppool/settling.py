"""What follows a close: a slot stays taken until the server will have noticed.

Here is for how long, and what of it explains a refusal; :mod:`ftppool.permits` gives back meanwhile
what the slot took from other processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ftppool.slots import Event, Slot, State, Tenant

if TYPE_CHECKING:
    from ftppool.ledger import Ledger

__all__ = [
    "FIRST_SETTLE",
    "LONGEST_SETTLE",
    "MEMORY",
    "begin_settling",
    "end_settling",
    "unnoticed",
]

FIRST_SETTLE = 0.05
"""Seconds a closed slot stays taken. After 20 ms none of the four servers measured refused."""
LONGEST_SETTLE = 0.5
"""Seconds; ProFTPD's listener may take 0.41 s to notice a closed connection."""
MEMORY = 1.0
"""Seconds for which an ended connection still explains a refusal."""


def begin_settling(ledger: Ledger, slot: Slot, event: Event, now: float) -> None:
    """Keep a slot taken whose connection was closed; the server may need a moment to notice."""
    slot.settled_at = now + ledger.settle
    slot.move(event)


def end_settling(ledger: Ledger, now: float) -> None:
    """Set the slots free whose time is over."""
    for slot in [slot for slot in ledger.slots if slot.state is State.SETTLING]:
        if slot.settled_at <= now:
            if slot.connected:
                # Not `now`: where nobody needs the slot, nobody may look for a long time.
                ledger.ended.append((slot.settled_at, slot.tenant))
            ledger.freed.append(slot)
            ledger.slots.remove(slot)
            slot.move(Event.SETTLED)


def unnoticed(ledger: Ledger, others: Iterable[Slot], now: float) -> list[Tenant]:
    """Tell whose ended connections a refusal may have counted, besides our `others`.

    If any of ours had ended or was about to, the server gets longer the next time.
    """
    ended = [tenant for when, tenant in ledger.ended if now - when < MEMORY]
    if ended or any(other.state in (State.CLOSING, State.SETTLING) for other in others):
        ledger.settle = min(LONGEST_SETTLE, ledger.settle * 2)
    return ended
