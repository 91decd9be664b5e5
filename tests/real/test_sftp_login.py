"""SFTP: who the server is, who we are, and servers that refuse or fall silent on the way in."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko
import pytest

import ftppool
from ftppool import (
    AuthError,
    ConfigError,
    ConnectError,
    FTPPool,
    HostKeyError,
    RetryPolicy,
    ServerBusy,
    SSHConfig,
    Target,
)
from ftppool.drivers.sftp_endpoint import endpoint_of
from ftppool.drivers.sftp_stream import Stream
from tests.conftest import Start
from tests.support.openssh import OpenSSH, new_key, password_works
from tests.support.relay import Relay
from tests.support.servers import Server

ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def sshd(start: Start) -> Server:
    return start("openssh")


def known_hosts() -> Path:
    return Path("~/.ssh/known_hosts").expanduser()


def fingerprint_in(path: Path) -> str:
    blob = base64.b64decode(path.read_text().split()[2])
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def backend(server: Server) -> OpenSSH:
    assert isinstance(server.backend, OpenSSH)
    return server.backend


def refused(url: str, kind: type[Exception], words: str, **options: Any) -> None:
    with (
        FTPPool(url, acquire_timeout=20, retry=ONCE, **options) as pool,
        pytest.raises(kind, match=words) as caught,
        pool.sftp(),
    ):
        pass
    assert "sesame" not in repr(caught.value)


# -- host keys -------------------------------------------------------------------------------------


def test_an_unknown_host_is_refused_before_any_password_is_sent(start: Start) -> None:
    server = start("asyncssh")
    known_hosts().unlink()
    remedy = r"not known: .*SHA256:.*ssh-keyscan -p \d+ 127\.0\.0\.1 >> "
    refused(server.url, HostKeyError, remedy + "~/.ssh/known_hosts`")
    census = server.wait_idle()
    assert census.connects == 1
    assert census.sessions == census.logins_failed == 0
    assert not known_hosts().exists()
    # The remedy is about the file that counts.
    refused(server.url, HostKeyError, remedy + "/no/hosts`", ssh=SSHConfig(known_hosts="/no/hosts"))


def test_a_changed_host_key_is_refused_even_if_new_ones_are_accepted(
    start: Start, tmp_path: Path
) -> None:
    server = start("asyncssh")
    known_hosts().write_text(f"[127.0.0.1]:{server.port} {new_key(tmp_path / 'other')}\n")
    refused(
        server.url, HostKeyError, "has changed: .*line 1.*ssh-keygen -R",
        ssh=SSHConfig(accept_new=True),
    )  # fmt: skip
    assert server.wait_idle().sessions == 0


def test_a_new_host_is_written_down_when_that_was_asked_for(sshd: Server) -> None:
    right = known_hosts().read_text()
    known_hosts().write_text("# no newline at the end")
    with FTPPool(sshd.url, ssh=SSHConfig(accept_new=True)) as pool, pool.sftp():
        pass
    assert known_hosts().read_text() == f"# no newline at the end\n{right}"
    with FTPPool(sshd.url) as pool, pool.sftp():
        pass


def test_a_file_of_known_hosts_that_we_make_is_private(sshd: Server) -> None:
    right = known_hosts().read_text()
    known_hosts().unlink()
    with FTPPool(sshd.url, ssh=SSHConfig(accept_new=True)) as pool, pool.sftp():
        pass
    assert known_hosts().read_text() == right
    assert known_hosts().stat().st_mode & 0o77 == 0


def test_a_revoked_key_is_refused_whatever_else_is_known(sshd: Server) -> None:
    line = known_hosts().read_text()
    known_hosts().write_text(f"{line}@revoked * {line.partition(' ')[2]}")
    refused(sshd.url, HostKeyError, "revoked")


@pytest.mark.parametrize(
    "hosts",
    ["[127.0.0.*]:*", "other,[127.0.0.1]:{port}", "*", "hashed"],
)
def test_names_in_known_hosts_may_be_patterns_lists_or_hashed(sshd: Server, hosts: str) -> None:
    key = known_hosts().read_text().partition(" ")[2]
    if hosts == "hashed":
        hosts = paramiko.HostKeys.hash_host(f"[127.0.0.1]:{sshd.port}")
    known_hosts().write_text(f"# comment\n\nnonsense\n{hosts.format(port=sshd.port)} {key}")
    with FTPPool(sshd.url) as pool, pool.sftp() as sftp:
        assert sftp.listdir() == []


@pytest.mark.parametrize("hosts", ["!*,[127.0.0.1]:{port}", "127.0.0.1", "|1|x|y", "1"])
def test_names_that_are_not_this_host_do_not_count(sshd: Server, hosts: str) -> None:
    key = known_hosts().read_text().partition(" ")[2]
    known_hosts().write_text(f"{hosts.format(port=sshd.port)} {key}")
    refused(sshd.url, HostKeyError, "not known")


def test_a_pinned_fingerprint_is_all_that_counts(sshd: Server) -> None:
    fingerprint = fingerprint_in(known_hosts())
    known_hosts().unlink()
    with FTPPool(sshd.url, ssh=SSHConfig(fingerprint=fingerprint)) as pool, pool.sftp():
        pass
    other = "SHA256:" + "x" * 43
    refused(sshd.url, HostKeyError, "not the pinned one", ssh=SSHConfig(fingerprint=other))


# -- logins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["openssh", "asyncssh", "asyncssh-kbdint"])
def test_a_wrong_password_is_an_auth_error_within_seconds_and_tried_once(
    start: Start, kind: str
) -> None:
    kind, _, option = kind.partition("-")
    server = start(kind, options={"kbdint": True} if option else {})
    began = time.monotonic()
    with FTPPool(
        f"sftp://{server.user}@{server.host}:{server.port}", password="sesame-wrong", max_per_ip=3
    ) as pool:
        with pytest.raises(AuthError) as caught:
            pool.upload(b"x", "file")
        assert pool.stats().opened == 0
    assert time.monotonic() - began < 8
    assert "sesame" not in str(caught.value)
    census = server.wait_idle()
    assert census.logins_failed == 1
    assert census.sessions == 0


@pytest.mark.parametrize("kbdint", [False, True])
def test_a_password_logs_in(start: Start, kbdint: bool) -> None:
    server = start("asyncssh", options={"kbdint": kbdint})
    with FTPPool(server.url) as pool:
        assert pool.upload(b"x", "file").verified
    assert server.wait_idle().logins_failed == 0


@pytest.mark.skipif(not password_works, reason="sshd knows our password only when we are root")
def test_openssh_takes_a_password(sshd: Server) -> None:
    with FTPPool(sshd.url, password=sshd.password) as pool:
        assert pool.upload(b"x", "file").verified
    assert "Accepted password" in backend(sshd).log()


def test_an_encrypted_key_needs_its_passphrase(sshd: Server) -> None:
    key = Path("~/.ssh/id_ed25519").expanduser()
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "sesame-42", "-f", key], check=True)
    path = str(key)
    config = SSHConfig(keys=path, passphrase=lambda: "sesame-42")
    with FTPPool(sshd.url, ssh=config) as pool, pool.sftp():
        pass
    refused(sshd.url, ConfigError, "is encrypted", ssh=SSHConfig(keys=path))
    wrong = SSHConfig(keys=path, passphrase="sesame-wrong")
    refused(sshd.url, ConfigError, "passphrase is wrong", ssh=wrong)
    refused(sshd.url, AuthError, "nothing to log in")


def test_a_key_of_the_agent_logs_in(sshd: Server, tmp_path: Path) -> None:
    key = Path("~/.ssh/id_ed25519").expanduser()
    socket_path = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket_path], stdout=subprocess.DEVNULL)
    try:
        while not socket_path.exists():
            time.sleep(0.01)
        os.environ["SSH_AUTH_SOCK"] = str(socket_path)
        subprocess.run(["ssh-add", "-q", key], check=True, stderr=subprocess.DEVNULL)
        key.unlink()
        with FTPPool(sshd.url) as pool, pool.sftp():
            pass
        refused(sshd.url, AuthError, "nothing to log in", ssh=SSHConfig(agent=False))
    finally:
        os.environ.pop("SSH_AUTH_SOCK", None)
        agent.terminate()
        agent.wait()


def test_a_server_that_wants_a_key_says_so(start: Start) -> None:
    server = start("openssh", options={"PasswordAuthentication": "no"})
    refused(server.url, AuthError, "by publickey only", password="sesame-42")
    assert server.wait_idle().logins_failed == 0


# -- the user's OpenSSH configuration, and ways round ----------------------------------------------


def test_the_ssh_config_tells_host_port_and_key(sshd: Server) -> None:
    home = Path("~/.ssh").expanduser()
    (home / "id_ed25519").rename(home / "special")
    (home / "config").write_text(
        f"Host partner\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile ~/.ssh/special\n"
    )
    with FTPPool(f"sftp://{sshd.user}@partner") as pool, pool.sftp() as sftp:
        assert sftp.listdir() == []


def test_the_ssh_config_tells_the_user_and_the_port_that_the_url_does_not(start: Start) -> None:
    server = start("asyncssh")
    config = known_hosts().parent / "config"
    config.write_text(
        f"Host 127.0.0.1\n  User {server.user}\n  Port {server.port}\n  HostName %h\n"
        "Host other\n  HostName 127.0.0.1\n  User nobody\n  Port 1\n"
    )
    with FTPPool("sftp://127.0.0.1", password=server.password) as pool:
        assert pool.upload(b"x", "file").verified
        assert f"sftp://{server.user}@127.0.0.1:{server.port}" in repr(pool)
    # What the URL says itself wins, even where it is what would be taken without it.
    with FTPPool(f"sftp://{server.user}@other:{server.port}", password=server.password) as pool:
        assert pool.upload(b"x", "file").verified
    assert endpoint_of(Target.parse("sftp://u@127.0.0.1:22"), SSHConfig()).port == 22
    assert server.wait_idle().logins_failed == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SSHConfig(fingerprint="aa:bb"), "SHA256:"),
        (lambda: SSHConfig(fingerprint="SHA256:" + "x" * 43, accept_new=True), "drop one"),
        (lambda: SSHConfig(proxy_jump="a", proxy_command="b"), "one of them"),
        # The type checker: wrong on purpose.
        (lambda: SSHConfig(keys=[1]), "keys must be a path"),  # type: ignore[list-item]
        # The type checker: wrong on purpose.
        (lambda: SSHConfig(source_address=("",)), "source_address"),  # type: ignore[arg-type]
        (lambda: FTPPool("sftp://u@h", ssh=SSHConfig(proxy_jump="a@:1")), "proxy_jump: 'a@:1'"),
        (lambda: FTPPool("ftp://h", ssh=SSHConfig()), "ssh= is for sftp://"),
        (lambda: FTPPool("sftp://u@h", ftp=ftppool.FTPConfig()), "ftp= is for ftp://"),
        (lambda: FTPPool("sftp://u@h", channels=0), "channels=0"),
        (lambda: FTPPool("sftp://h"), "write sftp://user@host/, pass user= or set User in ~/.ssh"),
        (lambda: FTPPool("sftp://h", ssh=SSHConfig(config_file=None)), "/ or pass user="),
    ],
)
def test_wrong_settings_are_told_in_one_sentence(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        make()


def test_a_key_file_that_is_not_there_is_told(sshd: Server) -> None:
    refused(sshd.url, ConfigError, "/nowhere does not exist", ssh=SSHConfig(keys="/nowhere"))


# -- refusals before the banner --------------------------------------------------------------------


def test_a_server_too_busy_with_logins_is_asked_again_after_a_second(
    sshd: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = "Exceeded MaxStartups\r\n"
    with Relay(sshd.port, workdir=tmp_path, refuse=1, words=words) as relay:
        url = sshd.behind(relay.port)
        began = time.monotonic()
        with FTPPool(url, max_per_ip=3) as pool:
            assert pool.upload(b"x", "file").verified
            assert pool.stats().refused == 1
            assert pool.stats().learned is None
        assert time.monotonic() - began >= 1
        assert relay.look().census.connects == 2
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_the_words_before_the_banner_are_not_lost(sshd: Server, tmp_path: Path) -> None:
    words = "Not allowed at this time\r\n"
    with Relay(sshd.port, workdir=tmp_path, refuse=99, words=words) as relay:
        url = sshd.behind(relay.port)
        with (
            FTPPool(url, acquire_timeout=1) as pool,
            pytest.raises(ServerBusy, match="Not allowed at this time"),
            pool.sftp(),
        ):
            pass
        assert relay.look().census.connects <= 2


def test_an_ftp_server_is_no_ssh_server(start: Start) -> None:
    server = start("pyftpdlib")
    url = f"sftp://{server.user}@{server.host}:{server.port}"
    began = time.monotonic()
    refused(url, ConnectError, "220 ")
    assert time.monotonic() - began < 10


def test_a_server_without_sftp_is_told(start: Start) -> None:
    server = start("openssh", options={"ForceCommand": "/bin/false"})
    refused(server.url, ConnectError, "no SFTP on this server")


# -- silence ---------------------------------------------------------------------------------------


@contextmanager
def mute(greeting: bytes) -> Iterator[int]:
    """A peer that accepts, says `greeting` and nothing more: a hung sshd behind a live kernel."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        done, taken = threading.Event(), []

        def accept() -> None:
            while not done.is_set():
                try:
                    sock = listener.accept()[0]
                except TimeoutError:
                    continue
                taken.append(sock)
                sock.sendall(greeting)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            thread.join()
            for sock in taken:
                sock.close()


@pytest.mark.parametrize("piece", [b"\n", b"\r\n", b"x", b"please wait\r\n"])
def test_a_peer_that_talks_on_and_has_no_banner_is_given_up_at_the_limit(piece: bytes) -> None:
    ours, theirs = socket.socketpair()

    def talk() -> None:
        stop = time.monotonic() + 20  # then it hangs up, so that nothing waits for ever
        with theirs, contextlib.suppress(OSError):  # when we close
            while time.monotonic() < stop:
                theirs.sendall(piece)
                time.sleep(0.05)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        said: str | None = ""
        with contextlib.suppress(TimeoutError):  # nothing but empty lines is silence
            said = Stream(ours, 1.0).banner(0.5)
        assert thread.is_alive()  # we have ended it, not the peer
        assert said is not None
        assert said == "" if piece.isspace() else said.startswith(piece.decode().strip())
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-mute\r\n"])
def test_a_peer_that_falls_silent_is_given_up_at_the_limit(greeting: bytes) -> None:
    with mute(greeting) as port:
        began = time.monotonic()
        with (
            FTPPool(f"sftp://u:p@127.0.0.1:{port}", connect_timeout=0.5, retry=ONCE) as pool,
            pytest.raises(ConnectError),
            pool.sftp(),
        ):
            pass
        assert 0.4 < time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"SSH-2.0-x\r\nHTTP/1.1 400 Bad Request\r\n\r\n", "what follows its SSH banner is no SSH"),
        (b"SSH-2.0-x\r\n" + bytes(4000), "what follows its SSH banner is no SSH"),
        (b"SSH-2.0-x\r\n\0\0\0\x0c\x03\x14" + b"a" * 13, "SSH"),  # a KEXINIT that ends too early
        (b"SSH-nonsense\r\n", "what follows its SSH banner is no SSH"),
        (b"\x15\x03\x03\x00\x02\x02F\r\n" + b"\xff\0" * 4000, "is no SSH server; check host"),
    ],
)
def test_bytes_that_are_no_ssh_are_no_limit_of_the_server(greeting: bytes, words: str) -> None:
    with mute(greeting) as port:
        with (
            FTPPool(f"sftp://u:p@127.0.0.1:{port}", connect_timeout=5, retry=ONCE) as pool,
            pytest.raises(ConnectError, match=words) as refusal,
            pool.sftp(),
        ):
            pass
        assert pool.stats().refused == 0
        assert len(str(refusal.value)) < 4200


def test_a_login_that_is_not_answered_is_given_up_at_the_limit(start: Start) -> None:
    server = start("asyncssh", options={"silent_login": True})
    began = time.monotonic()
    with (
        FTPPool(server.url, io_timeout=0.5, retry=ONCE) as pool,
        pytest.raises(ConnectError, match="imeout"),
        pool.sftp(),
    ):
        pass
    assert 0.4 < time.monotonic() - began < 4
