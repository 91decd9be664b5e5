"""What a server's configuration says, whatever the server: settings, and where to look further."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from ftppool.errors import ConfigError

__all__ = ["Configuration", "Meaning", "Setting", "explain", "read_text"]

BIGGEST = 1 << 20
"""Bytes of a configuration file that are read."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a directive does.

    Attributes:
        text: In one short line.
        default: What holds without it.
        always: False: of no interest unless it is set.
    """

    text: str
    default: str
    always: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting that matters here.

    Attributes:
        name: The directive, or the switch.
        value: Its value; the default where it is not set.
        meaning: What it does.
        where: ``"file:line"``; "" for the default.
        context: The block that it is in (``"VirtualHost ftp.example.com"``), or "".
    """

    name: str
    value: str
    meaning: str
    where: str = ""
    context: str = ""


@dataclass(slots=True, kw_only=True)
class Configuration:
    """What one server is set up to do.

    Attributes:
        kind: ``"vsftpd"``, ``"proftpd"`` or ``"pure-ftpd"``.
        files: What was read.
        settings: Those that limit or log, defaults included.
        ports: Where it waits for connections.
        logs: Files in which refusals are, as the settings say; they need not exist.
        per_ip: Connections allowed to one address, None for no limit.
        clients: Connections allowed in total, None for no limit.
        passive: First and last passive port, or None for any.
        hints: What is peculiar, in sentences.
    """

    kind: str
    files: list[str] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    logs: list[str] = field(default_factory=list)
    per_ip: int | None = None
    clients: int | None = None
    passive: tuple[int, int] | None = None
    hints: list[str] = field(default_factory=list)


def explain(
    meanings: dict[str, Meaning], found: Iterable[tuple[str, str, str]]
) -> tuple[list[Setting], dict[str, str]]:
    """Put what is set (name, value, where) together with the defaults of what is not.

    Returns:
        What is to be shown, and the values of all.
    """
    given = {name: (value, where) for name, value, where in found}
    settings, values = [], {}
    for name, meaning in meanings.items():
        value, where = given.get(name, (meaning.default, ""))
        values[name] = value
        if where or meaning.always:
            settings.append(Setting(name=name, value=value, meaning=meaning.text, where=where))
    return settings, values


def read_text(path: str) -> str:
    """Read a configuration file.

    Raises:
        ConfigError: It is not there, or not for us to read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(BIGGEST)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{os.fspath(path)} cannot be read: {reason}") from error
