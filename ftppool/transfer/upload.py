"""The steps of one upload: part name, proof of size, final name."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
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

__all__ = ["REFUSED_NAME", "Conflict", "Upload", "UploadOptions", "Verify"]

Conflict = Literal["overwrite", "skip", "fail"]
Verify = Literal["size", "none"]

_log = logging.getLogger("ftppool")

LONG_NAME = 50
"""Characters from which a name may have to be shortened for its part."""
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
    token: str = field(default_factory=new_token)


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
        part: Where the bytes go; the name itself with ``atomic=False``.
        stored: True once all bytes are there and proved.
        renaming: True from when the rename may have happened.
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
        self.options = options
        self.shared = shared
        self.stored: bool = False
        self.renaming: bool = False
        self._open = open_source
        self._expected = expected
        self._on_bytes = on_bytes
        self._stepping = False
        self._token = token or _token_for(remote, shared)
        self.part: str = self._new_part()

    def attempt(self, files: FileOps) -> None:
        """Do what is still to be done; raises our errors, and may be called again after one."""
        try:
            self._attempt(files)
        except FTPPoolError as error:
            self.speak_of_the_file(error)
            raise

    def _attempt(self, files: FileOps) -> None:
        if self._conflict(files):
            return
        if not self.stored:
            if not self._arrived_after_all(files):
                self._store(files)
            self._verify(files)
            self.stored = True
        if self.options.atomic:
            self._take_name(files)
        self.left_behind = None

    # -- parts of an attempt, also for the chain ---------------------------------------------------

    @property
    def directory(self) -> str:
        """Where the file goes."""
        return posixpath.dirname(self.remote)

    def speak_of_the_file(self, error: FTPPoolError) -> None:
        """Put the file's name into an error: nobody but us knows that of the part."""
        error.args = (str(error.args[0]).replace(self.part, self.remote), *error.args[1:])

    def open_source(self) -> BinaryIO:
        """Open the source at its beginning.

        Raises:
            TransferError: It is not as long any more as when it was listed.
        """
        source = self._open()
        if type(source) is io.FileIO and self._expected is not None:
            size = os.fstat(source.fileno()).st_size
            if size != self._expected:
                source.close()
                raise self._changed(size)
        return source

    def counter(self) -> Callable[[int], None]:
        """Count the bytes of a new attempt on top of those before."""
        before = self.sent

        def count(sent: int) -> None:
            self.sent = before + sent
            self._on_bytes(sent)

        return count

    def defended(self) -> bool:
        """True if the file that exists is to stay.

        Raises:
            TransferError: It was not to exist.
        """
        if self.options.on_conflict == "fail":
            raise TransferError(
                f"{self.remote}: a file of this name exists (on_conflict='fail')", phase="conflict"
            )
        return True

    def proved(self) -> None:
        """The server has named the right size."""
        self.verified = True
        self.shared.tells_sizes = True

    def unproved(self) -> None:
        """The server can prove nothing: say so in the outcome, and once in the log."""
        if not self.shared.sizeless:
            self.shared.sizeless = True
            _log.warning("ftppool: the server has no SIZE: what it stores cannot be verified")
        self.notes.append("the server has no SIZE: nothing could be verified")

    def _changed(self, size: int) -> TransferError:
        return TransferError(
            f"{self.remote}: the source had {self._expected} bytes when the batch looked and "
            f"{size} when it was sent; send it again when nobody writes to it",
            phase="source",
        )

    @cached_property
    def _aside(self) -> str:
        """Where a file of this name goes that the server does not rename over."""
        return part_path(self.remote, OLD_NAME, token=self._token)

    def clean_up(self, files: FileOps) -> None:
        """Remove the part file of a failed upload; never a file under its final name."""
        if self.renaming:
            come_back(files, self.remote, self._aside)
        if self.left_behind is not None and self.options.atomic:
            try:
                files.remove(self.left_behind)
            except RemoteRejected as error:
                if error.retryable or not _is_gone(files, self.left_behind):
                    raise
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
        if not self.options.atomic:
            return self.remote
        return self._part_path(dotless=self.shared.dotless)

    def _part_path(self, *, dotless: bool) -> str:
        return part_path(self.remote, self.options.part_name, dotless=dotless, token=self._token)

    def _conflict(self, files: FileOps) -> bool:
        """True if the file is to be left as it is on the server."""
        if self.options.on_conflict == "overwrite" or self.left_behind is not None:
            return False
        self.skipped = self._exists(files) and self.defended()
        return self.skipped

    def _exists(self, files: FileOps) -> bool:
        if _size(files, self.remote) is not None:
            self.shared.tells_sizes = True
            return True
        if self.shared.tells_sizes:
            return False
        # "No" may mean that there is no such file, or that SIZE is not allowed here: look.
        directory, name = posixpath.split(self.remote)
        try:
            return any(entry.name == name for entry in files.scan(directory))
        except RemoteRejected:
            return False

    def _arrived_after_all(self, files: FileOps) -> bool:
        """True if an earlier attempt sent everything and only the server's word was lost."""
        return self.size is not None and _size(files, self.part) == self.size

    def _store(self, files: FileOps) -> None:
        directory = posixpath.dirname(self.part)
        # Asked before: another worker may make the directory while the server refuses this file.
        missing = self.options.makedirs and not self.shared.directories.knows(directory)
        try:
            self._send(files)
        except RemoteRejected as error:
            if error.code not in REFUSED_NAME:
                raise
            self._send_again(files, directory if missing else None, error)
        self.shared.directories.note(directory)

    def _send_again(self, files: FileOps, missing: str | None, first: RemoteRejected) -> None:
        """The server refused the name: for want of the directory, or because of its dot."""
        if missing is not None:
            self.shared.directories.ensure(files, missing)
            try:
                self._send(files)
            except RemoteRejected as error:
                if error.code not in REFUSED_NAME:
                    raise
                first = error
            else:
                return
        if self.shared.dotless or not posixpath.basename(self.part).startswith("."):
            raise first
        self.part = self._part_path(dotless=True)
        self._send(files)
        self.shared.dotless = True

    def _send(self, files: FileOps) -> None:
        before = self.sent
        self.size = None
        source = self.open_source()
        self.left_behind = self.part
        try:
            size = files.store(self.part, source, self.counter())
        except RemoteRejected as error:
            if self.sent == before and error.code in REFUSED_NAME:
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
            raise self._changed(size)
        self.size = size

    def _verify(self, files: FileOps) -> None:
        if self.options.verify == "none" or self.shared.sizeless:
            return
        there = files.size(self.part)
        if there is None:
            self.unproved()
        elif there != self.size:
            raise VerifyError(
                f"{self.remote}: {self.size} bytes were sent, the server has {there}",
                phase="verify",
            )
        else:
            self.proved()

    def _take_name(self, files: FileOps) -> None:
        if self.renaming and _size(files, self.part) is None:
            if _size(files, self.remote) == self.size:
                if exists(files, self._aside):
                    self._remove_aside(files)
                return  # the rename was done, only its reply was lost
            self.stored = False
            raise VerifyError(f"{self.remote}: neither part nor file is there", phase="rename")
        if self.renaming:
            # The last attempt broke off somewhere between the old file's step aside and the end.
            self._stepping = exists(files, self._aside)
            come_back(files, self.remote, self._aside)
        self.renaming = True
        stepped = replace(files, self.part, self.remote, self._aside) or self._stepping
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


def _is_gone(files: FileOps, path: str) -> bool:
    """True if the server says in so many words that there is no such file."""
    try:
        files.size(path)
    except RemoteRejected as error:
        return not error.retryable
    return False


def _token_for(remote: str, shared: Shared) -> str:
    """One token does for a whole run, except for long names: shortened, they may be alike."""
    long = len(remote) - remote.rfind("/") > LONG_NAME
    return new_token() if long else shared.token
