"""The limiter of one process: the gate of an address, shared by all pools, holds the cap.

So here only the lessons are kept, and the probes counted that put them to the test.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from ftppool.hooks import in_child
from ftppool.lessons import Lessons
from ftppool.limits.base import Denied, Permit
from ftppool.limits.fairness import Claim, Grant, Seen, may_take, shown_too_low

__all__ = ["ProcessLimiter"]


class _Permit:
    def __init__(self, held: set[_Permit], claim: Claim, trying: Grant) -> None:
        self._held = held
        self.claim: Claim = claim
        self.trying: Grant = trying
        self._settled_at = math.inf

    def release(self, settled_at: float = 0.0) -> None:
        """Give it back; it counts until `settled_at`. A second call does nothing."""
        if self._settled_at == math.inf:
            self._settled_at = settled_at
        self.forget_settled(time.monotonic())

    def forget_settled(self, now: float) -> None:
        """Count no longer once the server had time to notice the end."""
        if self._settled_at <= now:
            self._held.discard(self)


class ProcessLimiter:
    """Knows of no other process. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._forget()
        in_child(self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()  # guards the others; who holds it does nothing else
        self._held: dict[str, set[_Permit]] = {}
        self._lessons: dict[str, Lessons] = {}

    def take(self, address: str, cap: int, user: str) -> _Permit | Denied:
        """Grant, unless it is one more than the lessons allow."""
        now = time.time()
        with self._lock:
            held = self._held.setdefault(address, set())
            lessons = self.lessons(address)
            trying = may_take(self._seen(address), "", cap, user, now)
            if isinstance(trying, Denied):
                return trying
            if trying:
                self._lessons[address] = lessons.tried(trying, now)
            permit = _Permit(held, Claim("", cap, now, user), trying)
            held.add(permit)
            return permit

    def _seen(self, address: str) -> Seen:
        held, now = self._held.get(address, set()), time.monotonic()
        for permit in list(held):
            permit.forget_settled(now)
        claims = tuple(permit.claim for permit in list(held))
        return Seen(claims, (), lessons=self.lessons(address))

    def pause(self, address: str, cap: int, until: float) -> None:
        """Nobody looks."""

    def forgo(self, address: str) -> None:
        """There is no line."""

    def pressure(self, address: str, cap: int) -> None:
        """No other process is known."""

    def others(self, address: str, user: str | None = None) -> int:
        """No other process is known."""
        return 0

    def elsewhere(self, address: str) -> str:
        """No other process is known."""
        return ""

    def lessons(self, address: str) -> Lessons:
        """Look up what this process was taught."""
        return self._lessons.get(address, Lessons())

    def teach(self, address: str, change: Callable[[Lessons], Lessons]) -> Lessons:
        """Change what this process knows."""
        with self._lock:
            lessons = self._lessons[address] = change(self.lessons(address))
        return lessons

    def proved(self, address: str, permit: Permit) -> Lessons:
        """Raise the lessons that a probe showed to be too low."""
        with self._lock:
            seen = self._seen(address)
            users = shown_too_low(seen, permit.trying)
            lessons = self._lessons[address] = seen.lessons.raised(users, time.time())
        return lessons


SHARED = ProcessLimiter()
"""The one of this process."""
