"""The fields of log records, and which events become records."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import ftppool
from ftppool import events
from ftppool.errors import RemoteRejected
from ftppool.eventlog import log_event
from ftppool.logs import FIELDS, log
from ftppool.report import BatchReport, Outcome, Status
from ftppool.stats import PoolStats
from tests.conftest import Start

A = "192.0.2.1:21"
STATS = PoolStats(
    cap=2, learned=None, effective=2, open=0, idle=0, leased=0, opening=0, closing=0, settling=0,
    waiting=0,
)  # fmt: skip
REPORT = BatchReport(outcomes=(), started=datetime.now(UTC), elapsed=1.0, stats=STATS)


def outcome(status: Status) -> Outcome:
    error = RemoteRejected(
        "x: 550 no", code=550, reply="550 no", phase="transfer", address=A, retryable=False
    )
    return Outcome(
        source="x", remote="in/x", status=status, size=3, sent=3, attempts=2, elapsed=0.5,
        verified=None, error=error if status is Status.FAILED else None,
    )  # fmt: skip


LOGGED: list[tuple[events.Event, int, str]] = [
    (events.SessionOpening(pool="p", address=A), logging.DEBUG, "is being opened"),
    (events.SessionOpened(pool="p", address=A, elapsed=0.1), logging.INFO, "was opened in 0.10 s"),
    (
        events.SessionRefused(pool="p", address=A, reply="421 full", effective=1, wait=2.0),
        logging.INFO,
        "next try in 2.0 s: 421 full",
    ),
    (events.ConnectFailed(pool="p", address=A, error="gone", wait=1.0), logging.WARNING, "gone"),
    (events.ConnectFailed(pool="p", address=A, error="gone", wait=0.0), logging.INFO, "gone"),
    (events.SessionClosed(pool="p", address=A, politely=True), logging.INFO, "was ended"),
    (events.SessionClosed(pool="p", address=A, politely=False), logging.INFO, "was cut"),
    (events.SessionSettled(pool="p", address=A), logging.DEBUG, "is free"),
    (events.SlotWaiting(pool="p", address=A, ahead=3), logging.DEBUG, "behind 3 others"),
    (
        events.SlotWaitFailed(pool="p", address=A, waited=1.0, error="nothing came free"),
        logging.DEBUG,
        "nothing came free",
    ),
    (events.SessionLent(pool="p", address=A, waited=0.5), logging.DEBUG, "lent after 0.500 s"),
    (
        events.SessionReturned(pool="p", address=A, used=0.5, kept=True),
        logging.DEBUG,
        "came back after 0.500 s",
    ),
    (
        events.FileStarted(pool="p", source="x", remote="in/x", attempt=2),
        logging.DEBUG,
        "attempt 2 at in/x",
    ),
    (
        events.Retrying(pool="p", remote="in/x", attempt=1, wait=0.5, error="lost"),
        logging.WARNING,
        "next one in 0.5 s: lost",
    ),
    (events.FileDone(pool="p", outcome=outcome(Status.UPLOADED)), logging.DEBUG, "in/x uploaded"),
    (
        events.FileDone(pool="p", outcome=outcome(Status.FAILED)),
        logging.ERROR,
        "in/x failed: x: 550 no",
    ),
    (events.BatchDone(pool="p", report=REPORT), logging.INFO, "0 of 0 files"),
]
SILENT = {
    "Event", "FileQueued", "FileProgress", "LeakSuspected", "LeakResolved", "LeaseLost",
}  # fmt: skip
"""The base, what comes too often, and leaks, which are told with the lines that took the lease."""


@pytest.mark.parametrize(("event", "level", "words"), LOGGED)
def test_an_event_is_a_record_with_its_fields(
    event: events.Event, level: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "ftppool"):
        log_event(event)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("ftppool", level)
    assert words in record.getMessage()
    fields = {name: getattr(record, f"ftppool_{name}") for name in FIELDS}
    assert fields["event"] == type(event).__name__
    assert fields["pool"] == "p"
    if hasattr(event, "address"):
        assert fields["address"] == A


def test_every_event_is_logged_or_known_to_be_silent() -> None:
    assert {type(event).__name__ for event, _, _ in LOGGED} | SILENT == {*events.__all__}


def test_a_failed_files_record_has_what_its_error_has(caplog: pytest.LogCaptureFixture) -> None:
    log_event(events.FileDone(pool="p", outcome=outcome(Status.FAILED)))
    (record,) = caplog.records
    told = {name: getattr(record, f"ftppool_{name}") for name in FIELDS}
    assert told == {
        "event": "FileDone", "pool": "p", "address": A, "phase": "transfer", "code": 550,
        "reply": "550 no", "remote": "in/x", "status": "failed", "attempt": 2, "seconds": 0.5,
        "wait": None,
    }  # fmt: skip


def test_nothing_of_ours_is_logged_without_the_fields() -> None:
    package = Path(str(ftppool.__file__)).parent
    asking = [
        path.name
        for path in package.rglob("*.py")
        # The commands only add handlers.
        if path.parent.name != "cli" and "getLogger(" in path.read_text()
    ]
    assert asking == ["logs.py"]


def test_a_record_that_says_nothing_has_all_fields_too(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("ftppool: something")
    (record,) = caplog.records
    assert [getattr(record, f"ftppool_{name}") for name in FIELDS] == [None] * len(FIELDS)
    assert record.funcName == "test_a_record_that_says_nothing_has_all_fields_too"


def test_what_no_log_file_can_hold_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    name = "a\x1b[2J\udcff\ud800"
    log_event(events.Retrying(pool="p", remote=name, attempt=1, wait=0.5, error=f"550 {name}"))
    log.warning("ftppool: %s: %s", name, RemoteRejected(name))
    for record in caplog.records:
        assert record.getMessage().count(r"a\x1b[2J\xff\ud800") == 2
        assert record.getMessage().isprintable()
    assert caplog.records[0].ftppool_remote == r"a\x1b[2J\xff\ud800"  # type: ignore[attr-defined]  # a field of ours


@pytest.mark.parametrize(
    ("set_up", "printed"),
    [("", ""), ("logging.basicConfig()", "ERROR:ftppool:ftppool: in/x failed: x: 550 no\n")],
)
def test_a_script_that_has_set_up_no_logging_gets_no_line_for_an_event(
    set_up: str, printed: str
) -> None:
    script = f"""
import logging
from tests.unit.test_logs import Status, events, log_event, outcome
{set_up}
log_event(events.FileDone(pool="p", outcome=outcome(Status.FAILED)))
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stderr == printed


def test_nobody_hears_of_a_session_where_no_log_is_set_up(start: Start) -> None:
    """Not even at DEBUG; and a thread of the gate would be the first to import the events."""
    server = start("pyftpdlib", max_per_ip=3)
    script = f"""
import logging, sys
import ftppool
logging.getLogger("ftppool").setLevel(logging.DEBUG)
with ftppool.FTPPool({server.url!r}) as pool, pool.acquire():
    pass
assert "ftppool.events" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
