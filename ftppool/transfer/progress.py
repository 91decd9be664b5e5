"""How far a file has come."""

from __future__ import annotations

__all__ = ["Progress"]


class Progress:
    """What every transfer knows of itself; see :class:`ftppool.backlog.Transfer`."""

    def __init__(self) -> None:
        self.sent: int = 0
        self.size: int | None = None
        self.verified: bool | None = None
        self.skipped: bool = False
        self.left_behind: str | None = None
        self.notes: list[str] = []
