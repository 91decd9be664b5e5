"""What becomes of a batch when the server restarts, has no room left or may not write."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import ftppool
from ftppool import FTPPool, RemoteRejected, Status, upload_batch
from tests.conftest import Start
from tests.support.servers import Server

PATIENT = ftppool.RetryPolicy(attempts=30, first_wait=0.05, max_wait=0.3)


def names(server: Server) -> set[str]:
    return {str(path.relative_to(server.home)) for path in server.home.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd+tls", "pyftpdlib"])
def test_a_server_that_is_restarted_in_mid_batch_costs_no_file(
    start: Start, kind: str, tmp_path: Path
) -> None:
    before = start(kind)
    files = [(os.urandom(20_000), f"f{number}") for number in range(60)]
    after: list[Server] = []

    def restart() -> None:
        while len(names(before)) < 10:
            time.sleep(0.005)
        before.stop(keep_ports=True)
        time.sleep(0.2)
        after.append(start(kind, ports=before.ports, root=before.home))

    thread = threading.Thread(target=restart)
    thread.start()
    report = upload_batch(
        files, before.url, max_per_ip=2, retry=PATIENT, rate_limit=600_000, check=False
    )
    thread.join()
    assert [str(outcome.error) for outcome in report.failed] == []
    assert len(report.uploaded) == 60
    assert [outcome.left_behind for outcome in report.outcomes] == [None] * 60
    found = {name: (before.home / name).read_bytes() for name in names(before)}
    assert found == {name: content for content, name in files}  # whole, and no part
    assert after[0].wait_idle().sessions >= 1


@pytest.mark.skipif(os.getuid() != 0, reason="a small disk needs root")
@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pure-ftpd"])
def test_a_full_disk_leaves_no_wrong_file_and_no_part_unnamed(start: Start, kind: str) -> None:
    options: dict[str, Any] = {
        "vsftpd": {"force_dot_files": "YES"},
        "pure-ftpd": {"arguments": ["-D"]},
    }
    server = start(kind, small_disk="1m", options=options.get(kind, {}))
    files = [(b"x" * 3_000_000, f"full/{number}") for number in range(3)]
    quick = ftppool.RetryPolicy(attempts=3, first_wait=0.02, max_wait=0.05)
    with FTPPool(server.url, max_per_ip=1, retry=quick) as pool:
        pool.upload(b"x" * 400_000, "full/fits")
        report = pool.upload_batch(files, check=False)
        with pool.session() as session:
            there = {f"full/{entry.name}": entry.size for entry in session.scandir("full")}
    assert Status.FAILED in {outcome.status for outcome in report.outcomes}
    assert not report.uploaded
    assert there.pop("full/fits") == 400_000
    named = {outcome.left_behind for outcome in report.outcomes} - {None}
    assert set(there) == named
    for outcome in report.failed:
        assert isinstance(outcome.error, RemoteRejected)
    words = "No space left on device" if kind == "proftpd" else "its disk is probably full"
    assert words in str(report.causes[0])
    assert report.outcomes[-1].attempts == 0  # the batch has ended


UNPRIVILEGED: dict[str, dict[str, Any]] = {
    "vsftpd": {"run_as_launching_user": "NO", "ftp_username": "daemon"},  # who has a home
    "pure-ftpd": {},
}
"""Options with which a server of root's is somebody else after the login."""


@pytest.mark.parametrize("kind", UNPRIVILEGED)
def test_one_directory_without_permission_fails_its_own_files_only(start: Start, kind: str) -> None:
    root = os.getuid() == 0
    server = start(kind, options=UNPRIVILEGED[kind] if root else {})
    for folder, mode in (("open", 0o777), ("closed", 0o555)):
        (server.home / folder).mkdir()
        (server.home / folder).chmod(mode)
    files = [(b"x" * 100, f"{folder}/f{n}") for n in range(6) for folder in ("open", "closed")]
    report = upload_batch(files, server.url, max_per_ip=2, check=False)
    assert {outcome.remote for outcome in report.uploaded} == {f"open/f{n}" for n in range(6)}
    assert {outcome.remote for outcome in report.failed} == {f"closed/f{n}" for n in range(6)}
    for outcome in report.failed:
        assert isinstance(outcome.error, RemoteRejected)
        assert outcome.attempts == 1
        assert outcome.left_behind is None
    assert names(server) == {f"open/f{n}" for n in range(6)}
