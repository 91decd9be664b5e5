"""One gate per server address: the ledger, driven with a lock and threads.

The gate's own daemon threads do every open and close, so that no Ctrl-C and no borrower's time-out
can fall between a connection and its slot. Borrowers only wait, transfer and give back.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Hashable

from ftppool.board import BelledWaiter, Board
from ftppool.client import Cancel, Cancelled, Client, holders_of, snapshot
from ftppool.dispatcher import Dispatcher
from ftppool.drivers.base import Address, PlaceRefused, Wire
from ftppool.errors import FTPPoolError
from ftppool.failures import gave_up, held_elsewhere, timed_out, would_deadlock
from ftppool.lease import Grip, Lease
from ftppool.opening import Opener
from ftppool.slots import Place, State
from ftppool.stats import CloseReport, PoolStats

__all__ = ["Gate", "gate_for"]

_log = logging.getLogger("ftppool")

LEAST = 0.1
"""Seconds that an idle session has to answer, however little time its borrower has left."""

SLICE = 0.5
"""Seconds between two looks of a waiter: what a lost wake-up costs at most."""
TICK = 0.5
"""Seconds between two looks of the dispatcher while there are sessions or waiters, and between two
questions whether another process needs some."""
BAN = 600.0
"""Seconds without a connect after the server spoke of a ban."""
FEW = 3
"""Connects until something that only looks like a refusal counts as what it says."""
NO_PERMIT = (0.1, 0.25)
"""Seconds until the limiter is asked again: at random, so that processes do not march in step."""


class Gate:
    """All connections of this process to one address.

    Borrowers' calls come in here; :class:`~ftppool.dispatcher.Dispatcher` does what they lead to.
    """

    def __init__(self, address: Address) -> None:
        self.address: Address = address
        self._board = Board(address)
        self._lock = self._board.lock
        self._ledger = self._board.ledger
        self._opener = Opener(self._board)
        self._dispatcher = Dispatcher(self._board, self._opener, self._reclaim)

    # -- borrowing ---------------------------------------------------------------------------------

    def attach(self, client: Client) -> None:
        """Let a pool in; its cap counts from now on while it holds or waits."""
        with self._lock:
            self._board.clients.add(client)
            self._dispatcher.start()

    def acquire(
        self,
        client: Client,
        timeout: float,
        threads: tuple[Hashable, ...],
        cancel: Cancel | None = None,
    ) -> Lease:
        """Wait for a place of a session of this client, at most `timeout` seconds.

        Raises:
            Cancelled: `cancel` was called.
            PoolTimeout, ServerBusy, ConnectError: Nothing came in time; see DESIGN for which.
            AuthError, PoolClosed, WouldDeadlock: Waiting has no sense.
        """
        now = time.monotonic()
        deadline = now + timeout
        waiter = BelledWaiter(client, threads, now)
        if cancel is not None:
            cancel.bells.add(waiter.bell)
            if cancel.cancelled:
                raise Cancelled
        try:
            self._enter(waiter, client, now)
            while True:
                if waiter.error is not None:
                    raise copy.copy(waiter.error) from waiter.error.__cause__
                if waiter.place is not None:
                    lease = self._try_to_lend(waiter, client, deadline)
                    if lease is not None:
                        return lease
                elif cancel is not None and cancel.cancelled:
                    raise Cancelled
                elif (left := deadline - time.monotonic()) > 0:
                    waiter.bell.wait(min(SLICE, left))
                    self._look_again()
                else:
                    raise self._nothing_came(client, timeout)
        finally:
            if waiter.alive:
                waiter.alive = False
                self._look_again()
            if cancel is not None:
                cancel.bells.discard(waiter.bell)

    def _enter(self, waiter: BelledWaiter, client: Client, now: float) -> None:
        with self._lock:
            self._ledger.wait(waiter, now)
            # With a note in the mailbox a place is about to come free.
            hopeless = not self._dispatcher.mailbox and self._ledger.deadlocked(waiter, now)
            self._after_event()
        if not waiter.served:
            self._board.nudge.ring()
        if hopeless:
            raise would_deadlock(self.address, client.cap)

    def give_back(self, place: Place, grip: Grip, *, doom: bool) -> None:
        """End a loan: the next borrower gets the session, or it is ended if it is not clean."""
        wire: Wire | None = place.slot.session
        if wire is not None and place.owner is grip:
            doom = not wire.take_back(grip.loan, doom=doom)
        with self._lock:
            self._ledger.release(place, grip, time.monotonic(), doom=doom)
            busy = self._after_event()
        if busy:
            self._board.nudge.ring()

    def _reclaim(self, place: Place, grip: Grip) -> None:
        self.give_back(place, grip, doom=True)

    def lost(self, place: Place, grip: Grip) -> None:
        """A lease was lost: called by a finalizer, so it only drops a note."""
        self._dispatcher.mailbox.append((place, grip))

    def _try_to_lend(self, waiter: BelledWaiter, client: Client, deadline: float) -> Lease | None:
        """Look at the session that the waiter was given; None if it was dead."""
        place = waiter.place
        if place is None:
            return None  # close() took it away between two looks
        slot = place.slot
        wire: Wire = slot.session
        now = time.monotonic()
        loan = None
        try:
            if wire.looks_alive() and (
                now - slot.last_used < client.check_after_idle
                or wire.check(max(LEAST, deadline - now))
            ):
                loan = wire.lend(max(LEAST, deadline - time.monotonic()))
        except PlaceRefused:
            with self._lock:
                self._ledger.place_refused(waiter, now)
                self._after_event()
            return None
        except Exception:  # noqa: BLE001 - whatever a dead session raises, another one is taken
            loan = None
        if loan is None:
            with self._lock:
                self._ledger.decline(waiter, now)
                self._after_event()
            self._board.nudge.ring()
            return None
        grip = Grip(waiter.threads[0], now, loan)
        lease = Lease(self, place, grip, wire)
        with self._lock:
            if waiter.place is not place or place.owner is not waiter:
                return None  # revoked by close(): the loop finds the error
            self._ledger.accept(waiter, grip, now)
        return lease

    def _look_again(self) -> None:
        with self._lock:
            self._ledger.pump(time.monotonic())
            busy = self._after_event()
        if busy:
            self._board.nudge.ring()

    def _after_event(self) -> bool:
        """Wake who was served; True if the dispatcher has something to do. Needs the lock."""
        self._dispatcher.start()
        return self._board.wake()

    def wanted(self) -> bool:
        """True if another process waits for a session of this one; give yours back if you can."""
        return self._ledger.owed > 0

    # -- the end of a pool -------------------------------------------------------------------------

    def resize(self, client: Client, cap: int) -> None:
        """Let a pool have another cap from now on; surplus sessions end when they are idle."""
        with self._lock:
            client.cap = cap
            self._ledger.pump(time.monotonic())
            self._after_event()
        self._board.nudge.ring()

    def expire(self, client: Client) -> None:
        """End the sessions that exist now as soon as nobody uses them."""
        with self._lock:
            self._ledger.expire(client, time.monotonic())
            self._after_event()
        self._board.nudge.ring()

    def close(self, client: Client, timeout: float, *, patient: bool = True) -> CloseReport:
        """End all sessions of a pool, with `timeout` as one total.

        Waiters fail at once, idle sessions say QUIT, leases may end by themselves while there is
        time to spare (not at all unless `patient`) and are taken away then.
        """
        started = time.monotonic()
        before = copy.copy(client.totals)
        with self._lock:
            self._ledger.shut(client, started)
            self._after_event()
        self._board.nudge.ring()
        patience = timeout - min(timeout / 2, GOODBYE) if patient else 0.0
        steps = [
            (patience, self._take_away),
            (min(timeout / 2, LOGIN), self._opener.break_off),
            (timeout - min(timeout / 4, LAST), self._cut_endings),
        ]
        for after, step in sorted(steps, key=lambda pair: pair[0]):
            if not self._wait_for_end(client, started + after):
                step(client)
        gone = self._wait_for_end(client, started + timeout)
        with self._lock:
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

    def _wait_for_end(self, client: Client, deadline: float) -> bool:
        while True:
            with self._lock:
                if not any(slot.tenant is client for slot in self._ledger.slots):
                    return True
                self._dispatcher.start()
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            client.done.wait(min(SLICE, left))

    def _cut_endings(self, client: Client) -> None:
        """Break the goodbyes that take longer than there is time."""
        with self._lock:
            wires: list[Wire] = [
                slot.session
                for slot in self._ledger.slots
                if slot.tenant is client and slot.state is State.CLOSING
            ]
        for wire in wires:
            wire.cut()

    def _take_away(self, client: Client) -> None:
        """End the leases that did not come back; sessions in step can still say QUIT."""
        with self._lock:
            held = [
                slot
                for slot in self._ledger.slots
                if slot.tenant is client and slot.state is State.OPEN
            ]
            grips = [
                (slot, place.owner)
                for slot in held
                for place in slot.places
                if isinstance(place.owner, Grip)
            ]
        for slot, grip in grips:
            wire: Wire = slot.session
            if not wire.take_back(grip.loan):
                wire.cut()
        with self._lock:
            for slot in held:
                if slot.state is State.OPEN:
                    self._ledger.revoke(slot, time.monotonic())
            self._after_event()
        self._board.nudge.ring()

    # -- what it says about itself -----------------------------------------------------------------

    def stats(self, client: Client) -> PoolStats:
        """Take a snapshot of one pool."""
        with self._lock:
            return snapshot(self._ledger, client)

    def _nothing_came(self, client: Client, timeout: float) -> FTPPoolError:
        with self._lock:
            client.totals.acquire_timeouts += 1
            failure = self._ledger.last_failure
            alive = any(slot.connected for slot in self._ledger.slots)
            holders = holders_of(self._ledger, time.monotonic())
            effective = self._ledger.effective
        others = client.limiter.elsewhere(str(self.address)) if self._opener.asking else ""
        if alive:
            return timed_out(self.address, timeout, holders, effective, failure, others=others)
        if others:
            return held_elsewhere(self.address, timeout, others, failure)
        if failure is not None:
            return gave_up(failure, timeout)
        return timed_out(self.address, timeout, holders, effective, failure)


LAST = 1.0
"""Seconds of close() left when goodbyes that still go on are broken off."""

GOODBYE = 4.0
"""Seconds of close() kept for QUIT, the final FIN and settling."""

LOGIN = 3.0
"""Seconds of close() for which an open may go on, to be ended with QUIT after its login."""

_gates: dict[tuple[str, int], Gate] = {}
_gates_lock = threading.Lock()


def gate_for(address: Address) -> Gate:
    """Return the one gate of an address; it stays for the life of the process.

    A gate without pools has no thread and no connection, but it remembers what it learned and until
    when the address must be left alone.
    """
    with _gates_lock:
        return _gates.setdefault((address.ip, address.port), Gate(address))
