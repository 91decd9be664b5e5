"""Two files on one session at a time: the end of the one, and the beginning of the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Protocol

__all__ = ["Chains", "NotGrouped", "Start", "Tail"]


class NotGrouped(Exception):
    """The server lost or mixed up commands that were sent together: send them one at a time."""


class Tail:
    """What is left to do for a file whose bytes have arrived.

    Attributes:
        path: Where it is now.
        final: The name that it is to take; None if it has it already.
        size: Bytes that the server must have; None to ask for no proof.
        modified: The time that it is to have, in seconds since the epoch; None for the server's.
        on_end: Called as soon as everything is done, without an error.
        proved: True once the server has named the right size.
        sizeless: True if the server has no SIZE.
        undated: True if the server did not take the time.
        renaming: True from when the rename may have happened.
        ended: True once all is done.
        error: Why it is not done, an error of ours or :class:`NotGrouped`.
    """

    proved: bool = False
    sizeless: bool = False
    undated: bool = False
    renaming: bool = False
    ended: bool = False
    error: Exception | None = None

    def __init__(
        self,
        *,
        path: str,
        final: str | None,
        size: int | None,
        modified: float | None = None,
        on_end: Callable[[], None],
    ) -> None:
        self.path: str = path
        self.final: str | None = final
        self.size: int | None = size
        self.modified: float | None = modified
        self.on_end: Callable[[], None] = on_end


class Start:
    """What a file is sent with.

    Attributes:
        path: Where its bytes go.
        final: The name that it is to take when they have arrived, or `path`.
        directories: Directories to make before, parents first; that one exists is no error.
        probe: A name to ask the size of before; None not to ask.
        admit: Called with that size (None if there is no such file) and with the reply; returns
            False if the file is not to be sent.
        source: Read to its end, and left open.
        on_bytes: Told after each piece how many bytes were sent.
        sent: Bytes sent.
        complete: True once the source was sent to its end.
        accepted: True once the server has begun to take the file.
        stored: True once the server has said that it has the file.
        refused: True if it was not sent because `admit` said so.
        error: Why it is not stored, an error of ours, of the source or :class:`NotGrouped`.
    """

    sent: int = 0
    complete: bool = False
    accepted: bool = False
    stored: bool = False
    refused: bool = False
    error: Exception | None = None

    def __init__(
        self,
        *,
        path: str,
        final: str,
        directories: tuple[str, ...] = (),
        probe: str | None = None,
        admit: Callable[[int | None, str], bool] | None = None,
        source: BinaryIO,
        on_bytes: Callable[[int], None],
    ) -> None:
        self.path: str = path
        self.final: str = final
        self.directories: tuple[str, ...] = directories
        self.probe: str | None = probe
        self.admit: Callable[[int | None, str], bool] | None = admit
        self.source: BinaryIO = source
        self.on_bytes: Callable[[int], None] = on_bytes


class Chains(Protocol):
    """File calls that can end one file and begin the next in the same round trips."""

    @property
    def chaining(self) -> bool:
        """True if this server takes it."""

    def step(self, tail: Tail | None, start: Start | None) -> None:
        """End one file and send the next one; what came of it is noted in both."""
