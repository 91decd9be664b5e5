"""One gate per server address: the ledger, driven with a lock and threads.

The gate's own daemon threads do every open and close, so that no Ctrl-C and no borrower's time-out
can fall between a connection and its slot. Borrowers only wait, transfer and give back.
"""

from __future__ import annotations

import copy
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from ftppool.bell import Bell
from ftppool.drivers.base import Address, Driver, OpenFailed, Wire, shut_down
from ftppool.errors import (
    AuthError,
    ConnectError,
    FTPPoolError,
    PoolTimeout,
    RemoteRejected,
    ServerBusy,
    WouldDeadlock,
)
from ftppool.events import ConnectFailed, Event, SessionClosed, SessionOpened, SessionRefused
from ftppool.lease import Grip, Lease
from ftppool.ledger import Ledger, Place, Slot, State, Tenant, Waiter
from ftppool.limits.base import Limiter, Permit
from ftppool.refusals import Kind, Phase, Reply, Scope, Verdict, classify
from ftppool.retry import RetryPolicy, open_delay
from ftppool.stats import CloseReport, Holder, PoolStats

__all__ = ["Cancel", "Cancelled", "Client", "Gate", "gate_for"]

SLICE = 0.5
"""Seconds between two looks of a waiter: what a lost wake-up costs at most."""
TICK = 1.0
"""Seconds between two looks of the dispatcher while there are sessions or waiters."""
BAN = 600.0
"""Seconds without a connect after the server spoke of a ban."""
NO_PERMIT = 0.25
"""Seconds until the limiter is asked again."""


@dataclass(eq=False, slots=True, kw_only=True)
class Client(Tenant):
    """A pool's terms at this address, with what is needed to make its sessions.

    Attributes:
        alternatives: True while the server's name has other addresses that were not tried yet; a
            failed connect is then not repeated here.
        worked: True once these credentials have logged in.
        done: Rung whenever something of this pool may have ended.
    """

    name: str
    driver: Driver
    limiter: Limiter
    policy: RetryPolicy
    max_lifetime: float
    check_after_idle: float
    emit: Callable[[Event], None]
    alternatives: bool = False
    worked: bool = False
    done: Bell = field(default_factory=Bell)


@dataclass(eq=False, slots=True)
class _Waiter(Waiter):
    bell: Bell = field(default_factory=Bell)


class Cancelled(Exception):
    """Waiting was given up by another thread."""


class Cancel:
    """Lets one thread end the waiting of others."""

    def __init__(self) -> None:
        self.cancelled = False
        self.bells: set[Bell] = set()

    def cancel(self) -> None:
        """End all waiting now, and any that begins later."""
        self.cancelled = True
        for bell in list(self.bells):
            bell.ring()


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

    ``_lock`` guards ``_ledger`` and every object in it, ``_clients``, ``_threads`` and
    ``_dispatcher``. Whoever holds it does no I/O, calls no driver, limiter or user code, and takes
    no other lock. ``_mailbox`` and ``_connecting`` need none: each use is one atomic step.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._ledger = Ledger()
        self._clients: set[Client] = set()
        self._threads: set[threading.Thread] = set()
        self._dispatcher: threading.Thread | None = None
        self._nudge = Bell()
        self._mailbox: deque[tuple[Place, Grip]] = deque()
        self._connecting: dict[Slot, socket.socket] = {}
        self._permits: dict[Slot, Permit] = {}

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
        try:
            with self._lock:
                self._ledger.wait(waiter, now)
                hopeless = self._ledger.deadlocked(waiter)
                busy = self._after_event()
            if busy or not waiter.served:
                self._nudge.ring()
            if hopeless:
                raise self._would_deadlock(client)
            while True:
                if waiter.error is not None:
                    raise copy.copy(waiter.error) from waiter.error.__cause__
                if waiter.place is not None:
                    lease = self._try_to_lend(waiter, client)
                    if lease is not None:
                        return lease
                    continue
                if cancel is not None and cancel.cancelled:
                    raise Cancelled
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._nothing_came(client, timeout)
                waiter.bell.wait(min(SLICE, left))
                if not waiter.served:
                    self._look_again()
        finally:
            if waiter.alive:
                waiter.alive = False
                self._look_again()
            if cancel is not None:
                cancel.bells.discard(waiter.bell)

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
        assert place is not None
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
            self._dispatcher = self._new_thread(self._dispatch, "dispatcher")
            self._dispatcher.start()

    def _new_thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        return threading.Thread(
            target=target, name=f"ftppool-{self.address}-{name}", daemon=True
        )

    def _dispatch(self) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                now = time.monotonic()
                self._read_mailbox(now)
                self._ledger.pump(now)
                self._after_event()
                jobs = list(self._ledger.claim_jobs())
                freed, self._ledger.freed = self._ledger.freed, []
                if self._dispatcher is not me or not (self._clients or self._ledger.slots):
                    self._dispatcher = None if self._dispatcher is me else self._dispatcher
                    break
                pause = self._pause(now)
            self._forget(freed)
            for slot in jobs:
                self._start_job(slot)
            self._nudge.wait(pause)
        self._forget(freed)

    def _pause(self, now: float) -> float | None:
        if not self._ledger.slots and not self._ledger.waiters:
            return None
        until = self._ledger.next_deadline(now)
        return TICK if until is None else min(TICK, max(0.0, until - now) + 0.001)

    def _read_mailbox(self, now: float) -> None:
        while self._mailbox:
            place, grip = self._mailbox.popleft()
            self._ledger.release(place, grip, now, doom=True)

    def _forget(self, freed: list[Slot]) -> None:
        for slot in freed:
            permit = self._permits.pop(slot, None)
            if permit is not None:
                permit.release()
        for client in list(self._clients):
            client.done.ring()

    def _start_job(self, slot: Slot) -> None:
        work = self._open if slot.state is State.OPENING else self._close

        def run() -> None:
            try:
                work(slot)
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())
                self._nudge.ring()

        thread = self._new_thread(run, work.__name__.strip("_"))
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            # No thread to be had, for want of memory or because the interpreter is about to exit.
            with self._lock:
                self._threads.discard(thread)
            run()

    def _open(self, slot: Slot) -> None:
        client = _client(slot)
        permit = client.limiter.take(str(self.address), client.cap)
        if permit is None:
            with self._lock:
                self._ledger.denied(slot, time.monotonic(), delay=NO_PERMIT)
            return
        self._permits[slot] = permit
        started = time.monotonic()
        try:
            wire = client.driver.open(self.address, _Watch(self, slot))
        except OpenFailed as failed:
            self._open_failed(slot, client, failed.reply, failed.__cause__)
        except BaseException as error:  # noqa: BLE001 - a user's callable or a bug: to the waiters
            reply = Reply(Phase.CONNECT, None, f"{type(error).__name__}: {error}")
            self._open_failed(slot, client, reply, error, bug=True)
        else:
            now = time.monotonic()
            lifetime = client.max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - no secret
            with self._lock:
                self._ledger.opened(slot, wire, now, expires=now + lifetime)
                client.worked = True
                self._after_event()
            client.emit(
                SessionOpened(
                    pool=client.name, address=str(self.address), elapsed=now - started
                )
            )
        finally:
            self._connecting.pop(slot, None)

    def _open_failed(
        self,
        slot: Slot,
        client: Client,
        reply: Reply,
        cause: BaseException | None,
        *,
        bug: bool = False,
    ) -> None:
        with self._lock:
            ledger = self._ledger
            live = sum(1 for other in ledger.slots if other is not slot and other.connected)
            verdict = classify(
                reply, live=live, worked_before=client.worked, patterns=client.policy.patterns
            )
            tries = ledger.failures + 1
            delay = BAN if verdict.kind is Kind.BANNED else open_delay(client.policy, tries)
            for_good = bug or verdict.kind in {Kind.AUTH, Kind.PERMANENT, Kind.BANNED}
            if verdict.kind in {Kind.TRANSIENT, Kind.STALE} and not live:
                elsewhere = client.alternatives and reply.phase is Phase.CONNECT
                for_good = for_good or elsewhere or tries >= client.policy.attempts
            if verdict.kind is Kind.BUSY:
                client.totals.refused += 1
                ledger.refused(
                    slot,
                    time.monotonic(),
                    hint=verdict.limit,
                    of_user=verdict.scope is Scope.USER,
                    of_server=verdict.scope is Scope.SERVER,
                )
            else:
                client.totals.connect_failed += 1
            error = _error(verdict, reply, self.address, bug=bug)
            error.__cause__ = cause
            wait = 0.0 if for_good and verdict.kind is not Kind.BANNED else delay
            ledger.open_failed(slot, error, time.monotonic(), delay=wait, for_good=for_good)
            effective = min(client.cap, ledger.learned or client.cap)
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
        client.emit(
            SessionClosed(pool=client.name, address=str(self.address), politely=politely)
        )

    # -- the end of a pool -------------------------------------------------------------------------

    def expire(self, client: Client) -> None:
        """End the sessions that exist now as soon as nobody uses them."""
        with self._lock:
            self._ledger.expire(client, time.monotonic())
            self._after_event()
        self._nudge.ring()

    def close(self, client: Client, timeout: float) -> CloseReport:
        """End all sessions of a pool, with `timeout` as one total.

        Waiters fail at once, idle sessions say QUIT, leases may end by themselves until about half
        of the time is gone, and are cut then.
        """
        started = time.monotonic()
        before = copy.copy(client.totals)
        with self._lock:
            self._ledger.shut(client, started)
            connecting = [
                sock for slot, sock in self._connecting.items() if slot.tenant is client
            ]
            self._after_event()
        shut_down(connecting)
        self._nudge.ring()
        patience = timeout - min(timeout / 2, GOODBYE)
        if not self._wait_for_end(client, started + patience):
            self._cut(client)
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

    def _cut(self, client: Client) -> None:
        with self._lock:
            held = [
                slot
                for slot in self._ledger.slots
                if slot.tenant is client and slot.state is State.OPEN
            ]
            wires: list[Wire] = [slot.session for slot in held]
        for wire in wires:
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
            threads = set(self._threads)
            if self._dispatcher is not None and not self._ledger.slots:
                threads.add(self._dispatcher)
        for thread in threads - {threading.current_thread()}:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread in threads)

    # -- what it says about itself -----------------------------------------------------------------

    def stats(self, client: Client) -> PoolStats:
        """Take a snapshot of one pool."""
        with self._lock:
            ledger, totals = self._ledger, client.totals
            mine = [slot for slot in ledger.slots if slot.tenant is client]
            opened = [slot for slot in mine if slot.state is State.OPEN]
            learned = [limit for limit in (ledger.learned, client.learned) if limit is not None]
            return PoolStats(
                cap=client.cap,
                learned=min(learned, default=None),
                effective=max(1, min([client.cap, *learned])),
                open=len(opened),
                idle=sum(slot.idle for slot in opened),
                leased=sum(
                    isinstance(place.owner, Grip) for slot in opened for place in slot.places
                ),
                opening=ledger.count(State.OPENING, client),
                closing=ledger.count(State.CLOSING, client),
                settling=ledger.count(State.SETTLING, client),
                waiting=sum(1 for waiter in ledger.waiters if waiter.tenant is client),
                opened=totals.opened,
                closed=totals.closed,
                quits=totals.quits,
                cut=totals.cut,
                refused=totals.refused,
                connect_failed=totals.connect_failed,
                reused=totals.reused,
                acquired=totals.acquired,
                acquire_timeouts=totals.acquire_timeouts,
                wait_seconds=totals.wait_seconds,
                wait_max=totals.wait_max,
            )

    def _holders(self, now: float) -> tuple[Holder, ...]:
        return tuple(
            place.owner.holder(now)
            for slot in self._ledger.slots
            for place in slot.places
            if isinstance(place.owner, Grip)
        )

    def _nothing_came(self, client: Client, timeout: float) -> FTPPoolError:
        with self._lock:
            now = time.monotonic()
            client.totals.acquire_timeouts += 1
            failure = self._ledger.last_failure
            alive = any(slot.connected for slot in self._ledger.slots)
            holders = self._holders(now)
            effective = self._ledger.effective
        if failure is not None and not alive:
            error = copy.copy(failure)
            error.args = (f"no session within {timeout:g} s; {failure}",)
            error.__cause__ = failure
            return error
        who = "; ".join(f"{h.thread} for {h.age:.1f} s ({h.where})" for h in holders)
        message = (
            f"no session to {self.address} came free within {timeout:g} s: "
            f"{len(holders)} of {effective} are in use" + (f", by {who}" if who else "")
        )
        timed_out = PoolTimeout(message, phase="acquire", address=str(self.address))
        timed_out.holders = holders
        timed_out.__cause__ = failure
        return timed_out

    def _would_deadlock(self, client: Client) -> WouldDeadlock:
        return WouldDeadlock(
            f"this thread holds a session to {self.address} and asks for another, but all "
            f"{client.cap} are held by threads that wait as well: give yours back first, or raise "
            "max_per_ip if the server allows it",
            phase="acquire",
            address=str(self.address),
        )


GOODBYE = 4.0
"""Seconds of close() kept for QUIT, the final FIN and settling."""

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


def _error(verdict: Verdict, reply: Reply, address: Address, *, bug: bool) -> FTPPoolError:
    """Say in our own words what an open failed of; the server's words come last."""
    kind: type[FTPPoolError]
    if verdict.kind is Kind.AUTH:
        kind, what = AuthError, "refuses the login; check user and password"
    elif verdict.kind is Kind.BANNED:
        kind, what = ServerBusy, "has banned this client; nothing is tried for 10 minutes"
    elif verdict.kind is Kind.BUSY:
        kind, what = ServerBusy, "refuses more connections"
    elif verdict.kind is Kind.PERMANENT and reply.code is not None:
        kind, what = RemoteRejected, "refuses the session"
    else:
        kind, what = ConnectError, "cannot be reached"
    return kind(
        f"{address} {what}: {reply.text}",
        code=reply.code,
        reply=reply.text if reply.code is not None else None,
        phase=reply.phase.value,
        address=str(address),
        retryable=not bug and verdict.kind in {Kind.BUSY, Kind.TRANSIENT, Kind.STALE},
    )


