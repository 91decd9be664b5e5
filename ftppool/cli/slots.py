"""``ftppool slots``: who holds or waits for a session to which server, and since when."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from ftppool.cli.args import Options
from ftppool.cli.exits import Exit, one_line
from ftppool.errors import ConfigError

if TYPE_CHECKING:
    from ftppool.limits.slotfiles import Record

__all__ = ["run"]

_HEAD = ("SERVER", "STATE", "PID", "PROGRAM", "CAP", "SINCE", "AGE")


def run(options: Options) -> int:
    """Print the table."""
    if sys.platform == "win32":
        raise ConfigError("on Windows the cap is each process's own; there is nothing to show")
    from ftppool.limits.machine import MachineLimiter

    limiter = MachineLimiter.shared()
    wanted = None if options.host is None else _resolve(options.host)
    rows = [
        _row(address, record)
        for address in limiter.addresses()
        if wanted is None or address.rpartition(":")[0].strip("[]") in wanted
        for record in limiter.records(address)
    ]
    if not rows:
        print("no session is held and nobody waits")
        return Exit.OK
    _table([_HEAD, *rows])
    return Exit.OK


def _resolve(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{host!r} cannot be resolved: {error}") from error
    return {str(address[0]).partition("%")[0] for *_, address in found}


def _row(address: str, record: Record) -> tuple[str, ...]:
    since = datetime.fromtimestamp(record.since).astimezone()
    return (
        address,
        "waits" if record.state == "wanted" else "holds",
        str(record.pid),
        one_line(record.name or "-"),
        str(record.cap),
        since.strftime("%Y-%m-%d %H:%M:%S"),
        _age(time.time() - record.since),
    )


def _age(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole // 60 % 60} min"


def _table(rows: Iterable[tuple[str, ...]]) -> None:
    rows = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
