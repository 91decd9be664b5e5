"""Run ``python -m ftppool`` as a user does: in a process of its own, with or without a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyte

COLUMNS = 80
ROWS = 40
_TIMEOUT = 40.0
_CODES = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended; on a terminal `out` has both streams."""

    code: int
    out: str
    err: str = ""

    def lines(self) -> list[str]:
        """What stays readable on a terminal, with colours."""
        return [line.rstrip("\r").rpartition("\r")[2] for line in self.out.split("\n")]

    def frames(self) -> list[str]:
        """Every state that any line ever had, without colours."""
        return [_CODES.sub("", frame) for frame in re.split("[\r\n]+", self.out)]

    def screens(self, columns: int = COLUMNS, rows: int = ROWS) -> list[list[str]]:
        """What a terminal showed after each redrawing, from the top; the last is what stays."""
        screen = pyte.Screen(columns, rows)
        screen.set_mode(pyte.modes.LNM)  # "\n" goes to the beginning of the next line
        stream = pyte.Stream(screen)
        found = []
        for piece in re.split("(?=\r)", self.out):
            stream.feed(piece)
            lines = [line.rstrip() for line in screen.display]
            while lines and not lines[-1]:
                lines.pop()
            found.append(lines)
        return found


def environment(**changes: str) -> dict[str, str]:
    """Return an environment in which a warning is an error and nothing is preset."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "FTPPOOL_STATE_DIR"
        or (
            not name.startswith("FTPPOOL_") and name not in {"NO_COLOR", "TERM", "PYTHONUNBUFFERED"}
        )
    }
    return kept | {"PYTHONWARNINGS": "error", "TERM": "xterm"} | changes


def start(
    *args: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a run without a terminal; finish it with `end`."""
    return subprocess.Popen(
        [sys.executable, "-m", "ftppool", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=cwd,
        env=environment(**(env or {})),
    )


def end(process: subprocess.Popen[str]) -> Ran:
    """Wait for a run's end."""
    try:
        out, err = process.communicate(timeout=_TIMEOUT)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Ran(process.returncode, out, err)


def run(*args: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Ran:
    """Run without a terminal."""
    return end(start(*args, cwd=cwd, env=env))


def run_on_terminal(
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    interrupt_at: str | None = None,
    answer: tuple[str, str] | None = None,
) -> Ran:
    """Run on a terminal of 80 columns.

    Args:
        args: The command line.
        env: Changes to the environment.
        interrupt_at: Press Ctrl-C when this was seen.
        answer: When this was seen, type that.
    """
    if interrupt_at is not None:
        answer = (interrupt_at, "\x03")
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *map(str, args)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=environment(**(env or {})),
        )
        os.close(theirs)
        output = _read(ours, answer)
        return Ran(process.wait(_TIMEOUT), output.decode().replace("\r\n", "\n"))
    finally:
        os.close(ours)


# The session's leader gets the terminal, so that Ctrl-C on it becomes a signal.
_ON_TERMINAL = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.argv[0] = "ftppool"
runpy.run_module("ftppool", run_name="__main__")
"""


def _read(terminal: int, answer: tuple[str, str] | None) -> bytes:
    output = b""
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # EIO: Linux's way to say that nobody has it open any more
            return output
        if not chunk:
            return output
        output += chunk
        if answer is not None and answer[0].encode() in output:
            os.write(terminal, answer[1].encode())
            answer = None
    raise AssertionError(f"still running: {output!r}")
