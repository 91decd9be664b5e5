"""Events as log records: which level each has, and its sentence."""

from __future__ import annotations

import logging

from ftppool.events import (
    BatchDone,
    ConnectFailed,
    Event,
    FileDone,
    FileStarted,
    Retrying,
    SessionClosed,
    SessionLent,
    SessionOpened,
    SessionOpening,
    SessionRefused,
    SessionReturned,
    SessionSettled,
    SlotWaitFailed,
    SlotWaiting,
)
from ftppool.logs import log
from ftppool.report import Outcome, Status

__all__ = ["log_event"]


def log_event(event: Event) -> None:
    """Write an event down at the level that :mod:`ftppool.logs` names.

    Leaks are told with their stacks elsewhere; progress is not logged. Nothing is written where
    nobody has set up logging: Python would print warnings and errors on stderr, and what they say
    is in the report or in an exception.
    """
    level = _LEVELS.get(type(event), logging.NOTSET)
    if isinstance(event, FileDone) and event.outcome.status is Status.FAILED:
        level = logging.ERROR
    elif isinstance(event, ConnectFailed) and event.wait:
        level = logging.WARNING
    if level and log.isEnabledFor(level) and log.hasHandlers():
        _session(event, level) if hasattr(event, "address") else _file(event, level)


_LEVELS: dict[type[Event], int] = {
    SessionOpening: logging.DEBUG,
    SessionOpened: logging.INFO,
    SessionRefused: logging.INFO,
    ConnectFailed: logging.INFO,
    SessionClosed: logging.INFO,
    SessionSettled: logging.DEBUG,
    SlotWaiting: logging.DEBUG,
    SlotWaitFailed: logging.DEBUG,
    SessionLent: logging.DEBUG,
    SessionReturned: logging.DEBUG,
    FileStarted: logging.DEBUG,
    FileDone: logging.DEBUG,
    Retrying: logging.WARNING,
    BatchDone: logging.INFO,
}


def _session(event: Event, level: int) -> None:
    kind, pool = type(event).__name__, event.pool
    address: str | None = getattr(event, "address", None)
    seconds: float | None = None
    wait: float | None = None
    reply: str | None = None
    match event:
        case SessionOpening():
            words = f"a session to {address} is being opened"
        case SessionOpened():
            seconds = event.elapsed
            words = f"a session to {address} was opened in {seconds:.2f} s"
        case SessionRefused():
            wait, reply = event.wait, event.reply.replace("\n", " / ")
            words = f"{address} refuses more connections, next try in {wait:.1f} s: {reply}"
        case ConnectFailed():
            wait = event.wait
            words = event.error + (f" (next try in {wait:.1f} s)" if wait else "")
        case SessionClosed():
            words = f"a session to {address} was {'ended' if event.politely else 'cut'}"
        case SessionSettled():
            words = f"a slot at {address} is free"
        case SlotWaiting():
            words = f"{pool}: waiting for a session to {address}, behind {event.ahead} others"
        case SlotWaitFailed():
            seconds, words = event.waited, event.error
        case SessionLent():
            seconds = event.waited
            words = f"{pool}: a session to {address} was lent after {seconds:.3f} s"
        case SessionReturned():
            seconds = event.used
            words = f"{pool}: a session to {address} came back after {seconds:.3f} s"
        case _:
            return
    log.log(
        level, "ftppool: %s", words,
        event=kind, pool=pool, address=address, seconds=seconds, wait=wait, reply=reply,
    )  # fmt: skip


def _file(event: Event, level: int) -> None:
    kind, pool = type(event).__name__, event.pool
    match event:
        case FileStarted():
            log.log(
                level, "ftppool: attempt %d at %s begins", event.attempt, event.remote,
                event=kind, pool=pool, remote=event.remote, attempt=event.attempt,
            )  # fmt: skip
        case Retrying():
            log.log(
                level, "ftppool: attempt %d at %s failed, next one in %.1f s: %s",
                event.attempt, event.remote, event.wait, event.error,
                event=kind, pool=pool, remote=event.remote, attempt=event.attempt, wait=event.wait,
            )  # fmt: skip
        case FileDone():
            _outcome(event, event.outcome, level)
        case BatchDone():
            report = event.report
            log.log(
                level, "ftppool: %s: %d of %d files are where they should be, after %.1f s",
                pool, sum(outcome.ok for outcome in report.outcomes), len(report.outcomes),
                report.elapsed,
                event=kind, pool=pool, seconds=report.elapsed,
            )  # fmt: skip
        case _:
            pass


def _outcome(event: FileDone, outcome: Outcome, level: int) -> None:
    error = outcome.error
    words = "" if error is None else f": {error}"
    log.log(
        level, "ftppool: %s %s%s", outcome.remote, outcome.status.replace("_", " "), words,
        event=type(event).__name__,
        pool=event.pool,
        address=None if error is None else error.address,
        phase=None if error is None else error.phase,
        code=None if error is None else error.code,
        reply=None if error is None else error.reply,
        remote=outcome.remote,
        status=outcome.status.value,
        attempt=outcome.attempts,
        seconds=outcome.elapsed,
    )  # fmt: skip
