"""Which of its possible places a command takes the password from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ftppool import passwords
from ftppool.cli.args import PASSWORD_VARIABLE, Options
from ftppool.cli.settings import Level
from ftppool.errors import ConfigError
from ftppool.target import Target

__all__ = ["DEFAULT_CREDENTIAL", "Place", "Source", "source_of"]

DEFAULT_CREDENTIAL = "ftppool-password"
"""The systemd credential that is used without being asked for."""


class Place(NamedTuple):
    """A target that the user has named.

    Attributes:
        target: Without a password, unless it is in the URL.
        named: True if somebody wrote the user name; otherwise FTP takes "anonymous".
    """

    target: Target
    named: bool


class Source(NamedTuple):
    """Where a password comes from.

    Attributes:
        words: What to call it; names the place and never the password.
        read: Reads it; raises ConfigError.
        netrc: The netrc file, if it is one: it may name the user as well.
    """

    words: str
    read: Callable[[], str]
    netrc: str | None = None


def source_of(
    options: Options, place: Place, environ: Mapping[str, str] = os.environ
) -> Source | None:
    """Choose the source: the closest to the user; None if there is none.

    Raises:
        ConfigError: Two are equally close.
    """
    if isinstance(place.target.password, str):
        secret = place.target.password
        return Source("the URL", lambda: secret)
    for level in (Level.FLAG, Level.ENVIRONMENT, Level.PROFILE):
        found = _named(options, place, level)
        if level is Level.ENVIRONMENT and PASSWORD_VARIABLE in environ:
            found.insert(0, Source(PASSWORD_VARIABLE, lambda: _of_variable(environ)))
        if len(found) > 1:
            raise ConfigError(
                f"the password comes from {found[0].words} and from {found[1].words}: keep one"
            )
        if found:
            return found[0]
        if level is Level.ENVIRONMENT and _has_credential(environ):
            words = f"$CREDENTIALS_DIRECTORY/{DEFAULT_CREDENTIAL}"
            return Source(words, passwords.from_credential(DEFAULT_CREDENTIAL))
    return None


def _named(options: Options, place: Place, level: Level) -> list[Source]:
    """The sources that are named at a level."""
    found = []
    for dest in (
        "password_file", "password_command", "credential", "netrc", "netrc_file", "keyring",
    ):  # fmt: skip
        origin, value = options.origins[dest], getattr(options, dest)
        if origin.level is level and value:
            found.append(_source(dest, value, place, f"{dest} ({origin.words})"))
    return found


def _source(dest: str, value: object, place: Place, words: str) -> Source:
    target = place.target
    user = target.user if place.named else None
    if dest == "password_command":
        assert isinstance(value, tuple)
        return Source(words, passwords.from_command(value))
    if dest == "netrc":
        return Source(words, passwords.from_netrc(target.host, user), "~/.netrc")
    text = str(value)
    if dest == "netrc_file":
        return Source(words, passwords.from_netrc(target.host, user, text), text)
    if dest == "credential":
        return Source(words, passwords.from_credential(text))
    if dest == "keyring":
        return Source(words, passwords.from_keyring(text, target.user))
    return Source(words, passwords.from_file(text))


def _of_variable(environ: Mapping[str, str]) -> str:
    secret = environ[PASSWORD_VARIABLE]
    if not secret:
        raise ConfigError(
            f"{PASSWORD_VARIABLE} is set, and empty: unset it, or put the password into it"
        )
    return secret


def _has_credential(environ: Mapping[str, str]) -> bool:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and os.path.exists(os.path.join(str(folder), DEFAULT_CREDENTIAL))
