"""Reads proftpd.conf, with what it includes and its blocks.

The first of two equal directives in a block counts. Whether a module of an ``<IfModule>`` is there
cannot be told from outside, so what is in such a block is shown with its condition.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from ftppool.cli.doctor.settings import Configuration, Meaning, Setting, read_text
from ftppool.errors import ConfigError

__all__ = ["PLACES", "read"]

PLACES = ("/etc/proftpd/proftpd.conf", "/etc/proftpd.conf", "/usr/local/etc/proftpd.conf")
DEEPEST = 16
"""Files that include each other."""
MOST_FILES = 500

_MEANINGS = {
    "MaxInstances": Meaning(
        "processes, so connections of all clients; one more is closed without a word", "none"
    ),
    "MaxConnectionsPerHost": Meaning(
        "connections from one address, logged in or not; one more gets 530 instead of a greeting",
        "none",
    ),
    "MaxClientsPerHost": Meaning("logged-in clients from one address; then 530 at login", "none"),
    "MaxClientsPerUser": Meaning("logged-in clients of one user; then 530 at login", "none"),
    "MaxClients": Meaning("logged-in clients of this server; then 530 at login", "none"),
    "MaxHostsPerUser": Meaning("addresses from which one user may be logged in", "none"),
    "MaxClientsPerClass": Meaning("logged-in clients of one class", "none"),
    "MaxConnectionRate": Meaning("connects in a time; one more is closed without a word", "none"),
    "BanOnEvent": Meaning("shuts out who hits a limit too often (mod_ban)", "none"),
    "TimeoutIdle": Meaning("seconds until a silent session is ended and counts no more", "600"),
    "TimeoutNoTransfer": Meaning("seconds without a transfer; NOOP does not help", "300"),
    "TimeoutStalled": Meaning(
        "seconds of a stalled transfer; a client that vanished in one counts as long", "3600"
    ),
    "TimeoutLogin": Meaning("seconds for the login", "300"),
    "TimeoutSession": Meaning("seconds of a session, whatever it does", "none"),
    "PassivePorts": Meaning("ports of passive data connections", "any"),
    "ServerType": Meaning("standalone, or started by inetd (then MaxInstances does not hold)",
                          "standalone"),
    "Port": Meaning("port of control connections", "21"),
    "AllowOverwrite": Meaning("files may be replaced, by STOR and by rename", "off"),
    "AllowStoreRestart": Meaning("uploads may be continued (REST, APPE)", "off"),
    "TLSOptions": Meaning("NoSessionReuseRequired: data connections need not resume TLS", "none"),
    "SystemLog": Meaning("the log that has refusals", "syslog"),
    "ExtendedLog": Meaning("a log of commands and replies", "none"),
}  # fmt: skip
_ALWAYS = frozenset({
    "MaxInstances", "MaxConnectionsPerHost", "MaxClientsPerHost", "MaxClientsPerUser", "MaxClients",
    "TimeoutIdle", "TimeoutNoTransfer", "TimeoutStalled", "PassivePorts", "SystemLog",
})  # fmt: skip
_NAMES = {name.lower(): name for name in _MEANINGS}
_CONDITIONS = frozenset({"ifmodule", "ifdefine", "ifversion"})


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    value: str
    where: str
    blocks: tuple[str, ...]


def read(path: str) -> Configuration:
    """Read a configuration with all that it includes.

    Raises:
        ConfigError: It cannot be read.
    """
    configuration = Configuration(kind="proftpd")
    lines = list(_lines(path, (), configuration, 0))
    seen: set[tuple[str, str]] = set()
    for line in lines:
        name, context = _NAMES.get(line.name.lower()), ", ".join(line.blocks)
        if name is None or (name, context) in seen:
            _login_limit(configuration, line)
            continue
        if name not in {"BanOnEvent", "ExtendedLog", "MaxClientsPerClass"}:
            seen.add((name, context))
        setting = Setting(
            name=name,
            value=line.value,
            meaning=_MEANINGS[name].text,
            where=line.where,
            context=context,
        )
        configuration.settings.append(setting)
    _defaults(configuration)
    _conclude(configuration)
    return configuration


def _lines(
    path: str, blocks: tuple[str, ...], configuration: Configuration, depth: int
) -> Iterator[_Line]:
    if depth > DEEPEST or len(configuration.files) >= MOST_FILES:
        configuration.hints.append(f"{path} was not read: too many files include each other")
        return
    configuration.files.append(path)
    here = list(blocks)
    for number, text in _logical_lines(read_text(path)):
        where = f"{path}:{number}"
        if text.startswith("</"):
            if len(here) > len(blocks):
                here.pop()
        elif text.startswith("<"):
            here.append(text.strip("<>").strip())
        else:
            name, _, value = text.partition(" ")
            name, value = name.strip(), value.strip()
            if name.lower() == "include":
                for included in _included(value, path):
                    try:
                        yield from _lines(included, tuple(here), configuration, depth + 1)
                    except ConfigError as error:
                        configuration.hints.append(str(error))
            else:
                yield _Line(name, value, where, tuple(here))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments; a backslash at the end joins two."""
    joined, began = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        began = began or number
        if line.endswith("\\"):
            joined += f"{line[:-1].strip()} "
            continue
        line, joined = f"{joined}{line}".expandtabs(1), ""
        if line and not line.startswith("#"):
            yield began, re.sub(r"^(\S+)\s+", r"\1 ", line)
        began = 0


def _included(pattern: str, path: str) -> list[str]:
    pattern = os.path.join(os.path.dirname(path), pattern.strip("\"'"))
    if os.path.isdir(pattern):
        return sorted(glob.glob(f"{glob.escape(pattern)}/*"))
    return sorted(glob.glob(pattern)) or ([] if re.search(r"[*?\[]", pattern) else [pattern])


def _login_limit(configuration: Configuration, line: _Line) -> None:
    """A login that a ``<Limit LOGIN>`` denies looks like a full server: closed without a word."""
    denies = line.name.lower() in {"denyall", "deny", "denyuser", "denygroup", "allow", "allowall"}
    block = line.blocks[-1] if line.blocks else ""
    if denies and re.match(r"limit\b.*\b(login|all)\b", block, re.IGNORECASE):
        configuration.settings.append(
            Setting(
                name=line.name,
                value=line.value,
                meaning="who may log in; who may not is closed without a word",
                where=line.where,
                context=", ".join(line.blocks),
            )
        )


def _defaults(configuration: Configuration) -> None:
    given = {setting.name for setting in configuration.settings}
    for name, meaning in _MEANINGS.items():
        if name in _ALWAYS and name not in given:
            configuration.settings.append(
                Setting(name=name, value=meaning.default, meaning=meaning.text)
            )


def _conclude(configuration: Configuration) -> None:
    """Find out what holds for clients: the smallest of the limits, wherever it stands."""
    numbers: dict[str, list[int]] = {}
    for setting in configuration.settings:
        words = _words(setting.value)
        if setting.name.startswith("Max") and words and words[0].isdigit():
            numbers.setdefault(setting.name, []).append(int(words[0]))
        elif setting.name == "Port" and words and words[0].isdigit():
            configuration.ports |= {int(words[0])} - {0}
        elif setting.name == "PassivePorts" and len(words) == 2 and all(map(str.isdigit, words)):
            configuration.passive = (int(words[0]), int(words[1]))
        elif setting.name in {"SystemLog", "ExtendedLog"} and words and os.path.isabs(words[0]):
            configuration.logs.append(words[0])
    configuration.ports = configuration.ports or {21}
    per_ip = [*numbers.get("MaxConnectionsPerHost", []), *numbers.get("MaxClientsPerHost", [])]
    configuration.per_ip = min(per_ip, default=None)
    clients = [*numbers.get("MaxInstances", []), *numbers.get("MaxClients", [])]
    configuration.clients = min(clients, default=None)
    inetd = any(
        s.name == "ServerType" and s.value.lower() == "inetd" for s in configuration.settings
    )
    if inetd:
        configuration.hints.append(
            "ServerType inetd: MaxInstances does not hold; (x)inetd has limits of its own"
        )
    conditional = any(
        block.split()[0].lower() in _CONDITIONS
        for setting in configuration.settings
        for block in setting.context.split(", ")
        if block
    )
    if conditional:
        configuration.hints.append(
            "settings in an IfModule or IfDefine block hold only if its condition does"
        )


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()
