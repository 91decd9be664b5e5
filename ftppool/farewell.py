"""The end of all gates at the interpreter's exit: in the thread that exits, without a new one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from ftppool.board import Board, client_of
from ftppool.client import Client
from ftppool.dispatcher import Dispatcher
from ftppool.leaks import tell_leak
from ftppool.lease import Grip
from ftppool.opening import LOGIN, Opener
from ftppool.permits import ended, let_go, let_settle
from ftppool.slots import Slot, State

__all__ = ["Farewell", "end_all"]

PATIENCE = 0.5
"""Seconds to wait for a lock: from Python 3.14 on a Ctrl-C can orphan one (cpython#148874)."""
STEP = 0.05
"""Seconds between two looks at what other threads have still to finish."""


class Farewell:
    """Does for one gate what its dispatcher did so far."""

    def __init__(self, board: Board, opener: Opener, dispatcher: Dispatcher) -> None:
        self._board = board
        self._opener = opener
        self._dispatcher = dispatcher
        self._clients: list[Client] = []
        self._grips: list[Grip] = []

    @property
    def limit(self) -> float:
        """Seconds that the pools grant."""
        return max((client.estate.close_timeout for client in self._clients), default=0.0)

    def begin(self) -> list[Slot]:
        """Take everything away from everybody; the sessions that this thread has to end."""
        board = self._board
        if not board.lock.acquire(timeout=PATIENCE):
            self._cut()
            return []
        try:
            now = time.monotonic()
            self._dispatcher.retired = True
            slots = board.unfinished()
            self._clients = list(board.clients.union(client_of(slot) for slot in slots))
            for client in self._clients:
                board.ledger.shut(client, now)
            held = [
                (slot, place.owner)
                for slot in slots
                for place in slot.places
                if slot.state is State.OPEN and isinstance(place.owner, Grip)
            ]
        finally:
            board.lock.release()
        board.nudge.ring()
        self._opener.turns.look_again()
        self._grips = [grip for _, grip in held]
        for slot, grip in held:
            with contextlib.suppress(Exception):
                slot.session.take_back(grip.loan)
        with board.lock:
            for slot, _ in held:
                board.ledger.revoke(slot, now)
        return self._claim()

    def end(self, slot: Slot) -> None:
        """Read the server's goodbye and close."""
        with contextlib.suppress(Exception):
            self._opener.close(slot)

    def finish(self, started: float, deadline: float) -> None:
        """Wait for what other threads began, give the permits back, and cut what is left."""
        hurry = started + min(LOGIN, (deadline - started) / 2)
        while self._clients and (now := time.monotonic()) < deadline:
            for slot in self._claim():
                say_goodbye(slot, deadline)
                self.end(slot)
            with self._board.lock:
                freed, ending = list(self._board.ledger.freed), ended(self._board)
            let_settle(self._board, ending)
            let_go(self._board, freed)
            with self._board.lock:
                done = not self._board.unfinished()
            if done:
                break
            if now >= hurry:
                for client in self._clients:
                    self._opener.break_off(client)
            self._board.nudge.wait(min(STEP, deadline - now))
        self._opener.leave_lines()
        self._cut()

    def tell(self) -> None:
        """Say what was not closed."""
        for client in self._clients:
            client.estate.tell_loss("was not closed before the interpreter's exit")
        for grip in self._grips:
            if grip.losable:
                continue
            tell_leak(
                f"{grip.task.name} still had a session to {self._board.address} at the "
                "interpreter's exit; it was ended",
                grip.stack,
                address=str(self._board.address),
            )

    def _claim(self) -> list[Slot]:
        with self._board.lock:
            now = time.monotonic()
            self._board.ledger.pump(now)
            jobs = list(self._board.ledger.claim_jobs())
            for slot in jobs:
                if slot.state is State.OPENING:
                    self._board.ledger.denied(slot, now, delay=0.0)  # nothing was connected
        return [slot for slot in jobs if slot.state is State.CLOSING]

    def _cut(self) -> None:
        for slot in list(self._board.ledger.slots):
            if slot.session is not None:
                with contextlib.suppress(Exception):
                    slot.session.cut()


def say_goodbye(slot: Slot, deadline: float) -> None:
    """Send QUIT; its answer may come until the deadline."""
    with contextlib.suppress(Exception):
        slot.session.goodbye(max(0.0, deadline - time.monotonic()))


def end_all(farewells: Sequence[Farewell]) -> None:
    """End every session of every gate, all at once and within the longest ``close_timeout``."""
    started = time.monotonic()
    mine = [(farewell, slot) for farewell in farewells for slot in farewell.begin()]
    deadline = started + max((farewell.limit for farewell in farewells), default=0.0)
    for _, slot in mine:
        say_goodbye(slot, deadline)
    for farewell, slot in mine:
        farewell.end(slot)
    for farewell in farewells:
        farewell.finish(started, deadline)
    for farewell in farewells:
        farewell.tell()
