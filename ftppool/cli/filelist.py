"""What is to be moved: the SRCs of the command line, or the names that ``--files-from`` lists."""

from __future__ import annotations

import dataclasses
import os
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator
from typing import IO

from ftppool.cli.args import Options
from ftppool.cli.connect import place_of
from ftppool.cli.credentials import Place
from ftppool.cli.exits import UsageError, one_line
from ftppool.downloads import Wanted
from ftppool.errors import ConfigError
from ftppool.inputs import Input
from ftppool.target import Target

__all__ = ["names", "nothing_in", "to_fetch", "to_upload"]

_CHUNK = 1 << 16
_LONGEST = 1 << 20


def to_upload(options: Options) -> Iterable[Input]:
    """Give the input of an upload.

    Names in a list that are relative keep their directories on the server, as with ``rsync
    --files-from``; absolute ones go under their own name.
    """
    if options.files_from is None:
        return options.sources
    return _below(options, options.sources[0] if options.sources else "")


def nothing_in(options: Options) -> str:
    """Say for --error-on-empty what had no file."""
    if options.files_from is not None:
        where = "the list on stdin" if options.files_from == "-" else options.files_from
    else:
        # A URL may have a password.
        where = ", ".join(re.sub("://.*@", "://", source) for source in options.sources)
    chosen = " that --include and --exclude leave over" * bool(options.include or options.exclude)
    return f"no files: there is none in {one_line(where)}{chosen} (--error-on-empty)"


def _below(options: Options, folder: str) -> Iterator[Input]:
    for name in names(options):
        if os.path.isabs(name):
            yield name
            continue
        remote = posixpath.normpath(name.replace(os.sep, "/"))
        if remote == ".":
            yield os.path.join(folder, name)  # what is in it
            continue
        if remote == ".." or remote.startswith("../"):
            raise ConfigError(
                f"--files-from lists {name!r}, which leads out of the directory: write it absolute"
            )
        yield os.path.join(folder, name), remote


def names(options: Options) -> Iterator[str]:
    """Read the names of ``--files-from``, as the batch asks for them; empty lines are skipped.

    Raises:
        ConfigError: The file cannot be read.
    """
    path = options.files_from
    assert path is not None
    try:
        if path == "-":
            yield from _split(sys.stdin.buffer, null=options.null)
        else:
            with open(path, "rb") as file:
                yield from _split(file, null=options.null)
    except OSError as error:
        raise ConfigError(f"--files-from {path} cannot be read: {error.strerror}") from error


def _split(file: IO[bytes], *, null: bool) -> Iterator[str]:
    rest = b""
    end = b"\0" if null else b"\n"
    # read1(): a name is taken as soon as whoever writes the list has written it.
    while chunk := getattr(file, "read1", file.read)(_CHUNK):
        *whole, rest = (rest + chunk).split(end)
        if len(rest) > _LONGEST:
            raise ConfigError("--files-from: a name of more than 1 MB; is it -0 that is missing?")
        yield from (_name(line, null=null) for line in whole if line.strip(b"\r"))
    if rest.strip(b"\r"):
        yield _name(rest, null=null)


def _name(line: bytes, *, null: bool) -> str:
    return os.fsdecode(line if null else line.removesuffix(b"\r"))


def to_fetch(options: Options) -> tuple[Place, Iterable[Wanted]]:
    """Give the server of a download, and what is wanted from it.

    Raises:
        UsageError: The SRCs are no places on one server.
    """
    places = [_place(options, number) for number in range(len(options.sources))]
    first = places[0].target
    for target, _ in places[1:]:
        if dataclasses.replace(target, directory=first.directory) != first:
            raise UsageError(
                f"the SRCs are on two servers, or of two users ({first.url}, {target.url}): fetch"
                " them in two runs"
            )
    server = dataclasses.replace(first, directory="")
    if options.files_from is None:
        wanted = [
            _remote(source, place.target)
            for source, place in zip(options.sources, places, strict=True)
        ]
        return places[0]._replace(target=server), wanted
    return places[0], _listed(options)


def _place(options: Options, number: int) -> Place:
    """Read a SRC; it is named by its number, as what is no URL may have a password in it."""
    try:
        return place_of(options, options.sources[number])
    except UsageError as error:
        which = f"SRC {number + 1}" if len(options.sources) > 1 else "SRC"
        raise UsageError(f"{which}: {error}") from None


def _remote(source: str, target: Target) -> str:
    """The remote path that a SRC means; a slash at its end says "the contents"."""
    directory = target.directory or "."
    contents = source.endswith("/") and not directory.endswith("/")
    return f"{directory}/" if contents else directory


def _listed(options: Options) -> Iterator[Wanted]:
    for name in names(options):
        path = name.rstrip("/") if len(name) > 1 else name
        yield (path, path.lstrip("/"))
