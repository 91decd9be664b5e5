"""A program that is interrupted at random moments while it uses a pool; runs on any Python.

``python storm.py URL INTERRUPTS SEED``: the main thread takes so many interrupts, often several
within one call, while three other threads contend for the three sessions. Then it says, as a JSON
object, what is left: sessions that can be had, threads, how ``close()`` went.
"""

from __future__ import annotations

import gc
import json
import logging
import random
import signal
import sys
import threading
import time
from types import FrameType

from ftppool import FTPPool, FTPPoolError

LIMIT = 100.0
"""Seconds after which the program gives up."""


class Storm:
    """Raises in the main thread while it is on."""

    def __init__(self, seed: int) -> None:
        self.taken = 0
        self._random = random.Random(seed)
        signal.signal(signal.SIGALRM, self._strike)

    def _strike(self, _number: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code is not use.__code__:
            frame = frame.f_back
        if frame is not None:  # where main() can catch it
            self.taken += 1
            raise KeyboardInterrupt

    def begin(self) -> None:
        """One comes at some moment, and more follow, until :meth:`end`."""
        first = 10 ** self._random.uniform(-5, -2.3)
        again = 10 ** self._random.uniform(-4, -2.3)
        signal.setitimer(signal.ITIMER_REAL, first, again)

    def end(self) -> None:
        """Silence."""
        signal.setitimer(signal.ITIMER_REAL, 0)


def use(pool: FTPPool, url: str, dice: random.Random) -> None:
    """Do one of the things that people do with a pool."""
    match dice.randrange(8):
        case 0 | 1:
            with pool.ftp(timeout=5) as ftp:
                ftp.voidcmd("NOOP")
        case 2:
            pool.acquire(5).release()
        case 3:
            pool.acquire(5).discard()
        case 4:
            with pool.ftp(timeout=5) as ftp:
                ftp.cwd("/")
                raise ValueError
        case 5:
            with pool.session(5) as session:
                session.upload(b"x" * 5000, f"file-{dice.randrange(3)}")
        case 6:
            pool.acquire(5)  # and lose it
        case 7:
            with FTPPool(url, max_per_ip=3, name="short") as short, short.ftp(5):
                pass


def main(url: str, interrupts: int, seed: int) -> dict[str, object]:
    """Run the storm; what is left after it."""
    logging.getLogger("ftppool").addHandler(logging.NullHandler())
    logging.getLogger("ftppool").propagate = False
    threading.excepthook = lambda arguments: None
    sys.unraisablehook = lambda arguments: None  # an interrupt within a finalizer
    pool = FTPPool(url, max_per_ip=3, acquire_timeout=20)
    over, errors = threading.Event(), []

    def contend() -> None:
        while not over.is_set():
            try:
                with pool.ftp() as ftp:
                    ftp.voidcmd("NOOP")
            except FTPPoolError as error:
                errors.append(repr(error))
                return

    threads = [threading.Thread(target=contend, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    storm, dice = Storm(seed), random.Random(seed)
    deadline = time.monotonic() + LIMIT
    while storm.taken < interrupts and time.monotonic() < deadline:
        storm.begin()
        try:
            use(pool, url, dice)
        except (KeyboardInterrupt, ValueError):
            pass
        except FTPPoolError as error:
            errors.append(repr(error))
        finally:
            storm.end()
    over.set()
    for thread in threads:
        thread.join(20)
    stuck = sum(thread.is_alive() for thread in threads)
    gc.collect()
    return {"taken": storm.taken, "stuck": stuck, "errors": errors[:5]} | _left(pool)


def _left(pool: FTPPool) -> dict[str, object]:
    leases = []
    try:
        for _ in range(3):
            leases.append(pool.acquire(5))
            leases[-1].loan.voidcmd("NOOP")
    except Exception as error:
        from ftppool import gate

        ledgers = [(one._ledger.slots, one._ledger.waiters) for one in gate._gates.values()]
        return {"capacity": len(leases), "why": f"{error!r} {ledgers}"}
    capacity = len(leases)
    for lease in leases:
        lease.release()
    waiting = pool.stats().waiting
    report = pool.close()
    deadline = time.monotonic() + 3
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [thread.name for thread in threading.enumerate()[1:]]
    return {"capacity": capacity, "waiting": waiting, "clean": report.clean, "threads": left}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
