"""A limit of bytes per second, shared by all who take from it."""

from __future__ import annotations

import threading
import time

__all__ = ["Bucket"]

BURST = 0.1
"""Seconds of full rate that may go out at once."""


class Bucket:
    """Hands out the right to send bytes, never more than `rate` per second over all threads.

    Whoever takes bytes that are not there yet sleeps until they are: the debt is booked first, so
    that threads which come together wait one after the other. ``_lock`` guards the two numbers;
    nobody sleeps while holding it.

    Args:
        rate: Bytes per second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._paid_until = time.monotonic()

    def take(self, wanted: int) -> int:
        """Wait for some of the wanted bytes, at most a tenth of a second's worth; their number."""
        count = max(1, min(wanted, int(self._rate * BURST)))
        with self._lock:
            now = time.monotonic()
            self._paid_until = max(self._paid_until, now - BURST) + count / self._rate
            wait = self._paid_until - now
        if wait > 0:
            time.sleep(wait)
        return count
