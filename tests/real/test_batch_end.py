"""A batch that ends before its time does so soon, says what became of all, and leaves nothing."""

from __future__ import annotations

import _thread
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftppool import BatchReport, FTPPool, Outcome, Status, TransferError, upload_batch
from ftppool.events import Event, FileProgress
from ftppool.inputs import Input
from ftppool.opening import LOGIN, SILENCE
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.scripted import Scripted
from tests.support.servers import ALL_KINDS, Server

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
    """Is called with outcomes, and raises something at each, for the first time late."""

    def __init__(self, server: Server, *errors: BaseException) -> None:
        self.server = server
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, _outcome: Outcome) -> None:
        wait_until(lambda: len([name for name in names(self.server) if name[0] != "."]) >= 4)
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
    archive = Archive(ftp, SystemExit("archive is full"))
    error, report = end_by(ftp, archive)
    assert str(error) == "archive is full"
    assert archive.calls == len(report.uploaded)  # it hears of all that arrived
    assert archive.calls >= 4


def test_an_exit_weighs_more_than_the_error_before_it(ftp: Server) -> None:
    archive = Archive(ftp, OSError("no archive"), SystemExit(3), OSError("no archive"))
    error, _ = end_by(ftp, archive)
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


class Exits:
    """A source that ends the program, as it thinks, after its first bytes."""

    def __init__(self) -> None:
        self.left = [b"x" * 1000]

    def read(self, _size: int = -1) -> bytes:
        if not self.left:
            sys.exit("the database is gone")
        return self.left.pop()

    def close(self) -> None: ...


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_source_that_exits_ends_the_batch_and_leaves_no_part(start: Start, kind: str) -> None:
    server = start(kind)
    # The type checker: Exits is no BinaryIO.
    files: list[Input] = [(b"a", "a"), (Exits, "b"), (b"c", "c")]  # type: ignore[list-item]
    report = upload_batch(files, server.url, max_per_ip=1, workers=1, check=False)
    assert [outcome.status for outcome in report.outcomes] == [
        Status.UPLOADED, Status.FAILED, Status.NOT_ATTEMPTED,
    ]  # fmt: skip
    failed = report.outcomes[1]
    assert (failed.attempts, failed.left_behind) == (1, None)
    assert "broken off by SystemExit: the database is gone" in str(report.causes[0])
    assert failed.error is report.causes[0]
    assert names(server) == ["a"]
    server.wait_idle()


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("atomic", [True, False])
def test_a_listener_that_exits_in_a_file_costs_that_file_and_not_the_one_before(
    start: Start, kind: str, atomic: bool
) -> None:
    server = start(kind)

    def stop(event: Event) -> None:
        if isinstance(event, FileProgress) and event.remote == "b":
            sys.exit("no more")

    files = [(name.encode() * 1000, name) for name in "abc"]
    report = upload_batch(
        files, server.url, max_per_ip=1, workers=1, atomic=atomic, on_event=stop, check=False
    )
    assert [outcome.status for outcome in report.outcomes] == [
        Status.UPLOADED, Status.FAILED, Status.NOT_ATTEMPTED,
    ]  # fmt: skip
    assert (server.home / "a").read_bytes() == b"a" * 1000
    left = report.outcomes[1].left_behind
    assert names(server) == (["a"] if left is None else ["a", "b"])
    assert (left is None) == atomic


def test_a_connection_that_was_never_greeted_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with Scripted("silent-greeting", tmp_path) as peer:
        pool = FTPPool(peer.url)
        report = pool.upload_batch([(b"x", "f")], deadline=SILENCE + 0.5, check=False)
        assert [outcome.status for outcome in report.outcomes] == [Status.NOT_ATTEMPTED]
        closed = pool.close()
        assert closed.still_running == 0
        assert closed.elapsed < LOGIN  # for which an open that was greeted may go on
        wait_until(lambda: peer.ended > 0)


NO_MORE = "this process can open no more files and connections; raise its limit (ulimit -n)"


def test_a_login_that_can_open_no_more_files_says_what_to_raise(ftp: Server) -> None:
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)

    def password() -> str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        try:
            return Path("/dev/null").read_text()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))

    target = f"ftp://{ftp.user}@{ftp.host}:{ftp.port}"
    with FTPPool(target, password=password) as pool:
        report = pool.upload_batch([(b"x", "a")], check=False)
    (cause,) = report.causes
    assert str(cause) == f"no session to {ftp.host}:{ftp.port}: {NO_MORE}"


# In a process of its own, as a worker then has a module to import: for its second attempt.
OUT_OF_FILES = """
import resource, sys
from ftppool import FTPPool
from ftppool.events import FileStarted

limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)

def on_event(event):
    if isinstance(event, FileStarted):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))

with FTPPool(sys.argv[1], on_event=on_event) as pool:
    report = pool.upload_batch([(b"x", "a")], check=False)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
print(*report.causes)
"""


def test_a_worker_that_can_open_no_more_files_says_what_to_raise(ftp: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_FILES, ftp.url],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == f"a worker ended: {NO_MORE}\n", done.stderr
    census = ftp.wait_idle()
    assert census.quits == census.sessions == 1
