"""A refusal is not a failure: what each server says at its limit, and what the pool makes of it."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from typing import Any, Self

import pytest

import ftppool
from ftppool import AuthError, BatchError, FTPPool, PoolTimeout, RetryPolicy, ServerBusy
from ftppool.events import Event, SessionRefused
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import Server

LIMITS: list[tuple[str, dict[str, Any], str]] = [
    ("vsftpd", {}, "421 There are too many connections from your internet address"),
    ("vsftpd", {"max_per_ip": 0, "max_clients": 2}, "421 There are too many connected users"),
    ("proftpd", {}, "530 Sorry, the maximum number of connections (2) for your host"),
    ("proftpd", {"limit": "MaxClientsPerHost"}, "530 Sorry, the maximum number of clients (2)"),
    ("proftpd", {"limit": "MaxClientsPerUser"}, "530 Sorry, the maximum number of clients (2)"),
    ("proftpd", {"limit": "MaxInstances"}, ""),
    ("pure-ftpd", {}, "421 Too many connections (2) from this IP"),
    ("pure-ftpd", {"limit": "-y"}, "421 I can't accept more than 2 connections as the same user"),
    ("pyftpdlib", {}, "421 Too many connections from the same IP address"),
]
IDS = [f"{kind}-{'-'.join(map(str, options.values()))}" for kind, options, _ in LIMITS]


@pytest.mark.parametrize(("kind", "options", "words"), LIMITS, ids=IDS)
def test_a_batch_that_wants_more_than_the_server_allows_arrives_whole(
    start: Start, kind: str, options: dict[str, Any], words: str
) -> None:
    server = start(kind, max_per_ip=2, options=options)
    refused: list[SessionRefused] = []
    refusal_seen = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, SessionRefused):
            refused.append(event)
            refusal_seen.set()

    def content() -> io.BytesIO:
        refusal_seen.wait(10)  # so that there is work left when the third connection is tried
        return io.BytesIO(b"x" * 20_000)

    report = ftppool.upload_batch(
        [(content, f"f{number}") for number in range(30)],
        server.url,
        max_per_ip=6,
        on_event=listen,
    )
    assert report.ok
    assert len(list(server.home.iterdir())) == 30
    assert refusal_seen.is_set()
    assert {event.reply[: len(words)] for event in refused} == {words}
    census = server.wait_idle()
    if options.get("limit") != "-y":  # Pure-FTPd reads that count before it writes it
        assert census.peak <= 2
    # Never hammer: the cap is known after the first refusals.
    assert len(refused) <= 4


class Hogs:
    """Somebody else who holds all places of a server, in a process of his own."""

    SCRIPT = """
import ftplib, sys, time
held = []
for _ in range(100):
    ftp = ftplib.FTP()
    try:
        ftp.connect(sys.argv[1], int(sys.argv[2]))
        ftp.login(sys.argv[3], sys.argv[5])
    except (ftplib.error_temp, ftplib.error_perm, EOFError) as error:  # a busy server counts late
        if not isinstance(error, EOFError) and str(error)[:3] not in ("421", "530"):
            raise
        ftp.close()
        time.sleep(0.1)
        continue
    held.append(ftp)
    if len(held) == int(sys.argv[4]):
        break
print("ready", flush=True)
sys.stdin.readline()
for ftp in held:
    ftp.quit()
"""

    def __init__(self, server: Server, count: int) -> None:
        arguments = [server.host, str(server.port), server.user, str(count), server.password]
        self.left = False
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            self.leave()
            raise AssertionError("the server did not let the other one in")
        return self

    def leave(self) -> None:
        """Give all places up."""
        if not self.left:
            self.left = True
            self.process.communicate("\n", timeout=10)

    def __exit__(self, *_args: object) -> None:
        self.leave()


@pytest.mark.parametrize(("kind", "options", "words"), LIMITS, ids=IDS)
def test_a_full_server_ends_the_wait_with_its_own_words(
    start: Start, kind: str, options: dict[str, Any], words: str
) -> None:
    server = start(kind, max_per_ip=2, options=options)
    with Hogs(server, 2), FTPPool(server.url, max_per_ip=2) as pool:
        began = time.monotonic()
        with pytest.raises(ServerBusy) as caught:
            pool.acquire(timeout=1.2)
        assert time.monotonic() - began < 3
        error = caught.value
        if words:
            assert error.reply is not None
            assert error.reply.startswith(words)
            assert words in str(error)
            assert error.code == int(words[:3])
        assert error.retryable
        assert error.address == f"127.0.0.1:{server.port}"
        assert pool.stats().refused <= 4
        assert pool.stats().learned is None  # somebody else holds the places: nothing to learn


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
def test_who_waits_in_line_gets_the_place_that_somebody_gives_up(start: Start, kind: str) -> None:
    server = start(kind, max_per_ip=1)
    with Hogs(server, 1) as hogs, FTPPool(server.url, max_per_ip=3, acquire_timeout=20) as pool:
        leaving = threading.Timer(0.7, hogs.leave)
        leaving.start()
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        leaving.join()


@pytest.mark.parametrize("kind", ["proftpd", "pyftpdlib", "pure-ftpd"])
def test_a_wrong_password_fails_at_once_and_is_tried_once(start: Start, kind: str) -> None:
    server = start(kind, max_per_ip=3)
    url = f"ftp://{server.user}@{server.host}:{server.port}"
    with FTPPool(url, password="wrong-and-secret", max_per_ip=3) as pool:
        with pytest.raises(AuthError) as caught:
            pool.acquire()
        assert caught.value.code == 530
        assert caught.value.reply is not None
        assert caught.value.reply.startswith("530 ")
        assert not caught.value.retryable
    assert server.wait_idle().logins_failed == 1
    assert server.census().connects == 1
    with pytest.raises(BatchError) as group:
        ftppool.upload_batch(
            [(b"x", f"f{n}") for n in range(50)], url, password="wrong-and-secret", max_per_ip=3
        )
    assert [type(error) for error in group.value.exceptions] == [AuthError]
    assert len(group.value.report.not_attempted) == 50
    assert "wrong-and-secret" not in repr(group.value) + str(group.value.report.to_dict())
    assert server.wait_idle().logins_failed == 2  # once for the pool, once for the batch


def _without_password(server: Server, relay: Relay) -> str:
    return f"ftp://{server.user}@{server.host}:{relay.port}"


@pytest.mark.parametrize("kind", ["proftpd", "pure-ftpd", "pyftpdlib"])
def test_a_wrong_password_is_tried_by_one_connection_while_the_others_wait_for_it(
    start: Start, kind: str, tmp_path: Any
) -> None:
    server = start(kind, max_per_ip=4)
    told: list[object] = []

    def ask(pool: FTPPool) -> None:
        try:
            pool.acquire(timeout=30)
        except Exception as error:
            told.append(error)

    with (
        # So long that all are there before anybody has sent a password.
        Relay(server.port, workdir=tmp_path, delay=0.1) as relay,
        FTPPool(_without_password(server, relay), password="wrong", max_per_ip=4) as pool,
    ):
        threads = [threading.Thread(target=ask, args=(pool,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [type(error) for error in told] == [AuthError] * 8
    census = server.wait_idle()
    assert census.logins_failed == 1
    assert census.quits == census.connects - 1


@pytest.mark.parametrize("kind", ["proftpd", "pure-ftpd", "pyftpdlib"])
def test_a_batch_with_a_wrong_password_tries_it_once_whatever_its_workers(
    start: Start, kind: str, tmp_path: Any
) -> None:
    server = start(kind, max_per_ip=4)
    with Relay(server.port, workdir=tmp_path, delay=0.05) as relay:
        report = ftppool.upload_batch(
            [(b"x", f"f{n}") for n in range(50)],
            _without_password(server, relay),
            password="wrong",
            max_per_ip=4,
            check=False,
        )
    assert [type(cause) for cause in report.causes] == [AuthError]
    assert len(report.not_attempted) == 50
    census = server.wait_idle()
    assert census.logins_failed == 1
    assert census.quits == census.connects - 1


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pyftpdlib"])
def test_a_session_that_the_server_timed_out_is_replaced_at_once(start: Start, kind: str) -> None:
    server = start(kind, max_per_ip=1, idle_timeout=1)
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        server.wait_for(lambda census: census.held == 0)
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert pool.stats().opened == 2
        assert pool.stats().refused == 0


def test_a_pool_whose_sessions_are_all_in_use_says_who_has_them(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=2)
    with FTPPool(server.url, max_per_ip=2) as pool:
        leases = []

        def hold() -> None:
            leases.append(pool.acquire())

        holder = threading.Thread(target=hold, name="the-holder")
        holder.start()
        holder.join()
        with pool.ftp():
            failure: list[BaseException] = []

            def ask() -> None:
                try:
                    pool.acquire(timeout=0.2)
                except PoolTimeout as error:
                    failure.append(error)

            asker = threading.Thread(target=ask)
            asker.start()
            asker.join()
        leases[0].release()
        error = failure[0]
        assert isinstance(error, PoolTimeout)
        assert {held.thread for held in error.holders} == {"the-holder", "MainThread"}
        assert "test_refused.py" in str(error)
        assert "2 of 2 are in use" in str(error)


def test_silence_before_the_greeting_is_a_refusal_too(start: Start, tmp_path: Any) -> None:
    server = start("pyftpdlib")
    with Relay(server.port, workdir=tmp_path) as relay:
        relay.set(refuse=2, words="")
        url = server.url.replace(str(server.port), str(relay.port))
        with FTPPool(url, max_per_ip=1) as pool, pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
            assert pool.stats().refused == 2


def test_words_of_the_administrator_can_be_taught(start: Start, tmp_path: Any) -> None:
    server = start("pyftpdlib")
    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.url.replace(str(server.port), str(relay.port))
        relay.set(refuse=1, words="530 Nix frei heute\r\n")
        with FTPPool(url, retry=RetryPolicy(patterns=("nix frei",))) as pool, pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
            assert pool.stats().refused == 1


def test_a_thread_that_waits_for_itself_is_told_at_once(start: Start) -> None:
    server = start("pyftpdlib")
    with FTPPool(server.url, max_per_ip=1) as pool, pool.ftp():
        began = time.monotonic()
        with pytest.raises(ftppool.WouldDeadlock):
            pool.acquire(timeout=30)
        with pytest.raises(BatchError) as caught:
            pool.upload_batch([(b"x", "f")])
        assert isinstance(caught.value.exceptions[0], ftppool.WouldDeadlock)
        assert time.monotonic() - began < 5
