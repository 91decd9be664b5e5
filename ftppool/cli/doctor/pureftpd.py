"""Reads how Pure-FTPd is set up: Debian's folder of one-line files, pure-ftpd.conf, switches.

A running pure-ftpd replaces its command line by a title, so that it shows only where it was built
without that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ftppool.cli.doctor.settings import Configuration, Meaning, explain, read_text, syslogs
from ftppool.errors import ConfigError

__all__ = ["PLACES", "read", "read_switches"]

PLACES = (
    "/etc/pure-ftpd/conf", "/etc/pure-ftpd/pure-ftpd.conf", "/etc/pure-ftpd.conf",
    "/usr/local/etc/pure-ftpd.conf",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Option:
    short: str
    long: str
    meaning: Meaning


_OPTIONS = {
    "MaxClientsPerIP": _Option(
        "C",
        "maxclientsperip",
        Meaning(
            "connections from one address; one more gets '421 Too many connections (N) from this"
            " IP'",
            "no limit",
        ),
    ),
    "MaxClientsNumber": _Option(
        "c",
        "maxclientsnumber",
        Meaning(
            "connections of all clients; one more gets '421 N users (the maximum) are already"
            " logged in', which is not logged",
            "50",
        ),
    ),
    "PerUserLimits": _Option(
        "y",
        "peruserlimits",
        Meaning(
            "sessions of one user : of all anonymous ones; then '421 I can't accept more than N"
            " connections as the same user' at login",
            "no limit",
        ),
    ),
    "MaxIdleTime": _Option(
        "I",
        "maxidletime",
        Meaning("minutes until a silent session is ended and counts no more", "15"),
    ),
    "PassivePortRange": _Option(
        "p",
        "passiveportrange",
        Meaning("ports of passive data connections; half as many clients may connect", "any"),
    ),
    "Bind": _Option("S", "bind", Meaning("address and port of control connections", "port 21")),
    "TLS": _Option("Y", "tls", Meaning("0: no TLS, 1: possible, 2: required", "0", always=False)),
    "MaxLoad": _Option(
        "m", "maxload", Meaning("no anonymous downloads above this load", "none", always=False)
    ),
    "AutoRename": _Option(
        "r",
        "autorename",
        Meaning("uploads never replace a file: they get another name", "no", always=False),
    ),
    "NoRename": _Option(
        "G", "norename", Meaning("files cannot be renamed: 550", "no", always=False)
    ),
    "AltLog": _Option(
        "O", "altlog", Meaning("a log of transfers, without refusals", "none", always=False)
    ),
    "SyslogFacility": _Option(
        "f", "syslogfacility", Meaning("refusals go to syslog", "ftp", always=False)
    ),
}
_NAMES = {name.lower(): name for name in _OPTIONS}
_SHORT = {option.short: name for name, option in _OPTIONS.items()}
_LONG = {option.long: name for name, option in _OPTIONS.items()}
_FLAGS = frozenset({"AutoRename", "NoRename"})
Found = tuple[str, str, str]


def read(path: str) -> Configuration:
    """Read a file, or Debian's folder with a file for each setting.

    Raises:
        ConfigError: It cannot be read.
    """
    configuration = Configuration(kind="pure-ftpd", files=[path])
    found = _folder(path) if os.path.isdir(path) else _file(path)
    return _conclude(configuration, found)


def read_switches(arguments: Sequence[str]) -> Configuration:
    """Read a command line, without its program."""
    configuration = Configuration(kind="pure-ftpd", files=["its command line"])
    return _conclude(configuration, _switches(arguments))


def _folder(path: str) -> list[Found]:
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    found = []
    for name in names:
        if name.lower() in _NAMES:
            where = os.path.join(path, name)
            lines = read_text(where).strip().splitlines() or [""]
            found.append((_NAMES[name.lower()], " ".join(lines[0].split()), where))
    return found


def _file(path: str) -> list[Found]:
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        match = re.match(r"\s*([A-Za-z]+)\s+(.*?)\s*(?:#.*)?$", line)
        if match and match[1].lower() in _NAMES:
            found.append((_NAMES[match[1].lower()], match[2], f"{path}:{number}"))
    return found


def _switches(arguments: Sequence[str]) -> list[Found]:
    found: list[Found] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name = value = ""
        if argument.startswith("--"):
            long, _, value = argument[2:].partition("=")
            name = _LONG.get(long, "")
        elif re.match(r"-[A-Za-z]", argument):
            name, value = _SHORT.get(argument[1], ""), argument[2:]
        if name in _FLAGS:
            value = "yes"
        elif name and not value:
            value = rest.pop(0) if rest else ""
        if name:
            found.append((name, value, "its command line"))
    return found


def _conclude(configuration: Configuration, found: Iterable[Found]) -> Configuration:
    meanings = {name: option.meaning for name, option in _OPTIONS.items()}
    configuration.settings, values = explain(meanings, found)
    configuration.per_ip = _number(values["MaxClientsPerIP"])
    configuration.clients = _number(values["MaxClientsNumber"])
    ports = re.fullmatch(r"(\d+)[\s:]+(\d+)", values["PassivePortRange"].strip())
    if ports:
        first, last = int(ports[1]), int(ports[2])
        configuration.passive = (first, last)
        half = max(1, (last - first + 1) // 2)
        if configuration.clients is None or half < configuration.clients:
            configuration.hints.append(
                f"PassivePortRange has {last - first + 1} ports, so at most {half} clients may"
                " connect, whatever MaxClientsNumber says"
            )
            configuration.clients = half
    port = re.search(r"(?:^|,)\s*(\d+)\s*$", values["Bind"])
    configuration.ports = {int(port[1])} if port else {21}
    configuration.logs = syslogs()
    return configuration


def _number(value: str) -> int | None:
    value = value.strip()
    return int(value) or None if value.isascii() and value.isdigit() else None
