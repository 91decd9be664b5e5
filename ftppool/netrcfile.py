"""Reads netrc files: every entry, in the order of the file.

The standard module keeps one login for each machine, the last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Entry", "NetrcError", "entries"]

_WORD = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"?|((?:[^\s\\]|\\.)+))', re.DOTALL)
_QUOTED = re.compile(r"\\(.)", re.DOTALL)


class NetrcError(Exception):
    """It is no netrc file.

    Attributes:
        line: Where that was noticed; the words there may be secret.
    """

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}")
        self.line: int = line


@dataclass(slots=True)
class Entry:
    """What is known of one login.

    Attributes:
        machine: The host, or None for every host.
        login: The user, "" for any.
        password: The password, "" for none.
    """

    machine: str | None
    login: str = ""
    password: str = field(default="", repr=False)


def entries(text: str) -> Iterator[Entry]:
    """Read the entries.

    Raises:
        NetrcError: It is none.
    """
    words, entry = _Words(text), None
    for word in words:
        match word:
            case "machine" | "default":
                if entry is not None:
                    yield entry
                entry = Entry(words.value() if word == "machine" else None)
            case "macdef":
                words.value()
                words.skip_macro()
            case "login" | "user" if entry is not None:
                entry.login = words.value()
            case "password" if entry is not None:
                entry.password = words.value()
            case "account" if entry is not None:
                words.value()
            case _:
                raise words.wrong()
    if entry is not None:
        yield entry


class _Words:
    """The words of a file; a comment may stand where a value does not."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._begun = 0

    def __iter__(self) -> Iterator[str]:
        while (word := self._next()) is not None:
            if word.startswith("#"):
                self._skip(r"[^\n]*", self._begun)
            else:
                yield word

    def value(self) -> str:
        """Take the word that belongs to the one before; it may begin with a ``#``."""
        word = self._next()
        if word is None:
            raise self.wrong()
        return word

    def skip_macro(self) -> None:
        """Go on behind the empty line that ends a macro."""
        self._skip(r".*?\n(?=\r?\n)|.*", self._at)

    def wrong(self) -> NetrcError:
        """What to raise: the last word should not be there."""
        return NetrcError(self._text.count("\n", 0, self._begun) + 1)

    def _next(self) -> str | None:
        found = _WORD.match(self._text, self._at)
        if found is None:
            self._begun = len(self._text.rstrip())
            return None
        self._at = found.end()
        group = 1 if found[1] is not None else 2
        self._begun = found.start(group)
        return _QUOTED.sub(r"\1", found[group])

    def _skip(self, pattern: str, start: int) -> None:
        found = re.compile(pattern, re.DOTALL).match(self._text, start)
        assert found is not None, "bug: it may match nothing"
        self._at = found.end()
