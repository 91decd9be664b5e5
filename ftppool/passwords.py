"""Where passwords can come from: functions for ``password=``, each of which reads one.

::

    from ftppool import FTPPool, passwords

    FTPPool("ftp://me@host", password=passwords.from_file("/etc/ftppool/host.password"))

They look when they are called, which is at each login, so a changed password needs no restart. None
of their errors holds a password.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Sequence

from ftppool.childprocess import run
from ftppool.errors import ConfigError
from ftppool.netrcfile import Entry, NetrcError, entries

__all__ = [
    "from_command", "from_credential", "from_file", "from_keyring", "from_netrc", "netrc_login",
]  # fmt: skip

_LONGEST = 65_536
_LONGEST_NETRC = 1_000_000
_CLIPPED = 200
_LONGEST_WORDS = 500

PathLike = str | os.PathLike[str]


def from_file(path: PathLike) -> Callable[[], str]:
    """Take the first line of a file.

    The file must belong to this user or to root and be closed to all others; only one of root's
    may be readable by its group. A pipe (``<(command)`` of a shell) will do too.

    Raises:
        ConfigError: When called: it cannot be read, others can read it, or its first line is empty.
    """
    return lambda: _of_file(os.path.expanduser(os.fspath(path)), _check_private)


def from_credential(name: str) -> Callable[[], str]:
    """Take the first line of a systemd credential (``LoadCredential=name:...``).

    Raises:
        ConfigError: When called: this process has no such credential.
    """

    def read() -> str:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ConfigError(
                f"there is no credential {name!r}: $CREDENTIALS_DIRECTORY is not set; give the"
                f" unit LoadCredential={name}:FILE"
            )
        if not name or os.path.basename(name) != name or name in {".", ".."}:
            raise ConfigError(f"the credential {name!r} must be a name without '/'")
        # systemd made the directory for this service alone, whatever the modes of the files are.
        return _of_file(os.path.join(folder, name), lambda _path, _info: None)

    return read


def from_command(argv: Sequence[str], *, timeout: float = 10.0) -> Callable[[], str]:
    """Take the first line that a command prints.

    It runs in a session of its own, without a terminal that it could ask on. What it leaves running
    in the background is not waited for.

    Args:
        argv: The command and its arguments; no shell is involved.
        timeout: Seconds that it may take; then it is killed, with all that it has started.

    Raises:
        ConfigError: When called: it cannot be run, fails (its own words are in the message), takes
            too long or prints nothing. At once: `argv` is no list of strings.
    """
    command = () if isinstance(argv, str) else tuple(argv)
    if not command or not all(isinstance(word, str) for word in command):
        raise ConfigError("password_command: write a list, the command and its arguments")
    return lambda: _of_command(command, timeout)


def from_netrc(
    host: str, user: str | None = None, path: PathLike | None = None
) -> Callable[[], str]:
    """Take the password of a host in a netrc file.

    Args:
        host: The machine as the file names it; its ``default`` counts too.
        user: The login that the entry must have; None takes the first of the host.
        path: The file (default ``~/.netrc``); who may read it is as for :func:`from_file`.

    Raises:
        ConfigError: When called: it cannot be read, others can read it, or it has no such entry.
    """
    return lambda: netrc_login(host, user, path)[1]


def from_keyring(service: str, user: str) -> Callable[[], str]:
    """Take a password from the desktop's keyring; needs ``pip install 'ftppool[keyring]'``.

    Args:
        service: The name under which it was stored (``keyring set SERVICE USER``).
        user: The user name.

    Raises:
        ConfigError: When called: there is no keyring, as under cron, or no such password in it.
    """
    return lambda: _of_keyring(service, user)


def _of_file(path: str, check: Callable[[str, os.stat_result], None]) -> str:
    try:
        with open(path, "rb") as file:
            check(path, os.fstat(file.fileno()))
            line = file.readline(_LONGEST)
    except OSError as error:
        raise ConfigError(f"the password file {path} cannot be read: {error.strerror}") from error
    return _first_line(line, f"the password file {path}")


def _check_private(path: str, info: os.stat_result) -> None:
    """Refuse a file that others can read or change."""
    if sys.platform == "win32":
        return
    else:  # noqa: RET505 - so that type checkers see it for each platform
        if stat.S_ISFIFO(info.st_mode):
            return
        me = os.geteuid()
        if info.st_uid not in (0, me):
            raise ConfigError(
                f"{path} has a password and belongs to user {info.st_uid}: it must be yours or"
                " root's"
            )
        if info.st_mode & (0o077 if info.st_uid == me else 0o027):
            raise ConfigError(
                f"{path} has a password and is open to others (mode"
                f" {stat.S_IMODE(info.st_mode):o}): chmod 600 {path}"
            )


def _first_line(text: bytes, whose: str) -> str:
    line = text.partition(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise ConfigError(f"{whose} has nothing in its first line, where the password belongs")
    return line.decode("utf-8", "surrogateescape")


def _of_command(argv: tuple[str, ...], timeout: float) -> str:
    name = f"password_command ({argv[0]})"  # the arguments may be secret
    try:
        done = run(argv, timeout)
    except (OSError, ValueError) as error:
        problem = f"{name} cannot be run: {getattr(error, 'strerror', None) or error}"
    else:
        if done is None:
            problem = f"{name} took longer than {timeout:g} s; it was ended"
        elif done.code == 0:
            return _first_line(done.out, name)
        else:
            words = " ".join(done.err.decode("utf-8", "replace").split())[:_CLIPPED]
            problem = f"{name} failed with {done.code}: {words or 'it said nothing'}"
    raise ConfigError(problem)


def netrc_login(
    host: str, user: str | None = None, path: PathLike | None = None
) -> tuple[str, str]:
    """Give login and password of a host in a netrc file; see :func:`from_netrc`."""
    file = os.path.expanduser("~/.netrc" if path is None else os.fspath(path))
    found = _netrc_entries(file, host)
    for entry in found:
        if user is None or entry.login in ("", user):
            if not entry.password:
                raise ConfigError(f"{file} has no password for {host}")
            return entry.login or user or "", entry.password
    logins = " and ".join(repr(one.login) for one in found if one.machine == found[0].machine)
    raise ConfigError(f"{file} has the login {logins} for {host}, not {user!r}")


def _netrc_entries(path: str, host: str) -> list[Entry]:
    """Read what may be for a host, ``default`` last."""
    try:
        with open(path, "rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            text = file.read(_LONGEST_NETRC).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = [entry for entry in entries(text) if entry.machine in (host, None)]
    except NetrcError as error:
        raise ConfigError(f"{path} is no netrc file: look at line {error.line}") from None
    if not found:
        raise ConfigError(
            f"{path} has no entry for {host}: write machine {host} login USER password …"
        )
    return sorted(found, key=lambda entry: entry.machine is None)


def _of_keyring(service: str, user: str) -> str:
    try:
        import keyring
    except ImportError:
        raise ConfigError(
            "the keyring needs one more package: pip install 'ftppool[keyring]'"
        ) from None
    try:
        found: str | None = keyring.get_password(service, user)
    except Exception as error:  # each backend has its own
        import textwrap  # only for those who err

        words = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            "the keyring cannot be used here; without a desktop session, as under cron, take"
            f" password_file or password_command: {textwrap.shorten(words, _LONGEST_WORDS)}"
        ) from error
    if not found:
        raise ConfigError(
            f"the keyring has no password of {user!r} for {service!r}: keyring set {service} {user}"
        )
    return found
