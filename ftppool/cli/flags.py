"""The flags that several commands share, in groups."""

from __future__ import annotations

import argparse
import re
from typing import Any

from ftppool.cli.kinds import COMMAND, COUNT, PATIENCE, RATE, SECONDS
from ftppool.transfer.parts import PART_NAME

__all__ = ["batch", "connection", "local_source", "output", "secrets", "switch", "trust", "upload"]


def switch(group: Any, name: str, *, default: bool, help: str) -> None:
    """Add ``--name`` and ``--no-name``."""
    action = group.add_argument(name, action=argparse.BooleanOptionalAction, help=help)
    action.default = default  # afterwards: Python before 3.13 would add it to the help


def connection(parser: argparse.ArgumentParser, *, config: Any = "store") -> None:
    """Add what every command that connects has; `config` is the action of ``--config``."""
    group = parser.add_argument_group("connection")
    add = group.add_argument
    add(
        "--profile",
        metavar="NAME",
        help="settings from this profile; NAME:path as DEST takes its URL too",
    )
    add("--config", action=config, metavar="FILE", help="read profiles from this file")
    add("--user", metavar="NAME", help="user name, if it is not in the URL")
    add(
        "--max-per-ip",
        type=COUNT,
        default=2,
        metavar="N",
        help="connections that the server may see at any instant (default 2)",
    )
    add(
        "--limiter",
        choices=("machine", "process"),
        default="machine",
        help="the cap holds over all processes of this user (default), or in this one",
    )
    add(
        "--acquire-timeout",
        type=PATIENCE,
        default=60.0,
        metavar="SEC",
        help="wait so long for a session (default 60)",
    )
    add(
        "--connect-timeout",
        type=SECONDS,
        default=15.0,
        metavar="SEC",
        help="for the TCP connect, and for the greeting (default 15)",
    )
    add(
        "--io-timeout",
        type=SECONDS,
        default=60.0,
        metavar="SEC",
        help="for one reply, and of silence in a transfer (default 60)",
    )
    add(
        "--attempts",
        type=COUNT,
        default=5,
        metavar="N",
        help="tries of one connect or file that fails for a passing reason (default 5)",
    )
    add(
        "--retry-total",
        type=PATIENCE,
        default=600.0,
        metavar="SEC",
        help="try so long while the server refuses and no session is open (default 600)",
    )
    add(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="of remote names, with FTP (default utf-8)",
    )
    switch(group, "--passive", default=True, help="with FTP, open data connections ourselves")


def trust(parser: argparse.ArgumentParser) -> None:
    """Add whom to trust and as whom to appear."""
    group = parser.add_argument_group("TLS and SSH")
    add = group.add_argument
    add("--ca-file", metavar="PEM", help="with TLS, trust these certificates, not the system's")
    add(
        "--fingerprint",
        metavar="SHA256",
        help="trust only the certificate (TLS) or host key (sftp://, as SHA256:...) with this"
        " SHA-256",
    )
    add("--client-certificate", metavar="PEM", help="with TLS, show this certificate")
    add("--client-key", metavar="PEM", help="its private key, if that is in another file")
    add("--tls-minimum", choices=("1.2", "1.3"), default="1.2", help="TLS version (default 1.2)")
    add(
        "--accept-new",
        action="store_true",
        help="with sftp://, trust a host that is not in known_hosts yet, and write its key there;"
        " the first connection is then open to whoever is in between",
    )
    add(
        "--known-hosts",
        action="append",
        metavar="FILE",
        help="with sftp://, host keys are here, not in ~/.ssh/known_hosts (repeatable)",
    )
    add(
        "--identity",
        action="append",
        metavar="FILE",
        help="with sftp://, log in with this private key (repeatable)",
    )
    add("--proxy-jump", metavar="HOST", help="with sftp://, connect through [user@]host[:port]")


def secrets(parser: argparse.ArgumentParser) -> None:
    """Add where the password comes from."""
    group = parser.add_argument_group("password (see below)")
    add = group.add_argument
    add("--password-file", metavar="FILE", help="its first line; nobody else may read the file")
    add(
        "--password-command",
        type=COMMAND,
        metavar="CMD",
        help="the first line that this command prints",
    )
    add(
        "--credential",
        metavar="NAME",
        help="the systemd credential of this name (default ftppool-password, if there is one)",
    )
    add("--netrc", action="store_true", help="take it from ~/.netrc")
    add("--netrc-file", metavar="FILE", help="take it from this netrc file")
    add("--keyring", metavar="SERVICE", help="take it from the desktop's keyring")


def upload(parser: argparse.ArgumentParser) -> None:
    """Add how files are put in place."""
    group = parser.add_argument_group("uploads")
    add = group.add_argument
    switch(
        group,
        "--atomic",
        default=True,
        help="send under a part name and rename (default); or under the final name at once",
    )
    switch(group, "--makedirs", default=True, help="make missing directories (default), or do not")
    switch(
        group,
        "--resume",
        default=False,
        help="go on with a part that was broken off, where the server proves its length",
    )
    add(
        "--part-name",
        default=PART_NAME,
        metavar="PATTERN",
        help=f"what a file is called until it has its name (default {PART_NAME})",
    )
    add(
        "--journal",
        metavar="FILE",
        help="remember in FILE what has arrived: after a crash the next run goes on there",
    )
    add(
        "--rate-limit",
        type=RATE,
        metavar="BYTES",
        help="send no more than this a second, as in 500k or 2M",
    )


def batch(
    parser: argparse.ArgumentParser, *, verify: tuple[str, ...], listed: str, before: str
) -> None:
    """Add what uploads and downloads of many files have in common."""
    group = parser.add_argument_group("files")
    add = group.add_argument
    add("--files-from", metavar="FILE", help=f"read {listed} from FILE, one a line; - is stdin")
    add(
        "-0",
        "--null",
        action="store_true",
        help="names in that file end in NUL, as from find -print0",
    )
    add("--include", action="append", metavar="GLOB", help="only what matches (repeatable)")
    add("--exclude", action="append", metavar="GLOB", help="not what matches (repeatable)")
    add(
        "--last",
        action="append",
        metavar="GLOB",
        help="what matches goes last, once all else has arrived (repeatable)",
    )
    add(
        "--workers",
        type=COUNT,
        metavar="N",
        help="files under way at a time (default: one for each connection, with sftp:// eight)",
    )
    add(
        "--verify",
        choices=verify,
        default="size",
        help="compare with the size that the server reports (default)"
        + (", with its digest too," if "hash" in verify else ",")
        + " or do not",
    )
    add(
        "--on-conflict",
        choices=("overwrite", "skip", "skip_same", "fail"),
        default="overwrite",
        help=f"what to do if there is a file of that name {before} (default: overwrite);"
        " skip_same: if size and time are the same",
    )
    switch(group, "--preserve-mtime", default=False, help="give files the time of their source")
    run = parser.add_argument_group("the run")
    add = run.add_argument
    add("--deadline", type=SECONDS, metavar="SEC", help="stop after so long (exit code 10)")
    add("--max-failures", type=COUNT, metavar="N", help="stop after so many failed files")
    add("--lock", metavar="FILE", help="only one run at a time has this lock (exit code 75)")
    add(
        "--lock-wait",
        type=PATIENCE,
        default=0.0,
        metavar="SEC",
        help="wait so long for the lock (default 0)",
    )
    add("--report", metavar="FILE", help="write what became of each file there, as JSON")
    add("--dry-run", action="store_true", help="only say what would be moved")
    add("--error-on-empty", action="store_true", help="no file at all is an error (exit code 9)")


def output(parser: argparse.ArgumentParser, *, json: str) -> None:
    """Add what a command says, and how."""
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--json", action="store_true", help=json)
    switch(group, "--progress", default=True, help="show progress (default), or do not")
    talk = group.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help="say only what failed")
    talk.add_argument("-v", "--verbose", action="store_true", help="say what becomes of each file")
    add(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="what else to log on stderr (default warning)",
    )
    add(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="lines on stderr as text (default) or JSON",
    )


def local_source(text: str) -> str:
    """Take a local path, which a URL is not."""
    # Taken for a missing file, its name would be repeated with the password in it.
    if re.match("s?ftp(s|si|es)?://", text, re.IGNORECASE):
        raise argparse.ArgumentTypeError("there is a URL among the sources; DEST comes last")
    return text
