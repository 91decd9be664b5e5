"""Child processes that obey JSON lines, and ports that no other test server uses."""

from __future__ import annotations

import json
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHILDREN = Path(__file__).with_name("children")
_LOOPBACK = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}"
_OPEN_STATES = ("01", "03", "08")  # ESTABLISHED, SYN_RECV, CLOSE_WAIT
_BLOCK = 250
_FIRST_PORT = 10_000
_READY_TIMEOUT = 10.0
_STOP_TIMEOUT = 5.0


class ChildError(RuntimeError):
    """A child process did not start, died, or did not answer."""


@dataclass(frozen=True, slots=True)
class Ports:
    """A block of ports of one server: its listener's and its passive ones."""

    claim: socket.socket
    """Bound to the block's first port; the block is ours until the last copy is closed."""
    listen: int
    """The port for the listener."""

    @property
    def passive(self) -> tuple[int, int]:
        """The first and the last passive port."""
        return self.listen + 1, self.listen + _BLOCK - 2


def claim_ports() -> Ports:
    """Claim a block of loopback ports for one server.

    A port had by binding port 0 can be lost to any process before the server binds it, and
    passive ports cannot be had that way at all. So the machine's test servers share blocks
    below the ephemeral ports, and holding the first port of a block is the claim to it.
    The kernel keeps an ended connection for a minute (TIME_WAIT): blocks to whose last listener
    fewest are left come first, as what looks at the machine's connections sees those too.
    """
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    blocks = list(range(_FIRST_PORT, int(ephemeral) - _BLOCK, _BLOCK))
    left = Counter(row[2] for row in _connections())
    shuffled = random.SystemRandom().sample(blocks, len(blocks))
    for base in sorted(shuffled, key=lambda base: left[_end(base + 1)]):
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", base))
            with socket.socket() as probe:
                # As the servers do it: connections in TIME_WAIT do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", base + 1))
        except OSError:
            claim.close()
        else:
            return Ports(claim, base + 1)
    raise ChildError("no free block of ports")


def connections_to(port: int) -> int:
    """Return how many connections to a loopback listener its side has not closed.

    They include those that no server process has accepted yet.
    """
    return sum(row[1] == _end(port) and row[3] in _OPEN_STATES for row in _connections())


def _connections() -> list[list[str]]:
    """Return the fields of each row of the kernel's table: number, local end, remote end, state."""
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def _end(port: int) -> str:
    """Return a loopback port as the kernel's table writes it."""
    return f"{_LOOPBACK}:{port:04X}"


class Child:
    """A Python child process: JSON lines in, JSON lines out, ends when its stdin is closed.

    So no child outlives the test process, however that one ends.
    """

    def __init__(
        self,
        script: str,
        arguments: Sequence[str | Path | int],
        *,
        log: Path,
        site: bool = False,
        environment: Mapping[str, str] | None = None,
        claim: socket.socket | None = None,
    ) -> None:
        """Start ``children/<script>``; call `ready` before anything else.

        Args:
            script: File name in the folder ``children``.
            arguments: Its command line.
            log: Where its stderr goes.
            site: Whether it needs third-party packages (costs start-up time).
            environment: Its environment, None for ours.
            claim: A socket to keep open in the child; number in its first argument.
        """
        self._script = script
        self._log = log
        self._lock = threading.Lock()
        self._buffer = b""
        options = ["-P"] if site else ["-I", "-S"]
        if claim is not None:
            arguments = [claim.fileno(), *arguments]
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, *options, str(CHILDREN / script), *map(str, arguments)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                pass_fds=() if claim is None else (claim.fileno(),),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def ready(self) -> dict[str, Any]:
        """Wait for the child's first line and return it.

        Raises:
            ChildError: it died, or said ``{"error": …}``; it is stopped then.
        """
        try:
            return self._read(time.monotonic() + _READY_TIMEOUT)
        except BaseException:
            self.stop()
            raise

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send one command and return the answer. Threads may share a child."""
        with self._lock:
            if self._process.stdin is None or self._process.stdin.closed:
                raise ChildError(f"{self._script} is stopped")
            try:
                self._process.stdin.write(json.dumps(command).encode() + b"\n")
            except BrokenPipeError:
                raise self._error("died") from None
            return self._read(time.monotonic() + _READY_TIMEOUT)

    def stop(self) -> None:
        """Close the child's stdin and wait for its end; kill it when that takes too long."""
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise self._error("did not stop") from None

    def _read(self, deadline: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise self._error("does not answer")
            chunk = self._process.stdout.read(65536)
            if not chunk:
                raise self._error("died")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._error(answer["error"])
        return answer

    def _error(self, what: str) -> ChildError:
        return ChildError(f"{self._script} {what}\n{self._log.read_text(errors='replace')[-2000:]}")
