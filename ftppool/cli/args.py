"""The command line as an argparse tree: the table of commands, and what all of them share.

A command is a module with ``add(commands, common)``, which describes its arguments, and
``run(options)``, which returns an exit code. All modules are imported to describe them for
``--help``, so they import what costs time only when they run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, TypeAlias

from ftppool._version import __version__
from ftppool.cli.settings import Origin, open_up, resolve
from ftppool.typed import override
from ftppool.words import nearest

__all__ = [
    "COMMANDS",
    "PASSWORD_VARIABLE",
    "Commands",
    "Options",
    "Parser",
    "parse",
    "parsers",
    "runner",
    "summaries",
]

COMMANDS = {
    "put": "ftppool.cli.put_args",
    "get": "ftppool.cli.get_args",
    "ls": "ftppool.cli.ls_args",
    "check": "ftppool.cli.check_args",
    "slots": "ftppool.cli.slots",
    "doctor": "ftppool.cli.doctor",
    "demo": "ftppool.cli.demo_args",
    "config": "ftppool.cli.config_args",
    "completion": "ftppool.cli.completion_args",
}
"""Each command and its module, in the order of ``--help``."""

PASSWORD_VARIABLE = "FTPPOOL_PASSWORD"  # noqa: S105 - the name of a variable, no password


class Options(argparse.Namespace):
    """What was asked for, wherever it was said; each command has those that it describes.

    Attributes:
        object: Says what is wrong with the arguments together, or None.
        places: Name of the attribute that has URLs or ``profile:path``, "" for none.
        url: The profile's URL, or None.
        profile_file: The file that the profile was read from.
        server_url: Where ``put`` and ``get`` move to or from, once that is known; no password.
        origins: Where each flag's value comes from.
    """

    command: str
    object: Callable[[Options], str | None] = staticmethod(lambda _options: None)
    places: str = ""
    url: str | None = None
    profile_file: str
    server_url: str = ""
    origins: dict[str, Origin]
    color: Literal["auto", "never"]
    # slots
    host: str | None
    # put, get, ls, check: where
    sources: list[str]
    dest: str
    profile: str | None
    config: str | None
    user: str | None
    # how to connect
    max_per_ip: int
    limiter: str
    acquire_timeout: float
    connect_timeout: float
    io_timeout: float
    attempts: int
    retry_total: float
    encoding: str
    passive: bool
    # whom to trust
    ca_file: str | None
    fingerprint: str | None
    client_certificate: str | None
    client_key: str | None
    tls_minimum: Literal["1.2", "1.3"]
    accept_new: bool
    known_hosts: list[str] | None
    identity: list[str] | None
    proxy_jump: str | None
    # the password
    password_file: str | None
    password_command: tuple[str, ...] | None
    credential: str | None
    netrc: bool
    netrc_file: str | None
    keyring: str | None
    # the files
    files_from: str | None
    null: bool
    include: list[str] | None
    exclude: list[str] | None
    last: list[str] | None
    workers: int | None
    verify: Literal["size", "hash", "none"]
    on_conflict: Literal["overwrite", "skip", "skip_same", "fail"]
    preserve_mtime: bool
    atomic: bool
    makedirs: bool
    resume: bool
    part_name: str
    journal: str | None
    rate_limit: float | None
    # the run
    deadline: float | None
    max_failures: int | None
    lock: str | None
    lock_wait: float
    report: str | None
    dry_run: bool
    error_on_empty: bool
    # what is said
    json: bool
    progress: bool
    quiet: bool
    verbose: bool
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["text", "json"]
    # ls, config, completion
    long: bool
    what: str
    shell: str


class Parser(argparse.ArgumentParser):
    """A parser that never repeats a password, and takes flags between the SRCs."""

    _intermixed = False

    def mix(self) -> None:
        """Take flags anywhere among the positional arguments, as other tools do."""
        self._intermixed = True

    @override
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read what it knows; see :meth:`mix`."""
        if not self._intermixed:
            return super().parse_known_args(args, namespace)
        self._intermixed = False  # it calls this method again
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = True

    @override
    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and exit with 2."""
        # argparse repeats what it does not understand, and that may be a URL with its password.
        super().error(re.sub(r"://.*@", "://…@", message, flags=re.DOTALL))


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""What ``add()`` of a command calls ``add_parser()`` of."""


def parse(argv: Sequence[str] | None, options: Options) -> Options:
    """Read the arguments, and what they leave open from environment, profile and defaults.

    Args:
        argv: The arguments; None takes them from ``sys.argv``.
        options: Where they go, as far as they can be read.

    Raises:
        SystemExit: With 2 after a usage error, with 0 after ``--help`` and ``--version``.
        FTPPoolError: A variable or a profile is wrong.
    """
    argv = sys.argv[1:] if argv is None else argv
    # One command is all that a run needs, unless it asks for or mistakes their names.
    wanted = argv[:1] if argv and argv[0] in COMMANDS else list(COMMANDS)
    parser, commands = _tree(wanted)
    if len(wanted) > 1:
        return parser.parse_args(argv, namespace=options)  # exits
    command: Parser = commands.choices[wanted[0]]
    defaults = open_up(command)
    _, unknown = parser.parse_known_args(argv, namespace=options)
    if unknown:  # said by the command itself: parse_args() would print the usage of all commands
        command.error(_unrecognized(unknown, command))
    resolve(options, command, defaults, os.environ)
    objection = options.object(options)
    if objection is not None:
        command.error(objection)
    return options


def _unrecognized(unknown: Sequence[str], command: Parser) -> str:
    flags = (flag for flag in command._option_string_actions if flag.startswith("--"))
    known = {flag[2:].replace("-", "_"): flag for flag in flags}
    near = nearest(unknown[0].partition("=")[0].lstrip("-").replace("-", "_"), known)
    hint = f"; did you mean {known[near]}?" if near else ""
    return f"unrecognized arguments: {' '.join(unknown)}{hint}"


def parsers(wanted: Sequence[str] = tuple(COMMANDS)) -> dict[str, Parser]:
    """Describe commands anew, for those who want to know their flags."""
    return dict(_tree(wanted)[1].choices)


def summaries() -> dict[str, str]:
    """What ``--help`` says of each command."""
    return {action.dest: action.help for action in _tree(list(COMMANDS))[1]._choices_actions}


def runner(command: str) -> Callable[[Options], int]:
    """Import what runs a command."""
    run: Callable[[Options], int] = importlib.import_module(COMMANDS[command]).run
    return run


def _tree(wanted: Sequence[str]) -> tuple[Parser, Any]:
    """Describe the wanted commands; returns the whole, and what has each of them."""
    parser = Parser(
        prog="ftppool",
        description="Sends files by FTP, FTPS or SFTP over few connections, and fetches them, and"
        " leaves no connection behind.",
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
    return parser, commands
