"""Opens and closes connections: each in a thread of its own, for the ledger."""

from __future__ import annotations

import math
import random
import socket
import threading
import time
from collections.abc import Callable

from ftppool.board import Board, client_of
from ftppool.client import Client, snapshot
from ftppool.drivers.base import OpenFailed, Wire, Withdrawn, shut_down
from ftppool.errors import ConfigError, FTPPoolError, PoolClosed
from ftppool.failures import banned, open_error
from ftppool.lessons import Ban, Lesson, Lessons
from ftppool.limits.base import Denied, Limiter
from ftppool.logins import besides
from ftppool.logs import log
from ftppool.refusals import Kind, Phase, Reply, Scope, Verdict, classify
from ftppool.retry import open_delay
from ftppool.slots import Slot, State
from ftppool.turns import Turns
from ftppool.words import in_words

__all__ = ["LOGIN", "SILENCE", "Opener"]

STARTUPS = 1.0
"""Seconds at least until the next connect to an SSH server that is too busy with logins; OpenSSH
counts clients that come again at once among those that it locks out."""
FEW = 3
"""Connects until something that only looks like a refusal counts as what it says."""
NO_PERMIT = (0.1, 0.25)
"""Seconds until the limiter is asked again: at random, so that processes do not march in step."""
LOGIN = 3.0
"""Seconds for which the opens of a closed pool may go on, to be ended with QUIT after the login."""
SILENCE = 2.0
"""Seconds from its beginning for which an open of a closed pool may wait to be greeted."""


class _Watch:
    """What the driver reports while it opens a slot's session."""

    def __init__(self, opener: Opener, slot: Slot) -> None:
        self._opener = opener
        self._slot = slot
        self._since = time.monotonic()

    def connecting(self, sock: socket.socket) -> None:
        client, begun = client_of(self._slot), self._slot in self._opener.connecting
        # First this and then the look: break_off() does both the other way round.
        self._opener.connecting[self._slot] = sock, self._since
        if client.broken_off or (client.closed and not begun):
            raise OpenFailed(Reply(Phase.CONNECT, None, "the pool was closed"))

    def greeted(self) -> None:
        board = self._opener.board
        with board.lock:
            board.ledger.greeted(self._slot, time.monotonic())
        board.nudge.ring()

    def wait_to_log_in(self) -> None:
        if not self._opener.turns.wait(self._slot):
            raise Withdrawn


class Opener:
    """Does what the ledger asks for: opens and closes, and reports what came of it.

    ``connecting``, ``asking`` and ``pausing`` need no lock: each use is one atomic step.

    Attributes:
        connecting: The sockets of the opens that are under way, and when each began.
        turns: Where those wait that are not to log in yet.
        asking: The limiters in whose line this process stands.
        pausing: The limiters that know that it waits, and are to hear when nobody does any more.
    """

    def __init__(self, board: Board) -> None:
        self.board: Board = board
        self.turns: Turns = Turns(board)
        self._address = str(board.address)
        self.connecting: dict[Slot, tuple[socket.socket, float]] = {}
        self.asking: dict[Limiter, None] = {}
        self.pausing: dict[Limiter, None] = {}
        # So that what was read before a lesson is not applied after it. The board's lock is taken
        # within this one, never the other way round.
        self._learning = threading.Lock()
        self._of_all: dict[Limiter, Lesson | None] = {}

    def open(self, slot: Slot) -> None:
        """Get a permit, connect and log in; the ledger hears how it ended."""
        client = client_of(slot)
        try:
            try:
                ban = self.look_up(client.limiter).ban
                if ban is None or ban.over(time.time()):
                    self._connect(slot, client)
                else:
                    self._stay_out(slot, ban)
            except OpenFailed as failed:
                self._open_failed(slot, client, failed.reply, failed.__cause__)
            except Withdrawn:
                with self.board.lock:
                    self.board.ledger.withdrawn(slot, time.monotonic())
        except BaseException as error:  # noqa: BLE001 - a user's callable or a bug: to the waiters
            self._open_broke(slot, error)
        finally:
            self.connecting.pop(slot, None)
            self.turns.look_again()

    def _connect(self, slot: Slot, client: Client) -> None:
        started = time.monotonic()
        with self.board.lock:
            cap = min(client.cap, self.board.ledger.cap or client.cap)
        permit = client.limiter.take(self._address, cap, client.user)
        if isinstance(permit, Denied):
            of_user = permit is Denied.USER
            if not of_user:
                self.asking[client.limiter] = None
            delay = random.uniform(*NO_PERMIT)  # noqa: S311 - no secret
            with self.board.lock:
                self.board.ledger.denied(slot, time.monotonic(), delay=delay, of_user=of_user)
            return
        self.board.permits[slot] = permit
        if client.listening:
            from ftppool.events import SessionOpening

            client.emit(SessionOpening(pool=client.name, address=self._address))
        wire = client.driver.open(self.board.address, _Watch(self, slot))
        try:
            if permit.trying:
                with self._learning:
                    self._apply(client.limiter, client.limiter.proved(self._address, permit))
            now = time.monotonic()
            lifetime = client.max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - no secret
            with self.board.lock:
                client.totals.open_seconds += now - started
                self.board.ledger.opened(slot, wire, now, expires=now + lifetime)
            self.turns.look_again()
        except BaseException:
            if slot.session is not wire:
                wire.end()
            raise
        if client.heard:
            from ftppool.events import SessionOpened

            client.emit(
                SessionOpened(pool=client.name, address=self._address, elapsed=now - started)
            )

    # -- what the server teaches -------------------------------------------------------------------

    def look_up(self, limiter: Limiter) -> Lessons:
        """Let the ledger know what is known of the server now."""
        with self._learning:
            lessons = limiter.lessons(self._address)
            self._apply(limiter, lessons)
        return lessons

    def glance(self, limiter: Limiter) -> None:
        """The same, unless somebody is about to learn: the dispatcher has more to do than wait."""
        if not self._learning.locked():
            self.look_up(limiter)

    def _teach(self, client: Client, change: Callable[[Lessons], Lessons]) -> Lessons:
        with self._learning:
            lessons = client.limiter.teach(self._address, change)
            self._apply(client.limiter, lessons)
        return lessons

    def _apply(self, limiter: Limiter, lessons: Lessons) -> None:
        now, wall = time.monotonic(), time.time()

        def teach(tenant: Client | None, lesson: Lesson | None) -> None:
            if lesson is None:
                ledger.taught(tenant, None, math.inf, now)
            else:
                due = now + (0.0 if lesson.due(wall) else lesson.probe_at - wall)
                ledger.taught(tenant, lesson.limit, due, now, words=lesson.words)

        self._of_all[limiter] = lessons.of_all
        # Pools with another limiter at this address know the same server.
        known = [lesson for lesson in self._of_all.values() if lesson is not None]
        lowest = min(known, key=lambda lesson: lesson.limit, default=None)
        ledger = self.board.ledger
        with self.board.lock:
            teach(None, lowest)
            for client in self.board.clients:
                if client.limiter is limiter:
                    teach(client, lessons.of_user.get(client.user))

    def _refused(self, slot: Slot, client: Client, verdict: Verdict, words: str) -> None:
        of_user = verdict.scope is Scope.USER
        user = client.user if of_user else None
        with self.board.lock:
            client.totals.refused += 1
        elsewhere = client.limiter.others(self._address, user)
        if elsewhere is None:
            return  # without their number nothing can be learned
        with self._learning:
            with self.board.lock:
                limit = self.board.ledger.refused(
                    slot,
                    time.monotonic(),
                    hint=verdict.limit,
                    of_user=of_user,
                    of_server=verdict.scope in {Scope.SERVER, Scope.CONNECTION},
                    elsewhere=elsewhere,
                    words=words,
                )
            if limit is None:
                return
            lessons = client.limiter.teach(
                self._address, lambda known: known.refused(limit, words, time.time(), user=user)
            )
            self._apply(client.limiter, lessons)
        log.info(  # a handler may take its time: under no lock
            "ftppool: %s allows %d connections%s, not max_per_ip=%d: %s",
            self._address, limit, " of this user" if of_user else "", client.cap, words,
            pool=client.name, address=self._address, reply=words,
        )  # fmt: skip

    def _stay_out(self, slot: Slot, ban: Ban) -> None:
        """Try nothing while a ban lasts; who can wait for a session that is open may do so."""
        with self.board.lock:
            live = self._live(slot)
        delay = ban.until - time.time() if live else 0.0
        error = banned(self.board.address, ban)
        self._fail(slot, error, delay=delay, for_good=not live, connected=False)

    def _live(self, slot: Slot) -> int:
        """Count our other connections. Needs the lock."""
        return len(besides(self.board.ledger, slot))

    # -- what went wrong ---------------------------------------------------------------------------

    def _open_broke(self, slot: Slot, error: BaseException) -> None:
        """Not the server failed but what the user gave us (a password function), or we did."""
        with self.board.lock:
            self.abort(slot, error)

    def abort(self, slot: Slot, error: BaseException) -> None:
        """Give up an open that ended without a word. Needs the lock."""
        if slot.state is not State.OPENING:
            return
        failure = error
        if not isinstance(failure, FTPPoolError):
            words = f"no session to {self._address}: {in_words(error)}"
            failure = ConfigError(words, phase="connect", address=self._address)
            failure.__cause__ = error
        self.board.ledger.open_failed(
            slot,
            failure,
            time.monotonic(),
            delay=0.0,
            for_good=True,
            connected=slot in self.connecting,
        )

    def _open_failed(
        self, slot: Slot, client: Client, reply: Reply, cause: BaseException | None
    ) -> None:
        if client.closed:
            # We broke it off ourselves: that says nothing about the server.
            closed = PoolClosed("the pool was closed", address=self._address)
            self._fail(slot, closed, delay=0.0, for_good=True, connected=False)
            return
        with self.board.lock:
            live = self._live(slot)
            mine = any(other.places and other.tenant is client for other in self.board.ledger.slots)
            tries = self.board.ledger.failures + 1
        verdict = classify(
            reply, live=live, worked_before=client.proven, patterns=client.policy.patterns
        )
        error = open_error(verdict, reply, self.board.address)
        wait = open_delay(client.policy, tries)
        if reply.phase is Phase.SSH_BANNER:
            wait = max(wait, STARTUPS)
        if verdict.kind is Kind.BUSY:
            self._refused(slot, client, verdict, reply.text)
        else:
            client.totals.connect_failed += 1
        if verdict.kind is Kind.BANNED:
            ban = self._teach(client, lambda known: known.banned(reply.text, time.time())).ban
            assert ban is not None
            error, wait = banned(self.board.address, ban), ban.pause
        error.__cause__ = cause
        lent = mine or (live > 0 and verdict.kind is Kind.BUSY)
        for_good = _hopeless(verdict, client, reply.phase, tries=tries, lent=lent)
        wait = 0.0 if for_good else wait
        self._fail(slot, error, delay=wait, for_good=for_good)
        self._tell_failure(client, verdict, error, wait)
        if not for_good:
            self._tell_pause(client)

    def _tell_pause(self, client: Client) -> None:
        """Let other processes see until when this one waits."""
        with self.board.lock:
            ledger = self.board.ledger
            pause = max(ledger.not_before, ledger.budget_ends()) - time.monotonic()
            cap = min(client.cap, ledger.cap or client.cap)
        self.pausing[client.limiter] = None
        client.limiter.pause(self._address, cap, time.time() + pause)

    def _fail(
        self,
        slot: Slot,
        error: FTPPoolError,
        *,
        delay: float,
        for_good: bool,
        connected: bool = True,
    ) -> None:
        with self.board.lock:
            self.board.ledger.open_failed(
                slot,
                error,
                time.monotonic(),
                delay=delay,
                for_good=for_good,
                connected=connected,
            )

    def _tell_failure(
        self, client: Client, verdict: Verdict, error: FTPPoolError, wait: float
    ) -> None:
        if not client.heard:
            return
        from ftppool.events import ConnectFailed, SessionRefused

        if verdict.kind is Kind.BUSY:
            with self.board.lock:
                effective = snapshot(self.board.ledger, client).effective
            client.emit(
                SessionRefused(
                    pool=client.name,
                    address=self._address,
                    reply=error.reply or "",
                    effective=effective,
                    wait=wait,
                )
            )
        else:
            client.emit(
                ConnectFailed(pool=client.name, address=self._address, error=str(error), wait=wait)
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
        if client.heard:
            from ftppool.events import SessionClosed

            client.emit(SessionClosed(pool=client.name, address=self._address, politely=politely))

    @property
    def in_line(self) -> bool:
        """True if a limiter thinks that somebody waits here."""
        return bool(self.asking or self.pausing)

    def leave_lines(self) -> None:
        """Stand in no limiter's line any more."""
        for limiter in {*list(self.asking), *list(self.pausing)}:
            self.asking.pop(limiter, None)
            self.pausing.pop(limiter, None)
            try:
                limiter.forgo(self._address)
            except Exception:  # noqa: BLE001 - the dispatcher must outlive a user's limiter
                log.exception(
                    "ftppool: the limiter failed to leave the line", address=self._address
                )

    def break_off(self, client: Client) -> None:
        """Cut the opens of a pool that are under way, and those about to begin."""
        client.broken_off = True
        with self.board.lock:
            connecting = list(self.connecting.items())
        shut_down([sock for slot, (sock, _) in connecting if slot.tenant is client])

    def break_off_silent(self, client: Client) -> None:
        """Cut the opens of a closed pool to whom the server has said nothing for too long.

        Nobody is owed a QUIT there; one that is about to connect is left to :meth:`break_off`.
        """
        begun = time.monotonic() - SILENCE
        with self.board.lock:
            silent = [
                sock
                for slot, (sock, since) in list(self.connecting.items())
                if slot.tenant is client and not slot.greeted and since < begun
            ]
        shut_down(silent)


def _hopeless(verdict: Verdict, client: Client, phase: Phase, *, tries: int, lent: bool) -> bool:
    """True if who waits is told now: another try would end the same way, or is not worth it."""
    if verdict.kind in {Kind.AUTH, Kind.PERMANENT}:
        return True
    if lent:
        return False  # those who wait can have a session, or a slot, that comes back
    if verdict.kind is Kind.BANNED or (verdict.few_tries and tries >= FEW):
        return True
    return verdict.kind in {Kind.TRANSIENT, Kind.STALE} and (
        tries >= client.policy.attempts or (client.alternatives and phase is Phase.CONNECT)
    )
