"""What a pool says about itself: plain frozen values, a snapshot and never a live view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

__all__ = ["CloseReport", "Holder", "PoolStats", "total"]


@dataclass(frozen=True, slots=True)
class Holder:
    """One borrower of a session, as named by ``PoolTimeout.holders``.

    Attributes:
        thread: Name of the thread that took the lease.
        age: Seconds since the lease was given.
        where: The line that asked for it, as ``"file.py:12 in function"``.
    """

    thread: str
    age: float
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """Counts of one pool at one instant, and its totals since it was made.

    ``open``, ``opening``, ``closing`` and ``settling`` count connections (slots); ``leased`` and
    ``waiting`` count borrowers, of which one SFTP connection can carry several.

    Attributes:
        cap: Connections allowed at the server's address (``max_per_ip``).
        learned: The lower cap that the server's refusals have taught, or None for no lesson.
        learned_from: What the server said when it taught that, "" for no lesson.
        effective: The cap in force now: the smaller of ``cap`` and ``learned``, at least 1.
        open: Logged-in connections now, idle or leased.
        idle: Open connections now that nobody uses.
        leased: Leases now in the hands of borrowers.
        opening: Connections now being made, from before the TCP connect to the end of the login.
        closing: Connections now being ended.
        settling: Connections ended so recently that the server may still count them.
        waiting: Borrowers now waiting for a session.
        address: ``"ip:port"`` of the server as last used, "" before the first use.
        opened: Connections that reached a login, in total.
        closed: Connections ended in whatever way, in total (``quits`` + ``cut``).
        quits: Connections ended politely, in total: QUIT answered by 221, or SSH's disconnect.
        cut: Connections ended without that, in total.
        refused: Attempts that the server refused for want of room, in total.
        connect_failed: Attempts that failed for any other reason, in total.
        reused: Leases served by a connection that was open already, in total.
        lost: Open connections that proved dead when they were to be lent, in total.
        acquired: Leases given, in total.
        queued: Borrowers who found no session that was free and had to wait, in total.
        acquire_timeouts: Waits that ended with ``PoolTimeout`` or ``ServerBusy``, in total.
        wait_seconds: Seconds that all borrowers together have waited, in total.
        wait_max: Seconds of the longest single wait so far.
        returned: Leases that came back, in total.
        discarded: Of these, those whose session was not clean and is not lent again, in total.
        use_seconds: Seconds for which all leases that came back were out together, in total.
        open_seconds: Seconds that connecting and logging in took, all connections together.
        leaked: Leases that were suspected to be leaked, or lost, in total.
    """

    cap: int
    learned: int | None
    effective: int
    open: int
    idle: int
    leased: int
    opening: int
    closing: int
    settling: int
    waiting: int
    address: str = ""
    learned_from: str = ""
    opened: int = 0
    closed: int = 0
    quits: int = 0
    cut: int = 0
    refused: int = 0
    connect_failed: int = 0
    reused: int = 0
    lost: int = 0
    acquired: int = 0
    queued: int = 0
    acquire_timeouts: int = 0
    wait_seconds: float = 0.0
    wait_max: float = 0.0
    returned: int = 0
    discarded: int = 0
    use_seconds: float = 0.0
    open_seconds: float = 0.0
    leaked: int = 0


def total(found: Sequence[PoolStats]) -> PoolStats:
    """Add up what a pool has and did at several addresses; caps and address are the last one's."""
    sums = {
        field.name: sum(getattr(one, field.name) for one in found)
        for field in fields(PoolStats)
        if field.name not in {"cap", "learned", "learned_from", "effective", "address", "wait_max"}
    }
    last = found[-1]
    return PoolStats(
        cap=last.cap,
        learned=last.learned,
        learned_from=last.learned_from,
        effective=last.effective,
        address=last.address,
        wait_max=max(one.wait_max for one in found),
        **sums,
    )


@dataclass(frozen=True, slots=True)
class CloseReport:
    """How the closing of a pool went.

    Attributes:
        clean: True if every session ended politely and no thread is left.
        quits: Sessions ended politely by this close (QUIT answered by 221).
        cut: Sessions that this close had to end without it.
        still_running: Threads of the pool that had not ended when the time was up.
        elapsed: Seconds that the close took.
    """

    clean: bool
    quits: int
    cut: int
    still_running: int
    elapsed: float
