"""The steps of one download: look, fetch to a part, proof of size, final name."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Self, get_args

from ftppool.drivers.base import Entry, FileOps
from ftppool.errors import ConfigError, FTPPoolError, RemoteRejected, TransferError, VerifyError
from ftppool.logs import log
from ftppool.target import check_remote_name, join
from ftppool.transfer.local import Part, check_names, file_mode, make_directories

__all__ = [
    "Download", "Fetch", "HowToDownload", "KeepOrReplace", "Verify", "destination_of", "fetch",
]  # fmt: skip

KeepOrReplace = Literal["overwrite", "skip", "skip_same", "fail"]
Verify = Literal["size", "none"]

DEEPEST = 100
"""Directories in each other; a link on the server that leads back up has no end."""
SAME_TIME = 2.0
"""Seconds by which two times of one file may differ: FAT keeps even seconds only."""


class HowToDownload(NamedTuple):
    """How files are put in place.

    Attributes:
        verify: ``"size"`` compares the bytes received with the server's own word on the size;
            ``"none"`` does not.
        on_conflict: What to do if the name exists: ``"overwrite"``, ``"skip"``, ``"skip_same"``
            (same size and modification time) or ``"fail"``.
        preserve_mtime: Give files the modification time that the server names.
        fsync: Wait until each file is on the disk before it takes its name.
    """

    verify: Verify = "size"
    on_conflict: KeepOrReplace = "overwrite"
    preserve_mtime: bool = False
    fsync: bool = False

    @classmethod
    def among(cls, options: Mapping[str, Any]) -> Self:
        """Take them out of the options of a batch.

        Raises:
            ConfigError: One of them is wrong.
        """
        how = cls(**{name: options[name] for name in cls._fields if name in options})
        choices = (("verify", get_args(Verify)), ("on_conflict", get_args(KeepOrReplace)))
        for name, allowed in choices:
            if getattr(how, name) not in allowed:
                words = ", ".join(repr(word) for word in allowed)
                raise ConfigError(f"{name}={getattr(how, name)!r}: write one of {words}")
        return how


class Fetch:
    """A file or directory of the server that is to be fetched.

    Attributes:
        index: Place in the batch: that of the input, then that in each directory below.
        remote: Where it is.
        local: Where it goes: a path relative to the local directory, with ``/``; "" is itself.
        path: The same as the system writes it.
        size: Bytes, or None where nobody knows yet.
        error: Why this has failed before it began, or None.
        kind: ``"file"``, ``"dir"``, ``"link"``, ``"other"``, or None where nobody knows yet.
        modified: Seconds since the epoch, or None where nobody knows yet.
        found: What is in it, once it has turned out to be a directory and was listed.
    """

    __slots__ = (
        "error", "found", "index", "kind", "local", "modified", "path", "remote", "size",
    )  # fmt: skip

    def __init__(
        self,
        index: tuple[int, ...],
        remote: str,
        local: str,
        path: str,
        *,
        size: int | None = None,
        error: FTPPoolError | None = None,
        kind: str | None = None,
        modified: float | None = None,
    ) -> None:
        self.index: tuple[int, ...] = index
        self.remote: str = remote
        self.local: str = local
        self.path: str = path
        self.size: int | None = size
        self.error: FTPPoolError | None = error
        self.kind: str | None = kind
        self.modified: float | None = modified
        self.found: list[Fetch] | None = None

    @property
    def label(self) -> str:
        """What to call the source."""
        return self.remote

    def child(self, number: int, entry: Entry) -> Fetch:
        """Describe an entry of this directory."""
        alien = "/" in entry.name or entry.name in ("", ".", "..")
        return Fetch(
            index=(*self.index, number),
            remote=join(self.remote, entry.name),
            local=f"{self.local}/{entry.name}" if self.local else entry.name,
            path=self.path if alien else os.path.join(self.path, entry.name),
            error=TransferError(f"the server lists {entry.name!r}, which is no name", phase="local")
            if alien
            else None,
            size=entry.size if entry.kind == "file" else None,
            kind=entry.kind,
            modified=entry.modified,
        )


class Download:
    """One file or directory on its way; see :class:`ftppool.backlog.Transfer`.

    An attempt that broke off is continued where it stopped if the server names the same size and
    modification time as before; else it starts from the beginning.
    """

    def __init__(
        self,
        item: Fetch,
        path: str,
        top: str,
        *,
        options: HowToDownload,
        mode: int,
        choose: Callable[[Fetch], Fetch | None],
        on_bytes: Callable[[int], None],
    ) -> None:
        """Describe what to fetch.

        Args:
            item: What; its size, time and kind are filled in.
            path: Where it is, as the server takes it.
            top: The local directory.
            options: How.
            mode: Of the finished file.
            choose: Called with each entry of a directory; None leaves it out.
            on_bytes: Called with the bytes received so far.
        """
        self.sent: int = 0
        self.size: int | None = None
        self.verified: bool | None = None
        self.skipped: bool = False
        self.left_behind: str | None = None
        self.notes: list[str] = []
        self._item = item
        self._path = path
        self._top = top
        self._options = options
        self._mode = mode
        self._choose = choose
        self._on_bytes = on_bytes
        self._part: Part | None = None
        self._restarts = True

    def attempt(self, files: FileOps) -> None:
        """Do what is still to be done; raises our errors, and may be called again after one."""
        item = self._item
        unknown = item.kind is None
        offset = self._look(files)
        if unknown and self._choose(item) is None:
            item.found = []  # now that it is known what it is, a pattern leaves it out
            return
        if item.kind == "dir":
            self._list(files)
            return
        check_names(item.local)
        if item.kind == "other":
            raise TransferError(f"{item.remote}: is no regular file", phase="local")
        if self._keeps():
            self.skipped = True
            return
        part = self._part = self._part or Part(self._top, item.local)
        self._receive(files, part, offset)
        self._check(files, part)
        modified = item.modified if self._options.preserve_mtime else None
        part.take_name(self._mode, modified, fsync=self._options.fsync)

    def clean_up(self, files: FileOps) -> None:
        """Nothing of ours is on the server."""

    def discard(self) -> None:
        """Remove the local part."""
        if self._part is not None and (left := self._part.discard()) is not None:
            self.notes.append(f"the part {left} could not be removed")

    def _look(self, files: FileOps) -> int:
        """Ask what there is; returns from where on it can be continued."""
        item = self._item
        have = 0 if self._part is None else self._part.size
        timed = self._options.preserve_mtime or self._options.on_conflict == "skip_same"
        known = item.kind == "dir" or (
            item.kind == "file" and item.size is not None and (item.modified or not timed)
        )
        if known and not have:
            return 0
        entry = files.stat(self._path)
        same = (entry.size, entry.modified) == (item.size, item.modified)
        linked = item.kind == "link"
        item.kind, item.size, item.modified = entry.kind, entry.size, entry.modified
        if linked and item.kind == "dir":
            log.warning(
                "ftppool: linked directory %r is not followed", item.remote, remote=item.remote
            )
            self._choose = _nothing
        return have if same and entry.modified is not None and self._restarts else 0

    def _list(self, files: FileOps) -> None:
        item = self._item
        if len(item.index) > DEEPEST:
            raise TransferError(f"{item.remote}: more than {DEEPEST} levels deep", phase="local")
        if item.local:
            check_names(item.local)
        make_directories(self._top, item.local)
        if self._choose is _nothing:
            item.found = []
            return
        entries = sorted(files.scan(self._path), key=lambda entry: entry.name)
        chosen = (self._choose(item.child(*numbered)) for numbered in enumerate(entries))
        item.found = [child for child in chosen if child is not None]

    def _keeps(self) -> bool:
        """True if the local file is to be left as it is."""
        item, choice = self._item, self._options.on_conflict
        if choice == "overwrite" or self._part is not None or not os.path.lexists(item.path):
            return False
        if choice == "fail":
            raise TransferError(f"{item.path!r} exists (on_conflict='fail')", phase="conflict")
        if choice == "skip":
            return True
        info = os.lstat(item.path)
        return (
            info.st_size == item.size
            and item.modified is not None
            and abs(info.st_mtime - item.modified) <= SAME_TIME
        )

    def _receive(self, files: FileOps, part: Part, offset: int) -> None:
        before, got = self.sent, 0

        def sink(data: memoryview) -> None:
            nonlocal got
            part.write(data)
            got += len(data)
            self.sent = before + got
            self._on_bytes(offset + got)

        part.begin(offset)
        try:
            files.retrieve(self._path, sink, offset=offset)
        except RemoteRejected as error:
            if got or not offset or error.retryable:
                raise
        else:
            part.end(fsync=self._options.fsync)
            return
        finally:
            part.end()
        self._restarts = False  # it refused to begin in the middle
        self._receive(files, part, 0)

    def _check(self, files: FileOps, part: Part) -> None:
        """Never trust an end of file: it looks the same whether the server or the network ends."""
        self.size = part.size
        if self._options.verify == "none":
            return
        expected = self._item.size
        if expected != self.size:
            expected = files.size(self._path)  # it may have changed since it was listed
        if expected is None:
            self.notes.append("the server tells no sizes: nothing could be verified")
            return
        if expected != self.size:
            if self.size > expected:
                self._restarts = False
            raise VerifyError(
                f"{self._item.remote}: {self.size} bytes came, the server has {expected}",
                phase="verify",
            )
        self.verified = True


def fetch(files: FileOps, remote: str, path: str, destination: str | os.PathLike[str]) -> int:
    """Fetch one file on a session that the caller holds, once; the bytes received."""
    folder, name = destination_of(remote, destination)
    entry = files.stat(path)
    if entry.kind == "dir":
        raise RemoteRejected(f"{remote} is a directory", phase="command")
    item = Fetch((0,), remote, name, os.path.join(folder, name), size=entry.size, kind="file")
    download = Download(
        item,
        path,
        folder,
        options=HowToDownload(),
        mode=file_mode(),
        choose=_nothing,
        on_bytes=lambda _received: None,
    )
    try:
        download.attempt(files)
    finally:
        download.discard()
    return download.sent


def destination_of(remote: str, destination: str | os.PathLike[str]) -> tuple[str, str]:
    """Give the local directory of a single file, and its name there.

    Raises:
        ConfigError: There is no name for it.
    """
    given: object = destination
    if not (isinstance(given, str | os.PathLike) and os.fspath(given)):
        raise ConfigError(f"destination={destination!r}: write the local path of a file")
    path = os.fsdecode(destination)
    folder, name = (path, "") if os.path.isdir(path) else os.path.split(path)
    return folder or ".", name or posixpath.basename(check_remote_name(remote))


def _nothing(_item: Fetch) -> None:
    return None
