"""Words of others, made fit for a terminal and a log."""

from __future__ import annotations

import errno
from collections.abc import Collection

__all__ = ["encodable", "escaped", "in_words", "legible", "nearest", "printable"]

PAGE = 2000
"""Characters of a server's words that an error shows."""


# What other tools, and people, call our settings; no spelling leads from the one to the other.
_MEANT = {
    "connections": "max_per_ip",
    "max_connections": "max_per_ip",
    "max_sessions": "max_per_ip",
    "maxsize": "max_per_ip",
    "parallel": "max_per_ip",
    "pool_size": "max_per_ip",
    "jobs": "workers",
    "threads": "workers",
    "timeout": "io_timeout",
    "retries": "attempts",
    "bwlimit": "rate_limit",
    "login": "user",
    "username": "user",
    "host": "url",
    "hostname": "url",
    "server": "url",
    "key": "identity",
    "key_file": "identity",
    "private_key": "identity",
    "ca": "ca_file",
    "cacert": "ca_file",
}


def in_words(error: BaseException) -> str:
    """Say what an exception is that nobody expected."""
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        # What was to be opened just then, perhaps a module of Python, has nothing to do with it.
        return "this process can open no more files and connections; raise its limit (ulimit -n)"
    return f"{type(error).__name__}: {error}"


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return what somebody may have meant by a name that is not known; for those who err."""
    meant = _MEANT.get(name)
    if meant in known:
        return meant
    import difflib  # costs 5 ms

    found = difflib.get_close_matches(name, known, n=1)
    return found[0] if found else None


def legible(words: str) -> str:
    """Return a server's words :func:`escaped`, and no longer than a page."""
    if len(words) > PAGE:
        words = f"{words[: PAGE // 2]} … {words[-PAGE // 2 :]}"  # the verdict may be the last line
    return escaped(words)


def escaped(words: str) -> str:
    """Return words as they may go to a terminal or a log.

    Line ends stay; other control characters, and bytes that are no text, become escapes.
    """
    if words.isascii() and words.isprintable():
        return words
    return "".join(
        char if char.isprintable() or char in "\n\u00a0\u202f" else _escape(ord(char))
        for char in words
    )


def encodable(words: str) -> str:
    """Return words as every reader of JSON takes them: bytes that are no text become escapes."""
    return words.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(words: str) -> str:
    """Return words in one line that every terminal shows."""
    shown = "".join(char if char.isprintable() else " " for char in encodable(words))
    return " ".join(shown.split())


def _escape(number: int) -> str:
    if 0xDC80 <= number <= 0xDCFF:  # a byte that the encoding does not have
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
