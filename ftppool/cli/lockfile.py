"""``--lock FILE``: of several runs only one at a time."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from ftppool.errors import ConfigError, FTPPoolError

__all__ = ["Locked", "held"]

_LOOK_EVERY = 0.1


class Locked(FTPPoolError):
    """Another run holds the lock."""

    retryable = True


@contextlib.contextmanager
def held(path: str | None, wait: float) -> Iterator[None]:
    """Hold the lock while the block runs; the kernel takes it back however the process ends.

    The file stays where it is: a run that waits has it open already, and would hold a lock that
    nobody else can see.

    Args:
        path: The lock file, made if it is missing; None for no lock.
        wait: Seconds to wait for another run's end.

    Raises:
        Locked: Another run still holds it; the message names its process.
        ConfigError: The file cannot be used.
    """
    if path is None:
        yield
        return
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as error:
        raise ConfigError(f"the lock file {path} cannot be used: {error.strerror}") from error
    try:
        _wait_for(file, path, wait)
        _write(file, str(os.getpid()))
        try:
            yield
        finally:
            _write(file, "")
    finally:
        os.close(file)


def _wait_for(file: int, path: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    while not _try(file, path):
        left = deadline - time.monotonic()
        if left <= 0:
            os.lseek(file, 0, os.SEEK_SET)
            holder = os.read(file, 20).decode("ascii", "replace").strip()
            who = f"process {holder}" if holder.isdigit() else "a process"
            waited = f" after {wait:g} s" if wait else ""
            raise Locked(f"another run ({who}) still holds the lock {path}{waited}; run it again")
        time.sleep(min(_LOOK_EVERY, left))


def _write(file: int, text: str) -> None:
    # Only for people; a full disk is no reason not to run.
    with contextlib.suppress(OSError):
        os.lseek(file, 0, os.SEEK_SET)
        before = os.read(file, 20).strip()
        if before and not (before.isdigit() and os.fstat(file).st_size < 20):
            return  # not written by us: a slip of the pen must cost nobody a file
        os.lseek(file, 0, os.SEEK_SET)
        os.ftruncate(file, 0)
        os.write(file, text.encode())


def _try(file: int, path: str) -> bool:
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be locked: {error.strerror}") from error
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        # A byte far behind the text: Windows lets nobody read what is locked.
        os.lseek(file, 1 << 20, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
