"""What a cron job asks of a run: lists, reports, journals, lines of JSON."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Ran, end, environment, run, start as begin
from tests.cli.test_put import make, make_large, one_complaint, secret, url, wait_for_files
from tests.conftest import Start
from tests.support.servers import Server


@pytest.fixture
def ftp(start: Start) -> Server:
    """A server that allows three connections."""
    return start("pyftpdlib", max_per_ip=3)


def read(report: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(report.read_text())
    return content


def piped(server: Server, names: bytes, *args: str | Path, cwd: Path) -> Ran:
    """Run ``put --files-from -``."""
    done = subprocess.run(
        [sys.executable, "-m", "ftppool", "put", "--files-from", "-", *map(str, args), url(server)],
        input=names, capture_output=True, cwd=cwd, env=environment(**secret(server)), check=False,
        timeout=60,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_names_come_from_a_pipe_and_keep_their_directories(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out" / "deep", 3)
    odd = files / "a  \u00e9 'b"
    odd.write_text("odd")
    env = {"cwd": tmp_path}
    names = b"\0".join(
        os.fsencode(path) for path in (f"out/deep/{odd.name}", str(files / "0000.txt"))
    )
    assert piped(ftp, names, "-0", **env) == Ran(0, "", "")
    assert sorted(os.listdir(ftp.home)) == ["0000.txt", "out"]
    assert os.listdir(ftp.home / "out" / "deep") == [odd.name]
    assert piped(ftp, b"deep/0001.txt\r\n\n./deep/../deep/0002.txt", "out", **env) == Ran(0, "", "")
    assert sorted(os.listdir(ftp.home / "deep")) == ["0001.txt", "0002.txt"]
    words = one_complaint(piped(ftp, b"deep/0001.txt\n../secret\n", "out", **env), 78)
    assert "'../secret', which leads out of the directory" in words
    words = one_complaint(run("put", "--files-from", tmp_path / "no", ftp.url), 78)
    assert "cannot be read: No such file" in words


def test_a_dry_run_connects_to_nothing(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 3)
    ran = run("put", "--dry-run", "--exclude", "0001*", files, url(ftp, "in"), env=secret(ftp))
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"{files}/0000.txt -> in/out/0000.txt (2 B)",
        f"{files}/0002.txt -> in/out/0002.txt (2 B)",
        "2 files, 4 B: nothing was moved",
    ]
    ran = run("put", "--dry-run", "--json", files / "0000.txt", url(ftp), env=secret(ftp))
    assert json.loads(ran.out) == {
        "event": "WouldMove", "source": f"{files}/0000.txt", "destination": "0000.txt", "size": 2,
    }  # fmt: skip
    words = one_complaint(run("put", "--dry-run", tmp_path / "no", "-q", url(ftp)), 1)
    assert "does not exist" in words
    assert ftp.wait_idle().connects == 0


def test_a_dry_run_refuses_the_settings_that_the_run_would_refuse(tmp_path: Path) -> None:
    settings: tuple[tuple[list[str], str], ...] = (
        (["--ca-file", "x", "ftp://u@h"], "--ca-file is for ftps:// and ftpsi://"),
        (["--ca-file", str(tmp_path / "no"), "ftps://u@h"], "no"),
        (["--fingerprint", "x", "sftp://u@h"], "fingerprint"),
        (["--include", "/", "ftp://u@h"], "include"),
        (["--last", "/", "ftp://u@h"], "last"),
    )
    for args, words in settings:
        real = one_complaint(run("put", tmp_path, *args, env={"FTPPOOL_PASSWORD": "x"}), 78)
        assert words in real
        assert one_complaint(run("put", "--dry-run", tmp_path, *args), 78) == real
    for name in ("include", "exclude", "last"):
        args = [f"--{name}", "/", "ftp://u:p@127.0.0.1:1/out", str(tmp_path / "in")]
        real = one_complaint(run("get", *args), 78)
        assert name in real
        assert one_complaint(run("get", "--dry-run", *args), 78) == real


def test_a_report_says_what_became_of_each_file(ftp: Server, tmp_path: Path) -> None:
    files, report = make(tmp_path / "out", 3), tmp_path / "report.json"
    assert run("put", "--report", report, files, url(ftp), env=secret(ftp)) == Ran(0, "", "")
    content = read(report)
    assert (content["version"], content["ok"], content["exit_code"]) == (1, True, 0)
    assert content["command"] == "put"
    assert content["counts"]["uploaded"] == 3
    assert content["stats"]["quits"] == content["stats"]["opened"]
    assert report.stat().st_mode & 0o777 == 0o666 & ~_umask()
    run("put", "--report", report, tmp_path / "no", files, url(ftp), env=secret(ftp))
    content = read(report)
    assert (content["ok"], content["exit_code"]) == (False, 1)
    assert "does not exist" in content["outcomes"][0]["error"]["message"]
    run("put", "--report", report, files, url(ftp), env={"FTPPOOL_PASSWORD": "wrong"})
    content = read(report)
    assert content["exit_code"] == 77
    assert content["causes"][0]["type"] == "AuthError"
    assert os.listdir(tmp_path).count("report.json") == 1
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_report_is_written_when_the_run_is_ended(ftp: Server, tmp_path: Path) -> None:
    files, report = make_large(tmp_path / "out"), tmp_path / "report.json"
    process = begin("put", "--report", report, f"{files}/", url(ftp), env=secret(ftp))
    try:
        wait_for_files(ftp.home, 4)
    finally:
        process.send_signal(signal.SIGTERM)
        assert end(process).code == 143
    content = read(report)
    assert (content["ok"], content["exit_code"]) == (False, 143)
    assert content["counts"]["uploaded"] >= 1


def test_a_report_that_cannot_be_written_is_told_before_anything_is_sent(
    ftp: Server, tmp_path: Path
) -> None:
    files = make(tmp_path / "out", 1)
    for report in (tmp_path / "no" / "report.json", tmp_path):
        ran = run("put", "--report", report, files, url(ftp), env=secret(ftp))
        assert "write the path of a file in an existing directory" in one_complaint(ran, 78)
    assert ftp.wait_idle().connects == 0


def test_a_report_that_cannot_be_written_in_the_end_fails_the_run_but_no_file(
    ftp: Server, tmp_path: Path
) -> None:
    source, folder = tmp_path / "big", tmp_path / "reports"
    source.write_bytes(bytes(600_000))
    folder.mkdir()
    report = folder / "report.json"
    slow = ("--rate-limit", "300k")
    process = begin("put", *slow, "--report", report, source, url(ftp), env=secret(ftp))
    try:
        wait_for_files(ftp.home, 1)
        folder.rmdir()
    finally:
        ran = end(process)
    words = one_complaint(ran, 1)
    assert f"the report {report} cannot be written: No such file or directory" in words
    assert "(every file has arrived)" in words


def test_a_report_takes_the_place_of_nothing_but_a_plain_file(ftp: Server, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")  # as /dev/null would be for root
    (link := tmp_path / "stdout").symlink_to("elsewhere")
    files = make(tmp_path / "out", 1)
    for place in (pipe, link):
        ran = run("put", "--report", place, files, url(ftp), env=secret(ftp))
        assert "is no plain file" in one_complaint(ran, 78)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert ftp.wait_idle().connects == 0


def test_a_report_tells_of_a_password_that_cannot_be_had(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    missing = tmp_path / "missing"
    commands: tuple[list[str | Path], ...] = (
        ["put", tmp_path, "ftp://u@h/"],
        ["get", "ftp://u@h/x", tmp_path],
    )
    for command in commands:
        report.write_text('{"ok": true}')
        words = one_complaint(run(*command, "--report", report, "--password-file", missing), 78)
        content = read(report)
        assert (content["ok"], content["exit_code"]) == (False, 78)
        assert content["causes"][0]["message"] in words


def test_no_report_of_an_earlier_run_stands_for_one_that_could_not_begin(tmp_path: Path) -> None:
    report, config, lock = tmp_path / "report.json", tmp_path / "config.toml", tmp_path / "lock"
    config.write_text('[profiles.some]\nurl = "ftp://u@h"\nmax_per_pi = 3\n')
    runs: tuple[tuple[list[str | Path], int], ...] = (
        (["put", tmp_path, "--config", config, "some:"], 78),  # before all settings are known
        (["put", tmp_path, "ftp://u:secret-42@h:nonsense"], 2),
        (["put", tmp_path, "--ca-file", "x", "ftp://u:secret-42@h"], 78),
        (["get", "ftp://u:secret-42@h/x", "ftp://u@other/x", tmp_path], 2),
        (["put", tmp_path, "--lock", lock, "ftp://u:secret-42@h"], 75),
        (["put", tmp_path, "--lock", tmp_path, "ftp://u:secret-42@h"], 78),
    )
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for args, code in runs:
            report.write_text('{"ok": true}')
            words = one_complaint(run(*args, "--report", report), code)
            content = read(report)
            assert (content["ok"], content["exit_code"]) == (False, code), args
            assert content["command"] == args[0]
            assert content["causes"][0]["message"] in words
            assert "secret-42" not in report.read_text()
    report.write_text('{"ok": true}')
    run("put", "--dry-run", "--report", report, tmp_path, "--ca-file", "x", "ftp://u@h")
    assert read(report) == {"ok": True}  # it was no run


def test_a_signal_while_the_lock_is_waited_for_is_in_the_report(tmp_path: Path) -> None:
    report, lock = tmp_path / "report.json", tmp_path / "lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            report.write_text('{"ok": true}')
            args = ("--lock", lock, "--lock-wait", "60", "--report", report)
            process = begin("put", *args, tmp_path, "ftp://u@h")
            wait_until_opened(process.pid, lock)
            process.send_signal(number)
            assert end(process).code == code
            content = read(report)
            assert (content["ok"], content["exit_code"]) == (False, code)
            assert content["target"] == "ftp://u@h:21"


def wait_until_opened(pid: int, path: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(link) == str(path):
                    return
        time.sleep(0.02)
    raise AssertionError(f"{path} was never opened")


def test_parts_of_reports_whose_runs_were_killed_are_removed(tmp_path: Path) -> None:
    report, age = tmp_path / "report.json", time.time() - 120
    names = {
        ".report.json.abcdefg_.part": False,  # of a killed run
        ".report.json.12345678.part": True,  # being written
        ".report.json.abcdefgh.parts": True,
        ".report.json.A.part": True,
        ".other.json.abcdefgh.part": True,
    }
    for name in names:
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (age, age))
    os.utime(tmp_path / ".report.json.12345678.part")
    (tmp_path / ".report.json.linklink.part").symlink_to("/etc/passwd")
    assert run("put", "--report", report, tmp_path, "nonsense://h").code == 2
    left = {name: (tmp_path / name).exists() for name in names}
    assert left == names
    assert (tmp_path / ".report.json.linklink.part").is_symlink()
    assert read(report)["ok"] is False


def test_a_report_tells_of_a_batch_that_could_not_begin(ftp: Server, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    ran = run("put", "--report", report, "--include", "/", tmp_path, url(ftp), env=secret(ftp))
    words = one_complaint(ran, 78)
    content = read(report)
    assert (content["ok"], content["exit_code"], content["outcomes"]) == (False, 78, [])
    assert content["causes"][0]["message"] in words


def test_events_are_lines_of_json_on_stdout(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 3)
    (files / "a\udcffb").touch()
    ran = run("put", "--json", files, tmp_path / "no", url(ftp), env=secret(ftp))
    assert ran.code == 1
    events = [json.loads(line) for line in ran.out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "SessionClosed" or "BatchDone" in kinds
    assert kinds.count("FileDone") == 5
    done = [event["outcome"] for event in events if event["event"] == "FileDone"]
    assert sorted(outcome["status"] for outcome in done) == ["failed", *["uploaded"] * 4]
    (last,) = (event for event in events if event["event"] == "BatchDone")
    assert last["report"]["counts"]["uploaded"] == 4
    assert all(event["time"].endswith("+00:00") and event["pool"] for event in events)


def test_json_that_nobody_reads_stops_no_upload(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 50)
    code = f'set -o pipefail; "{sys.executable}" -m ftppool put --json "$0" "$1" | true'
    done = subprocess.run(
        ["bash", "-c", code, str(files), url(ftp)], env=environment(**secret(ftp)),
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(os.listdir(ftp.home / "out")) == 50


@pytest.mark.parametrize(
    ("numbers", "all_sent", "code"),
    [
        ([signal.SIGTERM], False, 143),
        ([signal.SIGTERM], True, 143),
        ([signal.SIGINT, signal.SIGINT], True, 130),
    ],
)
def test_a_signal_ends_a_run_whose_json_is_stuck_in_a_full_pipe(
    ftp: Server, tmp_path: Path, numbers: list[signal.Signals], all_sent: bool, code: int
) -> None:
    files = make(tmp_path / "out", 50) if all_sent else make_large(tmp_path / "out")
    report = tmp_path / "report.json"
    process = begin("put", "--json", "--report", report, f"{files}/", url(ftp), env=secret(ftp))
    assert process.stdout is not None
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    try:
        wait_for_files(ftp.home, 50)
        if all_sent:
            ftp.wait_idle()  # now it only waits for a reader
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.2)  # or two of a kind become one
        assert process.wait(40) == code  # although nobody has read anything yet
    finally:
        process.kill()
        ran = end(process)
    assert len(ran.err.splitlines()) == 1
    assert "all sessions ended politely" in ran.err
    census = ftp.wait_idle()
    assert census.quits == census.sessions == census.connects
    content = read(report)
    assert content["exit_code"] == code
    assert content["counts"]["uploaded"] >= (50 if all_sent else 40)  # some were parts still


def test_json_that_finds_no_room_fails_the_run(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 3)
    for more, sent in (("--dry-run", 0), ("--no-progress", 3)):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "ftppool", "put", "--json", more, f"{files}/", url(ftp)],
                stdout=full, stderr=subprocess.PIPE, text=True, env=environment(**secret(ftp)),
                check=False, timeout=60,
            )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr == "ftppool: --json: stdout cannot be written: No space left on device\n"
        assert len(list(ftp.home.iterdir())) == sent


def test_lines_on_stderr_are_json_if_asked_for(ftp: Server, tmp_path: Path) -> None:
    args = ("--log-format", "json", "-v", "--log-level", "info")
    ran = run("put", *args, tmp_path / "no", make(tmp_path / "out", 1), url(ftp), env=secret(ftp))
    assert ran.code == 1
    lines = [json.loads(line) for line in ran.err.splitlines()]
    assert {line["level"] for line in lines} >= {"info", "error"}
    assert all(set(line) == {"time", "level", "message"} for line in lines)
    assert any("does not exist" in line["message"] for line in lines)
    early = run("put", *args, "--lock", tmp_path / "no" / "x", "y", url(ftp), env=secret(ftp))
    assert json.loads(early.err)["level"] == "error"


def test_a_journal_goes_on_where_a_run_was_killed(ftp: Server, tmp_path: Path) -> None:
    files, journal = make_large(tmp_path / "out"), tmp_path / "state.db"
    args = ("put", "--journal", journal, "--resume", f"{files}/", url(ftp))
    process = begin(*args, env=secret(ftp))
    try:
        wait_for_files(ftp.home, 5)
    finally:
        process.kill()
        assert end(process).code == -9
    ftp.wait_idle()
    before = sum(path.suffix == ".bin" for path in ftp.home.iterdir())
    for path in sorted(files.iterdir())[20:]:
        path.unlink()
    report = tmp_path / "report.json"
    assert run(*args, "--report", report, env=secret(ftp)).code == 0
    counts = read(report)["counts"]
    assert counts["uploaded"] + counts["skipped"] == 20
    assert counts["skipped"] >= 1
    assert before >= counts["skipped"]


def test_filters_conflicts_times_and_hashes(start: Start, tmp_path: Path) -> None:
    server = start("proftpd", max_per_ip=3, options={"DigestEngine": "on"})
    files = make(tmp_path / "out", 4)
    (files / "done.ok").touch()
    args = ("put", "--exclude", "0003*", "--last", "*.ok", "--preserve-mtime", "--verify", "hash")
    ran = run(*args, f"{files}/", url(server), env=secret(server))
    assert ran.code == 0, ran
    there = sorted(os.listdir(server.home))
    assert there == ["0000.txt", "0001.txt", "0002.txt", "done.ok"]
    report = tmp_path / "report.json"
    again = (*args, "--on-conflict", "skip_same", "--report", report, f"{files}/", url(server))
    assert run(*again, env=secret(server)).code == 0
    assert read(report)["counts"]["skipped"] == 4


def test_a_file_is_in_the_way_of_a_directory_and_the_error_says_so(
    ftp: Server, tmp_path: Path
) -> None:
    files = make(tmp_path / "out", 1)
    (ftp.home / "out").touch()
    words = one_complaint(run("put", files, url(ftp), env=secret(ftp)), 1)
    assert "; a file has the name of this directory: move it away" in words
    assert ".;" not in words
    (ftp.home / "0000.txt").mkdir()
    words = one_complaint(run("put", files / "0000.txt", url(ftp), env=secret(ftp)), 1)
    assert "a directory has this name: move it" in words
    (tmp_path / "here").touch()
    words = one_complaint(run("get", url(ftp, "out"), tmp_path / "here", env=secret(ftp)), 1)
    assert "a file is in the way of a directory" in words


def test_a_list_that_does_not_end_is_left_at_a_signal(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 2)
    with subprocess.Popen(
        [sys.executable, "-m", "ftppool", "put", "--files-from", "-", url(ftp)],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**secret(ftp)),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            process.stdin.write(f"{files / '0000.txt'}\n")
            process.stdin.flush()
            # It is sent although the list has no end yet.
            deadline = time.monotonic() + 20
            while not (ftp.home / "0000.txt").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGTERM)
            code, words = process.wait(timeout=30), process.stderr.read()
    assert code == 143, words
    assert words.startswith("ftppool: terminated: ")
    census = ftp.wait_idle()
    assert census.quits == census.sessions == 1
