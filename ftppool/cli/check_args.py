"""``ftppool check`` on the command line."""

from __future__ import annotations

import argparse

from ftppool.cli import flags
from ftppool.cli.args import Commands, Options, Parser
from ftppool.cli.words import EXITS, PASSWORDS

__all__ = ["add", "run"]


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    check = commands.add_parser(
        "check",
        parents=[common],
        help="log in once and show what the server is and allows",
        usage="ftppool check [options] DEST",
        description="Logs in with one session, shows what the server is, where the path leads,\n"
        "what it can do, whom TLS or SSH found, and how many connections it is known to\n"
        "allow; changes nothing; ends with QUIT.",
        epilog=f"{PASSWORDS}\n{EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    check.set_defaults(places="dest")
    check.add_argument("dest", metavar="DEST", help="a URL, or profile:path")
    flags.connection(check)
    flags.secrets(check)
    flags.trust(check)
    flags.output(check, json="write what was found as one JSON object")


def run(options: Options) -> int:
    """Check and return the exit code."""
    from ftppool.cli import check

    return check.run(options)
