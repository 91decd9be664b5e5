"""How far a batch is: a frozen snapshot, and what adds it up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from ftppool.logs import log
from ftppool.report import Outcome, Status
from ftppool.stats import PoolStats

__all__ = ["Meter", "Progress", "Show", "UnderWay"]

EVERY = 0.2
"""Seconds between two snapshots."""
RATE_SPAN = 5.0
"""Seconds over which rates are taken."""
TOO_SHORT = 0.5
"""Seconds after which there is a rate to speak of."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A file that is being moved.

    Attributes:
        remote: Its remote path.
        moved: Bytes of the present attempt so far.
        size: Bytes of the file, or None where nobody knows yet.
    """

    remote: str
    moved: int
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a batch is; what ``progress=`` is called with.

    Attributes:
        pool: The name of the pool.
        files_done: Files with an outcome, good or bad.
        files_total: Files of the batch as far as known; it grows while the input is read.
        files_failed: Files of ``files_done`` that were given up.
        files_skipped: Files of ``files_done`` that there was no need to move.
        bytes_done: Bytes of the files that have arrived, and of those under way so far.
        bytes_total: Bytes of all files of the batch whose size is known, without those that failed
            or were skipped; it grows as ``files_total`` does.
        complete: True once the input was read to its end and every size is known: the totals stay.
        rate: Bytes a second over the last seconds; 0.0 in the first half second.
        files_rate: Files a second over the last seconds.
        eta: Seconds until the end if it goes on like that; None where nobody can say.
        elapsed: Seconds since the batch began.
        under_way: The files that are being moved.
        sessions: Connections in use now.
        max_per_ip: Connections that the pool may have.
        learned: Connections that the server allows, if its refusals taught a lower number.
        cap: Connections that may be open now: the smaller one of both.
        opened: Connections that were opened for this batch.
        refused: Connections that the server refused since the batch began.
        trouble: Why there are fewer connections than wanted: the server's words when it last
            refused one (while its lesson, a ``cap`` below ``max_per_ip``, holds), what else
            failed, or who else has the slots; "" if all is well.
        waiting: True while nothing can move since no connection is open, for the ``trouble``.
        next_try: Seconds until the next connect may be tried; 0.0 if that is now.
        finished: True in the last one of a batch.
    """

    pool: str
    files_done: int
    files_total: int
    files_failed: int
    files_skipped: int
    bytes_done: int
    bytes_total: int
    complete: bool
    rate: float
    files_rate: float
    eta: float | None
    elapsed: float
    under_way: tuple[UnderWay, ...]
    sessions: int
    max_per_ip: int
    learned: int | None
    cap: int
    opened: int
    refused: int
    trouble: str
    waiting: bool
    next_try: float
    finished: bool = False


Show: TypeAlias = Callable[[Progress], object]
"""What is called with snapshots."""


class Meter:
    """Adds up one batch; used by nobody but the thread that runs it.

    Args:
        show: Called a few times a second and once at the end; its first error is logged, and none
            does harm.
        pool: The name of the pool.
        stats: Takes a snapshot of the pool.
        trouble: Says why there is no (further) connection, and when the next one may be tried.

    Attributes:
        more: True until the input was read to its end.
    """

    def __init__(
        self,
        show: Show,
        pool: str,
        stats: Callable[[], PoolStats],
        trouble: Callable[[], tuple[str, float]],
    ) -> None:
        self.more: bool = True
        self._show = show
        self._pool = pool
        self._stats = stats
        self._trouble = trouble
        self._before = stats()
        self._sizes: dict[Hashable, int | None] = {}
        self._done = self._failed = self._skipped = 0
        self._arrived_bytes = self._total_bytes = 0
        self._began = self._due = time.monotonic()
        self._samples: deque[tuple[float, int, int]] = deque([(self._began, 0, 0)])
        self._complained = False
        self._ended = False

    def took(self, index: Hashable, size: int | None) -> None:
        """A file was taken from the input."""
        self._sizes[index] = size
        self._total_bytes += size or 0

    def dropped(self, index: Hashable) -> None:
        """What was taken is no file: it has turned out to be a directory."""
        self._total_bytes -= self._sizes.pop(index, 0) or 0

    def settled(self, index: Hashable, outcome: Outcome) -> None:
        """A file has its outcome."""
        self.dropped(index)
        self._add(outcome)

    def _add(self, outcome: Outcome) -> None:
        self._done += 1
        self._failed += outcome.status is Status.FAILED
        self._skipped += outcome.status is Status.SKIPPED
        if outcome.ok and outcome.status is not Status.SKIPPED:
            size = outcome.sent if outcome.size is None else outcome.size
            self._arrived_bytes += size
            self._total_bytes += size

    @property
    def due(self) -> bool:
        """True if it is time to show something."""
        return time.monotonic() >= self._due

    def show(self, under_way: Iterable[UnderWay]) -> None:
        """Show how far it is."""
        now = time.monotonic()
        self._due = now + EVERY
        self._call(self._snapshot(now, tuple(under_way)))

    def end(self, outcomes: Iterable[Outcome] | None = None) -> None:
        """Show the end, once.

        Args:
            outcomes: Those of all files, with which all is counted again: an interrupt may have
                come between an outcome and its count. None: nobody knows them.
        """
        if self._ended:
            return
        if outcomes is not None:
            self._recount(outcomes)
        last = self._snapshot(time.monotonic(), ())
        average = self._arrived_bytes / last.elapsed if last.elapsed > 0 else 0.0
        files = self._done / last.elapsed if last.elapsed > 0 else 0.0
        self._call(
            replace(last, finished=True, waiting=False, eta=None, rate=average, files_rate=files)
        )
        self._ended = True  # last: a display that a Ctrl-C kept from its end hears of it again

    def _recount(self, outcomes: Iterable[Outcome]) -> None:
        self._done = self._failed = self._skipped = 0
        self._arrived_bytes = self._total_bytes = 0
        self._sizes.clear()
        left = (Status.INTERRUPTED, Status.NOT_ATTEMPTED)
        for number, outcome in enumerate(outcomes):
            if outcome.status in left:
                self.took(number, outcome.size)
            else:
                self._add(outcome)

    def _snapshot(self, now: float, under_way: tuple[UnderWay, ...]) -> Progress:
        stats = self._stats()
        trouble, next_try = self._trouble()
        lesson = stats.learned_from if stats.effective < stats.cap else ""
        bytes_done = self._arrived_bytes + sum(file.moved for file in under_way)
        rate, files_rate = self._rates(now, bytes_done)
        complete = not self.more and None not in self._sizes.values()
        return Progress(
            pool=self._pool,
            files_done=self._done,
            files_total=self._done + len(self._sizes),
            files_failed=self._failed,
            files_skipped=self._skipped,
            bytes_done=bytes_done,
            bytes_total=self._total_bytes,
            complete=complete,
            rate=rate,
            files_rate=files_rate,
            eta=self._eta(bytes_done, rate, files_rate) if complete else None,
            elapsed=now - self._began,
            under_way=under_way,
            sessions=stats.open - stats.idle,
            max_per_ip=stats.cap,
            learned=stats.learned,
            cap=stats.effective,
            opened=stats.opened - self._before.opened,
            refused=stats.refused - self._before.refused,
            trouble=trouble or lesson,
            waiting=bool(trouble) and not stats.open,
            next_try=next_try,
        )

    def _rates(self, now: float, bytes_done: int) -> tuple[float, float]:
        samples = self._samples
        samples.append((now, bytes_done, self._done))
        while len(samples) > 2 and now - samples[1][0] > RATE_SPAN:
            samples.popleft()
        then, bytes_then, files_then = samples[0]
        span = now - then
        if span < TOO_SHORT:
            return 0.0, 0.0
        # A file that is sent again from its beginning takes back what it had.
        return max(0, bytes_done - bytes_then) / span, (self._done - files_then) / span

    def _eta(self, bytes_done: int, rate: float, files_rate: float) -> float | None:
        """What lasts longer: the bytes that are left, or the files, each of which takes a while."""
        left = [
            (self._total_bytes - bytes_done, rate),
            (len(self._sizes), files_rate),
        ]
        times = [amount / speed for amount, speed in left if amount > 0 and speed > 0]
        return max(times, default=None)

    def _call(self, progress: Progress) -> None:
        try:
            self._show(progress)
        except Exception:  # noqa: BLE001 - whatever it is, it is the listener's
            if not self._complained:
                self._complained = True
                log.exception(
                    "ftppool: progress= failed, and is not told so again", pool=self._pool
                )
