"""Profiles: named settings in a TOML file, so that a cron line is short and has no password.

::

    [profiles.backup]
    url = "ftps://me@ftp.example.com/inbox"
    max_per_ip = 3
    password_file = "/etc/ftppool/backup.password"

Each key but ``url`` is a long flag, with ``_`` for ``-``. The file may name a command to run, so
nobody else may be able to write it; it never holds a password.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from typing import Any

from ftppool import words
from ftppool.errors import ConfigError

__all__ = ["has", "location", "nearest", "of_file", "split"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]+")


def split(text: str) -> tuple[str, str] | None:
    """Split ``profile:path``; None for anything else, such as a URL or ``C:/path``.

    A single letter is never a profile: it is a drive of Windows.
    """
    name, colon, path = text.partition(":")
    if not colon or path.startswith("//") or not _NAME.fullmatch(name):
        return None
    return name, path


def location() -> str:
    """Where profiles are, unless ``--config`` says otherwise.

    Below the home that the password database names, whatever ``$HOME`` and ``$XDG_CONFIG_HOME``
    are: cron, systemd and sudo must find the same file as the shell in which it was tried.
    """
    return os.path.join(_home(), ".config", "ftppool", "config.toml")


def _home() -> str:
    if sys.platform == "win32":
        return os.path.expanduser("~")
    else:  # noqa: RET505 - so that type checkers see it for each platform
        import pwd

        try:
            return pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            return os.path.expanduser("~")


def has(config: str | None, name: str) -> bool:
    """True if there is such a profile, for a hint; a file that cannot be used has none."""
    file = location() if config is None else config
    try:
        return os.path.exists(file) and name in of_file(file)
    except ConfigError:
        return False


def of_file(path: str) -> Mapping[str, Mapping[str, Any]]:
    """Read all profiles; their keys are not looked at yet.

    Raises:
        ConfigError: The file cannot be read, is not safe or is no such file.
    """
    import tomllib

    try:
        with open(path, "rb") as file:
            _check_safe(path, os.fstat(file.fileno()))
            found = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from None
    for key in found:
        if key != "profiles":
            raise ConfigError(
                f"{path}: {key!r} is not known at the top: write profiles as [profiles.NAME]"
            )
    profiles = found.get("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(p, dict) for p in profiles.values()):
        raise ConfigError(f"{path}: write each profile as a table, [profiles.NAME]")
    for name in profiles:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{path}: profile {name!r}: write a name of two or more letters, digits, '_', '.'"
                " or '-'"
            )
    return profiles


def _check_safe(path: str, info: os.stat_result) -> None:
    if sys.platform == "win32":
        return
    else:  # noqa: RET505 - so that type checkers see it for each platform
        if info.st_uid not in (0, os.geteuid()):
            raise ConfigError(f"{path} belongs to user {info.st_uid}: it must be yours or root's")
        if info.st_mode & 0o022:
            mode = stat.S_IMODE(info.st_mode)
            raise ConfigError(
                f"{path} can be written by others (mode {mode:o}), and it may name commands to"
                f" run: chmod go-w {path}"
            )


def nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    """Give the hint for an unknown name."""
    near = words.nearest(name, known)
    return f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(known))}"
