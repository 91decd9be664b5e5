"""A batch that ends before its time does so soon, says what became of all, and leaves nothing."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftppool import BatchReport, FTPPool, Outcome, Status, TransferError, upload_batch
from ftppool.inputs import Input
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import Server

SOON = 30.0
"""Seconds: the time for running files, for goodbyes, and for a busy machine; far less than HANG."""
HANG = 100.0


@pytest.fixture
def ftp(start: Start) -> Server:
    return start("pyftpdlib", max_per_ip=3)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def names(server: Server) -> list[str]:
    return sorted(path.name for path in server.home.iterdir())


@pytest.mark.parametrize(
    "why", [{"deadline": 2.0}, {"max_failures": 1}], ids=["deadline", "max_failures"]
)
def test_a_batch_that_is_given_up_cuts_a_file_whose_server_says_nothing(
    ftp: Server, tmp_path: Path, why: dict[str, Any]
) -> None:
    def files() -> Iterator[Input]:
        yield (b"x" * 1000, "mute")
        yield (b"y" * 1000, "mute too")
        wait_until(lambda: [path.stat().st_size for path in ftp.home.iterdir()] == [1000] * 2)
        yield tmp_path / "missing"

    with Relay(ftp.port, workdir=tmp_path, drop="226", drop_times=-1) as relay:
        url = ftp.url.replace(str(ftp.port), str(relay.port))
        began = time.monotonic()
        report = upload_batch(files(), url, io_timeout=HANG, check=False, **why)
        assert time.monotonic() - began < SOON
    assert [outcome.status for outcome in report.outcomes] == [
        Status.INTERRUPTED, Status.INTERRUPTED, Status.FAILED,
    ]  # fmt: skip
    assert report.outcomes[0].error is report.causes[0]
    assert isinstance(report.causes[0], TransferError)
    assert [outcome.left_behind for outcome in report.outcomes] == [None] * 3
    assert names(ftp) == []


class Archive:
    """Is called with outcomes, and raises something at each."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, _outcome: Outcome) -> None:
        error = self.errors[min(self.calls, len(self.errors) - 1)]
        self.calls += 1
        raise error


def end_by(server: Server, archive: Archive) -> tuple[BaseException, BatchReport]:
    """Send files until the callback ends that; what came out, and what has its name then."""
    files: list[Input] = [(b"x" * 100_000, f"f{number}") for number in range(30)]
    with FTPPool(server.url, max_per_ip=3, rate_limit=500_000) as pool:
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - the caller looks at it
            pool.upload_batch(files, on_uploaded=archive)
        assert pool.stats().leased == 0
    report: BatchReport = caught.value.report  # type: ignore[attr-defined]  # set at run time
    assert len(report.outcomes) == 30
    assert 1 <= len(report.uploaded) < 30
    assert names(server) == sorted(outcome.remote for outcome in report.uploaded)
    return caught.value, report


def test_a_callback_that_exits_at_each_file_ends_the_batch_with_its_report(ftp: Server) -> None:
    archive = Archive(SystemExit("archive is full"))
    error, report = end_by(ftp, archive)
    assert str(error) == "archive is full"
    assert archive.calls == len(report.uploaded)  # it hears of all that arrived
    assert archive.calls > 1


def test_an_exit_weighs_more_than_the_error_before_it(ftp: Server) -> None:
    error, _ = end_by(ftp, Archive(OSError("no archive"), SystemExit(3), OSError("no archive")))
    assert isinstance(error, SystemExit)
    assert error.code == 3


def test_a_second_ctrl_c_waits_for_nobody_and_the_report_says_so(
    ftp: Server, tmp_path: Path
) -> None:
    with Relay(ftp.port, workdir=tmp_path, drop="226", drop_times=-1) as relay:
        url = ftp.url.replace(str(ftp.port), str(relay.port))
        pool = FTPPool(url, io_timeout=HANG, close_timeout=3)
        interrupts = [threading.Timer(after, _thread.interrupt_main) for after in (1.5, 2.0)]
        with pool:
            for interrupt in interrupts:
                interrupt.start()
            with pytest.raises(KeyboardInterrupt) as caught:
                pool.upload_batch([(b"x" * 1000, "mute")])
            assert pool.stats().leased == 1  # nobody has waited for the time to end by itself
        for interrupt in interrupts:
            interrupt.join()
    (outcome,) = caught.value.report.outcomes  # type: ignore[attr-defined]  # set at run time
    assert outcome.status is Status.INTERRUPTED
    assert outcome.left_behind is not None
    assert names(ftp) == [Path(outcome.left_behind).name]
