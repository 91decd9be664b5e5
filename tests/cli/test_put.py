"""``ftppool put`` as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme

from ftppool._version import __version__
from tests.cli.running import COLUMNS, Ran, end, environment, run, run_on_terminal, start as begin
from tests.conftest import Start
from tests.support import certificates
from tests.support.servers import Server


@pytest.fixture
def ftp(start: Start) -> Server:
    """A server that allows three connections."""
    return start("pyftpdlib", max_per_ip=3)


def url(server: Server, directory: str = "") -> str:
    """The server's URL without a password."""
    return f"ftp://{server.user}@{server.host}:{server.port}/{directory}"


def put(server: Server, *args: str | Path, cwd: Path | None = None, directory: str = "") -> Ran:
    """Run ``put`` with the password where it belongs."""
    return run("put", *args, url(server, directory), cwd=cwd, env=secret(server))


def secret(server: Server) -> dict[str, str]:
    return {"FTPPOOL_PASSWORD": server.password}


def make(folder: Path, count: int) -> Path:
    """Fill a folder with files of one line."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:04}.txt").write_text(f"{number}\n")
    return folder


def make_large(folder: Path) -> Path:
    """Fill a folder with more than can be sent while a test looks on: sparse files, 2 GB."""
    folder.mkdir(parents=True)
    for number in range(250):
        with (folder / f"{number:04}.bin").open("wb") as file:
            file.truncate(8_000_000)
    return folder


def one_complaint(ran: Ran, code: int) -> str:
    """Check that a run ended with this code and only sentences, and return them."""
    assert ran.code == code, ran
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert all(line.startswith("ftppool: ") for line in ran.err.splitlines()), ran.err
    return ran.err


def test_success_without_a_terminal_is_silent(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 30)
    ran = put(ftp, files, directory="in")
    assert ran == Ran(0, "", "")
    there = {path.name: path.read_text() for path in (ftp.home / "in" / "out").iterdir()}
    assert there == {path.name: path.read_text() for path in files.iterdir()}
    census = ftp.wait_idle()
    assert census.peak <= 2
    assert census.quits == census.connects


def test_options_reach_the_pool(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 12)
    ran = put(
        ftp, f"{files}/", "--max-per-ip", "1", "--workers", "3", "--no-atomic", "--verify", "none"
    )
    assert ran == Ran(0, "", "")
    assert ftp.wait_idle().peak == 1
    (ftp.home / "0000.txt").write_text("older")
    assert put(ftp, files / "0000.txt", "--on-conflict", "skip").code == 0
    assert (ftp.home / "0000.txt").read_text() == "older"
    words = one_complaint(put(ftp, files / "0000.txt", "--on-conflict", "fail"), 1)
    assert "0000.txt: a file of this name exists" in words
    words = one_complaint(put(ftp, files / "0000.txt", "--no-makedirs", directory="no"), 1)
    assert "no/0000.txt: 550" in words or "no/0000.txt: 553" in words
    assert "its directory is not there, and none is to be made" in words


def test_a_password_in_the_url_works_and_is_shown_nowhere(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 3)
    ran = run("put", "-v", files, ftp.url)
    assert ran.code == 0
    assert ftp.password not in ran.err
    assert "uploaded:" in ran.err
    assert "session opened" in ran.err
    for args in (
        [files, ftp.url, "--nonsense"],
        [files, f"--nonsense={ftp.url}"],
        [ftp.url, ftp.url],
        [files, ftp.url.replace("ftp://", "nope://")],
        [files, ftp.url.replace("ftp://", "")],
        [files, ftp.url + "?"],
        [files, ftp.url.replace(f":{ftp.port}", ":none")],
    ):
        ran = run("put", *args)
        assert ran.code in {2, 78}
        assert ran.err
        assert ftp.password not in ran.out + ran.err
    ran = run(ftp.url)
    assert ran.code == 2
    assert ftp.password not in ran.err


def test_files_that_fail_get_a_line_each_in_the_servers_words(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 4)
    (ftp.home / "0001.txt").mkdir()
    ran = put(ftp, *sorted(files.iterdir()), tmp_path / "missing", cwd=tmp_path)
    lines = one_complaint(ran, 1).splitlines()
    assert len(lines) == 3
    assert "0001.txt" in lines[0]
    assert "550" in lines[0]
    assert "missing' does not exist" in lines[1]
    assert lines[2] == "ftppool: 3 of 5 files arrived, 2 failed"


def test_a_refused_login_is_77_and_says_where_a_password_goes(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 2)
    ran = run("put", files, url(ftp), env={"FTPPOOL_PASSWORD": "not-this-one"})
    words = one_complaint(ran, 77)
    assert "530 Authentication failed." in words
    assert "not-this-one" not in words
    assert "no password was given" not in words
    anonymous = f"ftp://{ftp.host}:{ftp.port}/"  # others need one before anything is sent
    words = one_complaint(run("put", files, anonymous), 77)
    assert "no password was given; set FTPPOOL_PASSWORD" in words
    assert "there is no password for" in one_complaint(run("put", files, url(ftp)), 78)


def test_a_wrong_setting_is_one_sentence_and_78(tmp_path: Path) -> None:
    for dest in ("nonsense://h/", "h", "ftp://u@h:0/"):
        ran = run("put", tmp_path, dest, env={"FTPPOOL_PASSWORD": "secret-42"})
        assert len(one_complaint(ran, 2).splitlines()) == 1
    ran = run("put", tmp_path, "sftp://h/", env={"FTPPOOL_PASSWORD": "secret-42"})
    assert len(one_complaint(ran, 78).splitlines()) == 1
    ran = run("put", tmp_path, "ftp://h/", env={"FTPPOOL_PASSWORD": "secret-42"})
    assert "names no user" in one_complaint(ran, 78)


def test_nobody_there_is_75(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        (tmp_path / "x").write_text("x")
        words = one_complaint(run("put", tmp_path / "x", f"ftp://u:p@127.0.0.1:{port}/"), 75)
    assert "Connection refused" in words
    assert "run it again" in words


def test_usage_errors_are_2() -> None:
    for args in (
        (),
        ("put",),
        ("put", "x"),
        ("nonsense",),
        ("put", "--max-per-ip", "0", "x", "ftp://h"),
        ("put", "--workers", "two", "x", "ftp://h"),
        ("put", "-q", "-v", "x", "ftp://h"),
        ("put", "--verify", "maybe", "x", "ftp://h"),
    ):
        ran = run(*args)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("usage: ftppool")


def test_help_and_version_are_light() -> None:
    assert run("--version") == Ran(0, f"ftppool {__version__}\n", "")
    ran = run("put", "--help")
    assert ran.code == 0
    assert "FTPPOOL_PASSWORD" in ran.out
    assert all(len(line) <= COLUMNS for line in ran.out.splitlines())
    code = (
        "import sys, ftppool.cli\n"
        "try: ftppool.cli.main(['--version'])\n"
        "except SystemExit: pass\n"
        "heavy = {'ftplib', 'ssl', 'socket', 'tenacity', 'paramiko', 'asyncio', 'logging'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    words = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert words.decode().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
)
def test_a_signal_ends_all_sessions_politely(
    ftp: Server, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    files = make_large(tmp_path / "out")
    process = begin("put", f"{files}/", url(ftp), env=secret(ftp))
    try:
        ftp.wait_for(lambda census: census.sessions == 2)
        wait_for_files(ftp.home, 6)
    finally:
        process.send_signal(number)
        ran = end(process)
    words = one_complaint(ran, code)
    assert len(words.splitlines()) == 1
    assert words.startswith(f"ftppool: {word}: ")
    assert words.endswith("; all sessions ended politely\n")
    census = ftp.wait_idle()
    # A third one only where the server forgot to answer a transfer that was broken off.
    assert census.quits == census.sessions == census.connects
    assert census.connects in {2, 3}
    assert census.peak == 2
    assert not list(ftp.home.glob(".*.part"))
    assert len(list(ftp.home.iterdir())) < 250


def wait_for_files(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(os.listdir(folder)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_terminal_gets_a_calm_line_and_a_last_one(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 400)
    ran = run_on_terminal("put", files, url(ftp), env=secret(ftp))
    assert ran.code == 0
    assert "\x1b[32m" in ran.out
    screens = ran.screens()
    assert max(len(line) for screen in screens for line in screen) < COLUMNS
    assert any(
        "of 400 files" in screen[0] and "sessions" in screen[1]
        for screen in screens
        if len(screen) > 1
    )
    (last,) = screens[-1]
    assert "✓" in last
    assert "400 files, " in last
    assert "2 sessions" in last


def test_quiet_no_color_and_dumb_terminals_are_obeyed(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 5)
    assert run_on_terminal("put", "-q", files, url(ftp), env=secret(ftp)) == Ran(0, "")
    for args, env in (
        (["--color", "never"], {}),
        ([], {"NO_COLOR": "1"}),
        ([], {"TERM": "dumb"}),
    ):
        ran = run_on_terminal("put", *args, files, url(ftp), env=secret(ftp) | env)
        assert ran.code == 0
        assert "\x1b" not in ran.out
        assert ("\r" in ran.out) == (env.get("TERM") != "dumb")


def test_ctrl_c_on_a_terminal(ftp: Server, tmp_path: Path) -> None:
    files = make_large(tmp_path / "out")
    ran = run_on_terminal("put", files, url(ftp), env=secret(ftp), interrupt_at="2 of 2 sessions")
    assert ran.code == 130
    assert "Traceback" not in ran.out
    assert ran.screens()[-1][0].startswith("ftppool: interrupted: ")
    census = ftp.wait_idle()
    assert census.quits == census.sessions == 2


def test_closed_output_does_not_stop_an_upload(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 3)
    for redirection in (">&- 2>&-", "2>&1 | true"):
        code = f'set -o pipefail; "{sys.executable}" -m ftppool put -v "$0" "$1" {redirection}'
        done = subprocess.run(
            ["bash", "-c", code, str(files), url(ftp)],
            env=environment(**secret(ftp)),
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        names = {path.name for path in (ftp.home / "out").iterdir()}
        assert names == {path.name for path in files.iterdir()}
        for name in names:
            (ftp.home / "out" / name).unlink()


def test_output_into_a_pipe_that_nobody_reads_is_no_traceback() -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m ftppool put --help | true'],
        env=environment(),
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_bug_is_a_traceback_and_70(tmp_path: Path) -> None:
    code = (
        "import sys, ftppool.cli, ftppool.cli.put_args as put\n"
        "put._how = lambda *args: 1 / 0\n"
        "sys.exit(ftppool.cli.main(['put', 'x', 'ftp://h']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment(), check=False
    )
    assert done.returncode == 70
    assert b"ZeroDivisionError" in done.stderr
    assert done.stderr.endswith(b"please report it with the lines above\n")


def test_no_room_on_the_server_waits_for_it(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib", max_per_ip=1)
    files = make(tmp_path / "out", 5)
    with socket.create_connection((server.host, server.port)) as other:
        other.recv(100)
        process = begin("put", "-v", files, url(server), env=secret(server))
        try:
            server.wait_for(lambda census: census.refusals > 0)
        finally:
            other.close()
            ran = end(process)
    assert ran.code == 0
    assert "421 Too many connections from the same IP address." in ran.err
    assert len(list((server.home / "out").iterdir())) == 5


def test_a_server_with_a_certificate_of_its_own_is_trusted_when_told_to(
    start: Start, tmp_path: Path
) -> None:
    certificate = certificates.write_certificate(tmp_path, ca=trustme.CA())
    server = start("vsftpd+tls", certificate=certificate)
    (tmp_path / "report.csv").write_text("1;2;3\n")
    target = f"ftps://{server.user}@{server.host}:{server.port}/"

    def send(*options: str) -> Ran:
        return run("put", *options, tmp_path / "report.csv", target, env=secret(server))

    refused = one_complaint(send(), 77)
    assert "is not trusted" in refused
    digest = re.search(r"SHA-256 ([0-9a-f]{64})", refused)
    assert digest is not None
    assert send("--fingerprint", digest[1]).code == 0
    assert send("--ca-file", str(certificate)).code == 0  # the server's own, that is enough
    assert "No such file" in one_complaint(send("--ca-file", "/not/there"), 78)
    assert (server.home / "report.csv").exists()


def test_a_host_key_is_trusted_when_told_to(start: Start, tmp_path: Path) -> None:
    server = start("asyncssh")
    (known := Path("~/.ssh/known_hosts").expanduser()).unlink()
    (tmp_path / "report.csv").write_text("1;2;3\n")
    target = f"sftp://{server.user}@{server.host}:{server.port}/~/"

    def send(*options: str, env: dict[str, str] | None = None) -> Ran:
        return run("put", *options, tmp_path / "report.csv", target, env=env or secret(server))

    refused = one_complaint(send(env={"LANG": "C"}), 77)
    assert "not known" in refused
    assert "no password was given" not in refused
    digest = re.search(r"SHA256:[A-Za-z0-9+/]{43}", refused)
    assert digest is not None
    assert "not the pinned one" in one_complaint(send("--fingerprint", f"SHA256:{'x' * 43}"), 77)
    assert send("--fingerprint", digest[0]).code == 0
    assert not known.exists()
    assert send("--accept-new").code == 0
    assert f":{server.port}" in known.read_text()
    assert (server.home / "report.csv").exists()
    both = one_complaint(send("--accept-new", "--fingerprint", digest[0]), 78)
    assert "drop one" in both


@pytest.mark.parametrize(
    ("scheme", "option"),
    [("sftp", "--ca-file=x"), ("ftp", "--ca-file=x"), ("ftp", "--fingerprint=x"),
     ("ftp", "--accept-new"), ("ftps", "--accept-new")],
)  # fmt: skip
def test_trust_that_has_no_use_is_told(scheme: str, option: str, tmp_path: Path) -> None:
    words = one_complaint(run("put", option, tmp_path, f"{scheme}://u@h/"), 78)
    assert f"{option.partition('=')[0]} is for " in words
    assert f"this is {scheme}://" in words
