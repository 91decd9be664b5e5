"""The end of one pool at one address, within a time; the interpreter's exit is in ``farewell``."""

from __future__ import annotations

import copy
import time

from ftppool.board import Board
from ftppool.client import Client
from ftppool.dispatcher import Dispatcher
from ftppool.drivers.base import Wire
from ftppool.lease import Grip
from ftppool.opening import LOGIN, Opener
from ftppool.slots import State
from ftppool.stats import CloseReport

__all__ = ["Closing"]

LAST = 1.0
"""Seconds of close() left when goodbyes that still go on are broken off."""
GOODBYE = 4.0
"""Seconds of close() kept for QUIT and the final FIN."""
SLICE = 0.5
"""Seconds between two looks at what has still to end: what a lost wake-up costs at most."""


class Closing:
    """Ends what a pool has here, politely as long as there is time."""

    def __init__(
        self, board: Board, opener: Opener, dispatcher: Dispatcher, client: Client
    ) -> None:
        self._board = board
        self._opener = opener
        self._dispatcher = dispatcher
        self._client = client

    def run(self, timeout: float) -> CloseReport:
        """End all sessions, with `timeout` as one total.

        Waiters fail at once, idle sessions say QUIT, leases may end by themselves while there is
        time to spare and are taken away then. Nobody waits here until the slots have settled: who
        takes one of them next does, in whichever process.
        """
        client, started = self._client, time.monotonic()
        before = copy.copy(client.totals)
        with self._board.lock:
            self._board.ledger.shut(client, started)
            self._dispatcher.after_event()
        self._board.nudge.ring()
        patience = timeout - min(timeout / 2, GOODBYE)
        steps = [
            (patience, self._take_away),
            (min(timeout / 2, LOGIN), self._break_off),
            (timeout - min(timeout / 4, LAST), self._cut_endings),
        ]
        for after, step in sorted(steps, key=lambda pair: pair[0]):
            if not self._wait_for_end(started + after):
                step()
        gone = self._wait_for_end(started + timeout)
        with self._board.lock:
            self._board.clients.discard(client)
        self._board.nudge.ring()
        left = self._dispatcher.join(started + timeout)
        cut = client.totals.cut - before.cut
        return CloseReport(
            clean=gone and not cut and not left,
            quits=client.totals.quits - before.quits,
            cut=cut,
            still_running=left,
            elapsed=time.monotonic() - started,
        )

    def _wait_for_end(self, deadline: float) -> bool:
        while True:
            with self._board.lock:
                if not self._board.unfinished(self._client):
                    return True
                self._dispatcher.start()
            self._opener.break_off_silent(self._client)
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._client.done.wait(min(SLICE, left))

    def _break_off(self) -> None:
        """Cut the opens that are under way."""
        self._opener.break_off(self._client)

    def _cut_endings(self) -> None:
        """Break the goodbyes that take longer than there is time."""
        with self._board.lock:
            wires: list[Wire] = [
                slot.session
                for slot in self._board.ledger.slots
                if slot.tenant is self._client and slot.state is State.CLOSING
            ]
        for wire in wires:
            wire.cut()

    def _take_away(self) -> None:
        """End the leases that did not come back; sessions in step can still say QUIT."""
        with self._board.lock:
            held = [
                slot
                for slot in self._board.ledger.slots
                if slot.tenant is self._client and slot.state is State.OPEN
            ]
            grips = [
                (slot, place.owner)
                for slot in held
                for place in slot.places
                if isinstance(place.owner, Grip) and place.owner.loan is not None
            ]
        for slot, grip in grips:
            wire: Wire = slot.session
            if not wire.take_back(grip.loan):
                wire.cut()
        with self._board.lock:
            for slot in held:
                if slot.state is State.OPEN:
                    self._board.ledger.revoke(slot, time.monotonic())
            self._dispatcher.after_event()
        self._board.nudge.ring()
