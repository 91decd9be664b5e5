"""Reads the lines of a control connection, and knows what has been read too far."""

from __future__ import annotations

import socket

__all__ = ["ReplyReader"]

CHUNK = 8192


class ReplyReader:
    """The reading half of a control connection, in the place of ``sock.makefile()``.

    A file object hides what it has buffered (a second reply that came in the same packet) and is
    poisoned by the first time-out. This one does neither.
    """

    def __init__(self, sock: socket.socket, encoding: str) -> None:
        self._sock = sock
        self._encoding = encoding
        self._buffer = b""

    @property
    def buffered(self) -> bool:
        """True if something was received that nobody has asked for yet."""
        return bool(self._buffer)

    def readline(self, limit: int = CHUNK) -> str:
        """Return one line with its end, or what there is of it at `limit` bytes or at EOF."""
        while b"\n" not in self._buffer and len(self._buffer) < limit:
            data = self._sock.recv(CHUNK)
            if not data:
                break
            self._buffer += data
        end = self._buffer.find(b"\n", 0, limit) + 1 or min(limit, len(self._buffer))
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line.decode(self._encoding, "surrogateescape")

    def close(self) -> None:
        """Do nothing: the socket has its own owner."""
