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

from ftppool.words import legible

__all__ = ["BIGGEST", "LONGEST_LINE", "LONGEST_REPLY", "ReplyReader"]
__all__ += ["check_announcement", "decode", "parse_epsv", "parse_number", "parse_pasv"]

CHUNK = 8192
LITTLE_MORE = 1.001
LONGEST_LINE = 8192
"""Bytes of one line, as in ftplib."""
LONGEST_REPLY = 1 << 20
"""Bytes of one reply with all its lines; FEAT and STAT answer with a few thousand."""
SHOWN = 200
"""Characters of a reply that makes no sense that an error shows."""
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
        self._looked = 0  # bytes of whole lines at its head, of a reply that goes on
        self.until: float | None = None

    @property
    def buffered(self) -> bool:
        """True if something was received that nobody has asked for yet."""
        return bool(self._buffer)

    def readline(self, limit: int = CHUNK) -> str:
        """Return one line with its end, or what there is of it at `limit` bytes or at EOF."""
        timeout = self._sock.gettimeout()
        end = self._end(timeout, time.monotonic())
        self._drop()
        try:
            while b"\n" not in self._buffer and len(self._buffer) < limit and self._receive(end):
                pass
        finally:
            self._restore(timeout)
        cut = self._buffer.find(b"\n", 0, limit) + 1 or min(limit, len(self._buffer))
        line, self._buffer = self._buffer[:cut], self._buffer[cut:]
        return decode(line, self._encoding)

    def reply(self) -> str:
        """Return one reply, its lines joined by LF and without their ends.

        Raises:
            ftplib.error_proto: It is none, or too long. The connection is of no more use.
            EOFError: The server closed the connection.
            OSError: The connection broke, or the reply was not complete in time.
        """
        began = None
        if self.until is None and not self._buffer:
            # Most replies come in one piece: that needs no limit of its own.
            began = time.monotonic()
            self._buffer = self._sock.recv(CHUNK)
            if not self._buffer:
                raise EOFError
        if not self._looked:
            found = _SHORT.match(self._buffer)
            if found is not None and (end_of_line := found.end()) <= LONGEST_LINE:
                self._buffer = self._buffer[end_of_line:]
                return decode(found[0], self._encoding).rstrip("\r\n")
        timeout = self._sock.gettimeout()
        end = self._end(timeout, time.monotonic() if began is None else began)
        try:
            while not self._whole():
                if not self._receive(end):
                    self._end_of_connection()
                    break
        except error_proto:
            self._drop()
            raise
        finally:
            self._restore(timeout)
        lines = self._buffer[: self._looked].split(b"\n")[:-1]
        self._drop()
        return "\n".join(decode(line, self._encoding).rstrip("\r") for line in lines)

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

    def _whole(self) -> bool:
        """Look at the lines that have come; True if the last of them ends the reply.

        Servers may send lines for as long as the limit allows: each costs next to nothing.
        """
        code = self._buffer[:3]
        *lines, rest = self._buffer[self._looked :].split(b"\n")
        for line in lines:
            first = not self._looked
            self._looked += len(line) + 1
            if len(line) > LONGEST_LINE:
                raise _odd(f"a line of over {LONGEST_LINE} bytes: {self._shown(line)}")
            if first and not _CODE.match(decode(line, self._encoding)):
                raise _odd(self._shown(line))
            if line[3:4] != b"-" and (first or line[:3] == code):
                return True
        if len(rest) > LONGEST_LINE:
            self._looked = len(self._buffer)  # its beginning may look like a reply of its own
            raise _odd(f"a line of over {LONGEST_LINE} bytes: {self._shown(rest)}")
        if self._looked > LONGEST_REPLY:
            raise _odd(f"a reply of over {LONGEST_REPLY} bytes: {self._shown(self._buffer)}")
        return False

    def _end_of_connection(self) -> None:
        """Take the last line as it is, and a refusal that was cut for one."""
        if self._buffer[-1:] not in (b"", b"\n"):
            self._buffer += b"\n"
            if self._whole():
                return
        if self._buffer[:1] not in (b"4", b"5"):
            raise EOFError

    def _shown(self, line: bytes) -> str:
        return decode(line[:SHOWN].partition(b"\n")[0], self._encoding).rstrip("\r")

    def _drop(self) -> None:
        """Forget the lines that were looked at."""
        self._buffer, self._looked = self._buffer[self._looked :], 0

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

    def _receive(self, end: float | None) -> bool:
        """Wait for more to come; False at the end of the connection."""
        if end is not None:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            # A system call each time: one that shortens the limit by next to nothing is saved.
            if not left * LITTLE_MORE >= (self._sock.gettimeout() or math.inf) >= left:
                self._sock.settimeout(left)
        data = self._sock.recv(CHUNK)
        self._buffer += data
        return bool(data)


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
