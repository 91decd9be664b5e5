"""The command line as an argparse tree: the table of commands, and what all of them share.

A command is a module with ``add(commands, common)``, which describes its arguments, and
``run(options)``, which returns an exit code. All modules are imported to describe them for
``--help``, so they import what costs time only when they run.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, TypeAlias

from ftppool._version import __version__

__all__ = ["COMMANDS", "PASSWORD_VARIABLE", "Commands", "Options", "Parser", "parse", "runner"]

COMMANDS = {
    "put": "ftppool.cli.put_args",
    "slots": "ftppool.cli.slots",
    "demo": "ftppool.cli.demo_args",
}
"""Each command and its module, in the order of ``--help``."""

PASSWORD_VARIABLE = "FTPPOOL_PASSWORD"  # noqa: S105 - the name of a variable, no password


class Options(argparse.Namespace):
    """What the command line said; each command has those that it describes."""

    command: str
    color: Literal["auto", "never"]
    host: str | None
    sources: list[str]
    dest: str
    max_per_ip: int
    workers: int | None
    atomic: bool
    verify: Literal["size", "none"]
    on_conflict: Literal["overwrite", "skip", "fail"]
    makedirs: bool
    ca_file: str | None
    fingerprint: str | None
    accept_new: bool
    quiet: bool
    verbose: bool


class Parser(argparse.ArgumentParser):
    """A parser that never repeats a password."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and exit with 2."""
        # argparse repeats what it does not understand, and that may be a URL with its password.
        super().error(re.sub(r"://.*@", "://…@", message, flags=re.DOTALL))


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""What ``add()`` of a command calls ``add_parser()`` of."""


def parse(argv: Sequence[str] | None) -> Options:
    """Read the arguments; None takes them from ``sys.argv``.

    Raises:
        SystemExit: With 2 after a usage error, with 0 after ``--help`` and ``--version``.
    """
    argv = sys.argv[1:] if argv is None else argv
    # One command is all that a run needs, unless it asks for or mistakes their names.
    wanted = argv[:1] if argv and argv[0] in COMMANDS else COMMANDS
    return _tree(wanted).parse_args(argv, namespace=Options())


def runner(command: str) -> Callable[[Options], int]:
    """Import what runs a command."""
    run: Callable[[Options], int] = importlib.import_module(COMMANDS[command]).run
    return run


def _tree(wanted: Sequence[str] | dict[str, str]) -> Parser:
    """Describe the wanted commands."""
    parser = Parser(
        prog="ftppool",
        description="Upload files over FTP(S) or SFTP with few connections, none of which is left"
        " behind.",
        epilog="Begin with 'ftppool demo': it needs no server and no set-up.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ftppool {__version__}")
    common = Parser(add_help=False)
    common.add_argument(
        "--color",
        choices=("auto", "never"),
        default="auto",
        help="colours: on a terminal unless NO_COLOR is set (default), or never",
    )
    commands: Any = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in wanted:
        importlib.import_module(COMMANDS[name]).add(commands, common)
    return parser


def count(text: str) -> int:
    """Read a whole number, 1 or more."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number, 1 or more")
    return int(text)
