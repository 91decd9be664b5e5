"""What becomes of files when connections, servers, disks and sources fail in the middle."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import ftppool
from ftppool import upload_batch
from ftppool.report import BatchReport, Status
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import ALL_KINDS, KINDS, Server

# The relay finds data connections by the replies that name their ports: TLS hides these, and SFTP
# has no such connections.
IN_CLEAR = pytest.mark.parametrize("kind", KINDS)
MOST_TURNS = 10
"""Batches until a reset must have struck: the first may come after 120 ms, files may be faster."""
QUICK = ftppool.RetryPolicy(attempts=8, first_wait=0.02, max_wait=0.1)


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Run the test once for each kind of server, over TLS and over SSH too."""
    return str(request.param)


class Watcher:
    """Looks at the server's directory all the time, for a final name with a wrong size."""

    def __init__(self, folder: Path, sizes: dict[str, int]) -> None:
        self.wrong: list[tuple[str, int]] = []
        self._folder, self._sizes = folder, sizes
        self._stop = False

    def look(self) -> None:
        while not self._stop:
            for entry in os.scandir(self._folder):
                if entry.name in self._sizes:
                    try:
                        size = entry.stat().st_size
                    except FileNotFoundError:
                        continue
                    if size != self._sizes[entry.name]:
                        self.wrong.append((entry.name, size))
            time.sleep(0.001)

    def stop(self) -> None:
        self._stop = True


@contextmanager
def watched(folder: Path, files: list[tuple[bytes, str]]) -> Iterator[Watcher]:
    watcher = Watcher(folder, {name: len(content) for content, name in files})
    thread = threading.Thread(target=watcher.look)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.stop()
        thread.join()


def strays(server: Server, report: BatchReport) -> set[str]:
    """Part files on the server that no outcome names."""
    named = {outcome.left_behind for outcome in report.outcomes}
    return {path.name for path in server.home.iterdir() if ".part" in path.name} - named


def some_files(count: int, size: int, seed: int = 5) -> list[tuple[bytes, str]]:
    rng = random.Random(seed)
    return [(rng.randbytes(size + rng.randrange(size)), f"f{number}") for number in range(count)]


def check_all_there(server: Server, files: list[tuple[bytes, str]]) -> None:
    for content, name in files:
        found = (server.home / name).read_bytes()
        assert hashlib.sha256(found).digest() == hashlib.sha256(content).digest(), name


@IN_CLEAR
@pytest.mark.parametrize("resume", [False, True])
def test_60_files_arrive_while_data_connections_are_reset_at_random(
    start: Start, kind: str, tmp_path: Path, resume: bool
) -> None:
    server = start(kind)
    files = some_files(60, 300_000)
    attempts = 0
    with Relay(server.port, workdir=tmp_path, data=True) as relay:
        for _ in range(MOST_TURNS):
            relay.set(data_resets=(0.02, 0.12))
            with watched(server.home, files) as watcher:
                report = upload_batch(
                    files,
                    server.behind(relay.port),
                    max_per_ip=3,
                    retry=QUICK,
                    resume=resume,
                    check=False,
                )
            relay.set(data_resets=None)
            assert [str(outcome.error) for outcome in report.failed] == []
            assert len(report.uploaded) == 60
            assert watcher.wrong == []
            check_all_there(server, files)
            assert {path.name for path in server.home.iterdir()} == {name for _, name in files}
            attempts = sum(outcome.attempts for outcome in report.outcomes)
            if attempts > 60:
                break
    assert attempts > 60, f"no reset has struck in {MOST_TURNS} batches"


@IN_CLEAR
@pytest.mark.parametrize("at", [1, 1000, 65_537, 199_999, 200_000])
def test_a_data_connection_cut_at_any_byte_costs_one_more_attempt_of_that_file(
    start: Start, kind: str, tmp_path: Path, at: int
) -> None:
    server = start(kind)
    files = [(b"a" * 100, "small"), (b"b" * 200_000, "big"), (b"c" * 100, "last")]
    with Relay(server.port, workdir=tmp_path, data=True, data_reset_at=at) as relay:
        # pyftpdlib sometimes says nothing at all to a transfer that was broken off.
        report = upload_batch(
            files, server.behind(relay.port), max_per_ip=1, retry=QUICK, io_timeout=2.0
        )
    check_all_there(server, files)
    attempts = {outcome.remote: outcome.attempts for outcome in report.outcomes}
    # After the last byte the server may have the file, and then need not get it again.
    assert sum(attempts.values()) == 4 or at == 200_000
    assert {path.name for path in server.home.iterdir()} == set(attempts)


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        *(("proftpd", at) for at in range(60, 900, 120)),
        *(("vsftpd+tls", at) for at in range(2500, 6000, 1400)),
        *(("openssh", at) for at in range(4000, 20_000, 6000)),
    ],
)
def test_a_control_connection_cut_at_any_byte_loses_nothing(
    start: Start, kind: str, tmp_path: Path, at: int
) -> None:
    server = start(kind)
    files = some_files(8, 2000)
    with (
        Relay(server.port, workdir=tmp_path, reset_at=at) as relay,
        watched(server.home, files) as watcher,
    ):
        report = upload_batch(
            files, server.behind(relay.port), max_per_ip=1, retry=QUICK, check=False
        )
    assert len(report.uploaded) == 8, [outcome.error for outcome in report.failed]
    assert watcher.wrong == []
    check_all_there(server, files)
    assert strays(server, report) == set()


def test_a_peer_that_falls_silent_is_left_and_the_files_go_another_way(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    files = some_files(60, 2000)
    done = 0
    with Relay(server.port, workdir=tmp_path) as relay:
        again = threading.Timer(0.8, relay.set, kwargs={"black_hole": False})

        def stall(event: ftppool.events.Event) -> None:
            nonlocal done
            if not isinstance(event, ftppool.events.FileDone):
                return
            done += 1
            if done == 3:
                relay.set(black_hole=True)
                again.start()

        report = upload_batch(
            files, server.behind(relay.port), max_per_ip=1, retry=QUICK, io_timeout=0.5,
            quit_timeout=0.3, on_event=stall, check=False,
        )  # fmt: skip
        again.join()
        assert relay.look().census.connects > 1
    assert len(report.uploaded) == 60, [str(outcome.error) for outcome in report.failed]
    check_all_there(server, files)
    assert strays(server, report) == set()


def test_a_name_that_is_too_long_fails_alone_and_leaves_nothing(start: Start, kind: str) -> None:
    server = start(kind)
    files = [(b"x" * 100, "f0"), (b"y" * 100, "n" * 300), (b"z" * 100, "f1")]
    report = upload_batch(files, server.url, max_per_ip=1, check=False)
    assert [outcome.status for outcome in report.outcomes] == [
        Status.UPLOADED, Status.FAILED, Status.UPLOADED,
    ]  # fmt: skip
    assert {path.name for path in server.home.iterdir()} == {"f0", "f1"}
    assert [outcome.left_behind for outcome in report.outcomes] == [None] * 3


def test_a_source_that_breaks_in_the_middle_is_never_taken_for_whole(
    start: Start, kind: str
) -> None:
    server = start(kind)

    class Breaks:
        def __init__(self) -> None:
            self.left = 5

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            if not self.left:
                raise OSError(5, "Input/output error")
            return b"b" * 50_000

        def close(self) -> None: ...

    files: list[Any] = [(b"x" * 100, "f0"), (Breaks, "broken"), (b"z" * 100, "f1")]
    report = upload_batch(files, server.url, max_per_ip=1, check=False)
    assert [outcome.status for outcome in report.outcomes] == [
        Status.UPLOADED, Status.FAILED, Status.UPLOADED,
    ]  # fmt: skip
    assert "Input/output error" in str(report.outcomes[1].error)
    assert strays(server, report) == set()
    assert not (server.home / "broken").exists()


def test_a_file_that_shrinks_while_it_is_sent_fails_clearly(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    shrinking = tmp_path / "shrinking"
    shrinking.write_bytes(b"s" * 30_000_000)

    def shrink(event: ftppool.events.Event) -> None:
        if isinstance(event, ftppool.events.FileProgress) and event.sent < 20_000_000:
            os.truncate(shrinking, 25_000_000)

    report = upload_batch([shrinking], server.url, on_event=shrink, check=False)
    assert "the source had 30000000 bytes" in str(report.outcomes[0].error)
    assert list(server.home.iterdir()) == []


def test_a_file_above_the_server_s_limit_fails_alone_and_leaves_no_part(start: Start) -> None:
    server = start("proftpd", options={"MaxStoreFileSize": "50 Kb"})
    files = [(b"x" * 100, "f0"), (b"y" * 200_000, "big"), (b"z" * 100, "f1")]
    report = upload_batch(files, server.url, max_per_ip=1, check=False)
    assert report.outcomes[1].status is Status.FAILED
    assert strays(server, report) == set()
    assert not (server.home / "big").exists()
