"""A batch that ends before its time does so soon, says what became of all, and leaves nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftppool import Status, TransferError, upload_batch
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
