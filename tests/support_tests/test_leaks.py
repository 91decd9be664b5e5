"""The leak check finds threads, descriptors and sessions, and is cheap without any."""

from __future__ import annotations

import ftplib
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.leaks import no_leaks


def test_nothing_left_is_no_error_and_costs_little() -> None:
    begin = time.thread_time()  # what others do meanwhile does not count
    for _ in range(20):
        with no_leaks():
            pass
    assert (time.thread_time() - begin) / 20 < 0.005


def test_a_thread_is_named() -> None:
    ending = threading.Event()
    thread = threading.Thread(target=ending.wait, name="the-forgotten")
    with pytest.raises(AssertionError, match="the-forgotten"), no_leaks(grace=0.05):
        thread.start()
    ending.set()
    thread.join()


def test_a_thread_that_is_about_to_end_is_waited_for() -> None:
    thread = threading.Thread(target=time.sleep, args=(0.1,))
    with no_leaks():
        thread.start()
    assert not thread.is_alive()


def test_a_descriptor_is_named(tmp_path: Path) -> None:
    file = None
    with pytest.raises(AssertionError, match="the-forgotten-file"), no_leaks(grace=0.05):
        file = (tmp_path / "the-forgotten-file").open("w")
    assert file is not None
    file.close()


def test_a_socket_is_named() -> None:
    sock = None
    with pytest.raises(AssertionError, match="socket:"), no_leaks(grace=0.05):
        sock = socket.socket()
    assert sock is not None
    sock.close()


def test_a_session_on_a_server_is_found(tmp_path: Path) -> None:
    reason = servers.available("vsftpd")
    if reason:
        pytest.skip(reason)
    with servers.start("vsftpd", max_per_ip=None, root=tmp_path, workdir=tmp_path) as server:
        with no_leaks(servers=[server]), ftplib.FTP() as ftp:
            ftp.connect(server.host, server.port)
        with ftplib.FTP() as ftp:
            ftp.connect(server.host, server.port)
            with (
                pytest.raises(AssertionError, match="held=1"),
                no_leaks(servers=[server], grace=0.1),
            ):
                pass


def test_an_exception_of_the_body_is_not_hidden() -> None:
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError), no_leaks():
        sock.connect(("127.0.0.1", 1))
