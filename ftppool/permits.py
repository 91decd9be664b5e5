"""Gives the limiters' permits back, with the time at which the server will have noticed the close.

The slots settle meanwhile (:mod:`ftppool.settling`): whoever wants one looks at the clock, in this
process as in others.
"""

from __future__ import annotations

from ftppool.board import Board, client_of
from ftppool.logs import log
from ftppool.slots import Slot, State

__all__ = ["ended", "let_go", "let_settle"]


def ended(board: Board) -> list[Slot]:
    """The slots that settle and still have their permit. Needs the lock."""
    return [
        slot
        for slot in board.ledger.slots
        if slot.state is State.SETTLING and slot in board.permits
    ]


def let_settle(board: Board, slots: list[Slot]) -> None:
    """Give the permits back of slots that settle: nobody has to be there at the end of that."""
    for slot in slots:
        # First given back, then forgotten: close() returns once it is not among them any more.
        permit = board.permits.get(slot)
        try:
            if permit is not None:
                permit.release(slot.settled_at)
        except Exception:  # noqa: BLE001 - the dispatcher must outlive a user's limiter
            log.exception(
                "ftppool: the limiter failed to take a permit back", address=str(board.address)
            )
        finally:
            board.permits.pop(slot, None)


def let_go(board: Board, slots: list[Slot]) -> None:
    """See that slots which are free again have no permit, and let the ledger forget them."""
    let_settle(board, [slot for slot in slots if slot in board.permits])
    with board.lock:
        ledger = board.ledger
        ledger.freed = [slot for slot in ledger.freed if slot not in slots]
    for client in map(client_of, slots):
        if client.listening and not client.closed:
            from ftppool.events import SessionSettled

            client.emit(SessionSettled(pool=client.name, address=str(board.address)))
