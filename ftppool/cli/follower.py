"""The thread that follows a pool's events."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from ftppool.bell import Bell
from ftppool.cli.exits import Terminated
from ftppool.events import Event

__all__ = ["Follower"]

PATIENCE = 2.0
"""Seconds that a run which ends early waits for somebody to read what it has written."""


class Follower:
    """Takes events from all threads and looks at them in one thread of its own.

    The threads that do the work only append to a deque, so that nothing here can slow them down,
    and no lock can be left locked by a Ctrl-C in one of them.

    Args:
        take: Called with each event, always in one thread.
        tick: Called after that, about every so often, and once at the end.
        every: Seconds between two ticks.
        give_up: Called when the run ends early and what is written does not go out: lets it go
            nowhere.
    """

    def __init__(
        self,
        take: Callable[[Event], object],
        tick: Callable[[], object],
        every: float,
        give_up: Callable[[], object] = lambda: None,
    ) -> None:
        self._take = take
        self._tick = tick
        self._every = every
        self._give_up = give_up
        self._events: deque[Event] = deque()
        self._bell = Bell()
        self._ended = False
        self._over = Bell()  # a join() that was interrupted believes that the thread has ended
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
        if error is not None:
            self._part()
            return
        try:
            self._over.wait(None)  # a slow reader gets all
        except BaseException:
            self._part()
            raise
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _part(self) -> None:
        """Wait a moment for the end; then give up.

        A write to a full pipe lasts for ever, and keeps the lock of its stream: nothing could be
        flushed any more, not even at the interpreter's exit.
        """
        # The error that ends the run already is the one to raise, not an impatient Ctrl-C.
        with contextlib.suppress(KeyboardInterrupt, Terminated):
            if self._over.wait(PATIENCE):
                return
        self._give_up()
        with contextlib.suppress(KeyboardInterrupt, Terminated), _disturbed(self._thread):
            self._over.wait(PATIENCE)

    def _follow(self) -> None:
        try:
            while not self._ended:
                self._bell.wait(self._every)
                self._look()
            self._look()  # for what came between the last look and the end
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is done
            self._error = error
        finally:
            self._over.ring()

    def _look(self) -> None:
        while self._events:
            self._take(self._events.popleft())
        self._tick()


@contextlib.contextmanager
def _disturbed(thread: threading.Thread) -> Iterator[None]:
    """Break off the system call that a thread is in.

    Python makes the call anew: what is to be written then goes where its stream leads now.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGURG, lambda *_: None)  # what is ignored breaks off nothing
    try:
        with contextlib.suppress(ProcessLookupError):  # it has come to its end this moment
            signal.pthread_kill(thread.ident or 0, signal.SIGURG)
        yield
    finally:
        signal.signal(signal.SIGURG, before)
