"""The demo's side of its server: start it, ask what it saw, end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["HOST", "LIMIT", "LOGIN", "PASSWORD", "REPLY", "Host", "Seen"]

HOST = "127.0.0.1"
LIMIT = 3
"""Connections that the server allows from one address."""
REPLY = 0.010
"""Seconds that each reply of the server takes."""
LOGIN = 0.080
"""Seconds that a login takes in addition."""
PASSWORD = "demo"  # noqa: S105 - it protects nothing
_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "demo_server.py")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the server saw since it was asked before.

    Attributes:
        now: Connections that it holds at this moment.
        peak: Connections at one time, at most; one that is refused counts for a moment.
        connections: Connections made, the refused ones among them.
        refusals: Connections answered by 421.
        quits: Sessions ended by QUIT.
        vanished: Sessions that were gone without it.
        files: Files received to their end.
    """

    now: int
    peak: int
    connections: int
    refusals: int
    quits: int
    vanished: int
    files: int

    def plus(self, then: Seen) -> Seen:
        """Join this with what was seen after it."""
        return Seen(
            now=then.now,
            peak=max(self.peak, then.peak),
            connections=self.connections + then.connections,
            refusals=self.refusals + then.refusals,
            quits=self.quits + then.quits,
            vanished=self.vanished + then.vanished,
            files=self.files + then.files,
        )


class Host:
    """A running server; a context manager that ends it.

    Args:
        folder: A directory for it alone, which it removes with all in it when it ends.
        users: Names; each gets a home directory of this name below :attr:`root`.

    Raises:
        OSError: It does not start.
    """

    def __init__(self, folder: str, users: tuple[str, ...]) -> None:
        self.root: str = os.path.join(folder, "server")
        for user in users:
            os.makedirs(os.path.join(self.root, user))
        self._log = os.path.join(folder, "server.log")
        terms = [PASSWORD, str(LIMIT), str(REPLY), str(LOGIN)]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own script, with our own paths
                # -P: its neighbours in this directory are no modules for it. Warnings of pyftpdlib
                # and of asyncore are no news to whoever looks at a demo.
                [sys.executable, "-P", "-W", "ignore", _SCRIPT, self.root, *terms],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.port: int = int(self._read()["port"])
        except BaseException:
            self.stop()
            raise

    def look(self) -> Seen:
        """Ask what it saw since it was asked before."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the empty answer that follows says why
        return Seen(**self._read())

    def settle(self, timeout: float = 3.0) -> Seen:
        """Wait until it holds no connection, and say what it saw since it was asked before."""
        deadline = time.monotonic() + timeout
        seen = self.look()
        while seen.now and time.monotonic() < deadline:
            time.sleep(0.02)
            seen = seen.plus(self.look())
        return seen

    def stop(self) -> None:
        """End it; a second call does nothing."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the demo's server has ended: {self._last_words()}")
        answer: dict[str, int] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        with open(self._log, encoding="utf-8", errors="replace") as log:
            lines = log.read().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "without a word")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
