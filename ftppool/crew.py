"""The workers of a batch: threads that each borrow a session and move one file after another."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from ftppool.backlog import Backlog, File, Item, Task, Transfer
from ftppool.bell import Bell
from ftppool.borrower import Borrower, Lender, NoSession, Stopped
from ftppool.client import Cancelled
from ftppool.drivers.steps import Chains
from ftppool.errors import FTPPoolError, TransferError
from ftppool.inputs import Job
from ftppool.report import Status
from ftppool.score import Score
from ftppool.transfer.chain import OneAtATime, overlap
from ftppool.transfer.upload import Upload
from ftppool.words import in_words
from ftppool.workers import launch

__all__ = ["Begin", "Crew", "perhaps_left"]

MOMENT = 0.01
"""Seconds for which a file that has arrived waits for the next one, to take its name beside it."""
PATIENCE = 1.0
"""Seconds for which a worker keeps its session while there is nothing for it to do."""

TIDY = 2.0
"""Seconds for which a stopped worker waits for a session to remove a part with: its own may be out
of step, as pyftpdlib sometimes says nothing at all to a transfer that was broken off."""

Begin = Callable[[Item, Callable[[int], None]], Transfer]
"""Makes the steps of an item; the function that it is given is to be told the bytes so far."""


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

    Args:
        pool: Lends the sessions.
        begin: Makes the steps of an item.
        score: Takes what is finished, and says when to stop.
        count: Workers at most.

    Attributes:
        backlog: What waits for a worker.
        exhausted: True once nothing more will be put.
    """

    def __init__(self, pool: Lender, begin: Begin, score: Score, *, count: int) -> None:
        self.backlog: Backlog = Backlog()
        self.exhausted: bool = False
        self._pool = pool
        self._begin = begin
        self._score = score
        self._count = count
        self._workers: list[_Worker] = []

    # -- called by the caller's thread -------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Queue an item, with one more worker if that can help."""
        self.backlog.put(item)
        if len(self._workers) < self._count:  # who has died is replaced when the caller waits
            self.hire()
        self._ring()

    def hire(self) -> None:
        """Start workers while there is work for more than those who wait for a session."""
        if self._score.stopped or not len(self.backlog):
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
        worker = _Worker(number, Borrower(self._pool, self._score.cancel))
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=f"{self._pool.name}-{number + 1}", daemon=True
        )
        self._score.cancel.bells.add(worker.bell)
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
            self._score.end(task, Status.INTERRUPTED, self._score.why)

    def _ring(self) -> None:
        for worker in list(self._workers):
            worker.bell.ring()

    # -- the workers -------------------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        try:
            while not self._score.stopped:
                if worker.session.wanted:
                    self._settle(worker)
                    worker.session.give_back()  # another process waits: it ends here
                if not worker.session.has_session and self.backlog.ready():
                    self._borrow(worker)  # first, or the file would wait with the worker
                item = self.backlog.take(big_first=worker.number == 0)
                if item is not None:
                    self._do(worker, item)
                    self._score.bell.ring()
                elif worker.open is not None:
                    # A moment for the input to come up with something to send beside.
                    if self.exhausted or not worker.bell.wait(MOMENT):
                        self._settle(worker)
                        self._score.bell.ring()
                elif self.exhausted and not len(self.backlog):
                    break
                else:
                    self._idle(worker)
            self._settle(worker)
            self._interrupt_waiting(worker)
        except Cancelled:
            pass
        except NoSession as none:
            self._score.give_up(none.why)
        except BaseException as error:  # noqa: BLE001 - a worker must not die unheard
            self._score.give_up(TransferError(f"a worker ended: {in_words(error)}"))
        finally:
            self._leave(worker)

    def _borrow(self, worker: _Worker) -> None:
        try:
            worker.session.borrow()
        except NoSession as none:
            # Others may have done meanwhile what it was for: then it was in vain, and no harm.
            if len(self.backlog) or not none.why.retryable:
                raise

    def _leave(self, worker: _Worker) -> None:
        try:
            self._settle(worker)
        finally:
            worker.session.give_back()
            self._score.cancel.bells.discard(worker.bell)
            self._score.bell.ring()

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
            self._score.give_up(error)  # the journal cannot be written
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
                lambda: None if before is None else self._score.end(before, self._score.good),
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
        """See what comes of an attempt: another one, or the end."""
        status, failure, wait = self._score.judge(task, error)
        if wait is not None:
            self.backlog.put_back(task, wait)  # the other files do not wait for it
            return
        if task.transfer.left_behind is not None:
            self._clean_up(worker, task.transfer)
        self._score.end(task, status, failure)

    def _new_task(self, item: Item) -> Task:
        if isinstance(item, File):
            self._score.begun.add(item.index)

        def on_bytes(sent: int) -> None:
            size = item.size if isinstance(item, File) else None
            if self._score.stopped and sent != size:
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

        task = Task(
            item, self._begin(item, on_bytes), time.monotonic(), arrived=self._score.arrived
        )
        return task

    def _interrupt_waiting(self, worker: _Worker) -> None:
        """The batch was stopped: clean up after files that waited for another attempt."""
        while self._score.stopped and (task := self.backlog.take_begun()) is not None:
            self._clean_up(worker, task.transfer)
            self._score.end(task, Status.INTERRUPTED, self._score.why)

    def _clean_up(self, worker: _Worker, transfer: Transfer) -> None:
        """Try once to remove what is half-done; the outcome says so if it stays."""
        if transfer.left_behind is None:
            return
        with (
            contextlib.suppress(FTPPoolError, NoSession, Cancelled),
            worker.session.session(TIDY if self._score.stopped else None) as lease,
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
