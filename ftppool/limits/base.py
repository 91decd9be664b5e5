"""What the gate asks of a limiter."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from ftppool.lessons import Lessons

__all__ = ["Allowance", "Denied", "Limiter", "Permit"]


class Denied(Enum):
    """Why there is no permit."""

    FULL = "full"
    """All that are allowed are out, or it is another's turn."""
    USER = "user"
    """This user has as many as the server allows him; others may have one."""


class Permit(Protocol):
    """The right to one connection; held from before its connect until that is closed.

    Attributes:
        trying: The lessons that this connection puts to the test: of which users (None: of all).
            It is one more than they allow.
    """

    trying: tuple[str | None, ...]

    def release(self, settled_at: float = 0.0) -> None:
        """Give the permit back, of a connection that is closed; a second call does nothing.

        Args:
            settled_at: Until then the permit counts as taken, as the server may not have noticed
                yet; seconds of ``time.monotonic()``. Nobody waits here for it, and the process may
                end before.
        """


class Allowance(NamedTuple):
    """How many sessions a process may keep while others wait.

    Attributes:
        with_idle: While this process has more sessions than that, its idle ones end now.
        in_use: While it has more than that, one ends whenever a borrower gives one back.
    """

    with_idle: int
    in_use: int


class Limiter(Protocol):
    """Counts connections over more than one gate (processes, machines), and keeps the lessons.

    Its methods are called by the gate's own threads, never under its lock; they must not block for
    long.
    """

    def take(self, address: str, cap: int, user: str) -> Permit | Denied:
        """Take a permit for one connection to `address`, or be told that there is none.

        There is none if `cap` are out, or as many as the lessons allow and no probe is due. After
        ``Denied.FULL`` the caller stands in line: it asks again soon, or calls :meth:`forgo`.
        """

    def pause(self, address: str, cap: int, until: float) -> None:
        """Hear that this process connects no more until then (seconds since the epoch), and waits.

        The server refused it. It is in no line, and takes nothing from anybody.
        """

    def forgo(self, address: str) -> None:
        """Leave the line, or end the pause: nobody of this process waits any more."""

    def pressure(self, address: str, cap: int) -> Allowance | None:
        """Say how many sessions this process may keep; None: no other process needs any."""

    def others(self, address: str, user: str | None = None) -> int | None:
        """Count the connections of other processes, those that ended in the last second included.

        With `user` only that user's count. None: they cannot be counted now.
        """

    def elsewhere(self, address: str) -> str:
        """Say in words which other holders have permits; empty if none has."""

    def lessons(self, address: str) -> Lessons:
        """Look up what is known about the server."""

    def teach(self, address: str, change: Callable[[Lessons], Lessons]) -> Lessons:
        """Change what is known, alone; return what is known now."""

    def proved(self, address: str, permit: Permit) -> Lessons:
        """The connection of a probe was accepted: raise the lessons that it shows to be too low."""
