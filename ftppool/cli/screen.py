"""One output stream: what it can show, its lines, and the one line on it that is redrawn."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
from typing import TextIO

__all__ = ["Screen", "amount", "size"]

WIDTH = 80
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_CODES = re.compile("\x1b\\[[0-9;]*m")
# What an old console or a C locale cannot show, and what it shows instead.
_PLAIN = str.maketrans({"█": "#", "░": ".", "✓": "+", "✗": "x", "…": "..."})


class Screen:
    """A stream to write to: a terminal with colours and one live line, or a plain file.

    On anything but a terminal it writes no escape code and no carriage return.

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
        self._lock = threading.Lock()
        self._drawn = 0  # columns of the live line now on the screen
        # stream.isatty() fails on a closed stream, which is no terminal.
        self.live: bool = _is_terminal(stream) and os.environ.get("TERM") != "dumb"
        self._colors = self.live and color == "auto" and not os.environ.get("NO_COLOR") and _ansi()
        self._unicode = self.live and _shows(stream, "█░✓✗…")

    def style(self, names: str, text: str) -> str:
        """Put text in styles (``"bold green"``), if the stream can show them."""
        if not self._colors or not names or not text:
            return text
        codes = ";".join(_STYLES[name] for name in names.split())
        return f"\x1b[{codes}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        """Write a line; the live line moves down for it."""
        with self._lock:
            self._write(f"{self._erase()}{self._fitting(text)}\n")

    def draw(self, text: str) -> None:
        """Put text on the live line, cut to the width of the terminal."""
        if not self.live:
            return
        with self._lock:
            room = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) - 1
            columns = len(_CODES.sub("", text))
            if columns > room:
                text = _CODES.sub("", text)[: room - 3] + "..."
                columns = room
            # Spaces and not an escape code for "erase": every terminal knows them.
            rest = " " * min(room - columns, max(0, self._drawn - columns))
            self._write(f"\r{self._fitting(text)}{rest}")
            self._drawn = columns

    def leave(self) -> None:
        """Go on below what a terminal shows: a live line, the ``^C`` that it echoed."""
        with self._lock:
            self._drawn = 0
            if self.live:
                self._write("\n")

    def clear(self) -> None:
        """Take the live line away."""
        with self._lock:
            self._write(self._erase())

    def bar(self, part: float, columns: int) -> str:
        """Draw a bar of which a part (0 to 1) is full."""
        full = int(columns * min(1.0, max(0.0, part)))
        return self.style("green", "█" * full) + self.style("dim", "░" * (columns - full))

    def _erase(self) -> str:
        drawn, self._drawn = self._drawn, 0
        # Two more for the "^C" that the terminal may have put behind it.
        return f"\r{' ' * min(drawn + 2, WIDTH - 1)}\r" if drawn else ""

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


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _shows(stream: TextIO | None, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def _ansi() -> bool:
    # The old Windows console shows escape codes as rubbish, the new one sets this variable.
    return sys.platform != "win32" or "WT_SESSION" in os.environ


def _encodable(text: str, stream: TextIO) -> str:
    """Escape what the stream's encoding does not have, file names above all."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
