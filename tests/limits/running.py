"""Python programs that share a server's slots with the test."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeAlias

PRELUDE = """
import sys, threading, time, os
import ftppool
from ftppool import FTPPool

class Slow:
    # a source of `seconds`, in steps
    def __init__(self, seconds, step=0.05):
        self.end = time.monotonic() + seconds
        self.step = step
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def close(self): pass
    def read(self, size=-1):
        if time.monotonic() >= self.end: return b""
        time.sleep(self.step)
        return b"x" * 1000

def say(*words):
    print(*words, flush=True)

url = sys.argv[1]
"""


class Program:
    """A running program; it prints lines, and each is waited for."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Wait for the next line; the test's own time limit bounds it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def wait(self, timeout: float = 30.0) -> int:
        return self.process.wait(timeout)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


Run: TypeAlias = Callable[..., Program]
"""Starts a program."""


@contextmanager
def programs() -> Iterator[Run]:
    """Start programs that are ended at the end."""
    with ExitStack() as stack:

        def start(script: str, *arguments: str) -> Program:
            program = Program(script, *arguments)
            stack.callback(program.stop)
            return program

        yield start


def wait_until(condition: Callable[[], bool], timeout: float) -> float:
    """Wait; return the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout, "not in time"
        time.sleep(0.01)
    return time.monotonic() - began
