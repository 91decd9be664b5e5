"""One file, sent on a session that the caller holds."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ftppool.errors import ConfigError, FTPPoolError
from ftppool.hooks import bring_in
from ftppool.inputs import Job, Source, jobs

if TYPE_CHECKING:
    from ftppool.drivers.base import FileOps

__all__ = ["job_of", "put"]


def job_of(source: Source, remote: str) -> Job:
    """Read one source.

    Raises:
        ConfigError: It is a directory.
    """
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):
        raise ConfigError(f"{os.fspath(source)} is a directory; send it with upload_batch()")
    job = next(jobs([(source, remote)]))
    assert isinstance(job, Job)
    return job


def put(files: FileOps, source: Source, path: str) -> int:
    """Send it whole, once, without retries; the bytes sent.

    Raises:
        FTPPoolError: It did not arrive.
    """
    job = job_of(source, path)
    if job.error is not None:
        raise job.error
    bring_in("ftppool.transfer.upload")
    from ftppool.transfer.directories import Directories
    from ftppool.transfer.options import Shared, UploadOptions
    from ftppool.transfer.upload import Upload

    upload = Upload(
        job.remote,
        job.open,
        job.size,
        options=UploadOptions(),
        shared=Shared(Directories()),
        on_bytes=lambda _sent: None,
    )
    try:
        upload.attempt(files)
    except BaseException:
        with contextlib.suppress(FTPPoolError):
            upload.clean_up(files)
        raise
    return upload.sent
