"""Runs a short command, and leaves nothing of it when it takes too long."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from subprocess import Popen

__all__ = ["Done", "kill", "run"]

_LOOK_EVERY = 0.1
"""Seconds between two looks if it has ended while something else has its stdout open."""
_DRAIN = 0.5
"""Seconds for what it has said just before its end: it is there, but a machine may be busy."""
_DEATH = 2.0
"""Seconds for the end of what was killed; a ``sudo`` may be nobody whom we can kill."""


class Done(NamedTuple):
    """A command that has ended by itself.

    Attributes:
        code: Its exit code.
        out: What it wrote to stdout until then.
        err: The same of stderr.
    """

    code: int
    out: bytes
    err: bytes


def run(argv: Sequence[str], timeout: float) -> Done | None:
    """Run a command without a shell and without input, in a session of its own.

    What it leaves running in the background goes on, and is not waited for.

    Args:
        argv: The command and its arguments.
        timeout: Seconds that it may take.

    Returns:
        What it has said; None if it took too long. It was killed then, with all that it started.

    Raises:
        OSError, ValueError: It cannot be run.
    """
    import subprocess

    deadline = time.monotonic() + timeout
    process = subprocess.Popen(  # noqa: S603 - the user's own command, and no shell
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        return _follow(process, deadline)
    finally:
        if process.returncode is None:  # too late, or a Ctrl-C, which it does not get itself
            kill(process)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _follow(process: Popen[bytes], deadline: float) -> Done | None:
    from subprocess import TimeoutExpired

    while True:
        ended = process.poll() is not None
        left = deadline - time.monotonic()
        if left <= 0 and not ended:
            return None
        try:
            out, err = process.communicate(timeout=_DRAIN if ended else min(_LOOK_EVERY, left))
        except TimeoutExpired as expired:
            if not ended:
                continue
            # Somebody in the background has the pipe open: this is what was in it.
            out, err = expired.output or b"", expired.stderr or b""
        return Done(process.returncode, out, err)


def kill(process: Popen[bytes]) -> None:
    """Kill a command that leads a session of its own and has not ended, with all that it started.

    Waits 2 s at most for its end.
    """
    from subprocess import TimeoutExpired

    with contextlib.suppress(OSError, TimeoutExpired):
        if sys.platform == "win32":
            process.kill()
        else:
            # Not reaped yet: nobody else can have this number.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_DEATH)
