"""``--dry-run``: what would be moved."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ftppool.cli.args import Options
from ftppool.cli.exits import Exit, one_line
from ftppool.cli.filelist import nothing_in
from ftppool.cli.reportfile import JsonLines
from ftppool.cli.voice import Voice
from ftppool.downloads import DownloadBatchOptions, Wanted, check_downloads, pair_of
from ftppool.inputs import EmptyDirectory, Input, Inputs
from ftppool.options import PoolOptions
from ftppool.patterns import Globs, patterns_of
from ftppool.pool import FTPPool
from ftppool.screen import Screen, amount, size
from ftppool.session import Session
from ftppool.target import Target, join
from ftppool.uploads import UploadBatchOptions, check_uploads
from ftppool.words import encodable

__all__ = ["get", "put"]


def put(
    options: Options,
    target: Target,
    sources: Iterable[Input],
    pool: PoolOptions,
    how: UploadBatchOptions,
) -> int:
    """Say what would be uploaded; connects to nothing, and refuses what the run would refuse."""
    teller = _Teller(options)
    nobody = replace(target, password="")  # no password is asked for that would not be used
    FTPPool(nobody, max_per_ip=options.max_per_ip, **pool).close()
    check_uploads(how)
    reader = Inputs("", include=options.include, exclude=options.exclude)
    for item in reader.read(sources):
        if isinstance(item, EmptyDirectory):
            continue
        if item.error is not None:
            teller.fail(one_line(item.error))
        else:
            teller.tell(item.label, target.resolve(item.remote), item.size)
    return teller.end()


def get(
    options: Options,
    target: Target,
    wanted: Iterable[Wanted],
    pool: PoolOptions,
    how: DownloadBatchOptions,
) -> int:
    """Say what would be fetched, by one session; refuses what the run would refuse."""
    from ftppool.errors import TransferError

    check_downloads(how)
    teller = _Teller(options)
    include = Globs(patterns_of("include", options.include))
    exclude = Globs(patterns_of("exclude", options.exclude))
    with FTPPool(target, max_per_ip=1, **pool) as one, one.session() as session:
        for number, item in enumerate(wanted):
            remote, local = pair_of(item, f"remote_paths[{number}]")
            try:
                for path, name, length in _walk(session, remote, local, exclude):
                    if not exclude.match(name) and (not include or include.match(name)):
                        teller.tell(path, posixpath.join(options.dest, name), length)
            except TransferError as error:
                teller.fail(one_line(error))
    return teller.end()


def _walk(
    session: Session, remote: str, local: str, exclude: Globs
) -> Iterator[tuple[str, str, int | None]]:
    """Give every file at or below a path: where it is, its path here, and its size.

    Directories that are excluded are not looked into.
    """
    if not remote.endswith("/") and remote != ".":
        found = session.stat(remote)
        if found.kind != "dir":
            yield remote, local, found.size
            return
    # A stack and no recursion: trees can be deeper than Python's stack.
    stack = [(remote, local)]
    while stack:
        folder, here = stack.pop()
        entries = sorted(session.scandir(folder), key=lambda entry: entry.name)
        for entry in entries:
            path, name = join(folder, entry.name), posixpath.join(here, entry.name)
            if entry.kind == "dir":
                if not exclude.match_directory(name):
                    stack.append((path, name))
            elif entry.kind != "link" or session.stat(path).kind != "dir":
                yield path, name, entry.size


class _Teller:
    """Writes a line a file on stdout, and counts them."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._json = JsonLines(sys.stdout) if options.json else None
        self._voice = Voice(Screen(sys.stderr, color=options.color, lenient=True), options)
        self._files = 0
        self._bytes = 0
        self._failed = 0

    def tell(self, source: str, destination: str, length: int | None) -> None:
        self._files += 1
        self._bytes += length or 0
        if self._json is not None:
            plain = {"source": encodable(source), "destination": encodable(destination)}
            self._json.write({"event": "WouldMove", **plain, "size": length})
        else:
            amount_moved = "" if length is None else f" ({size(length)})"
            print(f"{one_line(source)} -> {one_line(destination)}{amount_moved}")

    def fail(self, words: str) -> None:
        self._failed += 1
        self._voice.error(words)

    def end(self) -> int:
        if not self._options.quiet and self._json is None:
            print(f"{amount(self._files, 'file')}, {size(self._bytes)}: nothing was moved")
        if self._json is not None and self._json.lost:
            self.fail(self._json.lost)
        if self._failed:
            return Exit.FAILED
        if not self._files and self._options.error_on_empty:
            self._voice.error(nothing_in(self._options))
            return Exit.NOTHING
        return Exit.OK
