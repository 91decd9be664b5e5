"""Puts one file in the place of another, on any server, and never loses both."""

from __future__ import annotations

import contextlib

from ftppool.drivers.base import FileOps
from ftppool.errors import FTPPoolError, RemoteRejected
from ftppool.transfer.parts import part_path

__all__ = ["exists", "replace"]

OLD_NAME = "{name}.{token}.old"


def exists(files: FileOps, path: str) -> bool:
    """True if the server knows a file of this name."""
    try:
        return files.size(path) is not None
    except RemoteRejected as error:
        if error.retryable:
            raise
        return False


def replace(files: FileOps, new: str, target: str) -> bool:
    """Rename `new` to `target`, over an existing file.

    Where the server refuses to rename over a file, the old one steps aside under another name first
    and is deleted last, so that it can come back if `new` is refused for another reason.

    Returns:
        True if the old file had to step aside: for a moment there was none of the name.

    Raises:
        RemoteRejected: The server refuses; the old file is in its place.
    """
    try:
        files.rename(new, target)
    except RemoteRejected as refusal:
        if refusal.retryable or not exists(files, target) or not exists(files, new):
            raise
        old = part_path(target, OLD_NAME)
        try:
            files.rename(target, old)
        except RemoteRejected:
            raise refusal from None  # it renames nothing at all
        try:
            files.rename(new, target)
        except FTPPoolError:
            files.rename(old, target)
            raise
        with contextlib.suppress(RemoteRejected):
            files.remove(old)
        return True
    return False
