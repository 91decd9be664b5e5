"""What has become of the items of a batch, and whether the batch goes on.

Workers write here and the caller's thread reads. Everything is changed in single steps (``append``,
``popleft``, ``add``) and announced with bells: an interrupted caller leaves nothing locked.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ftppool.backlog import File, Index, Item, Task
from ftppool.bell import Bell
from ftppool.borrower import Lender, NoSession, Stopped
from ftppool.client import Cancel, Cancelled
from ftppool.errors import (
    ConfigError,
    ConnectError,
    ConnectionLost,
    FTPPoolError,
    ServerBusy,
    TransferError,
)
from ftppool.inputs import EmptyDirectory
from ftppool.logs import log
from ftppool.report import Outcome, Status
from ftppool.retry import file_delay
from ftppool.transfer.download import Fetch

__all__ = ["Note", "Score", "Verdict"]

DATA_CONNECTION_FAILED = frozenset({425, 426})

Note = Callable[[Task, Outcome | None], None]
"""Writes down in a worker that an item is finished; raises ``TransferError`` if it cannot."""

Done = tuple[Item, Outcome | None, float]
"""An item that is finished, and when, in seconds since the epoch; a directory has an outcome only
if it cannot be listed."""


class Verdict(NamedTuple):
    """What comes of an attempt.

    Attributes:
        status: How the item ends, unless there is another attempt.
        failure: Why it does not arrive.
        wait: Seconds until another attempt, None if there is none.
    """

    status: Status
    failure: FTPPoolError | None = None
    wait: float | None = None


class Score:
    """The finished items of one batch, and why it stopped.

    Args:
        pool: Its listener is told of retries.
        good: The status of a file that has arrived.
        max_failures: Failed files that end the batch, None for any number.
        note: Writes down what is finished.

    Attributes:
        good: As given.
        done: Finished items, for the caller's thread to take.
        begun: Indices of the files that a worker has taken.
        arrived: How many items have arrived; all that counts is that it differs afterwards.
        causes: What has stopped the batch, or went wrong beside its files.
        why: What has stopped the batch first.
        bell: Rung whenever the caller's thread has something to look at.
        stopped: True once no more files are taken.
        cancel: Ends the waiting of workers when the batch stops, or nothing is left to do.
    """

    def __init__(
        self, pool: Lender, *, good: Status, max_failures: int | None, note: Note | None
    ) -> None:
        self.good: Status = good
        self.done: deque[Done] = deque()
        self.begun: set[Index] = set()
        self.arrived: int = 0
        self.causes: list[FTPPoolError] = []
        self.why: FTPPoolError | None = None
        self.bell: Bell = Bell()
        self.stopped: bool = False
        self.cancel: Cancel = Cancel()
        self._pool = pool
        self._max_failures = max_failures
        self._note = note
        self._kinds: dict[type[FTPPoolError], FTPPoolError] = {}
        self._failed: list[bool] = []  # for each failed file: may that pass?

    def stop(self) -> None:
        """Let no more files be taken, and end all waiting of workers."""
        self.stopped = True
        self.cancel.cancel()

    def give_up(self, cause: FTPPoolError) -> None:
        """Stop the batch, and let the report say why."""
        # One step, as all workers may come with the same cause at the same time.
        if self._kinds.setdefault(type(cause), cause) is cause:
            self.causes.append(cause)
        self.why = self.why or cause
        self.stop()

    def judge(self, task: Task, error: BaseException | None) -> Verdict:
        """Tell what comes of an attempt; some errors end the whole batch."""
        if error is None:
            return Verdict(self.good)
        if isinstance(error, Stopped | Cancelled | NoSession):
            if isinstance(error, NoSession):
                self.give_up(error.why)
            status = Status.INTERRUPTED if task.attempts else Status.NOT_ATTEMPTED
            return Verdict(status, error.why if isinstance(error, NoSession) else self.why)
        if not isinstance(error, FTPPoolError):
            failure = _of_source(task.item, error)
            if not isinstance(error, Exception):
                self.give_up(failure)  # sys.exit() in a source: somebody wants the end
            return Verdict(Status.FAILED, failure)
        if self.stopped:
            return Verdict(Status.INTERRUPTED, self.why)
        wait = self._pause(task, error)
        if wait is None and _stops_batch(error):
            self.give_up(error)
        return Verdict(Status.FAILED, error, wait)

    def _pause(self, task: Task, error: FTPPoolError) -> float | None:
        """Seconds until another attempt, if the failure may pass.

        A lost connection or a refusal is no fault of the file, so it counts only if nothing else
        of the batch has arrived since its last failure: that bounds the whole.
        """
        if not error.retryable:
            return None
        policy = self._pool.policy
        if not _is_network(error) or task.arrived == self.arrived:
            task.failures += 1
        task.arrived = self.arrived
        if task.failures >= policy.attempts:
            return None
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
        return wait

    def end(self, task: Task, status: Status, failure: FTPPoolError | None = None) -> None:
        """Give an item its outcome."""
        item, transfer = task.item, task.transfer
        if status is self.good:
            self.arrived += 1
        if not isinstance(item, File):
            if failure is not None and status is Status.FAILED:
                self._complain(item, failure)
            elif status is self.good:
                self._write_down(task, None)
            self.finish(item, None)
            return
        if isinstance(item, Fetch) and item.found is not None and status is self.good:
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

    def finish(self, item: Item, outcome: Outcome | None) -> None:
        """Hand an item over to the caller's thread; too many failures end the batch."""
        self.done.append((item, outcome, time.time()))
        if outcome is not None and outcome.status is Status.FAILED:
            # One step, where `+= 1` of two threads could be lost.
            self._failed.append(outcome.error is not None and outcome.error.retryable)
            limit = self._max_failures
            if limit is not None and len(self._failed) >= limit and not self.stopped:
                self.give_up(
                    TransferError(
                        f"{limit} files have failed (max_failures): the last was {item.remote}",
                        phase="batch",
                        retryable=all(self._failed),
                    )
                )

    def _write_down(self, task: Task, outcome: Outcome | None) -> None:
        """Before the next item: whenever we are killed, only what is under way is in doubt."""
        if self._note is not None:
            try:
                self._note(task, outcome)
            except TransferError as error:
                self.give_up(error)
            except BaseException as error:  # noqa: BLE001 - what has arrived has its outcome still
                words = f"the journal could not be written: {type(error).__name__} {error}"
                self.give_up(TransferError(words.rstrip(), phase="journal"))

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
