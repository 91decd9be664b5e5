"""What a pool's events add up to."""

from __future__ import annotations

import time
from collections import deque

from ftppool.events import (
    ConnectFailed,
    Event,
    FileDone,
    FileProgress,
    FileQueued,
    FileStarted,
    SessionClosed,
    SessionOpened,
    SessionRefused,
)
from ftppool.report import Status

__all__ = ["Tally"]

_RATE_SPAN = 3.0
"""Seconds over which rates are taken."""


class Tally:
    """What the events so far add up to.

    Attributes:
        queued: Files taken from the input.
        done: Files with an outcome, good or bad.
        failed: Files given up.
        started: Transfers begun, all attempts together.
        opened: Sessions logged in.
        quits: Sessions ended politely.
        cut: Sessions ended without that.
        refused: Connections that the server refused.
        trouble: The server's last words when it let nobody in, "" since it did.
    """

    queued: int
    done: int
    failed: int
    started: int
    opened: int
    quits: int
    cut: int
    refused: int
    trouble: str

    def __init__(self) -> None:
        self.queued = self.done = self.failed = self.started = 0
        self.opened = self.quits = self.cut = self.refused = 0
        self.trouble = ""
        self._finished_bytes = 0
        self._under_way: dict[str, int] = {}
        self._began = time.monotonic()
        self._samples = deque([(self._began, 0, 0)])

    @property
    def sessions(self) -> int:
        """Sessions open now."""
        return self.opened - self.quits - self.cut

    @property
    def bytes(self) -> int:
        """Bytes sent so far."""
        return self._finished_bytes + sum(self._under_way.values())

    @property
    def elapsed(self) -> float:
        """Seconds since the first look."""
        return time.monotonic() - self._began

    def rates(self) -> tuple[float, float]:
        """Files and bytes a second over the last seconds; it remembers when it was asked."""
        now = (time.monotonic(), self.done, self.bytes)
        self._samples.append(now)
        while len(self._samples) > 2 and now[0] - self._samples[1][0] > _RATE_SPAN:
            self._samples.popleft()
        then = self._samples[0]
        span = max(0.001, now[0] - then[0])
        return max(0, now[1] - then[1]) / span, max(0, now[2] - then[2]) / span

    def take(self, event: Event) -> None:
        """Count one event."""
        match event:
            case FileProgress():
                self._under_way[event.remote] = event.sent
            case FileQueued():
                self.queued += 1
            case FileStarted():
                self.started += 1
            case FileDone():
                self.done += 1
                self.failed += event.outcome.status is Status.FAILED
                self._under_way.pop(event.outcome.remote, None)
                self._finished_bytes += event.outcome.sent
            case _:
                self._take_session(event)

    def _take_session(self, event: Event) -> None:
        match event:
            case SessionOpened():
                self.opened += 1
                self.trouble = ""
            case SessionClosed():
                self.quits += event.politely
                self.cut += not event.politely
            case SessionRefused():
                self.refused += 1
                self.trouble = event.reply
            case ConnectFailed():
                self.trouble = event.error
            case _:
                pass
