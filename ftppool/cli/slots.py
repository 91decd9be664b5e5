"""``ftppool slots``: who holds or waits for a session to which server, and what servers taught."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ftppool.cli.args import Commands, Options, Parser
from ftppool.cli.exits import Exit, one_line

if TYPE_CHECKING:
    from ftppool.cli.doctor.slotview import SlotView
    from ftppool.lessons import Lessons
    from ftppool.limits.slotfiles import Record

__all__ = ["add", "run"]

_HEAD = ("SERVER", "STATE", "PID", "PROGRAM", "CAP", "SINCE", "AGE")
_STATES = {"wanted": "waits", "paused": "backs off"}
_TAUGHT = ("SERVER", "USER", "ALLOWS", "LEARNED", "ONE MORE FROM", "ITS WORDS")


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    slots = commands.add_parser(
        "slots",
        parents=[common],
        help="show which processes of this machine hold sessions, and who waits",
        description="Shows the sessions that your processes on this machine hold or wait for, from"
        " the files on which they agree; 'backs off': the server refused it, and it waits until it"
        " tries again. Connects to nothing.",
        allow_abbrev=False,
    )
    slots.add_argument(
        "--json",
        action="store_true",
        help="write one JSON object: servers, each as in client.slots of ftppool doctor --json",
    )
    slots.add_argument(
        "host",
        nargs="?",
        metavar="HOST",
        help="only this server: a name, an IP address, or a SERVER of the table",
    )


def run(options: Options) -> int:
    """Print the table."""
    if sys.platform == "win32":
        from ftppool.errors import ConfigError

        raise ConfigError("on Windows the cap is each process's own; there is nothing to show")
    from ftppool.cli.doctor.slotview import slot_views, split

    views = slot_views(None)
    if options.host in [view.address for view in views]:
        views = [view for view in views if view.address == options.host]  # as the table shows it
    elif options.host is not None:
        wanted = _resolve(options.host)
        views = [view for view in views if split(view.address)[0] in wanted]
    if options.json:
        _print_json(views)
    else:
        _print_tables(views)
    return Exit.OK


def _print_json(views: Iterable[SlotView]) -> None:
    from json import dumps

    from ftppool.cli.doctor.schema import slots_json

    servers = [slots_json(view) for view in views if view.held or view.waiting or view.taught]
    print(dumps({"schema": "ftppool-slots", "version": 1, "time": time.time(), "servers": servers}))


def _print_tables(views: Iterable[SlotView]) -> None:
    views = list(views)
    rows = [_row(view.address, who) for view in views for who in (*view.held, *view.waiting)]
    if rows:
        _table([_HEAD, *rows])
    else:
        print("no session is held and nobody waits")
    taught = [row for view in views for row in _taught(view.address, view.lessons)]
    if taught:
        print()
        _table([_TAUGHT, *taught])


def _resolve(host: str) -> set[str]:
    import socket

    from ftppool.errors import ConfigError

    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{host!r} cannot be resolved: {error}") from error
    return {str(address[0]).partition("%")[0] for *_, address in found}


def _row(address: str, record: Record) -> tuple[str, ...]:
    age = _age(time.time() - record.since)
    if record.state == "paused":
        age += f"; next try in {_age(record.asked - time.time())}"
    return (
        address,
        _STATES.get(record.state, "holds"),
        str(record.pid),
        one_line(record.name or "-"),
        str(record.cap),
        _time(record.since),
        age,
    )


def _taught(address: str, lessons: Lessons) -> Iterator[tuple[str, ...]]:
    known = {"everybody": lessons.of_all, **lessons.of_user}
    for user, lesson in known.items():
        if lesson is not None:
            since, probe = _time(lesson.since), _time(lesson.probe_at)
            yield address, one_line(user), str(lesson.limit), since, probe, one_line(lesson.words)
    ban = lessons.ban
    if ban is not None and not ban.over(time.time()):
        since, until = _time(ban.until - ban.pause), _time(ban.until)
        yield address, "everybody", "none: banned", since, until, one_line(ban.words)


def _time(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


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
