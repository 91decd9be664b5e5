"""SIGTERM as an orderly end: ``with`` blocks are left, pools say QUIT, the exit code tells."""

from __future__ import annotations

import atexit
import signal
import threading
from collections.abc import Mapping
from types import FrameType

from ftppool.errors import ConfigError

__all__ = ["Terminated", "exit_on", "exit_on_sigterm"]


class Terminated(SystemExit):
    """A signal ends the program: ``SystemExit`` with the code that shells expect (128 + number)."""

    code: int


def exit_on_sigterm() -> None:
    """Let SIGTERM end the program like ``sys.exit(143)``, so that its sessions say QUIT.

    Without it Python dies of the signal at once, and the server counts the sessions for minutes.
    Call it once, in the main thread, as soon as the program starts. ``SystemExit(143)`` is raised
    there: ``with`` blocks and ``finally`` clauses run, a running ``upload_batch()`` ends politely,
    pools that are still open are closed at the interpreter's exit. A handler that was installed
    before is called first. More signals while the program ends change nothing (``timeout`` sends
    two); SIGKILL still ends it at once. Where the signal is ignored already, this replaces it.

    Raises:
        ConfigError: Called from another thread, where Python allows no signal handler.
    """
    exit_on(signal.SIGTERM)


def exit_on(*numbers: int) -> None:
    """Install one handler for some signals; for one that has it already this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(
            "exit_on_sigterm() was called in a thread, where Python allows no signal handlers; "
            "call it in the main thread when the program starts"
        )
    before = {number: signal.getsignal(number) for number in numbers}
    handler = _Handler(before)
    for number in numbers:
        if not isinstance(before[number], _Handler):
            signal.signal(number, handler)


class _Handler:
    """Raises once; after that the end is under way."""

    def __init__(self, before: Mapping[int, object]) -> None:
        self._before = before
        self._came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            return
        self._came = True
        atexit.register(self._ignore)
        before = self._before[number]
        if callable(before):
            before(number, frame)
        raise Terminated(128 + number)

    def _ignore(self) -> None:
        """From now on: the end of the interpreter brings back what kills it, but not over this."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
