"""Downloads as a batch: from the options that users write to a run."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias, TypedDict, cast

from ftppool.backlog import File, Item, Task, Transfer
from ftppool.batch import Batch
from ftppool.borrower import Lender
from ftppool.errors import ConfigError, FTPPoolError, TransferError
from ftppool.patterns import Globs, patterns_of
from ftppool.plan import BatchOptions, plan_of
from ftppool.report import BatchReport, Outcome, Status
from ftppool.target import check_remote_name
from ftppool.transfer.download import Download, Fetch, HowToDownload, KeepOrReplace, Verify
from ftppool.transfer.local import check_names, file_mode, same_name

if TYPE_CHECKING:
    from pathlib import PurePath

__all__ = [
    "DownloadBatchOptions",
    "DownloadOptions",
    "Wanted",
    "check_downloads",
    "pair_of",
    "run_downloads",
]

Wanted: TypeAlias = "str | tuple[str | PurePath, str | PurePath]"
"""A remote path, or a pair of it and the relative path that it shall have here."""


class DownloadOptions(TypedDict, total=False):
    """The keyword arguments of ``download``; see :meth:`ftppool.FTPPool.download_batch`."""

    verify: Verify
    on_conflict: KeepOrReplace
    preserve_mtime: bool
    fsync: bool


class DownloadBatchOptions(DownloadOptions, BatchOptions, total=False):
    """The keyword arguments of ``download_batch``; see :meth:`ftppool.FTPPool.download_batch`."""

    on_downloaded: Callable[[Outcome], object] | None


def check_downloads(options: DownloadBatchOptions) -> None:
    """Refuse what :func:`run_downloads` would refuse, without a file.

    Raises:
        ConfigError: An argument is wrong.
    """
    HowToDownload.among(options)
    plan_of(options, workers=1, on_arrived=options.get("on_downloaded"), list_rest=True)
    patterns_of("include", options.get("include"))
    patterns_of("exclude", options.get("exclude"))


def run_downloads(
    pool: Lender,
    remote_paths: Iterable[Wanted],
    local_dir: str | os.PathLike[str],
    options: DownloadBatchOptions,
    *,
    workers: int,
    single: bool = False,
) -> BatchReport:
    """Fetch files.

    Args:
        workers: Files under way at a time if the options do not say.
        single: Refuse directories.

    Raises:
        ConfigError: An argument is wrong.
    """
    how = HowToDownload.among(options)
    plan = plan_of(
        options,
        workers=workers,
        on_arrived=options.get("on_downloaded"),
        list_rest=isinstance(remote_paths, Collection),
    )
    _check(remote_paths, local_dir)
    downloads = _Downloads(pool, os.fsdecode(local_dir), how, options, single=single)
    return Batch(
        pool,
        downloads.read(remote_paths),
        downloads.begin,
        plan,
        done=Status.DOWNLOADED,
        below=_below,
        note=downloads.note,
    ).run()


def _check(remote_paths: object, local_dir: object) -> None:
    if isinstance(remote_paths, str | bytes) or not isinstance(remote_paths, Iterable):
        raise ConfigError(f"remote_paths is a single {type(remote_paths).__name__}; pass a list")
    if not (isinstance(local_dir, str | os.PathLike) and os.fspath(local_dir)):
        raise ConfigError(f"local_dir={local_dir!r}: write the path of a directory")


def _below(item: File) -> str:
    return cast("Fetch", item).local


class _Downloads:
    """Makes the downloads of one batch."""

    def __init__(
        self,
        pool: Lender,
        top: str,
        how: HowToDownload,
        options: DownloadBatchOptions,
        *,
        single: bool,
    ) -> None:
        self._pool = pool
        self._top = top
        self._how = how
        self._single = single
        self._include = Globs(patterns_of("include", options.get("include")))
        self._exclude = Globs(patterns_of("exclude", options.get("exclude")))
        self._mode = file_mode()
        self._claimed: dict[str, tuple[int, ...]] = {}

    def read(self, remote_paths: Iterable[Wanted]) -> Iterator[Item]:
        """Describe what the user names."""
        for number, wanted in enumerate(remote_paths):
            remote, local = pair_of(wanted, f"remote_paths[{number}]")
            directory = remote.rpartition("/")[2] in ("", ".", "..")
            if directory and self._single:
                raise _is_directory(remote or ".")
            item = Fetch(
                index=(number,),
                remote=remote,
                local=local,
                path=os.path.join(self._top, *local.split("/")),
                kind="dir" if directory else None,
            )
            if directory or not self._left_out(item):
                item.error = self._objection(item)
                yield item

    def begin(self, item: Item, on_bytes: Callable[[int], None]) -> Transfer:
        """Make the steps of an item."""
        assert isinstance(item, Fetch)
        return Download(
            item,
            self._pool.resolve(item.remote),
            self._top,
            options=self._how,
            mode=self._mode,
            choose=self._choose,
            on_bytes=on_bytes,
        )

    def note(self, task: Task, outcome: Outcome | None) -> None:
        """Remove the part of a file that has not arrived."""
        if outcome is not None and outcome.status is not Status.DOWNLOADED:
            cast("Download", task.transfer).discard()

    def _choose(self, item: Fetch) -> Fetch | None:
        if self._single and item.kind == "dir":
            raise _is_directory(item.remote)
        if self._left_out(item):
            return None
        item.error = item.error or self._objection(item)
        return item

    def _left_out(self, item: Fetch) -> bool:
        if self._exclude.match(item.local):
            return True
        if item.kind == "dir":
            return self._exclude.match_directory(item.local)
        if item.kind is None:
            return False  # it may be a directory with good things in it
        return bool(self._include) and not self._include.match(item.local)

    def _objection(self, item: Fetch) -> FTPPoolError | None:
        """Say why this cannot be fetched, or None; claims its local name."""
        try:
            self._pool.resolve(item.remote)
            if item.kind != "dir":
                check_remote_name(item.remote)
            if item.local or item.kind != "dir":
                check_names(item.local)
        except (ConfigError, TransferError) as error:
            return error
        if not item.local:
            return None
        # One step: several workers list directories at a time.
        if self._claimed.setdefault(same_name(item.path), item.index) != item.index:
            return ConfigError(
                f"{item.remote!r} and another file both go to {item.local!r}; fetch one elsewhere"
            )
        return None


def _is_directory(remote: str) -> ConfigError:
    return ConfigError(f"{remote} is a directory; fetch it with download_batch()")


def pair_of(wanted: object, where: str) -> tuple[str, str]:
    """Give the remote path and the local one of one of ``remote_paths``.

    Raises:
        ConfigError: It is neither a path nor a pair of them.
    """
    if isinstance(wanted, str):
        name = posixpath.basename(wanted)
        return wanted, "" if name in (".", "..") else name
    if isinstance(wanted, tuple) and len(cast("tuple[object, ...]", wanted)) == 2:
        remote, local = cast("tuple[object, object]", wanted)
        return _text(remote, where), _text(local, where).rstrip("/")
    raise ConfigError(
        f"{where} is a {type(wanted).__name__}; pass a remote path, or a pair "
        "(remote path, local path)"
    )


def _text(path: object, where: str) -> str:
    if isinstance(path, str):
        return path
    from pathlib import PurePath

    if not isinstance(path, PurePath):
        raise ConfigError(f"{where} has a {type(path).__name__} as a path; pass a str")
    return path.as_posix()
