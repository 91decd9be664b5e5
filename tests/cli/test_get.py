"""``ftppool get`` and ``ls`` as a user runs them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.running import Ran, run
from tests.cli.test_put import make, one_complaint, secret, url
from tests.conftest import Start
from tests.support.servers import Server


@pytest.fixture
def ftp(start: Start) -> Server:
    """A server with a directory of three files."""
    server = start("pyftpdlib", max_per_ip=3)
    make(server.home / "out", 3)
    (server.home / "out" / "deep").mkdir()
    (server.home / "out" / "deep" / "x.tmp").write_text("temporary")
    return server


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_directory_comes_whole_and_silently(ftp: Server, tmp_path: Path) -> None:
    ran = run("get", url(ftp, "out"), tmp_path / "in", env=secret(ftp))
    assert ran == Ran(0, "", "")
    assert contents(tmp_path / "in") == contents(ftp.home)
    census = ftp.wait_idle()
    assert census.peak <= 2
    assert census.quits == census.connects


def test_sources_files_contents_and_filters(ftp: Server, tmp_path: Path) -> None:
    ran = run(
        "get", url(ftp, "out/"), url(ftp, "out/0000.txt"), "--exclude", "*.tmp",
        "--include", "000[12].txt", "--preserve-mtime", tmp_path / "in", env=secret(ftp),
    )  # fmt: skip
    assert ran.code == 0
    assert sorted(contents(tmp_path / "in")) == ["0001.txt", "0002.txt"]
    times = [(path.stat().st_mtime_ns // 10**9) for path in (
        tmp_path / "in" / "0001.txt", ftp.home / "out" / "0001.txt")]  # fmt: skip
    assert times[0] == times[1]
    again = run(
        "get", "--on-conflict", "fail", url(ftp, "out/0001.txt"), tmp_path / "in", env=secret(ftp)
    )
    assert "0001.txt" in one_complaint(again, 1)


def test_names_come_from_a_list(ftp: Server, tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_bytes(b"0000.txt\0deep/x.tmp\0")
    ran = run(
        "get", "--files-from", listed, "-0", url(ftp, "out"), tmp_path / "in", env=secret(ftp)
    )
    assert ran == Ran(0, "", "")
    assert sorted(contents(tmp_path / "in")) == ["0000.txt", "deep/x.tmp"]
    listed.write_text("../0000.txt\r\nnope\n\n")
    words = one_complaint(
        run("get", "--files-from", listed, url(ftp, "out"), tmp_path / "in", env=secret(ftp)), 1
    )
    assert "550" in words
    assert "0 of 2 files arrived" in words


def test_a_dry_run_does_not_look_into_what_is_excluded(start: Start, tmp_path: Path) -> None:
    ftp = start("proftpd")
    (ftp.home / "out").mkdir()
    (private := ftp.home / "out" / "private").mkdir(mode=0)
    try:
        args = (url(ftp, "out"), tmp_path / "in")
        assert run("get", "--dry-run", *args, env=secret(ftp)).code == 1  # it may not be listed
        ran = run("get", "--dry-run", "--exclude", "private/", *args, env=secret(ftp))
        assert (ran.code, ran.err) == (0, "")
    finally:
        private.chmod(0o755)


def test_a_dry_run_fetches_nothing_and_says_what_it_would(ftp: Server, tmp_path: Path) -> None:
    ran = run(
        "get", "--dry-run", "--exclude", "*.tmp", url(ftp, "out"), tmp_path / "in", env=secret(ftp)
    )
    assert ran.code == 0
    *lines, last = ran.out.splitlines()
    assert lines[0] == f"out/0000.txt -> {tmp_path}/in/out/0000.txt (2 B)"
    assert len(lines) == 3
    assert last == "3 files, 6 B: nothing was moved"
    assert not (tmp_path / "in").exists()
    words = one_complaint(
        run("get", "--dry-run", "-q", url(ftp, "no"), tmp_path, env=secret(ftp)), 1
    )
    assert "550" in words


def test_over_sftp(start: Start, tmp_path: Path) -> None:
    server = start("openssh")
    make(server.home / "out", 3)
    ran = run("get", server.at("out"), tmp_path / "in")
    assert ran == Ran(0, "", "")
    assert contents(tmp_path / "in") == contents(server.home)
    assert run("ls", server.at("out")).out.split() == ["0000.txt", "0001.txt", "0002.txt"]


def test_ls_lists(ftp: Server) -> None:
    os.utime(ftp.home / "out" / "0000.txt", (0, 1_700_000_000))
    (ftp.home / "out" / "a\x1b[31mb").touch()
    ran = run("ls", url(ftp, "out"), env=secret(ftp))
    assert ran.out.splitlines() == ["0000.txt", "0001.txt", "0002.txt", "a [31mb", "deep/"]
    ran = run("ls", "-l", url(ftp, "out/0000.txt"), env=secret(ftp))
    assert ran.out.split() == ["file", "2", "2023-11-14", "22:13", "0000.txt"]
    entries = [
        json.loads(line)
        for line in run("ls", "--json", url(ftp, "out"), env=secret(ftp)).out.splitlines()
    ]
    assert entries[0] == {
        "name": "0000.txt", "kind": "file", "size": 2, "modified": 1_700_000_000.0,
    }  # fmt: skip
    assert run("ls", "-0", url(ftp), env=secret(ftp)).out == "out\0"
    assert "550" in one_complaint(run("ls", url(ftp, "no"), env=secret(ftp)), 1)
