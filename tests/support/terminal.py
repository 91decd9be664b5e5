"""A pseudo-terminal in this process, and what is to be seen on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
from types import TracebackType
from typing import Self, TextIO

import pyte


class Terminal:
    """A terminal to write to.

    Attributes:
        stream: Its stream.
        raw: All that was written so far.
    """

    def __init__(self, columns: int = 80, rows: int = 24, *, encoding: str = "utf-8") -> None:
        self._ours, theirs = pty.openpty()
        self.stream: TextIO = os.fdopen(theirs, "w", encoding=encoding)
        self.raw: bytes = b""
        self._screen = pyte.Screen(columns, rows)
        self._parser = pyte.ByteStream(self._screen)
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int = 24) -> None:
        """Make it as large; lines that were written stay as they are, cut at the edge."""
        self._take()
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    def lines(self) -> list[str]:
        """What is to be seen, from the top."""
        self._take()
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _take(self) -> None:
        while select.select([self._ours], [], [], 0.02)[0]:
            data = os.read(self._ours, 65536)
            self.raw += data
            self._parser.feed(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stream.close()
        os.close(self._ours)
