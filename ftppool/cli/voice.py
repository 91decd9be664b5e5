"""What a command says on stderr: sentences for people, or lines of JSON for log collectors."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from ftppool.cli.args import Options
from ftppool.cli.exits import one_line
from ftppool.screen import Screen

__all__ = ["Voice", "line_of", "logged"]


def line_of(level: str, words: str, when: float | None = None, *, json: bool) -> str:
    """Write a line for stderr, as text or as JSON."""
    if not json:
        return f"ftppool: {words}"
    from json import dumps

    time = datetime.now(UTC) if when is None else datetime.fromtimestamp(when, UTC)
    stamp = time.isoformat(timespec="milliseconds")
    return dumps({"time": stamp, "level": level, "message": words})


class Voice:
    """Says things above the live line of a screen.

    Args:
        screen: Where.
        options: How: ``log_format``.
    """

    def __init__(self, screen: Screen, options: Options) -> None:
        self.screen: Screen = screen
        self._json = options.log_format == "json"

    def error(self, words: str) -> None:
        """Say what went wrong."""
        self.say("error", words)

    def info(self, words: str) -> None:
        """Say what somebody asked to be told."""
        if self._json:
            self.say("info", words)
        else:
            self.screen.line(self.screen.style("dim", words))

    def say(self, level: str, words: str, when: float | None = None) -> None:
        """Say something, of a level and a time (seconds since the epoch)."""
        self.screen.line(line_of(level, words, when, json=self._json))


class _Lines(logging.Handler):
    """Writes the library's log."""

    def __init__(self, voice: Voice, level: str) -> None:
        super().__init__(level)
        self._voice = voice
        self._brief = level in {"WARNING", "ERROR"}

    def emit(self, record: logging.LogRecord) -> None:
        event: str | None = getattr(record, "ftppool_event", None)
        if self._brief and event is not None and not event.startswith("Lea"):
            return  # of a file or session: said at the end, or with --verbose
        words = one_line(record.getMessage().removeprefix("ftppool: "))
        self._voice.say(record.levelname.lower(), words, record.created)


@contextlib.contextmanager
def logged(voice: Voice, options: Options) -> Iterator[None]:
    """Write the library's log while the block runs: from ``--log-level`` on, nothing if quiet."""
    log = logging.getLogger("ftppool")
    level = options.log_level.upper()
    handler: logging.Handler = logging.NullHandler() if options.quiet else _Lines(voice, level)
    propagated, before = log.propagate, log.level
    if getattr(options, "error_on_empty", False):
        # Said as the error that it is, at the end.
        handler.addFilter(lambda record: not record.getMessage().startswith("ftppool: no files"))
    log.propagate = False
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        log.propagate = propagated
