"""Why there is no session: what is known at an address when a borrower asks."""

from __future__ import annotations

import time

from ftppool.board import Board
from ftppool.client import Client, holders_of
from ftppool.errors import FTPPoolError
from ftppool.failures import gave_up, held_elsewhere, no_answer, over_budget, timed_out
from ftppool.opening import Opener

__all__ = ["nothing_came", "trouble"]


def nothing_came(board: Board, opener: Opener, client: Client, timeout: float) -> FTPPoolError:
    """Say why a borrower got nothing in `timeout` seconds."""
    now = time.monotonic()
    with board.lock:
        client.totals.acquire_timeouts += 1
        ledger = board.ledger
        # A failure of long ago explains this wait only if its back-off lasted into it.
        recent = max(ledger.failed_at, ledger.not_before) >= now - timeout
        failure = ledger.last_failure if recent else None
        # What still logs in is no session: nobody can wait for its return.
        alive = any(slot.places for slot in ledger.slots)
        pause, fruitless = ledger.budget_ends() - now, ledger.last_fruitless
        holders = holders_of(ledger, now)
        effective = ledger.effective
    denied = opener.asking or client.not_before >= now - timeout
    others = client.limiter.elsewhere(str(board.address)) if denied else ""
    if alive:
        return timed_out(board.address, timeout, holders, effective, failure, others=others)
    if pause > 0 and fruitless is not None:
        return over_budget(board.address, fruitless, pause)
    if others:
        return held_elsewhere(board.address, timeout, others, failure)
    if failure is not None:
        return gave_up(failure, timeout)
    if opener.connecting:
        return no_answer(board.address, timeout)
    return timed_out(board.address, timeout, holders, effective, failure)


def trouble(board: Board, opener: Opener, client: Client) -> tuple[str, float]:
    """Why there is no (further) connection, in the server's words; "" if all is well.

    The second value is in how many seconds the next connect may be tried.
    """
    now = time.monotonic()
    with board.lock:
        ledger = board.ledger
        failure = ledger.last_failure
        until = max(ledger.not_before, client.not_before, ledger.budget_ends())
    if failure is not None:
        return failure.reply or str(failure), max(0.0, until - now)
    if opener.asking:
        return "other processes of this machine have all slots", 0.0
    return "", 0.0
