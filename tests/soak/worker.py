"""One of the processes of a soak: threads that use a pool at random until SIGTERM comes.

``python worker.py URL SEED``. Says as a JSON object what it did and what is left of it.
"""

from __future__ import annotations

import ftplib
import io
import json
import logging
import random
import sys
import threading
import time
import traceback
from collections import Counter

import ftppool
from ftppool import FTPPool, FTPPoolError, RetryPolicy

CAP = 3
THREADS = 3
ENOUGH = 4 * 3600.0
"""Seconds after which a worker ends without being asked."""
SLICE = 0.5
"""Seconds between two looks of the main thread, as in the library's own waits."""


class OfTheScript(Exception):
    """What a user's own code may raise."""


class Worker:
    """Does random things and counts them."""

    def __init__(self, url: str, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.over = threading.Event()
        self._seed = seed
        self._pool = FTPPool(
            url,
            max_per_ip=CAP,
            acquire_timeout=30.0,
            connect_timeout=3.0,
            io_timeout=3.0,
            quit_timeout=1.0,
            max_idle=1.0,
            check_after_idle=0.1,
            max_lifetime=5.0,
            retry=RetryPolicy(max_wait=0.5),
        )

    def run(self) -> None:
        """Begin, and go on until somebody raises."""
        for number in range(THREADS):
            threading.Thread(target=self._use, args=(number,), name=f"user-{number}").start()
        # In slices: a signal that comes just before a wait begins is noticed only at its end.
        until = time.monotonic() + ENOUGH
        while not self.over.wait(SLICE) and time.monotonic() < until:
            pass

    def _use(self, number: int) -> None:
        dice = random.Random(f"{self._seed}-{number}")
        while not self.over.is_set():
            what = dice.choice((self.ask, self.ask, self.discard, self.fail, self.lose, self.send))
            try:
                what(dice)
                self.done[what.__name__] += 1
            except OfTheScript:
                self.done["fail"] += 1
            except (FTPPoolError, ftplib.Error, OSError, EOFError) as error:
                self.done[type(error).__name__] += 1
            except Exception as error:
                self.unexpected.append(repr(error))

    def ask(self, dice: random.Random) -> None:
        with self._pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
            time.sleep(dice.uniform(0, 0.02))

    def discard(self, dice: random.Random) -> None:
        self._pool.acquire().discard()

    def fail(self, dice: random.Random) -> None:
        with self._pool.ftp() as ftp:
            data = ftp.transfercmd("STOR abandoned")
            data.sendall(b"half")
            raise OfTheScript

    def lose(self, dice: random.Random) -> None:
        self._pool.acquire()

    def send(self, dice: random.Random) -> None:
        size = int(10 ** dice.uniform(0, 5))
        name = f"file-{dice.randrange(40)}"
        self._pool.upload(lambda: io.BytesIO(content(size)), f"{name}-{size}")

    def end(self) -> dict[str, object]:
        """Close while threads borrow and wait; what is left."""
        self.over.set()
        report = self._pool.close()
        deadline = time.monotonic() + 10
        while threading.active_count() > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        frames = sys._current_frames()
        stuck = {
            thread.name: traceback.format_stack(frames[thread.ident or 0])
            for thread in threading.enumerate()[1:]
            if thread.ident in frames
        }
        return {
            "done": self.done,
            "unexpected": self.unexpected[:5],
            "stuck": stuck,
            "still_running": report.still_running,
        }


def content(size: int) -> bytes:
    """The bytes of a file of this size."""
    return (b"%d|" % size * (size // 2 + 1))[:size]


def main() -> None:
    logging.getLogger("ftppool").addHandler(logging.NullHandler())
    logging.getLogger("ftppool").propagate = False
    ftppool.exit_on_sigterm()
    worker = Worker(sys.argv[1], int(sys.argv[2]))
    print("ready", flush=True)
    try:
        worker.run()
    finally:
        print(json.dumps(worker.end()), flush=True)


if __name__ == "__main__":
    main()
