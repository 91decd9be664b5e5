"""The directory in which the processes of one user on one machine meet.

Everything in it is private: made with mode 0700, owned by the user, and reached without following a
symlink, so that no other user can read who connects where, hold a lock, or lead a write elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import threading
from collections.abc import Callable, Iterator

from ftppool.hooks import in_child
from ftppool.logs import log

__all__ = ["Unusable", "address_folder", "address_of", "open_private", "open_root", "warn_once"]

VARIABLE = "FTPPOOL_STATE_DIR"
PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}
"""What goes away by itself."""
NETWORK = re.compile(
    r"nfs\d?|cifs|smb\w*|afs|ceph|lustre|gpfs|beegfs|ncpfs|davfs\d?|ocfs2|gfs2|orangefs"
    r"|glusterfs|fuse\.(sshfs|glusterfs|rclone|s3fs|davfs2?|cephfs|ceph|gcsfuse)"
)
"""File systems on which a lock may be seen by this process only, or outlive it."""
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


class Unusable(OSError):
    """A directory is not private, or not where locks work; says why."""


def open_private(name: str, *, within: int | None = None) -> int:
    """Open a private folder, made if it is missing; return its descriptor.

    Args:
        name: Its path, or its name in the folder `within`.
        within: Descriptor of the folder that it is in.

    Raises:
        Unusable: It is a symlink, of another owner, or open to others.
        OSError: It cannot be made or opened.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=within)
    found = os.stat(name, dir_fd=within, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        raise Unusable(f"{name} is a symlink")
    # O_NOFOLLOW: it may have become one since.
    folder = os.open(name, _FOLDER, dir_fd=within)
    try:
        found = os.fstat(folder)
        if found.st_uid != os.geteuid():
            raise Unusable(f"{name} belongs to user {found.st_uid}")
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise Unusable(f"{name} has mode {mode:o} instead of 700: chmod 700 {name}")
    except BaseException:
        os.close(folder)
        raise
    return folder


def address_folder(address: str) -> str:
    """Turn ``ip:port`` into a safe name."""
    host, _, port = address.rpartition(":")
    return re.sub(r"[^A-Za-z0-9.-]", "_", f"{host.strip('[]')}_{port}")


def address_of(folder: str) -> str:
    """Turn the name of a folder back into ``ip:port``."""
    host, _, port = folder.rpartition("_")
    return f"[{host.replace('_', ':')}]:{port}" if "_" in host else f"{host}:{port}"


def open_root() -> int | None:
    """Open the state directory; None if this machine offers no place for one.

    The first answer counts for the life of the process (or until ``$FTPPOOL_STATE_DIR`` changes):
    permits in two places would not know of each other.
    """
    wanted = os.environ.get(VARIABLE)
    with _lock:
        known = _chosen.get(wanted)
        if known is not None:
            try:
                return known()
            except OSError as error:
                if error.errno in PASSING:
                    raise  # a choice for the life of the process must not be made in such a moment
        folder, _chosen[wanted] = _choose(wanted)
    return folder


def _choose(wanted: str | None) -> tuple[int | None, Callable[[], int | None]]:

    def first() -> int:
        return _open_named(wanted) if wanted else _open_home()

    try:
        return first(), first
    except (OSError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in PASSING:
            raise
        reason = _words(error)
    private = f"/tmp/ftppool-{os.geteuid()}"  # noqa: S108 - checked to be ours and private
    try:
        folder = open_private(private)
    except OSError as error:
        warn_once(
            "ftppool: no private state directory (%s; %s): max_per_ip holds within this process "
            "only", reason, _words(error),
        )  # fmt: skip
        return None, lambda: None
    warn_once(
        "ftppool: the state directory cannot be used (%s): %s is used instead; processes that use "
        "another one do not know of each other", reason, private,
    )  # fmt: skip
    return folder, lambda: open_private(private)


def _open_named(path: str) -> int:
    """Open what ``$FTPPOOL_STATE_DIR`` names."""
    if not os.path.isabs(path):
        raise Unusable(f"{VARIABLE}={path} is not an absolute path")
    path = os.path.normpath(path)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    return _local(open_private(path), path)


def _open_home() -> int:
    """Open the place below the home of the password database: the same for shell, cron, systemd."""
    import pwd

    home = pwd.getpwuid(os.geteuid()).pw_dir
    if not os.path.isabs(home) or not os.path.isdir(home):
        raise Unusable(f"the home directory {home} does not exist")
    above = os.path.join(home, ".local", "state")
    os.makedirs(above, mode=0o700, exist_ok=True)
    path = os.path.join(above, "ftppool")
    ours = open_private(path)
    try:
        # Homes may be shared between machines, locks are not.
        host = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname()) or "localhost"
        folder = open_private(host, within=ours)
    finally:
        os.close(ours)
    return _local(folder, os.path.join(path, host))


def _local(folder: int, path: str) -> int:
    kind = _file_system(folder)
    if kind is not None and NETWORK.fullmatch(kind):
        os.close(folder)
        raise Unusable(f"{path} is on a network file system ({kind})")
    return folder


def _file_system(folder: int) -> str | None:
    """Name the kind of file system, where the kernel tells (Linux)."""
    device = os.fstat(folder).st_dev
    if device not in _kinds:
        number = f"{os.major(device)}:{os.minor(device)}"
        kinds = (
            fields[fields.index("-") + 1]
            for fields in _mounts()
            if fields[2] == number and "-" in fields
        )
        _kinds[device] = next(kinds, None)
    return _kinds[device]


def _mounts() -> Iterator[list[str]]:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            yield from (line.split() for line in lines)
    except OSError:
        return


def _words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"user {os.geteuid()} is not in the password database"
    if isinstance(error, Unusable) or not isinstance(error, OSError):
        return str(error)
    return f"{error.filename}: {error.strerror}"


def warn_once(message: str, *words: object) -> None:
    """Log a warning, once in the life of the process."""
    if not _warned:
        _warned.append(message % words)
        log.warning(message, *words)


_lock = threading.Lock()  # guards _chosen and _warned
_chosen: dict[str | None, Callable[[], int | None]] = {}
_warned: list[str] = []
_kinds: dict[int, str | None] = {}  # of file systems, by device; each use is one atomic step


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()


in_child(_after_fork)
