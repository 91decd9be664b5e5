"""The command line as an argparse tree, and nothing else."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Literal, NoReturn

from ftppool._version import __version__

__all__ = ["PASSWORD_VARIABLE", "Options", "parse"]

PASSWORD_VARIABLE = "FTPPOOL_PASSWORD"  # noqa: S105 - the name of a variable, no password

_PUT_EPILOG = f"""\
password:
  Put it into the environment variable {PASSWORD_VARIABLE}. It may also be in the
  URL, but what is on a command line every user of the machine can read in the
  list of processes, and the shell keeps it in its history.

exit codes:
  0    everything is there
  1    something failed for good
  2    the command line is wrong
  70   a bug in ftppool
  75   only passing failures: run it again
  77   the login was refused, or the certificate or host key is not trusted
  78   a setting is wrong
  130  Ctrl-C, 143 SIGTERM, 129 SIGHUP: the sessions were ended first
"""


class Options(argparse.Namespace):
    """What the command line said; ``demo`` has only the first two, ``slots`` also ``host``."""

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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse repeats what it does not understand, and that may be a URL with its password.
        super().error(re.sub(r"://.*@", "://…@", message, flags=re.DOTALL))


def parse(argv: Sequence[str] | None) -> Options:
    """Read the arguments; None takes them from ``sys.argv``.

    Raises:
        SystemExit: With 2 after a usage error, with 0 after ``--help`` and ``--version``.
    """
    return _tree().parse_args(argv, namespace=Options())


def _tree() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ftppool",
        description="Upload files over FTP(S) or SFTP with few connections, none of which is left"
        " behind.",
        epilog="Begin with 'ftppool demo': it needs no server and no set-up.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ftppool {__version__}")
    common = _Parser(add_help=False)
    common.add_argument(
        "--color",
        choices=("auto", "never"),
        default="auto",
        help="colours: on a terminal unless NO_COLOR is set (default), or never",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_put(commands, common)
    commands.add_parser(
        "demo",
        parents=[common],
        help="show the problem and the cure on a small server of its own (10 s)",
        description="Starts an FTP server on 127.0.0.1 that allows 3 connections per address,"
        " meets it first with plain ftplib and 8 threads, then with ftppool, and shows what"
        " client and server saw. Needs pip install 'ftppool[demo]'.",
        allow_abbrev=False,
    )
    slots = commands.add_parser(
        "slots",
        parents=[common],
        help="show which processes of this machine hold sessions, and who waits",
        description="Shows the sessions that your processes on this machine hold or wait for, from"
        " the files on which they agree. Connects to nothing.",
        allow_abbrev=False,
    )
    slots.add_argument(
        "host", nargs="?", metavar="HOST", help="only this server: a name or an IP address"
    )
    return parser


def _add_put(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    put = commands.add_parser(
        "put",
        parents=[common],
        help="upload files and directories",
        usage="ftppool put [options] SRC... DEST",
        description="Uploads files, and directories with all below them (SRC/: the contents).\n"
        "Returns when every file is whole under its name, or is known not to be.",
        epilog=_PUT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    put.add_argument(
        "sources", nargs="+", type=_local, metavar="SRC", help="a local file or directory"
    )
    put.add_argument(
        "dest",
        metavar="DEST",
        help="ftp://user@host[:port]/directory, or ftps:// (explicit TLS) or ftpsi:// (implicit),"
        " where //directory is absolute; or sftp://, where /~/directory is not",
    )
    _add_limits(put)
    _add_handling(put)
    _add_trust(put)
    talk = put.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help="say only what failed")
    talk.add_argument("-v", "--verbose", action="store_true", help="say what becomes of each file")


def _add_limits(put: argparse.ArgumentParser) -> None:
    put.add_argument(
        "--max-per-ip",
        type=_count,
        default=2,
        metavar="N",
        help="connections that the server may see at any instant (default 2)",
    )
    put.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="files sent at a time (default: one for each connection)",
    )


def _add_handling(put: argparse.ArgumentParser) -> None:
    put.add_argument(
        "--no-atomic",
        dest="atomic",
        action="store_false",
        help="send under the final name at once, without part name and rename",
    )
    put.add_argument(
        "--verify",
        choices=("size", "none"),
        default="size",
        help="compare with the size that the server reports (default), or do not",
    )
    put.add_argument(
        "--on-conflict",
        choices=("overwrite", "skip", "fail"),
        default="overwrite",
        help="what to do if the server has a file of that name (default: overwrite)",
    )
    put.add_argument(
        "--no-makedirs",
        dest="makedirs",
        action="store_false",
        help="do not make missing directories",
    )


def _add_trust(put: argparse.ArgumentParser) -> None:
    put.add_argument(
        "--ca-file", metavar="PEM", help="with TLS, trust these certificates, not the system's"
    )
    put.add_argument(
        "--fingerprint",
        metavar="SHA256",
        help="trust only the certificate (TLS) or host key (sftp://, as SHA256:...) with this"
        " SHA-256",
    )
    put.add_argument(
        "--accept-new",
        action="store_true",
        help="with sftp://, trust a host that is not in known_hosts yet, and write its key there;"
        " the first connection is then open to whoever is in between",
    )


def _local(text: str) -> str:
    # Taken for a missing file, its name would be repeated with the password in it.
    if re.match("s?ftp(s|si|es)?://", text, re.IGNORECASE):
        raise argparse.ArgumentTypeError("there is a URL among the sources; DEST comes last")
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number, 1 or more")
    return int(text)
