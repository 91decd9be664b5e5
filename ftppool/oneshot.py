"""``upload_batch()``: a whole batch in one call, with a pool of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from ftppool.inputs import Input
from ftppool.options import PoolOptions, check_options
from ftppool.patterns import Patterns
from ftppool.pool import FTPPool
from ftppool.report import BatchReport, Outcome
from ftppool.target import Target
from ftppool.transfer.options import Conflict, Verify
from ftppool.transfer.parts import PART_NAME

if TYPE_CHECKING:
    from ftppool.events import Event
    from ftppool.progress import Progress

__all__ = ["upload_batch"]


def upload_batch(
    files: Iterable[Input],
    target: str | Target,
    *,
    max_per_ip: int = 2,
    workers: int | None = None,
    atomic: bool = True,
    verify: Verify = "size",
    on_conflict: Conflict = "overwrite",
    makedirs: bool = True,
    preserve_mtime: bool = False,
    resume: bool = False,
    part_name: str = PART_NAME,
    journal: str | os.PathLike[str] | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
    last: Patterns = (),
    on_uploaded: Callable[[Outcome], object] | None = None,
    deadline: float | None = None,
    max_failures: int | None = None,
    on_event: Callable[[Event], object] | None = None,
    progress: bool | Callable[[Progress], object] | None = None,
    check: bool = True,
    **pool_options: Unpack[PoolOptions],
) -> BatchReport:
    """Send files to a server and return when each is there, or is known not to be.

    Each file is sent to a part name in its directory, its size is compared with what the server
    says, and only then it takes its name. Never more than ``max_per_ip`` connections are open, and
    all of them are ended with QUIT.

    A file that fails for a passing reason goes back to the queue; a lost connection counts as one
    of its ``retry.attempts`` only if no other file arrived meanwhile. Refused logins, quotas and
    full disks end the batch at once, since every other file would meet them too.

    Patterns are globs: ``*`` and ``?`` stand for characters other than ``/``, ``[abc]`` and
    ``[!abc]`` for one of or none of some, ``**`` as a whole part of a path for any number of
    directories. One without ``/`` matches a name at any depth; one with ``/`` matches the whole
    remote path below the batch's directory; ``/`` at its end: directories only. What matches a
    directory matches everything below it. Case matters.

    Args:
        files: Paths, or ``(source, remote_path)`` pairs; a source is a path, bytes, or a callable
            that opens a binary file. A directory goes with everything below it under its own name,
            as with ``cp -r``; ``.`` and ``dir/`` mean the contents. A ``remote_path`` is sent
            as it is: if it is absolute or has ``..``, it may lead out of the target's directory.
        target: ``"ftp://user:password@host/directory"``; the path is relative to the login
            directory, ``//x`` is absolute.
        max_per_ip: Connections that the server may see at any instant (default 2).
        workers: Files sent at a time (default ``max_per_ip``, for SFTP times ``channels``).
        atomic: Send each file to a part name first, and rename (default True).
        verify: ``"size"`` (default): the server names the right size; ``"hash"``: the right digest
            too, which it may take long to compute; or ``"none"``.
        on_conflict: ``"overwrite"`` (default), ``"skip"``, ``"skip_same"`` (skip it if size and
            time are the same; use it with `preserve_mtime`) or ``"fail"``.
        makedirs: Make missing directories (default True).
        preserve_mtime: Give each file the time of its source (default False); where the server sets
            no times, the outcome's ``notes`` say so.
        resume: After a lost connection, go on where the server proves that its part ends
            (default False: from the beginning of the source). With `journal` also after this
            process was killed, if the source is still the same.
        part_name: What a file is called until it has its name (default ``".{name}.{token}.part"``);
            ``{name}`` and ``{token}`` must be in it. Where the server refuses the dot at its
            beginning, it goes without.
        journal: A file on a local disk that remembers what has arrived until a batch ends complete:
            after a crash or a failure the next run with it goes on there. A source counts as the
            same one by its remote and absolute local path, size, modification time and inode;
            bytes by their SHA-256; a callable only as :class:`~ftppool.Keyed`, else it is sent
            again. One batch uses it at a time, and it is for one target.
        include: A pattern or several: only what matches is part of the batch.
        exclude: A pattern or several: what matches is not, even if it is included.
        last: Patterns of files that go after all others, such as ``["done.ok"]``, one pattern
            after another. They are not begun unless every file before them was uploaded or
            skipped and every empty directory made; their outcome is then ``not_attempted``.
        on_uploaded: Called in this thread with the outcome of each uploaded file, to archive its
            source; with a journal at least once, and also for a file (then ``skipped``) that an
            earlier run sent but did not tell. An exception from it ends the batch like one from
            ``files``.
        deadline: Seconds for the whole batch; then it is stopped as by Ctrl-C, and the report's
            ``causes`` say so. An input that blocks delays that.
        max_failures: So many failed files end the batch (default: none do).
        on_event: Called with each :class:`~ftppool.events.Event`.
        progress: True shows how far it is: on a terminal (stderr) a block of three lines, redrawn
            five times a second, that ends as one; else a line in the log (INFO) every 30 s. Or a
            function that is called in this thread with a :class:`~ftppool.Progress` five times a
            second and once at the end, while this thread does not wait for ``files``.
        check: Raise :class:`~ftppool.BatchError` unless every file was uploaded or skipped.
        **pool_options: As for :class:`FTPPool`: ``user``, ``password``, time-outs in seconds …

    Returns:
        The report, with one outcome for each file in input order.

    Raises:
        BatchError: Files did not arrive and ``check`` is true; it has the report.
        ConfigError: An argument is wrong; the message says what to write.
    """
    check_options(pool_options)
    pool = FTPPool(target, max_per_ip=max_per_ip, on_event=on_event, **pool_options)
    # An error reporter that shows the variables of all frames must find no password here.
    target = pool.name
    pool_options = {}
    with pool:
        report = pool.upload_batch(
            files,
            workers=workers,
            atomic=atomic,
            verify=verify,
            on_conflict=on_conflict,
            makedirs=makedirs,
            preserve_mtime=preserve_mtime,
            resume=resume,
            part_name=part_name,
            journal=journal,
            include=include,
            exclude=exclude,
            last=last,
            on_uploaded=on_uploaded,
            deadline=deadline,
            max_failures=max_failures,
            progress=progress,
            check=False,
        )
    report = replace(report, stats=pool.stats())  # with every session closed and counted
    if check:
        report.raise_for_failures()
    return report
