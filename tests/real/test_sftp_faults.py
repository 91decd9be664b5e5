"""SFTP: full disks, silence in the middle, dropped sessions; and nothing that stays behind."""

from __future__ import annotations

import io
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

import ftppool
from ftppool import (
    BatchError,
    ConnectionLost,
    FTPPool,
    Lease,
    RemoteRejected,
    RetryPolicy,
    SSHConfig,
    Status,
    Target,
    TransferError,
)
from ftppool.drivers import sftp_files
from ftppool.drivers.base import Address, OpenFailed, Timeouts
from ftppool.drivers.sftp import SFTPDriver
from ftppool.drivers.sftp_files import SFTPFiles
from ftppool.events import FileProgress
from tests.conftest import Start
from tests.support import leaks
from tests.support.openssh import OpenSSH
from tests.support.relay import Relay
from tests.support.servers import Server

ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def sshd(start: Start) -> Server:
    return start("openssh")


# -- no room ---------------------------------------------------------------------------------------


@pytest.mark.skipif(os.getuid() != 0, reason="a small disk needs root")
def test_a_full_disk_is_an_error_and_leaves_no_file_under_the_final_name(start: Start) -> None:
    server = start("openssh", small_disk="1m")
    files = [(b"x" * 3_000_000, f"full/{number}") for number in range(5)]
    with FTPPool(server.url, max_per_ip=1, channels=1) as pool:
        with pytest.raises(BatchError) as caught:
            pool.upload_batch(files)
        with pool.session() as session:
            assert session.listdir("full") == []
    first = caught.value.report.outcomes[0]
    assert first.status is Status.FAILED
    assert isinstance(first.error, RemoteRejected)
    assert "no space left" in str(first.error)
    assert first.attempts == 1
    # All others would fail as well: they are not tried.
    assert len(caught.value.report.not_attempted) == 4


def test_an_error_of_the_last_write_is_an_error_of_the_file(start: Start) -> None:
    """With paramiko, the errors of the last hundred pipelined writes are lost."""
    server = start("asyncssh", options={"full_after": 2_990_000})
    with FTPPool(server.url) as pool, pytest.raises(TransferError, match="No space left"):
        pool.upload(b"x" * 3_000_000, "file")
    assert list(server.home.iterdir()) == []


# -- silence ---------------------------------------------------------------------------------------


def test_a_write_that_is_not_answered_ends_at_the_limit_and_costs_only_its_channel(
    start: Start,
) -> None:
    server = start("asyncssh", options={"silent_after": 200_000})
    with FTPPool(server.url, max_per_ip=1, io_timeout=1.0, retry=ONCE) as pool:
        with pool.sftp() as other:
            done = threading.Event()

            def talk() -> None:
                while not done.wait(0.1):
                    other.stat(".")

            thread = threading.Thread(target=talk)
            thread.start()
            began = time.monotonic()
            try:
                with pytest.raises(ConnectionLost, match="no answer within 1 s"):
                    pool.upload(b"x" * 1_000_000, "file")
                assert 0.9 < time.monotonic() - began < 5
            finally:
                done.set()
                thread.join()
            other.stat(".")
        assert pool.stats().opened == 1
    assert [path.name for path in server.home.iterdir() if path.name == "file"] == []


def test_a_download_asks_for_so_many_bytes_ahead_and_no_more(start: Start) -> None:
    server = start("asyncssh", options={"silent_after": 8 << 20})
    with (server.home / "file").open("wb") as file:
        file.truncate(64 << 20)
    with FTPPool(server.url, io_timeout=2.0, retry=ONCE) as pool, pool.acquire() as lease:
        files = lease.files()
        assert isinstance(files, SFTPFiles)
        with pytest.raises(ConnectionLost):
            files.retrieve("file", len)
        place = files._place
        ahead = place.outstanding * place.read_size
    assert sftp_files.IN_FLIGHT / 2 < ahead <= sftp_files.IN_FLIGHT


def test_a_file_that_grows_while_it_is_read_is_read_to_an_end_and_not_beyond_it(
    start: Start, tmp_path: Path
) -> None:
    end = 300_000  # in the middle of a read: a short answer comes before the end
    server = start("asyncssh", options={"grows_at": end})
    content = os.urandom(2_000_000)
    (server.home / "file").write_bytes(content)
    with FTPPool(server.url) as pool:
        outcome = pool.download("file", tmp_path / "copy", verify="none")
    assert outcome.ok
    assert (tmp_path / "copy").read_bytes() == content[:end]


@pytest.mark.parametrize("lost", ["close", "fstat", "posix_rename"])
def test_a_lost_answer_is_settled_on_another_channel(start: Start, lost: str) -> None:
    server = start("asyncssh", options={"loses": lost})
    files = [(b"z" * 50_000, "a"), (b"y", "b")]
    report = ftppool.upload_batch(files, server.url, max_per_ip=1, channels=1, io_timeout=0.7)
    assert len(report.uploaded) == 2
    assert sum(outcome.attempts for outcome in report.outcomes) > 2
    assert {path.name: path.read_bytes() for path in server.home.iterdir()} == {
        name: content for content, name in files
    }


CALLS: dict[str, Callable[[Lease], object]] = {
    "request": lambda lease: lease.files().size("file"),
    "upload": lambda lease: lease.files().store("x", io.BytesIO(b"x" * 1_000_000), print),
    "download": lambda lease: lease.files().retrieve("file", len),
    "paramiko": lambda lease: lease.loan.stat("file"),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_peer_that_vanishes_ends_every_call_at_the_limit(
    sshd: Server, tmp_path: Path, what: str
) -> None:
    (sshd.home / "file").write_bytes(b"x" * 1_000_000)
    with (
        Relay(sshd.port, workdir=tmp_path) as relay,
        FTPPool(
            sshd.behind(relay.port), max_per_ip=1, io_timeout=0.5, quit_timeout=0.5, retry=ONCE
        ) as pool,
    ):
        with pool.sftp() as sftp:
            sftp.listdir()
        with pool.acquire() as lease:
            relay.set(black_hole=True)
            began = time.monotonic()
            with pytest.raises((ConnectionLost, TimeoutError)):
                CALLS[what](lease)
            assert 0.4 < time.monotonic() - began < 3
        relay.set(black_hole=False)
        # The connection said nothing on any channel: another one is opened.
        with pool.session() as session:
            assert session.size("file") == 1_000_000
        assert pool.stats().opened == 2


def test_a_peer_whose_window_stays_shut_ends_the_upload_at_the_limit(
    sshd: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paramiko goes on trying to send for ever."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(200 << 20)
    monkeypatch.setattr(sftp_files, "IN_FLIGHT", 1 << 30)
    with (
        Relay(sshd.port, workdir=tmp_path) as relay,
        FTPPool(sshd.behind(relay.port), io_timeout=1.0, quit_timeout=0.5, retry=ONCE) as pool,
        pool.acquire() as lease,
    ):
        # As if the server had given us one huge SSH window and then read no more.
        lease.loan.get_channel().out_window_size = 1 << 30
        os.kill(relay._child.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            with big.open("rb") as source, pytest.raises(ConnectionLost):
                lease.files().store("big", source, lambda _sent: None)
            assert 0.9 < time.monotonic() - began < 6
        finally:
            os.kill(relay._child.pid, signal.SIGCONT)


# -- dropped sessions ------------------------------------------------------------------------------


def drop(server: Server) -> None:
    assert isinstance(server.backend, OpenSSH)
    server.backend.drop()


def use_until_it_breaks(sftp: paramiko.SFTPClient) -> None:
    for _ in range(10_000):
        sftp.listdir()


def drop_under(pool: FTPPool, server: Server) -> None:
    with pool.sftp() as sftp:
        drop(server)
        with pytest.raises((OSError, EOFError, paramiko.SSHException)):
            use_until_it_breaks(sftp)


def test_a_dropped_session_is_replaced_and_the_batch_goes_on(sshd: Server) -> None:
    dropped = threading.Event()

    def on_event(event: object) -> None:
        if isinstance(event, FileProgress) and not dropped.is_set():
            dropped.set()
            drop(sshd)

    files = [(os.urandom(500_000), f"in/{number}") for number in range(30)]
    with FTPPool(sshd.url, max_per_ip=1, on_event=on_event) as pool:
        report = pool.upload_batch(files)
    assert report.ok
    assert dropped.is_set()
    assert sum(outcome.attempts for outcome in report.outcomes) > 30
    for content, name in files:
        assert (sshd.home / name).read_bytes() == content
    assert len(list((sshd.home / "in").iterdir())) == 30


def test_an_idle_session_that_was_dropped_is_not_lent(sshd: Server) -> None:
    with FTPPool(sshd.url, max_per_ip=1) as pool:
        with pool.sftp() as sftp:
            sftp.listdir()
        drop(sshd)
        sshd.wait_idle()
        with pool.sftp() as sftp:
            assert sftp.listdir() == []
        assert pool.stats().opened == 2


class Unwatched:
    def connecting(self, sock: socket.socket) -> None:
        pass

    def greeted(self) -> None:
        pass

    def wait_to_log_in(self) -> None:
        pass


# -- nothing stays ---------------------------------------------------------------------------------


def test_fifty_failed_logins_leave_nothing(start: Start) -> None:
    server = start("asyncssh")
    target = Target("sftp", server.host, server.port, server.user, "sesame-wrong")
    # Without a pool, which would not connect so often in a minute.
    driver = SFTPDriver(target, SSHConfig(), Timeouts(), channels=8)
    address = Address(socket.AF_INET, server.host, server.port)
    with leaks.no_leaks(servers=[server]):
        for _ in range(50):
            with pytest.raises(OpenFailed, match="Authentication failed"):
                driver.open(address, Unwatched())
    assert server.wait_idle().logins_failed == 50


def test_fifty_dropped_sessions_leave_nothing(sshd: Server) -> None:
    with leaks.no_leaks(servers=[sshd]), FTPPool(sshd.url, max_per_ip=1) as pool:
        for _ in range(50):
            drop_under(pool, sshd)
        assert not pool.stats().leased
    assert sshd.wait_idle().sessions == 50


def test_fifty_stalls_leave_nothing(start: Start) -> None:
    server = start("asyncssh", options={"silent_after": 0})
    failed: list[Exception] = []

    def stall() -> None:
        for _ in range(10):
            try:
                pool.upload(b"x", "file", atomic=False)
            except Exception as error:
                failed.append(error)

    with (
        leaks.no_leaks(servers=[server]),
        # Enough for a login on a busy machine; five stalls at a time, as 50 such times are long.
        FTPPool(server.url, max_per_ip=5, channels=1, io_timeout=0.6, retry=ONCE) as pool,
    ):
        threads = [threading.Thread(target=stall) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [type(error) for error in failed] == [ConnectionLost] * 50
    assert server.wait_idle().held == 0


def test_a_pool_closes_in_time_while_borrowers_hold_channels(sshd: Server, tmp_path: Path) -> None:
    with Relay(sshd.port, workdir=tmp_path) as relay:
        pool = FTPPool(sshd.behind(relay.port), max_per_ip=1, quit_timeout=0.5)
        leases = [pool.acquire() for _ in range(3)]
        relay.set(black_hole=True)
        failed: list[BaseException] = []

        def use() -> None:
            try:
                leases[0].files().size("file")
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        time.sleep(0.1)
        began = time.monotonic()
        report = pool.close(timeout=2.0)
        assert time.monotonic() - began < 3
        assert not report.clean
        thread.join(2.0)
        assert isinstance(failed[0], ConnectionLost)
        for lease in leases:
            with pytest.raises(ftppool.LeaseReturned):
                lease.loan.listdir()
            lease.release()
        relay.set(black_hole=False)
