"""The thread of a gate that lets things happen: by the clock, by events, for other processes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from ftppool.board import Board, client_of
from ftppool.client import Client
from ftppool.leaks import tell_leak, tell_suspicion
from ftppool.lease import Grip
from ftppool.logs import log
from ftppool.opening import LOGIN, Opener
from ftppool.permits import ended, let_go, let_settle
from ftppool.slots import Slot, State
from ftppool.workers import Workers, launch

__all__ = ["Dispatcher"]

TICK = 0.5
"""Seconds between two looks of the dispatcher while there are sessions or waiters, and between two
questions whether another process needs some."""
FOREVER = threading.TIMEOUT_MAX


class Dispatcher:
    """One daemon thread while the address is in use, and a thread for each open or close.

    ``_thread`` is guarded by the board's lock. ``mailbox`` and ``orphans`` need none: each use is
    one atomic step. The rest is only the thread's own, but is kept here: should it die, the next
    one goes on from there.

    Args:
        reclaim: Ends a lease that was lost, and says whose it was; None if it was given back in
            time.

    Attributes:
        mailbox: Lost leases, dropped here by finalizers.
        orphans: Lost pools, dropped here by finalizers.
        retired: True once the interpreter's exit does what is left to do; needs the lock.
    """

    def __init__(
        self, board: Board, opener: Opener, reclaim: Callable[[Grip], Client | None]
    ) -> None:
        self.mailbox: deque[Grip] = deque()
        self.orphans: deque[Client] = deque()
        self.retired = False
        self._board = board
        self._opener = opener
        self._reclaim = reclaim
        self._workers = Workers(f"ftppool-{board.address}")
        self._thread: threading.Thread | None = None
        self._latest: threading.Thread | None = None
        self._running: dict[Slot, threading.Thread] = {}
        self._deadlines: dict[Client, float] = {}
        self._eased = 0.0
        self._failing = False

    def start(self) -> None:
        """Be there while there is something to do. Needs the lock."""
        if self.retired or (self._thread is not None and self._thread.is_alive()):
            return
        if self._board.in_use:
            self._thread = self._latest = self._workers.new(self._run, "dispatcher")
            launch(self._thread)

    def after_event(self) -> bool:
        """True if there is something to do: then its thread must be there. Needs the lock."""
        busy = self._board.ledger.busy
        if busy:
            self.start()
        return busy

    def join(self, deadline: float) -> int:
        """Wait for the threads that have no more work; the number of those that still run."""
        with self._board.lock:
            if self._board.clients:
                return 0  # the gate lives on for other pools
            dispatcher = None if self._board.in_use else self._latest
        return self._workers.join(deadline, dispatcher)

    def _run(self) -> None:
        while True:
            try:
                pause = self._round()
                self._failing = False
            except BaseException:  # noqa: BLE001 - a full memory, a user's limiter: all wait for us
                if not self._failing:
                    self._failing = True
                    address = str(self._board.address)
                    log.exception("ftppool: the dispatcher of %s goes on", address, address=address)
                pause = TICK
            if pause is None:
                return
            self._board.nudge.wait(pause)

    def _round(self) -> float | None:
        """Do what is due; the seconds until the next look, None for the end."""
        board, me = self._board, threading.current_thread()
        self._read_notes()
        with board.lock:
            now = time.monotonic()
            if self.retired or self._thread is not me:
                return None  # a Ctrl-C in start() may have made two of us
            self._mend()
            self._find_lost()
            board.ledger.pump(now)
            board.forget_closed()
            freed, ending = list(board.ledger.freed), ended(board)
            leaving = not board.in_use and not freed
            if leaving:
                self._thread = None
            jobs = list(board.ledger.claim_jobs())
            suspects = self._suspects(now)
            pause = self._pause(now)
        if leaving:
            self._opener.leave_lines()
            return None
        self._opener.turns.look_again()
        let_settle(board, ending)
        let_go(board, freed)
        for slot in jobs:
            self._start_job(slot)
        for client in list(board.clients):
            client.done.ring()
        self._tell(suspects, now)
        self._be_fair(now)
        return 0.0 if freed or ending or self.mailbox or self.orphans else pause

    def _mend(self) -> None:
        """Find jobs that died, or were never begun, because a thread did. Needs the lock."""
        for slot, thread in list(self._running.items()):
            if not slot.claimed:
                del self._running[slot]
            elif not thread.is_alive():
                del self._running[slot]
                self._opener.abort(slot, RuntimeError("the thread that opened it died"))
        for slot in self._board.ledger.slots:
            if slot.claimed and slot not in self._running:
                slot.claimed = False

    def _pause(self, now: float) -> float:
        ledger = self._board.ledger
        if not ledger.slots and not ledger.waiters and not self._opener.in_line:
            return FOREVER
        until = ledger.next_deadline(now)
        return TICK if until is None else min(TICK, max(0.0, until - now) + 0.001)

    def _start_job(self, slot: Slot) -> None:
        work = self._opener.open if slot.state is State.OPENING else self._opener.close

        def job() -> None:
            try:
                work(slot)
            except BaseException:  # noqa: BLE001 - a listener's sys.exit(), say
                address = str(self._board.address)
                log.exception("ftppool: a thread of %s failed", address, address=address)
            finally:
                self._board.nudge.ring()

        self._running[slot] = self._workers.do(job, slot.state.value)

    # -- leaks -------------------------------------------------------------------------------------

    def _read_notes(self) -> None:
        """End what was lost; only the dispatcher does this."""
        while self.mailbox:
            grip = self.mailbox[0]
            lost = self._reclaim(grip)
            self.mailbox.popleft()  # last: while it is there nobody takes this for a deadlock
            if lost is not None and not grip.losable:
                self._tell_lost(lost, grip)
        while self.orphans:
            client = self.orphans[0]
            with self._board.lock:
                self._board.ledger.shut(client, time.monotonic())
            self._deadlines[client] = time.monotonic() + LOGIN
            self.orphans.popleft()
            client.estate.tell_loss("was lost without close()")
        for client, deadline in list(self._deadlines.items()):
            if deadline <= time.monotonic():
                del self._deadlines[client]
                self._opener.break_off(client)

    def _find_lost(self) -> None:
        """Find leases and pools whose finalizers were broken off by a Ctrl-C. Needs the lock."""
        for slot in self._board.ledger.slots:
            for place in slot.places:
                owner = place.owner
                if isinstance(owner, Grip) and owner.lost() and owner not in self.mailbox:
                    self.mailbox.append(owner)
        for client in self._board.clients:
            if client.estate.lost() and not client.closed and client not in self.orphans:
                self.orphans.append(client)

    def _tell_lost(self, client: Client, grip: Grip) -> None:
        address = str(self._board.address)
        holder = grip.holder(time.monotonic())
        client.totals.leaked += 1  # only this thread does that
        tell_leak(
            f"a session to {address} was lost {holder.age:.1f} s after {holder.thread} had taken "
            "it, and was ended; use 'with', or release() it",
            grip.stack,
            event="LeaseLost", pool=client.name, address=address, seconds=holder.age,
        )  # fmt: skip
        if client.heard:
            from ftppool.events import LeaseLost

            client.emit(
                LeaseLost(
                    pool=client.name,
                    address=address,
                    age=holder.age,
                    thread=holder.thread,
                    where=holder.where,
                )
            )

    def _suspects(self, now: float) -> list[tuple[Client, Grip]]:
        """Find leases that are out for very long, and whose they are. Needs the lock."""
        return [
            (client_of(slot), place.owner)
            for slot in self._board.ledger.slots
            for place in slot.places
            if isinstance(place.owner, Grip)
            and place.owner.suspicious(now, client_of(slot).estate.leak_warn_after)
        ]

    def _tell(self, suspects: list[tuple[Client, Grip]], now: float) -> None:
        address = str(self._board.address)
        for client, grip in suspects:
            grip.told = True
            holder = grip.holder(now)
            client.totals.leaked += 1
            tell_suspicion(
                f"{holder.thread} has had a session to {address} for {holder.age:.1f} s and not "
                "given it back (leak_warn_after)",
                grip.stack,
                event="LeakSuspected", pool=client.name, address=address, seconds=holder.age,
            )  # fmt: skip
            if client.heard:
                from ftppool.events import LeakSuspected

                client.emit(
                    LeakSuspected(
                        pool=client.name,
                        address=address,
                        age=holder.age,
                        thread=holder.thread,
                        where=holder.where,
                    )
                )

    # -- other processes ---------------------------------------------------------------------------

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
            self._opener.glance(limiter)
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
