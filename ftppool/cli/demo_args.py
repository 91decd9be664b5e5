"""``ftppool demo`` on the command line."""

from __future__ import annotations

from ftppool.cli.args import Commands, Options, Parser

__all__ = ["add", "run"]


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    commands.add_parser(
        "demo",
        parents=[common],
        help="show the problem and the cure on a small server of its own (10 s)",
        description="Starts an FTP server on 127.0.0.1 that allows 3 connections per address,"
        " meets it first with plain ftplib and 8 threads, then with ftppool, and shows what"
        " client and server saw. Needs pip install 'ftppool[demo]'.",
        allow_abbrev=False,
    )


def run(options: Options) -> int:
    """Play the demo."""
    from ftppool.cli import demo

    return demo.run(options)
