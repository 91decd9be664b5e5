"""Every call of the pool x every kind of exception, and what must be true afterwards."""

from __future__ import annotations

import gc
import ssl
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ftppool import FTPPool, TransferError, gate
from ftppool.drivers import known
from tests.faults.injector import Injector, Site
from tests.faults.scenarios import SCENARIOS, Given
from tests.support.leaks import _descriptors

ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    EOFError,
    RuntimeError,
    MemoryError,
    TransferError,
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
)
STEPS = {
    "bell",
    "close",
    "command",
    "connect",
    "CWD",
    "greeting",
    "limiter",
    "login",
    "NOOP",
    "QUIT",
    "thread start",
    "transfer",
    "user",
}
USER_CALLS = {
    "limiter: take()",
    "limiter: release()",
    "limiter: forgo()",
    "limiter: pause()",
    "limiter: pressure()",
    "limiter: others()",
    "limiter: elsewhere()",
    "limiter: lessons()",
    "limiter: teach()",
    "limiter: proved()",
    "user: password()",
    "user: on_event()",
    "user: source open()",
    "user: source read()",
}
TLS_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    ssl.SSLError,
    ssl.SSLEOFError,
    MemoryError,
    KeyboardInterrupt,
)
TLS_CALLS = {
    "handshake: TLS do_handshake",
    "login: TLS read",
    "login: TLS write",
    "look: TLS read",
    "QUIT: TLS write",
    "TLS end: TLS shutdown",
    "transfer: TLS write",
}
CAPACITY = 2
SURVEYS = 4
TRIES = 8


@dataclass
class Matrix:
    """What was tried and what came of it."""

    tried: dict[tuple[str, str], int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    rows: set[str] = field(default_factory=set)
    elapsed: float = 0.0
    errors: tuple[type[BaseException], ...] = ERRORS
    needed: frozenset[str] = frozenset(STEPS | USER_CALLS)

    def add(self, other: Matrix) -> None:
        """Take in what another process tried."""
        for key, count in other.tried.items():
            self.tried[key] = self.tried.get(key, 0) + count
        self.failures += other.failures
        self.rows |= other.rows
        self.elapsed = max(self.elapsed, other.elapsed)

    def holes(self) -> list[str]:
        """Cells without a run, and steps or calls without a row."""
        empty = [
            f"{row} x {error.__name__}"
            for row in sorted(self.rows)
            for error in self.errors
            if not self.tried.get((row, error.__name__))
        ]
        steps = {row.partition(": ")[0] for row in self.rows}
        return empty + sorted(self.needed - steps - self.rows)

    def complaints(self) -> list[str]:
        """What must not be."""
        return self.failures + [f"hole: {hole}" for hole in self.holes()]

    def table(self) -> str:
        """Call x exception: how many places were tried."""
        names = [error.__name__ for error in self.errors]
        width = max(map(len, self.rows), default=0) + 1
        lines = [" " * width + " ".join(f"{name:>{len(name)}}" for name in names)]
        for row in sorted(self.rows):
            counts = [self.tried.get((row, name), 0) for name in names]
            cells = [
                f"{count or 'HOLE':>{len(name)}}" for name, count in zip(names, counts, strict=True)
            ]
            lines.append(f"{row:<{width}}" + " ".join(cells))
        total = sum(self.tried.values())
        lines.append(
            f"{len(self.rows)} calls x {len(names)} exceptions: {total} faults in "
            f"{self.elapsed:.0f} s, {len(self.failures)} not survived, {len(self.holes())} holes"
        )
        return "\n".join(lines)


class Bench:
    """Runs one scenario after the other against a server."""

    def __init__(self, url: str, nobody: str, narrow: str) -> None:
        """Take the URLs of a server, of a port without one, and of a server with one place."""
        self._urls = {"refused": nobody, "busy": narrow}
        self._url = url

    def survey(self, name: str) -> dict[Site, int]:
        """Find the calls of a scenario, but for those that it makes only now and then."""
        seen: list[dict[Site, int]] = []
        for _ in range(SURVEYS):
            injector = Injector()
            problems = self.run(name, injector)
            assert not problems, f"without a fault: {problems}"
            seen.append(injector.seen)
        return {site: n for site, n in seen[0].items() if all(site in other for other in seen)}

    def run(self, name: str, injector: Injector) -> list[str]:
        """Run once; what is wrong afterwards."""
        gate._gates.clear()  # each run has a server of which nothing is known yet
        known._known.clear()
        threads, descriptors = set(threading.enumerate()), _descriptors()
        problems: list[str] = []
        with _unclosed(problems):
            given = Given(injector)
            pool = given.pool(self._urls.get(name, self._url))
            with injector:
                try:
                    SCENARIOS[name](pool, given)
                except BaseException:
                    pass
            given.denials = 0
            if name not in {"refused", "busy"} and not pool.closed:
                problems += self._capacity(pool, "the pool")
            try:
                report = pool.close()
                if report.still_running:
                    problems.append(f"{report.still_running} threads after close()")
                with Given(injector).pool(self._url) as fresh:
                    problems += self._capacity(fresh, "a new pool")
            except Exception as error:
                problems.append(f"afterwards: {error!r}")
            del pool
            gc.collect()
        deadline = time.monotonic() + 3
        while left := _left(threads, descriptors):
            if time.monotonic() > deadline:
                problems += left
                break
            time.sleep(0.002)
        if given.held or given.twice:
            problems.append(f"{given.held} permits held, {given.twice} released twice")
        return problems

    def _capacity(self, pool: FTPPool, whose: str) -> list[str]:
        leases = []
        try:
            for _ in range(CAPACITY):
                leases.append(pool.acquire(timeout=4.0))
                leases[-1].loan.voidcmd("NOOP")
        except Exception as error:
            return [f"{whose}: {len(leases)} of {CAPACITY} sessions: {error!r}"]
        finally:
            for lease in leases:
                lease.release()
        return []


Fault: TypeAlias = tuple[str, Site, int, type[BaseException]]
"""Scenario, call, which one of them, exception."""


def plan(bench: Bench, *, every: bool) -> list[Fault]:
    """All exceptions at all sites: at the first call of each line, or at `every` one."""
    faults: list[Fault] = []
    for name in SCENARIOS:
        for site, count in sorted(bench.survey(name).items()):
            if name == "work" or _own(site):
                occurrences: Iterable[int] = range(1, count + 1) if every else (1,)
                faults += [(name, site, n, error) for n in occurrences for error in ERRORS]
    return faults


def plan_of_tls(bench: Bench) -> list[Fault]:
    """What the kernel does not know of: each line's first call of OpenSSL."""
    sites = sorted(site for site in bench.survey("work") if site.of_tls)
    return [("work", site, 1, error) for site in sites for error in TLS_ERRORS]


def fill(bench: Bench, faults: Sequence[Fault], *, seconds: float) -> Matrix:
    """Try the faults one by one, for at most so many seconds."""
    matrix = Matrix(rows={site.row for _, site, _, _ in faults})
    began = time.monotonic()
    gc.collect()
    gc.freeze()  # so that looking for unclosed sockets after each run is cheap
    try:
        for fault in faults:
            if time.monotonic() - began > seconds:
                matrix.failures.append(f"no time left after {seconds:.0f} s")
                break
            for _ in range(TRIES):
                if _try(bench, matrix, fault):
                    break
    finally:
        gc.unfreeze()
        matrix.elapsed = time.monotonic() - began
    return matrix


def _own(site: Site) -> bool:
    return site.step == "limiter"  # the rest is in "work" as well


def _try(bench: Bench, matrix: Matrix, fault: Fault) -> bool:
    """Run once; False if the call was not reached: threads take turns in another way each time."""
    name, site, occurrence, error = fault
    injector = Injector()
    injector.arm(site, occurrence, error)
    problems = bench.run(name, injector)
    if problems:
        what = f"{error.__name__} at call {occurrence} of {site}"
        matrix.failures.append(f"{what}: {'; '.join(problems)}")
    if injector.fired:
        key = (site.row, error.__name__)
        matrix.tried[key] = matrix.tried.get(key, 0) + 1
    return injector.fired > 0


def _left(threads: set[threading.Thread], descriptors: dict[int, str]) -> list[str]:
    left = [repr(thread) for thread in threading.enumerate() if thread not in threads]
    return left + [
        f"fd {number} -> {target}"
        for number, target in _descriptors().items()
        if descriptors.get(number) != target
    ]


@contextmanager
def _unclosed(problems: list[str]) -> Iterator[None]:
    """Note sockets that only the garbage collector closed."""

    def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        if category is ResourceWarning:
            problems.append(str(message))

    hook, threading.excepthook = threading.excepthook, lambda arguments: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = show
            yield
    finally:
        threading.excepthook = hook
