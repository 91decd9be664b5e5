"""Glob patterns for the paths of a batch: ``include``, ``exclude`` and ``last``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias, cast

from ftppool.errors import ConfigError

__all__ = ["Globs", "Patterns", "patterns_of"]

Patterns: TypeAlias = str | Iterable[str] | None
"""One glob, several, or None for none.

``*`` and ``?`` stand for characters other than ``/``, ``[abc]`` and ``[!abc]`` for one of or none
of some; ``**`` as a whole part of a path stands for any number of directories. Case matters. A
pattern without ``/`` matches a name at any depth; one with ``/`` (at its start or inside) matches
the whole path below the batch's remote directory; ``/`` at its end: directories only. A pattern
that matches a directory matches everything below it.
"""


def patterns_of(name: str, value: Patterns) -> tuple[str, ...]:
    """Return the patterns as a tuple.

    Raises:
        ConfigError: One of them is no pattern.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, Iterable):
        raise ConfigError(f"{name}={value!r}: write a pattern such as '*.csv', or a list of them")
    found = tuple(value)
    for pattern in cast("tuple[object, ...]", found):
        if not isinstance(pattern, str) or not pattern.strip("/"):
            raise ConfigError(f"{name} holds {pattern!r}: write a pattern such as '*.csv'")
        try:
            _regex(pattern, directory=False)
        except ValueError as error:
            raise ConfigError(f"{name} holds {pattern!r}: {error}") from None
    return found


class Globs:
    """Some patterns, compiled into one; false if there are none."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._any = _compiled(patterns, directory=False)
        self._directories = _compiled(patterns, directory=True)

    def __bool__(self) -> bool:
        return self._any is not None

    def match(self, path: str) -> bool:
        """True if the path of a file matches, or that of a directory above it."""
        return self._any is not None and self._any.fullmatch(path) is not None

    def match_directory(self, path: str) -> bool:
        """True if the path of a directory matches, or that of one above it."""
        return self._directories is not None and self._directories.fullmatch(path) is not None


def _compiled(patterns: tuple[str, ...], *, directory: bool) -> re.Pattern[str] | None:
    if not patterns:
        return None
    alternatives = "|".join(_regex(pattern, directory=directory) for pattern in patterns)
    return re.compile(alternatives, re.DOTALL)


def _regex(pattern: str, *, directory: bool) -> str:
    below = "/.+" if pattern.endswith("/") and not directory else "(?:/.*)?"
    parts = [part for part in pattern.split("/") if part]
    anchored = "/" in pattern.rstrip("/")
    if parts[-1] == "**" and len(parts) > 1:
        parts[-1] = "*"  # "a/**" is all that is in a, at any depth, and not a itself
    body = "" if anchored else "(?:.*/)?"
    for part in parts[:-1]:
        body += "(?:.*/)?" if part == "**" else _part(part) + "/"
    return f"{body}{_part(parts[-1])}{below}"


def _part(part: str) -> str:
    """Translate a pattern for one name."""
    out, at = "", 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[" and (end := part.find("]", at + 1 + (part[at : at + 1] == "!"))) != -1:
            negated = part[at] == "!"
            out += f"(?!/)[{'^' * negated}{_set(part[at + negated : end])}]"
            at = end + 1
        else:
            out += re.escape(char)
    return out


def _set(inside: str) -> str:
    """Translate what is between brackets: characters, and ranges of them."""

    def translate(found: re.Match[str]) -> str:
        first, last = found["first"], found["last"] or found["first"]
        if first > last:
            raise ValueError(f"no character is in the range {first}-{last}; write {last}-{first}")
        return re.escape(first) if first == last else f"{re.escape(first)}-{re.escape(last)}"

    return re.sub("(?P<first>.)(?:-(?P<last>.))?", translate, inside, flags=re.DOTALL)
