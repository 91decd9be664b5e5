"""Uploads as a batch: from the options that users write to a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from typing import Any

from ftppool.backlog import Item, Transfer
from ftppool.batch import Batch
from ftppool.borrower import Lender
from ftppool.inputs import Input, Inputs, Job
from ftppool.plan import BatchOptions, plan_of
from ftppool.report import BatchReport, Outcome, Status
from ftppool.transfer.directories import Directories, MakeDirectory
from ftppool.transfer.upload import Conflict, Shared, Upload, UploadOptions, Verify

__all__ = ["UploadBatchOptions", "run_uploads"]


class UploadBatchOptions(BatchOptions, total=False):
    """The keyword arguments of ``upload_batch`` but those of the pool; see there."""

    atomic: bool
    verify: Verify
    on_conflict: Conflict
    makedirs: bool
    on_uploaded: Callable[[Outcome], object] | None


def run_uploads(
    pool: Lender,
    files: Iterable[Input],
    remote_dir: str,
    options: UploadBatchOptions,
    *,
    workers: int,
) -> BatchReport:
    """Send files; ``workers`` counts if the options do not say.

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
    shared = Shared(Directories())

    def begin(item: Item, on_bytes: Callable[[int], None]) -> Transfer:
        path = pool.resolve(item.remote)
        if not isinstance(item, Job):
            return MakeDirectory(path, shared.directories)
        return Upload(path, item.open, item.size, options=how, shared=shared, on_bytes=on_bytes)

    return Batch(
        pool, reader.read(files), begin, plan, done=Status.UPLOADED, below=reader.below
    ).run()
