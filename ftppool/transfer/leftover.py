"""What an upload of an earlier run may have left on the server."""

from __future__ import annotations

from typing import NamedTuple

from ftppool.drivers.base import FileOps
from ftppool.errors import TransferError
from ftppool.transfer.parts import part_path
from ftppool.transfer.replace import OLD_NAME, exists, put_back, remove

__all__ = ["LeftOver", "TidyUp"]


class LeftOver(NamedTuple):
    """An upload that a journal has as begun and not as ended.

    Attributes:
        remote: The path that the file was to have, as the server takes it.
        token: What tells its part from others.
        pattern: How the name of the part was made.
        source: Tells if a source is the same one; None if nothing can.
    """

    remote: str
    token: str
    pattern: str
    source: object = None


class TidyUp:
    """The steps that make it undone: see :class:`ftppool.backlog.Transfer`."""

    def __init__(self, left: LeftOver) -> None:
        self.sent: int = 0
        self.size: int | None = None
        self.verified: bool | None = None
        self.skipped: bool = False
        self.left_behind: str | None = None
        self.notes: list[str] = []
        self._left = left

    def attempt(self, files: FileOps) -> None:
        """Remove the part, and bring back or remove the file that stepped aside for it."""
        left = self._left
        for dotless in (False, True):
            part = part_path(left.remote, left.pattern, dotless=dotless, token=left.token)
            remove(files, part)
            if exists(files, part):
                raise TransferError(f"{part}: the server does not remove it", phase="command")
        put_back(files, left.remote, part_path(left.remote, OLD_NAME, token=left.token))

    def clean_up(self, files: FileOps) -> None:
        """There is nothing half-done but what it was made for."""
