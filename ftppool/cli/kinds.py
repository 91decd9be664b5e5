"""How the text of a flag, a variable or a profile's key becomes a value."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["COMMAND", "COUNT", "PATIENCE", "RATE", "SECONDS", "Kind", "as_words"]


class Kind:
    """A ``type=`` for argparse that also knows what a profile may hold.

    Args:
        what: What to write, as in "a whole number, 1 or more".
        toml: The types that a profile's value may have.
        read: Reads a text; raises ValueError.
        secret: True if no error may repeat the text.
    """

    def __init__(
        self,
        what: str,
        toml: tuple[type, ...],
        read: Callable[[str], Any],
        *,
        secret: bool = False,
    ) -> None:
        self.what: str = what
        self.secret: bool = secret
        self.toml: tuple[type, ...] = toml
        self._read = read

    def __call__(self, text: str) -> Any:
        """Read a text."""
        try:
            return self._read(text)
        except ValueError:
            shown = "(not shown)" if self.secret else repr(text)
            raise argparse.ArgumentTypeError(f"{shown}: write {self.what}") from None


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError
    return int(text)


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def _patience(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,7}(?:\.[0-9]{1,6})?)([smh]?)", text)
    if found is None:
        raise ValueError
    return float(found[1]) * _UNITS[found[2]]


def _seconds(text: str) -> float:
    seconds = _patience(text)
    if not seconds:
        raise ValueError
    return seconds


_SIZES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def _rate(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([kmg]?)", text, re.IGNORECASE)
    rate = float(found[1]) * _SIZES[found[2].lower()] if found else 0.0
    if rate < 1:
        raise ValueError
    return rate


def as_words(text: str) -> list[str]:
    """Split a text as a shell does; on Windows, a backslash belongs to a path.

    Raises:
        ValueError: A quote is not closed.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if sys.platform == "win32":
        lexer.escape = ""
    return list(lexer)


def _command(text: str) -> tuple[str, ...]:
    words = tuple(as_words(text))
    if not words:
        raise ValueError
    return words


COUNT = Kind("a whole number, 1 or more", (int,), _count)
SECONDS = Kind("seconds, more than 0 (or 5m, 2h)", (int, float, str), _seconds)
PATIENCE = Kind("seconds, 0 or more (or 5m, 2h)", (int, float, str), _patience)
RATE = Kind("bytes a second, as in 500k or 2M", (int, float, str), _rate)
COMMAND = Kind("a command and its arguments, as in a shell", (list, str), _command, secret=True)
