"""Asks a server how many connections it allows: gently, and within a budget that is said before.

What makes it gentle:

* one connect at a time, with a pause between them, never more than asked for, and none after the
  first refusal but the two that measure when a slot is free again: at most three refusals in all,
  where servers ban after many in a short time;
* each connection has a permit of the machine's limiter, as in every pool: other processes of this
  user lose none of theirs, and what they have been taught holds for the probe as well;
* a ban that is still obeyed ends it before it begins, and what a refusal teaches is remembered.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from ftppool.cli.exits import in_flags
from ftppool.drivers.base import Address, Driver, OpenFailed, Wire
from ftppool.errors import FTPPoolError, ServerBusy
from ftppool.failures import banned, open_error
from ftppool.limits.base import Denied, Limiter, Permit
from ftppool.refusals import Kind, Scope, classify
from ftppool.route import route_of
from ftppool.target import Target

__all__ = ["CONNECT", "CapResult", "Prober", "Unreachable"]

PAUSE = 0.3
"""Seconds between two connects."""
CONNECT = 10.0
"""Seconds for a connect, and for its login."""
AGAIN = (0.05, 0.5)
"""Seconds after the end of a session at which its slot is asked for again."""
SETTLE = 0.5
"""Seconds for which a permit is kept after the end of its connection."""
MOST_WORDS = 300


class Unreachable(Exception):
    """No session came of it; ``__cause__`` is the error of ours that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapResult:
    """What the server allows.

    Attributes:
        address: ``"ip:port"``.
        opened: Connections of the probe that were open at the same time.
        others: Connections of other processes of this user that use ftppool, at that time.
        asked: Connections that it was allowed to open.
        refused: The server's words when it refused one more; None if it did not.
        rule: The row of the refusal table that fits them.
        scope: Whose limit the words speak of: ``"address"``, ``"user"`` or ``"server"``.
        cap: What to take for ``max_per_ip``; None if the refusal says nothing about it.
        denied: Why ftppool itself asked for no more; "" if it did not stop.
        free_after: Seconds after QUIT at which the slot could be had again; None if it was not
            measured, or not within the last of :data:`AGAIN`.
        free_tries: At how many of these times it was tried.
        refusals: How often the server refused.
    """

    address: str
    opened: int
    others: int
    asked: int
    refused: str | None = None
    rule: str | None = None
    scope: str | None = None
    cap: int | None = None
    denied: str = ""
    free_after: float | None = None
    free_tries: int = 0
    refusals: int = 0


class _Nobody:
    """Nobody watches these opens: each is waited for."""

    def connecting(self, sock: socket.socket) -> None:
        pass

    def greeted(self) -> None:
        pass

    def wait_to_log_in(self) -> None:
        pass


class Prober:
    """Opens the connections of one probe; leaving the ``with`` block ends them all with QUIT."""

    def __init__(self, target: Target, driver: Driver, limiter: Limiter, most: int) -> None:
        self._target = target
        self._driver = driver
        self._limiter = limiter
        self._most = most
        self._addresses = self._resolve()
        self._address = self._addresses[0]
        self._held: list[tuple[Wire, Permit]] = []
        self._loose: list[Permit] = []  # of connections that are ended, or never came to be
        self._refusals = 0
        self._result = CapResult(address=str(self._address), opened=0, others=0, asked=most)

    @property
    def address(self) -> str:
        """``"ip:port"`` of the server."""
        return str(self._address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection politely, and give the permits back when the server knows."""
        try:
            for wire, _ in self._held:
                wire.goodbye(CONNECT)
            while self._held:
                wire, permit = self._held.pop()
                self._loose.append(permit)
                wire.end()
            if self._loose:
                time.sleep(SETTLE)
        finally:
            # A second Ctrl-C leads here: cut what is left, so that nothing outlives the command.
            for wire, permit in self._held:
                wire.cut()
                self._loose.append(permit)
            self._limiter.forgo(self.address)
            for permit in self._loose:
                permit.release()
            self._loose.clear()

    def first(self) -> Wire:
        """Open the first connection.

        Raises:
            Unreachable: No session came of it.
        """
        ban = self._limiter.lessons(self.address).ban
        if ban is not None and not ban.over(time.time()):
            raise Unreachable from banned(self._address, ban)
        wire = self._first_of_all()
        if isinstance(wire, Denied):
            who = self._limiter.elsewhere(self.address) or "they wait for it already"
            raise Unreachable from ServerBusy(
                f"no room at {self.address}: other processes of yours have all slots that ftppool"
                f" allows there ({who}); run the probe when they have ended",
                phase="acquire",
                address=self.address,
            )
        return wire

    def climb(self) -> CapResult:
        """Open more, one after the other, up to the budget or the first refusal."""
        while len(self._held) < self._most:
            time.sleep(PAUSE)
            try:
                wire = self._next()
            except Unreachable as error:
                if self._result.refused is None:
                    why = error.__cause__ or error
                    self._result = replace(self._result, denied=f"one more failed: {in_flags(why)}")
                break
            if isinstance(wire, Denied):
                self._result = replace(self._result, denied=self._why_denied(wire))
                break
        others = self._limiter.others(self.address) or 0
        self._result = replace(
            self._result, opened=len(self._held), others=others, refusals=self._refusals
        )
        return self._result

    def time_again(self) -> CapResult:
        """After a refusal: end one session, and see when its slot can be had again."""
        if self._result.refused is None or not self._held:
            return self._result
        wire, permit = self._held.pop()
        self._loose.append(permit)  # held until the end of the probe: its slot is used again
        wire.end()
        ended = time.monotonic()
        for number, wait in enumerate(AGAIN, 1):
            time.sleep(max(0.0, ended + wait - time.monotonic()))
            asked = time.monotonic() - ended
            try:
                again = self._driver.open(self._address, _Nobody())
            except OpenFailed as failed:
                self._judge(failed)
                self._result = replace(self._result, free_tries=number)
                continue
            except FTPPoolError:
                break  # of TLS or a key, say: that tells nothing of the slot
            self._loose.remove(permit)
            self._held.append((again, permit))
            self._result = replace(self._result, free_tries=number, free_after=asked)
            break
        self._result = replace(self._result, refusals=self._refusals)
        return self._result

    def any_wire(self) -> Wire | None:
        """A connection that is open still, for what is to be tidied up."""
        return self._held[-1][0] if self._held else None

    # -- insides -----------------------------------------------------------------------------------

    def _resolve(self) -> tuple[Address, ...]:
        route = route_of(self._target, self._driver)
        return route.addresses(CONNECT, settled=lambda: False)

    def _first_of_all(self) -> Wire | Denied:
        """Try the addresses of the name in order, as a pool does, and stay at the first."""
        for address in self._addresses[:-1]:
            self._at(address)
            try:
                return self._next()
            except Unreachable as error:
                cause = error.__cause__
                if getattr(cause, "phase", None) != "connect":
                    raise
        self._at(self._addresses[-1])
        return self._next()

    def _at(self, address: Address) -> None:
        self._address = address
        self._result = replace(self._result, address=str(address))

    def _next(self) -> Wire | Denied:
        """Take a permit and open one connection."""
        # A cap that binds nobody else: what the others name, or the lessons, counts.
        permit = self._limiter.take(self.address, 1000, self._target.user)
        if isinstance(permit, Denied):
            self._limiter.forgo(self.address)
            return permit
        try:
            wire = self._driver.open(self._address, _Nobody())
        except OpenFailed as failed:
            self._loose.append(permit)
            raise Unreachable from self._judge(failed)
        except FTPPoolError as error:  # of TLS or keys: no refusal that could be judged
            self._loose.append(permit)
            raise Unreachable from error
        except BaseException:
            self._loose.append(permit)
            raise
        self._held.append((wire, permit))
        if permit.trying:
            self._limiter.proved(self.address, permit)
        return wire

    def _judge(self, failed: OpenFailed) -> FTPPoolError:
        """Say what it means; the first refusal is the result, and teaches the others."""
        reply, live = failed.reply, len(self._held)
        verdict = classify(reply, live=live, worked_before=live > 0)
        error = open_error(verdict, reply, self._address)
        error.__cause__ = failed.__cause__
        if verdict.kind is Kind.BANNED:
            words, now = reply.text, time.time()
            self._limiter.teach(self.address, lambda known: known.banned(words, now))
        if verdict.kind is not Kind.BUSY:
            return error
        self._refusals += 1
        if self._result.refused is None:
            self._result = replace(
                self._result,
                refused=str(error.reply or reply.text)[:MOST_WORDS],
                rule=verdict.rule,
                scope=verdict.scope.value,
                cap=self._learn(verdict.scope, verdict.limit, reply.text),
            )
        return error

    def _learn(self, scope: Scope, hint: int | None, words: str) -> int | None:
        """Remember what the server allows, by the rules of ``Ledger.refused()``."""
        if scope not in {Scope.ADDRESS, Scope.USER}:
            return None
        user = self._target.user if scope is Scope.USER else None
        elsewhere = self._limiter.others(self.address, user)
        if elsewhere is None or not self._held:
            return None
        connections = len(self._held) + elsewhere
        limit = max(1, min(connections, hint or connections))
        self._limiter.teach(
            self.address, lambda known: known.refused(limit, words, time.time(), user=user)
        )
        return limit

    def _why_denied(self, denied: Denied) -> str:
        lessons = self._limiter.lessons(self.address)
        known = lessons.of_user.get(self._target.user) if denied is Denied.USER else lessons.of_all
        who = self._limiter.elsewhere(self.address)
        if known is not None and known.limit <= len(self._held) + (
            self._limiter.others(self.address) or 0
        ):
            return (
                f"earlier refusals have taught that it allows {known.limit}, and it is not time to"
                " try one more"
            )
        return f"other processes of yours need the room ({who})" if who else "others need the room"
