"""The server's half: which daemon runs, what it is set up to allow, who is connected."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ftppool.cli.doctor import proftpd, pureftpd, vsftpd
from ftppool.cli.doctor.logs import LogView, read_logs, require, rotated
from ftppool.cli.doctor.machine import OPEN, Files, Machine, Process
from ftppool.cli.doctor.settings import Configuration, read_text
from ftppool.errors import ConfigError

__all__ = ["Daemon", "Guest", "ServerView", "look"]

NAMES = ("vsftpd", "proftpd", "pure-ftpd")
_VARIANTS = {f"pure-ftpd-{base}": "pure-ftpd" for base in ("ldap", "mysql", "postgresql", "postg")}
"""What Debian calls other builds; Linux shows 15 characters of it."""
_READERS = {"vsftpd": vsftpd.read, "proftpd": proftpd.read, "pure-ftpd": pureftpd.read}
_PLACES = {"vsftpd": vsftpd.PLACES, "proftpd": proftpd.PLACES, "pure-ftpd": pureftpd.PLACES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """One running server.

    Attributes:
        process: Its listener.
        children: Processes that it has started: about one for each session.
        most_files: Descriptors of that one of all these which has most; None if not for us to see.
        ports: Where it waits for connections.
    """

    process: Process
    children: int
    most_files: int | None
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A client's address and its connections to the server, by state."""

    address: str
    port: int
    open: int
    other: int


@dataclass(slots=True, kw_only=True)
class ServerView:
    """All that was found.

    Attributes:
        daemons: The servers that run.
        configurations: What they are set up to do.
        log: What their logs say.
        guests: Who is connected, those with most connections first.
        files: Descriptors of the whole machine.
        notes: What could not be looked at, and why.
    """

    daemons: list[Daemon] = field(default_factory=list)
    configurations: list[Configuration] = field(default_factory=list)
    log: LogView = field(default_factory=LogView)
    guests: list[Guest] = field(default_factory=list)
    files: Files | None = None
    notes: list[str] = field(default_factory=list)


def look(machine: Machine, configs: Sequence[str] | None, logs: Sequence[str] | None) -> ServerView:
    """Look at the servers of this machine.

    Args:
        machine: How to look.
        configs: Configuration files; None looks in the usual places and on the command lines.
        logs: Log files; None takes those that the configuration names.

    Raises:
        ConfigError: A file that was named cannot be read.
    """
    view = ServerView(files=machine.files())
    require(logs or ())
    view.daemons = _daemons(machine)
    if configs is not None:
        view.configurations = [_read(path) for path in configs]
    else:
        _find_configurations(machine, view)
    if logs is None:
        named = [path for one in view.configurations for path in one.logs]
        logs = [path for log in dict.fromkeys(named) for path in rotated(log)]
    view.log = read_logs(logs)
    ports = {port for one in view.configurations for port in one.ports}
    ports |= {port for daemon in view.daemons for port in daemon.ports}
    view.guests = _guests(machine, ports or {21})
    return view


def _daemons(machine: Machine) -> list[Daemon]:
    found = [
        replace(process, command=_VARIANTS.get(process.command, process.command))
        for process in machine.named((*NAMES, *_VARIANTS))
    ]
    pids = {process.pid for process in found}
    listeners = [process for process in found if process.parent not in pids]
    waiting = machine.holders(machine.listening()) if listeners else []
    return [
        _daemon(listener, found, {one.local[1] for one in waiting if one.pid == listener.pid})
        for listener in listeners
    ]


def _daemon(listener: Process, found: Iterable[Process], ports: Iterable[int]) -> Daemon:
    family = {listener.pid}
    members = [listener]
    # Children have higher numbers than their parents nearly always; a second round finds the rest.
    for _ in range(2):
        for process in found:
            if process.parent in family and process.pid not in family:
                family.add(process.pid)
                members.append(process)
    files = [process.files for process in members if process.files is not None]
    return Daemon(
        process=listener,
        children=len(members) - 1,
        most_files=max(files, default=None),
        ports=tuple(sorted(ports)),
    )


def _read(path: str) -> Configuration:
    return _READERS[_kind(path)](path)


def _kind(path: str) -> str:
    """Tell the server from the name of its file, or from what is in it."""
    name = os.path.abspath(path).lower()
    for kind, word in (("vsftpd", "vsftpd"), ("proftpd", "proftpd"), ("pure-ftpd", "pure-ftpd")):
        if word in os.path.basename(name):
            return kind
    if os.path.isdir(path):
        return "pure-ftpd"
    text = read_text(path)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")]
    if lines and sum("=" in line.split(" ")[0] for line in lines) * 2 > len(lines):
        return "vsftpd"
    words = {line.split()[0].lower() for line in lines}
    if words & {"servername", "servertype", "maxinstances", "loadmodule"} or "<" in text:
        return "proftpd"
    if words & {"maxclientsperip", "maxclientsnumber", "chrooteveryone"}:
        return "pure-ftpd"
    raise ConfigError(
        f"{path} is not a vsftpd.conf, proftpd.conf or pure-ftpd.conf, as far as can be seen"
    )


class _File(NamedTuple):
    """A configuration, with the settings of the command line that stand behind and before it."""

    path: str
    behind: Sequence[str] = ()
    before: Sequence[str] = ()


def _find_configurations(machine: Machine, view: ServerView) -> None:
    seen: set[str] = set()
    for daemon in view.daemons:
        for file in _named_by(machine, daemon.process):
            _add(view, daemon.process.command, file, seen)
    for kind, places in _PLACES.items():
        if any(one.kind == kind for one in view.configurations):
            continue
        for path in places:
            if os.path.exists(path):
                _add(view, kind, _File(path), seen)
                break
    known = {one.kind for one in view.configurations}
    for daemon in view.daemons:
        if daemon.process.command not in known:
            _without_file(machine, view, daemon.process)


def _named_by(machine: Machine, process: Process) -> list[_File]:
    """What a daemon was started with, where it has not replaced its command line."""
    arguments = machine.command_line(process.pid)[1:]
    if process.command == "vsftpd":
        return _vsftpd_files(arguments)
    if process.command == "proftpd":
        pairs = itertools.pairwise(arguments)
        return [_File(path) for switch, path in pairs if switch in {"-c", "--config"}]
    return []


def _vsftpd_files(arguments: Sequence[str]) -> list[_File]:
    """Arguments count in their order; if no file is among them, the usual one is read last."""
    places = [at for at, argument in enumerate(arguments) if argument and argument[0] != "-"]
    if places:
        return [
            _File(arguments[at], _settings(arguments[at:]), _settings(arguments[:at]))
            for at in places
        ]
    usual = [path for path in vsftpd.PLACES if os.path.exists(path)]
    return [_File(path, before=_settings(arguments)) for path in usual[:1]]


def _settings(arguments: Iterable[str]) -> list[str]:
    return [argument[2:] for argument in arguments if argument.startswith("-o")]


def _add(view: ServerView, kind: str, file: _File, seen: set[str]) -> None:
    if file.path in seen:
        return
    seen.add(file.path)
    try:
        if kind == "vsftpd":
            ours = (daemon for daemon in view.daemons if daemon.process.command == kind)
            listens = any(daemon.ports for daemon in ours)
            found = vsftpd.read(file.path, file.behind, before=file.before, listens=listens)
        else:
            found = _READERS[kind](file.path)
    except ConfigError as error:
        view.notes.append(str(error))
    else:
        view.configurations.append(found)


def _without_file(machine: Machine, view: ServerView, process: Process) -> None:
    """Take what a Pure-FTPd was started with, or say of whom nothing is known."""
    arguments = machine.command_line(process.pid)[1:]
    if process.command == "pure-ftpd" and arguments:
        view.configurations.append(pureftpd.read_switches(arguments))
    else:
        view.notes.append(
            f"the configuration of {process.command}[{process.pid}] was not found, so its limits"
            " and its log are not known: name it with --config"
        )


def _guests(machine: Machine, ports: Iterable[int]) -> list[Guest]:
    counts: dict[tuple[str, int], Counter[bool]] = {}
    for one in machine.connections():
        # A client on this machine has the server's port at its other end.
        if one.local[1] in ports:
            key = one.remote[0], one.local[1]
            counts.setdefault(key, Counter())[one.state in OPEN] += 1
    guests = [
        Guest(address=address, port=port, open=count[True], other=count[False])
        for (address, port), count in counts.items()
    ]
    return sorted(guests, key=lambda guest: (-guest.open, -guest.other, guest.address))
