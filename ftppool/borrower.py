"""The session of one worker of a batch: borrowed when needed, kept while it is good."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, cast

from ftppool.client import Cancel
from ftppool.drivers.steps import Chains
from ftppool.errors import FTPPoolError, PoolTimeout, RemoteRejected, TransferError
from ftppool.lease import Lease
from ftppool.retry import RetryPolicy
from ftppool.stats import PoolStats

if TYPE_CHECKING:
    from ftppool.events import Event

__all__ = ["Borrower", "Lender", "NoSession", "Stopped"]


class Lender(Protocol):
    """What a batch needs of a pool."""

    name: str
    policy: RetryPolicy
    listening: bool  # False: nobody wants an event for each file
    heard: bool  # False: nobody wants any event

    def lend(self, timeout: float, cancel: Cancel) -> Lease:
        """Wait for a session."""

    def resolve(self, path: str) -> str:
        """Turn a path relative to the target's directory into one that the server takes."""

    def emit(self, event: Event) -> None:
        """Tell the listener."""

    def stats(self) -> PoolStats:
        """Take a snapshot."""

    def trouble(self) -> tuple[str, float]:
        """Why there is no (further) session, "" if all is well; seconds until the next connect."""


class NoSession(Exception):
    """No session can be had: that would be so for every other file as well."""

    def __init__(self, why: FTPPoolError) -> None:
        super().__init__(str(why))
        self.why = why


class Stopped(Exception):
    """The batch was stopped while a file was under way."""


class Borrower:
    """Holds one lease or none; used by one thread, but for :meth:`cut`."""

    def __init__(self, pool: Lender, cancel: Cancel) -> None:
        self._pool = pool
        self._cancel = cancel
        self._lease: Lease | None = None

    @property
    def has_session(self) -> bool:
        """True if a session is held, dead or alive."""
        return self._lease is not None

    @property
    def wanted(self) -> bool:
        """True if another process waits for the session."""
        return self._lease is not None and self._lease.wanted

    def chains(self) -> Chains | None:
        """The file calls of the session, if it is good and they can do two files at a time."""
        lease = self._lease
        if lease is None or not lease.usable():
            return None
        files = lease.files()
        # Not isinstance(): for a protocol that takes longer than all the rest.
        return cast("Chains", files) if getattr(files, "chaining", False) else None

    def borrow(self, timeout: float | None = None) -> None:
        """Wait for a session as long as that makes sense.

        Args:
            timeout: Seconds to wait at most, even if the batch is stopped meanwhile; None: as long
                as the batch goes on.

        Raises:
            NoSession: None can be had.
            Cancelled: The batch was stopped.
        """
        cancel = self._cancel if timeout is None else Cancel()
        while self._lease is None:
            try:
                wait = self._pool.policy.busy_total if timeout is None else timeout
                self._lease = self._pool.lend(wait, cancel)
            except PoolTimeout as error:
                if not error.holders or timeout is not None:
                    raise NoSession(error) from error
                # Sessions of ours are at work: our turn will come.
            except FTPPoolError as error:
                raise NoSession(error) from error

    def give_back(self) -> None:
        """Return the session; one that is out of step or dead is ended."""
        lease, self._lease = self._lease, None
        if lease is not None:
            if lease.usable():
                lease.release()
            else:
                lease.discard()

    def discard(self) -> None:
        """Return the session to be ended."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.discard()

    def cut(self) -> None:
        """Break the connection, from any thread."""
        lease = self._lease
        if lease is not None:
            lease.cut()

    @contextlib.contextmanager
    def session(self, timeout: float | None = None) -> Iterator[Lease]:
        """Use the session, or a fresh one in the place of a dead one; see :meth:`borrow`."""
        if self._lease is not None and not self._lease.usable():
            self.give_back()
        self.borrow(timeout)
        lease = self._lease
        assert lease is not None
        try:
            yield lease
        except BaseException as error:
            if not isinstance(error, RemoteRejected | Stopped | TransferError):
                self.discard()
            elif not lease.usable():
                self.give_back()
            raise
