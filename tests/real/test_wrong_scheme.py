"""A URL whose scheme is not what the port speaks: one sentence that says what to write."""

from __future__ import annotations

import pytest

from ftppool import (
    ConnectError,
    FTPPool,
    FTPPoolError,
    RemoteRejected,
    RetryPolicy,
    TLSError,
)
from tests.conftest import Start

FTP_THERE = r"is an FTP server, not SSH; write ftp://, or ftps:// for FTP with TLS: 220"
SSH_THERE = r"is an SSH server, not FTP; write sftp://: SSH-2\.0-OpenSSH"
SILENT = "no greeting came in time; write ftpsi:// if it is for implicit TLS"


@pytest.mark.parametrize(
    ("kind", "scheme", "error", "words"),
    [
        ("vsftpd", "sftp", ConnectError, FTP_THERE),
        ("proftpd", "sftp", ConnectError, FTP_THERE),
        ("pure-ftpd", "sftp", ConnectError, FTP_THERE),
        ("pyftpdlib+tls", "sftp", ConnectError, FTP_THERE),
        ("openssh", "ftp", ConnectError, SSH_THERE),
        ("openssh", "ftps", ConnectError, SSH_THERE),
        ("openssh", "ftpsi", ConnectError, SSH_THERE),
        ("vsftpd+implicit", "ftp", ConnectError, SILENT),
        ("proftpd+implicit", "ftps", ConnectError, SILENT),
        ("vsftpd+implicit", "sftp", ConnectError, "no SSH banner .*, or write ftpsi://"),
        ("vsftpd", "ftps", TLSError, "has no TLS here; write ftpsi:// if .* or ftp:// if"),
        ("vsftpd", "ftpsi", TLSError, r"does not speak TLS: try ftps:// \(explicit TLS\)"),
        ("vsftpd+tls", "ftpsi", TLSError, r"does not speak TLS: try ftps:// \(explicit TLS\)"),
    ],
)
def test_it_says_what_answers_there_and_what_to_write(
    start: Start, kind: str, scheme: str, error: type[FTPPoolError], words: str
) -> None:
    server = start(kind)
    # A first answer that comes in the instant of a handshake is lost, and asked for again.
    with (
        FTPPool(
            f"{scheme}://{server.user}@{server.host}:{server.port}",
            password="sesame-42",
            connect_timeout=3.0,
            acquire_timeout=30.0,
            retry=RetryPolicy(attempts=2),
        ) as pool,
        pytest.raises(error, match=words) as caught,
    ):
        pool.acquire()
    assert "\n" not in str(caught.value)
    # Who says nothing may only be slow.
    assert caught.value.wrong_url is not caught.value.retryable
    assert caught.value.retryable is ("in time" in words or words.startswith("no SSH banner"))
    assert "sesame" not in str(caught.value)
    census = server.wait_idle()
    assert census.sessions == census.logins_failed == 0


@pytest.mark.parametrize("kind", ["vsftpd+tls", "proftpd+tls", "pyftpdlib+tls"])
def test_a_server_that_wants_tls_is_answered_with_ftps(start: Start, kind: str) -> None:
    server = start(kind)
    with (
        FTPPool(server.url.replace("ftps://", "ftp://")) as pool,
        pytest.raises(RemoteRejected, match=r"write ftps:// in place of ftp://: 5[35]0 ") as caught,
    ):
        pool.acquire()
    assert caught.value.wrong_url
    assert not caught.value.retryable
    assert server.wait_idle().sessions == 0
