"""Puts one file in the place of another, on any server, and never loses both."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from ftppool.drivers.base import FileOps
from ftppool.errors import RemoteRejected

__all__ = ["OLD_NAME", "come_back", "exists", "put_back", "remove", "replace"]

OLD_NAME = "{name}.{token}.old"


def exists(files: FileOps, path: str, *, unsure: bool = False) -> bool:
    """True if the server knows a file of this name; `unsure` if it does not tell."""
    try:
        if files.size(path) is not None:
            return True
    except RemoteRejected as error:
        if error.retryable:
            raise
        return False
    directory, name = posixpath.split(path)
    try:
        return any(entry.name == name for entry in files.scan(directory))  # it has no SIZE
    except RemoteRejected as error:
        if error.retryable:
            raise
        return unsure


def replace(
    files: FileOps,
    new: str,
    target: str,
    aside: str,
    on_aside: Callable[[], None] = lambda: None,
) -> bool:
    """Rename `new` to `target`, over an existing file.

    Where the server refuses to rename over a file, the old one steps aside to the name `aside`
    first, so that it can come back if `new` is refused for another reason: see :func:`come_back`.

    Args:
        on_aside: Called when the old file is about to do that.

    Returns:
        True if the old file had to step aside; it is still there and is to be removed.

    Raises:
        RemoteRejected: The server refuses; the old file is in its place.
        ConnectionLost: The old file may be at either name.
    """
    try:
        files.rename(new, target)
    except RemoteRejected as refusal:
        if refusal.retryable or not exists(files, target) or not exists(files, new):
            raise
        on_aside()
        try:
            files.rename(target, aside)
        except RemoteRejected:
            raise refusal from None  # it renames nothing at all
        try:
            files.rename(new, target)
        except RemoteRejected:
            come_back(files, target, aside)
            raise
        return True
    return False


def come_back(files: FileOps, target: str, aside: str) -> None:
    """Put the old file in its place again, if it stepped aside and nothing took its name."""
    if not exists(files, target) and exists(files, aside):
        files.rename(aside, target)


def put_back(files: FileOps, path: str, aside: str) -> None:
    """Bring back, or remove if there is a new one, a file that an earlier run had step aside."""
    if exists(files, aside):
        come_back(files, path, aside)
        remove(files, aside)


def remove(files: FileOps, path: str) -> None:
    """Remove a file if it is there and ours to remove."""
    try:
        files.remove(path)
    except RemoteRejected as error:
        if error.retryable:
            raise
        # It is not there, or not ours to remove: nothing that another try would change.
