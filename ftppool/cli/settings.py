"""What each flag is in the end, and why: flag > environment > profile > default.

The names are mechanical: ``--max-per-ip`` is ``FTPPOOL_MAX_PER_IP`` in the environment and
``max_per_ip`` in a profile. So they are taken from the argparse tree, for every command alike.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from ftppool.cli.exits import UsageError
from ftppool.cli.kinds import Kind, as_words

__all__ = ["PREFIX", "Level", "Origin", "flags_of", "open_up", "resolve", "strangers", "twins"]

PREFIX = "FTPPOOL_"
_OTHERS = {"FTPPOOL_PASSWORD", "FTPPOOL_STATE_DIR"}
"""Variables that are no twins of flags."""
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_NOT_IN_PROFILES = {"config", "profile"}


class Level(IntEnum):
    """How close to the user a setting was made."""

    DEFAULT = 0
    PROFILE = 1
    ENVIRONMENT = 2
    FLAG = 3


class Origin(NamedTuple):
    """Where a setting comes from."""

    level: Level
    words: str


def flags_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The flags of a command that have a value, by the name of their attribute."""
    return {
        action.dest: action
        for action in parser._actions
        if any(name.startswith("--") for name in action.option_strings)
        and action.dest not in {"help", "version"}
    }


def open_up(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Take the defaults out of a parser, so that it tells only what was on the command line."""
    defaults = {}
    for dest, action in flags_of(parser).items():
        defaults[dest] = action.default
        action.default = argparse.SUPPRESS
    return defaults


def resolve(
    options: argparse.Namespace,
    parser: argparse.ArgumentParser,
    defaults: Mapping[str, Any],
    environ: Mapping[str, str],
) -> None:
    """Fill in all that was not on the command line, and ``options.origins``.

    Raises:
        ConfigError: A variable, a profile or the file of profiles is wrong.
        UsageError: The command line names two profiles.
    """
    flags = flags_of(parser)
    origins: dict[str, Origin] = {}
    for dest, action in flags.items():
        if hasattr(options, dest):
            origins[dest] = Origin(Level.FLAG, _flag(action))
        else:
            _from_environment(options, origins, dest, action, environ)
    options.url = None
    if "profile" in flags:
        _from_profile(options, origins, flags)
    for dest, default in defaults.items():
        if dest not in origins:
            setattr(options, dest, default)
            origins[dest] = Origin(Level.DEFAULT, "default")
    _settle_rivals(options, origins, parser)
    options.origins = origins


def twins(action: argparse.Action) -> Iterator[tuple[str, str]]:
    """Each long name of a flag, with its twin in the environment."""
    for name in action.option_strings:
        if name.startswith("--"):
            yield name, PREFIX + name[2:].upper().replace("-", "_")


def _flag(action: argparse.Action) -> str:
    return next(twins(action))[0]


def _from_environment(
    options: argparse.Namespace,
    origins: dict[str, Origin],
    dest: str,
    action: argparse.Action,
    environ: Mapping[str, str],
) -> None:
    for name, twin in twins(action):
        text = environ.get(twin)
        if text is None:
            continue
        if dest in origins:
            from ftppool.errors import ConfigError

            raise ConfigError(f"{origins[dest].words} and {twin} are both set: keep one")
        if action.nargs == 0:
            value: Any = _truth(twin, text)
            negative = isinstance(action, argparse.BooleanOptionalAction) and "--no-" in name
            value = not value if negative else value
        elif isinstance(action, argparse._AppendAction):
            value = [_read(action, twin, word) for word in _words(twin, text)]
        else:
            value = _read(action, twin, text)
        setattr(options, dest, value)
        origins[dest] = Origin(Level.ENVIRONMENT, twin)


def _truth(twin: str, text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    from ftppool.errors import ConfigError

    raise ConfigError(f"{twin}={text!r}: write 1 or 0")


def _words(twin: str, text: str) -> list[str]:
    try:
        return as_words(text)
    except ValueError as error:
        from ftppool.errors import ConfigError

        raise ConfigError(
            f"{twin}={text!r}: write words with spaces between them, as in a shell: {error}"
        ) from None


def _read(action: argparse.Action, where: str, text: str) -> Any:
    """Read a text as argparse would, and say where it stands if it is wrong."""
    from ftppool.errors import ConfigError

    if not text:
        raise ConfigError(f"{where} is set, and empty: unset it, or write a value")
    try:
        value = action.type(text) if callable(action.type) else text
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise ConfigError(f"{where}={error}") from None
    if action.choices is not None and value not in action.choices:
        words = ", ".join(map(str, action.choices))
        raise ConfigError(f"{where}={text!r}: write one of {words}")
    return value


# -- profiles --------------------------------------------------------------------------------------


def _from_profile(
    options: argparse.Namespace,
    origins: dict[str, Origin],
    flags: Mapping[str, argparse.Action],
) -> None:
    from ftppool.cli import profiles
    from ftppool.errors import ConfigError

    chosen = _chosen(options, origins)
    if chosen is None:
        return
    name, file, table = chosen
    known = _profile_keys()
    for key, value in table.items():
        where = f"{file}: profiles.{name}.{key}"
        if key == "password":
            raise ConfigError(
                f"{where}: this file is no place for a password: put it into a file of mode 600"
                " and write password_file"
            )
        if key == "url":
            if not isinstance(value, str):
                raise ConfigError(f"{where}: write a URL such as 'ftp://user@host/directory'")
            options.url = value
        elif key not in known:
            raise ConfigError(f"{where} is not known; {profiles.nearest(key, ['url', *known])}")
        else:
            counts = key in flags and key not in origins
            setting = _of_toml(flags[key] if counts else known[key], where, value)
            if counts:
                setattr(options, key, setting)
                origins[key] = Origin(Level.PROFILE, f"profile {name}")
    options.profile = name
    origins.setdefault("profile", Origin(Level.FLAG, "DEST"))
    options.profile_file = file


def _chosen(
    options: argparse.Namespace, origins: Mapping[str, Origin]
) -> tuple[str, str, Mapping[str, Any]] | None:
    """The profile that is meant, its file and what it has; None for no profile."""
    from ftppool.cli import profiles
    from ftppool.errors import ConfigError

    if getattr(options, "server", False):
        return None  # doctor's --config then names a server's configuration
    name = _profile_of(options, origins)
    path = getattr(options, "config", None)
    if isinstance(path, list):
        path = path[-1]
    if name is None and (path is None or getattr(options, "what", "") == "path"):
        return None
    file: str = profiles.location() if path is None else path
    if path is None and not os.path.exists(file):
        raise ConfigError(
            f"{name!r} is taken for a profile, and there is no {file}: write a URL such as"
            " ftp://user@host/directory, or the profile into that file"
        )
    found = profiles.of_file(file)
    if name is None:
        return None
    if name not in found:
        hint = profiles.nearest(name, dict(found)) if found else "it has none"
        raise ConfigError(f"{file} has no profile {name!r}; {hint}")
    return name, file, found[name]


def _profile_of(options: argparse.Namespace, origins: Mapping[str, Origin]) -> str | None:
    """Which profile is meant: that of DEST, or the one of ``--profile``."""
    from ftppool.cli import profiles

    places = getattr(options, options.places) if getattr(options, "places", "") else []
    named = []
    for place in [places] if isinstance(places, str) else places or []:
        parts = profiles.split(place)
        if parts is not None:
            named.append(parts[0])
    # A profile that is only in the environment gives way to the one of DEST.
    asked = getattr(options, "profile", None)
    if asked is not None and (not named or origins["profile"].level is Level.FLAG):
        named.append(asked)
    if len(set(named)) > 1:
        raise UsageError(f"two profiles are named, {named[0]!r} and {named[-1]!r}: write one")
    return named[0] if named else None


def _profile_keys() -> dict[str, argparse.Action]:
    """Every flag that a profile may set: of all commands that move files."""
    from ftppool.cli.args import parsers

    found: dict[str, argparse.Action] = {}
    for parser in parsers(["get", "put"]).values():
        found |= flags_of(parser)
    return {name: action for name, action in found.items() if name not in _NOT_IN_PROFILES}


def _of_toml(action: argparse.Action, where: str, value: object) -> Any:
    """Check the type of a profile's value and read it as a flag's."""
    from ftppool.errors import ConfigError

    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ConfigError(f"{where} = {value!r}: write true or false")
        return value
    if isinstance(action, argparse._AppendAction):
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{where} = {value!r}: write a string, or a list of strings")
        return [_read(action, where, text) for text in texts]
    kind = action.type if isinstance(action.type, Kind) else None
    shown = "(not shown)" if kind is not None and kind.secret else repr(value)
    types = kind.toml if kind is not None else (str,)
    if isinstance(value, bool) or not isinstance(value, types):
        what = kind.what if kind is not None else "a string, in quotes"
        raise ConfigError(f"{where} = {shown}: write {what}")
    if isinstance(value, list):
        if not value or not all(isinstance(word, str) for word in value):
            raise ConfigError(f"{where} = {shown}: write a list of strings")
        return tuple(value)
    return _read(action, where, str(value))


# -- what contradicts itself -----------------------------------------------------------------------


def _settle_rivals(
    options: argparse.Namespace, origins: Mapping[str, Origin], parser: argparse.ArgumentParser
) -> None:
    """Of flags that exclude each other the one that is closer to the user counts."""
    for group in parser._mutually_exclusive_groups:
        chosen = [action.dest for action in group._group_actions if getattr(options, action.dest)]
        if len(chosen) < 2:
            continue
        first, second = sorted(chosen, key=lambda dest: -origins[dest].level)[:2]
        if origins[first].level == origins[second].level:
            from ftppool.errors import ConfigError

            raise ConfigError(
                f"{origins[first].words} and {origins[second].words} contradict each other"
            )
        setattr(options, second, False)


def strangers(options: argparse.Namespace, environ: Mapping[str, str]) -> list[str]:
    """Say which variables look like ours and are not, if they are near one that is."""
    ours = _OTHERS | {PREFIX + dest.upper() for dest in options.origins}
    asked = sorted(name for name in environ if name.startswith(PREFIX) and name not in ours)
    if not asked:
        return []
    import difflib

    from ftppool.cli.args import parsers

    names = _OTHERS | {
        twin
        for parser in parsers().values()
        for action in flags_of(parser).values()
        for _, twin in twins(action)
    }
    said = []
    for name in asked:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
        if near and near[0] != name:
            said.append(f"{name} is not known; did you mean {near[0]}?")
    return said
