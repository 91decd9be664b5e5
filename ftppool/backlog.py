"""What waits for the workers of a batch, in the order in which it is best taken."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections import deque
from typing import Protocol, TypeAlias

from ftppool.drivers.base import FileOps
from ftppool.inputs import EmptyDirectory, Job
from ftppool.transfer.download import Fetch
from ftppool.transfer.leftover import LeftOver

__all__ = ["Backlog", "File", "Index", "Item", "Task", "Transfer"]

File: TypeAlias = Job | Fetch
"""What has an outcome."""
Index: TypeAlias = int | tuple[int, ...]
"""Place of a file in its batch; all of one batch are of one kind."""
Item: TypeAlias = File | EmptyDirectory | LeftOver

BIG = 1 << 20
"""Bytes from which a file is big: the first worker takes those first, the others last."""


class Transfer(Protocol):
    """The steps of one file; it lives through several attempts on different sessions.

    Attributes:
        sent: Bytes that went over the wire in all attempts together.
        size: Bytes of the file, once they are known.
        verified: True once the server has proved the size.
        skipped: True if there was no need to send it.
        left_behind: The part file that may still be there, or None.
        notes: Sentences worth reading.
    """

    sent: int
    size: int | None
    verified: bool | None
    skipped: bool
    left_behind: str | None
    notes: list[str]

    def attempt(self, files: FileOps) -> None:
        """Do what is still to be done; raises our errors, and may be called again after one."""

    def clean_up(self, files: FileOps) -> None:
        """Remove what is half-done."""


class Task:
    """A file or directory that a worker has begun; between two attempts it waits here.

    Attributes:
        attempts: Attempts begun.
        failures: Attempts that count against ``RetryPolicy.attempts``.
        arrived: How many files of the batch had arrived when it began, or last failed.
        moved: Bytes of the present attempt so far.
    """

    attempts: int = 0
    failures: int = 0
    moved: int = 0

    def __init__(self, item: Item, transfer: Transfer, began: float, *, arrived: int = 0) -> None:
        self.item: Item = item
        self.transfer: Transfer = transfer
        self.began: float = began
        self.arrived: int = arrived


class Backlog:
    """Fresh items, and begun tasks that wait for their next attempt.

    Fresh items are put by the caller's thread and taken by workers in single steps, so that an
    interrupt loses nothing. The lock guards only ``_later``, which the caller's thread never
    changes while a worker lives.
    """

    def __init__(self) -> None:
        self._small: deque[Item] = deque()
        self._big: dict[Index, File] = {}
        self._later: list[tuple[float, int, Task]] = []
        self._ticket = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._small) + len(self._big) + len(self._later)

    def put(self, item: Item) -> None:
        """Add a fresh item."""
        if isinstance(item, File) and item.size is not None and item.size >= BIG:
            self._big[item.index] = item
        else:
            self._small.append(item)

    def put_back(self, task: Task, wait: float) -> None:
        """Let a task wait for so many seconds; others go first meanwhile."""
        with self._lock:
            heapq.heappush(self._later, (time.monotonic() + wait, next(self._ticket), task))

    def take(self, *, big_first: bool) -> Item | Task | None:
        """Give the next one to do, or None if there is none now."""
        if (task := self._due()) is not None:
            return task
        if big_first and (job := self._biggest()) is not None:
            return job
        try:
            return self._small.popleft()
        except IndexError:
            return self._biggest()

    def ready(self) -> bool:
        """True if there is something to take now."""
        return bool(self._small or self._big) or self.seconds() == 0

    def seconds(self) -> float | None:
        """Time until the next waiting task may be taken; None if none waits."""
        with self._lock:
            return max(0.0, self._later[0][0] - time.monotonic()) if self._later else None

    def drop_fresh(self) -> int:
        """Forget what nobody has begun, while workers go on taking; how many that was."""
        dropped = 0
        for take in (self._small.popleft, self._big.popitem):
            with contextlib.suppress(IndexError, KeyError):
                while True:
                    take()
                    dropped += 1
        return dropped

    def take_begun(self) -> Task | None:
        """Give a task that waits, whether its time has come or not."""
        with self._lock:
            return heapq.heappop(self._later)[2] if self._later else None

    def _due(self) -> Task | None:
        if not self._later:
            return None
        with self._lock:
            if self._later and self._later[0][0] <= time.monotonic():
                return heapq.heappop(self._later)[2]
        return None

    def _biggest(self) -> File | None:
        while self._big:
            found = list(self._big.values())
            if found:
                job = max(found, key=lambda job: job.size or 0)
                if self._big.pop(job.index, None) is not None:
                    return job
        return None
