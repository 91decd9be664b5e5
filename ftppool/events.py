"""What a pool tells its ``on_event`` listener: one stream of frozen values.

Events are sent outside of all locks, from whichever thread saw them; byte counts are absolute. An
exception in a listener is logged and never harms a transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

from ftppool.report import BatchReport, Outcome

__all__ = [
    "BatchDone",
    "ConnectFailed",
    "Event",
    "FileDone",
    "FileProgress",
    "FileQueued",
    "FileStarted",
    "Retrying",
    "SessionClosed",
    "SessionOpened",
    "SessionRefused",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        pool: The name of the pool.
    """

    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened(Event):
    """A session is logged in.

    Attributes:
        address: ``"ip:port"`` of the server.
        elapsed: Seconds from before the TCP connect to after the login.
    """

    address: str
    elapsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRefused(Event):
    """The server refused one more connection.

    Attributes:
        address: ``"ip:port"`` of the server.
        reply: The server's words.
        effective: Connections that ftppool will keep to from now on.
        wait: Seconds until the next connect may be tried.
    """

    address: str
    reply: str
    effective: int
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFailed(Event):
    """No session came of a connect, for another reason than a refusal.

    Attributes:
        address: ``"ip:port"`` of the server.
        error: What happened, in one sentence.
        wait: Seconds until the next connect may be tried; 0.0 if there will be none.
    """

    address: str
    error: str
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Event):
    """A session has ended.

    Attributes:
        address: ``"ip:port"`` of the server.
        politely: True if the server answered QUIT.
    """

    address: str
    politely: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileQueued(Event):
    """The batch has taken a file from its input.

    Attributes:
        source: The local path, or what stands for it.
        remote: The remote path.
        size: Bytes, or None where nobody knows yet.
    """

    source: str
    remote: str
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStarted(Event):
    """A transfer begins.

    Attributes:
        source: The local path, or what stands for it.
        remote: The remote path.
        attempt: 1 for the first.
    """

    source: str
    remote: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProgress(Event):
    """More of a file has been sent.

    Attributes:
        remote: The remote path.
        sent: Bytes of this attempt so far.
        size: Bytes of the file, or None where nobody knows.
        attempt: 1 for the first.
    """

    remote: str
    sent: int
    size: int | None
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying(Event):
    """A transfer failed for a passing reason and will be tried again.

    Attributes:
        remote: The remote path.
        attempt: The attempt that failed.
        wait: Seconds until the next one.
        error: What happened, in one sentence.
    """

    remote: str
    attempt: int
    wait: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDone(Event):
    """A file has its outcome, good or bad.

    Attributes:
        outcome: What became of it.
    """

    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDone(Event):
    """A batch has ended.

    Attributes:
        report: What became of all files.
    """

    report: BatchReport
