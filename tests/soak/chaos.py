"""Processes x threads on one server, behind a relay that hurts them, with the server's own count.

The slots are those of the whole machine, the server allows exactly the cap, and it is the server
that says whether that held: one refusal, or one connection too many at any instant, is a failure.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.worker import CAP, content
from tests.support import servers
from tests.support.relay import Relay
from tests.support.servers import Server

PROCESSES = 3
WORKER = Path(__file__).with_name("worker.py")


@dataclass
class Result:
    """What came of it."""

    seed: int
    seconds: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    hurt: Counter[str] = field(default_factory=Counter)
    files: int = 0
    connects: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def uses(self) -> int:
        """What the workers did to its end."""
        return sum(self.done[what] for what in ("ask", "discard", "fail", "lose", "send"))

    @property
    def errors(self) -> int:
        """What ended in an error instead."""
        return self.done.total() - self.uses

    def summary(self) -> str:
        """One line."""
        hurt = ", ".join(f"{count} {what}" for what, count in sorted(self.hurt.items()))
        return (
            f"soak: seed {self.seed}, {self.seconds:.0f} s, {PROCESSES} processes: "
            f"{self.uses:,} uses, {self.errors:,} errors, {self.connects:,} connections, "
            f"{self.files} files whole; {hurt}; "
            + (f"{len(self.problems)} problems" if self.problems else "nothing lost, cap held")
        )


class Soak:
    """One run."""

    def __init__(self, server: Server, relay: Relay, seed: int) -> None:
        self.result = Result(seed)
        self._server = server
        self._relay = relay
        self._url = server.url.replace(str(server.port), str(relay.port))
        self._dice = random.Random(seed)
        self._workers: list[subprocess.Popen[str]] = []

    def run(self, seconds: float) -> Result:
        """Let it happen for so long, then look at what is left."""
        began = time.monotonic()
        try:
            for _ in range(PROCESSES):
                self._hire()
            while (left := began + seconds - time.monotonic()) > 0:
                time.sleep(min(left, self._dice.uniform(0.1, 0.8)))
                self._hurt()
            for worker in list(self._workers):
                self._dismiss(worker)
        finally:
            for worker in self._workers:
                _kill(worker)
        self._count()
        self.result.seconds = time.monotonic() - began
        return self.result

    def _hire(self) -> None:
        seed = self._dice.randrange(1 << 30)
        worker = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(WORKER), self._url, str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._workers.append(worker)
        assert worker.stdout is not None
        if worker.stdout.readline() != "ready\n":
            self.result.problems.append("a worker did not begin")

    def _dismiss(self, worker: subprocess.Popen[str]) -> None:
        """SIGTERM: it ends in an orderly way and tells."""
        self._workers.remove(worker)
        worker.send_signal(signal.SIGTERM)
        try:
            out, _ = worker.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            _kill(worker)
            self.result.problems.append("a worker did not end within 60 s after SIGTERM")
            return
        if worker.returncode != 143:
            self.result.problems.append(f"a worker ended with {worker.returncode}")
            return
        told = json.loads(out)
        self.result.done.update(told.pop("done"))
        self.result.problems += [f"{what}: {value}" for what, value in told.items() if value]

    def _hurt(self) -> None:
        """Do one harm."""
        what = self._dice.choice(("reset", "refused", "lost reply", "slow", "kill -9", "SIGTERM"))
        self.result.hurt[what] += 1
        match what:
            case "reset":
                self._relay.reset()
            case "refused":
                self._relay.set(refuse=self._dice.randrange(1, 4), words="421 Too busy.\r\n")
            case "lost reply":
                self._relay.set(drop=self._dice.choice(("226", "250", "200", "221")))
            case "slow":
                self._relay.set(delay=self._dice.choice((0.0, 0.002, 0.005)))
            case "kill -9":
                worker = self._dice.choice(self._workers)
                self._workers.remove(worker)
                _kill(worker)
                self._hire()
            case "SIGTERM":
                self._dismiss(self._dice.choice(self._workers))
                self._hire()

    def _count(self) -> None:
        self._relay.set(refuse=0, drop=None, delay=0.0)
        problems = self.result.problems
        try:
            census = self._server.wait_idle(10.0)
        except AssertionError as error:
            problems.append(str(error))
            census = self._server.census()
        self.result.connects = census.connects
        if census.peak > CAP or census.refusals:
            problems.append(f"the cap of {CAP} did not hold: {census}")
        for path in self._server.home.iterdir():
            if path.name.startswith("file-"):
                size = int(path.name.rpartition("-")[2])
                if path.read_bytes() != content(size):
                    problems.append(f"{path.name} is not whole")
                self.result.files += 1


def _kill(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait(10)
    if worker.stdout is not None:
        worker.stdout.close()


def soak(folder: Path, *, seconds: float, seed: int) -> Result:
    """Start a server and a relay, and run."""
    with (
        servers.start("pyftpdlib", max_per_ip=CAP, root=folder / "home", workdir=folder) as server,
        Relay(server.port, workdir=folder) as relay,
    ):
        return Soak(server, relay, seed).run(seconds)
