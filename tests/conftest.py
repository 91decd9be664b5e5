"""Fixtures of all tests: real servers, and a check that nothing is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from ftppool import gate
from ftppool.drivers import known
from tests.support import certificates, install, leaks, servers
from tests.support.asyncsshd import AsyncSSH
from tests.support.openssh import OpenSSH
from tests.support.servers import KINDS, SECURE_KINDS, Server

if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's would be that of all that tests start


class Start(Protocol):
    """Starts a server that is stopped after the test."""

    def __call__(self, kind: str, *, max_per_ip: int | None = None, **options: Any) -> Server: ...


def require(kind: str) -> None:
    """Skip where a server cannot be had on a user's machine; in CI that is a failure."""
    reason = servers.available(kind)
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI must have {kind}: {reason}")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def state_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Let each test count its slots in a place of its own, never in the real home."""
    folder = tmp_path_factory.mktemp("state", numbered=True)
    folder.chmod(0o700)
    monkeypatch.setenv("FTPPOOL_STATE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread or a descriptor."""
    with leaks.no_leaks():
        yield
    # What was learned of an address must not reach the next test, which may get the same port.
    gate._gates.clear()
    known._known.clear()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start servers; after the test each must hold no connection of ours any more.

    OpenSSL trusts their authority as if it were the system's.
    """
    running: list[Server] = []
    with ExitStack() as stack:

        def start_one(kind: str, *, max_per_ip: int | None = None, **options: Any) -> Server:
            require(kind)
            if "+" in kind:
                monkeypatch.setenv("SSL_CERT_FILE", str(certificates.write_authority(tmp_path)))
            home = options.pop("root", tmp_path / f"home-{len(running)}")
            server = servers.start(
                kind, max_per_ip=max_per_ip, root=home, workdir=tmp_path, **options
            )
            running.append(stack.enter_context(server))
            if isinstance(server.backend, OpenSSH | AsyncSSH):
                # A user who has logged in there before: his key and known_hosts are his defaults.
                monkeypatch.setenv("FTPPOOL_TEST_SERVERS", str(install.cache_folder()))
                monkeypatch.setenv("HOME", str(server.backend.user_home))
                monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
            return server

        yield start_one
        for server in running:
            server.wait_idle()


@pytest.fixture
def record_summary(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """What it is called with is printed after the run."""
    return lambda text: record_property("summary", text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests have put together for their readers."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, text in report.user_properties:
                if name == "summary":
                    terminalreporter.write_line(f"\n{text}")


@pytest.fixture(params=[*KINDS, *SECURE_KINDS])
def kind(request: pytest.FixtureRequest) -> str:
    """Run the test once for each kind of server, in clear text and over TLS."""
    return str(request.param)


@pytest.fixture
def server(start: Callable[..., Server], kind: str) -> Server:
    """A server of each kind that allows three connections."""
    return start(kind, max_per_ip=3)
