"""The end of one upload and the beginning of the next in the same round trips."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from ftppool.drivers.steps import Chains, NotGrouped, Start, Tail
from ftppool.errors import (
    ConnectionLost,
    FTPPoolError,
    RemoteRejected,
    TransferError,
    VerifyError,
)
from ftppool.transfer.upload import REFUSED_NAME, Upload

__all__ = ["OneAtATime", "overlap"]


class OneAtATime(Exception):
    """Nothing has failed, but the rest of this upload is to be done by ``Upload.attempt()``."""


def overlap(
    files: Chains, before: Upload | None, after: Upload | None, done: Callable[[], None]
) -> tuple[Exception | None, Exception | None]:
    """End the upload `before`, whose bytes have arrived, and send the bytes of `after`.

    The end of `after` is then still to come: it is the `before` of the next call.

    Args:
        done: Called as soon as `before` has its name, which may be long before the return.

    Returns:
        What was wrong with either: None, an error, or :class:`OneAtATime`.
    """
    start, failure = None, None
    if after is not None:
        try:
            start = _start(after)
        except Exception as error:  # noqa: BLE001 - of the user's source, whatever it is
            failure = error

    def on_end() -> None:
        if before is not None and tail is not None:
            _ended(before, tail)
            done()

    tail = None if before is None else _tail(before, on_end)
    if tail is not None or start is not None:
        try:
            files.step(tail, start)
        finally:
            if start is not None:
                with contextlib.suppress(Exception):  # all that counts has been read
                    start.source.close()
    ended = None if before is None or tail is None else _ended(before, tail)
    began = failure if after is None or start is None else _began(after, start)
    return ended, began


def _start(upload: Upload) -> Start:
    source = upload.open_source()
    options, shared = upload.options, upload.shared
    return Start(
        path=upload.part,
        final=upload.remote,
        directories=shared.directories.missing(upload.part) if options.makedirs else (),
        probe=None if options.on_conflict == "overwrite" else upload.remote,
        admit=None if options.on_conflict == "overwrite" else lambda *found: _admit(upload, *found),
        source=source,
        on_bytes=upload.counter(),
    )


def _admit(upload: Upload, there: int | None, reply: str) -> bool:
    """Tell if the file may be sent, from what the server says of its name."""
    if there is not None and upload.options.on_conflict != "skip_same":
        upload.shared.tells_sizes = True
        return not upload.defended()
    if upload.shared.tells_sizes and reply[:1] == "5":
        return True
    raise OneAtATime  # "no" may mean many things


def _began(upload: Upload, start: Start) -> Exception | None:
    error = start.error
    if start.refused:
        upload.skipped = True
        return None
    if start.accepted or start.stored:
        upload.taken()
        upload.left_behind = upload.part
        upload.shared.directories.note(upload.directory)
    elif start.sent:
        if isinstance(error, RemoteRejected):
            upload.sent -= start.sent  # into a connection that nobody has read from
        else:
            upload.left_behind = upload.part
    if start.stored:
        try:
            upload.check_length(start.sent)
        except TransferError as changed:
            return changed
    if start.complete and (start.stored or isinstance(error, ConnectionLost)):
        upload.size = start.sent
    return _said(upload, error, serial=not start.accepted)


def _tail(upload: Upload, on_end: Callable[[], None]) -> Tail:
    options = upload.options
    proof = options.verify != "none" and not upload.shared.sizeless and not upload.stored
    return Tail(
        path=upload.part,
        final=upload.remote if options.atomic else None,
        size=upload.size if proof else None,
        modified=upload.modified if options.preserve_mtime and not upload.stored else None,
        on_end=on_end,
    )


def _ended(upload: Upload, tail: Tail) -> Exception | None:
    options = upload.options
    if tail.proved:
        upload.proved()
    if tail.sizeless:
        upload.unproved()
    proved = tail.proved or tail.sizeless or tail.size is None
    if not isinstance(tail.error, NotGrouped):
        upload.stored = upload.stored or proved
    upload.renaming = upload.renaming or tail.renaming
    if tail.ended and upload.left_behind is not None:
        upload.left_behind = None
        if tail.undated:
            upload.undated()
        elif options.preserve_mtime and upload.modified is None:
            upload.timeless()
    return _said(upload, tail.error, serial=tail.renaming)


def _said(upload: Upload, error: Exception | None, *, serial: bool) -> Exception | None:
    """Turn what the driver reports into what is to be done about it."""
    if error is None:
        return None
    if isinstance(error, NotGrouped):
        return OneAtATime()
    if isinstance(error, RemoteRejected) and serial and error.code in REFUSED_NAME:
        return OneAtATime()  # a directory is missing, a dot in the way, a file has the name …
    if isinstance(error, VerifyError):
        upload.distrust()
    if isinstance(error, FTPPoolError):
        upload.speak_of_the_file(error)
    return error
