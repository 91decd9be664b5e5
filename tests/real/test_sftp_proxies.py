"""SFTP: ways through proxies, from the user's OpenSSH configuration and from Python."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftppool import ConfigError, ConnectError, FTPPool, RetryPolicy, SSHConfig, Target
from ftppool.drivers.sftp_endpoint import CommandSocket, endpoint_of, hops_of
from tests.conftest import Start
from tests.support.servers import Server

ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def sshd(start: Start) -> Server:
    return start("openssh")


def known_hosts() -> Path:
    return Path("~/.ssh/known_hosts").expanduser()


def test_a_jump_host_has_the_user_that_the_ssh_config_names(sshd: Server) -> None:
    (known_hosts().parent / "config").write_text("Host gate\n  User porter\n")
    target = Target.parse("sftp://bob@inside")
    config = SSHConfig(proxy_jump="gate,mary@gate,hall")
    hops = hops_of(endpoint_of(target, config), config)
    assert [hop.user for hop in hops] == ["porter", "mary", "bob"]


def test_a_proxy_command_leads_to_the_server_and_ends_with_the_connection(sshd: Server) -> None:
    relay = (
        "import os,select,socket,sys;s=socket.create_connection(sys.argv[1:3]);p={0:s,s:1}\n"
        "while 1:\n"
        " for r in select.select(list(p),[],[])[0]:\n"
        "  d=os.read(r if r==0 else r.fileno(),65536)\n"
        "  if not d: sys.exit()\n"
        "  s.sendall(d) if r==0 else os.write(1,d)"
    )
    config = SSHConfig(proxy_command=f"{sys.executable} -c '{relay}' %h %p")
    with FTPPool(sshd.url, ssh=config) as pool:
        assert pool.upload(b"x" * 1_000_000, "file").verified
    assert sshd.wait_idle().connects == 1


def ways(config_file: Path, command: str) -> Iterator[SSHConfig]:
    """The same proxy command from the user's file, and from Python."""
    config_file.write_text(f"Host *\n  ProxyCommand {command}\n")
    yield SSHConfig(config_file=config_file)
    yield SSHConfig(config_file=None, proxy_command=command)


@pytest.mark.parametrize(
    ("host", "user"),
    [
        ("x$(touch$IFS'PWNED')", "bob"),
        ("x;touch$IFS'PWNED'", "bob"),
        ("-oProxyCommand=touch", "bob"),
        ("inside", "x;touch PWNED"),
        ("inside", "'`touch PWNED`'"),
        ("inside", "-oProxyCommand=touch"),
        ("inside", "bob -oProxyCommand=touch"),
        ("inside", "bob\\"),
    ],
)
def test_no_part_of_a_url_is_run_by_the_shell_of_a_proxy_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, user: str
) -> None:
    monkeypatch.chdir(tmp_path)
    target = Target("sftp", host, 22, user)
    for config in ways(tmp_path / "config", "true %h %n %p %r"):
        with (
            pytest.raises(ConfigError, match="means something to a shell"),
            FTPPool(target, ssh=config, connect_timeout=5, retry=ONCE) as pool,
            pool.sftp(),
        ):
            pass
    assert not (tmp_path / "PWNED").exists()


def test_a_host_name_is_run_by_no_match_exec_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config"
    config.write_text('Match exec "true %h"\n  User bob\n')
    with pytest.raises(ConfigError, match="means something to a shell"):
        endpoint_of(Target.parse("sftp://x;touch$IFS'PWNED'"), SSHConfig(config_file=config))


def test_a_user_whom_no_proxy_command_names_may_be_called_anything(tmp_path: Path) -> None:
    for config in ways(tmp_path / "config", "tool %h"):
        assert endpoint_of(Target("sftp", "h", 22, "o'brien"), config).user == "o'brien"


def test_a_proxy_command_gets_what_the_target_says_as_one_word_each(tmp_path: Path) -> None:
    for config in ways(tmp_path / "config", "tool %n %h:%p --as %r 100%% ~/x %x"):
        command = endpoint_of(Target("sftp", "files", 2222, "a $b%h*"), config).command
        expected = ["tool", "files", "files:2222", "--as", "a $b%h*", "100%", "~/x", "%x"]
        assert shlex.split(command) == expected


def test_a_proxy_leads_to_the_port_and_user_of_the_url_not_to_those_of_the_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config"
    way = "Host bastioned\n  HostName 10.0.0.9\n  User svc\n  Port 22\n  {}\n"
    config = SSHConfig(config_file=file)
    for url, port, user in (
        ("sftp://alice@bastioned:2222", 2222, "alice"),
        ("sftp://bastioned", 22, "svc"),
    ):
        target = Target.parse(url)
        file.write_text(way.format("ProxyCommand ssh gate -W %h:%p -l %r"))
        endpoint = endpoint_of(target, config)
        assert (endpoint.port, endpoint.user) == (port, user)
        assert endpoint.command == f"ssh gate -W 10.0.0.9:{port} -l {user}"
        file.write_text(way.format("ProxyJump %r@%n-gate:%p"))
        assert endpoint_of(target, config).jump == f"{user}@bastioned-gate:{port}"


@pytest.mark.parametrize(
    ("command", "words", "again"),
    [
        ("no-such-command %h %p", "status 127: a command in it was not found", False),
        ("/dev/null %h %p", "status 126: a command in it may not be run", False),
        # Its output ends before it does.
        ("sh -c 'exec <&- >&-; sleep 0.2; exit 127'", "status 127", False),
        ("false", "status 1; what it writes to stderr says why", True),
        ("sh -c 'kill -9 $$'", "was ended by signal 9", True),
    ],
)
def test_a_proxy_command_that_fails_is_no_refusal_of_the_server(
    command: str, words: str, again: bool
) -> None:
    config = SSHConfig(config_file=None, proxy_command=command)
    retry = RetryPolicy(attempts=2)
    with FTPPool("sftp://u@inside", password="p", ssh=config, retry=retry) as pool:
        with pytest.raises(
            ConnectError, match=f"cannot be reached: the ProxyCommand .*{words}"
        ) as e:
            pool.upload(b"x", "file")
        assert e.value.retryable is again
        assert pool.stats().refused == 0


@pytest.mark.parametrize(
    ("first", "second", "way"),
    [
        ("ProxyCommand none", "ProxyJump gate", ("", "")),
        ("ProxyJump none", "ProxyCommand tool", ("", "")),
        ("ProxyCommand tool", "ProxyJump gate", ("", "tool")),
        ("ProxyJump gate", "ProxyCommand tool", ("gate", "")),
        ("ProxyJump gate", "ProxyJump none", ("gate", "")),
        ("User bob", "ProxyJump gate", ("gate", "")),
    ],
)
def test_of_proxy_command_and_proxy_jump_the_first_one_named_wins(
    tmp_path: Path, first: str, second: str, way: tuple[str, str]
) -> None:
    file = tmp_path / "config"
    for text in (f"Host inner\n {first}\nHost *\n {second}\n", f"Host *\n {first}\n {second}\n"):
        file.write_text(text)
        endpoint = endpoint_of(Target.parse("sftp://a@inner"), SSHConfig(config_file=file))
        assert (endpoint.jump, endpoint.command) == way
        if shutil.which("ssh"):  # the oracle, where its client is there: what it makes of that file
            assert openssh_says(file, "inner", "proxyjump", "proxycommand") == way


def openssh_says(file: Path, host: str, *keys: str) -> tuple[str, ...]:
    shown = subprocess.run(
        ["ssh", "-G", "-F", file, host], check=True, capture_output=True, text=True
    ).stdout
    values = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    return tuple(values.get(key, "") for key in keys)


def test_of_a_proxy_command_that_does_not_end_no_part_is_left(tmp_path: Path) -> None:
    # Its last part has this open; it ends with all those that have.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        command = f"sleep 60 | sh -c 'echo up >&9; sleep 60; true' 9>{fifo}"
        sock = CommandSocket.start(command, lambda _: None)
        try:
            assert select.select([reading], [], [], 20)[0]
            assert os.read(reading, 100) == b"up\n"
        finally:
            sock.close()
        assert select.select([reading], [], [], 20)[0], "its children live on"
        assert os.read(reading, 100) == b""
    finally:
        os.close(reading)


def test_a_jump_host_leads_to_the_server(start: Start) -> None:
    jump = start("openssh")
    home = known_hosts().parent
    (home / "id_ed25519").rename(home / "jump")
    jump_home = home
    target = start("openssh")
    here = known_hosts().parent
    with known_hosts().open("a") as file:
        file.write((jump_home / "known_hosts").read_text())
    # Seen from the jump host, "inside" is our loopback.
    (here / "config").write_text(
        f"Host gate\n HostName 127.0.0.1\n Port {jump.port}\n IdentityFile {jump_home}/jump\n"
        f"Host 127.0.0.1\n Port {target.port}\n ProxyJump {jump.user}@gate\n"
    )
    with FTPPool(f"sftp://{target.user}@127.0.0.1", max_per_ip=1) as pool:
        assert pool.upload(b"x" * 1_000_000, "file").verified
        assert pool.close().clean
    assert target.wait_idle().quits == 1
    assert jump.wait_idle().quits == 1
