"""Child process: run one server, watch its session processes, end all of them.

Usage: ``supervisor.py CLAIM_FD PORT unreaped|living|asked PROGRAM ARGUMENT…``; the server's output
goes to stderr.

Says ``{"pid": …}`` when the server listens (seen in /proc/net/tcp: a probing connect would count as
a session). Answers every line on stdin with ``{"running": …, "lives": {pid: [begin, end]}}``, the
session processes seen so far, `end` being null for those that are there now. Ends the server
and everything it started when stdin is closed.

Session processes are the server's children, sampled every 2 ms: ``unreaped`` counts them until the
server has reaped them (so does the limit of vsftpd), ``living`` until their end. ``asked`` is
``unreaped``, but looks only when asked.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

PERIOD_MS = 2
START_TIMEOUT = 8.0
TERM_TIMEOUT = 0.05  # ProFTPD needs 0.4 s for a SIGTERM, and there is nothing to wait for
KILL_TIMEOUT = 3.0
LISTEN = "0A"
PR_SET_CHILD_SUBREAPER = 36


def children_of(pid: int) -> list[int]:
    """Return the child processes of `pid`."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(number) for number in file.read().split()]
    except FileNotFoundError:
        if os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
            return []  # pid has ended
        return [int(entry) for entry in os.listdir("/proc") if parent_of(entry) == pid]


def stat_of(pid: int | str) -> list[bytes]:
    """Return the fields of /proc/PID/stat after the name: state, parent …; empty when gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def parent_of(entry: str) -> int:
    """Return the parent of the process with the /proc entry `entry`, 0 for none."""
    fields = stat_of(entry) if entry.isdigit() else []
    return int(fields[1]) if fields else 0


def listening(port: int) -> bool:
    """Return whether somebody listens on `port`."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return any(row[3] == LISTEN and row[1].endswith(f":{port:04X}") for row in rows)


class Watch:
    """When each session process of a server was first and last seen."""

    def __init__(self, server: int, *, living: bool) -> None:
        self.lives: dict[int, list[float | None]] = {}
        self._server = server
        self._living = living
        self._present: set[int] = set()

    def sample(self) -> None:
        """Look at the server's children once."""
        children = children_of(self._server)
        if self._living:
            children = [pid for pid in children if stat_of(pid)[:1] not in ([], [b"Z"], [b"X"])]
        now = time.monotonic()
        present = set(children)
        for pid in self._present - present:
            self.lives[pid][1] = now
        for pid in present - self._present:
            # The kernel may leave out a sibling of a process that ends at this instant; when it
            # comes back its life goes on.
            self.lives.setdefault(pid, [now, None])[1] = None
        self._present = present


def spawn(command: list[str]) -> int:
    """Start the server in a session of its own."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, 2, 1),
    ]
    # posix_spawn would not reset what Python ignores.
    ignored = [signal.SIGPIPE, signal.SIGXFSZ]
    return os.posix_spawn(
        command[0], command, os.environ, file_actions=actions, setsid=True, setsigdef=ignored
    )


def adopt_orphans() -> None:
    """Make sessions whose server has ended our children, so that we can end and reap them."""
    import ctypes  # not at the top: the import may overlap with the server's start

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def ended(pid: int) -> bool:
    """Return whether the child `pid` has ended; reaps it."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def end(server: int) -> None:
    """End the server, its process group, and sessions that have left both."""
    if not ended(server):
        os.kill(server, signal.SIGTERM)
        deadline = time.monotonic() + TERM_TIMEOUT
        while time.monotonic() < deadline and not ended(server):
            time.sleep(0.001)
    try:
        os.killpg(server, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nobody is left in it
    deadline = time.monotonic() + KILL_TIMEOUT
    while time.monotonic() < deadline:
        for pid in children_of(os.getpid()):
            os.kill(pid, signal.SIGKILL)  # unreaped children of ours: the number is still theirs
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def say(**answer: object) -> None:
    """Write one answer."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve(server: int, watch: Watch, period_ms: int | None) -> None:
    """Sample, and answer lines on stdin, until stdin is closed."""
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    running = True
    while True:
        asked = poll.poll(period_ms)
        watch.sample()
        if asked:
            lines = os.read(0, 65536).count(b"\n")
            if not lines:
                return
            running = running and not ended(server)
            for _ in range(lines):
                say(running=running, lives=watch.lives)


def main(claim: str, port: str, counted: str, *command: str) -> None:
    """Run the server until stdin is closed."""
    os.set_inheritable(int(claim), False)  # ours alone, so that it ends with us
    server = spawn(list(command))
    try:
        adopt_orphans()
        deadline = time.monotonic() + START_TIMEOUT
        while not listening(int(port)):
            if ended(server) or time.monotonic() > deadline:
                say(error="could not start the server")
                return
            time.sleep(0.001)
        watch = Watch(server, living=counted == "living")
        watch.sample()
        say(pid=server)
        serve(server, watch, None if counted == "asked" else PERIOD_MS)
    finally:
        end(server)


if __name__ == "__main__":
    main(*sys.argv[1:])
