"""The steps of one upload: part name, proof of size, final name."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal, get_args

from ftppool.drivers.base import FileOps
from ftppool.errors import (
    ConfigError,
    ConnectionLost,
    FTPPoolError,
    RemoteRejected,
    TransferError,
    VerifyError,
)
from ftppool.transfer.directories import Directories
from ftppool.transfer.parts import PART_NAME, check_part_name, new_token, part_path
from ftppool.transfer.replace import OLD_NAME, come_back, exists, replace

__all__ = ["Conflict", "Upload", "UploadOptions", "Verify"]

Conflict = Literal["overwrite", "skip", "fail"]
Verify = Literal["size", "none"]

REFUSED_NAME = frozenset({550, 553, 2, 3})
"""FTP's "no such file" and "name not allowed"; SFTP's "no such file" and "permission denied"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOptions:
    """How files are put in place.

    Attributes:
        atomic: Send to a part name in the same directory and rename when the file is whole.
        verify: ``"size"`` compares the server's own SIZE with the bytes sent; ``"none"`` does not.
        on_conflict: What to do if the name exists: ``"overwrite"``, ``"skip"`` or ``"fail"``.
        makedirs: Make missing directories.
        part_name: Pattern of the part name.
    """

    atomic: bool = True
    verify: Verify = "size"
    on_conflict: Conflict = "overwrite"
    makedirs: bool = True
    part_name: str = PART_NAME

    def __post_init__(self) -> None:
        for name, allowed in (("verify", get_args(Verify)), ("on_conflict", get_args(Conflict))):
            if getattr(self, name) not in allowed:
                words = ", ".join(repr(word) for word in allowed)
                raise ConfigError(f"{name}={getattr(self, name)!r}: write one of {words}")
        check_part_name(self.part_name)


@dataclass(slots=True)
class Shared:
    """What the uploads of one batch have found out about the server together."""

    directories: Directories
    dotless: bool = False
    sizeless: bool = False
    tells_sizes: bool = False


class Upload:
    """One file on its way; it lives through several attempts on different sessions.

    What is known to be done is not done again: bytes whose final reply was lost are looked up by
    SIZE, and so is a rename whose reply was lost. A retry of the transfer itself starts from the
    beginning of the source.

    ``token`` tells its part from others; a journal hands out one that it knows.

    Attributes:
        sent: Bytes sent in all attempts together.
        size: Bytes of the file as sent, once it was sent to its end.
        verified: True once the server has proved the size.
        skipped: True if the file was already there.
        left_behind: The part file that may still be on the server, or None.
        notes: Sentences worth reading.
    """

    def __init__(
        self,
        remote: str,
        open_source: Callable[[], BinaryIO],
        expected: int | None,
        *,
        options: UploadOptions,
        shared: Shared,
        on_bytes: Callable[[int], None],
        token: str | None = None,
    ) -> None:
        self.remote = remote
        self.sent = 0
        self.size: int | None = None
        self.verified: bool | None = None
        self.skipped: bool = False
        self.left_behind: str | None = None
        self.notes: list[str] = []
        self._open_source = open_source
        self._expected = expected
        self._options = options
        self._shared = shared
        self._on_bytes = on_bytes
        self._token = token or new_token()
        self._part = self._new_part()
        self._stored = False
        self._renaming = False
        self._stepping = False
        self._aside = part_path(remote, OLD_NAME, token=self._token)

    def attempt(self, files: FileOps) -> None:
        """Do what is still to be done; raises our errors, and may be called again after one."""
        try:
            self._attempt(files)
        except FTPPoolError as error:
            # Nobody but us knows the part's name: the error is about the file.
            error.args = (str(error.args[0]).replace(self._part, self.remote), *error.args[1:])
            raise

    def _attempt(self, files: FileOps) -> None:
        if self._conflict(files):
            return
        if not self._stored:
            if not self._arrived_after_all(files):
                self._store(files)
            self._verify(files)
            self._stored = True
        if self._options.atomic:
            self._take_name(files)
        self.left_behind = None

    def clean_up(self, files: FileOps) -> None:
        """Remove the part file of a failed upload; never a file under its final name."""
        if self._renaming:
            come_back(files, self.remote, self._aside)
        if self.left_behind is not None and self._options.atomic:
            files.remove(self.left_behind)
            self.left_behind = None

    def _remove_aside(self, files: FileOps) -> None:
        self.notes.append(
            "the server does not rename over a file: for a moment there was none of this name"
        )
        try:
            files.remove(self._aside)
        except RemoteRejected as error:
            self.notes.append(f"the old file is still there as {self._aside} ({error.reply})")

    def _new_part(self) -> str:
        if not self._options.atomic:
            return self.remote
        return self._part_path(dotless=self._shared.dotless)

    def _part_path(self, *, dotless: bool) -> str:
        return part_path(self.remote, self._options.part_name, dotless=dotless, token=self._token)

    def _conflict(self, files: FileOps) -> bool:
        """True if the file is to be left as it is on the server."""
        if self._options.on_conflict == "overwrite" or self.left_behind is not None:
            return False
        if not self._exists(files):
            return False
        if self._options.on_conflict == "fail":
            raise TransferError(
                f"{self.remote}: a file of this name exists (on_conflict='fail')", phase="conflict"
            )
        self.skipped = True
        return True

    def _exists(self, files: FileOps) -> bool:
        if _size(files, self.remote) is not None:
            self._shared.tells_sizes = True
            return True
        if self._shared.tells_sizes:
            return False
        # "No" may mean that there is no such file, or that SIZE is not allowed here: look.
        directory, name = posixpath.split(self.remote)
        try:
            return any(entry.name == name for entry in files.scan(directory))
        except RemoteRejected:
            return False

    def _arrived_after_all(self, files: FileOps) -> bool:
        """True if an earlier attempt sent everything and only the server's word was lost."""
        return self.size is not None and _size(files, self._part) == self.size

    def _store(self, files: FileOps) -> None:
        directory = posixpath.dirname(self._part)
        # Asked before: another worker may make the directory while the server refuses this file.
        missing = self._options.makedirs and not self._shared.directories.knows(directory)
        try:
            self._send(files)
        except RemoteRejected as error:
            if error.code not in REFUSED_NAME:
                raise
            self._send_again(files, directory if missing else None, error)
        self._shared.directories.note(directory)

    def _send_again(self, files: FileOps, missing: str | None, first: RemoteRejected) -> None:
        """The server refused the name: for want of the directory, or because of its dot."""
        if missing is not None:
            self._shared.directories.ensure(files, missing)
            try:
                self._send(files)
            except RemoteRejected as error:
                if error.code not in REFUSED_NAME:
                    raise
                first = error
            else:
                return
        if self._shared.dotless or not posixpath.basename(self._part).startswith("."):
            raise first
        self._part = self._part_path(dotless=True)
        self._send(files)
        self._shared.dotless = True

    def _send(self, files: FileOps) -> None:
        before = self.sent

        def count(sent: int) -> None:
            self.sent = before + sent
            self._on_bytes(sent)

        self.size = None
        source = self._open_source()
        self.left_behind = self._part
        try:
            size = files.store(self._part, source, count)
        except RemoteRejected:
            if self.sent == before:
                self.left_behind = None  # refused before a byte was sent
            raise
        except ConnectionLost:
            if self._expected is not None and self.sent - before == self._expected:
                self.size = self._expected
            raise
        finally:
            with contextlib.suppress(Exception):  # all that counts has been read
                source.close()
        if self._expected is not None and size != self._expected:
            raise TransferError(
                f"{self.remote}: the source had {self._expected} bytes when the batch looked and "
                f"{size} when it was sent; send it again when nobody writes to it",
                phase="source",
            )
        self.size = size

    def _verify(self, files: FileOps) -> None:
        if self._options.verify == "none" or self._shared.sizeless:
            return
        there = files.size(self._part)
        if there is None:
            self._shared.sizeless = True
            self.notes.append("the server has no SIZE: nothing could be verified")
        elif there != self.size:
            raise VerifyError(
                f"{self.remote}: {self.size} bytes were sent, the server has {there}",
                phase="verify",
            )
        else:
            self.verified = True
            self._shared.tells_sizes = True

    def _take_name(self, files: FileOps) -> None:
        if self._renaming and _size(files, self._part) is None:
            if _size(files, self.remote) == self.size:
                if exists(files, self._aside):
                    self._remove_aside(files)
                return  # the rename was done, only its reply was lost
            self._stored = False
            raise VerifyError(f"{self.remote}: neither part nor file is there", phase="rename")
        if self._renaming:
            # The last attempt broke off somewhere between the old file's step aside and the end.
            self._stepping = exists(files, self._aside)
            come_back(files, self.remote, self._aside)
        self._renaming = True
        stepped = replace(files, self._part, self.remote, self._aside) or self._stepping
        self._stepping = False
        if stepped:
            self._remove_aside(files)


def _size(files: FileOps, path: str) -> int | None:
    """Bytes of a file; None if there is none, or if the server cannot tell."""
    try:
        return files.size(path)
    except RemoteRejected as error:
        if error.retryable:
            raise
        return None
