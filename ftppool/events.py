"""What a pool tells its ``on_event`` listener: one stream of frozen values.

Events are sent outside of all locks, from whichever thread saw them; byte counts are absolute. An
exception in a listener is logged and never harms a transfer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ftppool.report import BatchReport, Outcome

__all__ = [
    "BatchDone",
    "ConnectFailed",
    "Event",
    "FileDone",
    "FileProgress",
    "FileQueued",
    "FileStarted",
    "LeakResolved",
    "LeakSuspected",
    "LeaseLost",
    "Retrying",
    "SessionClosed",
    "SessionLent",
    "SessionOpened",
    "SessionOpening",
    "SessionRefused",
    "SessionReturned",
    "SessionSettled",
    "SlotWaitFailed",
    "SlotWaiting",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        pool: The name of the pool.
        time: When it happened, in seconds since the epoch.
    """

    pool: str
    time: float = field(default_factory=time.time, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpening(Event):
    """A connection is about to be made; its slot is taken.

    Attributes:
        address: ``"ip:port"`` of the server.
    """

    address: str


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
class SessionSettled(Event):
    """A slot is free again: its connection has ended, and the server had time to notice.

    Not told of connections that were ended by ``close()``, which does not wait for that time.

    Attributes:
        address: ``"ip:port"`` of the server.
    """

    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotWaiting(Event):
    """A borrower found no session that is free, and waits.

    Attributes:
        address: ``"ip:port"`` of the server.
        ahead: Borrowers who have waited for longer, those of other pools included.
    """

    address: str
    ahead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotWaitFailed(Event):
    """A borrower got no session.

    Attributes:
        address: ``"ip:port"`` of the server.
        waited: Seconds since it asked.
        error: Why, in one sentence.
    """

    address: str
    waited: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLent(Event):
    """A borrower has a session.

    Attributes:
        address: ``"ip:port"`` of the server.
        waited: Seconds since it asked.
    """

    address: str
    waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReturned(Event):
    """A borrower has given a session back.

    Attributes:
        address: ``"ip:port"`` of the server.
        used: Seconds for which it was lent.
        kept: True if others may have it now, False if it is to be ended.
    """

    address: str
    used: float
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakSuspected(Event):
    """A session was not given back for longer than ``leak_warn_after``.

    Attributes:
        address: ``"ip:port"`` of the server.
        age: Seconds since it was lent.
        thread: Name of the thread that took it.
        where: The line that took it, as ``"file.py:12 in function"``.
    """

    address: str
    age: float
    thread: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakResolved(Event):
    """A session that was suspected to be leaked came back.

    Attributes:
        address: ``"ip:port"`` of the server.
        age: Seconds for which it was lent.
        thread: Name of the thread that had taken it.
    """

    address: str
    age: float
    thread: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(Event):
    """The program dropped a lease without giving it back: a leak; the pool ended the session.

    Attributes:
        address: ``"ip:port"`` of the server.
        age: Seconds since it was lent.
        thread: Name of the thread that took it.
        where: The line that took it, as ``"file.py:12 in function"``.
    """

    address: str
    age: float
    thread: str
    where: str


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
