"""Opening the local sources of uploads, and one sentence for each that cannot be opened."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Callable
from typing import BinaryIO, NoReturn

from ftppool.errors import ConfigError, FTPPoolError, TransferError

__all__ = ["LocalFile", "described", "not_a_file", "open_callable", "open_path", "raise_error"]
__all__ += ["source_error"]

_DENIED = "is not readable by this user; grant read permission or leave it out"
_LOOP = "is a symbolic link that leads back to itself; mend or remove the link"
_ODD = "only regular files and directories can be sent"
_ADVICE = {
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ELOOP: _LOOP,
    errno.ENOTDIR: "leads through a file as if that were a directory; check the path",
    errno.EISDIR: "has become a directory since it was listed; run again",
    errno.ENXIO: f"is a socket or a device; {_ODD}",
}
_WINDOWS_ADVICE = {32: "is in use by another program; close it or send a copy", 1921: _LOOP}
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class LocalFile(io.FileIO):
    """A regular file of this machine, open for reading.

    Attributes:
        info: What the system said of it when it was opened: asked once, for all who want to know.
    """

    info: os.stat_result


def open_path(path: str) -> LocalFile:
    """Open a regular file, and wait for nobody."""
    try:
        stream = LocalFile(path, "rb", opener=_open_at_once)
    except (OSError, ValueError) as exc:
        raise source_error(path, exc) from exc
    stream.info = os.fstat(stream.fileno())
    if not stat.S_ISREG(stream.info.st_mode):
        stream.close()
        raise not_a_file(path, stream.info.st_mode)
    if sys.platform != "win32":
        os.set_blocking(stream.fileno(), True)
    return stream


def described(source: BinaryIO) -> os.stat_result | None:
    """Return what the system says of an open source; None if that is no plain file of its own."""
    if type(source) is LocalFile:
        return source.info
    if type(source) is io.FileIO:
        return os.fstat(source.fileno())
    return None


def _open_at_once(path: str, flags: int) -> int:
    # Something may have put a FIFO there since the walk: opening one waits for a writer.
    if sys.platform != "win32":
        flags |= os.O_NONBLOCK
    return os.open(path, flags)


def open_callable(source: Callable[[], BinaryIO], label: str) -> BinaryIO:
    """Open what a callable returns, if that is a binary file."""
    try:
        stream = source()
    except FTPPoolError:
        raise
    except Exception as exc:
        words = f"{label} raised {type(exc).__name__}: {exc}"
        raise TransferError(words, phase="source") from exc
    if getattr(stream, "closed", False):
        raise ConfigError(f"{label} returned a closed file; it must open a new one at each call")
    text = isinstance(getattr(stream, "file", stream), io.TextIOBase)
    if text or not callable(getattr(stream, "read", None)):
        if callable(close := getattr(stream, "close", None)):
            close()
        kind = "a text file" if text else f"a {type(stream).__name__}"
        raise ConfigError(f"{label} returned {kind}; it must return a file opened with 'rb'")
    return stream


def raise_error(error: FTPPoolError) -> NoReturn:
    """Raise the error that is known already."""
    raise error


def not_a_file(path: str, mode: int) -> TransferError:
    """Say what is there instead of a file."""
    kind = _KINDS.get(stat.S_IFMT(mode), "something unusual")
    return TransferError(f"source {path!r} is {kind}; {_ODD}", phase="source")


def source_error(path: str, exc: OSError | ValueError) -> TransferError:
    """Say why a path cannot be read, and what to do."""
    if not isinstance(exc, OSError):
        advice = f"is not a path that this system can hold ({exc})"
    elif exc.errno == errno.ENOENT:
        advice = _missing(path)
    else:
        known = _WINDOWS_ADVICE.get(getattr(exc, "winerror", 0)) or _ADVICE.get(exc.errno or 0)
        advice = known or f"cannot be read: {exc.strerror}"
    error = TransferError(f"source {path!r} {advice}", phase="source")
    error.__cause__ = exc
    return error


def _missing(path: str) -> str:
    if os.path.islink(path):
        return "is a symbolic link to a file that does not exist; mend or remove the link"
    if path.startswith("~"):
        return "does not exist: '~' is not expanded; use os.path.expanduser()"
    if os.path.isabs(path):
        return "does not exist; check the path"
    # Cron starts jobs in the home directory, where relative paths lead nowhere.
    try:
        return f"does not exist; relative paths start at {os.getcwd()!r}"
    except OSError:
        return "does not exist, nor does the current directory; use an absolute path"
