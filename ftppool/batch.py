"""A batch: many files over few sessions, with an outcome for each.

The workers do all transfers. The caller's thread only advances the input, collects outcomes and
takes Ctrl-C, so it never holds anything that an interrupt could lose.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from ftppool.crew import Crew, Lender
from ftppool.errors import FTPPoolError
from ftppool.events import BatchDone, FileDone, FileQueued
from ftppool.inputs import EmptyDirectory, Job
from ftppool.report import BatchReport, Outcome, Status
from ftppool.transfer.upload import Shared, UploadOptions

__all__ = ["Batch"]

_log = logging.getLogger("ftppool")

WINDOW = 1000
"""Inputs taken ahead of the workers."""
GRACE = 6.0
"""Seconds that running files get to end by themselves after a stop; well above quit_timeout, which
a worker may wait for the reply to a transfer that it broke off."""


class Batch:
    """One run of ``upload_batch``; used once.

    ``list_rest``: the input has an end, so that it may be read on after the batch was given up.
    """

    def __init__(
        self, pool: Lender, inputs: Iterator[Job | EmptyDirectory], options: UploadOptions,
        *, workers: int, shared: Shared, list_rest: bool,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._inputs = inputs
        self._crew = Crew(pool, options, count=workers, shared=shared)
        self._list_rest = list_rest
        self._taken: dict[int, Job] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    def run(self) -> BatchReport:
        """Send everything; returns when every file has its outcome and every lease is back.

        Raises:
            BaseException: What the input iterator or a signal handler raised, with the report of
                what was done until then as its attribute ``report``.
        """
        try:
            self._feed()
            self._wait_for_workers(None)
        except BaseException as error:
            # An error of the input lets running files finish; Ctrl-C and the like cut them.
            if isinstance(error, Exception):
                self._crew.queue.clear()
                self._crew.end_input()
                self._wait_for_workers(None)
            self._halt()
            error.report = self._report()  # type: ignore[attr-defined]
            raise
        self._halt()
        return self._report()

    def _feed(self) -> None:
        item: Job | EmptyDirectory | None = None
        for item in self._inputs:
            if isinstance(item, Job):
                self._taken[item.index] = item
            if self._crew.stopped:
                if self._list_rest:
                    continue  # given up: the rest is only listed, so that every file has an outcome
                break
            if isinstance(item, Job):
                self._tell_queued(item)
            if isinstance(item, Job) and item.error is not None:
                # It needs no session, and the others do not wait for it.
                failed = _outcome(item, Status.FAILED, error=item.error)
                self._crew.done.append((item.index, failed))
                continue
            self._crew.put(item)
            while len(self._crew.queue) >= WINDOW and not self._crew.stopped:
                self._crew.bell.wait(0.1)
                self._collect()
        if item is None:
            _log.warning("ftppool: no files to upload: the input is empty; check paths and pattern")
        self._crew.end_input()

    def _tell_queued(self, job: Job) -> None:
        self._pool.emit(
            FileQueued(pool=self._pool.name, source=job.label, remote=job.remote, size=job.size)
        )

    def _wait_for_workers(self, timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._crew.working:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            self._crew.bell.wait(0.1)
            self._collect()
            self._crew.hire()
        self._collect()
        return True

    def _halt(self) -> None:
        """Stop taking files, let or make the running ones end, and see all leases back."""
        self._crew.stop()
        if not self._wait_for_workers(GRACE):
            self._crew.cut()
            self._wait_for_workers(GRACE)

    def _collect(self) -> None:
        done = self._crew.done
        while done:
            index, outcome = done.popleft()
            self._outcomes[index] = outcome
            self._taken.pop(index, None)
            self._pool.emit(FileDone(pool=self._pool.name, outcome=outcome))

    def _report(self) -> BatchReport:
        self._collect()
        causes = self._crew.causes
        for index, job in self._taken.items():
            begun = index in self._crew.begun
            status = Status.INTERRUPTED if begun else Status.NOT_ATTEMPTED
            self._outcomes[index] = _outcome(job, status, error=causes[0] if causes else None)
        report = BatchReport(
            outcomes=tuple(self._outcomes[index] for index in sorted(self._outcomes)),
            started=self._started,
            elapsed=time.monotonic() - self._clock,
            stats=self._pool.stats(),
            causes=tuple(causes),
        )
        self._pool.emit(BatchDone(pool=self._pool.name, report=report))
        return report


def _outcome(job: Job, status: Status, *, error: FTPPoolError | None = None) -> Outcome:
    return Outcome(
        source=job.label,
        remote=job.remote,
        status=status,
        size=job.size,
        sent=0,
        attempts=0,
        elapsed=0.0,
        verified=None,
        error=error,
    )
