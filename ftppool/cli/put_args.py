"""``ftppool put``: upload files, say nothing if all went well, and say exactly what did not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ftppool.cli import flags
from ftppool.cli.args import Commands, Options, Parser
from ftppool.cli.exits import one_line
from ftppool.cli.words import EXITS, PASSWORDS

if TYPE_CHECKING:
    from ftppool.cli.moving import Watchers
    from ftppool.report import BatchReport
    from ftppool.uploads import UploadBatchOptions

__all__ = ["add", "run"]


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    put = commands.add_parser(
        "put",
        parents=[common],
        help="upload files and directories",
        usage="ftppool put [options] SRC... DEST",
        description="Uploads files, and directories with all below them (SRC/: the contents).\n"
        "Returns when every file is whole under its name, or is known not to be.",
        epilog=f"{PASSWORDS}\n{EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    put.set_defaults(places="dest", object=_objection)
    put.mix()
    put.add_argument(
        "sources",
        nargs="*",
        type=flags.local_source,
        metavar="SRC",
        help="a local file or directory; with --files-from at most one, the directory that the"
        " names are in",
    )
    put.add_argument(
        "dest",
        metavar="DEST",
        help="ftp://user@host[:port]/directory, or ftps:// (explicit TLS) or ftpsi:// (implicit),"
        " where //directory is absolute; or sftp://, where /~/directory is not; or profile:path",
    )
    flags.batch(put, verify=("size", "hash", "none"), listed="names of local files", before="there")
    flags.upload(put)
    flags.connection(put)
    flags.secrets(put)
    flags.trust(put)
    flags.output(put, json="write what happens as lines of JSON on stdout")


def _objection(options: Options) -> str | None:
    if options.files_from is None:
        if not options.sources:
            return (
                "SRC or DEST is missing: write SRC... DEST, where DEST is a URL such as"
                " ftp://host/directory, or profile:path"
            )
        return "-0 is for --files-from: write where the names are" if options.null else None
    if len(options.sources) > 1:
        return "with --files-from write at most one SRC: the directory that the names are in"
    return None


def run(options: Options) -> int:
    """Upload and return the exit code.

    Raises:
        FTPPoolError: The batch could not even begin.
        UsageError: The command line contradicts itself.
    """
    from ftppool.cli import connect, filelist, moving

    place = connect.place_of(options, options.dest)
    target = place.target
    options.server_url = one_line(target.url)
    sources = filelist.to_upload(options)
    pool = connect.pool_options(options, target)
    pool["rate_limit"] = options.rate_limit
    how = _how(options)
    if options.dry_run:
        from ftppool.cli import dryrun

        return dryrun.put(options, target, sources, pool, how)

    def batch(watchers: Watchers) -> BatchReport:
        from ftppool.oneshot import upload_batch

        how["progress"] = watchers.progress
        return upload_batch(
            sources,
            # Only now: the report tells of a password that cannot be had, too.
            connect.with_password(options, place),
            max_per_ip=options.max_per_ip,
            on_event=watchers.on_event,
            **how,
            **pool,
        )

    return moving.move(options, place, batch)


def _how(options: Options) -> UploadBatchOptions:
    return {
        "workers": options.workers,
        "atomic": options.atomic,
        "verify": options.verify,
        "on_conflict": options.on_conflict,
        "makedirs": options.makedirs,
        "preserve_mtime": options.preserve_mtime,
        "resume": options.resume,
        "part_name": options.part_name,
        "journal": options.journal,
        "include": options.include,
        "exclude": options.exclude,
        "last": options.last or (),
        "deadline": options.deadline,
        "max_failures": options.max_failures,
        "check": False,
    }
