"""Names of the part files under which uploads arrive."""

from __future__ import annotations

import posixpath
import secrets

from ftppool.errors import ConfigError

__all__ = ["PART_NAME", "check_part_name", "new_token", "part_path"]

PART_NAME = ".{name}.{token}.part"
LONGEST_NAME = 255
"""Bytes of a file name on every common file system."""


TOKEN_BYTES = 4


def new_token() -> str:
    """Make a token that no other run has."""
    return secrets.token_hex(TOKEN_BYTES)


def check_part_name(pattern: str) -> str:
    """Return the pattern if it can serve.

    Raises:
        ConfigError: It lacks ``{name}`` or ``{token}``, or names another directory.
    """
    if "{name}" not in pattern or "{token}" not in pattern or "/" in pattern:
        raise ConfigError(
            f"part_name={pattern!r}: write a name without '/' that holds {{name}} and {{token}}, "
            f"such as {PART_NAME!r}"
        )
    return pattern


def part_path(
    remote: str, pattern: str = PART_NAME, *, dotless: bool = False, token: str | None = None
) -> str:
    """Return a new part path in the same directory as `remote`.

    Args:
        remote: The path that the file will have in the end.
        pattern: How the name is made; ``{name}`` is shortened to fit 255 bytes.
        dotless: Leave out leading dots, for servers that refuse hidden files.
        token: What tells the parts of one run from all others (default: a new one).
    """
    directory, name = posixpath.split(remote)
    pattern = pattern.lstrip(".") if dotless else pattern
    frame = len(pattern.format(name="", token="").encode()) + 2 * TOKEN_BYTES
    short = _shorten(name, LONGEST_NAME - frame)
    if token is None or short != name:  # names that begin alike must not share a part
        token = new_token()
    part = pattern.format(name=short, token=token)
    return posixpath.join(directory, part)


def _shorten(name: str, room: int) -> str:
    """Cut at a character, never inside its bytes."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= room:
        return name
    while name and len(name.encode("utf-8", "surrogateescape")) > room:
        name = name[:-1]
    return name
