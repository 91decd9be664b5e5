"""The relay counts what passes and does the damage that it is told to do."""

from __future__ import annotations

import ftplib
import io
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.processes import ChildError
from tests.support.relay import Relay, Seen
from tests.support.servers import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("server")
    with servers.start("pyftpdlib", max_per_ip=None, root=place / "home", workdir=place) as running:
        yield running


@pytest.fixture
def relay(server: Server, tmp_path: Path) -> Iterator[Relay]:
    with Relay(server.port, workdir=tmp_path) as running:
        yield running


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as things:
        yield things


def connect(relay: Relay, stack: ExitStack, timeout: float = 5.0) -> ftplib.FTP:
    """Connect through the relay, not yet logged in."""
    ftp = ftplib.FTP(timeout=timeout)
    stack.callback(ftp.close)
    ftp.connect(relay.host, relay.port)
    return ftp


def log_in(relay: Relay, server: Server, stack: ExitStack) -> ftplib.FTP:
    ftp = connect(relay, stack)
    ftp.login(server.user, server.password)
    return ftp


def control(ftp: ftplib.FTP) -> socket.socket:
    assert ftp.sock is not None
    return ftp.sock


def wait_idle(relay: Relay) -> Seen:
    deadline = time.monotonic() + 5.0
    while (seen := relay.look()).census.held:
        assert time.monotonic() < deadline, seen
        time.sleep(0.003)
    return seen


def test_the_relay_counts(relay: Relay, server: Server, stack: ExitStack) -> None:
    first, second = (log_in(relay, server, stack) for _ in range(2))
    first.storbinary("STOR name", io.BytesIO(b"content"))
    assert relay.look().census.held == 2
    first.quit()
    second.close()
    wait_idle(relay)
    third = connect(relay, stack)
    with pytest.raises(ftplib.error_perm):
        third.login("nobody", "wrong")
    third.close()
    seen = wait_idle(relay)
    assert (server.home / "name").read_bytes() == b"content"
    assert seen.completed == 1
    assert [greeting[:3] for greeting in seen.greetings] == ["220"] * 3
    census = seen.census
    assert (census.connects, census.sessions, census.quits) == (3, 2, 1)
    assert (census.peak, census.refusals, census.logins_failed) == (2, 0, 1)


def test_connections_are_refused_with_any_words(relay: Relay, stack: ExitStack) -> None:
    relay.set(refuse=2, words="530 Sorry, too many\r\n")
    for _ in range(2):
        with pytest.raises(ftplib.error_perm, match="530 Sorry, too many"):
            connect(relay, stack)
    connect(relay, stack).quit()
    seen = wait_idle(relay)
    assert seen.greetings[:2] == ("530 Sorry, too many",) * 2
    assert (seen.census.refusals, seen.census.peak, seen.census.connects) == (2, 1, 3)


def test_connections_are_refused_without_a_word(relay: Relay, stack: ExitStack) -> None:
    relay.set(refuse=1, words="")
    with pytest.raises(EOFError):
        connect(relay, stack)
    assert relay.look().census.refusals == 1


def test_a_silent_refusal_by_the_server_is_a_refusal(
    server: Server, tmp_path: Path, stack: ExitStack
) -> None:
    before = stack.enter_context(Relay(server.port, workdir=tmp_path, refuse=1))
    relay = stack.enter_context(Relay(before.port, workdir=tmp_path))
    with pytest.raises(EOFError):
        connect(relay, stack)
    seen = wait_idle(relay)
    assert (seen.census.refusals, seen.census.peak) == (1, 0)


def test_a_delay_is_one_way(relay: Relay, server: Server, stack: ExitStack) -> None:
    ftp = log_in(relay, server, stack)

    def fastest() -> float:
        """Of some answers: a busy machine makes one of them late, but not all."""
        took = []
        for _ in range(5):
            begin = time.monotonic()
            ftp.voidcmd("NOOP")
            took.append(time.monotonic() - begin)
        return min(took)

    relay.set(delay=0.1)
    assert 0.2 <= fastest() < 0.4
    relay.set(delay=0.0)
    assert fastest() < 0.1


def test_open_connections_are_reset(relay: Relay, server: Server, stack: ExitStack) -> None:
    ftp = log_in(relay, server, stack)
    relay.reset()
    with pytest.raises(ConnectionResetError):
        control(ftp).recv(1)
    wait_idle(relay)
    assert server.wait_idle().held == 0


def test_a_connection_is_reset_at_a_byte(relay: Relay, server: Server, stack: ExitStack) -> None:
    relay.set(reset_at=len("USER tester\r\nPASS"))
    ftp = connect(relay, stack)
    assert ftp.sendcmd(f"USER {server.user}").startswith("331")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        ftp.sendcmd(f"PASS {server.password}")
    log_in(relay, server, stack).quit()  # only once
    assert wait_idle(relay).census.sessions == 1


def test_a_black_hole_keeps_everything_back(relay: Relay, server: Server, stack: ExitStack) -> None:
    ftp = log_in(relay, server, stack)
    relay.set(black_hole=True)
    control(ftp).settimeout(0.1)
    control(ftp).sendall(b"NOOP\r\n")
    with pytest.raises(TimeoutError):
        control(ftp).recv(1)
    relay.set(black_hole=False)
    control(ftp).settimeout(5.0)
    assert control(ftp).recv(3) == b"200"


def test_a_fin_is_kept_back_by_a_black_hole(relay: Relay, server: Server, stack: ExitStack) -> None:
    ftp = log_in(relay, server, stack)
    relay.set(black_hole=True)
    ftp.close()
    with pytest.raises(AssertionError):
        server.wait_idle(timeout=0.1)
    relay.set(black_hole=False)
    server.wait_idle()


def test_a_fin_can_be_slow(relay: Relay, server: Server, stack: ExitStack) -> None:
    ftp = log_in(relay, server, stack)
    relay.set(fin_delay=0.2)
    begin = time.monotonic()
    ftp.close()
    server.wait_idle()
    assert time.monotonic() - begin >= 0.2


def test_one_direction_can_be_closed(relay: Relay, server: Server, stack: ExitStack) -> None:
    ftp = log_in(relay, server, stack)
    relay.half_close("client")
    assert control(ftp).recv(1) == b""
    assert relay.look().census.held == 1
    control(ftp).sendall(b"QUIT\r\n")
    assert wait_idle(relay).census.quits == 1


def test_a_reply_can_be_lost(relay: Relay, server: Server, stack: ExitStack) -> None:
    ftp = log_in(relay, server, stack)
    control(ftp).settimeout(0.2)
    relay.set(drop="226")
    with pytest.raises(TimeoutError):
        ftp.storbinary("STOR lost", io.BytesIO(b"content"))
    control(ftp).settimeout(5.0)
    assert (server.home / "lost").read_bytes() == b"content"
    again = log_in(relay, server, stack)
    assert again.storbinary("STOR kept", io.BytesIO(b"content")).startswith("226")
    assert relay.look().completed == 2


def test_a_lost_reply_may_have_many_lines(relay: Relay, stack: ExitStack, server: Server) -> None:
    ftp = log_in(relay, server, stack)
    relay.set(drop="211")
    control(ftp).sendall(b"FEAT\r\nNOOP\r\n")
    assert ftp.getline().startswith("200")


def test_stopping_the_relay_closes_what_is_open(
    relay: Relay, server: Server, stack: ExitStack
) -> None:
    ftp = log_in(relay, server, stack)
    relay.stop()
    assert control(ftp).recv(1) == b""
    server.wait_idle()
    seen = relay.look()
    assert (seen.census.held, seen.census.sessions) == (0, 1)
    with closing(socket.socket()) as late, pytest.raises(ConnectionRefusedError):
        late.connect((relay.host, relay.port))


def test_a_wrong_setting_is_an_error(relay: Relay) -> None:
    with pytest.raises(ChildError, match="no setting speed"):
        relay.set(speed=1)  # type: ignore[call-arg]  # wrong on purpose
    assert relay.look().census.connects == 0
