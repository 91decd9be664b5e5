"""What became of a batch: one outcome for each file, and the report that holds them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NoReturn

from ftppool.errors import BatchError, FTPPoolError, TransferError
from ftppool.stats import PoolStats
from ftppool.typed import override
from ftppool.words import encodable

__all__ = ["BatchReport", "Outcome", "Status"]

_MESSAGE_MAX = 200
_SOURCE_MAX = 60
_SCHEMA_VERSION = 1


class Status(StrEnum):
    """What became of one file."""

    UPLOADED = "uploaded"
    """It is on the server under its name."""

    DOWNLOADED = "downloaded"
    """It is here under its name."""

    SKIPPED = "skipped"
    """There was no need to send it (``on_conflict`` or the journal said so)."""

    FAILED = "failed"
    """It was tried and given up; ``error`` says why."""

    INTERRUPTED = "interrupted"
    """It was under way when the batch was stopped (Ctrl-C, deadline)."""

    NOT_ATTEMPTED = "not_attempted"
    """The batch ended before its turn came."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        source: What was sent: the path as given, ``"<bytes>"`` or ``"<name of the callable>"``;
            of a download the remote path.
        remote: The remote path, absolute or relative to the target's directory.
        status: What became of it.
        size: Bytes of the source, or None where nobody could know (a callable never opened).
        sent: Bytes that went over the wire, all attempts together, whichever way.
        attempts: How often the transfer was begun.
        elapsed: Seconds from the first attempt's start to the end.
        verified: True if the server proved the size (or hash) of what has its name now, None if
            it did not, could not or was not asked to.
        error: Why it failed, or what stopped the batch before its turn; None if it arrived or was
            interrupted by Ctrl-C.
        left_behind: A part file of ours that is still on the server, or None.
        notes: Sentences worth reading that are no failure.
        local: The local path that was read or written, or None for bytes and callables.
        received: Those of `sent` that came from the server: all of a download, none of an upload.
    """

    source: str
    remote: str
    status: Status
    size: int | None
    sent: int
    attempts: int
    elapsed: float
    verified: bool | None
    error: FTPPoolError | None = None
    left_behind: str | None = None
    notes: tuple[str, ...] = ()
    local: str | None = None
    received: int = 0

    @property
    def ok(self) -> bool:
        """True if the file is where it should be (uploaded, downloaded or skipped)."""
        return self.status in _ARRIVED

    def to_dict(self) -> dict[str, object]:
        """Give the outcome as JSON-serialisable values; see :meth:`BatchReport.to_dict`."""
        return {
            "source": encodable(self.source),
            "remote": encodable(self.remote),
            "status": self.status.value,
            "size": self.size,
            "sent": self.sent,
            "attempts": self.attempts,
            "elapsed": self.elapsed,
            "verified": self.verified,
            "error": None if self.error is None else _error_dict(self.error),
            "left_behind": _encodable_or_none(self.left_behind),
            "notes": [encodable(note) for note in self.notes],
            "local": _encodable_or_none(self.local),
            "received": self.received,
        }


@dataclass(frozen=True, slots=True, repr=False)
class BatchReport:
    """What became of a whole batch.

    A report has no truth value, because ``if report:`` would read like ``if report.ok:`` and be
    true whatever happened.

    Attributes:
        outcomes: One for each file, in input order.
        started: When the batch began, aware, in UTC.
        elapsed: Seconds that the batch took.
        stats: The pool's counts at the end of the batch.
        causes: What stopped the whole batch (login refused, deadline reached); usually empty.
    """

    outcomes: tuple[Outcome, ...]
    started: datetime
    elapsed: float
    stats: PoolStats
    causes: tuple[FTPPoolError, ...] = ()

    def __bool__(self) -> NoReturn:
        """Refuse to be true or false.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a BatchReport is neither true nor false; use .ok")

    @override
    def __repr__(self) -> str:
        """Counts only: a report of 100,000 files must not fill a terminal."""
        counts = (f"{n:,} {name.replace('_', ' ')}" for name, n in self._counts().items() if n)
        causes = "".join(f"; {type(cause).__name__}" for cause in self.causes)
        return (
            f"<BatchReport {'ok' if self.ok else 'not ok'}: {', '.join(counts) or 'no files'};"
            f" {self.bytes_sent:,} bytes in {self.elapsed:.1f} s{causes}>"
        )

    @property
    def uploaded(self) -> tuple[Outcome, ...]:
        """The files that were sent."""
        return self._having(Status.UPLOADED)

    @property
    def downloaded(self) -> tuple[Outcome, ...]:
        """The files that were fetched."""
        return self._having(Status.DOWNLOADED)

    @property
    def skipped(self) -> tuple[Outcome, ...]:
        """The files that there was no need to send."""
        return self._having(Status.SKIPPED)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The files that were tried and given up."""
        return self._having(Status.FAILED)

    @property
    def interrupted(self) -> tuple[Outcome, ...]:
        """The files that were under way when the batch was stopped."""
        return self._having(Status.INTERRUPTED)

    @property
    def not_attempted(self) -> tuple[Outcome, ...]:
        """The files whose turn never came."""
        return self._having(Status.NOT_ATTEMPTED)

    @property
    def bytes_sent(self) -> int:
        """Bytes that went over the wire, all files and attempts together, whichever way."""
        return sum(outcome.sent for outcome in self.outcomes)

    @property
    def bytes_received(self) -> int:
        """How many of them came from the server, as all of a download do and none of an upload."""
        return sum(outcome.received for outcome in self.outcomes)

    @property
    def ok(self) -> bool:
        """True if every file was uploaded or skipped and nothing stopped the batch."""
        return not self.causes and all(outcome.ok for outcome in self.outcomes)

    def raise_for_failures(self) -> None:
        """Raise unless the batch is :attr:`ok`.

        Raises:
            BatchError: Holding ``causes`` and the error of every file that did not arrive, each
                once, and this report as ``.report``. Files that were merely in the way of a stop
                add nothing of their own; if the stop left no error at all (Ctrl-C), one
                retryable ``TransferError`` says so.
        """
        if self.ok:
            return
        errors = {id(error): error for error in self._errors()}
        exceptions = list(errors.values()) or [_stopped(self)]
        for error in exceptions:
            _shorten(error)
        raise BatchError(self._sentence(self._first() or exceptions[0]), exceptions, self)

    def to_dict(self) -> dict[str, object]:
        """Give the report as JSON-serialisable values.

        ``"version"`` is 1; within a version keys are only added. Seconds and bytes are numbers,
        times ISO 8601 in UTC. File names that are not valid Unicode (bytes kept by
        surrogateescape) are written with a backslash escape, so that every JSON reader takes
        them. Passwords appear nowhere in a report.
        """
        return {
            "version": _SCHEMA_VERSION,
            "ok": self.ok,
            "started": self.started.astimezone(UTC).isoformat(),
            "elapsed": self.elapsed,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "counts": self._counts(),
            "causes": [_error_dict(cause) for cause in self.causes],
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
            "stats": asdict(self.stats),
        }

    def _having(self, status: Status) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status is status)

    def _counts(self) -> dict[str, int]:
        counts = {status.value: 0 for status in Status}
        for outcome in self.outcomes:
            counts[outcome.status.value] += 1
        return counts

    def _errors(self) -> Iterator[FTPPoolError]:
        yield from self.causes
        for outcome in self.outcomes:
            if outcome.ok:
                continue
            if outcome.error is not None:
                yield outcome.error
            elif outcome.status is Status.FAILED:
                yield TransferError(f"{outcome.source}: failed, and no reason was recorded")

    def _first(self) -> FTPPoolError | None:
        """What others that were never begun are only a consequence of."""
        failed = (outcome.error for outcome in self.failed if outcome.error is not None)
        return next(iter(self.causes), None) or next(failed, None)

    def _sentence(self, first: FTPPoolError) -> str:
        total = len(self.outcomes)
        words = _one_line(str(first))
        lost = {name: n for name, n in self._counts().items() if n and name not in _ARRIVED}
        if not lost:
            stopped = f"after all {total} files" if total else "before its first file"
            return _clip(f"the batch was stopped {stopped}: {words}")
        kinds = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in lost.items())
        return _clip(
            f"{sum(lost.values())} of {total} files did not arrive ({kinds}); "
            f"first: {self._whose(first, words)}{words}"
        )

    def _whose(self, first: FTPPoolError, words: str) -> str:
        """Name the source of an error, unless it is the batch's own or names it itself."""
        if first in self.causes:
            return ""
        for outcome in self.outcomes:
            if outcome.error is first:
                source = _one_line(outcome.source)
                return "" if source in words else f"{_tail(source)}: "
        return ""


_ARRIVED = frozenset({Status.UPLOADED, Status.DOWNLOADED, Status.SKIPPED})


def _shorten(error: FTPPoolError) -> None:
    """Let an uncaught BatchError show a line for each file, and not where our workers were.

    What it came from stays to be found in ``__context__``; its words are in the message.
    """
    error.__traceback__ = None
    error.__cause__ = None  # and with it, __suppress_context__ becomes true


def _stopped(report: BatchReport) -> TransferError:
    # An exception group must not be empty, and one sentence says as much as one for each file.
    return TransferError(
        f"the batch was stopped with {len(report.interrupted)} files under way and "
        f"{len(report.not_attempted)} not begun; run it again",
        retryable=True,
    )


def _error_dict(error: FTPPoolError) -> dict[str, object]:
    return {
        "type": type(error).__name__,
        "message": encodable(str(error)),
        "code": error.code,
        "reply": _encodable_or_none(error.reply),
        "phase": error.phase,
        "address": error.address,
        "retryable": error.retryable,
    }


def _encodable_or_none(text: str | None) -> str | None:
    return None if text is None else encodable(text)


def _one_line(text: str) -> str:
    return " ".join(encodable(text).split())


def _clip(text: str) -> str:
    return text if len(text) <= _MESSAGE_MAX else text[: _MESSAGE_MAX - 1] + "…"


def _tail(source: str) -> str:
    # The end of a path tells more than its beginning.
    return source if len(source) <= _SOURCE_MAX else "…" + source[1 - _SOURCE_MAX :]
