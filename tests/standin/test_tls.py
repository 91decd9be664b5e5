"""The stand-in's FTP_TLS: whom it trusts, and data connections that resume the session."""

from __future__ import annotations

import io
import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from ftppool import ftplib
from tests.conftest import Start
from tests.standin.test_ftp import connect
from tests.support import certificates
from tests.support.servers import SECURE_KINDS, Server

TWO = ("TLSv1_2", "TLSv1_3")


def round_trip(ftp: ftplib.FTP_TLS) -> None:
    """Send and fetch a few files; vsftpd and ProFTPD refuse connections that resume nothing."""
    for number in range(3):
        content = bytes([number]) * 70_000
        assert ftp.storbinary(f"STOR {number}", io.BytesIO(content))[:3] == "226"
        received: list[bytes] = []
        assert ftp.retrbinary(f"RETR {number}", received.append)[:3] == "226"
        assert b"".join(received) == content
    assert {"0", "1", "2"} <= set(ftp.nlst())


@pytest.fixture(params=SECURE_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("version", TWO)
def test_data_connections_resume_the_session(server: Server, version: str) -> None:
    context = ssl.create_default_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with ftplib.FTP_TLS(context=context) as ftp:
        ftp.connect(server.host, server.port)
        ftp.login(server.user, server.password)
        ftp.prot_p()
        round_trip(ftp)
    assert server.wait_idle().quits == 1


def untrusted(start: Start, folder: Path) -> Server:
    folder.mkdir()
    certificate = certificates.write_certificate(folder, ca=trustme.CA())
    return start("vsftpd+tls", certificate=certificate)


def test_a_certificate_that_nobody_vouches_for_is_refused(start: Start, tmp_path: Path) -> None:
    server = untrusted(start, tmp_path / "strange")
    ftp = ftplib.FTP_TLS()
    ftp.connect(server.host, server.port)
    with pytest.raises(ssl.SSLCertVerificationError) as refused:
        ftp.login(server.user, server.password)
    assert "configure(verify=False)" in refused.value.__notes__[0]
    assert ftp.sock is None
    assert server.wait_idle().sessions == 0


def test_verification_can_be_switched_off(start: Start, tmp_path: Path) -> None:
    server = untrusted(start, tmp_path / "strange")
    ftplib.configure(verify=False)
    with connect(server) as ftp:
        assert isinstance(ftp, ftplib.FTP_TLS)
        round_trip(ftp)


def test_a_context_decides_whom_to_trust(start: Start, tmp_path: Path) -> None:
    server = untrusted(start, tmp_path / "strange")
    context = ssl._create_unverified_context()
    with connect(server, context=context) as ftp:
        assert isinstance(ftp.sock, ssl.SSLSocket)
        assert ftp.sock.context is context


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="these arguments have gone")
def test_a_client_certificate_does_not_switch_verification_off(tmp_path: Path) -> None:
    certificate = str(certificates.write_certificate(tmp_path))
    arguments: Any = {"certfile": certificate}
    assert ftplib.FTP_TLS(**arguments).context.verify_mode is ssl.CERT_REQUIRED
    ftplib.configure(verify=False)
    with pytest.warns(DeprecationWarning, match="certfile"):
        assert ftplib.FTP_TLS(**arguments).context.verify_mode is ssl.CERT_NONE


class Reusing(ftplib.FTP_TLS):
    """What scripts have from Stack Overflow (14659154), to resume the session by themselves."""

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        sock, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            assert isinstance(self.sock, ssl.SSLSocket)
            session = self.sock.session
            sock = self.context.wrap_socket(sock, server_hostname=self.host, session=session)
        return sock, size


def test_a_script_that_resumes_sessions_by_itself_still_does(start: Start) -> None:
    server = start("proftpd+tls")
    with Reusing() as ftp:
        ftp.connect(server.host, server.port)
        ftp.login(server.user, server.password)
        ftp.prot_p()
        round_trip(ftp)


class Implicit(ftplib.FTP_TLS):
    """What scripts have from Stack Overflow (36049814), for TLS from the first byte."""

    _own: socket.socket | None = None

    @property
    def sock(self) -> socket.socket | None:
        return self._own

    @sock.setter
    def sock(self, value: socket.socket | None) -> None:
        if value is not None and not isinstance(value, ssl.SSLSocket):
            value = self.context.wrap_socket(value, server_hostname=self.host)
        self._own = value


@pytest.mark.parametrize("kind", ["vsftpd+implicit", "proftpd+implicit"])
def test_a_script_with_implicit_tls_still_works(server: Server) -> None:
    with Implicit() as ftp:
        ftp.connect(server.host, server.port)
        ftp.login(server.user, server.password)
        ftp.prot_p()
        round_trip(ftp)
    assert server.wait_idle().quits == 1


def test_a_refused_login_over_tls_is_tried_again_over_tls(start: Start) -> None:
    server = start("proftpd+tls", max_per_ip=1, options={"limit": "MaxClientsPerHost"})
    ftplib.configure(max_per_ip=3)
    first = connect(server)
    second = ftplib.FTP_TLS()
    second.connect(server.host, server.port)
    second.auth()
    second.prot_p()
    timer = threading.Timer(0.5, first.quit)
    timer.start()
    second.login(server.user, server.password)
    timer.join()
    assert isinstance(second.sock, ssl.SSLSocket)
    round_trip(second)
    second.quit()
    assert server.wait_idle().refusals >= 1


def test_a_login_without_tls_is_had_by_asking_for_it(start: Start) -> None:
    server = start("pyftpdlib")
    with ftplib.FTP_TLS() as ftp:
        ftp.connect(server.host, server.port)
        ftp.login(server.user, server.password, secure=False)
        assert not isinstance(ftp.sock, ssl.SSLSocket)
        assert ftp.pwd() == "/"
