"""One gate per server address: the ledger, driven with a lock and threads.

The gate's own daemon threads do every open and close, so that no Ctrl-C and no borrower's time-out
can fall between a connection and its slot. Borrowers only wait, transfer and give back.
"""

from __future__ import annotations

import copy
import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from ftppool.bell import Bell
from ftppool.client import Cancel, Cancelled, Client, holders_of, snapshot
from ftppool.drivers.base import Address, OpenFailed, Wire, shut_down
from ftppool.errors import ConfigError, FTPPoolError, PoolClosed
from ftppool.events import ConnectFailed, SessionClosed, SessionOpened, SessionRefused
from ftppool.failures import gave_up, held_elsewhere, open_error, timed_out, would_deadlock
from ftppool.lease import Grip, Lease
from ftppool.ledger import Ledger
from ftppool.limits.base import Limiter, Permit
from ftppool.refusals import Kind, Phase, Reply, Scope, Verdict, classify
from ftppool.retry import open_delay
from ftppool.slots import Place, Slot, State, Waiter
from ftppool.stats import CloseReport, PoolStats
from ftppool.workers import Workers

__all__ = ["Gate", "gate_for"]

_log = logging.getLogger("ftppool")

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


@dataclass(eq=False, slots=True)
class _Waiter(Waiter):
    bell: Bell = field(default_factory=Bell)


class _Watch:
    """What the driver reports while it opens a slot's session."""

    def __init__(self, gate: Gate, slot: Slot) -> None:
        self._gate = gate
        self._slot = slot

    def connecting(self, sock: socket.socket) -> None:
        self._gate._connecting[self._slot] = sock

    def greeted(self) -> None:
        gate = self._gate
        with gate._lock:
            gate._ledger.greeted(self._slot, time.monotonic())
        gate._nudge.ring()


class Gate:
    """All connections of this process to one address.

    ``_lock`` guards ``_ledger`` and every object in it, ``_clients`` and ``_dispatcher``. Whoever
    holds it does no I/O, calls no driver, limiter or user code, and takes no other lock.
    ``_mailbox`` and ``_connecting`` need none: each use is one atomic step.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._ledger = Ledger()
        self._clients: set[Client] = set()
        self._workers = Workers(f"ftppool-{address}")
        self._dispatcher: threading.Thread | None = None
        self._nudge = Bell()
        self._mailbox: deque[tuple[Place, Grip]] = deque()
        self._connecting: dict[Slot, socket.socket] = {}
        self._permits: dict[Slot, Permit] = {}
        self._asking: dict[Limiter, None] = {}
        self._eased = 0.0

    # -- borrowing ---------------------------------------------------------------------------------

    def attach(self, client: Client) -> None:
        """Let a pool in; its cap counts from now on while it holds or waits."""
        with self._lock:
            self._clients.add(client)
            self._start_dispatcher()

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
        waiter = _Waiter(client, threads, now)
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
                    lease = self._try_to_lend(waiter, client)
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

    def _enter(self, waiter: _Waiter, client: Client, now: float) -> None:
        with self._lock:
            self._ledger.wait(waiter, now)
            # With a note in the mailbox a place is about to come free.
            hopeless = not self._mailbox and self._ledger.deadlocked(waiter)
            self._after_event()
        if not waiter.served:
            self._nudge.ring()
        if hopeless:
            raise would_deadlock(self.address, client.cap)

    def give_back(self, place: Place, grip: Grip, *, doom: bool) -> None:
        """End a loan: the next borrower gets the session, or it is ended if it is not clean."""
        wire: Wire | None = place.slot.session
        if wire is not None and place.owner is grip:
            doom = not wire.take_back(grip.loan) or doom
        with self._lock:
            self._ledger.release(place, grip, time.monotonic(), doom=doom)
            busy = self._after_event()
        if busy:
            self._nudge.ring()

    def lost(self, place: Place, grip: Grip) -> None:
        """A lease was lost: called by a finalizer, so it only drops a note."""
        self._mailbox.append((place, grip))

    def _try_to_lend(self, waiter: _Waiter, client: Client) -> Lease | None:
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
                now - slot.last_used < client.check_after_idle or wire.check()
            ):
                loan = wire.lend()
        except Exception:  # noqa: BLE001 - whatever a dead session raises, another one is taken
            loan = None
        if loan is None:
            with self._lock:
                self._ledger.decline(waiter, now)
                self._after_event()
            self._nudge.ring()
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
            self._nudge.ring()

    def _after_event(self) -> bool:
        """Wake who was served; True if the dispatcher has something to do. Needs the lock."""
        for waiter in self._ledger.waiters:
            if waiter.served and isinstance(waiter, _Waiter):
                waiter.bell.ring()
        self._start_dispatcher()
        return bool(self._ledger.freed) or any(
            slot.state in (State.OPENING, State.CLOSING) and not slot.claimed
            for slot in self._ledger.slots
        )

    # -- the dispatcher and its workers ------------------------------------------------------------

    def _start_dispatcher(self) -> None:
        """Have a dispatcher while there is something for it to do. Needs the lock."""
        if self._dispatcher is not None and self._dispatcher.is_alive():
            return
        if self._clients or self._ledger.slots:
            self._dispatcher = self._workers.new(self._dispatch, "dispatcher")
            self._dispatcher.start()

    def _dispatch(self) -> None:
        me = threading.current_thread()
        while True:
            self._read_mailbox()
            with self._lock:
                now = time.monotonic()
                if self._dispatcher is not me:
                    return  # a Ctrl-C in start() made two of us: the other one has the work
                self._ledger.pump(now)
                self._after_event()
                jobs = list(self._ledger.claim_jobs())
                freed, self._ledger.freed = self._ledger.freed, []
                if not (self._clients or self._ledger.slots):
                    self._dispatcher = None
                    break
                pause = self._pause(now)
            self._forget(freed)
            for slot in jobs:
                self._start_job(slot)
            self._be_fair(now)
            self._nudge.wait(pause)
        self._forget(freed)
        self._leave_lines()

    def _pause(self, now: float) -> float | None:
        if not self._ledger.slots and not self._ledger.waiters and not self._asking:
            return None
        until = self._ledger.next_deadline(now)
        return TICK if until is None else min(TICK, max(0.0, until - now) + 0.001)

    def _read_mailbox(self) -> None:
        """End the sessions whose leases were lost; only the dispatcher does this."""
        while self._mailbox:
            place, grip = self._mailbox[0]
            self.give_back(place, grip, doom=True)
            self._mailbox.popleft()  # last: while it is there nobody takes this for a deadlock

    def _forget(self, freed: list[Slot]) -> None:
        for slot in freed:
            permit = self._permits.pop(slot, None)
            if permit is not None:
                try:
                    permit.release()
                except Exception:  # noqa: BLE001 - the dispatcher must outlive a limiter of the user's
                    _log.exception("ftppool: the limiter failed to take a permit back")
        for client in list(self._clients):
            client.done.ring()

    def _be_fair(self, now: float) -> None:
        """Give up what other processes need more; leave the line where nobody of us waits."""
        if now - self._eased < TICK * 0.9:
            return
        self._eased = now
        with self._lock:
            waiting = bool(self._ledger.waiters)
            cap = self._ledger.effective
            limiters = {_client(slot).limiter for slot in self._ledger.slots}
        if not waiting:
            self._leave_lines()
        allowed = [
            allowance
            for limiter in limiters
            if (allowance := limiter.pressure(str(self.address), cap)) is not None
        ]
        with self._lock:
            if not allowed:
                self._ledger.owed = 0
                return
            with_idle = min(allowance.with_idle for allowance in allowed)
            in_use = min(allowance.in_use for allowance in allowed)
            self._ledger.make_room(with_idle, in_use, time.monotonic())
            self._after_event()
        self._nudge.ring()

    def _leave_lines(self) -> None:
        for limiter in list(self._asking):
            self._asking.pop(limiter, None)
            limiter.forgo(str(self.address))

    def wanted(self) -> bool:
        """True if another process waits for a session of this one; give yours back if you can."""
        return self._ledger.owed > 0

    def _start_job(self, slot: Slot) -> None:
        work = self._open if slot.state is State.OPENING else self._close

        def job() -> None:
            try:
                work(slot)
            finally:
                self._nudge.ring()

        self._workers.do(job, slot.state.value)

    def _open(self, slot: Slot) -> None:
        client = _client(slot)
        started = time.monotonic()
        try:
            with self._lock:
                cap = min(client.cap, self._ledger.effective)
            permit = client.limiter.take(str(self.address), cap)
            if permit is None:
                self._asking[client.limiter] = None
                delay = random.uniform(*NO_PERMIT)  # noqa: S311 - no secret
                with self._lock:
                    self._ledger.denied(slot, time.monotonic(), delay=delay)
                    self._after_event()
                return
            self._permits[slot] = permit
            wire = client.driver.open(self.address, _Watch(self, slot))
        except OpenFailed as failed:
            self._open_failed(slot, client, failed.reply, failed.__cause__)
        except BaseException as error:  # noqa: BLE001 - a user's callable or a bug: to the waiters
            self._open_broke(slot, error)
        else:
            now = time.monotonic()
            lifetime = client.max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - no secret
            with self._lock:
                self._ledger.opened(slot, wire, now, expires=now + lifetime)
                self._after_event()
            client.emit(
                SessionOpened(pool=client.name, address=str(self.address), elapsed=now - started)
            )
        finally:
            self._connecting.pop(slot, None)

    def _open_broke(self, slot: Slot, error: BaseException) -> None:
        """Not the server failed but what the user gave us (a password function), or we did."""
        failure = error
        if not isinstance(failure, FTPPoolError):
            words = f"no session to {self.address}: {type(error).__name__}: {error}"
            failure = ConfigError(words, phase="connect", address=str(self.address))
            failure.__cause__ = error
        with self._lock:
            self._ledger.open_failed(slot, failure, time.monotonic(), delay=0.0, for_good=True)
            self._after_event()

    def _open_failed(
        self, slot: Slot, client: Client, reply: Reply, cause: BaseException | None
    ) -> None:
        elsewhere = client.limiter.others(str(self.address))
        with self._lock:
            ledger = self._ledger
            if client.closed:
                # We broke it off ourselves: that says nothing about the server.
                closed = PoolClosed("the pool was closed", address=str(self.address))
                ledger.open_failed(slot, closed, time.monotonic(), delay=0.0, for_good=True)
                return
            live = sum(1 for other in ledger.slots if other is not slot and other.connected)
            verdict = classify(
                reply, live=live, worked_before=client.proven, patterns=client.policy.patterns
            )
            tries = ledger.failures + 1
            delay = BAN if verdict.kind is Kind.BANNED else open_delay(client.policy, tries)
            for_good = verdict.kind in {Kind.AUTH, Kind.PERMANENT, Kind.BANNED}
            if not live:
                # With a session of ours alive, those who wait can have that one.
                for_good |= verdict.kind in {Kind.TRANSIENT, Kind.STALE} and (
                    tries >= client.policy.attempts
                    or (client.alternatives and reply.phase is Phase.CONNECT)
                )
                for_good |= verdict.few_tries and tries >= FEW
            if verdict.kind is Kind.BUSY:
                client.totals.refused += 1
                ledger.refused(
                    slot,
                    time.monotonic(),
                    hint=verdict.limit,
                    of_user=verdict.scope is Scope.USER,
                    of_server=verdict.scope in {Scope.SERVER, Scope.CONNECTION},
                    elsewhere=elsewhere,
                )
            else:
                client.totals.connect_failed += 1
            error = open_error(verdict, reply, self.address)
            error.__cause__ = cause
            wait = 0.0 if for_good and verdict.kind is not Kind.BANNED else delay
            ledger.open_failed(slot, error, time.monotonic(), delay=wait, for_good=for_good)
            effective = snapshot(ledger, client).effective
            self._after_event()
        self._tell_failure(client, verdict, error, effective, wait)

    def _tell_failure(
        self, client: Client, verdict: Verdict, error: FTPPoolError, effective: int, wait: float
    ) -> None:
        address = str(self.address)
        if verdict.kind is Kind.BUSY:
            client.emit(
                SessionRefused(
                    pool=client.name,
                    address=address,
                    reply=error.reply or "",
                    effective=effective,
                    wait=wait,
                )
            )
        else:
            client.emit(
                ConnectFailed(pool=client.name, address=address, error=str(error), wait=wait)
            )

    def _close(self, slot: Slot) -> None:
        client = _client(slot)
        wire: Wire = slot.session
        politely = False
        try:
            politely = wire.end()
        finally:
            with self._lock:
                self._ledger.closed(slot, time.monotonic(), politely=politely)
                self._after_event()
        client.emit(SessionClosed(pool=client.name, address=str(self.address), politely=politely))

    # -- the end of a pool -------------------------------------------------------------------------

    def resize(self, client: Client, cap: int) -> None:
        """Let a pool have another cap from now on; surplus sessions end when they are idle."""
        with self._lock:
            client.cap = cap
            self._ledger.pump(time.monotonic())
            self._after_event()
        self._nudge.ring()

    def expire(self, client: Client) -> None:
        """End the sessions that exist now as soon as nobody uses them."""
        with self._lock:
            self._ledger.expire(client, time.monotonic())
            self._after_event()
        self._nudge.ring()

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
        self._nudge.ring()
        patience = timeout - min(timeout / 2, GOODBYE) if patient else 0.0
        steps = [(patience, self._take_away), (min(timeout / 2, LOGIN), self._cut_openings)]
        for after, step in sorted(steps, key=lambda pair: pair[0]):
            if not self._wait_for_end(client, started + after):
                step(client)
        gone = self._wait_for_end(client, started + timeout)
        with self._lock:
            self._clients.discard(client)
        self._nudge.ring()
        left = self._join(started + timeout)
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
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            client.done.wait(min(SLICE, left))

    def _cut_openings(self, client: Client) -> None:
        with self._lock:
            connecting = list(self._connecting.items())
        shut_down([sock for slot, sock in connecting if slot.tenant is client])

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
        self._nudge.ring()

    def _join(self, deadline: float) -> int:
        """Wait for the threads that have no more work; the number of those that still run."""
        with self._lock:
            if self._clients:
                return 0  # the gate lives on for other pools
            dispatcher = None if self._ledger.slots else self._dispatcher
        return self._workers.join(deadline, dispatcher)

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
        others = client.limiter.elsewhere(str(self.address)) if self._asking else ""
        if alive:
            return timed_out(self.address, timeout, holders, effective, failure, others=others)
        if others:
            return held_elsewhere(self.address, timeout, others, failure)
        if failure is not None:
            return gave_up(failure, timeout)
        return timed_out(self.address, timeout, holders, effective, failure)


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


def _client(slot: Slot) -> Client:
    assert isinstance(slot.tenant, Client)
    return slot.tenant
