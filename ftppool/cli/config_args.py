"""``ftppool config``: what each setting is in the end, and why."""

from __future__ import annotations

import argparse

from ftppool.cli import flags
from ftppool.cli.args import Commands, Options, Parser
from ftppool.cli.words import PASSWORDS

__all__ = ["add", "run"]


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    config = commands.add_parser(
        "config",
        parents=[common],
        help="show each setting and where it comes from",
        usage="ftppool config {show [DEST], path} [options]",
        description="show: each setting as 'ftppool put' and 'get' would have it, and where it\n"
        "comes from; a password's place and never itself. path: the file of profiles.\n"
        "Connects to nothing.",
        epilog=PASSWORDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    config.set_defaults(places="dest")
    config.add_argument("what", choices=("show", "path"), metavar="WHAT", help="show or path")
    config.add_argument("dest", nargs="?", metavar="DEST", help="a URL, or profile:path")
    flags.batch(config, verify=("size", "hash", "none"), listed="names", before="where it goes")
    flags.upload(config)
    flags.connection(config)
    flags.secrets(config)
    flags.trust(config)
    flags.output(config, json="write the settings as one JSON object")


def run(options: Options) -> int:
    """Print what was asked for.

    Raises:
        FTPPoolError: A setting is wrong.
    """
    from ftppool.cli import profiles
    from ftppool.cli.exits import Exit

    if options.what == "path":
        print(options.config or profiles.location())
        return Exit.OK
    rows = _of_place(options)
    for dest in sorted(options.origins):
        rows.append((dest, _shown(dest, getattr(options, dest)), options.origins[dest].words))
    if options.json:
        import json

        print(json.dumps({name: {"value": value, "origin": why} for name, value, why in rows}))
        return Exit.OK
    widths = [max(len(_text(row[column])) for row in rows) for column in (0, 1)]
    for name, value, why in rows:
        print(f"{name:{widths[0]}}  {_text(value):{widths[1]}}  {why}")
    return Exit.OK


def _of_place(options: Options) -> list[tuple[str, object, str]]:
    """The target and its password's place, if a target was named."""
    if not options.dest:
        return []
    from ftppool.cli import connect
    from ftppool.cli.credentials import source_of

    place = connect.place_of(options, options.dest)
    target = place.target
    connect.pool_options(options, target)  # for what it objects to
    source = source_of(options, place)
    where = "DEST" if options.url is None else f"profile {options.profile}"
    password = "none" if source is None else "(not shown)"
    return [
        ("target", target.url, where),
        ("password", password, "-" if source is None else source.words),
    ]


def _shown(dest: str, value: object) -> object:
    if dest == "password_command" and isinstance(value, tuple):
        return f"{value[0]} ..." if len(value) > 1 else value[0]  # its arguments may be secret
    return value


def _text(value: object) -> str:
    from ftppool.cli.exits import one_line

    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return one_line(" ".join(value))
    return f"{value:g}" if isinstance(value, float) else one_line(value)
