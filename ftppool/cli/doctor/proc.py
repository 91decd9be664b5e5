"""The machine as Linux shows it in ``/proc``."""

from __future__ import annotations

import functools
import os
import pwd
import re
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv6Address

from ftppool.cli.doctor.machine import Connection, Files, Process
from ftppool.cli.doctor.names import program_of

__all__ = ["ProcMachine"]

_STATES = {
    "01": "ESTABLISHED", "02": "SYN_SENT", "03": "SYN_RECV", "04": "FIN_WAIT1",
    "05": "FIN_WAIT2", "06": "TIME_WAIT", "07": "CLOSE", "08": "CLOSE_WAIT", "09": "LAST_ACK",
    "0A": "LISTEN", "0B": "CLOSING", "0C": "NEW_SYN_RECV",
}  # fmt: skip
_LIMIT = re.compile(r"^Max open files\s+(\d+|unlimited)", re.MULTILINE)
UNLIMITED = 1 << 31
LONGEST_COMMAND = 65536


class ProcMachine:
    """Looks into ``/proc``; see :class:`ftppool.cli.doctor.machine.Machine`."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = root
        self._inodes: dict[Connection, str] = {}  # of the last look
        self._boot: float | None = None

    def connections(self) -> list[Connection]:
        """Read ``net/tcp`` and ``net/tcp6``, without the sockets that listen."""
        return [found for found in self._sockets() if found.state != "LISTEN"]

    def listening(self) -> list[Connection]:
        """Read the sockets that listen."""
        return [found for found in self._sockets() if found.state == "LISTEN"]

    def holders(self, found: Iterable[Connection]) -> list[Connection]:
        """Look through the descriptors of all processes that we may look at."""
        found = list(found)
        known = self._pids_of(found)
        if len(known) < sum(1 for one in found if self._inode(one)):
            # The look takes a while: what was closed, or opened, meanwhile has no process in it.
            now = set(self._sockets())
            found = [one for one in found if one in now or one in known]
            known |= self._pids_of([one for one in found if one not in known])
        return [replace(one, pid=known.get(one)) for one in found]

    def _pids_of(self, found: Iterable[Connection]) -> dict[Connection, int]:
        wanted = {f"socket:[{self._inode(one)}]": one for one in found if self._inode(one)}
        pids: dict[Connection, int] = {}
        for pid in self._pids() if wanted else ():
            for target in self._descriptors(pid):
                # A forked child may have a copy; the parent, which is older, made it.
                if (one := wanted.get(target)) is not None:
                    pids.setdefault(one, pid)
        return pids

    def _inode(self, one: Connection) -> str:
        """The number by which a descriptor names it; "" if no process has it any more."""
        inode = self._inodes.get(one, "0")
        return "" if inode == "0" else inode

    def process(self, pid: int) -> Process | None:
        """Read what everybody may read, and the count of descriptors if we may."""
        folder = f"{self._root}/{pid}"
        try:
            command = _read(f"{folder}/comm").strip()
            fields = _read(f"{folder}/stat").rpartition(")")[2].split()
            owner = _user(os.stat(folder).st_uid)
        except OSError:
            return None
        return Process(
            pid=pid,
            name=program_of(self.command_line(pid), command),
            command=command,
            parent=int(fields[1]),
            owner=owner,
            started=self._started(int(fields[19])),
            files=_count(f"{folder}/fd"),
            limit=_limit(f"{folder}/limits"),
        )

    def named(self, names: Collection[str]) -> list[Process]:
        """Compare what the kernel calls each process."""
        found = []
        for pid in self._pids():
            try:
                command = _read(f"{self._root}/{pid}/comm").strip()
            except OSError:
                continue  # it has ended
            if command in names and (process := self.process(pid)) is not None:
                found.append(process)
        return found

    def command_line(self, pid: int) -> list[str]:
        """Read the arguments; what a daemon has overwritten ends at its title."""
        try:
            with open(f"{self._root}/{pid}/cmdline", "rb") as file:
                raw = file.read(LONGEST_COMMAND).rstrip(b"\0")
        except OSError:
            return []
        return [part.decode("utf-8", "replace") for part in raw.split(b"\0")] if raw else []

    def files(self) -> Files | None:
        """Read ``sys/fs/file-nr``."""
        try:
            used, free, limit = map(int, _read(f"{self._root}/sys/fs/file-nr").split())
        except (OSError, ValueError):
            return None
        return Files(used - free, limit)

    # -- insides -----------------------------------------------------------------------------------

    def _sockets(self) -> list[Connection]:
        self._inodes.clear()
        for name in ("tcp", "tcp6"):
            try:
                with open(f"{self._root}/net/{name}", encoding="ascii") as lines:
                    next(lines, None)
                    self._inodes.update(_parse(line.split()) for line in lines)
            except OSError:
                continue  # no IPv6 here
        return list(self._inodes)

    def _pids(self) -> list[int]:
        return sorted(int(name) for name in os.listdir(self._root) if name.isdigit())

    def _descriptors(self, pid: int) -> Iterator[str]:
        folder = f"{self._root}/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            return  # another user's, or it has ended
        for name in names:
            try:
                yield os.readlink(f"{folder}/{name}")
            except OSError:
                continue  # closed meanwhile

    def _started(self, ticks: int) -> float | None:
        if self._boot is None:
            try:
                found = re.search(r"^btime (\d+)", _read(f"{self._root}/stat"), re.MULTILINE)
            except OSError:
                found = None
            self._boot = float(found[1]) if found else 0.0
        return self._boot + ticks / os.sysconf("SC_CLK_TCK") if self._boot else None


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(1 << 20)


def _parse(fields: list[str]) -> tuple[Connection, str]:
    state = _STATES.get(fields[3], fields[3])
    # Nobody has a connection in TIME_WAIT any more: the kernel keeps it, and says user 0.
    owner = None if fields[9] == "0" else _user(int(fields[7]))
    connection = Connection(
        local=_end(fields[1]), remote=_end(fields[2]), state=state, pid=None, owner=owner
    )
    return connection, fields[9]


def _end(text: str) -> tuple[str, int]:
    """Read ``0100007F:0015``: words of 32 bits in the machine's byte order."""
    address, _, port = text.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    raw = struct.pack(f"={len(words)}I", *words)
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw), int(port, 16)
    found = IPv6Address(raw)
    return str(found.ipv4_mapped or found), int(port, 16)


@functools.lru_cache(maxsize=256)
def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _count(folder: str) -> int | None:
    try:
        return len(os.listdir(folder))
    except OSError:
        return None


def _limit(path: str) -> int | None:
    try:
        found = _LIMIT.search(_read(path))
    except OSError:
        return None
    if found is None:
        return None
    return UNLIMITED if found[1] == "unlimited" else int(found[1])
