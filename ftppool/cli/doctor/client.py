"""The client's half: which process of this machine has which connections to a server.

A *control* connection is one to a port on which a server waits (21, 990, 22, that of the URL, and
all that ftppool knows of). A *data* connection is any other one between the same process and the
same server: to a high port of it, or from its port 20.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ftppool.cli.doctor.machine import OPEN, Connection, Files, Machine, Process
from ftppool.cli.doctor.slotview import SlotView, slot_views, split
from ftppool.limits.slotfiles import Record

__all__ = ["FTP_PORTS", "ClientView", "Scope", "Usage", "look", "shown"]

FTP_PORTS = frozenset({21, 990})
HIGH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which servers to look at.

    Attributes:
        name: The server as the user named it; "" for all.
        ips: Its addresses; None for all servers.
        ports: Ports on which control connections end.
        port: The one that the user named, to the exclusion of others that ftppool knows; or None.
    """

    name: str = ""
    ips: frozenset[str] | None = None
    ports: frozenset[int] = FTP_PORTS
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process has at one server.

    Attributes:
        server: ``"ip:port"``.
        pid: The process; None for connections that no process has any more, or that cannot be seen.
        process: What is known of it.
        owner: Name of the user, as far as the system says.
        states: Count of control connections by state.
        data: Count of open data connections.
        slots: How many of them are slots of ftppool.
        oldest: When it took the oldest of these slots, in seconds of the wall clock; or None.
    """

    server: str
    pid: int | None
    process: Process | None
    owner: str
    states: Mapping[str, int]
    data: int = 0
    slots: int = 0
    oldest: float | None = None

    @property
    def open(self) -> int:
        """Control connections that the process has not closed."""
        return sum(self.states.get(state, 0) for state in OPEN)

    @property
    def name(self) -> str:
        """Program and number, as in ``leak.py (python3)[4242]``."""
        if self.process is not None:
            return f"{self.process.name}[{self.process.pid}]"
        if self.pid is not None:
            return f"process {self.pid}"
        return f"a process of {self.owner}" if self.owner else "no process"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientView:
    """All that was seen, at one instant.

    Attributes:
        scope: Which servers were looked at.
        usages: By process and server, those with most connections first.
        slots: What ftppool's processes have written down.
        me: This process, for its own limits.
        files: Descriptors of the whole machine, where the system says.
    """

    scope: Scope
    usages: tuple[Usage, ...]
    slots: tuple[SlotView, ...] = ()
    me: Process | None = None
    files: Files | None = None

    def total(self, server: str) -> int:
        """Open control connections of this machine to a server, of whichever process."""
        return sum(usage.open for usage in self.usages if usage.server == server)

    @property
    def servers(self) -> list[str]:
        """All servers seen, in order."""
        return list(dict.fromkeys(usage.server for usage in self.usages))


@dataclass(slots=True)
class _Tally:
    states: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    owner: str = ""
    data: int = 0


def look(machine: Machine, scope: Scope) -> ClientView:
    """Look at the connections, their processes and the slot files. Connects to nothing."""
    before = _slots(scope)
    ports = scope.ports | {split(view.address)[1] for view in before}
    control, data = _sort(machine.connections(), scope.ips, ports)
    control, data = _sort(machine.holders([*control, *data]), scope.ips, ports)
    views = _slots(scope)
    tallies: dict[tuple[int | None, str, str], _Tally] = defaultdict(_Tally)
    for one in control:
        tally = tallies[one.pid, one.owner or "", shown(one.remote)]
        tally.states[one.state] += 1
        tally.owner = one.owner or ""
    for one in data:
        _add_data(tallies, one)
    processes = {pid: machine.process(pid) for pid, _, _ in tallies if pid is not None}
    usages = [
        _usage(tally, pid, server, processes, (before, views))
        for (pid, _, server), tally in tallies.items()
    ]
    usages.sort(key=lambda usage: (-usage.open, usage.server, usage.pid or 0))
    return ClientView(
        scope=scope,
        usages=tuple(usages),
        slots=tuple(view for view in views if view.held or view.waiting or view.taught),
        me=machine.process(os.getpid()),
        files=machine.files(),
    )


def _slots(scope: Scope) -> list[SlotView]:
    return [view for view in slot_views(scope.ips) if scope.port in (None, split(view.address)[1])]


def shown(end: tuple[str, int]) -> str:
    """Write an address and a port as ftppool does everywhere."""
    host, port = end
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sort(
    found: Iterable[Connection], ips: Collection[str] | None, ports: Collection[int]
) -> tuple[list[Connection], list[Connection]]:
    """Tell control connections from those that may be data connections."""
    control: list[Connection] = []
    others: list[Connection] = []
    for one in found:
        host, port = one.remote
        if ips is not None and host not in ips:
            continue
        # A server on this machine has our port at its own end: those are its connections, not ours.
        if port in ports and one.local[1] not in ports:
            control.append(one)
        elif one.state in OPEN and (port >= HIGH or port + 1 in ports):
            others.append(one)
    hosts = {one.remote[0] for one in control}
    return control, [one for one in others if one.remote[0] in hosts]


def _add_data(tallies: Mapping[tuple[int | None, str, str], _Tally], one: Connection) -> None:
    """Count a data connection with the control connections of the same process, if it has any."""
    for (pid, _, server), tally in tallies.items():
        if pid is not None and pid == one.pid and split(server)[0] == one.remote[0]:
            tally.data += 1
            return


def _usage(
    tally: _Tally,
    pid: int | None,
    server: str,
    processes: Mapping[int, Process | None],
    slots: tuple[Iterable[SlotView], Iterable[SlotView]],
) -> Usage:
    # A slot is taken before its connection is made and given back after that has ended: of a look
    # before and one after that at the connections one has seen it.
    ours = max((_held_by(pid, server, views) for views in slots), key=len)
    return Usage(
        server=server,
        pid=pid,
        process=None if pid is None else processes.get(pid),
        owner=tally.owner,
        states=dict(tally.states),
        data=tally.data,
        slots=len(ours),
        oldest=min((record.since for record in ours), default=None),
    )


def _held_by(pid: int | None, server: str, views: Iterable[SlotView]) -> list[Record]:
    return [
        record
        for view in views
        if view.address == server
        for record in view.held
        if pid is not None and record.pid == pid
    ]
