"""Outcomes, the report of a batch, and the error that carries it."""

from __future__ import annotations

import dataclasses
import json
import pickle
import traceback
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ftppool.errors import (
    AuthError,
    BatchError,
    ConfigError,
    ConnectionLost,
    FTPPoolError,
    PoolTimeout,
    RemoteRejected,
    ServerBusy,
    TransferError,
)
from ftppool.report import BatchReport, Outcome, Status
from ftppool.stats import CloseReport, Holder, PoolStats

STATS = PoolStats(
    cap=2,
    learned=None,
    effective=2,
    open=1,
    idle=1,
    leased=0,
    opening=0,
    closing=0,
    settling=0,
    waiting=0,
    opened=3,
    wait_seconds=0.5,
)
STARTED = datetime(2026, 11, 22, 3, 15, tzinfo=UTC)


def outcome(
    status: Status | str = Status.UPLOADED, source: str = "a.csv", **changes: Any
) -> Outcome:
    made = Outcome(
        source=source,
        remote=f"in/{source}",
        status=Status(status),
        size=10,
        sent=10,
        attempts=1,
        elapsed=0.25,
        verified=True,
    )
    return dataclasses.replace(made, **changes)


def report(*outcomes: Outcome, causes: tuple[FTPPoolError, ...] = ()) -> BatchReport:
    return BatchReport(outcomes, STARTED, 1.5, STATS, causes)


def rejected(words: str = "550 Permission denied") -> RemoteRejected:
    return RemoteRejected(words, code=550, reply=words, phase="STOR", address="192.0.2.1:21")


def raised(by: BatchReport) -> BatchError:
    with pytest.raises(BatchError) as caught:
        by.raise_for_failures()
    return caught.value


ALL = tuple(outcome(status, f"{status}.csv") for status in Status)


# --- the report --------------------------------------------------------------------------------


def test_each_view_has_its_own_outcomes_in_input_order() -> None:
    both = report(*ALL, *ALL)
    views = (
        both.uploaded, both.downloaded, both.skipped, both.failed, both.interrupted,
        both.not_attempted,
    )  # fmt: skip
    assert views == tuple((one, one) for one in ALL)


def test_bytes_sent_counts_every_attempt_of_every_file() -> None:
    assert report(outcome(sent=30, attempts=3), outcome("failed", sent=5)).bytes_sent == 35


@pytest.mark.parametrize("status", Status)
def test_only_files_that_arrived_or_were_skipped_are_ok(status: Status) -> None:
    good = status in {"uploaded", "downloaded", "skipped"}
    assert outcome(status).ok is good
    assert report(outcome(), outcome(status)).ok is good


def test_an_empty_batch_is_ok() -> None:
    assert report().ok
    report().raise_for_failures()


def test_a_batch_that_was_stopped_is_not_ok_even_if_all_files_arrived() -> None:
    assert not report(outcome(), causes=(PoolTimeout("deadline"),)).ok


def test_a_report_is_neither_true_nor_false() -> None:
    with pytest.raises(TypeError, match=r"use \.ok"):
        bool(report(outcome()))


def test_a_report_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        report().elapsed = 2.0  # type: ignore[misc]  # wrong on purpose
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome().error = rejected()  # type: ignore[misc]  # wrong on purpose


# --- raise_for_failures ------------------------------------------------------------------------


def test_nothing_is_raised_when_all_files_are_uploaded_or_skipped() -> None:
    report(outcome(), outcome("skipped")).raise_for_failures()


def test_the_error_holds_the_causes_and_then_each_failure_in_input_order() -> None:
    cause, first, second = AuthError("530 Login incorrect"), rejected("1"), rejected("2")
    by = report(
        outcome(),
        outcome("failed", error=first),
        outcome("interrupted"),
        outcome("failed", error=second),
        outcome("not_attempted"),
        causes=(cause,),
    )
    error = raised(by)
    assert error.exceptions == (cause, first, second)
    assert error.report is by


def test_an_error_that_many_files_share_is_held_once() -> None:
    cause = AuthError("530 Login incorrect")
    files = (outcome("not_attempted", error=cause), outcome("failed", error=cause))
    assert raised(report(*files, causes=(cause,))).exceptions == (cause,)


def test_an_interrupted_files_own_error_is_held() -> None:
    lost = ConnectionLost("cut")
    assert raised(report(outcome("interrupted", error=lost))).exceptions == (lost,)


def test_a_failure_without_a_reason_still_has_an_error_of_its_own() -> None:
    (error,) = raised(report(outcome("failed", "a.csv"))).exceptions
    assert isinstance(error, TransferError)
    assert "a.csv" in str(error)


def test_a_stop_that_left_no_error_is_told_by_one_retryable_error() -> None:
    by = report(outcome("interrupted"), outcome("not_attempted"), outcome("not_attempted"))
    error = raised(by)
    (only,) = error.exceptions
    assert isinstance(only, TransferError)
    assert "1 files under way and 2 not begun" in str(only)
    assert error.retryable


def test_the_message_counts_and_gives_the_first_failures_own_words() -> None:
    files = (outcome(), outcome("failed", "b.csv", error=rejected()), outcome("not_attempted"))
    assert raised(report(*files)).message == (
        "2 of 3 files did not arrive (1 failed, 1 not attempted); "
        "first: b.csv: 550 Permission denied"
    )


def test_the_message_does_not_name_the_source_twice() -> None:
    error = TransferError("source 'b.csv' does not exist")
    message = raised(report(outcome("failed", "b.csv", error=error))).message
    assert message.endswith("first: source 'b.csv' does not exist")


def test_the_message_gives_the_cause_before_any_file() -> None:
    files = (outcome("failed", error=rejected()),)
    message = raised(report(*files, causes=(ServerBusy("421 Too many"),))).message
    assert message == "1 of 1 files did not arrive (1 failed); first: 421 Too many"


@pytest.mark.parametrize(
    ("files", "when"), [((), "before its first file"), ((outcome(),), "after all 1 files")]
)
def test_the_message_tells_a_stop_without_a_lost_file(
    files: tuple[Outcome, ...], when: str
) -> None:
    message = raised(report(*files, causes=(AuthError("530 no"),))).message
    assert message == f"the batch was stopped {when}: 530 no"


@given(st.text(max_size=400), st.text(max_size=400), st.booleans())
def test_the_message_is_one_short_printable_line(source: str, words: str, cause: bool) -> None:
    error = rejected(words)
    by = report(outcome("failed", source, error=error), causes=(error,) if cause else ())
    message = raised(by).message
    assert len(message) <= 200
    assert len(message.splitlines()) == 1
    message.encode("utf-8")


def test_a_long_path_does_not_push_the_reason_out_of_the_message() -> None:
    error = raised(report(outcome("failed", "long/" * 100 + "b.csv", error=rejected())))
    assert error.message.endswith("long/b.csv: 550 Permission denied")


def test_a_batch_error_can_be_taken_apart_with_except_star() -> None:
    by = report(outcome("failed", error=rejected()), outcome("failed", error=ConnectionLost("x")))
    groups: list[Any] = []
    try:
        by.raise_for_failures()
    except* ConnectionLost as group:
        groups.append(group)
    except* RemoteRejected as group:
        groups.append(group)
    assert [type(group.exceptions[0]) for group in groups] == [ConnectionLost, RemoteRejected]
    assert [group.report for group in groups] == [by, by]


def test_a_batch_error_prints_with_the_words_of_its_parts() -> None:
    error = raised(report(outcome("failed", error=rejected())))
    assert "RemoteRejected: 550 Permission denied" in "".join(traceback.format_exception(error))


# --- to_dict -----------------------------------------------------------------------------------


def test_a_report_is_shown_by_its_counts() -> None:
    many = [outcome(source=f"{number}.csv") for number in range(1200)]
    assert repr(report(*many)) == "<BatchReport ok: 1,200 uploaded; 12,000 bytes in 1.5 s>"
    assert str(report()) == "<BatchReport ok: no files; 0 bytes in 1.5 s>"
    bad = report(outcome(), outcome("failed"), outcome("not_attempted"), causes=(PoolTimeout("x"),))
    counts = "1 uploaded, 1 failed, 1 not attempted"
    assert repr(bad) == f"<BatchReport not ok: {counts}; 30 bytes in 1.5 s; PoolTimeout>"


def test_bytes_that_came_are_those_of_downloads() -> None:
    fetched = outcome("downloaded", sent=30, received=30)
    found = report(fetched, outcome("failed", sent=5, received=5))
    assert (found.bytes_sent, found.bytes_received) == (35, 35)
    assert found.to_dict()["bytes_received"] == 35
    assert fetched.to_dict()["received"] == 30


def test_the_dict_is_of_version_1_and_keeps_its_keys() -> None:
    given_up = outcome("failed", error=rejected(), left_behind="in/.x.part", notes=("slow",))
    made = report(outcome(), given_up, causes=(PoolTimeout("late"),)).to_dict()
    assert json.loads(json.dumps(made)) == made
    assert made == {
        "version": 1,
        "ok": False,
        "started": "2026-11-22T03:15:00+00:00",
        "elapsed": 1.5,
        "bytes_sent": 20,
        "bytes_received": 0,
        "counts": {
            "uploaded": 1,
            "downloaded": 0,
            "skipped": 0,
            "failed": 1,
            "interrupted": 0,
            "not_attempted": 0,
        },
        "causes": [
            {
                "type": "PoolTimeout",
                "message": "late",
                "code": None,
                "reply": None,
                "phase": None,
                "address": None,
                "retryable": True,
            }
        ],
        "outcomes": [outcome().to_dict(), given_up.to_dict()],
        "stats": dataclasses.asdict(STATS),
    }


def test_an_outcomes_dict_tells_everything_about_its_error() -> None:
    made = outcome("failed", error=rejected(), left_behind="in/.x.part", notes=("slow",)).to_dict()
    assert made == {
        "source": "a.csv",
        "remote": "in/a.csv",
        "status": "failed",
        "size": 10,
        "sent": 10,
        "attempts": 1,
        "elapsed": 0.25,
        "verified": True,
        "error": {
            "type": "RemoteRejected",
            "message": "550 Permission denied",
            "code": 550,
            "reply": "550 Permission denied",
            "phase": "STOR",
            "address": "192.0.2.1:21",
            "retryable": False,
        },
        "left_behind": "in/.x.part",
        "notes": ["slow"],
        "local": None,
        "received": 0,
    }
    assert type(made["status"]) is str


def test_the_dict_gives_its_time_in_utc() -> None:
    local = STARTED.astimezone(timezone(timedelta(hours=5, minutes=30)))
    made = dataclasses.replace(report(), started=local).to_dict()
    assert made["started"] == "2026-11-22T03:15:00+00:00"


any_text = st.text(st.characters())  # lone surrogates too


@given(any_text, any_text, st.sampled_from(Status))
def test_the_dict_is_json_that_every_reader_takes(name: str, words: str, status: Status) -> None:
    error = rejected(words)
    one = outcome(status, name, error=error, left_behind=name, notes=(words,))
    made = report(one, causes=(error,)).to_dict()
    text = json.dumps(made, ensure_ascii=False).encode("utf-8")
    assert json.loads(text) == made


def test_a_name_that_is_not_unicode_is_escaped_in_the_dict() -> None:
    assert outcome(source="caf\udce9.csv").to_dict()["source"] == "caf\\udce9.csv"


# --- pickling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_report_survives_pickling_with_its_errors(protocol: int) -> None:
    busy = ServerBusy("421 Too many", code=421, reply="421 Too many", address="h:21")
    before = report(*ALL, outcome("failed", error=rejected()), causes=(busy,))
    after = pickle.loads(pickle.dumps(before, protocol))
    assert after.outcomes[: len(ALL)] == ALL
    assert after.to_dict() == before.to_dict()
    assert type(after.outcomes[-1].status) is Status


@pytest.mark.parametrize("kind", [AuthError, ConfigError, PoolTimeout, ServerBusy, TransferError])
def test_a_batch_error_survives_pickling_with_its_report(kind: type[FTPPoolError]) -> None:
    by = report(outcome("failed", error=kind("why", code=1, phase="login", retryable=True)))
    before = raised(by)
    after = pickle.loads(pickle.dumps(before))
    assert type(after) is BatchError
    assert (after.message, after.retryable) == (before.message, True)
    assert after.report.to_dict() == by.to_dict()
    assert after.exceptions[0] is after.report.outcomes[0].error


# --- stats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [STATS, Holder("worker-1", 3.5, "job.py:12 in main"), CloseReport(True, 2, 0, 0, 0.1)]
)
def test_stats_are_frozen_slotted_values_that_pickle(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(value) == hash(dataclasses.replace(value))
    assert not hasattr(value, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)


def test_every_count_of_the_present_must_be_given() -> None:
    with pytest.raises(TypeError, match="waiting"):
        PoolStats(cap=2)  # type: ignore[call-arg]  # wrong on purpose


def test_an_uncaught_batch_error_is_a_line_for_each_file() -> None:
    errors = []
    for number in range(3):
        try:
            try:
                raise OSError(f"inner {number}")
            except OSError as inner:
                raise TransferError(f"file {number} is lost") from inner
        except TransferError as error:
            errors.append(error)
    batch = report(*(outcome(status=Status.FAILED, error=error) for error in errors))
    with pytest.raises(BatchError) as caught:
        batch.raise_for_failures()
    words = "".join(traceback.format_exception(caught.value))
    assert words.count("Traceback (most recent call last)") == 1
    assert "direct cause" not in words
    assert all(f"TransferError: file {number} is lost\n" in words for number in range(3))
    assert "sub-exception" not in str(caught.value)
    # What it came from is there for whoever looks.
    assert isinstance(caught.value.exceptions[0].__context__, OSError)
    lost: list[str] = []
    try:
        batch.raise_for_failures()
    except* TransferError as group:
        lost += map(str, group.exceptions)
    assert len(lost) == 3


def test_a_headline_names_the_failure_and_not_what_was_held_back_for_it() -> None:
    held = TransferError("not begun, as it goes last and not all other files arrived")
    batch = report(
        outcome(source="done.ok", status=Status.NOT_ATTEMPTED, error=held),
        outcome(source="a.csv", status=Status.FAILED, error=TransferError("550 No room")),
    )
    with pytest.raises(BatchError, match=r"first: a\.csv: 550 No room"):
        batch.raise_for_failures()
