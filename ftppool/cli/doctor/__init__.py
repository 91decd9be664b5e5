"""``ftppool doctor``: why a server says "too many connections", and what to do about it.

On a client it shows which process of this machine has which connections, on a server
(``--server``) what the server allows and whom it refuses, with ``--watch`` how that changes.
It connects to nothing unless ``--probe`` is given. docs/doctor.md describes ``--json``.
"""

from __future__ import annotations

from ftppool.cli.args import Commands, Options, Parser, count

__all__ = ["add", "run"]

_EPILOG = """\
exit codes:
  0    nothing is wrong
  1    something is: see the lines that begin with a cross
  2    the command line is wrong
  70   a bug in ftppool
  75   with --probe: the server cannot be reached, or refuses everybody; try again later
  77   with --probe: the login was refused, or the certificate or host key is not trusted
  78   a setting is wrong (a host that does not resolve, a file that is not there), or something
       must be installed
  130  Ctrl-C (not with --watch, which then says what it has seen), 143 SIGTERM
"""


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    import argparse

    doctor = commands.add_parser(
        "doctor",
        parents=[common],
        help="find out why a server says that there are too many connections",
        usage="ftppool doctor [options] [HOST | HOST:PORT | URL | profile:]\n"
        "       ftppool doctor --server [--config FILE]... [--log FILE]...",
        description="Shows the connections of this machine to FTP servers by process, who leaks"
        " them, what\nservers have taught, and how to mend it. Connects to nothing without"
        " --probe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    doctor.add_argument(
        "target",
        nargs="?",
        metavar="HOST",
        help="look at connections to this server only: a name, an IP address, a URL or a profile",
    )
    _add_client(doctor)
    _add_server(doctor)
    doctor.add_argument("--json", action="store_true", help="write JSON, for programs")


def _add_client(doctor: Parser) -> None:
    doctor.add_argument(
        "--probe",
        nargs="?",
        type=count,
        const=3,
        metavar="N",
        help="log in and find out what the server allows, with at most N connections (default 3,"
        " at most 10), one after the other, ending with the first refusal; needs a URL",
    )
    doctor.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=2.0,
        metavar="SECONDS",
        help="go on looking every SECONDS (default 2) and name the process whose connections only"
        " grow; Ctrl-C ends it",
    )
    doctor.add_argument(
        "--for",
        dest="duration",
        type=_seconds,
        metavar="SECONDS",
        help="with --watch: end after so long",
    )


def _add_server(doctor: Parser) -> None:
    doctor.add_argument(
        "--server",
        action="store_true",
        help="look at the FTP server that runs on this machine: its limits, whom it refuses",
    )
    doctor.add_argument(
        "--config",
        action="append",
        metavar="FILE",
        help="with --server: its configuration, if it is not in the usual place; may be repeated",
    )
    doctor.add_argument(
        "--log",
        action="append",
        metavar="FILE",
        help="with --server: its log, if the configuration does not name it; - for standard input,"
        " as in journalctl -t pure-ftpd | ftppool doctor --server --log -",
    )


def _seconds(text: str) -> float:
    import argparse
    import math

    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= 1e7:
        raise argparse.ArgumentTypeError(f"{text!r}: write seconds, 0.1 or more")
    return seconds


def run(options: Options) -> int:
    """Look, and say what is wrong."""
    from ftppool.cli.doctor import course

    return course.run(options)
