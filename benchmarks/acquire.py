"""What acquire + release cost: ftppool beside four pools of the field, with sessions of no cost.

``python -m benchmarks.acquire`` prints more than the part ``pools`` of the suite records. Every
pool runs its own real code; only its sessions are stand-ins (urllib3's hold an idle socket, since
its pool looks at it). Rounds alternate, so what counts is the ratio within one run. The last table
is the cost with a real FTP session, on which ftppool looks at the socket before each loan.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg_pool
import redis
import sqlalchemy.pool
import urllib3
from psycopg.pq import TransactionStatus

from benchmarks import tools
from ftppool import FTPPool
from ftppool.drivers.base import Address, Watch, Wire
from tests.support import servers

SLOTS = 4


class Borrowing(NamedTuple):
    """How one pool lends: ``give_back(take())``."""

    take: Callable[[], Any]
    give_back: Callable[[Any], object]


# -- sessions that cost nothing --------------------------------------------------------------------


class NoWire:
    """For ftppool: a session without a server."""

    def looks_alive(self, loan: Any = None) -> bool:
        return True

    def check(self, limit: float) -> bool:
        return True

    def lend(self, limit: float) -> Any:
        return self

    def files(self, loan: Any) -> Any:
        raise NotImplementedError

    def take_back(self, loan: Any, *, doom: bool = False) -> bool:
        return True

    def goodbye(self, within: float) -> None:
        pass

    def end(self) -> bool:
        return True

    def cut(self, loan: object = None) -> None:
        pass

    def disown(self) -> None:
        pass


class NoDriver:
    places = 1
    holds = False
    endpoint: tuple[str, int, bool] | None = None

    def open(self, address: Address, watch: Watch) -> Wire:
        watch.greeted()
        return NoWire()


class NoPostgres:
    """For psycopg_pool: a connection that is always idle."""

    def __init__(self) -> None:
        self.pgconn = self
        self.transaction_status = TransactionStatus.IDLE
        self._pool: Any = None

    @classmethod
    def connect(cls, conninfo: str, **kwargs: Any) -> NoPostgres:
        return cls()

    def close(self) -> None:
        pass


class NoDatabase:
    """For SQLAlchemy: a DB-API connection."""

    def rollback(self) -> None:
        pass

    def close(self) -> None:
        pass


class NoRedis:
    """For redis-py: a connection with nothing to read."""

    def __init__(self, **kwargs: Any) -> None:
        self.pid = os.getpid()

    def connect(self) -> None:
        pass

    def disconnect(self) -> None:
        pass

    def can_read(self) -> bool:
        return False

    def should_reconnect(self) -> bool:
        return False


# -- the pools -------------------------------------------------------------------------------------


@contextmanager
def by_ftppool() -> Iterator[Borrowing]:
    with FTPPool("ftp://nobody:x@127.0.0.1:9", max_per_ip=SLOTS) as pool:
        pool._make_driver = NoDriver
        yield Borrowing(pool.acquire, lambda lease: lease.release())


@contextmanager
def by_psycopg() -> Iterator[Borrowing]:
    kind: Any = NoPostgres
    with psycopg_pool.ConnectionPool(
        "", connection_class=kind, min_size=SLOTS, max_size=SLOTS, open=True
    ) as pool:
        pool.wait()
        yield Borrowing(pool.getconn, pool.putconn)


@contextmanager
def by_sqlalchemy() -> Iterator[Borrowing]:
    creator: Any = NoDatabase
    pool = sqlalchemy.pool.QueuePool(creator, pool_size=SLOTS, max_overflow=0)
    yield Borrowing(pool.connect, lambda connection: connection.close())
    pool.dispose()


@contextmanager
def by_urllib3() -> Iterator[Borrowing]:
    pool = urllib3.HTTPConnectionPool("127.0.0.1", maxsize=SLOTS, block=True)
    with ExitStack() as sockets:
        connections = [pool._get_conn() for _ in range(SLOTS)]
        for connection in connections:
            ours, theirs = socket.socketpair()
            sockets.enter_context(theirs)
            connection.sock = ours
            pool._put_conn(connection)
        yield Borrowing(pool._get_conn, pool._put_conn)
        pool.close()


@contextmanager
def by_redis() -> Iterator[Borrowing]:
    kind: Any = NoRedis
    pool = redis.BlockingConnectionPool(max_connections=SLOTS, connection_class=kind)
    yield Borrowing(pool.get_connection, pool.release)


POOLS: dict[str, Callable[[], AbstractContextManager[Borrowing]]] = {
    "ftppool": by_ftppool,
    "psycopg_pool": by_psycopg,
    "SQLAlchemy": by_sqlalchemy,
    "redis-py": by_redis,
    "urllib3": by_urllib3,
}


# -- what is measured ------------------------------------------------------------------------------


def alone(pool: Borrowing, loans: int) -> float:
    """Seconds for one acquire + release by the only borrower there is."""
    take, give_back = pool
    began = time.perf_counter()
    for _ in range(loans):
        give_back(take())
    return (time.perf_counter() - began) / loans


class Crowd(NamedTuple):
    """What a crowd of borrowers saw; seconds."""

    each: float
    waits: list[float]


def crowd(pool: Borrowing, threads: int, loans: int) -> Crowd:
    """Many threads on few slots; each lets the others run while it has a session."""
    take, give_back = pool
    waits: list[list[float]] = [[] for _ in range(threads)]
    start = threading.Barrier(threads + 1)

    def borrow(mine: list[float]) -> None:
        start.wait()
        for _ in range(loans):
            began = time.perf_counter()
            session = take()
            mine.append(time.perf_counter() - began)
            time.sleep(0)
            give_back(session)

    workers = [threading.Thread(target=borrow, args=(mine,)) for mine in waits]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - began
    return Crowd(elapsed / (threads * loans), sorted(wait for mine in waits for wait in mine))


def in_turn(
    pools: dict[str, Borrowing], rounds: int, measure: Callable[[Borrowing], Any]
) -> dict[str, list[Any]]:
    """Measure all pools in each round."""
    found: dict[str, list[Any]] = {name: [] for name in pools}
    for _ in range(rounds):
        for name, pool in pools.items():
            found[name].append(measure(pool))
    return found


def compare_alone(pools: dict[str, Borrowing], rounds: int, loans: int) -> None:
    print(f"\none borrower, {loans} loans a round, median of {rounds} rounds")
    print(f"{'':<14}{'each':>10}{'ratio to psycopg_pool':>24}")
    found = in_turn(pools, rounds, lambda pool: alone(pool, loans))
    base = statistics.median(found["psycopg_pool"])
    for name, times in found.items():
        each = statistics.median(times)
        print(f"{name:<14}{each * 1e6:>7.1f} µs{each / base:>24.2f}")


def compare_crowds(pools: dict[str, Borrowing], rounds: int, threads: int, loans: int) -> None:
    print(f"\n{threads} threads on {SLOTS} slots, {loans} loans each, median of {rounds} rounds")
    print(
        f"{'':<14}{'each':>10}{'ratio to psycopg_pool':>24}"
        f"{'median wait':>14}{'p99':>11}{'longest':>11}{'longest/median':>16}"
    )
    found = in_turn(pools, rounds, lambda pool: crowd(pool, threads, loans))
    base = statistics.median(seen.each for seen in found["psycopg_pool"])
    for name, seen in found.items():
        each = statistics.median(one.each for one in seen)
        middle = statistics.median(one.waits[len(one.waits) // 2] for one in seen)
        late = statistics.median(one.waits[len(one.waits) * 99 // 100] for one in seen)
        longest = statistics.median(one.waits[-1] for one in seen)
        print(
            f"{name:<14}{each * 1e6:>7.1f} µs{each / base:>24.2f}{middle * 1e3:>11.3f} ms"
            f"{late * 1e3:>8.2f} ms{longest * 1e3:>8.2f} ms{longest / middle:>16.1f}"
        )


def with_a_server(rounds: int, loans: int) -> None:
    """The same with sessions of pyftpdlib on loopback; no command is sent."""

    def use(block: Callable[[], AbstractContextManager[object]]) -> Borrowing:
        def take() -> AbstractContextManager[object]:
            context = block()
            context.__enter__()
            return context

        return Borrowing(take, lambda context: context.__exit__(None, None, None))

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with (
            servers.start("pyftpdlib", max_per_ip=None, root=work / "home", workdir=work) as server,
            FTPPool(server.url, max_per_ip=SLOTS) as pool,
        ):
            ways = {
                "acquire()": use(pool.acquire),
                "ftp()": use(pool.ftp),
                "session()": use(pool.session),
                "stats()": Borrowing(pool.stats, lambda _: None),
            }
            pool.acquire().release()
            print(f"\na real FTP session, one borrower, median of {rounds} rounds")
            for name, times in in_turn(ways, rounds, lambda way: alone(way, loans)).items():
                print(f"{name:<14}{statistics.median(times) * 1e6:>7.1f} µs")


@contextmanager
def all_pools() -> Iterator[dict[str, Borrowing]]:
    """All pools with their sessions made."""
    with ExitStack() as stack:
        os.environ["FTPPOOL_STATE_DIR"] = stack.enter_context(tempfile.TemporaryDirectory())
        pools = {name: stack.enter_context(make()) for name, make in POOLS.items()}
        for pool in pools.values():
            for session in [pool.take() for _ in range(SLOTS)]:
                pool.give_back(session)
            alone(pool, 200)
        yield pools


def part(*, rounds: int = 15, loans: int = 3000, crowd_rounds: int = 5) -> dict[str, Any]:
    """Measure for the suite and return the record."""
    with all_pools() as pools:
        one = in_turn(pools, rounds, lambda pool: alone(pool, loans))
        many = in_turn(pools, crowd_rounds, lambda pool: crowd(pool, 64, 50))
    modules = ("ftppool", "psycopg_pool", "sqlalchemy", "urllib3", "redis")
    return {
        "title": f"{SLOTS} slots; one borrower, then 64 threads that let each other run",
        "alone": one,
        "crowd": {name: [seen.each for seen in found] for name, found in many.items()},
        "longest": {name: [seen.waits[-1] for seen in found] for name, found in many.items()},
        "versions": {name: tools.version(name) for name in modules},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--loans", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--crowd-rounds", type=int, default=5)
    parser.add_argument("--crowd-loans", type=int, default=50)
    options = parser.parse_args()
    with all_pools() as pools:
        compare_alone(pools, options.rounds, options.loans)
        compare_crowds(pools, options.crowd_rounds, options.threads, options.crowd_loans)
        with_a_server(options.rounds, options.loans)


if __name__ == "__main__":
    main()
