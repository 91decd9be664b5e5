"""The steps of one upload: part name, proof of size, final name."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable
from functools import cached_property
from typing import Any, BinaryIO, cast

from ftppool.drivers.base import Dates, DatesOnClose, Digests, FileOps, Resumes, explain
from ftppool.errors import (
    ConfigError,
    ConnectionLost,
    FTPPoolError,
    RemoteRejected,
    TransferError,
    VerifyError,
)
from ftppool.logs import log
from ftppool.sources import described
from ftppool.transfer.options import Shared, UploadOptions
from ftppool.transfer.parts import new_token, part_path
from ftppool.transfer.proof import Hashed, is_gone, is_same, read_past, seekable, size_of
from ftppool.transfer.replace import OLD_NAME, come_back, exists, put_back, replace

__all__ = ["REFUSED_NAME", "Upload"]

REFUSED_NAME = frozenset({550, 553, 2, 3})
"""FTP's "no such file" and "name not allowed"; SFTP's "no such file" and "permission denied"."""


class Upload:
    """One file on its way; it lives through several attempts on different sessions.

    What is known to be done is not done again: bytes whose final reply was lost are looked up by
    SIZE, and so is a rename whose reply was lost. A retry of the transfer itself starts from the
    beginning of the source, or (`resume`) where the server has proved that its part ends.

    Args:
        repeatable: False if the source may have other bytes each time it is opened.
        token: Tells its part from others, one that a journal knows; None for a new one.
        known_part: True if a part of this token was begun by an earlier run, to be resumed.

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
        modified: The time of the source, once it was opened and if it has one.
        reached: Bytes of the source up to which an attempt came that was broken off.
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
        repeatable: bool = True,
        token: str | None = None,
        known_part: bool = False,
    ) -> None:
        self.remote: str = remote
        self.sent: int = 0
        self.size: int | None = None
        self.verified: bool | None = None
        self.skipped: bool = False
        self.left_behind: str | None = None
        self.notes: list[str] = []
        self.options: UploadOptions = options
        self.shared: Shared = shared
        self.stored: bool = False
        self.renaming: bool = False
        self.modified: float | None = None
        self.reached: int = 0
        self._hash: Any = None
        self._open = open_source
        self._expected = expected
        self._on_bytes = on_bytes
        self._repeatable = repeatable
        self._stepping = False
        self._known_part = self._inherited = known_part
        self._ours = known_part
        self._distrusted = False
        self._unsized = False
        self._seen: int | None = None
        self._went_on_at = 0
        self._token = token or new_token()
        self.part: str = self._new_part()
        if known_part:
            self.left_behind = self.part

    def attempt(self, files: FileOps) -> None:
        """Do what is still to be done; raises our errors, and may be called again after one."""
        try:
            self._attempt(files)
        except FTPPoolError as error:
            self.speak_of_the_file(error)
            raise

    def _attempt(self, files: FileOps) -> None:
        if self._known_part:
            put_back(files, self.remote, self._aside)
        if self._conflict(files):
            return
        self._known_part = False  # from here on it is like one of our own
        if not self.stored:
            if not self._arrived_after_all(files):
                self._store(files)
            self._verify(files)
            if self.options.preserve_mtime:
                self._date(files)
            self.stored = True
        if self.options.atomic:
            self._take_name(files)
        self.left_behind = None
        if self._went_on_at:
            self.notes.append(f"went on at byte {self._went_on_at} of a part that was there")

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
        if (info := described(source)) is not None:
            if self._seen not in (None, info.st_mtime_ns):
                self.size, self._distrusted = None, True  # what was sent is of another version
            self.modified, self._seen = info.st_mtime, info.st_mtime_ns
            self._unsized = not info.st_size  # or it is one of /proc, of which nobody knows
            if self._expected is not None and info.st_size != self._expected:
                source.close()
                raise self._changed(info.st_size)
        return source

    def counter(self, offset: int = 0) -> Callable[[int], None]:
        """Count the bytes of a new attempt on top of those before."""
        before = self.sent

        def count(sent: int) -> None:
            self.sent = before + sent
            self.reached = offset + sent
            self._on_bytes(offset + sent)

        return count

    @property
    def plain(self) -> bool:
        """True if nothing is wanted that takes commands of its own between data and rename."""
        return self.options.verify != "hash" and not self.reached and not self._known_part

    def taken(self) -> None:
        """The server has begun to write our bytes: what it has under the part's name is ours."""
        self._ours = True

    def distrust(self) -> None:
        """The server has something else than what was sent: nothing of it is used again."""
        self._distrusted = True
        self.verified = None
        self.stored = False
        self.size = None

    def undated(self) -> None:
        """The server did not take the file's time: say so in the outcome."""
        self.notes.append("the server does not set times: the file has the time of its arrival")

    def timeless(self) -> None:
        """The source has no time: say so in the outcome."""
        self.notes.append("the source has no time of its own to preserve")

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
            log.warning("ftppool: the server has no SIZE: what it stores cannot be verified")
        self.notes.append("the server has no SIZE: nothing could be verified")

    def check_length(self, size: int) -> None:
        """See if as much was sent as was promised.

        Raises:
            TransferError: It was not.
        """
        if self._expected is not None and size != self._expected and not self._unsized:
            raise self._changed(size)

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
            self._is_back()
        if self.left_behind is not None and self.options.atomic:
            try:
                files.remove(self.left_behind)
            except RemoteRejected as error:
                if error.retryable or not is_gone(files, self.left_behind):
                    raise
            self.left_behind = None

    def _steps_aside(self) -> None:
        self.notes.append(self._where)

    def _is_back(self) -> None:
        if self._where in self.notes:
            self.notes.remove(self._where)

    @property
    def _where(self) -> str:
        return f"the old file may still be there as {self._aside}: rename it back by hand"

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
        if self.options.on_conflict == "overwrite":
            return False
        if self.left_behind is not None and not self._known_part:
            return False
        if self.options.on_conflict == "skip_same":
            self.skipped = is_same(files, self.remote, self._expected, self._local_time())
        else:
            self.skipped = self._exists(files) and self.defended()
        return self.skipped

    def _local_time(self) -> float | None:
        if self.modified is None:
            self.open_source().close()
        return self.modified

    def _date(self, files: FileOps) -> None:
        if self.modified is None:
            self.timeless()
        elif not (isinstance(files, Dates) and files.set_modified(self.part, self.modified)):
            self.undated()

    def _exists(self, files: FileOps) -> bool:
        if size_of(files, self.remote) is not None:
            self.shared.tells_sizes = True
            return True
        if self.shared.tells_sizes:
            return False
        # "No" may mean that there is no such file, or that SIZE is not allowed here: look.
        directory, name = posixpath.split(self.remote)
        try:
            return any(entry.name == name for entry in files.scan(directory))
        except RemoteRejected as error:
            if not error.retryable and directory and not files.is_directory(directory):
                return False  # what is not there holds no files
            explain(error, "so nobody can tell if a file of this name exists")
            raise

    def _arrived_after_all(self, files: FileOps) -> bool:
        """True if an earlier attempt sent everything and only the server's word was lost."""
        return self.size is not None and size_of(files, self.part) == self.size

    def _store(self, files: FileOps) -> None:
        directory = posixpath.dirname(self.part)
        # Asked before: another worker may make the directory while the server refuses this file.
        missing = self.options.makedirs and not self.shared.directories.knows(directory)
        try:
            self._send(files)
        except RemoteRejected as error:
            if not self._name_refused(error):
                raise
            if not self.options.makedirs and directory and not files.is_directory(directory):
                explain(error, "its directory is not there, and none is to be made")
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
                if not self._name_refused(error):
                    raise
                first = error
            else:
                return
        if self.shared.dotless or not posixpath.basename(self.part).startswith("."):
            raise first
        self.part = self._part_path(dotless=True)
        self._send(files)
        self.shared.dotless = True

    def _name_refused(self, error: RemoteRejected) -> bool:
        """True if it was the name, and not what came after the first bytes: a full disk, say."""
        return error.code in REFUSED_NAME and (self._inherited or self.left_behind is None)

    def _send(self, files: FileOps) -> None:
        before = self.sent
        self.size, self._went_on_at = None, 0
        source = self._hashed(files, self.open_source())
        self.left_behind = self.part
        try:
            size = self._transfer(files, source)
        except RemoteRejected as error:
            if self.sent == before and error.code in REFUSED_NAME and not self._inherited:
                self.left_behind = None  # refused before a byte was sent
            raise
        except ConnectionLost:
            if self._expected is not None and self.reached == self._expected:
                self.size = self._expected
            raise
        finally:
            if self.sent != before:
                self.taken()
            with contextlib.suppress(Exception):  # all that counts has been read
                source.close()
        self.check_length(size)
        self.size = size

    def _transfer(self, files: FileOps, source: BinaryIO) -> int:
        """Send the source, or what the server does not have of it yet; its bytes in all."""
        modified = self.modified if self.options.preserve_mtime else None
        if modified is not None and isinstance(files, DatesOnClose):
            files.date_on_close(self.part, modified)
        offset = self._offset(files) if self.options.resume and seekable(source) else 0
        if offset and isinstance(files, Resumes):
            read_past(source, offset)
            try:
                size = files.resume(self.part, source, self.counter(offset), offset)
            except RemoteRejected as error:
                if error.retryable or error.stops_batch:
                    raise
                source.seek(0)  # the server does not go on with files: from the beginning
            else:
                self._went_on_at = offset
                return size
        return files.store(self.part, source, self.counter())

    def _offset(self, files: FileOps) -> int:
        """Bytes of our own part that the server has; 0 if that is not certain."""
        if self._distrusted or not (self._ours and self._repeatable):
            return 0
        there = size_of(files, self.part)
        limit = self.reached if self._expected is None else self._expected
        return there if there is not None and 0 < there <= limit else 0

    def _hashed(self, files: FileOps, source: BinaryIO) -> BinaryIO:
        if self.options.verify != "hash":
            return source
        name = files.digest_name() if isinstance(files, Digests) else None
        if name is None:
            source.close()
            raise ConfigError(
                "verify='hash': this server has no digest that Python has as well; write "
                "verify='size'",
                phase="verify",
            )
        hashed = Hashed(source, name)
        self._hash = hashed
        return cast("BinaryIO", hashed)

    def _verify(self, files: FileOps) -> None:
        if self.options.verify == "none":
            return
        if not self.shared.sizeless:
            self._compare_sizes(files)
        if self._hash is not None and isinstance(files, Digests):
            there = files.digest(self.part)
            if there.lower() != self._hash.hexdigest():
                self.distrust()
                raise VerifyError(
                    f"{self.remote}: the server's digest is {there.lower()}, that of the source "
                    f"{self._hash.hexdigest()}",
                    phase="verify",
                )
            self.verified = True

    def _compare_sizes(self, files: FileOps) -> None:
        there = files.size(self.part)
        if there is None:
            self.unproved()
        elif there != self.size:
            words = f"{self.remote}: {self.size} bytes were sent, the server has {there}"
            self.distrust()
            raise VerifyError(words, phase="verify")
        else:
            self.proved()

    def _take_name(self, files: FileOps) -> None:
        if self.renaming and not exists(files, self.part, unsure=True):
            there = size_of(files, self.remote)
            if there == self.size or (there is None and exists(files, self.remote)):
                self._is_back()
                if exists(files, self._aside):
                    self._remove_aside(files)
                return  # the rename was done, only its reply was lost
            self.stored = False
            raise VerifyError(f"{self.remote}: neither part nor file is there", phase="rename")
        if self.renaming:
            # The last attempt broke off somewhere between the old file's step aside and the end.
            self._stepping = exists(files, self._aside)
            come_back(files, self.remote, self._aside)
            self._is_back()
        self.renaming = True
        try:
            stepped = (
                replace(files, self.part, self.remote, self._aside, self._steps_aside)
                or self._stepping
            )
        except RemoteRejected as error:
            if self._where in self.notes and exists(files, self.remote):
                self._is_back()
            if not error.retryable and files.is_directory(self.remote):
                explain(error, "a directory has this name: move it, or send under another name")
            raise
        self._stepping = False
        self._is_back()
        if stepped:
            self._remove_aside(files)
