"""``ftppool get``: fetch files, say nothing if all went well, and say exactly what did not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ftppool.cli import flags
from ftppool.cli.args import Commands, Options, Parser
from ftppool.cli.exits import one_line
from ftppool.cli.words import EXITS, PASSWORDS

if TYPE_CHECKING:
    from ftppool.cli.moving import Watchers
    from ftppool.downloads import DownloadBatchOptions
    from ftppool.report import BatchReport

__all__ = ["add", "run"]


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    get = commands.add_parser(
        "get",
        parents=[common],
        help="fetch files and directories",
        usage="ftppool get [options] SRC... DIRECTORY",
        description="Fetches files, and directories with all below them (SRC/: the contents).\n"
        "Returns when every file is whole under its name, or is known not to be. Nothing is\n"
        "written outside of DIRECTORY, whatever names the server has.",
        epilog=f"{PASSWORDS}\n{EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    get.set_defaults(places="sources", object=_objection)
    get.mix()
    get.add_argument(
        "sources",
        nargs="+",
        metavar="SRC",
        help="ftp://user@host[:port]/path, or ftps://, ftpsi://, sftp://; or profile:path. All"
        " of one server. With --files-from one, the directory that the names are in",
    )
    get.add_argument(
        "dest", type=flags.local_source, metavar="DIRECTORY", help="where they go; made if missing"
    )
    flags.batch(get, verify=("size", "none"), listed="names below SRC", before="here")
    flags.connection(get)
    flags.secrets(get)
    flags.trust(get)
    flags.output(get, json="write what happens as lines of JSON on stdout")


def _objection(options: Options) -> str | None:
    if options.files_from is None:
        return "-0 is for --files-from: write where the names are" if options.null else None
    if len(options.sources) > 1:
        return "with --files-from write one SRC: the directory that the names are in"
    return None


def run(options: Options) -> int:
    """Fetch and return the exit code.

    Raises:
        FTPPoolError: The batch could not even begin.
        UsageError: The command line contradicts itself.
    """
    from ftppool.cli import connect, filelist, moving

    place, wanted = filelist.to_fetch(options)
    options.server_url = one_line(place.target.url)
    pool = connect.pool_options(options, place.target)
    how = _how(options)
    if options.dry_run:
        from ftppool.cli import dryrun

        return dryrun.get(options, connect.with_password(options, place), wanted, pool, how)

    def batch(watchers: Watchers) -> BatchReport:
        from dataclasses import replace

        from ftppool.pool import FTPPool

        how["progress"] = watchers.progress
        # Only now: the report tells of a password that cannot be had, too.
        target = connect.with_password(options, place)
        with FTPPool(
            target, max_per_ip=options.max_per_ip, on_event=watchers.on_event, **pool
        ) as open_pool:
            report = open_pool.download_batch(wanted, options.dest, **how)
        return replace(report, stats=open_pool.stats())  # with every session closed and counted

    return moving.move(options, place, batch)


def _how(options: Options) -> DownloadBatchOptions:
    assert options.verify != "hash", "bug: it is no choice"
    return {
        "workers": options.workers,
        "verify": options.verify,
        "on_conflict": options.on_conflict,
        "preserve_mtime": options.preserve_mtime,
        "include": options.include,
        "exclude": options.exclude,
        "last": options.last or (),
        "deadline": options.deadline,
        "max_failures": options.max_failures,
        "check": False,
    }
