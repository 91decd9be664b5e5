"""Sends the bytes of a file over a data connection, with as few copies as there can be."""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import stat
import sys
from collections.abc import Callable
from typing import BinaryIO

from ftppool.bucket import Bucket
from ftppool.drivers.control import DataSocket
from ftppool.errors import TransferError
from ftppool.sources import LocalFile, described

__all__ = ["Flow", "read_from", "ready"]

CHUNK = 256 * 1024
SLICE = 4 << 20
"""Bytes that the kernel is asked to send at a time; it takes what fits into its own buffer."""

NOT_BY_KERNEL = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EOVERFLOW, errno.EIO, errno.ENOTSOCK}
)
"""What ``sendfile`` says of files that it cannot read; ``read`` then has the last word."""
_SENDFILE = hasattr(os, "sendfile")


class Flow:
    """One file on its way into a data connection.

    Args:
        sock: A data connection, with a time-out of its own or non-blocking.
        on_bytes: Told after each piece how many bytes were sent; what it raises ends the sending.
        heard: Looked at before each further piece: True if the server has said its last word.
        stall: Seconds for which the server may take no bytes.
        bucket: Holds the bytes that may be sent now; None for no limit.

    Attributes:
        sent: Bytes sent.
        broken: What the connection failed of, or None.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_bytes: Callable[[int], None],
        heard: Callable[[], bool],
        stall: float,
        bucket: Bucket | None = None,
    ) -> None:
        self.sent: int = 0
        self.broken: OSError | None = None
        self._sock = sock
        self._on_bytes = on_bytes
        self._heard = heard
        self._stall = stall
        self._bucket = bucket

    def send(self, source: BinaryIO, path: str) -> bool:
        """Send the source up to its end; True if all of it was taken.

        Raises:
            TransferError: The source cannot be read, or changes its size.
            Exception: What `on_bytes` raised.
        """
        if type(self._sock) is DataSocket and _SENDFILE:
            info = described(source)
            # Files of /proc say 0: what they hold is known once it was read.
            if info is not None and stat.S_ISREG(info.st_mode) and info.st_size:
                return self._by_kernel(source, path, info.st_size)
        return self._by_hand(source, path)

    def _by_kernel(self, source: BinaryIO, path: str, size: int) -> bool:
        fd, to = source.fileno(), self._sock.fileno()
        start = offset = source.tell()
        while offset < size:
            room = self._room(min(SLICE, size - offset))
            if not room:
                return False
            try:
                count = os.sendfile(to, fd, offset, room)
            except BlockingIOError:
                if self._taken():
                    continue
                return False
            except OSError as error:
                if error.errno in NOT_BY_KERNEL:
                    source.seek(offset)
                    return self._by_hand(source, path)
                self.broken = error
                return False
            if not count:
                break
            offset += count
            self._count(count)
        now = os.fstat(fd).st_size
        if offset != size or now != size:
            raise TransferError(
                f"{path}: the source had {size - start} bytes when it was opened and "
                f"{now - start} when it was sent; send it again when nobody writes to it",
                phase="source",
            )
        return True

    def _by_hand(self, source: BinaryIO, path: str) -> bool:
        read = _reader(source)
        while chunk := read_from(read, path):
            view = memoryview(chunk)
            while view:
                room = self._room(min(CHUNK, len(view)))
                if not room:
                    return False
                try:
                    count = self._sock.send(view[:room])
                except BlockingIOError:
                    if self._taken():
                        continue
                    return False
                except OSError as error:
                    self.broken = error
                    return False
                view = view[count:]
                self._count(count)
        return True

    def _taken(self) -> bool:
        """Wait until the server has taken enough that more can be sent; False if it does not."""
        if ready(self._stall, writing=self._sock.fileno()):
            return True
        self.broken = TimeoutError("the server takes no more bytes")
        return False

    def _room(self, wanted: int) -> int:
        """Bytes that may be sent now; 0 if the server wants no more."""
        if self.sent and self._heard():
            return 0
        return wanted if self._bucket is None else self._bucket.take(wanted)

    def _count(self, count: int) -> None:
        self.sent += count
        self._on_bytes(self.sent)


def _reader(source: BinaryIO) -> Callable[[], bytes | memoryview | None]:
    if type(source) is io.BytesIO:
        return source.read  # all at once: it hands over the bytes that it was made of, uncopied
    if type(source) is io.BufferedReader or type(source) is io.FileIO or type(source) is LocalFile:
        buffer = memoryview(bytearray(CHUNK))
        fill = source.readinto
        return lambda: None if (count := fill(buffer)) is None else buffer[:count]
    return lambda: source.read(CHUNK)


def read_from(read: Callable[[], bytes | memoryview | None], path: str) -> bytes | memoryview:
    """Read a piece of a source; an empty one is its end.

    Raises:
        TransferError: It cannot be read, or has nothing yet, which is not the end.
    """
    try:
        piece = read()
    except Exception as error:
        raise TransferError(
            f"{path}: the source cannot be read any further ({error})", phase="source"
        ) from error
    if piece is None:
        raise TransferError(
            f"{path}: the source has nothing to read at the moment; pass one that waits for more",
            phase="source",
        )
    return piece


def ready(
    timeout: float | None, *, writing: int | None = None, reading: int | None = None
) -> list[int]:
    """Wait until one of the descriptors can be used; those that can, none after `timeout` s."""
    if sys.platform == "win32":
        readers = [] if reading is None else [reading]
        writers = [] if writing is None else [writing]
        able = select.select(readers, writers, writers, timeout)
        return [fd for fds in able for fd in fds]
    poller = select.poll()
    if writing is not None:
        poller.register(writing, select.POLLOUT)
    if reading is not None:
        poller.register(reading, select.POLLIN)
    return [fd for fd, _ in poller.poll(None if timeout is None else timeout * 1000)]
