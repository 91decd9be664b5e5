"""Programs that end in every way there is; each one's sessions must not stay behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

PRELUDE = """
import ftppool, logging, os, signal, sys, threading, time
from ftppool import FTPPool
logging.basicConfig(format="%(levelname)s %(message)s")
url = sys.argv[1] if len(sys.argv) > 1 else ""

def say(*words):
    # In one piece: two threads may say something.
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def leaks(self) -> int:
        """Warnings that were issued."""
        return self.err.count("LeakWarning: ")

    @property
    def logged(self) -> list[str]:
        """What was logged, without the stacks."""
        return [line for line in self.err.splitlines() if line.startswith("WARNING ftppool: ")]


def run(
    script: str, *arguments: str, options: tuple[str, ...] = ("-W", "always"), timeout: float = 30.0
) -> Ended:
    """Run a program to its end."""
    began = time.monotonic()
    process = start(script, *arguments, options=options)
    out, err = process.communicate(timeout=timeout)
    return Ended(process.returncode, out, err, time.monotonic() - began)


def start(
    script: str, *arguments: str, options: tuple[str, ...] = ("-W", "always")
) -> subprocess.Popen[str]:
    """Start a program."""
    return subprocess.Popen(
        [sys.executable, *options, "-c", PRELUDE + script, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
