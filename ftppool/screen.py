"""One output stream: what it can show, its lines, and the few lines on it that are redrawn."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import unicodedata
from typing import TextIO

__all__ = ["Screen", "amount", "cut", "is_terminal", "size"]

WIDTH = 80
HEIGHT = 24
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_CODES = re.compile("\x1b\\[[0-9;]*m")
# What an old console or a C locale cannot show, and what it shows instead.
_PLAIN = str.maketrans({"█": "#", "░": ".", "✓": "+", "✗": "x", "…": "..."})


class Screen:
    """A stream to write to: a terminal with colours and a live block, or a plain file.

    On anything but a terminal it writes no escape code and no carriage return. On a terminal
    without colours it writes no escape code, and the block is one line.

    Args:
        stream: Where to write; None writes nowhere.
        color: ``"auto"`` (terminals, unless NO_COLOR is set or TERM is dumb) or ``"never"``.
        lenient: True: what cannot be written is dropped; the work matters, not the words.
    """

    def __init__(
        self, stream: TextIO | None, *, color: str = "auto", lenient: bool = False
    ) -> None:
        self._stream = stream
        self._lenient = lenient
        # Reentrant: a signal handler or a finalizer may write a line while this thread draws.
        self._lock = threading.RLock()
        self._block: list[str] = []  # what is on the screen now, below all lines
        # stream.isatty() fails on a closed stream, which is no terminal.
        self.live: bool = is_terminal(stream) and os.environ.get("TERM") != "dumb"
        self._colors = (
            self.live and color == "auto" and not os.environ.get("NO_COLOR") and _ansi(stream)
        )
        self._unicode = self.live and _shows(stream, "█░✓✗…")

    @property
    def tall(self) -> bool:
        """True if the live block may have more lines than one."""
        return self._colors and self._room()[1] > 4

    @property
    def columns(self) -> int:
        """Columns that a line of the live block may have now: the terminal may be resized."""
        return self._room()[0]

    def style(self, names: str, text: str) -> str:
        """Put text in styles (``"bold green"``), if the stream can show them."""
        if not self._colors or not names or not text:
            return text
        codes = ";".join(_STYLES[name] for name in names.split())
        return f"\x1b[{codes}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        """Write a line; the live block is taken away for it."""
        with self._lock:
            self._write(f"{self._erase()}{self._fitting(text)}\n")

    def draw(self, *lines: str) -> None:
        """Put lines on the live block in place of what it has, cut to the size of the terminal."""
        if not self.live:
            return
        with self._lock:
            columns, rows = self._room()
            most = max(1, rows - 1) if self._colors else 1
            block = [self._fitting(cut(line, columns)) for line in lines[:most]]
            if len(block) == 1 and len(self._block) <= 1:
                # Spaces and not an escape code for "erase": every terminal knows them.
                drawn = _width(self._block[0]) if self._block else 0
                wide = _width(block[0])
                rest = " " * min(columns - wide, max(0, drawn - wide))
                text = f"\r{block[0]}{rest}"
            else:
                text = self._home() + "".join(_placed(block))
            self._block = block  # first: a Ctrl-C while it is written mostly comes when it is there
            self._write(text)

    def leave(self) -> None:
        """Go on below what a terminal shows: a live block, the ``^C`` that it echoed."""
        with self._lock:
            self._block = []
            if self.live:
                self._write("\n")

    def clear(self) -> None:
        """Take the live block away."""
        with self._lock:
            self._write(self._erase())

    def above(self, text: str, stream: TextIO) -> None:
        """Write whole lines to a stream of the same terminal, and the live block below them."""
        with self._lock:
            block = self._block
            self.clear()
            stream.write(text)
            stream.flush()
            if block:
                self.draw(*block)

    def bar(self, part: float, columns: int) -> str:
        """Draw a bar of which a part (0 to 1) is full."""
        full = int(columns * min(1.0, max(0.0, part)))
        return self.style("green", "█" * full) + self.style("dim", "░" * (columns - full))

    def _home(self) -> str:
        """Go to the beginning of the block."""
        up = len(self._block) - 1
        return f"\r\x1b[{up}A" if up > 0 else "\r"

    def _erase(self) -> str:
        block, home = self._block, self._home()
        self._block = []
        if len(block) > 1:
            return f"{home}\x1b[J"
        # Two more for the "^C" that the terminal may have put behind it.
        return f"\r{' ' * min(_width(block[0]) + 2, WIDTH - 1)}\r" if block else ""

    def _room(self) -> tuple[int, int]:
        """Columns and rows; the last column stays free, where some terminals begin a new line."""
        try:
            assert self._stream is not None
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError, AttributeError, AssertionError):
            columns, rows = WIDTH, HEIGHT
        return max(10, min(WIDTH, columns or WIDTH) - 1), rows or HEIGHT

    def _fitting(self, text: str) -> str:
        return text if self._unicode else text.translate(_PLAIN)

    def _write(self, text: str) -> None:
        if self._stream is None or not text:
            return
        lost = (OSError, ValueError) if self._lenient else ()  # ValueError: it was closed
        with contextlib.suppress(*lost):
            self._stream.write(_encodable(text, self._stream))
            self._stream.flush()


def size(count: float) -> str:
    """Write bytes for people, as in ``4.6 MB``; a kB is 1000 bytes."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def amount(count: int, noun: str) -> str:
    """Write a number and its noun, as in ``1 file`` and ``1,200 files``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def cut(text: str, columns: int) -> str:
    """Shorten a text to so many columns; what is shortened loses its colours."""
    if _width(text) <= columns:
        return text
    kept, room = "", columns - 3
    for char in _CODES.sub("", text):
        room -= _width(char)
        if room < 0:
            break
        kept += char
    return kept + "..."


def is_terminal(stream: TextIO | None) -> bool:
    """True if somebody may look at it now."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _width(text: str) -> int:
    """Columns of a text on the screen: those of East Asia take two, accents none."""
    text = _CODES.sub("", text)
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def _placed(block: list[str]) -> list[str]:
    """Each line erases what is left of the one before; the last also what is below."""
    return [f"{line}\x1b[K\n" for line in block[:-1]] + [f"{block[-1]}\x1b[J"]


def _shows(stream: TextIO | None, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def _ansi(stream: TextIO | None) -> bool:
    """True if escape codes are obeyed; a Windows console does so when it is told to."""
    if sys.platform == "win32" and "WT_SESSION" not in os.environ:
        import ctypes
        import msvcrt

        try:
            assert stream is not None
            handle = msvcrt.get_osfhandle(stream.fileno())
            mode = ctypes.c_ulong()
            kernel = ctypes.windll.kernel32
            # 4 is ENABLE_VIRTUAL_TERMINAL_PROCESSING, which consoles before Windows 10 refuse.
            return bool(
                kernel.GetConsoleMode(handle, ctypes.byref(mode))
                and kernel.SetConsoleMode(handle, mode.value | 4)
            )
        except (OSError, ValueError, AttributeError, AssertionError):
            return False
    return True


def _encodable(text: str, stream: TextIO) -> str:
    """Escape what the stream's encoding does not have, file names above all."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
