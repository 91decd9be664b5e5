"""The thread of a gate that lets things happen: by the clock, by events, for other processes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from ftppool.board import Board, client_of
from ftppool.lease import Grip
from ftppool.opening import Opener
from ftppool.slots import Slot, State
from ftppool.workers import Workers

__all__ = ["Dispatcher"]

TICK = 0.5
"""Seconds between two looks of the dispatcher while there are sessions or waiters, and between two
questions whether another process needs some."""


class Dispatcher:
    """One daemon thread while the address is in use, and a thread for each open or close.

    ``_thread`` is guarded by the board's lock. ``mailbox`` needs none: each use is one atomic step.

    Args:
        reclaim: Ends a lease that was lost.

    Attributes:
        mailbox: Lost leases, dropped here by finalizers.
    """

    def __init__(self, board: Board, opener: Opener, reclaim: Callable[[Grip], None]) -> None:
        self.mailbox: deque[Grip] = deque()
        self._board = board
        self._opener = opener
        self._reclaim = reclaim
        self._workers = Workers(f"ftppool-{board.address}")
        self._thread: threading.Thread | None = None
        self._eased = 0.0

    def start(self) -> None:
        """Be there while there is something to do. Needs the lock."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._board.in_use:
            self._thread = self._workers.new(self._run, "dispatcher")
            self._thread.start()

    def join(self, deadline: float) -> int:
        """Wait for the threads that have no more work; the number of those that still run."""
        with self._board.lock:
            if self._board.clients:
                return 0  # the gate lives on for other pools
            dispatcher = None if self._board.ledger.slots else self._thread
        return self._workers.join(deadline, dispatcher)

    def _run(self) -> None:
        board, me = self._board, threading.current_thread()
        while True:
            self._read_mailbox()
            with board.lock:
                now = time.monotonic()
                if self._thread is not me:
                    return  # a Ctrl-C in start() made two of us: the other one has the work
                board.ledger.pump(now)
                jobs = list(board.ledger.claim_jobs())
                freed, board.ledger.freed = board.ledger.freed, []
                if not board.in_use:
                    self._thread = None
                    break
                pause = self._pause(now)
            self._forget(freed)
            for slot in jobs:
                self._start_job(slot)
            self._be_fair(now)
            board.nudge.wait(pause)
        self._forget(freed)
        self._opener.leave_lines()

    def _pause(self, now: float) -> float | None:
        ledger = self._board.ledger
        if not ledger.slots and not ledger.waiters and not self._opener.asking:
            return None
        until = ledger.next_deadline(now)
        return TICK if until is None else min(TICK, max(0.0, until - now) + 0.001)

    def _read_mailbox(self) -> None:
        """End the sessions whose leases were lost; only the dispatcher does this."""
        while self.mailbox:
            self._reclaim(self.mailbox[0])
            self.mailbox.popleft()  # last: while it is there nobody takes this for a deadlock

    def _forget(self, freed: list[Slot]) -> None:
        self._opener.let_go(freed)
        for client in list(self._board.clients):
            client.done.ring()

    def _start_job(self, slot: Slot) -> None:
        work = self._opener.open if slot.state is State.OPENING else self._opener.close

        def job() -> None:
            try:
                work(slot)
            finally:
                self._board.nudge.ring()

        self._workers.do(job, slot.state.value)

    def _be_fair(self, now: float) -> None:
        """Give up what other processes need more; leave the line where nobody of us waits."""
        board = self._board
        if now - self._eased < TICK * 0.9:
            return
        self._eased = now
        with board.lock:
            waiting = bool(board.ledger.waiters)
            cap = board.ledger.cap or 1
            limiters = {client_of(slot).limiter for slot in board.ledger.slots}
        if not waiting:
            self._opener.leave_lines()
        for limiter in {client.limiter for client in list(board.clients)}:
            self._opener.look_up(limiter)
        allowed = [
            allowance
            for limiter in limiters
            if (allowance := limiter.pressure(str(board.address), cap)) is not None
        ]
        with board.lock:
            if not allowed:
                board.ledger.owed = 0
                return
            with_idle = min(allowance.with_idle for allowance in allowed)
            in_use = min(allowance.in_use for allowance in allowed)
            board.ledger.make_room(with_idle, in_use, time.monotonic())
        board.nudge.ring()
