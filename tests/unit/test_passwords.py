"""Passwords from files, commands and netrc, as functions for ``password=``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftppool import ConfigError, FTPPool, passwords
from tests.conftest import Start


def private(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def test_a_pool_asks_at_each_login(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib")
    file = private(tmp_path / "password", f"{server.password}\n")
    url = f"ftp://{server.user}@{server.host}:{server.port}"
    with FTPPool(url, password=passwords.from_file(file), max_idle=0) as pool:
        for _ in range(2):
            with pool.ftp() as ftp:
                ftp.pwd()
        file.unlink()
        with pytest.raises(ConfigError, match="cannot be read"), pool.ftp():
            pass


def test_a_file_gives_its_first_line_whatever_its_bytes(tmp_path: Path) -> None:
    file = private(tmp_path / "password", "")
    for content, secret in (
        (b"plain", "plain"), (b"a b \r\nc", "a b "), (b"\xff\n", "\udcff"), (b"\xc3\xa9\n", "é"),
    ):  # fmt: skip
        file.write_bytes(content)
        assert passwords.from_file(file)() == secret
    file.write_bytes(b"\nsecond")
    with pytest.raises(ConfigError, match="nothing in its first line"):
        passwords.from_file(file)()


def test_a_pipe_of_the_shell_will_do(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"secret\n")
        os.close(writing)
        assert passwords.from_file(f"/dev/fd/{reading}")() == "secret"
    finally:
        os.close(reading)


def test_a_command_is_a_list_and_no_shell() -> None:
    for wrong in ("pass show ftp", [], ["echo", 3]):
        with pytest.raises(ConfigError, match="write a list"):
            passwords.from_command(wrong)  # type: ignore[arg-type]  # it is the question
    print_it = [sys.executable, "-c", "import sys; print(sys.argv[1]); print(2)", "$HOME;x"]
    assert passwords.from_command(print_it)() == "$HOME;x"


def test_netrc_entries_are_found_by_host_and_login(tmp_path: Path) -> None:
    file = private(
        tmp_path / "netrc", "machine h login me password one\ndefault login x password y"
    )
    assert passwords.from_netrc("h", path=file)() == "one"
    assert passwords.from_netrc("h", "me", file)() == "one"
    assert passwords.netrc_login("elsewhere", None, file) == ("x", "y")
    with pytest.raises(ConfigError, match="has the login 'me' for h, not 'you'"):
        passwords.from_netrc("h", "you", file)()


def test_of_several_logins_for_a_host_netrc_gives_the_one_asked_for(tmp_path: Path) -> None:
    file = private(
        tmp_path / "netrc",
        "default login any password 0\n"
        "machine h login me password 1\nmachine h user you account x password 2\n"
        "machine other login me password 3\n",
    )
    assert passwords.netrc_login("h", "me", file) == ("me", "1")
    assert passwords.netrc_login("h", "you", file) == ("you", "2")
    assert passwords.netrc_login("h", "any", file) == ("any", "0")
    assert passwords.netrc_login("h", None, file) == ("me", "1")
    with pytest.raises(ConfigError, match="has the login 'me' and 'you' for h, not 'she'"):
        passwords.netrc_login("h", "she", file)


def test_the_words_of_a_netrc_file_may_be_quoted_and_escaped(tmp_path: Path) -> None:
    file = private(tmp_path / "netrc", "")
    file.write_bytes(
        b"# machine h login me password no\r\n"
        b"machine first login me password 1 # machine h login me password no\n"
        b"macdef init\r\nmachine h login me password no\r\n\r\n"
        b'machine h login "a b" password "c \\" d" machine i\n\tlogin x\\ y\n\tpassword #\xff\\\\\n'
        b"machine last login me"
    )
    assert passwords.netrc_login("first", "me", file) == ("me", "1")
    assert passwords.netrc_login("h", None, file) == ("a b", 'c " d')
    assert passwords.netrc_login("i", None, file) == ("x y", "#\udcff\\")
    with pytest.raises(ConfigError, match="has no password for last"):
        passwords.netrc_login("last", None, file)
    for wrong, line in (
        ("machine h\nlogin me\npasword secret-42", 3), ("machine", 1), ("machine h login", 1),
        ("login me", 1), ("\n\nmachine h 'x", 3),
    ):  # fmt: skip
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=f"look at line {line}$"):
            passwords.netrc_login("h", None, file)


def test_the_netrc_file_that_is_checked_is_the_one_that_is_read(tmp_path: Path) -> None:
    """Between a look at its mode and its opening another one may take its place."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"machine h login me password one\n")
        os.close(writing)
        assert passwords.netrc_login("h", None, f"/dev/fd/{reading}") == ("me", "one")
    finally:
        os.close(reading)


def waiting(pid: int) -> bool:
    """True while a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while waiting(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not waiting(pid)


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 300 & echo $! $$ >{pids}; wait"
    with pytest.raises(ConfigError, match="took longer than 1 s; it was ended"):
        passwords.from_command(["sh", "-c", script], timeout=1)()
    assert all(ends(int(pid)) for pid in pids.read_text().split())


def test_what_a_command_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 300 & echo $! >{pids}; echo secret-42"
    began = time.monotonic()
    assert passwords.from_command(["sh", "-c", script], timeout=60)() == "secret-42"
    assert time.monotonic() - began < 30
    (pid,) = map(int, pids.read_text().split())
    assert waiting(pid)  # an agent, say
    os.kill(pid, signal.SIGKILL)


def test_a_ctrl_c_ends_the_command_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 300 & echo $! $$ >{pids}.new; mv {pids}.new {pids}; wait"
    code = f"from ftppool import passwords\npasswords.from_command(['sh', '-c', {script!r}])()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not pids.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in said
    assert all(ends(int(pid)) for pid in pids.read_text().split())
