"""The gate's helpers: one daemon thread for each open or close."""

from __future__ import annotations

import _thread
import threading
import time
from collections import deque
from collections.abc import Callable

from ftppool.bell import Bell

__all__ = ["Workers", "launch", "this_thread"]


def launch(thread: threading.Thread) -> None:
    """Start a thread as ``thread.start()`` does, but so that a Ctrl-C cannot break it.

    That method waits on a condition: an interrupt there raises RuntimeError("release unlocked
    lock") or leaves a thread behind that never ran. Here another thread calls it, which no signal
    reaches, and this one waits on a raw lock.

    Raises:
        RuntimeError: There can be no more threads.
    """
    if threading.current_thread() is not threading.main_thread():
        thread.start()
        return
    bell, errors = Bell(), deque[BaseException]()

    def start() -> None:
        try:
            thread.start()
        except BaseException as error:  # noqa: BLE001 - to the caller
            errors.append(error)
        finally:
            bell.ring()

    _thread.start_new_thread(start, ())
    bell.wait(None)
    if errors:
        raise errors[0]


class Workers:
    """Threads that each do one job and end.

    ``_lock`` guards ``_threads``; whoever holds it does nothing else.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()

    def new(self, job: Callable[[], None], what: str) -> threading.Thread:
        """Make a thread, not started and not counted."""
        return threading.Thread(target=job, name=f"{self._name}-{what}", daemon=True)

    def do(self, job: Callable[[], None], what: str) -> threading.Thread:
        """Do a job in a thread of its own, or here and now where no thread can be had.

        There is none for want of memory, or because the interpreter is about to exit.
        """

        def run() -> None:
            try:
                job()
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = self.new(run, what)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except BaseException as error:
            with self._lock:
                self._threads.discard(thread)
            if not isinstance(error, RuntimeError):
                raise
            job()
        return thread

    def join(self, deadline: float, *others: threading.Thread | None) -> int:
        """Wait for all of them, at most until `deadline`; the number of those that still run."""
        with self._lock:
            threads = self._threads.union(other for other in others if other is not None)
        threads = {thread for thread in threads if thread.ident is not None}  # start() may fail
        for thread in threads - {threading.current_thread()}:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread in threads)


_mine = threading.local()


def this_thread() -> object:
    """What no other thread is, later ones included: ``get_ident()`` returns with another thread."""
    try:
        return _mine.token
    except AttributeError:
        token = _mine.token = object()
        return token
