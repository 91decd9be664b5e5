"""Runs the threads of a gate one at a time, in an order that is chosen and can be repeated.

What a gate uses of ``threading`` and ``time`` is replaced where its modules look it up: locks,
threads and the clock. A thread runs until its next point (it takes a lock, waits, starts a thread,
or talks to the server; if wanted, each line of the gate's code is one) and then hands back; the
chooser says who goes on. Time passes only when nobody can go on, so a lost wake-up shows as time
that passes.
"""

from __future__ import annotations

import _thread
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType, SimpleNamespace
from typing import Any
from unittest.mock import patch

from ftppool import (
    bell,
    board,
    closing,
    dispatcher,
    gate,
    lease,
    ledger,
    logins,
    opening,
    permits,
    reasons,
    retiring,
    settling,
    turns,
    workers,
)

LIMIT, LINES_LIMIT = 5000, 100_000
"""Steps of a run; far more than any scenario needs."""
TRACED = {
    module.__file__
    for module in (
        board, closing, dispatcher, gate, lease, ledger, logins, opening, permits, reasons,
        retiring, settling, turns, workers,
    )
}  # fmt: skip
"""Where each line may be a point."""
FINALIZERS = {gate.Gate.lost.__code__, gate.Gate.abandon.__code__, lease.Lease.__del__.__code__}
"""They may run within any line, this module's too, and can be interrupted by nobody."""
PATIENCE = 10.0
"""Real seconds after which a thread that does not hand back is taken for a bug of this module."""


class Abandoned(BaseException):
    """The run is over; unwinds the threads that are left."""


class Stuck(AssertionError):
    """Nobody can go on, and no time-out will ever change that."""


@dataclass(eq=False)
class Task:
    """A thread under control."""

    name: str
    run: Callable[[], object]
    ready: Callable[[], bool] | None = None
    deadline: float | None = None
    turn: _thread.LockType = field(default_factory=_thread.allocate_lock)
    alive: bool = True
    thread: Any = None

    def __post_init__(self) -> None:
        self.turn.acquire()


Chooser = Callable[[Sequence[Task], Task | None], Task]
"""Of those who can go on, and who went last: who goes on."""


class Scheduler:
    """One run of a scenario."""

    def __init__(self, chooser: Chooser, *, check: Callable[[], None], lines: bool = False) -> None:
        self.lines = lines
        self.clock = 1000.0
        self.steps = 0
        self.error: BaseException | None = None
        self._chooser = chooser
        self._check = check
        self._tasks: list[Task] = []
        self._current: Task | None = None
        self._back = _thread.allocate_lock()
        self._back.acquire()
        self._over = False
        self._real: list[threading.Thread] = []

    # -- what the threads call ---------------------------------------------------------------------

    def point(self, ready: Callable[[], bool] | None = None, timeout: float | None = None) -> bool:
        """Let others go on; come back when `ready`. False: the time was up."""
        task = self._current
        assert task is not None
        task.ready = ready
        task.deadline = None if timeout is None else self.clock + timeout
        try:
            going_on = self._next()
        except BaseException as error:
            self._give_up(error)
            going_on = None
        if going_on is not task:
            if going_on is not None:
                going_on.turn.release()
            self._wait_for_turn(task)
        return ready is None or ready()

    def spawn(self, name: str, run: Callable[[], object], thread: Any = None) -> Task:
        """Add a thread."""
        task = Task(name, run, thread=thread)
        task.thread = thread or _Thread(self, run, name, True)
        self._tasks.append(task)
        real = threading.Thread(target=self._body, args=(task,), daemon=True)
        self._real.append(real)
        real.start()
        return task

    def current(self) -> Any:
        """``threading.current_thread()``."""
        assert self._current is not None
        return self._current.thread

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Let everybody go on until nobody is left."""
        try:
            self._next().turn.release()
            if not self._back.acquire(timeout=PATIENCE):
                raise AssertionError(f"bug: {self._current} does not hand back")
        finally:
            self._over = True
            for task in self._tasks:
                if task.alive:
                    self._current = task
                    task.turn.release()
            for real in self._real:
                real.join(PATIENCE)
        if self.error is not None:
            raise self.error

    def _next(self) -> Task:
        """Check, and choose who goes on."""
        alive = [task for task in self._tasks if task.alive]
        self.steps += 1
        if self.steps > (LINES_LIMIT if self.lines else LIMIT):
            raise Stuck(f"still running after {self.steps} steps: {_names(alive)}")
        self._check()
        self._current = self._chooser(self._able(alive), self._current)
        return self._current

    def _give_up(self, error: BaseException) -> None:
        if not self._over:
            self.error = self.error or error
            self._back.release()

    def _able(self, alive: list[Task]) -> list[Task]:
        able = [task for task in alive if task.ready is None or task.ready()]
        if able:
            return able
        deadlines = [task.deadline for task in alive if task.deadline is not None]
        if not deadlines:
            raise Stuck(f"nobody can go on: {_names(alive)}")
        self.clock = max(self.clock, min(deadlines))
        return [task for task in alive if task.deadline is not None and task.deadline <= self.clock]

    def _body(self, task: Task) -> None:
        try:
            self._wait_for_turn(task)
            if self.lines:
                sys.settrace(self._trace)
            task.run()
        except Abandoned:
            return
        except BaseException as error:
            task.alive = False
            self._give_up(error)
            return
        finally:
            sys.settrace(None)
        task.alive = False
        try:
            if any(other.alive for other in self._tasks):
                self._next().turn.release()
            else:
                self._check()
                self._back.release()
        except BaseException as error:
            self._give_up(error)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if code.co_filename not in TRACED or code in FINALIZERS:
            return None
        if event == "line" and not self._over:
            self.point()
        return self._trace

    def _wait_for_turn(self, task: Task) -> None:
        task.turn.acquire()
        if self._over:
            raise Abandoned


def _names(tasks: list[Task]) -> str:
    return ", ".join(task.name for task in tasks)


class _Lock:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._scheduler._current is None:  # while the scenario is set up
            self._held = True
            return True
        limit = (None if timeout < 0 else timeout) if blocking else 0.0
        if not self._scheduler.point(lambda: not self._held, limit):
            return False
        self._held = True
        return True

    def release(self) -> None:
        # No point: finalizers come here, and whoever waits can go on at the next point anyway.
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class _Thread:
    def __init__(
        self, scheduler: Scheduler, target: Callable[[], object], name: str, daemon: bool
    ) -> None:
        self._scheduler = scheduler
        self._target = target
        self._task: Task | None = None
        self.name = name
        self.ident: int | None = None

    def start(self) -> None:
        self.ident = id(self)
        self._task = self._scheduler.spawn(self.name, self._target, self)
        self._scheduler.point()

    def is_alive(self) -> bool:
        return self._task is not None and self._task.alive

    def join(self, timeout: float | None = None) -> None:
        self._scheduler.point(lambda: not self.is_alive(), timeout)


@contextlib.contextmanager
def controlled(scheduler: Scheduler) -> Iterator[None]:
    """Put locks, threads and clock under control, in the modules of a gate."""
    threads = SimpleNamespace(
        Lock=lambda: _Lock(scheduler),
        Thread=lambda target, name, daemon: _Thread(scheduler, target, name, daemon),
        current_thread=scheduler.current,
        main_thread=lambda: None,
        TIMEOUT_MAX=1e9,
    )
    clock = SimpleNamespace(monotonic=lambda: scheduler.clock, time=lambda: scheduler.clock)
    with contextlib.ExitStack() as stack:
        for module in (bell, board, closing, dispatcher, gate, lease, opening, reasons, workers):
            for name, fake in (("threading", threads), ("time", clock)):
                if hasattr(module, name):
                    stack.enter_context(patch.object(module, name, fake))
        yield
