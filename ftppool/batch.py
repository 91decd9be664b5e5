"""A batch: many files over few sessions, with an outcome for each.

Worker threads do all transfers. The caller's thread only advances the input, collects outcomes and
takes Ctrl-C, so it never holds anything that an interrupt could lose: queue and results are deques,
whose ``append`` and ``popleft`` are single steps, and all waiting is done on bells.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from ftppool.bell import Bell
from ftppool.client import Cancel, Cancelled
from ftppool.errors import FTPPoolError, PoolTimeout, RemoteRejected, TransferError
from ftppool.events import (
    BatchDone,
    Event,
    FileDone,
    FileProgress,
    FileQueued,
    FileStarted,
    Retrying,
)
from ftppool.inputs import EmptyDirectory, Job
from ftppool.lease import Lease
from ftppool.report import BatchReport, Outcome, Status
from ftppool.retry import RetryPolicy, retrying
from ftppool.stats import PoolStats
from ftppool.transfer.upload import Shared, Upload, UploadOptions

__all__ = ["Batch", "Lender"]

_log = logging.getLogger("ftppool")

WINDOW = 1000
"""Inputs taken ahead of the workers."""
PATIENCE = 1.0
"""Seconds for which a worker keeps its session while the input has nothing for it."""
GRACE = 6.0
"""Seconds that running files get to end by themselves after a stop; well above quit_timeout, which
a worker may wait for the reply to a transfer that it broke off."""


class Lender(Protocol):
    """What a batch needs of a pool."""

    name: str
    policy: RetryPolicy

    def lend(self, timeout: float, cancel: Cancel) -> Lease:
        """Wait for a session."""

    def resolve(self, path: str) -> str:
        """Turn a path relative to the target's directory into one that the server takes."""

    def emit(self, event: Event) -> None:
        """Tell the listener."""

    def stats(self) -> PoolStats:
        """Take a snapshot."""


class _NoSession(Exception):
    """No session can be had: that would be so for every other file as well."""

    def __init__(self, why: FTPPoolError) -> None:
        super().__init__(str(why))
        self.why = why


class _Stopped(Exception):
    """The batch was stopped while a file was under way."""


@dataclass(slots=True)
class _Worker:
    thread: threading.Thread
    bell: Bell
    lease: Lease | None = None


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
        self._options = options
        self._count = workers
        self._shared = shared
        self._list_rest = list_rest
        self._queue: deque[Job | EmptyDirectory] = deque()
        self._taken: dict[int, Job] = {}
        self._begun: set[int] = set()
        self._done: deque[tuple[int, Outcome]] = deque()
        self._outcomes: dict[int, Outcome] = {}
        self._causes: list[FTPPoolError] = []
        self._workers: list[_Worker] = []
        self._bell = Bell()
        self._cancel = Cancel()
        self._exhausted = False
        self._logged_in = False
        self._stop = False
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    # -- the caller's thread -----------------------------------------------------------------------

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
                self._queue.clear()
                self._end_input()
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
            if self._stop:
                if self._list_rest:
                    continue  # given up: the rest is only listed, so that every file has an outcome
                break
            if isinstance(item, Job):
                self._pool.emit(
                    FileQueued(
                        pool=self._pool.name,
                        source=item.label,
                        remote=item.remote,
                        size=item.size,
                    )
                )
            if isinstance(item, Job) and item.error is not None:
                # It needs no session, and the others do not wait for it.
                self._done.append((item.index, _outcome(item, Status.FAILED, error=item.error)))
                continue
            self._queue.append(item)
            self._hire()
            for worker in self._workers:
                worker.bell.ring()
            while len(self._queue) >= WINDOW and not self._stop:
                self._bell.wait(0.1)
                self._collect()
        if item is None:
            _log.warning("ftppool: no files to upload: the input is empty; check paths and pattern")
        self._end_input()

    def _end_input(self) -> None:
        self._exhausted = True
        for worker in self._workers:
            worker.bell.ring()

    def _hire(self) -> None:
        """Start one more worker if there is work; only one until the login has succeeded."""
        if not self._queue or len(self._workers) >= (self._count if self._logged_in else 1):
            return
        number = len(self._workers) + 1
        thread = threading.Thread(
            target=self._work, args=(number - 1,), name=f"{self._pool.name}-{number}", daemon=True
        )
        self._workers.append(_Worker(thread, Bell()))
        thread.start()

    def _wait_for_workers(self, timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while any(worker.thread.is_alive() for worker in self._workers):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            self._bell.wait(0.1)
            self._collect()
            if not self._stop:
                self._hire()
        self._collect()
        return True

    def _halt(self) -> None:
        """Stop taking files, let or make the running ones end, and see all leases back."""
        self._stop = True
        self._cancel.cancel()
        if not self._wait_for_workers(GRACE):
            for worker in self._workers:
                lease = worker.lease
                if lease is not None:
                    lease.cut()
            self._wait_for_workers(GRACE)

    def _collect(self) -> None:
        while self._done:
            index, outcome = self._done.popleft()
            self._outcomes[index] = outcome
            self._taken.pop(index, None)
            self._pool.emit(FileDone(pool=self._pool.name, outcome=outcome))

    def _report(self) -> BatchReport:
        self._collect()
        for index, job in self._taken.items():
            status = Status.INTERRUPTED if index in self._begun else Status.NOT_ATTEMPTED
            why = self._causes[0] if self._causes else None
            self._outcomes[index] = _outcome(job, status, error=why)
        report = BatchReport(
            outcomes=tuple(self._outcomes[index] for index in sorted(self._outcomes)),
            started=self._started,
            elapsed=time.monotonic() - self._clock,
            stats=self._pool.stats(),
            causes=tuple(self._causes),
        )
        self._pool.emit(BatchDone(pool=self._pool.name, report=report))
        return report

    # -- the workers -------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        worker = self._workers[number]
        try:
            while not self._stop:
                if worker.lease is not None and worker.lease.wanted:
                    self._drop(worker, doom=False)  # another process waits: it ends here
                if worker.lease is None and self._queue:
                    worker.lease = self._borrow()  # first, or the file would wait with the worker
                    self._logged_in = True
                    self._bell.ring()
                try:
                    item = self._queue.popleft()
                except IndexError:
                    if self._exhausted and not self._queue:
                        break
                    if not worker.bell.wait(PATIENCE):
                        self._drop(worker, doom=False)  # a slow input: let others have the session
                    continue
                self._bell.ring()
                self._do(worker, item)
                self._bell.ring()
        except Cancelled:
            pass
        except _NoSession as none:
            self._give_up(none.why)
        except BaseException as error:  # noqa: BLE001 - a worker must not die unheard
            self._give_up(TransferError(f"a worker ended by {type(error).__name__}: {error}"))
        finally:
            self._drop(worker, doom=worker.lease is not None and not worker.lease.usable())
            self._bell.ring()

    def _borrow(self) -> Lease:
        while True:
            try:
                return self._pool.lend(self._pool.policy.busy_total, self._cancel)
            except PoolTimeout as error:
                if not error.holders:
                    raise _NoSession(error) from error
                # Sessions of ours are at work: our turn will come.
            except FTPPoolError as error:
                raise _NoSession(error) from error

    def _give_up(self, cause: FTPPoolError) -> None:
        if not any(type(known) is type(cause) for known in self._causes):
            self._causes.append(cause)
        self._stop = True
        self._cancel.cancel()

    def _drop(self, worker: _Worker, *, doom: bool) -> None:
        lease, worker.lease = worker.lease, None
        if lease is not None:
            if doom:
                lease.discard()
            else:
                lease.release()

    def _do(self, worker: _Worker, item: Job | EmptyDirectory) -> None:
        if isinstance(item, EmptyDirectory):
            self._make_directory(worker, item)
        else:
            self._done.append((item.index, self._send(worker, item)))

    def _make_directory(self, worker: _Worker, item: EmptyDirectory) -> None:
        path = self._pool.resolve(item.remote)

        def make(_attempt: int) -> None:
            with self._session(worker) as lease:
                self._shared.directories.ensure(lease.files(), path)

        try:
            self._retrying(item.remote, make)
        except _NoSession as none:
            self._give_up(none.why)
        except TransferError as error:
            _log.warning("ftppool: the empty directory %s was not made: %s", item.remote, error)
            self._causes.append(error)

    def _send(self, worker: _Worker, job: Job) -> Outcome:
        self._begun.add(job.index)
        started = time.monotonic()
        attempts = 0

        def on_bytes(sent: int) -> None:
            if self._stop and sent != job.size:
                raise _Stopped  # but a file that is all sent may as well take its name
            self._pool.emit(
                FileProgress(
                    pool=self._pool.name,
                    remote=job.remote,
                    sent=sent,
                    size=job.size,
                    attempt=attempts,
                )
            )

        upload = Upload(
            self._pool.resolve(job.remote),
            job.open,
            job.size,
            options=self._options,
            shared=self._shared,
            on_bytes=on_bytes,
        )

        def attempt(number: int) -> None:
            nonlocal attempts
            with self._session(worker) as lease:
                attempts = number
                self._pool.emit(
                    FileStarted(
                        pool=self._pool.name, source=job.label, remote=job.remote, attempt=number
                    )
                )
                upload.attempt(lease.files())

        status, failure = Status.UPLOADED, None
        try:
            self._retrying(job.remote, attempt)
            status = Status.SKIPPED if upload.skipped else Status.UPLOADED
        except (_Stopped, Cancelled):
            status = Status.INTERRUPTED if attempts else Status.NOT_ATTEMPTED
        except _NoSession as none:
            status = Status.INTERRUPTED if attempts else Status.NOT_ATTEMPTED
            failure = none.why
            self._give_up(none.why)
        except FTPPoolError as error:
            status, failure = Status.FAILED, error
            if self._stop:
                status, failure = Status.INTERRUPTED, None
            elif isinstance(error, TransferError) and error.stops_batch:
                self._give_up(error)
        except Exception as error:  # noqa: BLE001 - of the user's source, whatever it is
            status, failure = Status.FAILED, _of_source(job, error)
        if upload.left_behind is not None:
            self._clean_up(worker, upload)
        return Outcome(
            source=job.label,
            remote=job.remote,
            status=status,
            size=job.size if upload.size is None else upload.size,
            sent=upload.sent,
            attempts=attempts,
            elapsed=time.monotonic() - started,
            verified=upload.verified,
            error=failure,
            left_behind=upload.left_behind,
            notes=tuple(upload.notes),
        )

    def _clean_up(self, worker: _Worker, upload: Upload) -> None:
        """Try once to remove what is half-done; the outcome says so if it stays."""
        with (
            contextlib.suppress(FTPPoolError, _NoSession, Cancelled),
            self._session(worker) as lease,
        ):
            upload.clean_up(lease.files())

    def _retrying(self, remote: str, call: Callable[[int], None]) -> None:
        def tell(attempt: int, wait: float, error: FTPPoolError) -> None:
            self._pool.emit(
                Retrying(
                    pool=self._pool.name,
                    remote=remote,
                    attempt=attempt,
                    wait=wait,
                    error=str(error),
                )
            )

        retrying(self._pool.policy, call, before_sleep=tell, sleep=self._pause)

    def _pause(self, seconds: float) -> None:
        bell = Bell()
        self._cancel.bells.add(bell)
        try:
            if self._stop or bell.wait(seconds):
                raise _Stopped
        finally:
            self._cancel.bells.discard(bell)

    @contextlib.contextmanager
    def _session(self, worker: _Worker) -> Iterator[Lease]:
        """Use the worker's session; one that is out of step or dead afterwards is not kept."""
        if worker.lease is None or not worker.lease.usable():
            self._drop(worker, doom=True)
            worker.lease = self._borrow()
        try:
            yield worker.lease
        except BaseException as error:
            in_step = isinstance(error, RemoteRejected | _Stopped | TransferError)
            if not (in_step and worker.lease.usable()):
                self._drop(worker, doom=True)
            raise


def _of_source(job: Job, error: Exception) -> TransferError:
    failure = TransferError(
        f"{job.label}: the source failed with {type(error).__name__}: {error}", phase="source"
    )
    failure.__cause__ = error
    return failure


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
