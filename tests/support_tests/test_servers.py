"""The test servers do what the tests of ftppool rely on."""

from __future__ import annotations

import ftplib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import install, servers
from tests.support.processes import connections_to
from tests.support.servers import KINDS, Server

Start = Callable[..., Server]

# How each limit turns a client away: kind, options, exception, words.
LIMITS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("vsftpd", {}, ftplib.error_temp, "421 There are too many connections from your"),
    ("vsftpd", {"max_per_ip": 0, "max_clients": 1}, ftplib.error_temp, "421 There are too many"),
    ("proftpd", {}, ftplib.error_perm, "530 Sorry, the maximum number of connections (1)"),
    ("proftpd", {"limit": "MaxInstances"}, EOFError, ""),
    ("proftpd", {"limit": "MaxClientsPerHost"}, ftplib.error_perm, "530 Sorry, the maximum"),
    ("proftpd", {"limit": "MaxClientsPerUser"}, ftplib.error_perm, "530 Sorry, the maximum"),
    ("pure-ftpd", {}, ftplib.error_temp, "421 Too many connections (1) from this IP"),
    ("pure-ftpd", {"limit": "-y"}, ftplib.error_temp, "421 I can't accept more than 1"),
    ("pyftpdlib", {}, ftplib.error_temp, "421 Too many connections from the same IP"),
]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers that are stopped after the test; skip it where one cannot be had."""
    with ExitStack() as stack:

        def start_one(kind: str, *, max_per_ip: int | None = None, **options: Any) -> Server:
            reason = servers.available(kind)
            if reason:
                pytest.skip(reason)
            home = tmp_path / "home"
            server = servers.start(
                kind, max_per_ip=max_per_ip, root=home, workdir=tmp_path, **options
            )
            return stack.enter_context(server)

        yield start_one


@pytest.fixture
def log_in() -> Iterator[Callable[..., ftplib.FTP]]:
    """Open ftplib sessions that are closed, without QUIT, after the test."""
    with ExitStack() as stack:

        def log_in_one(server: Server, password: str | None = None) -> ftplib.FTP:
            ftp = ftplib.FTP(timeout=10)
            stack.callback(ftp.close)
            ftp.connect(server.host, server.port)
            ftp.login(server.user, server.password if password is None else password)
            return ftp

        yield log_in_one


LogIn = Callable[..., ftplib.FTP]


def status(pid: int | str) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on, nothing for no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def family(pid: int) -> set[int]:
    """Return `pid` and all its descendants."""
    table = {int(entry): status(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    parents = {child: int(fields[1]) for child, fields in table.items() if fields}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def alive(pids: set[int]) -> set[int]:
    """Return those of `pids` that run; orphaned zombies, which are init's to reap, do not."""
    return {pid for pid in pids if status(pid)[:1] not in ([], ["Z"], ["X"])}


def wait_until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.003)


@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_lands_in_the_home_folder(kind: str, start: Start, log_in: LogIn) -> None:
    server = start(kind)
    ftp = log_in(server)
    ftp.storbinary("STOR name", io.BytesIO(b"content"))
    ftp.storbinary("STOR name", io.BytesIO(b"content"))  # overwriting is allowed
    ftp.mkd("folder")
    ftp.rename("name", "folder/other")
    assert (server.home / "folder" / "other").read_bytes() == b"content"
    received: list[bytes] = []
    ftp.retrbinary("RETR folder/other", received.append)
    assert b"".join(received) == b"content"
    ftp.quit()
    assert server.wait_idle().sessions == 1


@pytest.mark.parametrize(("kind", "options", "error", "words"), LIMITS)
def test_a_refusal_has_the_real_words_and_is_counted(
    kind: str,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
    start: Start,
    log_in: LogIn,
) -> None:
    server = start(kind, max_per_ip=1, options=options)
    first = log_in(server)
    with pytest.raises(error) as caught:
        log_in(server)
    assert str(caught.value).startswith(words)
    server.wait_for(lambda census: census.refusals == 1)
    first.quit()
    census = server.wait_idle()
    assert (census.connects, census.sessions, census.refusals) == (2, 1, 1)
    assert (census.peak, census.logins_failed) == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_quit_counts_and_a_dropped_connection_does_not(
    kind: str, start: Start, log_in: LogIn
) -> None:
    server = start(kind)
    polite, rude = log_in(server), log_in(server)
    polite.quit()
    rude.close()
    census = server.wait_idle()
    assert (census.sessions, census.quits, census.held) == (2, 1, 0)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_peak_is_the_number_of_concurrent_sessions(
    kind: str, count: int, start: Start, log_in: LogIn
) -> None:
    server = start(kind)
    sessions = [log_in(server) for _ in range(count)]
    assert server.wait_for(lambda census: census.held == count).peak == count
    sessions[0].quit()
    server.wait_for(lambda census: census.held == count - 1)
    sessions[0] = log_in(server)
    for ftp in sessions:
        ftp.quit()
    census = server.wait_idle()
    assert (census.peak, census.sessions, census.quits) == (count, count + 1, count + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stampede_does_not_exceed_the_limit(kind: str, start: Start) -> None:
    server = start(kind, max_per_ip=3)
    barrier = threading.Barrier(8)
    done = threading.Barrier(9)

    def visit() -> None:
        ftp = ftplib.FTP(timeout=10)
        barrier.wait()
        try:
            ftp.connect(server.host, server.port)
            ftp.login(server.user, server.password)
        except ftplib.Error:
            pass
        finally:
            done.wait()
            time.sleep(0.3)  # ProFTPD's children are counted by looking at them now and then
            ftp.close()

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    done.wait()
    for thread in threads:
        thread.join()
    census = server.wait_idle()
    assert (census.peak, census.sessions, census.refusals, census.connects) == (3, 3, 5, 8)


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pyftpdlib"])
def test_an_idle_session_is_ended_by_the_server(kind: str, start: Start, log_in: LogIn) -> None:
    server = start(kind, idle_timeout=1)
    ftp = log_in(server)
    census = server.wait_idle()
    assert (census.sessions, census.quits) == (1, 0)
    with pytest.raises(ftplib.error_temp, match=r"421 .*[Tt]ime"):
        ftp.voidcmd("NOOP")


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_login_is_counted_and_is_no_refusal(kind: str, start: Start, log_in: LogIn) -> None:
    server = start(kind)
    ftp = ftplib.FTP()
    ftp.connect(server.host, server.port, timeout=10)
    with pytest.raises(ftplib.error_perm, match="530"):
        ftp.login("somebody", "wrong")
    ftp.close()
    census = server.wait_idle()
    assert (census.logins_failed, census.sessions, census.refusals) == (1, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_census_opens_no_connection(kind: str, start: Start) -> None:
    server = start(kind)
    for _ in range(20):
        server.census()
    assert server.wait_idle().connects == 0


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_ends_all_processes_and_keeps_the_census(
    kind: str, start: Start, log_in: LogIn
) -> None:
    server = start(kind)
    log_in(server)
    processes = family(os.getpid()) - {os.getpid()}
    assert processes
    server.stop()
    assert alive(processes) == set()
    server.stop()
    census = server.census()
    assert (census.held, census.peak, census.sessions) == (0, 1, 1)
    assert connections_to(server.port) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_ends_with_the_process_that_started_it(
    kind: str, start: Start, tmp_path: Path
) -> None:
    start(kind).stop()  # skips where there is none
    code = f"""
import ftplib, os, pathlib, sys
from tests.support import servers
from tests.support_tests.test_servers import family
place = pathlib.Path({str(tmp_path)!r})
server = servers.start({kind!r}, max_per_ip=None, root=place / "home", workdir=place)
ftp = ftplib.FTP()
ftp.connect(server.host, server.port)
ftp.login(server.user, server.password)
print(*family(os.getpid()) - {{os.getpid()}})
sys.stdout.flush()
os._exit(1)
"""
    command = [sys.executable, "-c", code]
    top = Path(__file__).parents[2]
    done = subprocess.run(command, check=False, cwd=top, capture_output=True, text=True, timeout=20)
    processes = {int(number) for number in done.stdout.split()}
    assert len(processes) >= (1 if kind == "pyftpdlib" else 3), done.stderr
    wait_until(lambda: not alive(processes))


def test_servers_side_by_side_do_not_meet(start: Start, log_in: LogIn) -> None:
    running = [start(kind) for kind in KINDS for _ in range(2) if not servers.available(kind)]
    for number, server in enumerate(running):
        log_in(server).storbinary(f"STOR file{number}", io.BytesIO(b"x"))
    assert len({server.port for server in running}) == len(running)
    assert len(os.listdir(running[0].home)) == len(running)
    assert {server.census().connects for server in running} == {1}


def test_proftpd_can_forbid_overwriting(start: Start, log_in: LogIn) -> None:
    server = start("proftpd", options={"AllowOverwrite": "off"})
    ftp = log_in(server)
    ftp.storbinary("STOR name", io.BytesIO(b"x"))
    with pytest.raises(ftplib.error_perm, match="Overwrite permission denied"):
        ftp.storbinary("STOR name", io.BytesIO(b"x"))


def test_a_server_that_cannot_start_says_why(start: Start) -> None:
    with pytest.raises(RuntimeError, match="unknown configuration directive"):
        start("proftpd", options={"NoSuchDirective": "on"})


def test_waiting_in_vain_tells_the_census(start: Start, log_in: LogIn) -> None:
    server = start("vsftpd")
    log_in(server)
    with pytest.raises(AssertionError, match="held=1"):
        server.wait_idle(timeout=0.05)


def test_the_url_has_all_that_a_client_needs(start: Start) -> None:
    server = start("pyftpdlib")
    assert server.url == f"ftp://{server.user}:{server.password}@127.0.0.1:{server.port}"


def test_installing_again_costs_nothing() -> None:
    if install.find("vsftpd") is None:
        pytest.skip("not installed")
    took = []
    for _ in range(5):  # a busy machine makes one of them late, but not all
        begin = time.monotonic()
        install.ensure()
        took.append(time.monotonic() - begin)
    assert min(took) < 0.1
