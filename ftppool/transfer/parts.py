"""Names of the part files under which uploads arrive."""

from __future__ import annotations

import os
import posixpath

from ftppool.errors import ConfigError
from ftppool.target import check_remote_name

__all__ = ["PART_NAME", "check_part_name", "new_token", "part_path"]

PART_NAME = ".{name}.{token}.part"
LONGEST_NAME = 255
"""Bytes of a file name on every common file system."""


def check_part_name(pattern: object) -> str:
    """Return the pattern if it can serve.

    Raises:
        ConfigError: It lacks ``{name}`` or ``{token}``, or is no name.
    """
    if not isinstance(pattern, str) or not _fits(pattern):
        raise ConfigError(
            f"part_name={pattern!r}: write a name without '/' that holds {{name}} and {{token}}, "
            f"such as {PART_NAME!r}"
        )
    try:
        check_remote_name(pattern)
    except ConfigError as error:
        raise ConfigError(f"part_name={pattern!r}: {error}") from None
    return pattern


def _fits(pattern: str) -> bool:
    try:
        filled = pattern.format_map({"name": "n", "token": "t"})
    except (LookupError, ValueError, AttributeError):
        return False  # other or broken braces
    return "{name}" in pattern and "{token}" in pattern and "/" not in filled


def new_token() -> str:
    """Return what tells the parts of one upload from all others."""
    return os.urandom(4).hex()


def part_path(
    remote: str, pattern: str = PART_NAME, *, dotless: bool = False, token: str | None = None
) -> str:
    """Return a part path in the same directory as `remote`.

    Args:
        remote: The path that the file will have in the end.
        pattern: How the name is made; ``{name}`` is shortened to fit 255 bytes.
        dotless: Leave out leading dots, for servers that refuse hidden files.
        token: Tells it from other parts; None for a new one.
    """
    directory, name = posixpath.split(remote)
    token = token or new_token()
    pattern = pattern.lstrip(".") if dotless else pattern
    part = pattern.format(name=name, token=token)
    if (over := len(_raw(part)) - LONGEST_NAME) > 0:
        part = pattern.format(name=_shorten(name, over), token=token)
    return posixpath.join(directory, part)


def _shorten(name: str, over: int) -> str:
    """Cut off so many bytes or a few more: at a character, never inside its bytes."""
    room = len(_raw(name)) - over
    while name and len(_raw(name)) > room:
        name = name[:-1]
    return name


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
