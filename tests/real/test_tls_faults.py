"""FTPS with peers that are silent, cheat or break off: nothing hangs, nothing stays."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Literal, get_args

import pytest

import ftppool
from ftppool import ConnectError, FTPPool, RetryPolicy, Target, TLSError
from ftppool.drivers.base import reset
from ftppool.drivers.ftps_lease import TLSDataSocket
from ftppool.drivers.replies import ReplyReader
from ftppool.drivers.tls import TLSPolicy, TLSState, says_nothing
from tests.conftest import Start
from tests.support import certificates
from tests.support.relay import Relay
from tests.support.scripted import Scripted, Trick


@pytest.fixture(autouse=True)
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let OpenSSL trust the authority of the certificates."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.write_authority(tmp_path)))


def short(url: str) -> FTPPool:
    return FTPPool(
        url, connect_timeout=0.4, io_timeout=0.4, quit_timeout=0.3, retry=RetryPolicy(attempts=2)
    )


@pytest.mark.parametrize("implicit", [False, True], ids=["ftps", "ftpsi"])
@pytest.mark.parametrize("trick", ["silent-greeting", "silent-handshake", "silent-login", "drops"])
def test_an_open_ends_at_its_limit(trick: Trick, implicit: bool, tmp_path: Path) -> None:
    with Scripted(trick, tmp_path, implicit=implicit) as peer:
        with short(peer.url) as pool:
            began = time.monotonic()
            # In time, and not as a TLSError: that would mean that trying again has no sense.
            with pytest.raises((ConnectionError, ftppool.PoolTimeout)):
                pool.acquire(timeout=1.5)
            assert time.monotonic() - began < 3
            assert not any("PASS" in command for command in peer.commands)
            began = time.monotonic()
            assert pool.close().still_running == 0
            assert time.monotonic() - began < 3
        deadline = time.monotonic() + 2
        while peer.ended < len(peer._threads) - 1:
            assert time.monotonic() < deadline, "a connection was left open"
            time.sleep(0.01)


@pytest.mark.parametrize("implicit", [False, True], ids=["ftps", "ftpsi"])
def test_a_request_ends_at_its_limit(implicit: bool, tmp_path: Path) -> None:
    with Scripted("silent-request", tmp_path, implicit=implicit) as peer, short(peer.url) as pool:
        with pool.ftp() as ftp:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                ftp.pwd()
        assert time.monotonic() - began < 2
        with pytest.raises(ftppool.ConnectionLost, match="no answer"), pool.session() as session:
            session.size("f")


@pytest.mark.parametrize("at", [1, 1000, 65_537, 199_999])
def test_a_data_connection_cut_at_any_byte_costs_one_more_attempt_of_that_file(
    start: Start, at: int
) -> None:
    server = start("pyftpdlib+tls", options={"cuts": at})
    files = [(b"a" * 100, "small"), (b"b" * 200_000, "big"), (b"c" * 100, "last")]
    quick = RetryPolicy(attempts=8, first_wait=0.02, max_wait=0.1)
    report = ftppool.upload_batch(files, server.url, max_per_ip=1, retry=quick, io_timeout=5.0)
    assert sum(outcome.attempts for outcome in report.outcomes) == 4
    assert {path.name: path.read_bytes() for path in server.home.iterdir()} == {
        name: content for content, name in files
    }


def test_a_close_wakes_who_waits_on_a_silent_server(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd+tls")
    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.url.replace(str(server.port), str(relay.port))
        pool = FTPPool(url, quit_timeout=0.3)
        lease = pool.acquire()
        relay.set(black_hole=True)
        woken: list[BaseException] = []

        def ask() -> None:
            try:
                lease.loan.pwd()
            except (OSError, EOFError, ftppool.FTPPoolError) as error:
                woken.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        began = time.monotonic()
        assert pool.close(timeout=1).cut == 1
        thread.join(5)
        assert woken
        assert time.monotonic() - began < 3
        lease.release()


def test_what_is_said_behind_the_answer_to_auth_tls_is_not_believed(tmp_path: Path) -> None:
    with (
        Scripted("injects", tmp_path) as peer,
        short(peer.url) as pool,
        pytest.raises(TLSError, match="not safe"),
    ):
        pool.acquire()
    assert peer.commands == ["AUTH TLS"]


def test_a_server_that_does_not_encrypt_files_gets_none(tmp_path: Path) -> None:
    with (
        Scripted("no-prot", tmp_path) as peer,
        short(peer.url) as pool,
        pytest.raises(TLSError, match="nothing goes in clear text: 536"),
    ):
        pool.acquire()
    assert peer.commands[-1] == "PROT P"


def test_a_handshake_cut_off_is_trouble_and_no_verdict(tmp_path: Path) -> None:
    with (
        Scripted("drops", tmp_path) as peer,
        short(peer.url) as pool,
        pytest.raises(ConnectError, match="broke in the TLS handshake"),
    ):
        pool.acquire()
    assert peer.commands == ["AUTH TLS"] * 2  # both attempts of its policy


def test_a_ticket_that_comes_late_is_not_taken_for_the_end(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.write_certificate(tmp_path))
    client_end, server_end = socket.socketpair()
    served: list[ssl.SSLSocket] = []

    def serve() -> None:
        served.append(context.wrap_socket(server_end, server_side=True))

    thread = threading.Thread(target=serve)
    thread.start()
    client = ssl.create_default_context().wrap_socket(client_end, server_hostname="localhost")
    thread.join()
    with client, served[0] as peer:
        assert client.version() == "TLSv1.3"
        client.settimeout(7)
        reader = ReplyReader(client, "utf-8")
        assert select.select([client], [], [], 5)[0]  # the server's tickets
        assert not reader.arrived()
        assert says_nothing(client)
        assert client.gettimeout() == 7
        peer.sendall(b"200 OK\r\n")
        select.select([client], [], [], 5)
        assert reader.arrived()
        assert reader.reply() == "200 OK"
        assert not reader.arrived()
        peer.sendall(b"421 Timeout.\r\n")
        assert not says_nothing(client)
    assert not says_nothing(client)
    assert reader.arrived()


Ending = Literal["answers", "says-nothing", "closes", "resets"]


def receive(sock: ssl.SSLSocket, ending: Ending, received: bytearray) -> None:
    """Take a file as a server's data connection; end it as one of those that there are."""
    while chunk := sock.recv(65536):
        received += chunk
    if ending == "answers":
        sock.unwrap()
    elif ending == "says-nothing":  # IIS: until the client closes
        socket.socket.recv(sock, 1)
    elif ending == "resets":
        reset(sock)
    sock.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("ending", get_args(Ending))
def test_however_the_server_ends_a_data_connection_it_has_the_file(
    ending: Ending, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.load_cert_chain(certificates.write_certificate(tmp_path))
    content = bytes(range(256)) * 8000
    state = TLSState(TLSPolicy(Target.parse("ftps://localhost"), None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):
            received = bytearray()

            def serve(received: bytearray = received) -> None:
                sock = context.wrap_socket(listener.accept()[0], server_side=True)
                receive(sock, ending, received)

            thread = threading.Thread(target=serve)
            thread.start()
            sock = state.policy.wrap(socket.create_connection(listener.getsockname(), timeout=5))
            state.policy.shake_hands(sock)
            with TLSDataSocket.of(sock, state) as data:
                data.sendall(content)
                began = time.monotonic()
                data.unwrap()
            assert time.monotonic() - began < 3
            thread.join()
            assert bytes(received) == content
            state.let_go()  # as the final reply does
            assert data.fileno() == -1
