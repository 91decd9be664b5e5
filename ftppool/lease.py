"""The right of one borrower to one place of a session, until it is given back."""

from __future__ import annotations

import contextlib
import os.path
import sys
import threading
from collections.abc import Hashable
from types import CodeType, TracebackType
from typing import Any, Protocol, Self

from ftppool.drivers.base import FileOps, Wire
from ftppool.errors import LeaseReturned
from ftppool.slots import Place
from ftppool.stats import Holder

__all__ = ["Grip", "Lease"]

NOT_THE_USER = (os.path.dirname(os.path.abspath(__file__)) + os.sep, contextlib.__file__)
"""Where the code of a borrower is not: this package, and what runs its ``with`` blocks."""


class Grip:
    """What the ledger knows of a borrower; it outlives a lost lease."""

    __slots__ = ("code", "line", "loan", "name", "since", "thread")

    def __init__(self, thread: Hashable, since: float, loan: Any) -> None:
        self.thread: Hashable = thread
        self.since: float = since
        self.loan: Any = loan
        self.name: str = threading.current_thread().name
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(NOT_THE_USER):
            frame = frame.f_back
        self.code: CodeType = frame.f_code
        self.line: int = frame.f_lineno

    def holder(self, now: float) -> Holder:
        """Describe the borrower for an error message."""
        where = f"{os.path.basename(self.code.co_filename)}:{self.line} in {self.code.co_name}"
        return Holder(self.name, now - self.since, where)


class _Giver(Protocol):
    def give_back(self, place: Place, grip: Grip, *, doom: bool) -> None: ...
    def lost(self, place: Place, grip: Grip) -> None: ...
    def wanted(self) -> bool: ...


class Lease:
    """One borrowed session. Give it back with :meth:`release`, or use it as context manager.

    Left by an exception, or found out of step, the session is ended and not lent again.
    """

    __slots__ = ("__weakref__", "_done", "_gate", "_grip", "_place", "_wire")

    def __init__(self, gate: _Giver, place: Place, grip: Grip, wire: Wire) -> None:
        self._done = False
        self._gate = gate
        self._place = place
        self._grip = grip
        self._wire = wire

    @property
    def loan(self) -> Any:
        """What the protocol's own library would use: an ``ftplib.FTP``, or an SFTP client.

        Raises:
            LeaseReturned: The lease is over.
        """
        if self._done:
            raise LeaseReturned("this lease was given back to its pool; take a new one")
        return self._grip.loan

    def files(self) -> FileOps:
        """The protocol-independent file calls of the session."""
        return self._wire.files(self.loan)

    def usable(self) -> bool:
        """True if the session is in step and the server has not closed it; no round trip."""
        return not self._done and self._wire.looks_alive(self._grip.loan)

    @property
    def wanted(self) -> bool:
        """True if another process waits for a session: who uses this one for long gives it back."""
        return self._gate.wanted()

    def cut(self) -> None:
        """Break the connection from any thread; whoever uses it gets an error."""
        self._wire.cut()

    def release(self) -> None:
        """Give the session back for the next borrower; a second call does nothing."""
        self._end(doom=False)

    def discard(self) -> None:
        """Give the session back to be ended; a second call does nothing."""
        self._end(doom=True)

    def _end(self, *, doom: bool) -> None:
        if not self._done:
            self._gate.give_back(self._place, self._grip, doom=doom)
            self._done = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(doom=kind is not None)

    def __del__(self) -> None:
        # No lock and no I/O here: the garbage collector may run this inside the gate's own lock.
        if not self._done:
            self._gate.lost(self._place, self._grip)
