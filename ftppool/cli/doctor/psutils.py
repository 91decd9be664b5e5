"""The machine as psutil shows it, for systems other than Linux."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Any

import psutil

from ftppool.cli.doctor.machine import Connection, Files, Process
from ftppool.cli.doctor.names import program_of

__all__ = ["PsutilMachine"]


class PsutilMachine:
    """Asks psutil; see :class:`ftppool.cli.doctor.machine.Machine`."""

    def connections(self) -> list[Connection]:
        """All connections that we may see: without rights, those of our own processes."""
        return [_connection(found) for found in _found() if found.raddr]

    def listening(self) -> list[Connection]:
        """The sockets that listen."""
        return [_connection(found) for found in _found() if found.status == psutil.CONN_LISTEN]

    def holders(self, found: Iterable[Connection]) -> list[Connection]:
        """They came with their processes already."""
        return list(found)

    def process(self, pid: int) -> Process | None:
        """What psutil may tell of a process."""
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                command = process.name()
                return Process(
                    pid=pid,
                    name=program_of(self.command_line(pid), command),
                    command=command,
                    parent=process.ppid(),
                    owner=_asked(process, "username") or "",
                    started=process.create_time(),
                    files=_asked(process, "num_fds"),
                    limit=_limit(process),
                )
        except (psutil.Error, OSError):
            return None

    def named(self, names: Collection[str]) -> list[Process]:
        """Compare the names of all processes."""
        pids = [one.pid for one in psutil.process_iter(["name"]) if one.info["name"] in names]
        return [process for pid in pids if (process := self.process(pid)) is not None]

    def command_line(self, pid: int) -> list[str]:
        """The arguments, or nothing where they are not for us to see."""
        try:
            return list(psutil.Process(pid).cmdline())
        except (psutil.Error, OSError):
            return []

    def files(self) -> Files | None:
        """No system but Linux says."""
        return None


def _found() -> list[Any]:
    try:
        return list(psutil.net_connections("tcp"))
    except psutil.AccessDenied:
        pass  # macOS wants root for that; our own processes we may ask one by one
    found: list[Any] = []
    for process in psutil.process_iter():
        try:
            ours = process.net_connections("tcp")
        except (psutil.Error, OSError):
            continue
        found += [_WithPid(one, process.pid) for one in ours]
    return found


class _WithPid:
    """A connection that a process was asked for, as the system-wide list has it."""

    def __init__(self, found: Any, pid: int) -> None:
        self.laddr, self.raddr = found.laddr, found.raddr
        self.status, self.pid = found.status, pid


def _connection(found: Any) -> Connection:
    return Connection(
        local=_end(found.laddr), remote=_end(found.raddr), state=found.status, pid=found.pid
    )


def _end(address: Any) -> tuple[str, int]:
    if not address:
        return "", 0
    return str(address[0]).removeprefix("::ffff:").partition("%")[0], int(address[1])


def _asked(process: psutil.Process, what: str) -> Any:
    """One fact, None where this system has none or does not tell us."""
    try:
        return getattr(process, what)()
    except (psutil.Error, OSError, AttributeError, KeyError):
        return None


def _limit(process: psutil.Process) -> int | None:
    """Only our own limit can be asked for on every Unix."""
    if process.pid != os.getpid():
        return None
    try:
        import resource
    except ImportError:  # Windows
        return None
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
