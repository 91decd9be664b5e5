"""One file API for all protocols, on a borrowed session."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from typing import BinaryIO, Literal

from ftppool.drivers.base import Entry, FileOps
from ftppool.errors import ConfigError, RemoteRejected
from ftppool.inputs import Source
from ftppool.lease import Lease
from ftppool.single import put
from ftppool.target import Target, join
from ftppool.transfer.directories import Directories
from ftppool.transfer.download import fetch
from ftppool.transfer.parts import part_path
from ftppool.transfer.replace import OLD_NAME, replace
from ftppool.typed import override

__all__ = ["Session"]


class Session:
    """Files and directories of the server; relative paths start at the target's directory.

    A session belongs to the thread that borrowed it, for the time of the ``with`` block.

    All methods raise :class:`~ftppool.RemoteRejected` where the server says no,
    :class:`~ftppool.ConnectionLost` where the connection broke, and
    :class:`~ftppool.LeaseReturned` after the block.
    """

    def __init__(self, lease: Lease, target: Target) -> None:
        self._lease = lease
        self._target = target
        self._directory = ""

    @override
    def __repr__(self) -> str:
        """Where it is, and whether it still is."""
        where = f" in {self._directory!r}" if self._directory else ""
        over = "" if self._lease.held else ", given back"
        return f"<Session {self._target}{where}{over}>"

    @property
    def raw(self) -> object:
        """The session as the protocol's own library knows it, such as an ``ftplib.FTP``."""
        return self._lease.loan

    def upload(self, source: Source, remote: str) -> int:
        """Send one file whole: part name, proof of size, rename; the bytes sent."""
        return put(self._files, source, self._path(remote))

    def download(self, remote: str, destination: str | os.PathLike[str]) -> int:
        """Fetch one file whole: part, size compared, rename; the bytes received.

        Args:
            remote: Remote path.
            destination: Local path; an existing directory gets the file under its own name.
        """
        return fetch(self._files, remote, self._path(remote), destination)

    def open(self, path: str, mode: Literal["rb", "wb"] = "rb") -> BinaryIO:
        """Open a remote file as a binary file object, whole.

        ``"rb"`` fetches it at once and compares the size. ``"wb"`` sends what was written when the
        file is closed, to a part name first; nothing is sent if the ``with`` block ends in an
        exception, or if ``close()`` is called while one is handled that came after ``open()``: so
        a block of ``io.TextIOWrapper(session.open(path, "wb"))``, too, sends all or nothing. What
        is lost without ``close()`` is not sent. The content waits in memory up to 8 MiB, then in a
        temporary file.

        Raises:
            ConfigError: The mode is another one.
        """
        from ftppool.transfer.remotefile import open_to_read, open_to_write

        if mode == "rb":
            return open_to_read(self._files, self._path(path))
        if mode == "wb":
            target = self._path(path)
            return open_to_write(lambda source: put(self._files, source, target), path)
        raise ConfigError(f"mode={mode!r}: write 'rb' or 'wb'")

    def stat(self, path: str) -> Entry:
        """What the server says of a file or directory: kind, size, time."""
        return self._files.stat(self._path(path))

    def listdir(self, path: str = "") -> list[str]:
        """Names in a directory, sorted."""
        return sorted(entry.name for entry in self.scandir(path))

    def scandir(self, path: str = "") -> Sequence[Entry]:
        """Entries of a directory with what the server says of them."""
        return self._files.scan(self._path(path))

    def exists(self, path: str) -> bool:
        """True if there is a file or a directory of this name."""
        full = self._path(path)
        try:
            if self._files.size(full) is not None:
                return True
        except RemoteRejected as error:
            if error.retryable:
                raise
        return self._files.is_directory(full)

    def size(self, path: str) -> int | None:
        """Bytes of a file, or None where the server cannot tell."""
        return self._files.size(self._path(path))

    def mkdir(self, path: str) -> None:
        """Make one directory; its parent must exist."""
        self._files.mkdir(self._path(path))

    def makedirs(self, path: str) -> None:
        """Make a directory and all missing ones above it; an existing one is fine."""
        Directories().ensure(self._files, self._path(path))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name; over an existing one only where the server allows it."""
        self._files.rename(self._path(old), self._path(new))

    def replace(self, old: str, new: str) -> None:
        """Give a file another name, over an existing one on any server.

        Where the server refuses to rename over a file, that file steps aside first: for a moment
        there is none of this name.
        """
        files, target = self._files, self._path(new)
        aside = part_path(target, OLD_NAME)
        if replace(files, self._path(old), target, aside):
            files.remove(aside)

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._files.remove(self._path(path))

    def rmdir(self, path: str) -> None:
        """Delete an empty directory."""
        self._files.rmdir(self._path(path))

    def getcwd(self) -> str:
        """The directory where relative paths start, absolute."""
        home = self._files.working_directory()
        return posixpath.normpath(posixpath.join(home, self._path("")))

    def chdir(self, path: str) -> None:
        """Let relative paths start elsewhere, for the rest of this ``with`` block.

        Raises:
            RemoteRejected: There is no such directory.
        """
        full = self._path(path)
        if not self._files.is_directory(full):
            raise RemoteRejected(f"{path}: no such directory", code=550, phase="command")
        self._directory = join(self._directory, path)

    @property
    def _files(self) -> FileOps:
        return self._lease.files()

    def _path(self, path: str) -> str:
        return self._target.resolve(join(self._directory, path))
