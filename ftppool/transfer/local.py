"""Local destinations of downloads: names that stay below their directory, and files that are whole.

Names come from the server, which may be hostile: what leads out of the directory, or is no name on
this system, is refused before anything is opened.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import sys
import threading
import unicodedata

from ftppool.errors import TransferError
from ftppool.transfer.parts import new_token, part_path

__all__ = ["Part", "check_names", "file_mode", "make_directories", "same_name"]

_WINDOWS = sys.platform == "win32"
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{device}{digit}" for device in ("COM", "LPT") for digit in "0123456789¹²³"]
)
_PART = ".{name}.{token}.part"
_STATUS = "/proc/self/status"
_exchanging = threading.Lock()


def check_names(path: str, *, windows: bool = _WINDOWS) -> str:
    """Return a relative path with ``/`` between its names, if each can be a name on this system.

    Raises:
        TransferError: One cannot, or would lead somewhere else.
    """
    for name in path.split("/"):
        problem = _problem(name, windows=windows)
        if problem:
            raise TransferError(f"{path!r} is not written: {problem}", phase="local")
    return path


def _problem(name: str, *, windows: bool) -> str:
    if name in ("", ".", ".."):
        return "it would leave its directory"
    if "\0" in name:
        return "its name holds a NUL"
    if not windows:
        return ""
    if any(char in '<>:"|?*\\' or char < " " for char in name):
        return f"Windows allows no such name as {name!r}"
    if name[-1] in ". " or name.partition(".")[0].rstrip().upper() in _DEVICES:
        return f"{name!r} means something else to Windows"
    return ""


def same_name(path: str) -> str:
    """Give what two paths have in common that are one file on this system's usual disks."""
    if sys.platform == "darwin":
        return unicodedata.normalize("NFC", path).casefold()
    return os.path.normcase(path)


def file_mode() -> int:
    """Give the mode of new files that the umask asks for.

    The system call gives it only in exchange for another one, which files of other threads would
    get meanwhile: where the system does not tell it otherwise, that is done once.
    """
    try:
        with open(_STATUS, "rb") as status:
            return 0o666 & ~next(int(line[6:], 8) for line in status if line[:6] == b"Umask:")
    except (OSError, StopIteration):
        pass
    with _exchanging:
        return 0o666 & ~_exchanged()


@functools.cache
def _exchanged() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def make_directories(top: str, path: str) -> str:
    """Make the directories of a relative path below `top`, and return the last one.

    Raises:
        TransferError: One cannot be made, or is a symbolic link, which may lead anywhere.
    """
    try:
        os.makedirs(top, exist_ok=True)
        here = top
        for name in path.split("/") if path else ():
            here = os.path.join(here, name)
            try:
                os.mkdir(here)
            except FileExistsError:
                _check_directory(here)
    except OSError as error:
        raise _local_error(error.filename or top, error) from error
    return here


def _check_directory(path: str) -> None:
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode) or getattr(info, "st_reparse_tag", False):
        raise TransferError(
            f"{path!r} is a symbolic link, which may lead out of the directory", phase="local"
        )
    if not stat.S_ISDIR(info.st_mode):
        raise TransferError(f"{path!r} is in the way: it is no directory", phase="local")


class Part:
    """A file on its way to its name, in the same directory, readable by nobody else meanwhile."""

    def __init__(self, top: str, path: str) -> None:
        """Name the file: `path` is relative to the directory `top`."""
        self._top = top
        self._directory, _, name = path.rpartition("/")
        self.final: str = os.path.join(top, *path.split("/"))
        self._name = part_path(name, _PART, token=new_token())
        self._path: str | None = None
        self._descriptor = -1

    @property
    def size(self) -> int:
        """Bytes that it has now."""
        if self._path is not None:
            try:
                return os.lstat(self._path).st_size
            except OSError:
                self._path = None  # somebody has removed it: begin anew
        return 0

    def begin(self, offset: int) -> None:
        """Open it to write from `offset` on."""
        try:
            directory = make_directories(self._top, self._directory)
            flags = os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
            if self._path is None:
                path = os.path.join(directory, self._name)
                self._descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
                self._path = path
            else:
                self._descriptor = os.open(self._path, flags)
            os.ftruncate(self._descriptor, offset)
            os.lseek(self._descriptor, offset, os.SEEK_SET)
        except OSError as error:
            raise _local_error(self.final, error) from error

    def write(self, data: memoryview) -> None:
        """Write all of it."""
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise _local_error(self.final, error) from error

    def end(self, *, fsync: bool = False) -> None:
        """Close it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:
                if fsync:
                    os.fsync(descriptor)
                os.close(descriptor)  # network file systems say only here that a disk is full
            except OSError as error:
                raise _local_error(self.final, error) from error

    def take_name(self, mode: int, modified: float | None, *, fsync: bool) -> None:
        """Give it its mode, time and name, over what is there."""
        assert self._path is not None
        try:
            os.chmod(self._path, mode)
            if modified is not None:
                os.utime(self._path, (modified, modified))
            make_directories(self._top, self._directory)  # no link may have come between
            os.replace(self._path, self.final)
            self._path = None
            if fsync and not _WINDOWS:
                _sync(os.path.dirname(self.final) or ".")
        except OSError as error:
            raise _local_error(self.final, error) from error

    def discard(self) -> str | None:
        """Remove it; its path if that cannot be done."""
        path = self._path
        try:
            self.end()
            if path is not None:
                os.unlink(path)
                self._path = None
        except (OSError, TransferError):
            return path
        return None


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_HINTS: dict[type[OSError], str] = {
    FileExistsError: "a file is in the way of a directory: move it, or choose another directory",
    NotADirectoryError: "a file is in the way of a directory: move it, or choose another directory",
    IsADirectoryError: "a directory has this name: move it, or choose another name",
    FileNotFoundError: "the directory is missing and cannot be made: choose another",
    PermissionError: "this user may not write there: choose another directory, or change its mode",
}


def _local_error(path: str, error: OSError) -> TransferError:
    words = next((f"; {hint}" for kind, hint in _HINTS.items() if isinstance(error, kind)), "")
    failure = TransferError(f"{path!r} cannot be written: {error.strerror}{words}", phase="local")
    failure.stops_batch = error.errno in _FULL
    return failure
