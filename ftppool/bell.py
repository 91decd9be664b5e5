"""A wake-up call for one sleeper that a Ctrl-C cannot break."""

from __future__ import annotations

import threading

__all__ = ["Bell"]


class Bell:
    """One raw lock used as a binary semaphore: rung, or not.

    ``threading.Event`` and ``Condition`` take their inner lock in Python code; a KeyboardInterrupt
    between that line and the next leaves it locked for ever (cpython#74174). Each method here is
    one C call on the lock.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the sleeper, or the next one to come; rung twice is rung once."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is rung already

    def wait(self, timeout: float | None) -> bool:
        """Sleep until it rings, at most `timeout` seconds (None: without limit)."""
        return self._lock.acquire(timeout=-1 if timeout is None else timeout)
