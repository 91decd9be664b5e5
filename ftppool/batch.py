"""A batch: many files over few sessions, with an outcome for each.

The workers do all transfers. The caller's thread only advances the input, collects outcomes, calls
back and takes Ctrl-C, so it never holds anything that an interrupt could lose.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ftppool.backlog import File, Index, Item
from ftppool.borrower import Lender
from ftppool.crew import Begin, Crew, perhaps_left
from ftppool.errors import FTPPoolError, TransferError
from ftppool.inputs import Job
from ftppool.logs import log
from ftppool.plan import Plan
from ftppool.report import BatchReport, Outcome, Status
from ftppool.score import Note, Score
from ftppool.transfer.download import Fetch
from ftppool.workers import launch

if TYPE_CHECKING:
    from ftppool.journal import Journal
    from ftppool.progress import Meter

__all__ = ["Batch"]

WINDOW = 1000
"""Inputs taken ahead of the workers."""
COALESCE = 0.005
"""Seconds that outcomes of a busy batch wait for company: waking this thread for each would take
the interpreter from the workers."""
GRACE = 6.0
"""Seconds that running files get to end by themselves after a stop; well above quit_timeout, which
a worker may wait for the reply to a transfer that it broke off."""


class Batch:
    """One run of a batch; used once.

    Args:
        pool: Lends the sessions.
        inputs: The files, advanced only in the caller's thread.
        begin: Makes the steps of one file.
        done: The status of a file that has arrived.
        below: Gives the path of a file that the patterns of ``plan.last`` are matched with.
        journal: Knows what earlier runs have done, or None.
        note: Writes into it.
    """

    def __init__(
        self,
        pool: Lender,
        inputs: Iterator[Item],
        begin: Begin,
        plan: Plan,
        *,
        done: Status,
        below: Callable[[File], str],
        journal: Journal | None = None,
        note: Note | None = None,
    ) -> None:
        self._pool = pool
        self._inputs = inputs
        self._plan = plan
        self._below = below
        self._score = Score(pool, good=done, max_failures=plan.max_failures, note=note)
        self._crew = Crew(pool, begin, self._score, count=plan.workers)
        self._journal = journal
        show = plan.progress
        self._meter: Meter | None = None
        if show is not None:
            from ftppool.progress import Meter

            self._meter = Meter(show, pool.name, pool.stats, pool.trouble)
        self._done = done
        self._held: list[list[File]] = [[] for _ in plan.last]
        self._too_early: FTPPoolError | None = None
        self._taken: dict[Index, File] = {}
        self._found: deque[Fetch] = deque()
        self._finds = done is Status.DOWNLOADED
        self._open = 0
        self._moved = 0
        self._lost = 0
        self._ending = False
        self._stopped_at: float | None = None
        self._cut_at: float | None = None
        self._outcomes: dict[Index, Outcome] = {}
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    def run(self) -> BatchReport:
        """Move everything; returns when every file has its outcome and every lease is back.

        Raises:
            BaseException: What the input iterator, a callback or a signal handler raised, with the
                report of what was done until then as its attribute ``report``.
        """
        try:
            return self._run()
        finally:
            if self._meter is not None:
                self._meter.end()  # a second Ctrl-C may have come before the report

    def _run(self) -> BatchReport:
        timer = self._timer()
        try:
            if timer is not None:
                launch(timer)
            self._feed()
            self._feed_last()
            self._crew.end_input()
            self._finish()
            self._halt()
        except BaseException as error:
            last = self._end_by(error)
            last.report = self._report()  # type: ignore[attr-defined]  # of any exception
            if last is not error:
                raise last  # noqa: B904 - it says itself what it came from
            raise
        finally:
            if timer is not None:
                timer.cancel()
                if timer.ident is not None:
                    timer.join()
        return self._report()

    def _end_by(self, error: BaseException) -> BaseException:
        """End early, whatever callbacks and signals raise meanwhile.

        An error of the input lets running files finish; Ctrl-C and the like cut them.

        Returns:
            What is to be raised: the error, or what came later and weighs more.
        """
        self._ending = True
        while True:
            try:
                if isinstance(error, Exception):
                    self._open -= self._crew.backlog.drop_fresh()
                    self._crew.end_input()
                    self._finish()
                self._halt()
            except BaseException as second:  # noqa: BLE001 - it is raised when all has ended
                if isinstance(second, KeyboardInterrupt) and not isinstance(error, Exception):
                    return second  # somebody does not want to wait
                # An exit that a callback wants for each file is the same one.
                heavy = isinstance(error, Exception) or not isinstance(second, Exception)
                if heavy and not isinstance(error, type(second)):
                    error = second
            else:
                return error

    def _timer(self) -> threading.Timer | None:
        """Watch the deadline in a thread: the caller's may be busy with the input."""
        if self._plan.deadline is None:
            return None
        late = TransferError(
            f"the deadline of {self._plan.deadline:g} s is over", phase="deadline", retryable=True
        )
        timer = threading.Timer(self._plan.deadline, self._score.give_up, (late,))
        timer.daemon = True
        return timer

    def _feed(self) -> None:
        empty = True
        for item in self._inputs:
            empty = False
            if not self._accept(item):
                break
            self._collect()
            self._show()
            self._accept_found()
        if empty:
            log.warning(
                "ftppool: no files: the input is empty; check paths and patterns",
                pool=self._pool.name,
            )
        while self._finds and (self._open or self._found) and not self._score.stopped:
            self._wait()
            self._accept_found()
        if not self._plan.last:
            self._crew.end_input()  # now: who has sent the last file need not wait for another
        if self._meter is not None:
            self._meter.more = False

    def _accept_found(self) -> None:
        while self._found:
            self._accept(self._found[0])
            self._found.popleft()

    def _accept(self, item: Item) -> bool:
        """Take an item of the input; False if no more is wanted."""
        if self._score.stopped:
            # Given up: the rest is only listed, so that every file has an outcome.
            if isinstance(item, File):
                self._leave(item)
            return self._plan.list_rest
        if isinstance(item, File):
            self._take(item)
            if self._pool.listening:
                self._tell_queued(item)
        self._open += 1
        if isinstance(item, File) and item.error is not None:
            # It needs no session, and the others do not wait for it.
            self._score.finish(item, _outcome(item, Status.FAILED, error=item.error))
        elif not self._hold(item) and not self._known(item):
            self._put(item)
        return True

    def _take(self, item: File) -> None:
        if self._meter is not None and item.index not in self._taken:
            self._meter.took(item.index, item.size)
        self._taken[item.index] = item

    def _put(self, item: Item) -> None:
        self._crew.put(item)
        while len(self._crew.backlog) >= WINDOW and not self._score.stopped:
            self._wait()

    def _hold(self, item: Item) -> bool:
        """Keep a file back that goes last."""
        if isinstance(item, File):
            for held, (_, globs) in zip(self._held, self._plan.last, strict=True):
                if globs.match(self._below(item)):
                    held.append(item)
                    self._open -= 1
                    return True
        return False

    def _known(self, item: Item) -> bool:
        """True if the journal has the file from an earlier run."""
        told = None
        if self._journal is not None and isinstance(item, Job):
            try:
                told = self._journal.arrived(item)
            except TransferError as error:
                self._score.give_up(error)
        if told is None:
            return False
        assert isinstance(item, Job)
        outcome = _outcome(item, Status.SKIPPED, note="sent in an earlier run, says the journal")
        self._open -= 1
        self._settle(item, outcome, tell=not told)
        return True

    def _feed_last(self) -> None:
        """Send the files that go last, one group after another, each if all before it arrived."""
        for held, (pattern, _) in zip(self._held, self._plan.last, strict=True):
            self._finish_open()
            if self._score.stopped:
                return
            if not held:
                log.warning(
                    "ftppool: no file of the batch matches last=%r", pattern, pool=self._pool.name
                )
            if self._lost or self._score.causes:
                self._too_early = TransferError(
                    "not begun, as it goes last and not all other files arrived",
                    phase="batch",
                    retryable=True,
                )
                return
            fresh = bool(self._moved)  # what they tell of is then new, though they are not
            for job in held:
                self._open += 1
                if fresh or not self._known(job):
                    self._put(job)
        self._finish_open()

    def _finish_open(self) -> None:
        """Wait until nothing is under way; what is found in directories goes with them."""
        while (self._open or self._found) and not self._score.stopped:
            self._wait()
            while self._found:
                item = self._found[0]
                self._take(item)
                self._open += 1
                if item.error is not None:
                    self._score.finish(item, _outcome(item, Status.FAILED, error=item.error))
                else:
                    self._put(item)
                self._found.popleft()

    def _tell_queued(self, job: File) -> None:
        from ftppool.events import FileQueued

        self._pool.emit(
            FileQueued(pool=self._pool.name, source=job.label, remote=job.remote, size=job.size)
        )

    def _wait(self) -> None:
        rung = self._score.bell.wait(0.1)
        self._crew.hire()  # at once: the bell may tell of the first login
        if rung and len(self._crew.backlog):
            time.sleep(COALESCE)
        self._collect()
        self._show()

    def _show(self) -> None:
        """Show how far it is, if anybody wants to see it and it is time."""
        meter = self._meter
        if meter is not None and meter.due:
            from ftppool.progress import UnderWay

            tasks = [(task, task.item) for task in self._crew.tasks()]
            meter.show(
                UnderWay(item.remote, task.moved, item.size)
                for task, item in tasks
                if isinstance(item, File) and item.index in self._taken
            )

    def _finish(self) -> None:
        """Wait until all is done, or until the batch is given up: then `_halt` bounds the rest."""
        while self._crew.working and not self._score.stopped:
            if not self._open:
                # All have their outcomes, so nothing comes back to the backlog any more. Who waits
                # for a session waits in vain, perhaps for as long as the server refuses.
                self._score.cancel.cancel()
            self._wait()
        self._collect()

    def _halt(self) -> None:
        """Stop taking files, let or make the running ones end, and see all leases back.

        It may be broken off and called again: the limits stay.
        """
        self._score.stop()
        self._stopped_at = self._stopped_at or time.monotonic()
        if self._cut_at is None:
            if self._wait_for_workers(self._stopped_at + GRACE):
                return
            self._crew.cut()
            self._cut_at = time.monotonic()
        self._wait_for_workers(self._cut_at + GRACE)

    def _wait_for_workers(self, deadline: float) -> bool:
        while self._crew.working:
            if time.monotonic() >= deadline:
                return False
            self._wait()
        self._collect()
        return True

    def _collect(self, *, tell: bool = True) -> None:
        done = self._score.done
        while done:
            # First it is recorded, then it is taken from the queue: a Ctrl-C loses nothing.
            item, outcome, when = done[0]
            if isinstance(item, Fetch) and outcome is None:
                self._found.extend(item.found or ())
                self._taken.pop(item.index, None)
                if self._meter is not None:
                    self._meter.dropped(item.index)
            elif isinstance(item, File) and outcome is not None:
                self._outcomes[item.index] = outcome
            done.popleft()
            self._open -= 1
            if isinstance(item, File) and outcome is not None:
                self._moved += outcome.status is self._done
                arrived = outcome.status is self._done
                self._settle(item, outcome, tell=tell and arrived, when=when)

    def _settle(
        self, job: File, outcome: Outcome, *, tell: bool, when: float | None = None
    ) -> None:
        self._outcomes[job.index] = outcome
        self._taken.pop(job.index, None)
        self._score.begun.discard(job.index)
        self._lost += not outcome.ok
        if self._meter is not None:
            self._meter.settled(job.index, outcome)
        if self._pool.listening or (outcome.status is Status.FAILED and self._pool.heard):
            from ftppool.events import FileDone

            # This thread may have waited for the input since.
            now = time.time() if when is None else when
            self._pool.emit(FileDone(pool=self._pool.name, outcome=outcome, time=now))
        if tell and self._plan.on_arrived is not None:
            self._call_back(self._plan.on_arrived, outcome)

    def _call_back(self, on_arrived: Callable[[Outcome], object], outcome: Outcome) -> None:
        try:
            on_arrived(outcome)
        except Exception as error:
            if not self._ending:
                raise
            # The batch ends because of an error already, perhaps this one.
            log.error(
                "ftppool: the callback failed for %s: %s: %s",
                outcome.remote, type(error).__name__, error,
                pool=self._pool.name, remote=outcome.remote,
            )  # fmt: skip
            return
        if self._journal is not None:
            try:
                self._journal.tell(outcome.remote)
            except TransferError as error:
                self._score.give_up(error)

    def _leave(self, item: File) -> None:
        """Give a file its outcome that nobody will move any more."""
        if item.index in self._outcomes:
            return
        begun = item.index in self._score.begun
        outcome = _outcome(
            item,
            Status.INTERRUPTED if begun else Status.NOT_ATTEMPTED,
            error=self._score.why or self._too_early,
        )
        for task in self._crew.tasks() if begun else ():
            if task.item is item:  # somebody is still at it
                outcome = replace(outcome, left_behind=perhaps_left(task))
        self._outcomes[item.index] = outcome

    def _report(self) -> BatchReport:
        self._crew.abandon()
        self._collect(tell=False)  # nothing may come between the report and its reader any more
        for item in (*self._taken.values(), *self._found):
            self._leave(item)
        causes = self._score.causes
        report = BatchReport(
            outcomes=tuple(outcome for _, outcome in sorted(self._outcomes.items(), key=_place)),
            started=self._started,
            elapsed=time.monotonic() - self._clock,
            stats=self._pool.stats(),
            causes=tuple(causes),
        )
        if self._pool.heard:
            from ftppool.events import BatchDone

            self._pool.emit(BatchDone(pool=self._pool.name, report=report))
        if self._meter is not None:
            self._meter.end(report.outcomes)
        return report


def _place(found: tuple[Index, Outcome]) -> tuple[int, ...]:
    index = found[0]
    return (index,) if isinstance(index, int) else index


def _outcome(
    job: File, status: Status, *, error: FTPPoolError | None = None, note: str | None = None
) -> Outcome:
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
        notes=() if note is None else (note,),
        local=job.path,
    )
