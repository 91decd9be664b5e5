"""The thread that follows a pool's events."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ftppool.bell import Bell
from ftppool.events import Event

__all__ = ["Follower"]


class Follower:
    """Takes events from all threads and looks at them in one thread of its own.

    The threads that do the work only append to a deque, so that nothing here can slow them down,
    and no lock can be left locked by a Ctrl-C in one of them.

    Args:
        take: Called with each event, always in one thread.
        tick: Called after that, about every so often, and once at the end.
        every: Seconds between two ticks.
    """

    def __init__(
        self, take: Callable[[Event], object], tick: Callable[[], object], every: float
    ) -> None:
        self._take = take
        self._tick = tick
        self._every = every
        self._events: deque[Event] = deque()
        self._bell = Bell()
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, name="ftppool-progress", daemon=True)

    def __call__(self, event: Event) -> None:
        """Take note of an event: this is the ``on_event`` to give to a pool."""
        self._events.append(event)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended = True
        self._bell.ring()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _follow(self) -> None:
        try:
            while not self._ended:
                self._bell.wait(self._every)
                self._look()
            self._look()  # for what came between the last look and the end
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is done
            self._error = error

    def _look(self) -> None:
        while self._events:
            self._take(self._events.popleft())
        self._tick()
