"""The right of one borrower to one place of a session, until it is given back."""

from __future__ import annotations

import os.path
import threading
import time
from collections.abc import Hashable
from types import TracebackType
from typing import Any, Protocol, Self
from weakref import ReferenceType, ref

from ftppool.drivers.base import FileOps, Wire
from ftppool.errors import LeaseReturned
from ftppool.leaks import Stack, position, stack_here
from ftppool.slots import Place
from ftppool.stats import Holder
from ftppool.typed import override

__all__ = ["Grip", "Lease"]


class Grip:
    """What the ledger knows of a borrower; it outlives a lost lease.

    Attributes:
        thread: Who borrows.
        group: On whose behalf: the caller of a batch, or the same.
        since: When he asked.
        loan: What :meth:`~ftppool.drivers.base.Wire.lend` gave; None until then.
        told: True once the lease was told as a suspected leak.
        losable: True if losing the lease is a way to end it, and no leak to be told.
        lease: A weak reference to the lease: the borrower alone keeps it alive.
    """

    __slots__ = ("group", "lease", "loan", "losable", "since", "stack", "task", "thread", "told")

    def __init__(self, threads: tuple[Hashable, ...], since: float) -> None:
        self.thread: Hashable = threads[0]
        self.group: Hashable = threads[-1]
        self.since: float = since
        self.loan: Any = None
        self.lease: ReferenceType[Lease] | None = None
        self.task: threading.Thread = threading.current_thread()
        self.told: bool = False
        self.losable: bool = False
        self.stack: Stack = stack_here(3)  # without the gate, which called this

    def lost(self) -> bool:
        """True if nobody has the lease any more, whether or not its finalizer came to an end."""
        return self.lease is not None and self.lease() is None

    def suspicious(self, now: float, limit: float | None) -> bool:
        """True if the lease has been out for too long, and nobody knows."""
        if limit is None or self.told or self.thread != self.group:
            return False  # a batch, whose workers borrow on its behalf, keeps its sessions for long
        return self.since + limit <= now

    def holder(self, now: float) -> Holder:
        """Describe the borrower for an error message."""
        file, line, function = position(self.stack)
        where = f"{os.path.basename(file)}:{line} in {function}"
        return Holder(self.task.name, now - self.since, where)


class _Giver(Protocol):
    def give_back(self, place: Place, grip: Grip, *, doom: bool) -> bool: ...
    def lost(self, grip: Grip) -> None: ...
    def wanted(self, grip: Grip) -> bool: ...


class Lease:
    """One borrowed session. Give it back with :meth:`release`, or use it as context manager.

    Left by an exception, or found out of step, the session is ended and not lent again.
    """

    __slots__ = ("__weakref__", "_cut", "_done", "_ending", "_gate", "_place", "_wire", "grip")

    _place: Place
    _wire: Wire

    def __init__(self, gate: _Giver, grip: Grip) -> None:
        self._gate = gate
        self.grip: Grip = grip
        grip.lease = ref(self)
        self._cut = False
        self._ending = False
        self._done = False

    @override
    def __repr__(self) -> str:
        """Who has it, or that it is over."""
        if getattr(self, "_done", True):  # a Ctrl-C may have broken off __init__
            return "<Lease: given back>"
        holder = self.grip.holder(time.monotonic())
        return f"<Lease: {holder.thread} for {holder.age:.1f} s ({holder.where})>"

    def begin(self, place: Place, wire: Wire, now: float, limit: float) -> None:
        """Borrow; that may take `limit` seconds."""
        self.grip.since = now
        self.grip.loan = wire.lend(limit)
        self._place = place
        self._wire = wire

    def forget(self) -> None:
        """Nothing was borrowed."""
        self._done = True

    @property
    def loan(self) -> Any:
        """What the protocol's own library would use: an ``ftplib.FTP``, or an SFTP client.

        Raises:
            LeaseReturned: The lease is over.
        """
        if self._done:
            raise LeaseReturned("this lease was given back to its pool; take a new one")
        return self.grip.loan

    @property
    def held(self) -> bool:
        """True until it is given back."""
        return not self._done

    def files(self) -> FileOps:
        """The protocol-independent file calls of the session."""
        return self._wire.files(self.loan)

    def usable(self) -> bool:
        """True if the session is in step and the server has not closed it; no round trip."""
        return not self._done and self._wire.looks_alive(self.grip.loan)

    @property
    def wanted(self) -> bool:
        """True if others have waited long for a session: who has work left gives this one back."""
        return self._gate.wanted(self.grip)

    def cut(self) -> None:
        """Break the session from any thread: who uses it by this lease gets an error, nobody else.

        After the lease is over, it does nothing.
        """
        # Each side first says what it does, and then looks at the other: whoever cuts while the
        # lease ends finds that it ends, or else the end finds the cut, and nobody gets the session.
        self._cut = True
        if not self._ending:
            self._wire.cut(self.grip.loan)

    def release(self) -> None:
        """Give the session back for the next borrower; a second call does nothing."""
        self._end(doom=False)

    def discard(self) -> None:
        """Give the session back to be ended; a second call does nothing."""
        self._end(doom=True)

    def _end(self, *, doom: bool) -> None:
        if not self._done:
            self._ending = True
            self._gate.give_back(self._place, self.grip, doom=doom or self._cut)
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
        if not getattr(self, "_done", True):  # a Ctrl-C may have broken off __init__
            self._gate.lost(self.grip)
