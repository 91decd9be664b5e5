"""``ftppool check`` against each server, and what it found as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ftppool.limits.machine import MachineLimiter
from tests.cli.running import run
from tests.cli.test_put import one_complaint
from tests.conftest import Start
from tests.support.servers import ALL_KINDS, Server


def found(server: Server, directory: str = "") -> dict[str, Any]:
    """Check a server."""
    ran = run("check", "--json", server.at(directory))
    assert ran.code == 0, ran
    assert ran.err == ""
    facts: dict[str, Any] = json.loads(ran.out)
    return facts


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_it_shows_what_the_server_is_and_ends_politely(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    (server.home / "in box").mkdir()
    facts = found(server, "in%20box")
    assert facts["user"] == server.user
    assert facts["address"] == f"127.0.0.1:{server.port}"
    assert facts["greeting"]
    assert facts["directory"].endswith("/in box")
    assert facts["directory"].startswith(facts["login_directory"].rstrip("/"))
    assert 0 < facts["round_trip_seconds"] < 5
    assert facts["ended_politely"] is True
    assert facts["learned"] == []
    assert facts["held_here"] == 0
    if kind == "openssh":
        assert facts["ssh"]["fingerprint"].startswith("SHA256:")
        assert facts["ssh"]["cipher"]
    else:
        assert any(line.startswith("SIZE") for line in facts["features"])
        assert ("tls" in facts) == ("tls" in kind)
    if "tls" in kind:
        assert facts["tls"]["version"].startswith("TLSv1.")
        assert len(facts["tls"]["fingerprint"]) == 64
        assert facts["tls"]["days_left"] > 0
    ran = run("check", server.at("in%20box"))
    assert ran.code == 0
    assert facts["directory"] in ran.out
    end = "ended in order" if kind == "openssh" else "the server answered QUIT"
    assert end in ran.out
    census = server.wait_idle()
    assert census.connects == 2
    assert census.quits == 2


@pytest.mark.parametrize("kind", ["vsftpd", "pyftpdlib", "openssh"])
def test_a_directory_that_is_not_there_is_told_and_1(start: Start, kind: str) -> None:
    server = start(kind)
    ran = run("check", server.at("no/such"))
    assert ran.code == 1
    assert "not there: " in ran.out
    assert "Traceback" not in ran.err


def test_it_shows_what_refusals_have_taught(start: Start) -> None:
    server = start("pyftpdlib")
    address = f"127.0.0.1:{server.port}"
    MachineLimiter().teach(address, lambda known: known.refused(1, "421 One only", time.time()))
    (lesson,) = found(server)["learned"]
    assert (lesson["who"], lesson["allows"], lesson["words"]) == ("everybody", 1, "421 One only")
    assert "everybody: 1, since " in run("check", server.url).out


def test_a_certificate_that_is_only_pinned_shows_its_end_too(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("vsftpd+tls")
    whole = found(server)["tls"]
    monkeypatch.delenv("SSL_CERT_FILE")
    ran = run("check", "--json", "--fingerprint", whole["fingerprint"], server.url)
    assert ran.code == 0, ran
    pinned = json.loads(ran.out)["tls"]
    assert pinned["valid_until"] == whole["valid_until"]
    assert pinned["days_left"] > 0
    shown = run("check", "--fingerprint", whole["fingerprint"], server.url).out
    assert f"certificate  valid until {whole['valid_until'][:10]} (" in shown


def test_a_certificate_that_is_not_trusted_is_77(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("vsftpd+tls")
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "is not trusted" in one_complaint(run("check", server.url), 77)


@pytest.mark.parametrize(
    ("deed", "code", "words"),
    [
        ("self.respond('451 busy now')", 75, "451 busy now"),
        ("self.respond('hello')", 1, "hello"),
        ("self.close()", 75, "the server ended the connection"),
    ],
)
def test_what_a_server_fails_at_is_a_sentence_and_no_bug(deed: str, code: int, words: str) -> None:
    script = f"""
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

class Handler(FTPHandler):
    authorizer = DummyAuthorizer()
    def ftp_SYST(self, line):
        {deed}

Handler.authorizer.add_user("me", "secret-42", ".")
server = FTPServer(("127.0.0.1", 0), Handler)
print(server.address[1], flush=True)
server.serve_forever()
"""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            said = one_complaint(run("check", f"ftp://me:secret-42@127.0.0.1:{port}/"), code)
        finally:
            server.kill()
    assert said.splitlines() == [f"ftppool: 127.0.0.1: {words}"]
