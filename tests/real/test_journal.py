"""A batch that is killed and run again ends complete, and nothing that arrived is sent again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ftppool
from ftppool import BatchError, Outcome, Status, TransferError, upload_batch
from ftppool.inputs import Input
from ftppool.journal import Journal
from tests.conftest import Start
from tests.support.servers import ALL_KINDS, Server


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Run the test once for each kind of server, SFTP too."""
    return str(request.param)


SCRIPT = """
import sys, ftppool
url, source, journal, log = sys.argv[1:]
def note(outcome):
    with open(log, "a") as lines:
        lines.write(f"{outcome.status} {outcome.remote}\\n")
ftppool.upload_batch(
    [f"{source}/"], url, max_per_ip=3, journal=journal, on_uploaded=note, last="done.ok",
)
"""


def names(server: Server) -> set[str]:
    return {path.name for path in server.home.iterdir()}


def finished(server: Server) -> int:
    return sum(not name.endswith(".part") for name in names(server))


# One of each way to talk: what a kill leaves on the others is asked for below, with less to send.
@pytest.mark.parametrize("kind", ["vsftpd", "proftpd+tls", "pyftpdlib", "openssh"])
def test_300_files_with_the_process_killed_eight_times_arrive_once_each(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind, max_per_ip=3)
    source, journal, log = tmp_path / "source", tmp_path / "journal", tmp_path / "log"
    source.mkdir()
    files = {f"f{number:03}": os.urandom(20_000) for number in range(300)}
    files["done.ok"] = b"ok"
    for name, content in files.items():
        (source / name).write_bytes(content)
    log.touch()
    command = [sys.executable, "-c", SCRIPT, server.url, str(source), str(journal), str(log)]
    for number in range(8):
        process = subprocess.Popen(command)
        patience = time.monotonic() + 60
        while finished(server) < 33 * (number + 1) and time.monotonic() < patience:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert "done.ok" not in names(server)
    subprocess.run(command, check=True, timeout=100)

    assert names(server) == set(files)  # and no part
    for name, content in files.items():
        assert (server.home / name).read_bytes() == content
    lines = log.read_text().splitlines()
    told = [line.split()[1] for line in lines]
    assert set(told) == set(files)
    uploaded = [line.split()[1] for line in lines if line.startswith("uploaded")]
    assert len(uploaded) == len(set(uploaded))


def test_a_failed_batch_goes_on_where_it_stopped_and_then_starts_anew(
    server: Server, tmp_path: Path
) -> None:
    files: list[Input] = [(b"one", "a"), (tmp_path / "late", "b")]
    journal = tmp_path / "journal"
    with pytest.raises(BatchError):
        upload_batch(files, server.url, journal=journal)
    (tmp_path / "late").write_bytes(b"two")
    report = upload_batch(files, server.url, journal=journal)
    assert [outcome.status for outcome in report.outcomes] == [Status.SKIPPED, Status.UPLOADED]
    assert "journal" in report.outcomes[0].notes[0]
    report = upload_batch(files, server.url, journal=journal)
    assert [outcome.status for outcome in report.outcomes] == [Status.UPLOADED, Status.UPLOADED]


def test_a_file_whose_callback_failed_is_told_in_the_next_run(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    told: list[tuple[str, str]] = []

    def archive(outcome: Outcome) -> None:
        if not told:
            told.append(("failed", outcome.remote))
            raise OSError("archive is full")
        told.append((outcome.status, outcome.remote))

    for attempt in range(2):
        try:
            upload_batch(
                [(b"x", "f")], server.url, journal=tmp_path / "journal", on_uploaded=archive
            )
        except OSError:
            assert attempt == 0
    assert told == [("failed", "f"), ("skipped", "f")]


def test_the_trigger_goes_again_if_anything_before_it_is_new(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    runs: list[tuple[list[Input], str]] = [
        ([(b"a", "a"), (b"ok", "done"), (tmp_path / "no", "x")], "not_attempted"),
        ([(b"a", "a"), (b"ok", "done")], "uploaded"),
    ]
    with ftppool.FTPPool(server.url) as pool:
        for files, expected in runs:
            report = pool.upload_batch(
                files, last="done", journal=tmp_path / "journal", check=False
            )
            assert report.outcomes[1].status == expected


def test_a_part_of_a_killed_run_is_removed_even_if_its_source_is_gone(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind, max_per_ip=2)
    code = (
        "import sys, time, ftppool\n"
        "class Slow:\n"
        "    def read(self, size=-1): time.sleep(0.01); return b'x' * 1000\n"
        "    def close(self): pass\n"
        "ftppool.upload_batch([(Slow, 'gone')], sys.argv[1], journal=sys.argv[2])\n"
    )
    journal = tmp_path / "journal"
    process = subprocess.Popen([sys.executable, "-c", code, server.url, str(journal)])
    patience = time.monotonic() + 30
    while not names(server) and time.monotonic() < patience:
        time.sleep(0.01)
    process.kill()
    process.wait()
    (foreign,) = [server.home / ".gone.deadbeef.part"]
    foreign.write_bytes(b"of somebody else")
    server.wait_idle()
    assert len(names(server)) == 2
    upload_batch([(b"new", "other")], server.url, journal=journal)
    assert names(server) == {"other", foreign.name}


RESUMING = """
import sys, ftppool
url, source, journal = sys.argv[1:]
ftppool.upload_batch([source], url, journal=journal, resume=True, rate_limit=6e6)
"""


def killed_in_the_middle(server: Server, big: Path, journal: Path) -> Path:
    """The part of a big file whose sender was killed -9."""
    process = subprocess.Popen([sys.executable, "-c", RESUMING, server.url, str(big), str(journal)])
    part, patience = None, time.monotonic() + 30
    while time.monotonic() < patience:
        part = next(server.home.glob("*.part"), None)
        if part is not None and part.stat().st_size > 2_000_000:
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    server.wait_idle()
    assert part is not None
    return part


def test_a_part_of_a_killed_run_is_continued_by_a_run_that_resumes(
    start: Start, kind: str, tmp_path: Path
) -> None:
    options = {"proftpd": {"AllowStoreRestart": "on"}}
    server = start(kind, options=options.get(kind.partition("+")[0], {}))
    big, journal = tmp_path / "big", tmp_path / "journal"
    big.write_bytes(os.urandom(6_000_000))
    before = killed_in_the_middle(server, big, journal).stat()
    report = upload_batch([big], server.url, journal=journal, resume=True)
    (outcome,) = report.outcomes
    assert (server.home / "big").read_bytes() == big.read_bytes()
    assert (server.home / "big").stat().st_ino == before.st_ino
    assert outcome.sent == 6_000_000 - before.st_size
    assert outcome.notes == (f"went on at byte {before.st_size} of a part that was there",)
    assert names(server) == {"big"}


@pytest.mark.parametrize("change", ["size", "time", "file", "resume"])
def test_a_part_of_another_source_is_removed_and_not_continued(
    start: Start, tmp_path: Path, change: str
) -> None:
    server = start("vsftpd")
    big, journal = tmp_path / "big", tmp_path / "journal"
    big.write_bytes(os.urandom(6_000_000))
    killed_in_the_middle(server, big, journal)
    if change == "size":
        big.write_bytes(os.urandom(6_000_001))
    elif change == "time":
        os.utime(big, (1, 1))
    elif change == "file":
        info = big.stat()
        (tmp_path / "other").write_bytes(os.urandom(6_000_000))
        os.utime(tmp_path / "other", ns=(info.st_atime_ns, info.st_mtime_ns))
        (tmp_path / "other").replace(big)
    report = upload_batch([big], server.url, journal=journal, resume=change != "resume")
    assert report.outcomes[0].sent == big.stat().st_size
    assert (server.home / "big").read_bytes() == big.read_bytes()
    assert names(server) == {"big"}


@pytest.mark.parametrize("what", ["input", "name"])
def test_a_part_that_nobody_needs_any_more_is_removed_though_the_run_resumes(
    start: Start, tmp_path: Path, what: str
) -> None:
    server = start("vsftpd")
    big, journal = tmp_path / "big", tmp_path / "journal"
    big.write_bytes(os.urandom(6_000_000))
    killed_in_the_middle(server, big, journal)
    (server.home / "big").write_bytes(b"there")
    files: list[Input] = [big] if what == "name" else [(b"x", "other")]
    report = upload_batch(files, server.url, journal=journal, resume=True, on_conflict="skip")
    expected = Status.SKIPPED if what == "name" else Status.UPLOADED
    assert [outcome.status for outcome in report.outcomes] == [expected]
    assert names(server) == {"big"} | ({"other"} if what == "input" else set())
    assert (server.home / "big").read_bytes() == b"there"


def test_a_journal_that_cannot_be_written_any_more_stops_the_batch(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("vsftpd")
    before = Journal.__init__

    def small(self: Journal, path: str, target: str) -> None:
        before(self, path, target)
        assert self._db is not None
        self._db.execute("PRAGMA max_page_count = 6")  # what SQLite says of a full disk

    monkeypatch.setattr(Journal, "__init__", small)
    files = [(b"x", f"f{number}") for number in range(500)]
    with pytest.raises(BatchError, match="the disk is full") as caught:
        upload_batch(files, server.url, journal=tmp_path / "journal")
    report = caught.value.report
    assert len(report.uploaded) == finished(server) < 500
    assert len(report.outcomes) == 500


def test_an_error_of_the_callback_is_the_callers_own_although_it_is_one_of_ours(
    start: Start, tmp_path: Path
) -> None:
    server = start("pyftpdlib")

    def archive(_outcome: Outcome) -> None:
        raise TransferError("the archive is full")

    with pytest.raises(TransferError, match="the archive is full") as caught:
        upload_batch([(b"x", "f")], server.url, journal=tmp_path / "journal", on_uploaded=archive)
    assert len(caught.value.report.uploaded) == 1  # type: ignore[attr-defined]  # set at run time


def test_a_file_has_its_outcome_though_writing_it_down_fails_in_an_unknown_way(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = Journal.end, [MemoryError()]  # no real one comes when asked

    def end(*args: Any) -> None:
        if failures:
            raise failures.pop()
        write(*args)

    monkeypatch.setattr(Journal, "end", end)
    server = start("vsftpd")
    report = upload_batch(
        [(b"one", "a"), (b"two", "b"), (b"three", "z")],
        server.url,
        workers=1,
        journal=tmp_path / "j",
        last="z",
        deadline=30,
        check=False,
    )
    [cause] = report.causes
    assert "MemoryError" in str(cause)  # and not the deadline
    assert report.outcomes[0].status is Status.UPLOADED
    assert report.outcomes[2].status is Status.NOT_ATTEMPTED
    assert names(server) >= {"a"}
