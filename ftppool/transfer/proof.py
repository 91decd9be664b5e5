"""What proves that two files are the same."""

from __future__ import annotations

from functools import partial
from typing import BinaryIO

from ftppool.drivers.base import Dates, FileOps
from ftppool.errors import RemoteRejected, TransferError

__all__ = ["Hashed", "is_gone", "is_same", "read_past", "seekable", "size_of"]

CHUNK = 256 * 1024


class Hashed:
    """A source whose bytes are hashed while they are read."""

    def __init__(self, source: BinaryIO, name: str) -> None:
        import hashlib

        self._source = source
        self._new = partial(hashlib.new, name, usedforsecurity=False)
        self._digest = self._new()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        data = self._source.read(size)
        self._digest.update(data)
        return data

    def seekable(self) -> bool:
        """True if it can be read again from the beginning."""
        return self._source.seekable()

    def tell(self) -> int:
        """How far it was read."""
        return self._source.tell()

    def seek(self, offset: int) -> int:
        """Go back to the beginning."""
        self._digest = self._new()
        return self._source.seek(offset)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def hexdigest(self) -> str:
        """The digest of what was read."""
        return self._digest.hexdigest()


def read_past(source: BinaryIO | Hashed, offset: int) -> None:
    """Go to an offset of a source that stands at its beginning; what is hashed has to be read."""
    if not isinstance(source, Hashed):
        source.seek(offset)
        return
    while offset:
        data = source.read(min(CHUNK, offset))
        if not data:
            raise TransferError("the source is shorter than it was", phase="source")
        offset -= len(data)


def is_same(files: FileOps, path: str, size: int | None, modified: float | None) -> bool:
    """True if the server has a file of this size and time (in whole seconds, as servers tell)."""
    if size is None or modified is None or not isinstance(files, Dates):
        return False
    try:
        if files.size(path) != size:
            return False
        there = files.modified(path)
    except RemoteRejected as error:
        if error.retryable:
            raise
        return False
    return there is not None and abs(there - int(modified)) < 1


def size_of(files: FileOps, path: str) -> int | None:
    """Bytes of a file; None if there is none, or if the server cannot tell."""
    try:
        return files.size(path)
    except RemoteRejected as error:
        if error.retryable:
            raise
        return None


def is_gone(files: FileOps, path: str) -> bool:
    """True if the server says in so many words that there is no such file."""
    try:
        files.size(path)
    except RemoteRejected as error:
        return not error.retryable
    return False


def seekable(source: BinaryIO) -> bool:
    """True if the source can be read from any offset."""
    return bool(getattr(source, "seekable", bool)())
