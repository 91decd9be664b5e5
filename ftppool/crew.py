"""The workers of a batch: threads that each borrow a session and move one file after another.

What they share with the caller's thread is changed in single steps (``append``, ``popleft``,
``add``) and announced with bells: an interrupted caller leaves nothing locked.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

from ftppool.backlog import Backlog, File, Index, Item, Task, Transfer
from ftppool.bell import Bell
from ftppool.borrower import Borrower, Lender, NoSession, Stopped
from ftppool.client import Cancel, Cancelled
from ftppool.drivers.steps import Chains
from ftppool.errors import (
    ConfigError,
    ConnectError,
    ConnectionLost,
    FTPPoolError,
    ServerBusy,
    TransferError,
)
from ftppool.inputs import EmptyDirectory, Job
from ftppool.logs import log
from ftppool.report import Outcome, Status
from ftppool.retry import file_delay
from ftppool.transfer.chain import OneAtATime, overlap
from ftppool.transfer.download import Fetch
from ftppool.transfer.upload import Upload
from ftppool.workers import launch

__all__ = ["Begin", "Crew", "Done", "Note", "perhaps_left"]

MOMENT = 0.01
"""Seconds for which a file that has arrived waits for the next one, to take its name beside it."""
PATIENCE = 1.0
"""Seconds for which a worker keeps its session while there is nothing for it to do."""

TIDY = 2.0
"""Seconds for which a stopped worker waits for a session to remove a part with: its own may be out
of step, as pyftpdlib sometimes says nothing at all to a transfer that was broken off."""

DATA_CONNECTION_FAILED = frozenset({425, 426})

Note = Callable[[Task, Outcome | None], None]
"""Writes down in a worker that an item is finished; raises ``TransferError`` if it cannot."""

Begin = Callable[[Item, Callable[[int], None]], Transfer]
"""Makes the steps of an item; the function that it is given is to be told the bytes so far."""

Done = tuple[Item, Outcome | None, float]
"""An item that is finished, and when, in seconds since the epoch; a directory has an outcome only
if it cannot be listed."""


class _Worker:
    def __init__(self, number: int, session: Borrower) -> None:
        self.number = number
        self.session = session
        self.bell = Bell()
        self.open: Task | None = None  # its bytes have arrived, but it does not have its name yet
        self.now: Task | None = None  # what it is at, or was at last
        self.thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class Crew:
    """Workers with one backlog; new ones are hired as there is work for them.

    Attributes:
        backlog: What waits for a worker.
        done: Finished items, for the caller's thread to take.
        begun: Indices of the files that a worker has taken.
        causes: What has stopped the batch, or went wrong beside its files.
        bell: Rung whenever the caller's thread has something to look at.
        stopped: True once no more files are taken.
        exhausted: True once nothing more will be put.
    """

    def __init__(
        self,
        pool: Lender,
        begin: Begin,
        *,
        count: int,
        max_failures: int | None,
        done: Status,
        note: Note | None,
    ) -> None:
        self.backlog: Backlog = Backlog()
        self.done: deque[Done] = deque()
        self.begun: set[Index] = set()
        self.causes: list[FTPPoolError] = []
        self._kinds: dict[type[FTPPoolError], FTPPoolError] = {}
        self.why: FTPPoolError | None = None
        self.bell: Bell = Bell()
        self.stopped: bool = False
        self.exhausted: bool = False
        self._pool = pool
        self._begin = begin
        self._count = count
        self._max_failures = max_failures
        self._good = done
        self._note = note
        self._workers: list[_Worker] = []
        self._cancel = Cancel()
        self._failed: list[int] = []
        self._arrived = 0

    # -- called by the caller's thread -------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Queue an item, with one more worker if that can help."""
        self.backlog.put(item)
        if len(self._workers) < self._count:  # who has died is replaced when the caller waits
            self.hire()
        self._ring()

    def hire(self) -> None:
        """Start workers while there is work for more than those who wait for a session."""
        if self.stopped or not len(self.backlog):
            return
        working = [worker for worker in self._workers if worker.alive]
        alive, coming = len(working), sum(not worker.session.has_session for worker in working)
        wanted = min(len(self.backlog) - coming, self._count)
        while wanted > 0 and alive < self._count:
            try:
                self._hire_one()
            except RuntimeError:  # the system has no more threads
                if not alive:
                    raise
                self._count = alive
                return
            wanted, alive = wanted - 1, alive + 1

    def _hire_one(self) -> None:
        free = {worker.number for worker in self._workers if not worker.alive}
        number = min(free, default=len(self._workers))
        worker = _Worker(number, Borrower(self._pool, self._cancel))
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=f"{self._pool.name}-{number + 1}", daemon=True
        )
        self._workers[number : number + 1] = [worker]
        launch(worker.thread)

    def end_input(self) -> None:
        """Let workers end that find nothing to do."""
        self.exhausted = True
        self._ring()

    @property
    def working(self) -> bool:
        """True while any worker lives."""
        return any(worker.alive for worker in self._workers)

    def tasks(self) -> list[Task]:
        """What the workers are at; some of it may be finished meanwhile."""
        found = [task for worker in self._workers for task in (worker.open, worker.now)]
        return list({id(task): task for task in found if task is not None}.values())

    def cut(self) -> None:
        """Break the connections of those who still work."""
        for worker in self._workers:
            worker.session.cut()

    def abandon(self) -> None:
        """Give the begun files their outcomes that still waited when the last worker ended."""
        while (task := self.backlog.take_begun()) is not None:
            self._end(task, Status.INTERRUPTED, self.why)

    # -- called by anybody -------------------------------------------------------------------------

    def stop(self) -> None:
        """Take no more files, and end all waiting for sessions."""
        self.stopped = True
        self._cancel.cancel()
        self._ring()

    def give_up(self, cause: FTPPoolError) -> None:
        """Stop the batch, and let the report say why."""
        # One step, as all workers may come with the same cause at the same time.
        if self._kinds.setdefault(type(cause), cause) is cause:
            self.causes.append(cause)
        self.why = self.why or cause
        self.stop()

    def finish(self, item: Item, outcome: Outcome | None) -> None:
        """Hand an item over to the caller's thread; too many failures end the batch."""
        self.done.append((item, outcome, time.time()))
        if outcome is not None and outcome.status is Status.FAILED:
            self._failed.append(1)  # one step, where `+= 1` of two threads could be lost
            limit = self._max_failures
            if limit is not None and len(self._failed) >= limit and not self.stopped:
                self.give_up(
                    TransferError(
                        f"{limit} files have failed (max_failures): the last was {item.remote}",
                        phase="batch",
                    )
                )

    def _ring(self) -> None:
        for worker in list(self._workers):
            worker.bell.ring()

    # -- the workers -------------------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        try:
            while not self.stopped:
                if worker.session.wanted:
                    self._settle(worker)
                    worker.session.give_back()  # another process waits: it ends here
                if not worker.session.has_session and self.backlog.ready():
                    worker.session.borrow()  # first, or the file would wait with the worker
                item = self.backlog.take(big_first=worker.number == 0)
                if item is not None:
                    self._do(worker, item)
                    self.bell.ring()
                elif worker.open is not None:
                    # A moment for the input to come up with something to send beside.
                    if self.exhausted or not worker.bell.wait(MOMENT):
                        self._settle(worker)
                        self.bell.ring()
                elif self.exhausted and not len(self.backlog):
                    break
                else:
                    self._idle(worker)
            self._settle(worker)
            self._interrupt_waiting(worker)
        except Cancelled:
            pass
        except NoSession as none:
            self.give_up(none.why)
        except BaseException as error:  # noqa: BLE001 - a worker must not die unheard
            self.give_up(TransferError(f"a worker ended by {type(error).__name__}: {error}"))
        finally:
            self._leave(worker)

    def _leave(self, worker: _Worker) -> None:
        try:
            self._settle(worker)
        finally:
            worker.session.give_back()
            self.bell.ring()

    def _idle(self, worker: _Worker) -> None:
        seconds = self.backlog.seconds()
        if not worker.bell.wait(PATIENCE if seconds is None else min(seconds, PATIENCE)) and (
            seconds is None or seconds > PATIENCE
        ):
            worker.session.give_back()  # a slow input: let others have the session

    def _do(self, worker: _Worker, item: Item | Task) -> None:
        """Make one attempt at an item: it is then finished, open, or back in the queue."""
        try:
            task = item if isinstance(item, Task) else self._new_task(item)
        except TransferError as error:
            self.give_up(error)  # the journal cannot be written
            return
        worker.now = task
        upload = _upload(task)
        fresh = not task.attempts and upload is not None and upload.plain
        if not fresh or (isinstance(task.item, Job) and task.item.size is None):
            self._settle(worker)  # what was tried before, or is a callable, may take its time
        files = worker.session.chains() if fresh else None
        if files is not None:
            self._chain(worker, files, task)
        else:
            self._settle(worker)
            self._conclude(worker, task, self._attempt(worker, task))

    def _attempt(self, worker: _Worker, task: Task, *, again: bool = True) -> BaseException | None:
        """Do all that is still to be done, one command at a time; what was wrong, or None."""
        try:
            with worker.session.session() as lease:
                if again:
                    self._begin_attempt(task)
                task.transfer.attempt(lease.files())
        except BaseException as error:  # noqa: BLE001 - of the user's source, whatever it is
            return error
        return None

    def _begin_attempt(self, task: Task) -> None:
        task.attempts += 1
        task.moved = 0
        if isinstance(task.item, File) and self._pool.listening:
            from ftppool.events import FileStarted

            self._pool.emit(
                FileStarted(
                    pool=self._pool.name,
                    source=task.item.label,
                    remote=task.item.remote,
                    attempt=task.attempts,
                )
            )

    def _chain(self, worker: _Worker, files: Chains, task: Task | None) -> None:
        """End the open file, if there is one, and send the next; its end is then still to come."""
        before, worker.open = worker.open, None
        ended: Exception | None
        began: BaseException | None
        try:
            if task is not None:
                self._begin_attempt(task)
            ended, began = overlap(
                files,
                _upload(before),
                _upload(task),
                lambda: None if before is None else self._end(before, self._good, None),
            )
        except BaseException as error:  # noqa: BLE001 - concluded below, or raised again
            worker.session.discard()  # it is in the middle of something
            ended, began = self._torn(before, task), error
        if task is not None and began is None and not task.transfer.skipped:
            worker.open = task
        if before is not None and ended is not None:
            self._settle(worker)  # first: nothing is wrong with it
            self._go_on(worker, before, ended)
        if task is not None and (began is not None or task.transfer.skipped):
            self._go_on(worker, task, began)
        if task is None and began is not None:
            raise began

    @staticmethod
    def _torn(before: Task | None, task: Task | None) -> Exception | None:
        """Note that nobody knows how far two files have come.

        Returns:
            What is to be done about the first one, as :func:`overlap` says it.
        """
        if task is not None:
            task.transfer.left_behind = perhaps_left(task)
        if before is None or before.transfer.left_behind is None:
            return None  # it has its name, and its outcome
        return OneAtATime()

    def _settle(self, worker: _Worker) -> None:
        """Let the open file take its name before something else is done, or nothing."""
        if worker.open is None:
            return
        if (files := worker.session.chains()) is not None:
            self._chain(worker, files, None)
        else:
            task, worker.open = worker.open, None
            self._go_on(worker, task, OneAtATime())

    def _go_on(self, worker: _Worker, task: Task, error: BaseException | None) -> None:
        """Conclude an attempt that was begun beside another file."""
        if isinstance(error, OneAtATime):
            error = self._attempt(worker, task, again=False)
        self._conclude(worker, task, error)

    def _conclude(self, worker: _Worker, task: Task, error: BaseException | None) -> None:
        """See what became of an attempt."""
        status, failure = self._good, None
        if isinstance(error, Stopped | Cancelled):
            status = Status.INTERRUPTED if task.attempts else Status.NOT_ATTEMPTED
            failure = self.why
        elif isinstance(error, NoSession):
            status = Status.INTERRUPTED if task.attempts else Status.NOT_ATTEMPTED
            failure = error.why
            self.give_up(error.why)
        elif isinstance(error, FTPPoolError):
            if self.stopped:
                status, failure = Status.INTERRUPTED, self.why
            elif self._again(task, error):
                return
            else:
                status, failure = Status.FAILED, error
                if _stops_batch(error):
                    self.give_up(error)
        elif error is not None:
            status, failure = Status.FAILED, _of_source(task.item, error)
            if not isinstance(error, Exception):
                self.give_up(failure)  # sys.exit() in a source: somebody wants the end
        if task.transfer.left_behind is not None:
            self._clean_up(worker, task.transfer)
        self._end(task, status, failure)

    def _new_task(self, item: Item) -> Task:
        if isinstance(item, File):
            self.begun.add(item.index)

        def on_bytes(sent: int) -> None:
            size = item.size if isinstance(item, File) else None
            if self.stopped and sent != size:
                raise Stopped  # but a file that is all sent may as well take its name
            task.moved = sent
            if not self._pool.listening:
                return
            from ftppool.events import FileProgress

            self._pool.emit(
                FileProgress(
                    pool=self._pool.name,
                    remote=item.remote,
                    sent=sent,
                    size=size,
                    attempt=task.attempts,
                )
            )

        task = Task(item, self._begin(item, on_bytes), time.monotonic(), arrived=self._arrived)
        return task

    def _again(self, task: Task, error: FTPPoolError) -> bool:
        """Put a task back if its failure may pass; the other files do not wait for it.

        A lost connection or a refusal is no fault of the file, so it counts only if nothing else
        of the batch has arrived since its last failure: that bounds the whole.
        """
        if not error.retryable:
            return False
        policy = self._pool.policy
        if not _is_network(error) or task.arrived == self._arrived:
            task.failures += 1
        task.arrived = self._arrived
        if task.failures >= policy.attempts:
            return False
        wait = file_delay(policy, max(1, task.failures))
        if self._pool.heard:
            from ftppool.events import Retrying

            self._pool.emit(
                Retrying(
                    pool=self._pool.name,
                    remote=task.item.remote,
                    attempt=task.attempts,
                    wait=wait,
                    error=str(error),
                )
            )
        self.backlog.put_back(task, wait)
        return True

    def _end(self, task: Task, status: Status, failure: FTPPoolError | None) -> None:
        item, transfer = task.item, task.transfer
        if status is self._good:
            self._arrived += 1  # all that counts is that it differs afterwards
        if not isinstance(item, File):
            if failure is not None and status is Status.FAILED:
                self._complain(item, failure)
            elif status is self._good:
                self._write_down(task, None)
            self.finish(item, None)
            return
        if isinstance(item, Fetch) and item.found is not None and status is self._good:
            self.finish(item, None)  # a directory: what is in it has outcomes
            return
        outcome = Outcome(
            source=item.label,
            remote=item.remote,
            status=Status.SKIPPED if transfer.skipped else status,
            size=item.size if transfer.size is None else transfer.size,
            sent=transfer.sent,
            attempts=task.attempts,
            elapsed=time.monotonic() - task.began,
            verified=transfer.verified,
            error=failure,
            left_behind=transfer.left_behind,
            notes=tuple(transfer.notes),
            local=item.path,
            received=transfer.sent if isinstance(item, Fetch) else 0,
        )
        self._write_down(task, outcome)
        self.finish(item, outcome)

    def _write_down(self, task: Task, outcome: Outcome | None) -> None:
        """Before the next item: whenever we are killed, only what is under way is in doubt."""
        if self._note is not None:
            try:
                self._note(task, outcome)
            except TransferError as error:
                self.give_up(error)

    def _complain(self, item: Item, failure: FTPPoolError) -> None:
        if isinstance(item, EmptyDirectory):
            log.warning(
                "ftppool: the empty directory %s was not made: %s", item.remote, failure,
                pool=self._pool.name, remote=item.remote,
            )  # fmt: skip
            self.causes.append(failure)
        else:
            log.warning(
                "ftppool: a part of %s was not removed: %s", item.remote, failure,
                pool=self._pool.name, remote=item.remote,
            )  # fmt: skip

    def _interrupt_waiting(self, worker: _Worker) -> None:
        """The batch was stopped: clean up after files that waited for another attempt."""
        while self.stopped and (task := self.backlog.take_begun()) is not None:
            self._clean_up(worker, task.transfer)
            self._end(task, Status.INTERRUPTED, self.why)

    def _clean_up(self, worker: _Worker, transfer: Transfer) -> None:
        """Try once to remove what is half-done; the outcome says so if it stays."""
        if transfer.left_behind is None:
            return
        with (
            contextlib.suppress(FTPPoolError, NoSession, Cancelled),
            worker.session.session(TIDY if self.stopped else None) as lease,
        ):
            transfer.clean_up(lease.files())


def _upload(task: Task | None) -> Upload | None:
    return task.transfer if task is not None and isinstance(task.transfer, Upload) else None


def perhaps_left(task: Task) -> str | None:
    """Name the part that may be on the server while nobody knows how far an attempt has come."""
    upload = _upload(task)
    if upload is None or not task.attempts:
        return task.transfer.left_behind
    return upload.left_behind or upload.part


def _stops_batch(error: FTPPoolError) -> bool:
    """True if every other file would fail as well."""
    if isinstance(error, ConfigError):
        return error.phase == "verify"  # the server lacks what the batch was told to use
    return isinstance(error, TransferError) and error.stops_batch


def _is_network(error: FTPPoolError) -> bool:
    """True if an error tells of connections, not of the file."""
    return (
        isinstance(error, ConnectionLost | ServerBusy | ConnectError)
        or error.code in DATA_CONNECTION_FAILED
    )


def _of_source(item: Item, error: BaseException) -> TransferError:
    name = item.label if isinstance(item, File) else item.remote
    what = "the source failed with" if isinstance(error, Exception) else "it was broken off by"
    failure = TransferError(f"{name}: {what} {type(error).__name__}: {error}", phase="source")
    failure.__cause__ = error
    return failure
