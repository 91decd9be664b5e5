"""What was lost and who had it: told in one log line and one warning, never raised."""

from __future__ import annotations

import contextlib
import functools
import os.path
import sys
import threading
import traceback
import warnings
from types import CodeType, FrameType
from typing import Any, TypeAlias

from ftppool.errors import LeakWarning
from ftppool.logs import log

__all__ = ["Stack", "position", "stack_here", "tell_leak", "tell_suspicion"]

Stack: TypeAlias = tuple[tuple[CodeType, int], ...]
"""Frames, the innermost first: code objects and instruction offsets. They cost little to note and
keep no local variable alive; names and line numbers are worked out when they are needed."""

DEPTH = 4
"""Frames of the user that are noted: each costs every borrower some 80 ns."""
NOT_THE_USER = (os.path.dirname(os.path.abspath(__file__)) + os.sep, contextlib.__file__)
"""Where the code of a borrower is not: this package, and what runs its ``with`` blocks."""


@functools.cache
def _is_ours(file: str) -> bool:
    return file.startswith(NOT_THE_USER)


def stack_here(skip: int = 1) -> Stack:
    """Note the user's innermost frames, beyond the innermost `skip` ones."""
    frame: FrameType | None = sys._getframe(skip)
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    stack: list[tuple[CodeType, int]] = []
    while frame is not None and len(stack) < DEPTH:
        stack.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(stack)


def position(stack: Stack) -> tuple[str, int, str]:
    """Return file, line and function of the innermost frame of the user's code."""
    for code, offset in stack:
        return code.co_filename, _line(code, offset), code.co_name
    return "<unknown>", 0, "<unknown>"  # a thread whose function is written in C, say


def tell_leak(message: str, stack: Stack, **fields: Any) -> None:
    """Log and warn. Where warnings are errors this one is shown as a thread's unheard exception.

    Args:
        **fields: Of the log record, see :mod:`ftppool.logs`.
    """
    log.warning("ftppool: %s%s", message, _lines(stack), **fields)
    file, line, _ = position(stack)
    try:
        warnings.warn_explicit(message, LeakWarning, file, line)
    except LeakWarning as warning:
        _show(warning)


def tell_suspicion(message: str, stack: Stack, **fields: Any) -> None:
    """Log what may be a leak."""
    log.warning("ftppool: %s%s", message, _lines(stack), **fields)


def _show(warning: LeakWarning) -> None:
    thread = threading.current_thread()
    threading.excepthook(
        threading.ExceptHookArgs((type(warning), warning, warning.__traceback__, thread))
    )


def _lines(stack: Stack) -> str:
    frames = [
        traceback.FrameSummary(code.co_filename, _line(code, offset), code.co_name)
        for code, offset in reversed(stack)
    ]
    return "".join("\n" + line.rstrip("\n") for line in traceback.format_list(frames))


def _line(code: CodeType, offset: int) -> int:
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return line
    return code.co_firstlineno
