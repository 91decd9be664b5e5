"""``ftppool put`` on the command line."""

from __future__ import annotations

import argparse
import re

from ftppool.cli.args import PASSWORD_VARIABLE, Commands, Options, Parser, count

__all__ = ["add", "run"]

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


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
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


def run(options: Options) -> int:
    """Upload and return the exit code."""
    from ftppool.cli import put

    return put.run(options)


def _add_limits(put: argparse.ArgumentParser) -> None:
    put.add_argument(
        "--max-per-ip",
        type=count,
        default=2,
        metavar="N",
        help="connections that the server may see at any instant (default 2)",
    )
    put.add_argument(
        "--workers",
        type=count,
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
