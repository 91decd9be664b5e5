"""Lets what others write on a terminal appear above a live block."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any, TextIO, cast

from ftppool.screen import Screen, is_terminal

__all__ = ["Detour"]


class Detour:
    """Leads ``sys.stdout``, ``sys.stderr`` and the log handlers on them past a screen's block.

    Only those that are terminals: what goes into a file has no block to disturb.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._ways: dict[str, _Above] = {}
        self._handlers: list[tuple[logging.StreamHandler[Any], _Above]] = []

    def begin(self) -> None:
        """Lead what is written from now on."""
        for name in ("stdout", "stderr"):
            stream: TextIO | None = getattr(sys, name)
            if stream is not None and is_terminal(stream) and not isinstance(stream, _Above):
                way = self._ways[name] = _Above(self._screen, stream)
                setattr(sys, name, way)
                for handler in _handlers_on(stream):
                    self._handlers.append((handler, way))
                    handler.setStream(cast("TextIO", way))

    def end(self) -> None:
        """Put everything back as it was, but for what others have changed meanwhile."""
        while self._handlers:
            handler, way = self._handlers[-1]
            if handler.stream is way:
                handler.setStream(way.stream)
            self._handlers.pop()
        for name, way in self._ways.items():
            if getattr(sys, name) is way:
                setattr(sys, name, way.stream)
            way.end()


def _handlers_on(stream: TextIO) -> list[logging.StreamHandler[Any]]:
    known = logging.root.manager.loggerDict.values()
    loggers = [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]
    return [
        handler
        for logger in loggers
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is stream
    ]


class _Above:
    """Stands for a stream: whole lines go above the block, the rest waits for its end.

    It goes on as the plain stream after its end, since somebody may have kept it.
    """

    def __init__(self, screen: Screen, stream: TextIO) -> None:
        self.stream = stream
        self._screen = screen
        self._rest = ""
        self._ended = False
        self._lock = threading.RLock()  # reentrant for the reason of the screen's

    def write(self, text: str) -> int:
        """Write what is whole."""
        if self._ended:
            return self.stream.write(text)
        with self._lock:
            whole, newline, rest = (self._rest + text).rpartition("\n")
            self._rest = rest
        if newline:
            self._screen.above(whole + newline, self.stream)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several."""
        self.write("".join(lines))

    def end(self) -> None:
        """Write the rest, and stand aside."""
        self._ended = True
        with self._lock:
            rest, self._rest = self._rest, ""
        if rest:
            self.stream.write(rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
