"""SFTP: sessions over a real OpenSSH."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import paramiko
import pytest

import ftppool
from ftppool import FTPPool, LeaseReturned, RemoteRejected, RetryPolicy, SSHConfig, VerifyError
from ftppool.drivers.base import Resumes
from ftppool.events import Event, FileStarted
from tests.conftest import Start
from tests.support.asyncsshd import AsyncSSH
from tests.support.openssh import new_key
from tests.support.servers import Server


@pytest.fixture
def sshd(start: Start) -> Server:
    return start("openssh")


def test_a_leased_client_is_a_real_paramiko_client_and_all_share_one_connection(
    sshd: Server,
) -> None:
    (sshd.home / "hello").write_bytes(b"hello")
    with FTPPool(sshd.url, max_per_ip=1) as pool:
        with pool.sftp() as sftp, pool.sftp() as other:
            assert isinstance(sftp, paramiko.SFTPClient)
            assert sftp.listdir() == ["hello"]
            with other.open("hello", "rb") as file:
                assert file.read() == b"hello"
        assert pool.stats().opened == 1
    census = sshd.wait_idle()
    assert census.connects == census.quits == 1


def test_a_client_that_was_given_back_is_harmless(sshd: Server) -> None:
    (sshd.home / "hello").write_bytes(b"hello" * 100_000)
    with FTPPool(sshd.url, max_per_ip=1) as pool:
        with pool.sftp() as sftp:
            file = sftp.open("hello", "rb")
            file.prefetch()
            sftp.chdir(str(sshd.home))
        with pytest.raises(LeaseReturned):
            sftp.listdir()
        with pytest.raises(LeaseReturned):
            file.read()
        file.close()
        with pool.sftp() as sftp:
            assert sftp.getcwd() is None
            assert sftp.listdir() == ["hello"]
        assert pool.stats().opened == 1


def test_a_thread_that_still_reads_ahead_does_not_cost_the_connection(
    sshd: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = paramiko.Transport._send_user_message  # type: ignore[attr-defined]  # not in its stubs

    def slowly(transport: paramiko.Transport, message: paramiko.Message) -> None:
        if "prefetch" in threading.current_thread().name:
            time.sleep(0.01)  # a busy machine: what it sends now comes behind what we do meanwhile
        send(transport, message)

    monkeypatch.setattr(paramiko.Transport, "_send_user_message", slowly)
    (sshd.home / "hello").write_bytes(b"hello" * 1_000_000)
    with FTPPool(sshd.url, max_per_ip=1) as pool:
        for _ in range(10):
            with pool.sftp() as sftp:
                sftp.open("hello", "rb").prefetch()
                time.sleep(0.005)
        assert pool.stats().opened == 1
        # What paramiko raises in them when the connection ends under them is not our matter.
        for thread in threading.enumerate():
            if "prefetch" in thread.name:
                thread.join(30)


def test_what_a_borrower_spoils_is_only_his_channel(sshd: Server) -> None:
    (sshd.home / "hello").write_bytes(b"hello")
    with FTPPool(sshd.url, max_per_ip=1) as pool, pool.sftp() as other:
        with pytest.raises(OSError, match="No such file"), pool.sftp() as sftp:
            sftp.stat("nothing")
        with pool.sftp() as sftp:
            sftp.close()
        assert other.listdir() == ["hello"]
        assert pool.stats().opened == 1
    assert sshd.wait_idle().connects == 1


def test_the_file_api_is_the_same_as_for_ftp(sshd: Server) -> None:
    with FTPPool(f"{sshd.url}/~/base", max_per_ip=1) as pool, pool.session() as session:
        session.makedirs("a/b")
        session.mkdir("a/c")
        assert session.upload(b"12345", "a/b/five") == 5
        assert session.size("a/b/five") == 5
        kinds = {entry.name: entry.kind for entry in session.scandir("a")}
        assert kinds == {"b": "dir", "c": "dir"}
        assert session.listdir("a/b") == ["five"]
        session.rename("a/b/five", "a/c/5")
        session.upload(b"123456", "six")
        session.replace("six", "a/c/5")
        assert session.size("a/c/5") == 6
        assert session.exists("a/c")
        assert not session.exists("nothing")
        session.chdir("a")
        assert session.getcwd() == str(sshd.home / "base/a")
        session.remove("c/5")
        session.rmdir("c")
        with pytest.raises(RemoteRejected, match="no such file"):
            session.size("c")
        with pytest.raises(RemoteRejected):
            session.mkdir("b")
    assert sshd.wait_idle().quits == 1


@pytest.mark.parametrize("directory", ["", "/~/below", "{home}/absolute"])
def test_a_url_path_is_absolute_or_below_the_login_directory(sshd: Server, directory: str) -> None:
    url = sshd.url + directory.format(home=sshd.home)
    with FTPPool(url) as pool:
        pool.upload(b"x", "file")
    folder = directory.rpartition("/")[2]
    assert (sshd.home / folder / "file").read_bytes() == b"x"


def test_a_server_that_allows_two_channels_gets_eighty_files_through_one_connection(
    start: Start,
) -> None:
    sshd = start("openssh", options={"MaxSessions": 2})
    files = [(bytes([number]) * 1000, f"in/{number}") for number in range(80)]
    with FTPPool(sshd.url, max_per_ip=1) as pool:
        report = pool.upload_batch(files)
        stats = pool.stats()
    assert report.ok
    assert all(outcome.attempts == 1 and outcome.verified for outcome in report.outcomes)
    assert len(list((sshd.home / "in").iterdir())) == 80
    assert stats.opened == stats.closed + stats.open == 1
    census = sshd.wait_idle()
    assert census.connects == census.sessions == census.quits == 1


def test_another_connection_is_opened_only_when_all_channels_are_busy(sshd: Server) -> None:
    with FTPPool(sshd.url, max_per_ip=2, channels=3) as pool:
        leases = [pool.acquire() for _ in range(3)]
        assert pool.stats().open == 1
        leases += [pool.acquire() for _ in range(3)]
        assert pool.stats().open == 2
        for lease in leases:
            lease.release()
    assert sshd.wait_idle().peak == 2


@pytest.mark.parametrize("kind", ["openssh", "openssh-plain", "asyncssh"])
@pytest.mark.parametrize("size", [0, 1, 32_600, 261_121, 5_000_000])
def test_files_of_all_sizes_arrive_and_come_back(start: Start, kind: str, size: int) -> None:
    kind, _, plain = kind.partition("-")
    server = start(kind, options={"denied": "limits,posix-rename,statvfs"} if plain else {})
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    got = bytearray()
    with FTPPool(server.url) as pool:
        outcome = pool.upload(content, "file")
        with pool.acquire() as lease:
            assert lease.files().retrieve("file", got.extend) == size
    assert outcome.verified
    assert got == content


def test_threads_share_one_connection_and_paramiko_leaves_no_thread(sshd: Server) -> None:
    def work() -> None:
        for _ in range(5):
            with pool.session() as session:
                session.listdir()

    with FTPPool(sshd.url, max_per_ip=1, channels=4) as pool:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pool.close().clean
        assert pool.stats().acquired == 40
    assert sshd.wait_idle().connects == 1
    assert not any("ssh" in thread.name for thread in threading.enumerate())


def test_ftp_targets_have_no_paramiko_client_and_sftp_targets_no_ftplib(sshd: Server) -> None:
    with (
        FTPPool(sshd.url) as pool,
        pytest.raises(ftppool.ConfigError, match=r"pool\.sftp"),
        pool.ftp(),
    ):
        pass
    with (
        FTPPool("ftp://host") as pool,
        pytest.raises(ftppool.ConfigError, match=r"pool\.ftp"),
        pool.sftp(),
    ):
        pass


def test_a_file_is_replaced_at_once_where_the_server_can(sshd: Server) -> None:
    with FTPPool(sshd.url) as pool:
        pool.upload(b"old", "file")
        outcome = pool.upload(b"newer", "file")
    assert outcome.notes == ()
    assert (sshd.home / "file").read_bytes() == b"newer"


def test_the_old_file_steps_aside_where_the_server_cannot_rename_over_it(start: Start) -> None:
    server = start("openssh", options={"denied": "posix-rename"})
    with FTPPool(server.url) as pool:
        pool.upload(b"old", "file")
        outcome = pool.upload(b"newer", "file")
    assert "for a moment" in outcome.notes[0]
    assert [path.name for path in server.home.iterdir()] == ["file"]
    assert (server.home / "file").read_bytes() == b"newer"


@pytest.mark.parametrize("fsync", [False, True])
def test_a_file_is_asked_onto_the_disk_before_it_takes_its_name_if_that_is_wanted(
    start: Start, fsync: bool
) -> None:
    server = start("asyncssh", options={"told": True})
    with FTPPool(server.url, ssh=SSHConfig(fsync=fsync)) as pool:
        assert pool.upload(b"x" * 300_000, "file").verified
    assert isinstance(server.backend, AsyncSSH)
    # Two writes, as its limits@openssh.com allows more than the 32 KiB that are safe without.
    flushed = ["fsync"] if fsync else []
    expected = ["write 261120", "write 38880", *flushed, "close", "rename"]
    assert server.backend.requests() == expected


def test_a_server_that_cannot_flush_a_file_gets_it_all_the_same(start: Start) -> None:
    server = start("openssh", options={"denied": "fsync"})
    with FTPPool(server.url, ssh=SSHConfig(fsync=True)) as pool:
        assert pool.upload(b"x" * 100_000, "file").verified


def test_a_program_that_forgets_to_close_says_goodbye_and_prints_nothing(sshd: Server) -> None:
    script = (
        "import sys, ftppool\n"
        "pool = ftppool.FTPPool(sys.argv[1])\n"
        "lease = pool.acquire()\n"
        "pool.upload(b'x', 'file')\n"
        "sys.exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, sshd.url],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    census = sshd.wait_idle()
    assert census.quits == census.sessions == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_its_parent_s_connection_alone(sshd: Server) -> None:
    with FTPPool(sshd.url, max_per_ip=1) as pool, pool.sftp() as sftp:
        sftp.listdir()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                sftp.listdir()
            except LeaseReturned:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sftp.listdir() == []
    assert sshd.wait_idle().quits == 1


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_batch_keeps_every_place_of_a_connection_busy(
    sshd: Server, tmp_path: Path, way: str
) -> None:
    here = tmp_path if way == "up" else sshd.home
    names = [f"file{number}" for number in range(4)]
    for name in names:
        (here / name).write_bytes(b"x" * 1000)
    together = threading.Barrier(4)  # it lets four files through at the same time, or none

    def on_event(event: Event) -> None:
        if isinstance(event, FileStarted):
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(20)

    with FTPPool(sshd.url, max_per_ip=1, channels=4, on_event=on_event) as pool:
        if way == "up":
            report = pool.upload_batch([here / name for name in names])
        else:
            report = pool.download_batch(names, tmp_path)
    assert report.ok
    assert not together.broken
    assert sshd.wait_idle().peak == 1


@pytest.mark.parametrize("kind", ["openssh", "asyncssh"])
def test_a_file_goes_on_where_it_ended(start: Start, kind: str) -> None:
    server = start(kind)
    content = os.urandom(1_000_000)
    told: list[int] = []
    with FTPPool(server.url) as pool, pool.acquire() as lease:
        files = lease.files()
        assert isinstance(files, Resumes)
        files.store("file", io.BytesIO(content[:300_000]), told.append)
        assert files.size("file") == 300_000
        rest = io.BytesIO(content)
        rest.seek(300_000)
        assert files.resume("file", rest, told.append, 300_000) == 1_000_000
        assert files.size("file") == 1_000_000
    assert told[-1] == 700_000
    assert (server.home / "file").read_bytes() == content


@pytest.mark.parametrize(
    ("denied", "notes"),
    [
        ("setstat", 0),  # the open file gets its time: nothing is asked by name
        ("fsetstat", 0),  # then by name, once it is closed
        ("setstat,fsetstat", 1),
    ],
)
def test_a_file_gets_its_time_before_it_is_closed_or_else_after(
    start: Start, tmp_path: Path, denied: str, notes: int
) -> None:
    server = start("openssh", options={"denied": denied})
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    os.utime(source, (1_700_000_000, 1_700_000_000.5))
    with FTPPool(server.url) as pool:
        outcome = pool.upload(source, "file", preserve_mtime=True)
        assert len(outcome.notes) == notes
        assert outcome.verified
        there = (server.home / "file").stat().st_mtime
        assert (there == 1_700_000_000) is (notes == 0)
        # The time is the file's that it was meant for, not the next one's.
        pool.upload(b"y", "next")
        assert (server.home / "next").stat().st_mtime > 1_700_000_000


class Spoiler(io.BytesIO):
    """A source at whose end a byte of what the server has stored of it changes on its disk."""

    def __init__(self, home: Path) -> None:
        super().__init__(b"x" * 50_000)
        self._home = home

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            (part,) = self._home.glob(".other.*")
            deadline = time.monotonic() + 5
            while part.stat().st_size < 50_000 and time.monotonic() < deadline:
                time.sleep(0.01)
            with part.open("r+b") as file:
                file.write(b"y")
        return data


def test_a_digest_is_compared_where_the_server_can_compute_it(start: Start, tmp_path: Path) -> None:
    key = new_key(tmp_path / "host_key").split()[1]
    pinned = base64.b64encode(hashlib.sha256(base64.b64decode(key)).digest()).decode()
    server = start(
        "proftpd",
        options={
            "SFTPEngine": "on",
            "SFTPHostKey": tmp_path / "host_key",
            "SFTPAuthMethods": "password",
        },
    )
    url = f"sftp://{server.user}:{server.password}@{server.host}:{server.port}"
    config = SSHConfig(fingerprint=f"SHA256:{pinned.rstrip('=')}", config_file=None)
    files = [(os.urandom(size), f"file-{size}") for size in (0, 1, 300_000)]
    once = RetryPolicy(attempts=1)
    with FTPPool(url, ssh=config, retry=once) as pool:
        report = pool.upload_batch(files, verify="hash")
        assert [outcome.verified for outcome in report.outcomes] == [True] * 3
        with pytest.raises(VerifyError, match=r"the server's digest is [0-9a-f]{64}, that of"):
            pool.upload(lambda: Spoiler(server.home), "other", verify="hash")
    assert {path.name for path in server.home.iterdir()} == {name for _, name in files}
