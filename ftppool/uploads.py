"""Uploads as a batch: from the options that users write to a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from ftppool.backlog import File, Item, Task, Transfer
from ftppool.batch import Batch
from ftppool.borrower import Lender
from ftppool.errors import TransferError
from ftppool.inputs import Input, Inputs, Job
from ftppool.plan import BatchOptions, plan_of
from ftppool.report import BatchReport, Outcome, Status
from ftppool.transfer.directories import Directories, MakeDirectory
from ftppool.transfer.leftover import LeftOver, TidyUp
from ftppool.transfer.options import Conflict, Shared, UploadOptions, Verify
from ftppool.transfer.upload import Upload

if TYPE_CHECKING:
    from ftppool.journal import Journal

__all__ = ["UploadBatchOptions", "run_uploads"]


class UploadBatchOptions(BatchOptions, total=False):
    """The keyword arguments of ``upload_batch`` but those of the pool; see there."""

    atomic: bool
    verify: Verify
    on_conflict: Conflict
    makedirs: bool
    preserve_mtime: bool
    resume: bool
    journal: str | os.PathLike[str] | None
    on_uploaded: Callable[[Outcome], object] | None


def run_uploads(
    pool: Lender,
    files: Iterable[Input],
    remote_dir: str,
    options: UploadBatchOptions,
    *,
    workers: int,
    target: str,
) -> BatchReport:
    """Send files.

    Args:
        workers: Files under way at a time if the options do not say.
        target: What a journal is for.

    Raises:
        ConfigError: An argument is wrong.
    """
    known = {field.name for field in fields(UploadOptions)}
    chosen: dict[str, Any] = {name: value for name, value in options.items() if name in known}
    how = UploadOptions(**chosen)
    plan = plan_of(
        options,
        workers=workers,
        on_arrived=options.get("on_uploaded"),
        list_rest=isinstance(files, Collection),
    )
    reader = Inputs(remote_dir, include=options.get("include"), exclude=options.get("exclude"))
    jobs = reader.read(files)

    def below(item: File) -> str:
        return reader.below(item.remote)

    path = options.get("journal")
    if path is None:
        uploads = _Uploads(pool, how, None)
        return Batch(pool, jobs, uploads.begin, plan, done=Status.UPLOADED, below=below).run()
    from ftppool.journal import Journal  # and with it sqlite3

    journal = Journal(path, target)
    try:
        uploads = _Uploads(pool, how, journal)
        report = Batch(
            pool,
            chain(journal.left_overs(), jobs),
            uploads.begin,
            plan,
            done=Status.UPLOADED,
            below=below,
            journal=journal,
            note=uploads.note,
        ).run()
        if report.ok:
            journal.clear()
    except TransferError as error:  # it could not be emptied
        report = replace(report, causes=(*report.causes, error))
    finally:
        journal.close()
    return report


class _Uploads:
    """Makes the uploads of one batch, and writes down how they end."""

    def __init__(self, pool: Lender, options: UploadOptions, journal: Journal | None) -> None:
        self._pool = pool
        self._options = options
        self._journal = journal
        self._shared = Shared(Directories())
        self._tokens: dict[int, str] = {}

    def begin(self, item: Item, on_bytes: Callable[[int], None]) -> Transfer:
        """Make the steps of an item."""
        if isinstance(item, LeftOver):
            return TidyUp(item)
        path = self._pool.resolve(item.remote)
        if not isinstance(item, Job):
            return MakeDirectory(path, self._shared.directories)
        token = None
        if self._journal is not None and self._options.atomic:
            token = self._tokens[item.index] = self._journal.begin(path, self._options.part_name)
        return Upload(
            path,
            item.open,
            item.size,
            options=self._options,
            shared=self._shared,
            on_bytes=on_bytes,
            token=token,
        )

    def note(self, task: Task, outcome: Outcome | None) -> None:
        """Write down what became of an item."""
        item, journal = task.item, self._journal
        assert journal is not None
        if isinstance(item, LeftOver):
            journal.end(item.remote, item.token)
        elif isinstance(item, Job) and outcome is not None:
            token = self._tokens.pop(item.index, "")
            if outcome.status is Status.UPLOADED:
                journal.end(self._pool.resolve(item.remote), token, item)
            elif outcome.left_behind is None:
                journal.end(self._pool.resolve(item.remote), token)
