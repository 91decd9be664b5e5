"""``ftppool doctor``: why a server says "too many connections", and what to do about it.

On a client it shows which process of this machine has which connections, on a server
(``--server``) what the server allows and whom it refuses, with ``--watch`` how that changes.
It connects to nothing unless ``--probe`` is given. docs/doctor.md describes ``--json``.
"""

from __future__ import annotations

import argparse
import re
from typing import Any

from ftppool.cli import flags
from ftppool.cli.args import Commands, Options, Parser
from ftppool.cli.kinds import COUNT, SECONDS
from ftppool.cli.words import PASSWORDS

__all__ = ["add", "run"]

MOST_PROBES = 10

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


class _Target(argparse.Action):
    """Keeps the argument, and as ``place`` if it leads to a profile: HOST:PORT looks like one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        namespace.target = values
        namespace.place = values if values is not None and _is_place(values) else ""


def _is_place(text: str) -> bool:
    """True for a URL or a profile; no host ends in a colon, or has words behind it."""
    if ":" not in text or text.startswith("["):
        return False
    ipv6 = text.count(":") > 1 and re.fullmatch(r"[0-9A-Fa-f:.]+(%.*)?", text)
    return not ipv6 and re.fullmatch(r"[^:]+:[0-9]+", text) is None


class _Files(argparse.Action):
    """Collects files: profiles have one, a server may have several."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, [*(before if isinstance(before, list) else []), values])


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    doctor = commands.add_parser(
        "doctor",
        parents=[common],
        help="find out why a server says that there are too many connections",
        usage="ftppool doctor [options] [HOST | HOST:PORT | URL | profile:]\n"
        "       ftppool doctor --server [--config FILE]... [--log FILE]...",
        description="Shows the connections of this machine to FTP servers by process, who leaks\n"
        "them, what servers have taught, and how to mend it. Connects to nothing unless\n"
        "--probe is given.",
        epilog=f"{PASSWORDS}\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    doctor.set_defaults(places="place", place="", object=_objection)
    doctor.add_argument(
        "target",
        nargs="?",
        action=_Target,
        metavar="HOST",
        help="look at connections to this server only: a name, an IP address, a URL or a profile",
    )
    _add_client(doctor)
    _add_server(doctor)
    doctor.add_argument("--json", action="store_true", help="write JSON, for programs")
    flags.connection(doctor, config=_Files)
    flags.secrets(doctor)
    flags.trust(doctor)


def _add_client(doctor: Parser) -> None:
    add = doctor.add_argument_group("this machine as a client").add_argument
    add(
        "--probe",
        nargs="?",
        type=COUNT,
        const=3,
        metavar="N",
        help="log in and find out what the server allows, with at most N connections (default 3,"
        f" at most {MOST_PROBES}), one after the other, ending with the first refusal",
    )
    add(
        "--watch",
        nargs="?",
        type=SECONDS,
        const=2.0,
        metavar="SEC",
        help="go on looking every SEC (default 2) and name the process whose connections only"
        " grow; Ctrl-C ends it",
    )
    add(
        "--for",
        dest="duration",
        type=SECONDS,
        metavar="SEC",
        help="with --watch: end after so long",
    )


def _add_server(doctor: Parser) -> None:
    add = doctor.add_argument_group("this machine as a server").add_argument
    add(
        "--server",
        action="store_true",
        help="look at the FTP servers that run on this machine: what they allow, whom they refuse;"
        " --config FILE then names their configuration, if it is not in the usual place",
    )
    add(
        "--log",
        action="append",
        metavar="FILE",
        help="their log, if the configuration does not name it; - for standard input, as in"
        " journalctl -t pure-ftpd | ftppool doctor --server --log - (repeatable)",
    )


def _objection(options: Options) -> str | None:
    """Say what does not go together."""
    if options.server:
        return _of_server(options)
    if options.log is not None:
        return "--log is for the server's side: add --server"
    if options.duration is not None and options.watch is None:
        return "--for says how long --watch goes on: add --watch"
    return None if options.probe is None else _of_probe(options)


def _of_server(options: Options) -> str | None:
    for name, value in (("--probe", options.probe), ("--watch", options.watch)):
        if value is not None:
            return f"{name} is for the client's side: leave out --server, or {name}"
    if options.target is not None:
        return "--server looks at this machine: leave out the host"
    return None


def _of_probe(options: Options) -> str | None:
    if options.watch is not None:
        return "--probe and --watch do not go together: run one after the other"
    if options.probe > MOST_PROBES:
        return f"--probe {options.probe}: at most {MOST_PROBES}, so that it harms nobody"
    if not options.place and options.url is None:
        return "--probe logs in: write a URL such as ftp://host/directory, or profile:"
    return None


def run(options: Options) -> int:
    """Look, and say what is wrong."""
    from ftppool.cli.doctor import course

    return course.run(options)
