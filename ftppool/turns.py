"""Where connections wait for their turn to log in; see :mod:`ftppool.logins`."""

from __future__ import annotations

from ftppool.bell import Bell
from ftppool.board import Board, client_of
from ftppool.slots import Slot

__all__ = ["Turns"]

SLICE = 0.5
"""Seconds between two looks of a connection that waits for its turn to log in: what a lost wake-up
costs at most."""


class Turns:
    """The threads of a gate that hold a login back.

    ``_waiting``, the bells of those that wait, needs no lock: each use is one atomic step.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._waiting: dict[Slot, Bell] = {}

    def wait(self, slot: Slot) -> bool:
        """Wait until a connection may log in; False if it is to end without a login."""
        bell = self._waiting[slot] = Bell()
        try:
            while (granted := self._may_log_in(slot)) is None:
                bell.wait(SLICE)
        finally:
            self._waiting.pop(slot, None)
        return granted

    def _may_log_in(self, slot: Slot) -> bool | None:
        with self._board.lock:
            granted = self._board.ledger.may_log_in(slot)
        return False if granted is None and client_of(slot).broken_off else granted

    def look_again(self) -> None:
        """Wake those that wait: something may have changed."""
        for bell in list(self._waiting.values()):
            bell.ring()
