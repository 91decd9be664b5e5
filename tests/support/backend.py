"""What the modules of the server kinds share."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from . import install
from .census import Census, Visit
from .processes import Child, ChildError, Ports

HOST = os.environ.get("FTPPOOL_TEST_HOST", "127.0.0.1")
"""Where servers listen: loopback, or one end of a benchmark's slow link."""
USER = "tester"
OTHER_USER = "another"
PASSWORD = "sesame-42"
PASSWORD_HASH = (
    # crypt(3) of PASSWORD with few rounds: the servers must spend their time on sessions.
    "$6$rounds=1000$ftppool$EDRavAm1KtLwukU5sLH2dJCTtCFG.Fo4nnZX5Z43n0DpdE6IuUzq9q0UW4w"
    "mGV3n70rCXVIiHOAhaTGbdFw91/"
)
Counted = Literal["unreaped", "living", "asked"]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a server is to be."""

    ports: Ports
    home: Path
    """The served folder; exists."""
    folder: Path
    """An empty folder for configuration and logs."""
    max_per_ip: int | None = None
    idle_timeout: float | None = None
    """Seconds."""
    options: Mapping[str, Any] = field(default_factory=dict)
    certificate: Path | None = None
    """PEM file with certificate and key: TLS is required then, with session reuse."""
    implicit: bool = False
    """TLS from the first byte."""
    quiet: bool = False
    """Log nothing that a census rests on and do not sample: for benchmarks."""
    small_disk: str | None = None
    """For root: a disk of that size (``1m``) at ``full`` in `home`, which only the server sees."""


class Backend(Protocol):
    """A running server of one kind."""

    user: str
    port: int

    def census(self) -> Census:
        """Count what the server has seen."""

    def stop(self) -> None:
        """End it and everything it started."""


class Supervised:
    """A server program below ``children/supervisor.py``."""

    def __init__(self, spec: Spec, command: Sequence[str | Path], *, counted: Counted) -> None:
        """Start it.

        Args:
            spec: Its ports and folder.
            command: Program (absolute path) and arguments.
            counted: Whether a session process counts until the server has reaped it
                (``unreaped``) or while it lives, seen every 2 ms; or, ``asked``, until it is
                reaped and seen by `lives` only.
        """
        if spec.small_disk is not None:
            command = _with_small_disk(spec.home / "full", spec.small_disk, command)
        if spec.quiet:
            counted = "asked"
        self._lives: dict[int, tuple[float, float | None]] = {}
        self._ready = self._stopped = False
        self._child = Child(
            "supervisor.py",
            [spec.ports.listen, counted, *command],
            log=spec.folder / "stderr.log",
            environment=install.environment(),
            claim=spec.ports.claim,
        )

    def ready(self) -> None:
        """Wait until the server listens."""
        self._child.ready()
        self._ready = True

    def lives(self) -> dict[int, tuple[float, float | None]]:
        """Return when each session process began and ended, from a look taken now.

        Raises:
            ChildError: the server has died.
        """
        if self._stopped:
            return self._lives
        answer = self._child.ask()
        if not answer["running"]:
            raise ChildError("the server has died")
        return {int(pid): (begin, end) for pid, (begin, end) in answer["lives"].items()}

    def visits(self) -> dict[int, Visit]:
        """Return one visit for each session process seen."""
        return {pid: Visit(begin=begin, end=end) for pid, (begin, end) in self.lives().items()}

    def stop(self) -> None:
        """End the server; `lives` goes on telling what was."""
        if self._stopped:
            return
        try:
            lives = self.lives() if self._ready else {}
        except ChildError:
            lives = {}
        now = time.monotonic()
        self._lives = {
            pid: (begin, now if end is None else end) for pid, (begin, end) in lives.items()
        }
        self._stopped = True
        self._child.stop()


def _with_small_disk(where: Path, size: str, command: Sequence[str | Path]) -> list[str]:
    """Run a server in a mount namespace of its own, with a disk that is soon full."""
    where.mkdir()
    unshare = shutil.which("unshare")
    assert unshare is not None
    mount = f"mount -t tmpfs -o size={size} none {shlex.quote(str(where))}"
    return [unshare, "-m", "/bin/sh", "-c", f"{mount} && exec {shlex.join(map(str, command))}"]


def read_log(path: Path) -> list[str]:
    """Return the complete lines of a log that may still be written to."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return text[: text.rfind("\n") + 1].splitlines()
