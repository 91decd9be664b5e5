"""Passwords from files, commands and netrc, as functions for ``password=``."""

from __future__ import annotations

import os
import sys
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
