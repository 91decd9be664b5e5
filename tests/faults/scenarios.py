"""What a pool does in a run of the matrix, with everything that a user can give it."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ftppool import FTPPool, FTPPoolError, RetryPolicy
from ftppool.events import Event
from ftppool.lessons import Lessons
from ftppool.limits.base import Allowance, Denied
from tests.faults.injector import Injector

__all__ = ["SCENARIOS", "Given"]


@dataclass(eq=False)
class Given:
    """Limiter, listener, password and source of a user, each of which may fail."""

    injector: Injector
    denials: int = 0
    held: int = 0
    twice: int = 0
    looked: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    told: threading.Event = field(default_factory=threading.Event)
    taught: threading.Event = field(default_factory=threading.Event)
    known: Lessons = field(default_factory=Lessons)

    def pool(self, url: str) -> FTPPool:
        head, _, host = url.rpartition("@")
        scheme, _, user = head.rpartition(":")[0].partition("://")
        password = head.rpartition(":")[2]

        def secret() -> str:
            self.injector.point("user", "password()")
            return password

        def on_event(event: Event) -> None:
            self.injector.point("user", "on_event()")

        return FTPPool(
            f"{scheme}://{host}",
            user=user,
            password=secret,
            on_event=on_event,
            max_per_ip=2,
            limiter=self,
            acquire_timeout=5.0,
            connect_timeout=5.0,
            io_timeout=5.0,
            quit_timeout=1.0,
            check_after_idle=0.0,
            retry=RetryPolicy(first_wait=0.0, max_wait=0.01, attempts=2),
        )

    # -- the limiter -------------------------------------------------------------------------------

    def take(self, address: str, cap: int, user: str) -> _Permit | Denied:
        self.injector.point("limiter", "take()")
        if self.denials:
            self.denials -= 1
            return Denied.FULL
        return _Permit(self)

    def pause(self, address: str, cap: int, until: float) -> None:
        self.injector.point("limiter", "pause()")

    def forgo(self, address: str) -> None:
        self.left.set()
        self.injector.point("limiter", "forgo()")

    def pressure(self, address: str, cap: int) -> Allowance | None:
        self.looked.set()
        self.injector.point("limiter", "pressure()")
        return None

    def others(self, address: str, user: str | None = None) -> int:
        self.injector.point("limiter", "others()")
        return 0

    def elsewhere(self, address: str) -> str:
        self.told.set()
        self.injector.point("limiter", "elsewhere()")
        return "another process has all"

    def lessons(self, address: str) -> Lessons:
        self.injector.point("limiter", "lessons()")
        return self.known

    def teach(self, address: str, change: Callable[[Lessons], Lessons]) -> Lessons:
        self.taught.set()
        self.injector.point("limiter", "teach()")
        self.known = change(self.known)
        return self.known

    def proved(self, address: str, permit: object) -> Lessons:
        self.injector.point("limiter", "proved()")
        return self.known

    # -- the source --------------------------------------------------------------------------------

    def source(self) -> io.BytesIO:
        self.injector.point("user", "source open()")
        return _Source(self.injector)


class _Source(io.BytesIO):
    def __init__(self, injector: Injector) -> None:
        super().__init__(b"x" * 3000)
        self._injector = injector

    def read(self, size: int | None = -1) -> bytes:
        self._injector.point("user", "source read()")
        return super().read(size)


class _Permit:
    trying: tuple[str | None, ...] = (None,)  # so that each open asks what it has proved

    def __init__(self, given: Given) -> None:
        self._given = given
        self._released = False
        given.held += 1

    def release(self, settled_at: float = 0.0) -> None:
        self._given.twice += self._released
        self._given.held -= not self._released
        self._released = True
        self._given.injector.point("limiter", "release()")


def work(pool: FTPPool, given: Given) -> None:
    """Everything that goes well: two sessions, commands, a changed directory, a file, an end."""
    with pool.ftp() as ftp, pool.ftp() as other:
        ftp.cwd("/")
        other.voidcmd("NOOP")
    with pool.session() as session:
        session.upload(given.source, "file")
    pool.upload_batch([(given.source, f"batch-{n}") for n in range(3)], workers=1)
    lease = pool.acquire()
    lease.discard()
    with contextlib.suppress(ZeroDivisionError), pool.ftp() as ftp:
        data = ftp.transfercmd("STOR broken")
        data.sendall(b"x")
        raise ZeroDivisionError
    held = pool.acquire()
    pool.close(timeout=0.04)
    held.release()


def refused(pool: FTPPool, given: Given) -> None:
    """Nobody listens."""
    pool.acquire()


def denied(pool: FTPPool, given: Given) -> None:
    """The limiter has no permit for long."""
    given.denials = 1000
    _ask_until(given.told, pool, 0.05)
    given.left.wait(2)


def held(pool: FTPPool, given: Given) -> None:
    """A lease is out for long enough to be asked for by other processes."""
    with pool.ftp():
        given.looked.clear()
        given.looked.wait(2)


def busy(pool: FTPPool, given: Given) -> None:
    """The server allows one connection and says so to the second."""
    with pool.ftp():
        _ask_until(given.taught, pool, 0.2)


def _ask_until(event: threading.Event, pool: FTPPool, timeout: float) -> None:
    """Wait in vain, again and again if the machine is too busy for what is to happen meanwhile."""
    for _ in range(10):
        with contextlib.suppress(FTPPoolError):
            pool.acquire(timeout=timeout)
        if event.is_set():
            return


SCENARIOS: dict[str, Callable[[FTPPool, Given], None]] = {
    "work": work,
    "refused": refused,
    "denied": denied,
    "busy": busy,
    "held": held,
}
