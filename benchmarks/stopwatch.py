"""Run one program and measure it: a small process, since a child starts with its parent's peak.

Reads ``{"command": […], "folder": …, "environment": {…}, "input": …, "limit": seconds}`` from
stdin; writes ``{"code": …, "wall": …, "cpu": …, "peak": …, "said": …, "late": …}``, seconds and
bytes; ``late`` if it was killed. CPU and
memory are those of the program and of all that it starts (lftp's ssh). The memory of processes
that run at the same time is added up: the kernel's own high-water marks, read every 10 ms.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36
FIRST_PERIOD, PERIOD = 0.001, 0.010
LEAVING = 3.0
"""Seconds that what the program started may live longer than it."""


def children_of(pid: int) -> list[int]:
    """Return what the main thread of `pid` has started and not reaped."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(number) for number in file.read().split()]
    except OSError:
        return []  # it has ended


def peak_of(pid: int) -> int:
    """Return the most memory that `pid` and its children had, in bytes; 0 when they are gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = re.search(rb"VmHWM:\s+(\d+)", file.read())
    except OSError:
        return 0
    own = int(found[1]) * 1024 if found else 0
    return own + sum(map(peak_of, children_of(pid)))


def reap() -> None:
    """Wait for orphans, so that their CPU seconds count; end them if they stay."""
    deadline = time.monotonic() + LEAVING
    while orphans := children_of(os.getpid()):
        if time.monotonic() > deadline:
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def measure(
    command: list[str], folder: str, environment: dict[str, str], input: str | None, limit: float
) -> dict[str, object]:
    """Run the program to its end, or kill it after `limit` seconds."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write((input or "").encode())
        given.seek(0)
        before, began = os.times(), time.perf_counter()
        program = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=given, stdout=said, stderr=said
        )
        watch = select.poll()
        watch.register(os.pidfd_open(program.pid), select.POLLIN)
        peak, timed_out, period = peak_of(program.pid), False, FIRST_PERIOD
        while not watch.poll(period * 1000):
            peak = max(peak, peak_of(program.pid))
            period = min(PERIOD, period * 2)
            if time.perf_counter() - began > limit and not timed_out:
                timed_out = True
                program.kill()
        wall = time.perf_counter() - began
        code = program.wait()
        reap()
        after = os.times()
        cpu = after.children_user - before.children_user
        cpu += after.children_system - before.children_system
        said.seek(0)
        words = said.read().decode(errors="replace")[-2000:]
    found = {"code": code, "wall": wall, "cpu": cpu, "peak": peak, "said": words}
    return {**found, "late": timed_out}


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    json.dump(measure(**json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
