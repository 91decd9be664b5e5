"""One gate per server address: the ledger, driven with a lock and threads.

The gate's own daemon threads do every open and close, so that no Ctrl-C and no borrower's time-out
can fall between a connection and its slot. Borrowers only wait, transfer and give back.
"""

from __future__ import annotations

import copy
import sys
import threading
import time
from collections.abc import Hashable

from ftppool.board import BelledWaiter, Board, client_of
from ftppool.client import Cancel, Cancelled, Client, snapshot
from ftppool.closing import Closing
from ftppool.deadlock import deadlocked
from ftppool.dispatcher import Dispatcher
from ftppool.drivers.base import Address, PlaceRefused, Wire, drop
from ftppool.errors import FTPPoolError
from ftppool.failures import would_deadlock
from ftppool.farewell import Farewell, end_all
from ftppool.hooks import at_exit, in_child
from ftppool.lease import Grip, Lease
from ftppool.logs import log
from ftppool.opening import Opener
from ftppool.reasons import nothing_came, trouble
from ftppool.slots import Place
from ftppool.stats import CloseReport, PoolStats

__all__ = ["Gate", "gate_for"]

PATIENCE = 1.0
"""Seconds that a borrower waits until those who work through a queue make way for him."""
LEAST = 0.1
"""Seconds that an idle session has to answer, however little time its borrower has left."""

SLICE = 0.5
"""Seconds between two looks of a waiter: what a lost wake-up costs at most."""


class Gate:
    """All connections of this process to one address.

    Borrowers' calls come in here; :class:`~ftppool.dispatcher.Dispatcher` does what they lead to.
    """

    def __init__(self, address: Address) -> None:
        self.address: Address = address
        self._name = str(address)
        self._set_up()

    def _set_up(self) -> None:
        self._board = Board(self.address)
        self._lock = self._board.lock
        self._ledger = self._board.ledger
        self._opener = Opener(self._board)
        self._dispatcher = Dispatcher(self._board, self._opener, self._reclaim)

    # -- borrowing ---------------------------------------------------------------------------------

    def attach(self, client: Client) -> None:
        """Let a pool in; its cap counts from now on while it holds or waits."""
        client.listening = client.estate.listening
        client.heard = client.heard or client.estate.heard
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
        if cancel is not None and cancel.cancelled:
            raise Cancelled
        now = time.monotonic()
        # Made before there is anything to lose: if it is lost, so is what its grip holds.
        lease = Lease(self, Grip(threads, now))
        try:
            self._borrow(lease, client, timeout, threads, cancel)
            if client.listening:
                from ftppool.events import SessionLent

                waited = lease.grip.since - now
                client.emit(SessionLent(pool=client.name, address=self._name, waited=waited))
        except (FTPPoolError, Cancelled) as error:
            lease.forget()
            if client.listening and not isinstance(error, Cancelled):
                self._tell_failed(client, time.monotonic() - now, error)
            raise
        except BaseException:
            self._reclaim(lease.grip)  # the traceback keeps the lease alive
            lease.forget()
            raise
        return lease

    def _borrow(
        self,
        lease: Lease,
        client: Client,
        timeout: float,
        threads: tuple[Hashable, ...],
        cancel: Cancel | None,
    ) -> None:
        """Fill the lease at once with what is free, or wait in the queue."""
        now, place = lease.grip.since, None
        if not self._ledger.waiters:
            with self._lock:
                place = self._ledger.take(client, lease.grip, now)
        refused = False
        if place is not None:
            try:
                alive = self._lend(lease, place, client, now, now + timeout)
            except PlaceRefused:
                alive, refused = False, True
            # close() takes back what was lent before it set `closed`; what comes later is not lent.
            if alive and not client.closed:
                return
        if client.listening:
            from ftppool.events import SlotWaiting

            ahead = len(self._ledger.waiters)
            client.emit(SlotWaiting(pool=client.name, address=self._name, ahead=ahead))
        waiter = BelledWaiter(client, threads, now)
        if cancel is not None:
            cancel.bells.add(waiter.bell)
        try:
            self._enter(waiter, lease, place, refused=refused)
            self._wait(waiter, lease, client, timeout, cancel)
        finally:
            if waiter.alive:
                waiter.alive = False
                self._look_again()
            if cancel is not None:
                cancel.bells.discard(waiter.bell)

    def _enter(
        self, waiter: BelledWaiter, lease: Lease, dead: Place | None, *, refused: bool
    ) -> None:
        """Go to the end of the queue; to its head, if what was free proved `dead` or `refused`."""
        totals = waiter.tenant.totals
        with self._lock:
            totals.queued += 1
            if dead is None:
                self._ledger.wait(waiter, waiter.since)
            else:
                totals.lost += not refused
                self._ledger.queue_again(waiter, dead, lease.grip, waiter.since, refused=refused)
            # With a note in the mailbox a place is about to come free.
            hopeless = not self._dispatcher.mailbox and deadlocked(
                self._ledger, waiter, waiter.since
            )
            # While nobody waited the dispatcher did not heed the end of the back-off.
            busy = self._dispatcher.after_event() or len(self._ledger.waiters) == 1
        if busy:
            self._board.nudge.ring()
        if hopeless:
            raise self._would_deadlock(waiter)

    def _wait(
        self,
        waiter: BelledWaiter,
        lease: Lease,
        client: Client,
        timeout: float,
        cancel: Cancel | None,
    ) -> None:
        """Sleep until there is something to have, and fill the lease with it."""
        deadline = waiter.since + timeout
        # A silent address must leave time for the next one of its name.
        answer = waiter.since + timeout / 2 if client.alternatives else deadline
        while True:
            if waiter.error is not None:
                raise copy.copy(waiter.error) from waiter.error.__cause__
            if waiter.place is not None:
                if self._accept(waiter, lease, client, deadline):
                    return
            elif cancel is not None and cancel.cancelled:
                raise Cancelled
            elif (left := self._left(waiter, deadline, answer)) > 0:
                if not waiter.bell.wait(min(SLICE, left)):
                    client.relieve()
                    self._look_again()
            else:
                waited = time.monotonic() - waiter.since
                raise nothing_came(self._board, self._opener, client, waited)

    def _left(self, waiter: BelledWaiter, deadline: float, answer: float) -> float:
        """Seconds for which it makes sense to go on waiting.

        Raises:
            WouldDeadlock: What was held by others when the wait began is held by waiters now.
        """
        now = time.monotonic()
        with self._lock:
            if not self._dispatcher.mailbox and deadlocked(self._ledger, waiter, now):
                raise self._would_deadlock(waiter)
            answered = any(slot.connected for slot in self._ledger.slots)
        return (deadline if answered else min(deadline, answer)) - now

    def _accept(self, waiter: BelledWaiter, lease: Lease, client: Client, deadline: float) -> bool:
        """Look at the session that the waiter was given; False if there is none to have."""
        place = waiter.place
        if place is None:
            return False  # close() took it away between two looks
        now = time.monotonic()
        try:
            alive = self._lend(lease, place, client, now, deadline)
        except PlaceRefused:
            self._place_refused(waiter, place, now)
            return False
        with self._lock:
            if waiter.place is not place or place.owner is not waiter:
                return False  # revoked by close(): the loop finds the error
            if alive and not client.closed:
                self._ledger.accept(waiter, lease.grip, now)
                return True
            client.totals.lost += not alive
            self._ledger.decline(waiter, now)
            busy = self._dispatcher.after_event()
        if busy:
            self._board.nudge.ring()
        return False

    def _place_refused(self, waiter: BelledWaiter, place: Place, now: float) -> None:
        with self._lock:
            self._ledger.place_refused(place, waiter, now)
            busy = self._dispatcher.after_event()
        if busy:
            self._board.nudge.ring()

    @staticmethod
    def _lend(lease: Lease, place: Place, client: Client, now: float, deadline: float) -> bool:
        """Look at a session and fill the lease with it; False if it is dead."""
        slot = place.slot
        wire: Wire = slot.session
        limit = max(LEAST, deadline - now)
        try:
            if not wire.looks_alive():
                return False
            if now - slot.last_used >= client.check_after_idle:
                if not wire.check(limit):
                    return False
                limit = max(LEAST, deadline - time.monotonic())
            lease.begin(place, wire, now, limit)
        except PlaceRefused:
            raise
        except Exception:  # noqa: BLE001 - whatever a dead session raises, another is taken
            return False
        return True

    def give_back(self, place: Place, grip: Grip, *, doom: bool) -> bool:
        """End a loan: the next borrower gets the session, or it is ended if it is not clean.

        Returns:
            False if it had ended already.
        """
        wire: Wire | None = place.slot.session
        client = client_of(place.slot)
        try:
            if wire is not None and place.owner is grip and grip.loan is not None:
                spoiled, doom = doom, True
                doom = not wire.take_back(grip.loan, doom=spoiled)
        finally:
            # Whatever came in between (a Ctrl-C), the place must not be lost with it.
            with self._lock:
                now = time.monotonic()
                held = self._ledger.release(place, grip, now, doom=doom)
                if held:
                    totals = client.totals
                    totals.returned += 1
                    totals.discarded += doom
                    totals.use_seconds += now - grip.since
                busy = self._ledger.busy and self._dispatcher.after_event()
            if busy:
                self._board.nudge.ring()
        if grip.told:
            self._tell_resolved(client, grip, now - grip.since)
        if held and client.listening:
            from ftppool.events import SessionReturned

            used = now - grip.since
            client.emit(
                SessionReturned(pool=client.name, address=self._name, used=used, kept=not doom)
            )
        return held

    def _tell_failed(self, client: Client, waited: float, error: FTPPoolError) -> None:
        from ftppool.events import SlotWaitFailed

        client.emit(
            SlotWaitFailed(pool=client.name, address=self._name, waited=waited, error=str(error))
        )

    def _tell_resolved(self, client: Client, grip: Grip, age: float) -> None:
        log.warning(
            "ftppool: the session to %s that %s had for long came back after %.1f s",
            self.address, grip.task.name, age,
            event="LeakResolved", pool=client.name, address=self._name, seconds=age,
        )  # fmt: skip
        if client.heard:
            from ftppool.events import LeakResolved

            client.emit(
                LeakResolved(pool=client.name, address=self._name, age=age, thread=grip.task.name)
            )

    def _reclaim(self, grip: Grip) -> Client | None:
        """End what a lost lease held, of the pool returned; None if it held nothing (any more)."""
        with self._lock:
            places = [place for slot in self._ledger.slots for place in slot.places]
        for place in places:
            if place.owner is grip and self.give_back(place, grip, doom=True):
                return client_of(place.slot)
        return None

    def lost(self, grip: Grip) -> None:
        """A lease was lost: called by a finalizer, so it only drops a note."""
        self._dispatcher.mailbox.append(grip)
        self._board.nudge.ring()

    def abandon(self, client: Client) -> None:
        """Nobody has this pool any more: called by a finalizer, so it only drops a note."""
        if client in self._board.clients:
            self._dispatcher.orphans.append(client)
            self._board.nudge.ring()

    def _look_again(self) -> None:
        with self._lock:
            self._ledger.pump(time.monotonic())
            busy = self._dispatcher.after_event()
        if busy:
            self._board.nudge.ring()

    def wanted(self, grip: Grip) -> bool:
        """True if others have waited long for what this borrower and his like pass on."""
        since = time.monotonic() - PATIENCE
        with self._lock:
            return self._ledger.owed > 0 or any(
                waiter.since < since and not waiter.served and waiter.threads[-1] != grip.group
                for waiter in self._ledger.waiters
            )

    # -- the end of a pool -------------------------------------------------------------------------

    def resize(self, client: Client, cap: int) -> None:
        """Let a pool have another cap from now on; surplus sessions end when they are idle."""
        with self._lock:
            client.cap = cap
            self._ledger.pump(time.monotonic())
            self._dispatcher.after_event()
        self._board.nudge.ring()

    def expire(self, client: Client) -> None:
        """End the sessions that exist now as soon as nobody uses them."""
        with self._lock:
            self._ledger.expire(client, time.monotonic())
            self._dispatcher.after_event()
        self._board.nudge.ring()

    def close(self, client: Client, timeout: float) -> CloseReport:
        """End all sessions of a pool, with `timeout` as one total."""
        return Closing(self._board, self._opener, self._dispatcher, client).run(timeout)

    def farewell(self) -> Farewell:
        """What ends everything at the interpreter's exit."""
        return Farewell(self._board, self._opener, self._dispatcher)

    def disown(self) -> None:
        """In a forked child: close the copies of the descriptors, and begin with nothing.

        Another thread of the parent may have had the lock, so it is not taken but replaced.
        """
        for slot in self._ledger.slots:
            wire: Wire | None = slot.session
            if wire is not None:
                wire.disown()
            for place in slot.places:
                owner, place.owner = place.owner, None
                if wire is not None and isinstance(owner, Grip):
                    wire.take_back(owner.loan)
        for sock, _ in list(self._opener.connecting.values()):
            drop(sock)
        self._set_up()

    # -- what it says about itself -----------------------------------------------------------------

    def stats(self, client: Client) -> PoolStats:
        """Take a snapshot of one pool."""
        with self._lock:
            return snapshot(self._ledger, client, self._name)

    def trouble(self, client: Client) -> tuple[str, float]:
        """Why there is no (further) connection, see :func:`ftppool.reasons.trouble`."""
        return trouble(self._board, self._opener, client)

    def _would_deadlock(self, waiter: BelledWaiter) -> FTPPoolError:
        ledger = self._ledger
        failure = ledger.last_failure if ledger.learned is not None else None
        return would_deadlock(self.address, waiter.tenant.cap, ledger.effective, failure)

    @property
    def denied(self) -> bool:
        """True while this process waits for slots that others have."""
        return bool(self._opener.asking)

    def live(self, client: Client) -> int:
        """Count the connections of all others in this process."""
        now = time.monotonic()
        with self._lock:
            return sum(
                slot.tenant is not client and slot.connected and not slot.settled(now)
                for slot in self._ledger.slots
            )


_gates: dict[tuple[str, int], Gate] = {}
_gates_lock = threading.Lock()


def gate_for(address: Address) -> Gate:
    """Return the one gate of an address; it stays for the life of the process.

    A gate without pools has no thread and no connection, but it remembers what it learned and until
    when the address must be left alone.
    """
    where = (address.ip, address.port)
    gate = _gates.get(where)
    if gate is None:
        with _gates_lock:
            if not _gates:
                _end_in_worker_process()
            gate = _gates.setdefault(where, Gate(address))
    return gate


def _end_all() -> None:
    """Say QUIT for pools that the program forgot to close."""
    end_all([gate.farewell() for gate in list(_gates.values())])


at_exit(_end_all)


def _end_in_worker_process() -> None:
    """Processes of ``multiprocessing`` end without the interpreter's exit handlers."""
    module = sys.modules.get("multiprocessing.util")
    if module is not None and sys.modules["multiprocessing.process"].parent_process() is not None:
        module.Finalize(None, _end_all, exitpriority=1)


def _after_fork() -> None:
    """In a forked child nothing of the parent's may be used, and its locks may be held for ever."""
    global _gates_lock  # noqa: PLW0603 - a new lock after fork
    _gates_lock = threading.Lock()
    gates = list(_gates.values())
    _gates.clear()
    for gate in gates:
        gate.disown()


in_child(_after_fork)
