"""What the processes of this user that use ftppool have written down about a server."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftppool.lessons import Lessons
    from ftppool.limits.slotfiles import Record

__all__ = ["WAITING", "SlotView", "slot_views", "split"]

WAITING = {"wanted", "paused"}
"""The states of a record whose process has no slot; any other is locked, whatever it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """One address.

    Attributes:
        address: ``"ip:port"``.
        held: Who holds slots.
        waiting: Who waits for one, or until it tries again after a refusal.
        lessons: What its refusals have taught.
    """

    address: str
    held: tuple[Record, ...]
    waiting: tuple[Record, ...]
    lessons: Lessons

    @property
    def cap(self) -> int | None:
        """The learned cap of everybody, or None."""
        lesson = self.lessons.of_all
        return None if lesson is None else lesson.limit

    @property
    def taught(self) -> bool:
        """True if there are lessons or a ban to tell of."""
        return bool(self.lessons.of_all or self.lessons.of_user or self.banned)

    @property
    def banned(self) -> bool:
        """True if the server has shut us out and that is not over."""
        ban = self.lessons.ban
        return ban is not None and not ban.over(time.time())


def slot_views(ips: Collection[str] | None) -> list[SlotView]:
    """Read the slot files of these servers, of all for None; connects to nothing."""
    if sys.platform == "win32":
        return []  # there the cap is each process's own
    from ftppool.limits.machine import MachineLimiter

    limiter = MachineLimiter.shared()
    views = []
    for address in limiter.addresses():
        if ips is not None and split(address)[0] not in ips:
            continue
        records = limiter.records(address)
        view = SlotView(
            address=address,
            held=tuple(record for record in records if record.state not in WAITING),
            waiting=tuple(record for record in records if record.state in WAITING),
            lessons=limiter.lessons(address),
        )
        views.append(view)
    return views


def split(address: str) -> tuple[str, int]:
    """Take ``ip:port`` or ``[ip]:port`` apart."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port) if port.isdigit() else 0
