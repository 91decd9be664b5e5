"""Words of others, made fit for a terminal and a log."""

from __future__ import annotations

__all__ = ["encodable", "escaped", "legible", "printable"]

PAGE = 2000
"""Characters of a server's words that an error shows."""


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
