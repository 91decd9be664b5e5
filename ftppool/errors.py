"""Every exception that ftppool raises.

::

    FTPPoolError
    ├── ConfigError (ValueError)         bad argument, URL, option or input: mend it and run again
    ├── PoolClosed                       the pool was closed
    ├── PoolTimeout (TimeoutError)       no session came free in time
    ├── WouldDeadlock                    every place is held by threads that wait for another one
    ├── LeaseReturned                    a session was used after it had been given back
    ├── ConnectError (ConnectionError)   name, route or TCP connection failed
    ├── ServerBusy (ConnectionError)     the server refuses more connections
    ├── AuthError (PermissionError)      user name or password refused; never retried
    ├── HostKeyError                     the SSH host key is unknown or has changed
    ├── TLSError                         certificate or TLS handshake failed
    ├── TransferError                    one file or one command failed
    │   ├── RemoteRejected               the server said no
    │   ├── ConnectionLost               the connection broke on the way
    │   └── VerifyError                  what arrived is not what was sent
    └── BatchError (ExceptionGroup)      files of a batch failed; see ``.report``

    LeakWarning (ResourceWarning)        a pool or lease was lost without being closed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from ftppool.typed import override

if TYPE_CHECKING:
    from ftppool.report import BatchReport
    from ftppool.stats import Holder

__all__ = [
    "AuthError",
    "BatchError",
    "ConfigError",
    "ConnectError",
    "ConnectionLost",
    "FTPPoolError",
    "HostKeyError",
    "LeakWarning",
    "LeaseReturned",
    "PoolClosed",
    "PoolTimeout",
    "RemoteRejected",
    "ServerBusy",
    "TLSError",
    "TransferError",
    "VerifyError",
    "WouldDeadlock",
]


class FTPPoolError(Exception):
    """Base of everything that ftppool raises.

    Attributes:
        code: The server's reply code (for example 421), or None where it gave none.
        reply: The server's own words, or None.
        phase: What was under way: ``"connect"``, ``"greeting"``, ``"login"``, ``"transfer"`` …
        address: ``"host:port"`` of the server, or None where none was involved.
        retryable: True if the same call may well succeed later without any change.
        wrong_url: True if what answers is not what the URL's scheme or port says; the message names
            the scheme to try.
    """

    retryable: bool = False
    wrong_url: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        reply: str | None = None,
        phase: str | None = None,
        address: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reply = reply
        self.phase = phase
        self.address = address
        if retryable is not None:
            self.retryable = retryable


class ConfigError(FTPPoolError, ValueError):
    """An argument, URL, option or input is wrong; the message says what to write instead."""


class PoolClosed(FTPPoolError):
    """The pool was closed before or while it was used."""


class PoolTimeout(FTPPoolError, TimeoutError):
    """No session came free within the time-out.

    Attributes:
        holders: Who holds the sessions: thread, age in seconds and place in the code.
    """

    retryable = True
    holders: tuple[Holder, ...] = ()


class WouldDeadlock(FTPPoolError):
    """Waiting could never end: all places are held by threads that wait for another one."""


class LeaseReturned(FTPPoolError):
    """A session was used after it had been returned to its pool, or after its own ``quit()``."""


class ConnectError(FTPPoolError, ConnectionError):
    """The server's name, route or TCP connection failed."""

    retryable = True


class ServerBusy(FTPPoolError, ConnectionError):
    """The server refuses more connections, in whatever words; see ``reply``."""

    retryable = True


class AuthError(FTPPoolError, PermissionError):
    """The server refused the user name or password. Never retried."""


class HostKeyError(FTPPoolError):
    """The SSH host key is unknown or has changed."""


class TLSError(FTPPoolError):
    """The TLS handshake or the certificate check failed."""


class TransferError(FTPPoolError):
    """One file or one command failed.

    Attributes:
        stops_batch: True if every other file would fail as well: disk full, quota exceeded.
    """

    stops_batch: bool = False


class RemoteRejected(TransferError):
    """The server understood and said no; see ``code`` and ``reply``."""


class ConnectionLost(TransferError):
    """The connection broke or went silent in the middle of a command or transfer."""

    retryable = True


class VerifyError(TransferError):
    """What the server stored is not what was sent."""

    retryable = True


class BatchError(FTPPoolError, ExceptionGroup[FTPPoolError]):
    """Some files of a batch did not arrive.

    Attributes:
        report: The whole :class:`~ftppool.BatchReport`, kept by ``split()`` and ``subgroup()``.
    """

    report: BatchReport

    def __new__(
        cls,
        message: str,
        exceptions: Sequence[FTPPoolError],
        report: BatchReport,  # noqa: ARG004 - kept by __init__
    ) -> Self:
        """Make the group; ExceptionGroup takes its parts here, not in ``__init__``."""
        return super().__new__(cls, message, exceptions)

    def __init__(
        self, message: str, exceptions: Sequence[FTPPoolError], report: BatchReport
    ) -> None:
        super().__init__(message)
        self.report = report
        self.retryable: bool = all(error.retryable for error in exceptions)

    @override
    def __str__(self) -> str:
        """One sentence, with the first cause; the group would add how many there are."""
        return self.message

    @override
    # The type checker: an ExceptionGroup of ours.
    def derive(self, excs: Sequence[FTPPoolError]) -> BatchError:  # type: ignore[override]
        """Make a group of some of the exceptions that knows the same report."""
        return BatchError(self.message, excs, self.report)

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message, self.exceptions, self.report), self.__dict__)


class LeakWarning(ResourceWarning):
    """A pool was never closed, or a lease was lost without being returned."""
