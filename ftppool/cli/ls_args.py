"""``ftppool ls``: list a directory of the server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftppool.cli import flags
from ftppool.cli.args import Commands, Options, Parser
from ftppool.cli.words import EXITS, PASSWORDS

if TYPE_CHECKING:
    from ftppool.drivers.base import Entry
    from ftppool.session import Session

__all__ = ["add", "run"]


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    ls = commands.add_parser(
        "ls",
        parents=[common],
        help="list a directory of the server",
        usage="ftppool ls [options] DEST",
        description="Lists a directory of the server, or one file, by name.",
        epilog=f"{PASSWORDS}\n{EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    ls.set_defaults(places="dest")
    ls.add_argument("dest", metavar="DEST", help="a URL, or profile:path")
    ls.add_argument("-l", "--long", action="store_true", help="with kind, size and time (UTC)")
    ls.add_argument("-0", "--null", action="store_true", help="end each name in NUL, as it is")
    flags.connection(ls)
    flags.secrets(ls)
    flags.trust(ls)
    flags.output(ls, json="write a line of JSON for each entry")


def run(options: Options) -> int:
    """Print the entries.

    Raises:
        FTPPoolError: They cannot be had.
    """
    from ftppool.cli import connect
    from ftppool.cli.exits import Exit
    from ftppool.cli.voice import Voice, logged
    from ftppool.pool import FTPPool
    from ftppool.screen import Screen

    place = connect.place_of(options, options.dest)
    pool_options = connect.pool_options(options, place.target)
    whole = connect.with_password(options, place)
    voice = Voice(Screen(sys.stderr, color=options.color, lenient=True), options)
    with (
        logged(voice, options),
        FTPPool(whole, max_per_ip=options.max_per_ip, **pool_options) as pool,
        pool.session() as session,
    ):
        entries = _entries(session)
    for entry in entries:
        _print(options, entry)
    return Exit.OK


def _entries(session: Session) -> Sequence[Entry]:
    from ftppool.errors import RemoteRejected

    try:
        found = session.stat("")
    except RemoteRejected:
        found = None  # some servers tell of no directory what it is
    if found is not None and found.kind != "dir":
        return [found]
    return sorted(session.scandir(""), key=lambda entry: entry.name)


def _print(options: Options, entry: Entry) -> None:
    from ftppool.cli.exits import one_line

    if options.json:
        import json
        from dataclasses import asdict

        from ftppool.words import encodable

        print(json.dumps(asdict(entry) | {"name": encodable(entry.name)}))
    elif options.null:
        sys.stdout.buffer.write(entry.name.encode("utf-8", "surrogateescape") + b"\0")
    elif options.long:
        size = "-" if entry.size is None else f"{entry.size:,}"
        print(f"{entry.kind:5} {size:>15}  {_time(entry.modified)}  {one_line(entry.name)}")
    else:
        # A name of several lines, or with escape codes, must not pass for something else.
        print(one_line(entry.name) + "/" * (entry.kind == "dir"))


def _time(modified: float | None) -> str:
    from datetime import UTC, datetime

    if modified is None:
        return f"{'-':16}"
    return datetime.fromtimestamp(modified, UTC).strftime("%Y-%m-%d %H:%M")
