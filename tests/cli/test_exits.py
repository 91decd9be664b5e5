"""What the exit codes of ``put`` and ``get`` say, each from a real run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftppool.cli.exits import code_of, in_flags
from ftppool.errors import AuthError, ConfigError, FTPPoolError, ServerBusy, TransferError
from tests.cli.running import Ran, end, environment, run, start as begin
from tests.cli.test_put import make, make_large, one_complaint, secret, url, wait_for_files
from tests.conftest import Start
from tests.support.servers import Server
from tests.support.tricky import Tricky

LOGIN = AuthError("530 no")
SETTING = ConfigError("no")
FOR_GOOD = TransferError("550 no")
LATE = TransferError("the deadline of 1 s is over", phase="deadline", retryable=True)
PASSING = ServerBusy("421 later")


@pytest.fixture
def ftp(start: Start) -> Server:
    """A server that allows three connections."""
    return start("pyftpdlib", max_per_ip=3)


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"ftp://u:p@127.0.0.1:{unused.getsockname()[1]}/"


def test_success_on_a_capped_server_is_0_and_silent(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd", max_per_ip=2)
    files = make(tmp_path / "out", 20)
    ran = run("put", "--max-per-ip", "5", files, url(server), env=secret(server))
    assert ran.code == 0
    assert ran.out == ""
    # A cap that is too high is told once, as it costs refusals; nothing else is.
    assert all("max_per_ip" in line for line in ran.err.splitlines())
    quiet = run("put", "--max-per-ip", "2", files, url(server), env=secret(server))
    assert quiet == Ran(0, "", "")


def test_a_missing_source_is_1(ftp: Server, tmp_path: Path) -> None:
    words = one_complaint(run("put", tmp_path / "no", url(ftp), env=secret(ftp)), 1)
    assert "does not exist" in words


@pytest.mark.parametrize(
    "dest", ["nonsense://h/x", "h", "h/x", "ftp://", "ftp://u@h:0/", "ftp://h/?"]
)
def test_a_bad_url_is_2_and_one_sentence(dest: str, tmp_path: Path) -> None:
    for args in (("put", tmp_path, dest), ("get", dest, tmp_path), ("ls", dest), ("check", dest)):
        assert len(one_complaint(run(*args), 2).splitlines()) == 1


@pytest.mark.parametrize(
    "args",
    [
        (), ("put",), ("put", "x"), ("get", "ftp://h"), ("ls",), ("check",), ("config", "what"),
        ("completion", "tcsh"), ("put", "-0", "x", "ftp://h"), ("get", "-0", "ftp://h", "x"),
        ("put", "--files-from", "-", "x", "y", "ftp://h"),
        ("get", "--files-from", "-", "ftp://h/x", "ftp://h/y", "z"),
        ("get", "--verify", "hash", "ftp://h", "x"), ("put", "ftp://h", "x"),
        ("get", "x", "ftp://h"), ("get", "ftp://h/a", "ftp://other/b", "x"),
        ("put", "--deadline", "0", "x", "ftp://h"), ("put", "--rate-limit", "fast", "x", "ftp://h"),
        ("put", "--journal"), ("put", "--resum", "x", "ftp://h"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_2(args: tuple[str, ...], tmp_path: Path) -> None:
    ran = run(*args, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    assert "Traceback" not in ran.err


def test_no_file_at_all_is_9_if_asked_for(ftp: Server, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    source = f"{tmp_path / 'empty'}/"
    assert run("put", source, url(ftp), env=secret(ftp)).code == 0
    words = one_complaint(run("put", "--error-on-empty", source, url(ftp), env=secret(ftp)), 9)
    assert words == f"ftppool: no files: there is none in {source} (--error-on-empty)\n"
    # The directory is made, and that is no file.
    folder = tmp_path / "empty"
    words = one_complaint(
        run("put", "-q", "--error-on-empty", folder, url(ftp), env=secret(ftp)), 9
    )
    assert words == f"ftppool: no files: there is none in {folder} (--error-on-empty)\n"
    (folder / "x.txt").touch()
    filtered = run(
        "put", "--error-on-empty", "--include", "*.csv", folder, url(ftp), env=secret(ftp)
    )
    assert "that --include and --exclude leave over" in one_complaint(filtered, 9)
    whole = ftp.url.replace(ftp.password, "sesame%2D42")
    fetched = run("get", "--error-on-empty", f"{whole}/empty/", tmp_path / "in")
    words = one_complaint(fetched, 9)
    assert f"there is none in ftp://{ftp.host}:{ftp.port}/empty/ " in words
    listed = run("put", "--files-from", os.devnull, "--error-on-empty", url(ftp), env=secret(ftp))
    assert f"none in {os.devnull} " in one_complaint(listed, 9)
    dry = run(
        "get", "--dry-run", "-q", "--error-on-empty", f"{url(ftp)}empty/", "x", env=secret(ftp)
    )
    assert "none in ftp://" in one_complaint(dry, 9)


def test_a_deadline_is_10(ftp: Server, tmp_path: Path) -> None:
    files = make_large(tmp_path / "out")
    ran = run("put", "--deadline", "0.5", "--rate-limit", "1M", files, url(ftp), env=secret(ftp))
    assert "deadline" in one_complaint(ran, 10)
    census = ftp.wait_idle()
    assert census.quits == census.sessions


def test_a_failure_for_good_goes_before_the_deadline(ftp: Server, tmp_path: Path) -> None:
    files = make_large(tmp_path / "out")
    ran = run(
        "put", "--deadline", "0.5", "--rate-limit", "1M", tmp_path / "no", files, url(ftp),
        env=secret(ftp),
    )  # fmt: skip
    assert "deadline" in one_complaint(ran, 1)


def test_nobody_listening_is_75(nobody: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    for args in (("put", tmp_path / "x", nobody), ("get", nobody, tmp_path / "in"), ("ls", nobody)):
        words = one_complaint(run(*args, "--attempts", "1"), 75)
        assert "Connection refused" in words


@pytest.mark.parametrize(
    ("kind", "scheme", "code", "hint"),
    [
        ("vsftpd+tls", "ftp", 78, "write ftps://"),
        ("proftpd+tls", "ftp", 78, "write ftps://"),
        ("vsftpd+tls", "ftpsi", 78, "try ftps://"),
        ("pyftpdlib", "ftps", 78, "has no TLS here; write ftpsi:// if"),
        ("pyftpdlib", "ftpsi", 78, "try ftps://"),
        ("pyftpdlib", "sftp", 78, "write ftp://, or ftps://"),
        ("openssh", "ftp", 78, "write sftp://"),
        ("openssh", "ftps", 78, "write sftp://"),
        ("openssh", "ftpsi", 78, "write sftp://"),
        # It says nothing, as a server that is too slow does.
        ("vsftpd+implicit", "ftp", 75, "write ftpsi://"),
        ("vsftpd+implicit", "ftps", 75, "write ftpsi://"),
        ("vsftpd+implicit", "sftp", 75, "write ftpsi://"),
    ],
)
def test_a_scheme_that_the_server_does_not_speak_is_78_and_names_another(
    start: Start, tmp_path: Path, kind: str, scheme: str, code: int, hint: str
) -> None:
    server = start(kind)
    target = f"{scheme}://{server.user}@{server.host}:{server.port}/"
    ran = run(
        "put", "--attempts", "1", "--connect-timeout", "2", make(tmp_path / "out", 1), target,
        env={"FTPPOOL_PASSWORD": "sesame-42"},
    )  # fmt: skip
    assert hint in one_complaint(ran, code)


def test_too_many_failures_end_the_batch_with_1(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 5)
    missing = [tmp_path / f"no-{number}" for number in range(4)]
    ran = run("put", "--max-failures", "2", *missing, files, url(ftp), env=secret(ftp))
    assert "max_failures" in one_complaint(ran, 1)


def test_too_many_passing_failures_end_the_batch_with_75(tmp_path: Path) -> None:
    files = make(tmp_path / "out", 4)
    with Tricky(lambda _, verb, path: "450 busy" if verb == "STOR" else None) as server:
        at = server.url.replace(":secret", "")
        secret = {"FTPPOOL_PASSWORD": "secret"}
        ran = run("put", "--attempts", "1", "--max-failures", "2", files, at, env=secret)
        words = one_complaint(ran, 75)
        assert "max_failures" in words
        assert words.endswith("; run it again\n")
        # One that stays decides.
        ran = run("put", "--attempts", "1", "--max-failures", "2", tmp_path / "no", files, at,
                  env=secret)  # fmt: skip
        assert "max_failures" in one_complaint(ran, 1)


def test_a_wrong_password_is_77_in_every_command(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 1)
    wrong = {"FTPPOOL_PASSWORD": "not-this-one"}
    for args in (
        ("put", files, url(ftp)), ("get", url(ftp), tmp_path / "in"), ("ls", url(ftp)),
        ("check", url(ftp)), ("get", "--dry-run", url(ftp), tmp_path / "in"),
    ):  # fmt: skip
        ran = run(*args, env=wrong)
        assert "530 Authentication failed." in one_complaint(ran, 77)
        assert "not-this-one" not in ran.err


def test_a_held_lock_is_75_and_names_its_process(ftp: Server, tmp_path: Path) -> None:
    files, lock = make_large(tmp_path / "out"), tmp_path / "lock"
    process = begin("put", "--lock", lock, f"{files}/", url(ftp), env=secret(ftp))
    try:
        wait_for_files(ftp.home, 3)
        second = run("put", "--lock", lock, files, url(ftp), env=secret(ftp))
        words = one_complaint(second, 75)
        assert len(words.splitlines()) == 1
        assert f"process {process.pid})" in words
        slow = run("put", "--lock", lock, "--lock-wait", "0.3", files, url(ftp), env=secret(ftp))
        assert "after 0.3 s" in one_complaint(slow, 75)
    finally:
        process.send_signal(signal.SIGTERM)
        assert end(process).code == 143
    small = make(tmp_path / "small", 1)
    assert run("put", "--lock", lock, small, url(ftp), env=secret(ftp)) == Ran(0, "", "")


def test_a_run_that_waits_for_the_lock_goes_on_when_its_holder_is_killed(
    ftp: Server, tmp_path: Path
) -> None:
    lock, small = tmp_path / "lock", make(tmp_path / "small", 1)
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        process = begin(
            "put", "--lock", lock, "--lock-wait", "30", small, url(ftp), env=secret(ftp)
        )
        holder.kill()
    assert end(process) == Ran(0, "", "")


def test_a_lock_writes_into_no_file_that_has_something_else(ftp: Server, tmp_path: Path) -> None:
    (data := tmp_path / "data.csv").write_text("1;2;3\n")
    small = make(tmp_path / "small", 1)
    assert run("put", "--lock", data, small, url(ftp), env=secret(ftp)) == Ran(0, "", "")
    assert data.read_text() == "1;2;3\n"


def test_a_journal_of_another_run_is_75(ftp: Server, tmp_path: Path) -> None:
    files, journal = make_large(tmp_path / "out"), tmp_path / "journal"
    process = begin("put", "--journal", journal, f"{files}/", url(ftp), env=secret(ftp))
    try:
        wait_for_files(ftp.home, 3)
        second = run("put", "--journal", journal, files, url(ftp), env=secret(ftp))
        assert "is in use by another batch; wait for its end" in one_complaint(second, 75)
    finally:
        process.send_signal(signal.SIGTERM)
        assert end(process).code == 143


IN_LITTLE_ROOM = """
import resource, runpy, sys
room = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
runpy.run_module("ftppool", run_name="__main__")
"""


def test_a_journal_that_finds_no_room_is_78_at_the_start_and_in_mid_way(
    ftp: Server, tmp_path: Path
) -> None:
    files, journal = make(tmp_path / "out", 150), tmp_path / "journal"
    sent = []
    for room in (1_000, 150_000):
        with subprocess.Popen(
            [sys.executable, "-c", IN_LITTLE_ROOM, str(room), "put", "--journal", str(journal),
             str(files), url(ftp)],
            env=environment(**secret(ftp)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        ) as process:  # fmt: skip
            words = one_complaint(end(process), 78)
        assert f"journal '{journal}' cannot be" in words
        sent.append(len(list(ftp.home.rglob("*.txt"))))
    assert sent[0] == 0 < sent[1] < 150


def test_a_lock_that_cannot_be_is_78(tmp_path: Path) -> None:
    ran = run("put", "--lock", tmp_path / "no" / "lock", tmp_path, "ftp://h/")
    assert "cannot be used: No such file" in one_complaint(ran, 78)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
)
def test_a_signal_ends_a_download_politely(
    ftp: Server, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    make_large(ftp.home / "out")
    report = tmp_path / "report.json"
    process = begin("get", "--report", report, url(ftp, "out/"), tmp_path / "in", env=secret(ftp))
    try:
        ftp.wait_for(lambda census: census.sessions == 2)
        (tmp_path / "in").mkdir(exist_ok=True)
        wait_for_files(tmp_path / "in", 4)
    finally:
        process.send_signal(number)
        ran = end(process)
    words = one_complaint(ran, code)
    assert words.startswith(f"ftppool: {word}: ")
    assert len(words.splitlines()) == 1
    census = ftp.wait_idle()
    assert census.quits == census.sessions == census.connects
    assert not list((tmp_path / "in").glob(".*"))
    content = json.loads(report.read_text())
    assert content["exit_code"] == code
    assert content["ok"] is False
    assert content["counts"]["downloaded"] >= 1


def test_a_full_disk_behind_stdout_is_one_sentence_and_1(ftp: Server, tmp_path: Path) -> None:
    (ftp.home / "one.txt").touch()
    commands: tuple[tuple[str | Path, ...], ...] = (
        ("ls", ftp.url), ("ls", "-0", ftp.url), ("check", ftp.url), ("slots",), ("slots", "--json"),
        ("config", "show"), ("--version",), ("put", "--help"), ("completion", "bash"),
        ("put", "--dry-run", make(tmp_path / "out", 1), ftp.url),
    )  # fmt: skip
    for command in commands:
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "ftppool", *map(str, command)], stdout=full,
                stderr=subprocess.PIPE, text=True, env=environment(), check=False, timeout=60,
            )  # fmt: skip
        assert done.returncode == 1, command
        assert done.stderr == "ftppool: stdout cannot be written: No space left on device\n"


def test_each_code_is_in_the_help() -> None:
    for command in ("put", "get", "ls", "check"):
        ran = run(command, "--help")
        assert ran.code == 0
        for code in (0, 1, 2, 9, 10, 70, 75, 77, 78, 130, 143, 129):
            assert f"\n  {code}" in ran.out or f" {code} " in ran.out


def test_the_module_runs_as_well_as_the_command() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ftppool")), "--version"],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == run("--version").out


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([LOGIN, SETTING, FOR_GOOD, LATE, PASSING], 77),
        ([PASSING, LATE, FOR_GOOD, SETTING], 78),
        ([PASSING, LATE, FOR_GOOD], 1),
        ([PASSING, LATE], 10),
        ([PASSING], 75),
        ([], 75),
    ],
)
def test_the_one_that_a_human_must_act_on_wins(errors: list[FTPPoolError], code: int) -> None:
    assert code_of(errors) == code
    assert code_of(reversed(errors)) == code


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("Name it with tls=TLSConfig(ca_file=…).", "Name it with --ca-file PEM."),
        ("or tls=TLSConfig(fingerprint='ab12').", "or --fingerprint ab12."),
        ("with SSHConfig(fingerprint='SHA256:x+/').", "with --fingerprint SHA256:x+/."),
        ("pass ssh=SSHConfig(keys=…) or password=", "pass --identity FILE or --password-file FILE"),
        ("pass SSHConfig(passphrase=…), or load it", "load it"),
        ("530 user=me password=mine", "530 user=me password=mine"),
    ],
)
def test_an_error_names_flags_and_not_python(python: str, shell: str) -> None:
    assert in_flags(ConfigError(python)) == shell


def test_an_untrusted_certificate_is_answered_with_flags(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("pyftpdlib+tls", max_per_ip=3)
    monkeypatch.delenv("SSL_CERT_FILE")
    target = f"ftps://{server.user}@127.0.0.1:{server.port}/"
    ran = run("put", make(tmp_path / "out", 1), target, env=secret(server))
    assert ran.code == 77
    assert "--ca-file PEM" in ran.err
    assert "--fingerprint " in ran.err
    assert "TLSConfig" not in ran.err


def test_a_setting_of_ssh_or_tls_that_is_wrong_names_its_flag(start: Start, tmp_path: Path) -> None:
    sshd = start("openssh")
    for args, code, words in (
        (["--known-hosts", "a b/hosts"], 77, "127.0.0.1 >> 'a b/hosts'`, or pin it with --finger"),
        (["--identity", "/no/key"], 78, "--identity: the key file /no/key does not exist."),
        (["--fingerprint", "abc"], 78, "--fingerprint 'abc' must look like 'SHA256:'"),
        (["--proxy-jump", "a@:1"], 78, "--proxy-jump 'a@:1' must look like"),
        (["--fingerprint", f"SHA256:{43 * 'a'}", "--accept-new"], 78, "(--accept-new): drop one"),
    ):
        said = one_complaint(run("ls", *args, sshd.url), code)
        assert words in said
        assert "SSHConfig" not in said
    for args, words in (
        (["--ca-file", "/no"], "--ca-file /no cannot be read: No such file"),
        (["--client-certificate", "/no"], "--client-certificate /no (or its key) cannot be read"),
        (["--client-key", "/no"], "--client-key needs its --client-certificate"),
        (["--fingerprint", "abc"], "--fingerprint 'abc': write the certificate's SHA-256"),
        (["--encoding", "nono"], "--encoding 'nono' is unknown"),
    ):
        said = one_complaint(run("ls", *args, "ftps://u:p@127.0.0.1:1/"), 78)
        assert words in said
        assert "Config" not in said


def test_a_mistyped_flag_is_answered_by_the_command_with_the_nearest_one(tmp_path: Path) -> None:
    ran = run("put", "--jurnal", "x", tmp_path, "ftp://me:geheim@host/")
    assert ran.code == 2
    assert "usage: ftppool put" in ran.err
    assert "did you mean --journal?" in ran.err
    ran = run("put", "--max-connections", "3", tmp_path, "ftp://me:geheim@host/")
    assert "did you mean --max-per-ip?" in ran.err
    assert "geheim" not in ran.err
