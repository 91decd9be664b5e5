"""FTPS on real servers: who is trusted, what they see of a refusal, transfers that resume."""

from __future__ import annotations

import ftplib
import hashlib
import io
import logging
import os
import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

import ftppool
from ftppool import BatchError, ConfigError, ConnectError, FTPConfig, FTPPool, TLSConfig, TLSError
from ftppool.events import Event, SessionRefused
from tests.conftest import Start
from tests.support import certificates
from tests.support.servers import SECURE_KINDS, Server

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
EVERYWHERE = [*SECURE_KINDS, "vsftpd+implicit", "proftpd+implicit", "pure-ftpd+tls"]


def only(version: str) -> ssl.SSLContext:
    """A context that verifies and speaks one version."""
    context = ssl.create_default_context()
    context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def passwords_seen(folder: Path) -> list[str]:
    """Lines of the servers' logs with PASS in them."""
    return [
        line
        for path in folder.rglob("*.log")
        for line in path.read_text(errors="replace").splitlines()
        if "PASS" in line and "with USER and PASS" not in line
    ]


def fingerprint_of(server: Server, folder: Path) -> str:
    pem = next(folder.rglob("certificate.pem")).read_text()
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.DOTALL)
    assert found is not None
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found[0])).hexdigest()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", EVERYWHERE)
def test_a_batch_arrives_verified_although_the_server_insists_on_session_reuse(
    start: Start, kind: str, version: str
) -> None:
    server = start(kind, max_per_ip=2)
    files = {f"f{number}": os.urandom(number * 3001) for number in range(41)}
    report = ftppool.upload_batch(
        [(content, name) for name, content in files.items()],
        server.url,
        max_per_ip=2,
        tls=only(version),
    )
    assert report.stats.opened <= 2
    assert all(outcome.verified for outcome in report.outcomes)
    assert {path.name: path.read_bytes() for path in server.home.iterdir()} == files
    assert server.wait_idle().peak <= 2


@pytest.mark.parametrize("kind", SECURE_KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_data_connection_resumes_the_session(start: Start, kind: str, version: str) -> None:
    server = start(kind)
    with FTPPool(server.url, tls=only(version)) as pool, pool.ftp() as ftp:
        for number in range(3):
            data = ftp.transfercmd(f"STOR {number}")
            assert isinstance(data, ssl.SSLSocket)
            assert data.session_reused
            data.sendall(b"x" * 200_000)
            data.close()  # without unwrap(), as scripts do that were written for plain FTP
            assert ftp.voidresp().startswith("226")
    assert all(path.stat().st_size == 200_000 for path in server.home.iterdir())


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_an_untrusted_certificate_is_told_before_any_password(
    start: Start, kind: str, tmp_path: Path
) -> None:
    untrusted = certificates.write_certificate(tmp_path, ca=trustme.CA())
    server = start(kind, certificate=untrusted)
    with FTPPool(server.url) as pool:
        for _ in range(2):
            with pytest.raises(TLSError) as caught:
                pool.acquire()
    sentence = str(caught.value)
    assert "the certificate of 127.0.0.1 is not trusted" in sentence
    assert "It is for 127.0.0.1, localhost" in sentence
    assert "issued by 'trustme" in sentence
    assert "valid until" in sentence
    assert fingerprint_of(server, tmp_path) in sentence
    assert "ca_file" in sentence
    assert not caught.value.retryable
    assert not passwords_seen(tmp_path)
    census = server.wait_idle()
    assert (census.sessions, census.connects) == (0, 2)  # tried once each, never again


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_a_certificate_for_another_name_is_told_before_any_password(
    start: Start, kind: str, tmp_path: Path
) -> None:
    other = certificates.write_certificate(tmp_path, ["ftp.elsewhere.example"])
    server = start(kind, certificate=other)
    with pytest.raises(BatchError) as caught:
        ftppool.upload_batch([(b"x", f"f{n}") for n in range(20)], server.url)
    (error,) = caught.value.exceptions
    assert isinstance(error, TLSError)
    assert "mismatch" in str(error)
    assert "It is for ftp.elsewhere.example" in str(error)
    assert len(caught.value.report.not_attempted) == 20
    assert not passwords_seen(tmp_path)
    assert server.wait_idle().sessions == 0


def test_the_password_would_be_seen_if_it_were_sent(start: Start, tmp_path: Path) -> None:
    server = start("proftpd+tls")
    with FTPPool(server.url) as pool, pool.ftp():
        pass
    server.wait_idle()
    assert passwords_seen(tmp_path)


@pytest.mark.parametrize("kind", SECURE_KINDS)
def test_a_pinned_certificate_is_trusted_and_no_other(
    start: Start, kind: str, tmp_path: Path
) -> None:
    mine = certificates.write_certificate(tmp_path, ["ftp.elsewhere.example"], ca=trustme.CA())
    server = start(kind, certificate=mine)
    digest = fingerprint_of(server, tmp_path)
    for version in VERSIONS.values():
        config = TLSConfig(fingerprint=f"SHA256:{digest.upper()}")
        with FTPPool(server.url, tls=config) as pool:
            pool.upload(b"content", f"by-{version}")
    with (
        FTPPool(server.url, tls=TLSConfig(fingerprint="0" * 64)) as pool,
        pytest.raises(TLSError, match=f"not the pinned one.*{digest}"),
    ):
        pool.acquire()
    with (
        FTPPool(
            server.url,
            tls=TLSConfig(fingerprint=digest, ca_file=certificates.write_authority(tmp_path)),
        ) as pool,
        pytest.raises(TLSError, match="issuer"),
    ):
        pool.acquire()


def test_trust_any_says_so_in_the_log_once(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = start("vsftpd+tls", certificate=certificates.write_certificate(tmp_path, ["x"]))
    with FTPPool(server.url, tls=TLSConfig(trust_any=True), max_idle=0) as pool:
        for _ in range(3):
            with pool.ftp() as ftp:
                ftp.voidcmd("NOOP")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "trust_any" in record.getMessage()
    assert server.password not in record.getMessage()


def test_an_authority_of_one_s_own_and_a_minimum_version(start: Start, tmp_path: Path) -> None:
    ca = trustme.CA()
    authority = tmp_path / "mine.pem"
    ca.cert_pem.write_to_path(authority)
    server = start("proftpd+tls", certificate=certificates.write_certificate(tmp_path, ca=ca))
    with (
        FTPPool(server.url, tls=TLSConfig(ca_file=authority, minimum_version="1.3")) as pool,
        pool.ftp() as ftp,
    ):
        assert isinstance(ftp.sock, ssl.SSLSocket)
        assert ftp.sock.version() == "TLSv1.3"


def test_a_server_of_old_versions_is_told_so(start: Start) -> None:
    server = start("proftpd+tls", options={"TLSProtocol": "TLSv1.2"})
    with (
        FTPPool(server.url, tls=TLSConfig(minimum_version="1.3")) as pool,
        pytest.raises(TLSError, match="no TLS version in common"),
    ):
        pool.acquire()


def test_a_client_certificate_is_shown_to_a_server_that_wants_one(
    start: Start, tmp_path: Path
) -> None:
    authority = certificates.write_authority(tmp_path)
    certificate = tmp_path / "client.pem"
    issued = certificates.authority().issue_cert("client@example.com")
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    server = start(
        "proftpd+tls",
        options={"TLSVerifyClient": "on", "TLSCACertificateFile": authority},
    )
    with FTPPool(server.url, tls=TLSConfig(client_certificate=certificate)) as pool:
        pool.upload(b"x", "f")
    for version in ("1.2", "1.3"):
        # ConnectError: the server's alert was lost behind its RST, each time.
        with (
            FTPPool(server.url, tls=only(version)) as pool,
            pytest.raises((TLSError, ConnectError), match="client_certificate"),
        ):
            pool.acquire()
    assert len([line for line in passwords_seen(tmp_path) if "230" in line]) == 1


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pure-ftpd", "pyftpdlib"])
def test_a_server_without_tls_never_gets_the_password_in_clear_text(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    for scheme, advice in (("ftps", "ftpsi://"), ("ftpsi", "ftps://")):
        with (
            FTPPool(server.url.replace("ftp:", f"{scheme}:")) as pool,
            pytest.raises(TLSError, match=advice),
        ):
            pool.acquire()
    assert not passwords_seen(tmp_path)
    census = server.wait_idle()
    assert census.sessions == 0
    assert census.connects <= 4  # a greeting in the first instant of a handshake is asked for again


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        # In clear text, where the client waits for a handshake.
        ("vsftpd+implicit", {}, "421 There are too many connections from your internet address"),
        ("proftpd+implicit", {}, "530 Sorry, the maximum number of connections (2) for your host"),
        ("proftpd+implicit", {"limit": "MaxInstances"}, ""),
        ("vsftpd+tls", {}, "421 There are too many connections from your internet address"),
    ],
)
def test_a_refusal_is_told_from_a_failed_handshake(
    start: Start, kind: str, options: dict[str, Any], words: str
) -> None:
    server = start(kind, max_per_ip=2, options=options)
    refused: list[SessionRefused] = []

    def listen(event: Event) -> None:
        if isinstance(event, SessionRefused):
            refused.append(event)

    with FTPPool(server.url, max_per_ip=3, on_event=listen) as pool:
        # Which of them depends on whether the refusal came before the end of the wait.
        told = pytest.raises((ftppool.PoolTimeout, ftppool.WouldDeadlock))
        with pool.ftp(), pool.ftp(), told:
            pool.acquire(timeout=1)
        pool.upload(b"x", "f")
    assert refused
    # Clear text in the first instant of an implicit handshake is lost.
    assert {event.reply[: len(words)] for event in refused} <= {words, ""}
    assert server.wait_idle().peak <= 2


class Breaks(io.BytesIO):
    """A source on a disk that fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 200_000:
            raise OSError("disk gone")
        return super().read(100_000)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", SECURE_KINDS)
def test_an_upload_that_breaks_off_does_not_spoil_the_session_of_the_next(
    start: Start, kind: str, version: str
) -> None:
    server = start(kind)
    with FTPPool(server.url, max_per_ip=1, tls=only(version)) as pool:
        with pytest.raises(ftppool.TransferError, match="disk gone"):
            pool.upload(lambda: Breaks(b"x" * 900_000), "broken")
        pool.upload(b"whole", "next")
        with pool.session() as session:
            assert session.listdir() == ["next"]
        assert pool.stats().opened == 1  # the TLS session outlives a data connection cut short


def test_a_server_that_forgets_the_tls_session_gets_a_new_connection(start: Start) -> None:
    server = start("pyftpdlib+tls", options={"forgets": 3})
    with FTPPool(server.url, max_per_ip=1) as pool:
        for number in range(10):
            pool.upload(b"x", str(number))
        assert pool.stats().opened == 4  # 3 files each
        with pool.ftp() as ftp:
            for number in range(2):
                ftp.storbinary(f"STOR {number}", io.BytesIO(b"y"))
            with pytest.raises(ftplib.error_temp, match="Operation not permitted"):
                ftp.storbinary("STOR z", io.BytesIO(b"y"))
        pool.upload(b"x", "again")  # that session is not lent again
        assert pool.stats().opened == 5


def test_a_server_that_never_lets_a_session_be_resumed_is_not_asked_for_ever(
    start: Start,
) -> None:
    server = start("pyftpdlib+tls", options={"forgets": 0})
    with FTPPool(server.url) as pool, pytest.raises(ftppool.RemoteRejected, match="425"):
        pool.upload(b"x", "f")
    assert server.wait_idle().connects == 1


class Forgetful(ssl.SSLContext):
    """A client that resumes nothing, as ftplib."""

    def wrap_socket(self, *args: Any, session: object = None, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*args, **options)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("vsftpd+tls", "522 .*session reuse required"), ("proftpd+tls", "425 .*not permitted")],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_server_s_words_are_told_and_not_how_the_handshake_broke(
    start: Start, kind: str, words: str, version: str
) -> None:
    server = start(kind)
    context = Forgetful(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.maximum_version = VERSIONS[version]
    with FTPPool(server.url, tls=context) as pool:
        with pytest.raises(ftppool.RemoteRejected, match=words):
            pool.upload(b"x" * 100_000, "f")
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert pool.stats().opened == 2


class Garbles(ssl.SSLContext):
    """A middlebox that spoils the handshake of data connections."""

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        if options["session"] is not None:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return super().wrap_socket(sock, *args, **options)


def test_a_data_handshake_that_fails_leaves_no_reply_behind(start: Start) -> None:
    server = start("proftpd+tls")
    context = Garbles(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    with FTPPool(server.url, tls=context, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            with pytest.raises(ftplib.Error, match="425 Unable to build"):
                ftp.storbinary("STOR f", io.BytesIO(b"x"))
            assert ftp.pwd().startswith("/")
        with pool.ftp() as ftp:
            assert ftp.pwd().startswith("/")
        assert pool.stats().opened == 2


# -- what borrowers may do ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", SECURE_KINDS)
def test_scripts_for_ftp_tls_run_unchanged(start: Start, kind: str) -> None:
    server = start(kind)
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            assert isinstance(ftp, ftplib.FTP_TLS)
            assert ftp.login(server.user, "whatever", secure=True).startswith("230")
            assert ftp.prot_p().startswith("200")
            ftp.storlines("STOR lines", io.BytesIO(b"one\ntwo\n"))
            received: list[str] = []
            ftp.retrlines("RETR lines", received.append)
            assert received == ["one", "two"]
            with pytest.raises(ValueError, match="Already using TLS"):
                ftp.auth()
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert pool.stats().opened == 1


def test_nothing_leads_back_to_clear_text(start: Start) -> None:
    server = start("proftpd+tls", options={"TLSRequired": "off"})
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            assert isinstance(ftp, ftplib.FTP_TLS)
            for back in (ftp.prot_c, ftp.ccc, lambda: ftp.sendcmd("PROT C")):
                with pytest.raises(ConfigError, match="clear text"):
                    back()
            data = ftp.transfercmd("NLST")
            assert isinstance(data, ssl.SSLSocket)
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert pool.stats().opened == 2  # for the transfer left open


class Recipe(ftplib.FTP_TLS):
    """What people write to have the session resumed."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> Any:
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:  # type: ignore[attr-defined]  # private
            assert isinstance(self.sock, ssl.SSLSocket)
            conn = self.context.wrap_socket(
                conn, server_hostname=self.host, session=self.sock.session
            )
        return conn, size


class Plain(ftplib.FTP):
    """Somebody's subclass that knows nothing of TLS."""


@pytest.mark.parametrize("own", [Recipe, Plain])
def test_a_subclass_of_the_user_s_is_lent_over_tls(start: Start, own: type[ftplib.FTP]) -> None:
    server = start("vsftpd+tls")
    with FTPPool(server.url, ftp=FTPConfig(ftp_class=own)) as pool, pool.ftp() as ftp:
        assert isinstance(ftp, own)
        assert isinstance(ftp, ftplib.FTP_TLS)
        for name in ("a", "b"):
            assert ftp.storbinary(f"STOR {name}", io.BytesIO(b"x" * 9000)).startswith("226")


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("ftp://h", {"tls": TLSConfig()}, "write ftps://"),
        ("ftp://h", {"ftp": FTPConfig(ftp_class=ftplib.FTP_TLS)}, "write ftps://"),
        ("ftps://h", {"tls": True}, "write a TLSConfig"),
        ("ftps://h", {"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, "for servers"),
        ("ftps://h", {"tls": TLSConfig(ca_file="/not/there")}, "/not/there .*No such file"),
        ("ftps://h", {"tls": TLSConfig(ca_file=__file__)}, "cannot be used: no certificate"),
        ("ftps://h", {"tls": TLSConfig(client_certificate=__file__)}, "cannot be used"),
    ],
)
def test_what_cannot_work_is_told_when_the_pool_is_made(
    url: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        FTPPool(url, **options)
