"""The pool's own life: reuse, sharing, time-outs, close."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ftppool
from ftppool import ConnectError, FTPPool, LeaseReturned, PoolClosed, RemoteRejected, Session
from ftppool.events import (
    Event,
    SessionClosed,
    SessionLent,
    SessionOpened,
    SessionOpening,
    SessionReturned,
    SessionSettled,
    SlotWaiting,
)
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import Server


def test_sessions_are_reused_and_ended_with_quit(server: Server) -> None:
    events: list[Event] = []
    with FTPPool(server.url, max_per_ip=2, on_event=events.append) as pool:
        for _ in range(10):
            with pool.ftp() as ftp:
                ftp.voidcmd("NOOP")
        assert pool.stats().opened == 1
        assert pool.stats().reused == 9
    census = server.wait_idle()
    assert census.connects == census.quits == 1
    opened, closed = [e for e in events if isinstance(e, SessionOpened | SessionClosed)]
    assert isinstance(opened, SessionOpened)
    assert isinstance(closed, SessionClosed)
    assert closed.politely
    kinds = [type(event) for event in events if not isinstance(event, SessionSettled)]
    assert kinds == [
        SlotWaiting, SessionOpening, SessionOpened, SessionLent, SessionReturned,
        *[SessionLent, SessionReturned] * 9, SessionClosed,
    ]  # fmt: skip
    assert all(event.kept for event in events if isinstance(event, SessionReturned))


def test_the_longest_times_that_are_taken_can_be_waited(server: Server, tmp_path: Path) -> None:
    longest = threading.TIMEOUT_MAX
    with FTPPool(
        server.url, max_per_ip=1, acquire_timeout=longest, connect_timeout=longest,
        io_timeout=longest, max_idle=longest, max_lifetime=longest, leak_warn_after=longest,
    ) as pool:  # fmt: skip
        assert pool.upload_batch([(b"1", "a"), (b"2", "b"), (bytes(2_000_000), "c")]).ok
        assert pool.download("c", tmp_path / "c").received == 2_000_000


def test_eight_threads_share_three_sessions(server: Server) -> None:
    def work() -> None:
        for _ in range(5):
            with pool.ftp() as ftp:
                ftp.voidcmd("NOOP")

    with FTPPool(server.url, max_per_ip=3) as pool:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pool.close().clean
        stats = pool.stats()
    assert stats.acquired == 40
    assert stats.opened <= 3
    assert stats.refused == 0
    census = server.wait_idle()
    assert census.peak <= 3
    assert census.quits == census.sessions == stats.opened


def test_two_pools_share_the_slots_of_an_address(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=2) as one, FTPPool(server.url, max_per_ip=2) as two:
        with one.ftp() as first, one.ftp() as second:
            first.voidcmd("NOOP")
            second.voidcmd("NOOP")
        # Both slots are taken by idle sessions of the first pool: one makes room.
        with two.ftp(timeout=5) as ftp:
            ftp.voidcmd("NOOP")
        assert one.stats().open == 1
    census = server.wait_idle()
    assert census.peak <= 2
    assert census.refusals == 0
    assert census.quits == 3


def test_max_idle_0_says_quit_on_every_release(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1, max_idle=0) as pool:
        for _ in range(4):
            with pool.ftp() as ftp:
                ftp.voidcmd("NOOP")
        assert pool.stats().opened == 4
    census = server.wait_idle()
    assert census.quits == 4
    assert census.refusals == 0  # the settling time: vsftpd refuses 9 of 10 without it


def test_the_cap_can_be_changed_and_sessions_be_replaced(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=3) as pool:
        with pool.ftp(), pool.ftp(), pool.ftp():
            pool.resize(1)
            assert pool.stats().cap == 1
        server.wait_for(lambda census: census.held == 1)
        with pool.ftp() as ftp:
            pool.expire()
            ftp.voidcmd("NOOP")
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert pool.stats().opened == 4


def test_an_unused_session_is_ended_after_max_idle(start: Start) -> None:
    server = start("vsftpd")
    with FTPPool(server.url, max_idle=0.2) as pool:
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        server.wait_for(lambda census: census.held == 0 and census.quits == 1)
        assert pool.stats().open == 0


def test_the_session_offers_files_and_directories(server: Server) -> None:
    with FTPPool(f"{server.url}/base") as pool, pool.session() as session:
        assert isinstance(session, Session)
        session.makedirs("a/b/c")
        session.upload(b"hello", "a/b/hello.txt")
        assert session.listdir("a/b") == ["c", "hello.txt"]
        kinds = {entry.name: (entry.kind, entry.size) for entry in session.scandir("a/b")}
        assert kinds["hello.txt"] == ("file", 5)
        assert kinds["c"][0] == "dir"
        assert session.size("a/b/hello.txt") == 5
        assert session.exists("a/b")
        assert not session.exists("a/b/nothing")
        session.rename("a/b/hello.txt", "a/b/hi.txt")
        session.upload(b"old", "a/b/other.txt")
        session.replace("a/b/hi.txt", "a/b/other.txt")
        assert session.size("a/b/other.txt") == 5
        session.chdir("a/b")
        assert session.getcwd().endswith("/base/a/b")
        assert session.listdir() == ["c", "other.txt"]
        session.remove("other.txt")
        session.rmdir("c")
        assert session.listdir("") == []
        with pytest.raises(RemoteRejected):
            session.remove("nothing")
        with pytest.raises(RemoteRejected):
            session.chdir("nowhere")
    with pytest.raises(LeaseReturned):
        session.listdir()


def test_close_is_one_total_and_takes_away_what_does_not_come_back(start: Start) -> None:
    server = start("vsftpd")
    pool = FTPPool(server.url, max_per_ip=2)
    lease = pool.acquire()
    with pool.ftp() as ftp:
        ftp.voidcmd("NOOP")
    began = time.monotonic()
    report = pool.close(timeout=1.0)
    assert time.monotonic() - began < 1.5
    assert report.clean
    assert (report.quits, report.cut, report.still_running) == (2, 0, 0)
    assert server.wait_idle().held == 0
    lease.release()
    with pytest.raises(LeaseReturned):
        lease.loan.pwd()
    again = pool.close()
    assert again.clean
    assert again.quits == 0
    with pytest.raises(PoolClosed):
        pool.acquire()
    assert pool.closed


def test_close_fails_those_who_wait_at_once(start: Start) -> None:
    server = start("pyftpdlib")
    pool = FTPPool(server.url, max_per_ip=1)
    lease = pool.acquire()
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            pool.acquire()
        except PoolClosed as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not pool.stats().waiting:
        pass
    closing = threading.Thread(target=pool.close)
    closing.start()
    thread.join(2)
    assert len(failures) == 1
    lease.release()
    closing.join()


def test_no_connect_begins_after_close() -> None:
    asked, go = threading.Event(), threading.Event()

    def password() -> str:
        asked.set()
        go.wait(30)
        return "secret"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        pool = FTPPool(f"ftp://me@127.0.0.1:{listener.getsockname()[1]}", password=password)
        told: list[Exception] = []

        def wait() -> None:
            try:
                pool.acquire()
            except PoolClosed as closed:
                told.append(closed)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert asked.wait(30)
        report = pool.close(timeout=0.2)
        assert (report.clean, report.still_running) == (False, 1)
        go.set()
        waiting.join(30)
        assert told
        while pool.stats().opening:
            time.sleep(0.01)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_every_call_ends_although_the_peer_is_silent(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib")
    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.url.replace(str(server.port), str(relay.port))
        pool = FTPPool(url, io_timeout=0.5, quit_timeout=0.3, connect_timeout=0.5)
        with pool.ftp() as ftp:
            relay.set(black_hole=True)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                ftp.voidcmd("NOOP")
            assert time.monotonic() - began < 2
        began = time.monotonic()
        with pytest.raises(ConnectError):
            pool.acquire(timeout=1)
        assert time.monotonic() - began < 2
        began = time.monotonic()
        report = pool.close()
        assert time.monotonic() - began < 3
        assert report.still_running == 0


def test_a_look_at_an_idle_session_does_not_outlast_the_wait(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib")
    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.url.replace(str(server.port), str(relay.port))
        with FTPPool(url, check_after_idle=0, quit_timeout=0.3, connect_timeout=0.5) as pool:
            with pool.ftp() as ftp:
                ftp.cwd("/")
            relay.set(black_hole=True)
            began = time.monotonic()
            with pytest.raises((ConnectError, ftppool.PoolTimeout)):
                pool.acquire(timeout=1)
            assert time.monotonic() - began < 3


def test_nobody_listening_is_one_clear_sentence() -> None:
    with (
        FTPPool("ftp://127.0.0.1:1", retry=ftppool.RetryPolicy(attempts=2)) as pool,
        pytest.raises(ConnectError, match=r"127\.0\.0\.1:1 cannot be reached: .*refused"),
    ):
        pool.acquire()


def test_localhost_is_reached_over_whichever_address_answers(start: Start) -> None:
    server = start("pyftpdlib")
    began = time.monotonic()
    with FTPPool(f"ftp://{server.user}:{server.password}@localhost:{server.port}") as pool:
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert pool.stats().open == 1
    assert time.monotonic() - began < 3


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that knows 127.0.0.2, then 127.0.0.1 for a name: no name here has two of them."""

    def answer(host: str, port: int, **_options: object) -> list[object]:
        assert host == "two.test"
        found = [("127.0.0.2", port), ("127.0.0.1", port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_a_silent_address_leaves_time_for_the_next_one(start: Start, two_addresses: None) -> None:
    server = start("pyftpdlib")
    with socket.create_server(("127.0.0.2", server.port)):
        url = f"ftp://{server.user}:{server.password}@two.test:{server.port}"
        with FTPPool(url, max_per_ip=2) as pool:
            began = time.monotonic()
            with pool.ftp(timeout=3) as ftp:
                assert 1 < time.monotonic() - began < 3
                ftp.voidcmd("NOOP")
                assert (pool.stats().open, pool.stats().opening) == (1, 1)
            began = time.monotonic()
            with pool.ftp(timeout=3), pool.ftp(timeout=3):
                assert time.monotonic() - began < 1, "it stays where it was answered"
            pool.close(timeout=2)


def test_who_gets_no_answer_is_told_that(start: Start, two_addresses: None) -> None:
    with socket.create_server(("127.0.0.2", 0)) as silent:
        port = silent.getsockname()[1]
        with (
            socket.create_server(("127.0.0.1", port)),
            FTPPool(f"ftp://two.test:{port}", close_timeout=1) as pool,
        ):
            began = time.monotonic()
            with pytest.raises(ConnectError, match=r"has not answered within 0\.\d+ s"):
                pool.acquire(timeout=1)
            assert time.monotonic() - began < 2


def slow(seconds: float) -> Callable[[], io.BytesIO]:
    def source() -> io.BytesIO:
        time.sleep(seconds)
        return io.BytesIO(b"x" * 1000)

    return source


def test_a_batch_makes_way_at_a_file_boundary_for_who_has_waited_long(start: Start) -> None:
    server = start("vsftpd", max_per_ip=1)
    with FTPPool(server.url, max_per_ip=1) as one, FTPPool(server.url, max_per_ip=1) as two:
        files = [(slow(0.3), f"f{number}") for number in range(20)]
        batch = threading.Thread(target=one.upload_batch, args=(files,))
        batch.start()
        server.wait_for(lambda census: census.held == 1)
        for pool in (one, two):
            with pool.ftp(timeout=5) as ftp:
                ftp.voidcmd("NOOP")
                assert batch.is_alive()
        batch.join()
    assert len(list(server.home.iterdir())) == 20
    census = server.wait_idle()
    assert (census.peak, census.refusals) == (1, 0)


def test_a_program_that_forgets_to_close_says_quit_all_the_same(server: Server) -> None:
    script = (
        "import sys, ftppool\n"
        "pool = ftppool.FTPPool(sys.argv[1], max_per_ip=2)\n"
        "held = pool.acquire()\n"
        "with pool.ftp() as ftp: ftp.pwd()\n"
        "print('at its end', flush=True)\n"
    )
    command = [sys.executable, "-c", script, server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "at its end\n"
        began = time.monotonic()
        assert program.wait(30) == 0
        assert time.monotonic() - began < 4
    census = server.wait_idle()
    assert census.sessions == census.quits == 2
