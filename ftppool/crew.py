"""The workers of a batch: threads that each borrow a session and send one file after another.

What they share with the caller's thread are deques and sets, whose ``append``, ``popleft`` and
``add`` are single steps, and bells: an interrupted caller leaves nothing locked.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ftppool.bell import Bell
from ftppool.client import Cancel, Cancelled
from ftppool.errors import FTPPoolError, PoolTimeout, RemoteRejected, TransferError
from ftppool.events import Event, FileProgress, FileStarted, Retrying
from ftppool.inputs import EmptyDirectory, Job
from ftppool.lease import Lease
from ftppool.report import Outcome, Status
from ftppool.retry import RetryPolicy, retrying
from ftppool.stats import PoolStats
from ftppool.transfer.upload import Shared, Upload, UploadOptions

__all__ = ["Crew", "Lender"]

_log = logging.getLogger("ftppool")

PATIENCE = 1.0
"""Seconds for which a worker keeps its session while the input has nothing for it."""


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


class Crew:
    """Workers with one queue; new ones are hired as there is work for them.

    Attributes:
        queue: What waits for a worker.
        done: Indices and outcomes of finished files, for the caller's thread to take.
        begun: Indices of the files that a worker has taken.
        causes: What has stopped the batch, or went wrong beside its files.
        bell: Rung whenever the caller's thread has something to look at.
        stopped: True once no more files are taken.
        exhausted: True once nothing more will be queued.
    """

    def __init__(self, pool: Lender, options: UploadOptions, *, count: int, shared: Shared) -> None:
        self.queue: deque[Job | EmptyDirectory] = deque()
        self.done: deque[tuple[int, Outcome]] = deque()
        self.begun: set[int] = set()
        self.causes: list[FTPPoolError] = []
        self.bell: Bell = Bell()
        self.stopped: bool = False
        self.exhausted: bool = False
        self._pool = pool
        self._options = options
        self._count = count
        self._shared = shared
        self._workers: list[_Worker] = []
        self._cancel = Cancel()
        self._logged_in = False

    # -- called by the caller's thread -------------------------------------------------------------

    def put(self, item: Job | EmptyDirectory) -> None:
        """Queue an item, with one more worker if that can help."""
        self.queue.append(item)
        self.hire()
        self._ring()

    def hire(self) -> None:
        """Start one more worker if there is work; only one until the login has succeeded."""
        if self.stopped or not self.queue:
            return
        if len(self._workers) >= (self._count if self._logged_in else 1):
            return
        number = len(self._workers) + 1
        thread = threading.Thread(
            target=self._work, args=(number - 1,), name=f"{self._pool.name}-{number}", daemon=True
        )
        self._workers.append(_Worker(thread, Bell()))
        thread.start()

    def end_input(self) -> None:
        """Let workers end that find nothing to do."""
        self.exhausted = True
        self._ring()

    @property
    def working(self) -> bool:
        """True while any worker lives."""
        return any(worker.thread.is_alive() for worker in self._workers)

    def stop(self) -> None:
        """Take no more files, and end all waiting for sessions."""
        self.stopped = True
        self._cancel.cancel()

    def cut(self) -> None:
        """Break the connections of those who still work."""
        for worker in self._workers:
            lease = worker.lease
            if lease is not None:
                lease.cut()

    def _ring(self) -> None:
        for worker in self._workers:
            worker.bell.ring()

    # -- the workers -------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        worker = self._workers[number]
        try:
            while not self.stopped:
                if worker.lease is not None and worker.lease.wanted:
                    self._drop(worker, doom=False)  # another process waits: it ends here
                if worker.lease is None and self.queue:
                    worker.lease = self._borrow()  # first, or the file would wait with the worker
                    self._logged_in = True
                    self.bell.ring()
                try:
                    item = self.queue.popleft()
                except IndexError:
                    if self.exhausted and not self.queue:
                        break
                    if not worker.bell.wait(PATIENCE):
                        self._drop(worker, doom=False)  # a slow input: let others have the session
                    continue
                self.bell.ring()
                self._do(worker, item)
                self.bell.ring()
        except Cancelled:
            pass
        except _NoSession as none:
            self._give_up(none.why)
        except BaseException as error:  # noqa: BLE001 - a worker must not die unheard
            self._give_up(TransferError(f"a worker ended by {type(error).__name__}: {error}"))
        finally:
            self._drop(worker, doom=worker.lease is not None and not worker.lease.usable())
            self.bell.ring()

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
        if not any(type(known) is type(cause) for known in self.causes):
            self.causes.append(cause)
        self.stop()

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
            self.done.append((item.index, self._send(worker, item)))

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
            self.causes.append(error)

    def _send(self, worker: _Worker, job: Job) -> Outcome:
        self.begun.add(job.index)
        started = time.monotonic()
        attempts = 0

        def on_bytes(sent: int) -> None:
            if self.stopped and sent != job.size:
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
            if self.stopped:
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
            if self.stopped or bell.wait(seconds):
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
