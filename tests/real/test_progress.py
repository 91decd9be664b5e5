"""``progress=`` on real servers: what the snapshots say, and that they do no harm."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ftppool import BatchError, ConfigError, FTPPool, Progress, RetryPolicy, upload_batch
from ftppool.limits.machine import MachineLimiter
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import Server


def make(folder: Path, count: int, size: int = 20_000) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number:03}.bin" for number in range(count)]
    for file in files:
        file.write_bytes(os.urandom(size))
    return files


@pytest.fixture
def ftp(start: Start) -> Server:
    return start("vsftpd", max_per_ip=3)


def test_snapshots_add_up_to_the_report(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 120)
    seen: list[Progress] = []
    threads = set()

    def look(progress: Progress) -> None:
        seen.append(progress)
        threads.add(threading.current_thread())

    report = upload_batch(
        files, ftp.url, max_per_ip=2, rate_limit=2_000_000, progress=look, name="nightly"
    )
    assert report.ok
    assert threads == {threading.current_thread()}
    assert len(seen) > 3
    assert [one.finished for one in seen] == [False] * (len(seen) - 1) + [True]
    last = seen[-1]
    assert (last.pool, last.files_done, last.files_total) == ("nightly", 120, 120)
    assert last.bytes_done == last.bytes_total == report.bytes_sent == 120 * 20_000
    assert (last.files_failed, last.files_skipped, last.refused, last.trouble) == (0, 0, 0, "")
    assert last.opened == report.stats.opened == 2
    assert last.complete
    assert last.eta is None
    assert last.under_way == ()
    for before, after in itertools.pairwise(seen):
        assert before.files_done <= after.files_done <= after.files_total
        assert before.elapsed <= after.elapsed
    for one in seen:
        assert one.bytes_done <= one.bytes_total
        assert one.sessions <= one.cap == one.max_per_ip == 2
        assert len(one.under_way) <= 4  # of each session one that ends and one that begins
    assert any(one.eta is not None and one.rate > 0 for one in seen)
    moving = [file for one in seen for file in one.under_way]
    assert {file.size for file in moving} == {20_000}
    assert {Path(file.remote).name for file in moving} <= {file.name for file in files}


def test_a_long_file_is_seen_to_grow(ftp: Server) -> None:
    seen: list[Progress] = []
    upload_batch([(bytes(3_000_000), "long")], ftp.url, rate_limit=2_000_000, progress=seen.append)
    parts = [file.moved for one in seen for file in one.under_way]
    assert parts == sorted(parts)
    assert any(0 < part < 3_000_000 for part in parts)
    assert any(0 < one.bytes_done < one.bytes_total == 3_000_000 for one in seen)


def test_failed_and_skipped_files_are_counted_and_not_waited_for(
    ftp: Server, tmp_path: Path
) -> None:
    (ftp.home / "000.bin").write_bytes(b"older")
    files = make(tmp_path / "out", 5)
    seen: list[Progress] = []
    with pytest.raises(BatchError):
        upload_batch(
            [*files, tmp_path / "missing"], ftp.url, on_conflict="skip", progress=seen.append
        )
    last = seen[-1]
    assert last.finished
    assert (last.files_done, last.files_total) == (6, 6)
    assert (last.files_failed, last.files_skipped) == (1, 1)
    assert last.bytes_done == last.bytes_total == 4 * 20_000


def test_a_refusal_is_told_in_the_servers_words(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd", max_per_ip=1)
    files = make(tmp_path / "out", 3)
    seen: list[Progress] = []
    other = socket.create_connection((server.host, server.port))

    def look(progress: Progress) -> None:
        seen.append(progress)
        if progress.waiting:
            other.close()

    with other:
        other.recv(100)
        report = upload_batch(files, server.url, max_per_ip=2, progress=look)
    assert report.ok
    waiting = [one for one in seen if one.waiting]
    assert waiting
    assert {one.trouble for one in waiting} == {
        "421 There are too many connections from your internet address."
    }
    assert all(one.sessions == 0 for one in waiting)
    assert seen[-1].refused >= 1
    assert not seen[-1].waiting


def test_a_learned_cap_is_shown(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd", max_per_ip=2)
    seen: list[Progress] = []
    upload_batch(
        make(tmp_path / "out", 60), server.url, max_per_ip=4, rate_limit=1_000_000,
        progress=seen.append,
    )  # fmt: skip
    last = seen[-1]
    assert (last.cap, last.learned, last.max_per_ip) == (2, 2, 4)
    assert "421" in last.trouble


@pytest.mark.parametrize("of_user", [False, True])
def test_a_lesson_of_an_earlier_run_is_told_in_the_servers_words_and_nothing_waits_for_it(
    start: Start, tmp_path: Path, of_user: bool
) -> None:
    server = start("vsftpd", max_per_ip=2)
    user = server.user if of_user else None
    MachineLimiter().teach(
        f"{server.host}:{server.port}",
        lambda known: known.refused(1, "421 One\x1b only", time.time(), user=user),
    )
    seen: list[Progress] = []
    report = upload_batch(make(tmp_path / "out", 3), server.url, progress=seen.append)
    assert report.stats.refused == 0
    assert report.stats.learned_from == "421 One\\x1b only"
    last = seen[-1]
    assert (last.cap, last.max_per_ip, last.trouble) == (1, 2, "421 One\\x1b only")
    assert not any(one.waiting for one in seen)


def test_a_callable_that_fails_is_logged_once_and_does_no_harm(
    ftp: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def fail(_: Progress) -> None:
        nonlocal calls
        calls += 1
        raise OSError("the screen fell over")

    report = upload_batch(
        make(tmp_path / "out", 40), ftp.url, rate_limit=1_000_000, progress=fail, name="nightly"
    )
    assert report.ok
    assert calls > 1
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "progress= failed" in record.getMessage()
    assert getattr(record, "ftppool_pool") == "nightly"  # noqa: B009 - mypy knows no such field


def test_an_interrupt_in_the_callable_ends_the_batch_and_is_shown(
    ftp: Server, tmp_path: Path
) -> None:
    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if progress.files_done and not progress.finished:
            raise KeyboardInterrupt

    files = make(tmp_path / "out", 100)
    with pytest.raises(KeyboardInterrupt) as stopped:
        upload_batch(files, ftp.url, rate_limit=1_000_000, progress=stop)
    report = stopped.value.report  # type: ignore[attr-defined]  # as the library promises
    last = seen[-1]
    assert [one.finished for one in seen].count(True) == 1
    assert last.finished
    assert last.files_done == len(report.uploaded)
    assert last.files_total == len(report.outcomes) == 100


def test_downloads_have_progress_too(ftp: Server, tmp_path: Path) -> None:
    make(ftp.home / "there", 50)
    seen: list[Progress] = []
    with FTPPool(ftp.url) as pool:
        report = pool.download_batch(["there"], tmp_path, progress=seen.append)
    assert len(report.downloaded) == 50
    last = seen[-1]
    assert (last.files_done, last.files_total, last.complete) == (50, 50, True)
    assert last.bytes_done == last.bytes_total == 50 * 20_000


def test_a_pool_that_was_used_before_counts_this_batch_alone(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 3)
    seen: list[Progress] = []
    with FTPPool(ftp.url, max_per_ip=1) as pool:
        pool.upload_batch(files)
        pool.upload_batch(files, "again", progress=seen.append)
    assert (seen[-1].opened, seen[-1].files_done) == (0, 3)


def test_what_is_no_callable_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="write True, or a function of one Progress"):
        upload_batch([], "ftp://h", progress=5)  # type: ignore[arg-type]  # the point


@pytest.mark.parametrize("nothing", [None, False])
def test_without_progress_nothing_is_shown(
    ftp: Server, nothing: bool | None, capfd: pytest.CaptureFixture[str]
) -> None:
    upload_batch([(b"x", "x")], ftp.url, progress=nothing)
    assert capfd.readouterr() == ("", "")


def test_without_progress_no_display_is_loaded(ftp: Server) -> None:
    script = (
        "import sys, ftppool\n"
        f"ftppool.upload_batch([(b'x', 'x')], {ftp.url!r})\n"
        "print(sorted({'ftppool.display', 'ftppool.screen'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_without_a_terminal_there_is_a_log_line_at_times(
    ftp: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from ftppool.display import Display
    from ftppool.screen import Screen

    files = make(tmp_path / "out", 40)
    with caplog.at_level(logging.INFO, "ftppool"):
        upload_batch(
            files, ftp.url, rate_limit=1_000_000, progress=Display(Screen(None), every=0.2)
        )
    lines = [
        record.getMessage()
        for record in caplog.records
        if getattr(record, "ftppool_event", "") == "Progress"
    ]
    assert lines
    assert all(line.startswith("ftppool: ") for line in lines)
    assert "of 40 files" in lines[-1]
    assert "of 2 sessions" in lines[-1]


def test_a_file_that_is_sent_again_is_not_counted_twice(ftp: Server, tmp_path: Path) -> None:
    seen: list[Progress] = []
    with Relay(ftp.port, workdir=tmp_path, data=True, data_reset_at=600_000) as relay:
        report = upload_batch(
            [(bytes(1_000_000), "x")], ftp.behind(relay.port), rate_limit=1_000_000,
            progress=seen.append, retry=RetryPolicy(first_wait=0.01),
        )  # fmt: skip
    assert report.outcomes[0].attempts == 2
    assert max(one.bytes_done for one in seen) == seen[-1].bytes_total == 1_000_000
    moved = [file.moved for one in seen for file in one.under_way]
    assert moved != sorted(moved)  # it began again
