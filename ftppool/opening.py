"""Opens and closes connections: each in a thread of its own, for the ledger."""

from __future__ import annotations

import logging
import random
import socket
import time

from ftppool.board import Board, client_of
from ftppool.client import Client, snapshot
from ftppool.drivers.base import OpenFailed, Wire, shut_down
from ftppool.errors import ConfigError, FTPPoolError, PoolClosed
from ftppool.events import ConnectFailed, SessionClosed, SessionOpened, SessionRefused
from ftppool.failures import open_error
from ftppool.limits.base import Limiter, Permit
from ftppool.refusals import Kind, Phase, Reply, Scope, Verdict, classify
from ftppool.retry import open_delay
from ftppool.slots import Slot

__all__ = ["Opener"]

_log = logging.getLogger("ftppool")

BAN = 600.0
"""Seconds without a connect after the server spoke of a ban."""
FEW = 3
"""Connects until something that only looks like a refusal counts as what it says."""
NO_PERMIT = (0.1, 0.25)
"""Seconds until the limiter is asked again: at random, so that processes do not march in step."""


class _Watch:
    """What the driver reports while it opens a slot's session."""

    def __init__(self, opener: Opener, slot: Slot) -> None:
        self._opener = opener
        self._slot = slot

    def connecting(self, sock: socket.socket) -> None:
        self._opener.connecting[self._slot] = sock

    def greeted(self) -> None:
        board = self._opener.board
        with board.lock:
            board.ledger.greeted(self._slot, time.monotonic())
        board.nudge.ring()


class Opener:
    """Does what the ledger asks for: opens and closes, and reports what came of it.

    ``connecting``, ``permits`` and ``asking`` need no lock: each use is one atomic step.

    Attributes:
        connecting: The sockets of the opens that are under way.
        permits: What the limiters gave, by slot.
        asking: The limiters in whose line this process stands.
    """

    def __init__(self, board: Board) -> None:
        self.board: Board = board
        self._address = str(board.address)
        self.connecting: dict[Slot, socket.socket] = {}
        self.permits: dict[Slot, Permit] = {}
        self.asking: dict[Limiter, None] = {}

    def open(self, slot: Slot) -> None:
        """Get a permit, connect and log in; the ledger hears how it ended."""
        client = client_of(slot)
        started = time.monotonic()
        try:
            with self.board.lock:
                cap = min(client.cap, self.board.ledger.effective)
            permit = client.limiter.take(self._address, cap)
            if permit is None:
                self.asking[client.limiter] = None
                delay = random.uniform(*NO_PERMIT)  # noqa: S311 - no secret
                with self.board.lock:
                    self.board.ledger.denied(slot, time.monotonic(), delay=delay)
                    self.board.wake()
                return
            self.permits[slot] = permit
            wire = client.driver.open(self.board.address, _Watch(self, slot))
        except OpenFailed as failed:
            self._open_failed(slot, client, failed.reply, failed.__cause__)
        except BaseException as error:  # noqa: BLE001 - a user's callable or a bug: to the waiters
            self._open_broke(slot, error)
        else:
            now = time.monotonic()
            lifetime = client.max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - no secret
            with self.board.lock:
                self.board.ledger.opened(slot, wire, now, expires=now + lifetime)
                self.board.wake()
            client.emit(
                SessionOpened(pool=client.name, address=self._address, elapsed=now - started)
            )
        finally:
            self.connecting.pop(slot, None)

    def _open_broke(self, slot: Slot, error: BaseException) -> None:
        """Not the server failed but what the user gave us (a password function), or we did."""
        failure = error
        if not isinstance(failure, FTPPoolError):
            words = f"no session to {self._address}: {type(error).__name__}: {error}"
            failure = ConfigError(words, phase="connect", address=self._address)
            failure.__cause__ = error
        with self.board.lock:
            self.board.ledger.open_failed(slot, failure, time.monotonic(), delay=0.0, for_good=True)
            self.board.wake()

    def _open_failed(
        self, slot: Slot, client: Client, reply: Reply, cause: BaseException | None
    ) -> None:
        elsewhere = client.limiter.others(self._address)
        with self.board.lock:
            ledger = self.board.ledger
            if client.closed:
                # We broke it off ourselves: that says nothing about the server.
                closed = PoolClosed("the pool was closed", address=self._address)
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
            error = open_error(verdict, reply, self.board.address)
            error.__cause__ = cause
            wait = 0.0 if for_good and verdict.kind is not Kind.BANNED else delay
            ledger.open_failed(slot, error, time.monotonic(), delay=wait, for_good=for_good)
            effective = snapshot(ledger, client).effective
            self.board.wake()
        self._tell_failure(client, verdict, error, effective, wait)

    def _tell_failure(
        self, client: Client, verdict: Verdict, error: FTPPoolError, effective: int, wait: float
    ) -> None:
        address = self._address
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

    def close(self, slot: Slot) -> None:
        """Say goodbye and close, within the driver's limits."""
        client = client_of(slot)
        wire: Wire = slot.session
        politely = False
        try:
            politely = wire.end()
        finally:
            with self.board.lock:
                self.board.ledger.closed(slot, time.monotonic(), politely=politely)
                self.board.wake()
        client.emit(SessionClosed(pool=client.name, address=self._address, politely=politely))

    def let_go(self, slots: list[Slot]) -> None:
        """Give back the permits of slots that are free again."""
        for slot in slots:
            permit = self.permits.pop(slot, None)
            if permit is not None:
                try:
                    permit.release()
                except Exception:  # noqa: BLE001 - the dispatcher must outlive a user's limiter
                    _log.exception("ftppool: the limiter failed to take a permit back")

    def leave_lines(self) -> None:
        """Stand in no limiter's line any more."""
        for limiter in list(self.asking):
            self.asking.pop(limiter, None)
            limiter.forgo(self._address)

    def break_off(self, client: Client) -> None:
        """Cut the opens of a pool that are under way."""
        with self.board.lock:
            connecting = list(self.connecting.items())
        shut_down([sock for slot, sock in connecting if slot.tenant is client])
