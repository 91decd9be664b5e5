"""Exit codes, and the signals that end a command politely."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from enum import IntEnum
from types import FrameType

__all__ = ["Exit", "Terminated", "code_of", "one_line", "polite_sigterm"]


class Exit(IntEnum):
    """What the exit code says; the numbers from 64 on are those of ``sysexits.h``."""

    OK = 0
    """Every file was uploaded or rightly skipped."""

    FAILED = 1
    """At least one file failed for good."""

    USAGE = 2
    """The command line is wrong (argparse)."""

    BUG = 70
    """A bug in ftppool."""

    AGAIN = 75
    """Only passing failures: run the same command again."""

    LOGIN = 77
    """The login was refused, or the server's certificate or host key is not trusted."""

    CONFIG = 78
    """A setting is wrong or something is not installed."""

    INTERRUPTED = 130
    """Ctrl-C; the sessions were ended first."""

    TERMINATED = 143
    """SIGTERM; the sessions were ended first."""


# Of several failures the one that a human must act on decides.
_WORST_FIRST = (Exit.LOGIN, Exit.CONFIG, Exit.FAILED, Exit.AGAIN)


class Terminated(BaseException):
    """SIGTERM arrived. No Exception, so that only what also lets Ctrl-C pass can meet it."""


def code_of(errors: Iterable[Exception]) -> Exit:
    """Give the exit code for failures; 75 for none, as then something was merely left undone."""
    codes = {_code(error) for error in errors}
    return next((code for code in _WORST_FIRST if code in codes), Exit.AGAIN)


def _code(error: Exception) -> Exit:
    from ftppool.errors import (
        AuthError,
        BatchError,
        ConfigError,
        FTPPoolError,
        HostKeyError,
        TLSError,
    )

    if isinstance(error, BatchError):
        return code_of(error.exceptions)
    if isinstance(error, AuthError | HostKeyError | TLSError):
        return Exit.LOGIN
    if isinstance(error, ConfigError):
        return Exit.CONFIG
    passing = isinstance(error, FTPPoolError) and error.retryable
    return Exit.AGAIN if passing else Exit.FAILED


def one_line(error: object) -> str:
    """Give the words of an error in one line that every terminal and log can show.

    What a server says may hold line breaks and escape codes; file names may be no Unicode.
    """
    text = str(error).strip() or type(error).__name__
    shown = "".join(char if char.isprintable() else " " for char in _escaped(text))
    return " ".join(shown.split())


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextlib.contextmanager
def polite_sigterm() -> Iterator[None]:
    """Raise :class:`Terminated` in the main thread when SIGTERM comes, so that ``with`` works."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield  # somebody else has a plan for it
        return
    came = False

    def terminate(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        # timeout(1) sends it twice; the second must not break off the polite end.
        if not came:
            came = True
            raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
