"""Small scenarios of a gate. The server is only counted: it takes what comes; one connect fails.

A real one would bring its own time into what must be repeatable; the wire below does what any FTP
session does, one step at a time.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from ftppool.client import Client
from ftppool.drivers.base import Address, OpenFailed, Withdrawn
from ftppool.errors import AuthError, ConnectError, FTPPoolError, PoolClosed, PoolTimeout
from ftppool.estate import Estate
from ftppool.gate import Gate
from ftppool.lessons import Lessons
from ftppool.refusals import Phase, Reply
from ftppool.retry import RetryPolicy
from ftppool.slots import State
from tests.explorer.scheduler import Chooser, Scheduler, controlled

__all__ = ["SCENARIOS", "World"]


class World:
    """A gate, a pool's client, and the server's side; checks after every step."""

    def __init__(self, chooser: Chooser, cap: int, *, lines: bool = False) -> None:
        self.cap = cap
        self.open: set[_Wire] = set()
        self.ended: list[_Wire] = []
        self.connecting = 0
        self.logging_in = 0
        self.again = 0
        self.wrong_password = False
        self.lent: dict[_Wire, str] = {}
        self.fail_next = 0
        self.in_order = True
        self.patience = 0.4
        self.expected: dict[str, tuple[type[Exception], ...]] = {}
        self.results: dict[str, object] = {}
        self.scheduler = Scheduler(chooser, check=self._check, lines=lines)

    def run(self, scenario: Callable[[World], dict[str, Callable[[], object]]]) -> None:
        """Run the scenario's threads, then close the pool in one more, and check what is left."""
        with controlled(self.scheduler):
            self.gate = Gate(Address(socket.AF_INET, "192.0.2.1", 21))
            self.client = self._make_client()
            actors = scenario(self)
            left = set(actors)

            def act(name: str, what: Callable[[], object]) -> None:
                try:
                    self.results[name] = what()
                except FTPPoolError as error:
                    if not isinstance(error, self.expected.get(name, ())):
                        raise
                    self.results[name] = error
                left.discard(name)

            def finish() -> None:
                self.scheduler.point(lambda: not left)
                self._all_can_be_had()
                self.gate.close(self.client, 10.0)

            for name, what in actors.items():
                self.scheduler.spawn(name, partial(act, name, what))
            self.scheduler.spawn("closer", finish)
            began = self.scheduler.clock
            self.scheduler.run()
            assert not self.open, f"not ended: {self.open}"
            assert not self.gate._board.permits
            assert all(slot.state is State.SETTLING for slot in self.gate._ledger.slots)
            assert len(self.ended) == len(set(self.ended)), "ended twice"
            assert not self.again, "a wrong password was tried again for nobody"
            passed = self.scheduler.clock - began
            assert passed < self.patience, f"{passed:.2f} s passed: a wake-up was lost"

    def borrow(self, name: str, use: int = 1, timeout: float = 10.0) -> Any:
        """Take a lease and use it for some steps."""
        if self.client.closed:
            raise PoolClosed("closed")
        self.gate.attach(self.client)
        lease = self.gate.acquire(self.client, timeout, (name,))
        wire = lease._wire
        assert isinstance(wire, _Wire)
        assert wire in self.open, "lent after its end"
        assert wire not in self.lent, f"lent to {self.lent.get(wire)} and to {name}"
        self.lent[wire] = name
        for _ in range(use):
            assert not wire.broken, f"{name} got a session that was cut"
            self.scheduler.point()
        del self.lent[wire]
        return lease

    def _all_can_be_had(self) -> None:
        if self.client.closed or self.wrong_password:
            return
        leases = [self.borrow("closer", use=0) for _ in range(self.cap)]
        for lease in leases:
            lease.release()

    def _check(self) -> None:
        connections = len(self.open) + self.connecting
        assert connections <= self.cap, f"{connections} connections"
        lock: Any = self.gate._lock
        if self.in_order and not lock.locked():
            served = [w.served for w in self.gate._ledger.waiters if w.alive]
            assert served == sorted(served, reverse=True), f"out of order: {served}"

    def _make_client(self) -> Client:
        estate = Estate(
            name="explored", stack=(), close_timeout=10.0, leak_warn_after=None, on_event=None,
            pool=weakref.ref(self),
        )  # fmt: skip
        client = Client(
            cap=self.cap, estate=estate, user="u", driver=_Driver(self), limiter=_Limiter(),
            policy=RetryPolicy(first_wait=0.01, max_wait=0.01), max_lifetime=1e6,
            check_after_idle=1e6, max_idle=1e6,
        )  # fmt: skip
        client.proven = client.holds = True
        return client


class _Wire:
    def __init__(self, world: World) -> None:
        self._world = world
        self.broken = False

    def looks_alive(self, loan: object = None) -> bool:
        self._world.scheduler.point()
        return self in self._world.open

    def check(self, limit: float) -> bool:
        return self in self._world.open

    def lend(self, limit: float) -> object:
        return object()

    def files(self, loan: object) -> Any:
        raise NotImplementedError

    def take_back(self, loan: object, *, doom: bool = False) -> bool:
        return self in self._world.open and not self.broken and not doom

    def goodbye(self, within: float) -> None:
        pass

    def end(self) -> bool:
        self._world.scheduler.point()
        self._world.ended.append(self)
        self._world.open.remove(self)
        return True

    def cut(self, loan: object = None) -> None:
        self._world.scheduler.point()
        assert self._world.lent.get(self) != "b", "another one's session was cut"
        self.broken = True

    def disown(self) -> None:
        pass


class _Driver:
    places = 1
    holds = True
    endpoint: tuple[str, int, bool] | None = None

    def __init__(self, world: World) -> None:
        self._world = world

    def open(self, address: Address, watch: Any) -> _Wire:
        world = self._world
        world.connecting += 1
        try:
            world.scheduler.point()
            if world.fail_next:
                world.fail_next -= 1
                raise OpenFailed(Reply(Phase.CONNECT, None, "connection reset"))
            watch.greeted()
            world.scheduler.point()
            self._log_in(watch)
            wire = _Wire(world)
            world.open.add(wire)
            return wire
        except Withdrawn:
            world.scheduler.point()  # QUIT
            raise
        finally:
            world.connecting -= 1

    def _log_in(self, watch: Any) -> None:
        world = self._world
        watch.wait_to_log_in()
        if world.wrong_password:
            waiters = world.gate._ledger.waiters
            world.again += not any(waiter.error is None for waiter in waiters)
        world.logging_in += 1
        try:
            assert world.client.proven or world.logging_in == 1, "a password is tried twice"
            world.scheduler.point()
            assert world.client.proven or world.logging_in == 1, "a password is tried twice"
            if world.wrong_password:
                raise OpenFailed(Reply(Phase.LOGIN, 530, "530 Login incorrect."))
        finally:
            world.logging_in -= 1


class _Permit:
    trying: tuple[str | None, ...] = ()

    def release(self, settled_at: float = 0.0) -> None:
        pass


class _Limiter:
    def take(self, address: str, cap: int, user: str) -> _Permit:
        return _Permit()

    def pause(self, address: str, cap: int, until: float) -> None:
        pass

    def forgo(self, address: str) -> None:
        pass

    def pressure(self, address: str, cap: int) -> None:
        pass

    def others(self, address: str, user: str | None = None) -> int:
        return 0

    def elsewhere(self, address: str) -> str:
        return ""

    def lessons(self, address: str) -> Lessons:
        return Lessons()

    def teach(self, address: str, change: Callable[[Lessons], Lessons]) -> Lessons:
        return change(Lessons())

    def proved(self, address: str, permit: object) -> Lessons:
        return Lessons()


Actors = dict[str, Callable[[], object]]


def _borrow_and_release(world: World, name: str) -> None:
    world.borrow(name).release()


def two_share_one(world: World) -> Actors:
    return {name: partial(_borrow_and_release, world, name) for name in ("a", "b")}


def three_share_one(world: World) -> Actors:
    return three_share_two(world)


def three_share_two(world: World) -> Actors:
    return {name: partial(_borrow_and_release, world, name) for name in ("a", "b", "c")}


def one_discards(world: World) -> Actors:
    return {"a": lambda: world.borrow("a").discard(), "b": lambda: world.borrow("b").release()}


def one_loses_its_lease(world: World) -> Actors:
    def lose() -> None:
        world.borrow("a")

    return {"a": lose, "b": lambda: world.borrow("b").release()}


def one_is_cut_when_its_lease_ends(world: World) -> Actors:
    leases: list[Any] = []

    def end() -> None:
        leases.append(world.borrow("a"))
        world.scheduler.point()
        leases[0].release()

    def cut() -> None:
        world.scheduler.point(lambda: bool(leases))
        leases[0].cut()

    return {"a": end, "b": lambda: world.borrow("b", use=3).release(), "cutter": cut}


def one_gives_up(world: World) -> Actors:
    world.expected["b"] = (PoolTimeout, ConnectError)  # b's own connect may be under way
    world.patience = 0.6  # for b's time-out
    return {
        "a": lambda: world.borrow("a", use=3).release(),
        "b": lambda: world.borrow("b", timeout=0.0).release(),
        "c": lambda: world.borrow("c").release(),
    }


def the_pool_is_closed(world: World) -> Actors:
    world.expected = {"a": (PoolClosed,), "b": (PoolClosed,)}
    world.patience = 10.0  # close() waits for leases
    return {
        "a": lambda: world.borrow("a").release(),
        "b": lambda: world.borrow("b").release(),
        "closer-too": lambda: world.gate.close(world.client, 5.0),
    }


def the_first_connect_fails(world: World) -> Actors:
    world.fail_next = 1
    return two_share_one(world)


def nobody_has_logged_in_yet(world: World) -> Actors:
    world.client.proven = False
    return three_share_two(world)


def the_password_is_wrong(world: World) -> Actors:
    world.client.proven, world.wrong_password = False, True
    names = ("a", "b", "c")
    world.expected = dict.fromkeys(names, (AuthError,))
    return {name: partial(world.borrow, name) for name in names}


SCENARIOS: dict[str, tuple[int, Callable[[World], Actors]]] = {
    scenario.__name__: (cap, scenario)
    for cap, scenario in (
        (1, two_share_one),
        (2, three_share_two),
        (1, three_share_one),
        (1, one_discards),
        (1, one_loses_its_lease),
        (1, one_is_cut_when_its_lease_ends),
        (1, one_gives_up),
        (2, the_pool_is_closed),
        (1, the_first_connect_fails),
        (2, nobody_has_logged_in_yet),
        (3, the_password_is_wrong),
    )
}
