"""The slot that one object of the stand-in holds, and everything that ends it."""

from __future__ import annotations

import copy
import ftplib
import functools
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ftppool.client import Client
from ftppool.drivers.base import Address, OpenFailed, Timeouts
from ftppool.drivers.control import Control
from ftppool.drivers.ftp_raw import Caller, RawDriver, control_of, reply_of
from ftppool.errors import ConnectError, FTPPoolError, PoolTimeout, ServerBusy, WouldDeadlock
from ftppool.estate import Estate
from ftppool.gate import Gate, gate_for
from ftppool.hooks import in_child
from ftppool.leaks import stack_here
from ftppool.lease import Lease
from ftppool.limits.choice import limiter_of
from ftppool.refusals import Kind, Phase, classify
from ftppool.retry import RetryPolicy
from ftppool.route import Route
from ftppool.target import FTPConfig, Target
from ftppool.workers import this_thread

__all__ = ["Dial", "Held", "in_ftplibs_words"]

FOREVER = 1e9
"""Seconds; a connection is as old as its script lets it be."""
EXIT = 10.0
"""Seconds for all goodbyes at the interpreter's exit."""
ONCE = RetryPolicy(attempts=1)
"""What is no refusal is the script's to deal with, at once, as with ftplib."""


class Owner(Protocol):
    """The object that holds a connection."""

    def _lost(self, words: str) -> None:
        """Its connection was ended; `words` are what the next command raises."""


class Held:
    """One connection that an object holds.

    Attributes:
        thread: The last one that used it.
        owner: The object, once it has taken the connection over.
    """

    def __init__(self, gate: Gate, client: Client, lease: Lease) -> None:
        self.gate: Gate = gate
        self.client: Client = client
        self.lease: Lease = lease
        self.control: Control = control_of(lease.loan)
        self.thread: threading.Thread = threading.current_thread()
        self.owner: weakref.ref[Owner] | None = None

    @property
    def idle(self) -> bool:
        """True if no command and no transfer is under way."""
        return not self.control.outstanding and not self.control.open_data

    def used(self) -> None:
        """This thread uses it."""
        self.thread = threading.current_thread()
        self.lease.grip.thread = this_thread()

    def let_go(self) -> None:
        """Have it ended: the gate says QUIT if nobody has, and waits for the server's goodbye."""
        self.lease.discard()

    def take_away(self, why: str) -> None:
        """End it although the object still has it."""
        owner = None if self.owner is None else self.owner()
        if owner is not None:
            owner._lost(f"421 This connection was ended: {why}")
        self.let_go()

    def refuses(self, error: BaseException) -> bool:
        """True if an answer to USER or PASS says in words that there are too many connections."""
        verdict = classify(
            reply_of(Phase.LOGIN, error), live=self.gate.live(self.client), worked_before=False
        )
        return verdict.kind is Kind.BUSY and not verdict.few_tries


class Dial(NamedTuple):
    """What it takes to connect.

    Attributes:
        wait: Seconds to wait for a slot, refusals included.
    """

    target: Target
    config: FTPConfig
    timeouts: Timeouts
    caller: Caller
    cap: int
    wait: float

    def connect(self) -> Held:
        """Wait for a slot of one of the server's addresses, and connect.

        Raises:
            FTPPoolError: There is none, or no connection came of it.
        """
        deadline = time.monotonic() + self.wait
        host, port = self.target.host, self.target.port
        route = _routes.setdefault((host, port), Route(host, port))
        tried: set[Address] = set()
        failure: ConnectError | None = None
        while left := [address for address in self._addresses(route) if address not in tried]:
            tried.add(left[0])
            try:
                held = self._hold(gate_for(left[0]), deadline, alternatives=len(left) > 1)
            except ConnectError as error:
                route.forget()
                if error.phase != Phase.CONNECT:
                    raise
                failure = error
            else:
                route.current = left[0]
                return held
        assert failure is not None
        raise failure

    def _addresses(self, route: Route) -> tuple[Address, ...]:
        return route.addresses(self.timeouts.connect, settled=lambda: False)

    def _hold(self, gate: Gate, deadline: float, *, alternatives: bool) -> Held:
        driver = RawDriver(self.target, self.config, self.timeouts, self.caller)
        client = Client(
            cap=self.cap,
            max_idle=0.0,  # never lent again
            estate=Estate(
                name=self.target.host,
                stack=stack_here(),
                close_timeout=EXIT,
                leak_warn_after=None,
                on_event=None,
                pool=weakref.ref(self.caller),
                settled=True,
            ),
            user=self.target.user,
            driver=driver,
            limiter=limiter_of("machine"),
            policy=ONCE,
            max_lifetime=FOREVER,
            check_after_idle=FOREVER,
            alternatives=alternatives,
            relieve=functools.partial(_relieve, gate),
        )
        try:
            gate.attach(client)
            lease = _acquire(gate, client, deadline)
        finally:
            gate.abandon(client)  # it asks for nothing any more, and ends with its connection
        lease.grip.losable = True
        driver.caller = None  # the gate keeps the driver, which must not keep the object
        held = Held(gate, client, lease)
        _register[id(held)] = weakref.ref(held, functools.partial(_forget, id(held)))
        return held


def _acquire(gate: Gate, client: Client, deadline: float) -> Lease:
    me = threading.current_thread()
    while True:
        mine = [held for held in _held_at(gate) if held.thread is me]
        try:
            left = max(0.0, deadline - time.monotonic())
            return gate.acquire(client, left, (this_thread(),))
        except WouldDeadlock:
            # What another thread has begun to use meanwhile, it may end.
            if not _end_oldest(gate) and all(held.thread is me for held in mine):
                raise


# -- who holds what --------------------------------------------------------------------------------


# Each use of these two is one atomic step.
_routes: dict[tuple[str, int], Route] = {}
_register: dict[int, weakref.ref[Held]] = {}


def _forget(key: int, _: object) -> None:
    _register.pop(key, None)


def _held_at(gate: Gate) -> list[Held]:
    """List what objects hold at an address, the oldest first."""
    found = [reference() for reference in list(_register.values())]
    return [held for held in found if held is not None and held.gate is gate]


def _end_oldest(gate: Gate) -> bool:
    """End the oldest idle connection of this thread; False if there is none."""
    me = threading.current_thread()
    for held in _held_at(gate):
        if held.thread is me and held.idle:
            held.take_away(
                "its thread opened another one while all that max_per_ip allows were in use"
            )
            return True
    return False


def _relieve(gate: Gate) -> None:
    """Who has waited for a while makes sure that he does not wait for himself."""
    _end_orphans(gate)
    me = threading.current_thread()
    # Other processes leave this one no more than this thread's own objects have.
    if gate.denied and all(held.thread is me for held in _held_at(gate)):
        _end_oldest(gate)


def _end_orphans(gate: Gate) -> None:
    """End what was left behind by threads that are no more; others wait for it."""
    for held in _held_at(gate):
        if held.idle and not held.thread.is_alive():
            held.take_away("the thread that used it has ended, and others waited for a connection")


in_child(_register.clear)  # they are the parent's


# -- errors ----------------------------------------------------------------------------------------


def in_ftplibs_words(error: FTPPoolError) -> Exception:
    """Return what ftplib would raise, the server's text first."""
    late = error.__cause__ if isinstance(error.__cause__, FTPPoolError) else None
    reply = error.reply or (late.reply if late else None)
    if reply is not None and reply[:3].isdigit():
        how_long = str(error) if isinstance(error, PoolTimeout) else str(error).partition(": ")[0]
        return _of_reply(reply)(f"{reply} ({how_long})" if late else reply)
    original = _original(error)
    alone = isinstance(error, ServerBusy) and not isinstance(original, EOFError | OSError)
    if alone or isinstance(error, PoolTimeout | WouldDeadlock):
        return ftplib.error_temp(f"421 {error}")
    if original is None:
        return OSError(str(error))
    same = copy.copy(original)
    same.add_note(f"ftppool: {error}")
    return same


def _of_reply(reply: str) -> Callable[[str], ftplib.Error]:
    return {"4": ftplib.error_temp, "5": ftplib.error_perm}.get(reply[0], ftplib.error_proto)


def _original(error: BaseException) -> Exception | None:
    """Find what the protocol library or the system raised first."""
    found: BaseException | None = error
    while isinstance(found, FTPPoolError | OpenFailed):
        found = found.__cause__
    return found if isinstance(found, Exception) else None
