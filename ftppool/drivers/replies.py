"""Reads the replies of a control connection, whatever the server sends, and what they say.

Nothing here trusts the server: each reply has a bound in bytes and one in time, and what is no FTP
reply is ``ftplib.error_proto``.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
import ssl
import time
from ftplib import error_proto

__all__ = ["BIGGEST", "LONGEST_LINE", "LONGEST_REPLY", "ReplyReader"]
__all__ += ["check_announcement", "decode", "legible", "parse_epsv", "parse_number", "parse_pasv"]

CHUNK = 8192
LITTLE_MORE = 1.001
LONGEST_LINE = 8192
"""Bytes of one line, as in ftplib."""
LONGEST_REPLY = 1 << 20
"""Bytes of one reply with all its lines; FEAT and STAT answer with a few thousand."""
SHOWN = 200
"""Characters of a reply that makes no sense that an error shows."""
PAGE = 2000
"""Characters of a server's words that an error shows."""
BIGGEST = 10**19
"""Bytes that no file can have."""

_CODE = re.compile(r"[1-5][0-9][0-9]")
_SHORT = re.compile(rb"[1-5][0-9][0-9] [^\n]*\n")
_EPSV = re.compile(r"\(([!-~])\1\1([0-9]{1,5})\1\)")
_PASV = re.compile(r"(?<![0-9])[0-9]{1,3}(?:,[0-9]{1,3}){5}(?![0-9])")
# int() refuses numbers of some thousand digits.
_NUMBER = re.compile(r"[0-9]{1,19}")
_ANNOUNCED = re.compile(r"\([0-9]{20}")


class ReplyReader:
    """The reading half of a control connection, in the place of ``sock.makefile()``.

    A file object hides what it has buffered (a second reply that came in the same packet) and is
    poisoned by the first time-out. This one does neither.

    The time-out of the socket is for a whole reply, not for each packet of it: a server that sends
    a byte a second gains nothing.

    Attributes:
        until: When all replies must have been read (``time.monotonic()``), or None: a limit for
            several replies together.
    """

    def __init__(self, sock: socket.socket, encoding: str) -> None:
        self._sock = sock
        self._encoding = encoding
        self._buffer = b""
        self._lines: list[str] = []
        self._size = 0
        self.until: float | None = None

    @property
    def buffered(self) -> bool:
        """True if something was received that nobody has asked for yet."""
        return bool(self._buffer or self._lines)

    def readline(self, limit: int = CHUNK) -> str:
        """Return one line with its end, or what there is of it at `limit` bytes or at EOF."""
        timeout = self._sock.gettimeout()
        try:
            return self._line(limit, self._end(timeout, time.monotonic()))
        finally:
            self._restore(timeout)

    def reply(self) -> str:
        """Return one reply, its lines joined by LF and without their ends.

        Raises:
            ftplib.error_proto: It is none, or too long. The connection is of no more use.
            EOFError: The server closed the connection.
            OSError: The connection broke, or the reply was not complete in time.
        """
        began = time.monotonic()
        if self.until is None and not self.buffered:
            # Most replies come in one piece: that needs no limit of its own.
            self._buffer = self._sock.recv(CHUNK)
            if not self._buffer:
                raise EOFError
        if (short := self._short_one()) is not None:
            return short
        timeout = self._sock.gettimeout()
        end = self._end(timeout, began)
        try:
            while not self._complete():
                line = self._line(LONGEST_LINE + 1, end)
                if not line and not self._refused():
                    raise EOFError
                if not line:
                    break  # it closed in the middle of a refusal: that is one
                if len(line) > LONGEST_LINE and line[-1] != "\n":
                    raise _odd(f"a line of over {LONGEST_LINE} bytes: {line[:SHOWN]}")
                self._lines.append(line.rstrip("\r\n"))
                self._size += len(line)
                if self._size > LONGEST_REPLY:
                    raise _odd(f"a reply of over {LONGEST_REPLY} bytes: {self._lines[0][:SHOWN]}")
                if not _CODE.match(self._lines[0]):
                    raise _odd(self._lines[0][:SHOWN])
        finally:
            self._restore(timeout)
        lines, self._lines, self._size = self._lines, [], 0
        return "\n".join(lines)

    def arrived(self) -> bool:
        """True if there is something to read, an end included; False at once if there is not.

        Over TLS the socket alone does not know: what makes it readable may be a session ticket.
        """
        if self.buffered:
            return True
        timeout = self._sock.gettimeout()
        try:
            self._sock.settimeout(0)
            self._buffer = self._sock.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True  # whoever reads now gets the same error
        finally:
            self._restore(timeout)
        return True

    def close(self) -> None:
        """Do nothing: the socket has its own owner."""

    def _short_one(self) -> str | None:
        """A reply of one line that is there already, as most are; None for all others."""
        found = None if self._lines else _SHORT.match(self._buffer)
        if found is None or found.end() > LONGEST_LINE:
            return None
        self._buffer = self._buffer[found.end() :]
        return decode(found[0], self._encoding).rstrip("\r\n")

    def _complete(self) -> bool:
        if not self._lines:
            return False
        first, last = self._lines[0], self._lines[-1]
        return first[3:4] != "-" or (last[:3] == first[:3] and last[3:4] != "-")

    def _refused(self) -> bool:
        return bool(self._lines) and self._lines[0][0] in "45"

    def _end(self, timeout: float | None, began: float) -> float | None:
        ends = [] if timeout is None else [began + timeout]
        if self.until is not None:
            ends.append(self.until)
        return min(ends, default=None)

    def _restore(self, timeout: float | None) -> None:
        if self._sock.gettimeout() == timeout:
            return
        with contextlib.suppress(OSError):  # closed meanwhile
            self._sock.settimeout(timeout)

    def _line(self, limit: int, end: float | None) -> str:
        while b"\n" not in self._buffer and len(self._buffer) < limit:
            if end is not None:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError("timed out")
                # A system call each time: one that shortens the limit by next to nothing is saved.
                if not left * LITTLE_MORE >= (self._sock.gettimeout() or math.inf) >= left:
                    self._sock.settimeout(left)
            data = self._sock.recv(CHUNK)
            if not data:
                break
            self._buffer += data
        cut = self._buffer.find(b"\n", 0, limit) + 1 or min(limit, len(self._buffer))
        line, self._buffer = self._buffer[:cut], self._buffer[cut:]
        return decode(line, self._encoding)


def decode(raw: bytes, encoding: str) -> str:
    """Return text; bytes that are none are kept."""
    try:
        return raw.decode(encoding, "surrogateescape")
    except UnicodeError:  # ISO 2022: there are escape sequences that no error handler gets over
        return raw.decode("ascii", "surrogateescape")


def parse_epsv(reply: str) -> int:
    """Return the port of a 229.

    Raises:
        ftplib.error_proto: There is none.
    """
    found = _EPSV.search(reply) if reply.startswith("229") else None
    return _port(int(found[2]) if found else 0, reply)


def parse_pasv(reply: str) -> tuple[str, int]:
    """Return address and port of a 227, with or without parentheses.

    Raises:
        ftplib.error_proto: There is none.
    """
    found = _PASV.search(reply) if reply.startswith("227") else None
    numbers = [int(number) for number in found[0].split(",")] if found else [0] * 6
    if max(numbers) > 255:
        raise _odd(reply[:SHOWN])
    return ".".join(map(str, numbers[:4])), _port(numbers[4] << 8 | numbers[5], reply)


def _port(port: int, reply: str) -> int:
    if not 0 < port < 65536:
        raise _odd(reply[:SHOWN])
    return port


def parse_number(text: str) -> int | None:
    """Return a count of bytes; None if it is not one that can be."""
    return int(text) if _NUMBER.fullmatch(text) else None


def check_announcement(reply: str) -> None:
    """Look at the size that a 150 names, before ftplib takes it for a number.

    Raises:
        ftplib.error_proto: There can be no such file.
    """
    if reply.startswith("150") and _ANNOUNCED.search(reply):
        raise _odd(reply[:SHOWN])


def _odd(words: str) -> error_proto:
    """What is no reply at all, in words that may be shown."""
    return error_proto(legible(words))


def legible(words: str) -> str:
    """Return a server's words as they may go to a terminal or a log, and no longer than a page.

    Line ends stay; other control characters, and bytes that are no text, become escapes.
    """
    if len(words) > PAGE:
        words = f"{words[: PAGE // 2]} … {words[-PAGE // 2 :]}"  # the verdict may be the last line
    return "".join(
        char if char.isprintable() or char in "\n\u00a0\u202f" else _escape(ord(char))
        for char in words
    )


def _escape(number: int) -> str:
    if 0xDC80 <= number <= 0xDCFF:  # a byte that the encoding does not have
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
