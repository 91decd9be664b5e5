"""Uploads as a batch: from the options that users write to a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ftppool.backlog import File, Item, Task, Transfer
from ftppool.batch import Batch
from ftppool.borrower import Lender
from ftppool.errors import ConfigError, TransferError
from ftppool.inputs import Input, Inputs, Job
from ftppool.plan import BatchOptions, plan_of
from ftppool.report import BatchReport, Outcome, Status
from ftppool.transfer.directories import Directories, MakeDirectory
from ftppool.transfer.leftover import LeftOver, TidyUp
from ftppool.transfer.options import Conflict, Shared, UploadOptions, Verify
from ftppool.transfer.upload import Upload

if TYPE_CHECKING:
    from ftppool.journal import Journal

__all__ = ["UploadBatchOptions", "check_uploads", "run_uploads"]


class UploadBatchOptions(BatchOptions, total=False):
    """The keyword arguments of ``upload_batch`` but those of the pool; see there."""

    atomic: bool
    verify: Verify
    on_conflict: Conflict
    makedirs: bool
    preserve_mtime: bool
    resume: bool
    part_name: str
    journal: str | os.PathLike[str] | None
    on_uploaded: Callable[[Outcome], object] | None


def check_uploads(options: UploadBatchOptions) -> None:
    """Refuse what :func:`run_uploads` would refuse, without a file.

    Raises:
        ConfigError: An argument is wrong.
    """
    UploadOptions.among(options)
    plan_of(options, workers=1, on_arrived=options.get("on_uploaded"), list_rest=True)
    Inputs("", include=options.get("include"), exclude=options.get("exclude"))


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
        ConfigError: An argument is wrong, or more than the server can do; it then has the
            ``report``.
    """
    how = UploadOptions.among(options)
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
        report = Batch(pool, jobs, uploads.begin, plan, done=Status.UPLOADED, below=below).run()
        return _possible(report)
    from ftppool.journal import Journal  # and with it sqlite3

    journal = Journal(path, target)
    try:
        uploads = _Uploads(pool, how, journal)
        report = Batch(
            pool,
            uploads.pair(journal.left_overs(), jobs),
            uploads.begin,
            plan,
            done=Status.UPLOADED,
            below=below,
            journal=journal,
            note=uploads.note,
        ).run()
        try:
            if report.ok:
                journal.clear()
        except TransferError as error:
            report = replace(report, causes=(*report.causes, error))
    finally:
        journal.close()
    return _possible(report)


def _possible(report: BatchReport) -> BatchReport:
    """Return the report, unless the server cannot do what the options want."""
    for cause in report.causes:
        if isinstance(cause, ConfigError) and cause.phase == "verify":
            cause.report = report  # type: ignore[attr-defined]  # as BatchError has
            raise cause
    return report


class _Uploads:
    """Makes the uploads of one batch, and writes down how they end."""

    def __init__(self, pool: Lender, options: UploadOptions, journal: Journal | None) -> None:
        self._pool = pool
        self._options = options
        self._journal = journal
        self._shared = Shared(Directories())
        self._tokens: dict[int, str] = {}

    def pair(self, left: Iterable[LeftOver], items: Iterable[Item]) -> Iterator[Item]:
        """Give each file the part that an earlier run left of it; the other parts are removed."""
        known: dict[str, LeftOver] = {}
        for part in left:
            if self._can_resume(part) and part.remote not in known:
                known[part.remote] = part
            else:
                yield part
        for item in items:
            if known and isinstance(item, Job) and item.error is None:
                found = known.pop(self._pool.resolve(item.remote), None)
                if found is not None and not self._adopt(item, found):
                    yield found
            yield item
        yield from known.values()

    def _can_resume(self, part: LeftOver) -> bool:
        how = self._options
        wanted = how.resume and how.atomic and part.pattern == how.part_name
        return wanted and part.source is not None

    def _adopt(self, job: Job, part: LeftOver) -> bool:
        """Go on with a part if it is of the same source, which has not arrived meanwhile."""
        assert self._journal is not None
        if job.identity is None or job.identity() != part.source:
            return False
        if self._journal.arrived(job) is not None:
            return False
        self._tokens[job.index] = part.token
        return True

    def begin(self, item: Item, on_bytes: Callable[[int], None]) -> Transfer:
        """Make the steps of an item."""
        if isinstance(item, LeftOver):
            return TidyUp(item)
        path = self._pool.resolve(item.remote)
        if not isinstance(item, Job):
            return MakeDirectory(path, self._shared.directories)
        token = self._tokens.get(item.index)
        known_part = token is not None
        if self._journal is not None and self._options.atomic and not known_part:
            token = self._journal.begin(path, self._options.part_name, item)
            self._tokens[item.index] = token
        return Upload(
            path,
            item.open,
            item.size,
            options=self._options,
            shared=self._shared,
            on_bytes=on_bytes,
            repeatable=item.identity is not None,
            token=token,
            known_part=known_part,
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
