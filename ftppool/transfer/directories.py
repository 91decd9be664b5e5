"""Which directories of the server are known to exist."""

from __future__ import annotations

import posixpath

from ftppool.drivers.base import FileOps, explain
from ftppool.errors import RemoteRejected
from ftppool.transfer.replace import exists

__all__ = ["Directories", "MakeDirectory"]


class Directories:
    """Makes missing directories once, and remembers them; shared by the workers of a batch.

    Two workers may make the same directory at the same time: the one that comes second is told
    "exists", which is as good.
    """

    def __init__(self) -> None:
        # `posixpath.dirname("//x")` is "//", and so is that of "//" itself.
        self._known: set[str] = {"", "/", "//"}

    def knows(self, directory: str) -> bool:
        """True if the directory was made or seen before."""
        return directory in self._known

    def missing(self, path: str) -> tuple[str, ...]:
        """Directories above a path that nobody has seen yet, the highest first."""
        unseen: list[str] = []
        directory = posixpath.dirname(path)
        while directory not in self._known:
            unseen.append(directory)
            directory = posixpath.dirname(directory)
        return tuple(reversed(unseen))

    def note(self, directory: str) -> None:
        """Remember that a directory exists, and all those above it."""
        while directory not in self._known:
            self._known.add(directory)
            directory = posixpath.dirname(directory)

    def ensure(self, files: FileOps, directory: str) -> None:
        """Make a directory and its parents where they are missing.

        Raises:
            RemoteRejected: The server refuses one of them.
        """
        if directory in self._known:
            return
        parent = posixpath.dirname(directory)
        parent_was_known = self.knows(parent)
        refusal = _make(files, directory)
        if refusal is not None and not parent_was_known:
            self.ensure(files, parent)
            refusal = _make(files, directory)
        if refusal is not None:
            if exists(files, directory):
                explain(refusal, "a file has the name of this directory: move it away")
            raise refusal
        self.note(directory)


class MakeDirectory:
    """The steps of an empty directory of a batch: see :class:`ftppool.backlog.Transfer`."""

    def __init__(self, path: str, directories: Directories) -> None:
        self.sent: int = 0
        self.size: int | None = None
        self.verified: bool | None = None
        self.skipped: bool = False
        self.left_behind: str | None = None
        self.notes: list[str] = []
        self._path = path
        self._directories = directories

    def attempt(self, files: FileOps) -> None:
        """Make it."""
        self._directories.ensure(files, self._path)

    def clean_up(self, files: FileOps) -> None:
        """An empty directory is not half-done."""


def _make(files: FileOps, directory: str) -> RemoteRejected | None:
    """Make one directory; None if it is there now, whoever made it."""
    try:
        files.mkdir(directory)
    except RemoteRejected as error:
        # 550 says "exists", "no parent" or "not allowed" in words that differ by server.
        if error.retryable or not files.is_directory(directory):
            return error
    return None
