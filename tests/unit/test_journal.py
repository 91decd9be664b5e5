"""The journal as a file: who may use it, what it remembers, and what it says when it cannot."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ftppool import ConfigError, Keyed, TransferError
from ftppool.inputs import Input, Job, jobs
from ftppool.journal import Journal

PATTERN = ".{name}.{token}.part"


def job_of(source: object, remote: str = "f") -> Job:
    pair: list[Input] = [(source, remote)]  # type: ignore[list-item]  # no real stream
    (job,) = jobs(pair)
    assert isinstance(job, Job)
    return job


def done(journal: Journal, job: Job) -> None:
    token = journal.begin(job.remote, PATTERN, job)
    journal.end(job.remote, token, job)


def test_what_has_arrived_is_known_to_the_next_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "ftp://h/")
    one, two = job_of(b"x", "one"), job_of(b"x", "two")
    done(journal, one)
    journal.begin("two", PATTERN, two)
    journal.close()
    journal = Journal(tmp_path / "j", "ftp://h/")
    assert journal.arrived(one) is False
    assert journal.arrived(two) is None
    journal.tell("one")
    assert journal.arrived(one) is True
    (left,) = journal.left_overs()
    assert left.remote == "two"
    assert len(left.token) == 8
    journal.end("two", left.token)
    assert journal.left_overs() == []
    journal.close()
    journal.close()


def test_a_complete_batch_leaves_an_empty_journal_for_any_target(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "ftp://h/")
    done(journal, job_of(b"x"))
    journal.clear()
    journal.close()
    journal = Journal(tmp_path / "j", "ftp://other/")
    assert journal.arrived(job_of(b"x")) is None
    journal.close()


def test_a_path_is_the_same_source_by_place_size_time_and_inode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"12345")
    journal = Journal(tmp_path / "j", "t")
    done(journal, job_of(path))
    assert journal.arrived(job_of(path)) is False
    monkeypatch.chdir(tmp_path)
    assert journal.arrived(job_of("s")) is False
    assert journal.arrived(job_of(path, "elsewhere")) is None
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert journal.arrived(job_of(path)) is None
    other = tmp_path / "other"
    other.write_bytes(b"54321")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert journal.arrived(job_of(path)) is None
    journal.close()


def test_bytes_are_known_by_their_content_and_callables_by_their_key(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "t")
    opener: Callable[[], object] = (tmp_path / "x").open
    # The type checker: no real stream.
    for job in (job_of(b"abc", "b"), job_of(Keyed(opener, "v1"), "k"), job_of(opener, "c")):  # type: ignore[arg-type]
        done(journal, job)
    assert journal.arrived(job_of(bytearray(b"abc"), "b")) is False
    assert journal.arrived(job_of(b"abd", "b")) is None
    # The type checker: no real stream.
    assert journal.arrived(job_of(Keyed(opener, "v1"), "k")) is False  # type: ignore[arg-type]
    # The type checker: no real stream.
    assert journal.arrived(job_of(Keyed(opener, "v2"), "k")) is None  # type: ignore[arg-type]
    assert journal.arrived(job_of(opener, "c")) is None
    journal.close()


def test_a_callable_without_a_good_key_is_refused() -> None:
    for key in ("", 3, None):
        with pytest.raises(ConfigError, match="Keyed: write a callable"):
            Keyed(lambda: None, key)  # type: ignore[arg-type,return-value]  # no real stream


def test_names_that_are_no_unicode_are_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "t")
    name = os.fsdecode(b"\xff\xfe")
    done(journal, job_of(b"x", name))
    journal.begin(name, PATTERN, job_of(b"x", name))
    assert journal.arrived(job_of(b"x", name)) is False
    assert journal.left_overs()[0].remote == name
    journal.close()


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        journal = Journal(tmp_path / "j", "t")
        done(journal, job_of(b"x"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        journal.close()
    finally:
        os.umask(old)
    assert modes == {"j": 0o600, "j-wal": 0o600}


OTHER = """
import sys
from ftppool import ConfigError
from ftppool.journal import Journal
try:
    Journal(sys.argv[1], "t")
except ConfigError as error:
    print(error)
"""


def test_a_second_batch_is_told_at_once_that_it_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, "t")
    with pytest.raises(ConfigError, match="is in use by another batch") as caught:
        Journal(path, "t")
    assert caught.value.retryable
    run = [sys.executable, "-c", OTHER, str(path)]
    said = subprocess.run(run, capture_output=True, text=True, check=True, timeout=20).stdout
    assert "is in use by another batch" in said
    done(journal, job_of(b"x"))
    journal.close()
    assert subprocess.run(run, capture_output=True, check=True, timeout=20).stdout == b""


def test_a_journal_serves_one_target(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "ftp://a/")
    done(journal, job_of(b"x"))
    journal.close()
    with pytest.raises(ConfigError, match="unfinished batch to ftp://a/"):
        Journal(tmp_path / "j", "ftp://b/")


def test_a_journal_of_which_no_file_was_begun_serves_the_next_target(tmp_path: Path) -> None:
    Journal(tmp_path / "j", "ftp://wrong/").close()
    journal = Journal(tmp_path / "j", "ftp://right/")
    journal.begin("f", PATTERN, job_of(b"x"))
    journal.close()
    with pytest.raises(ConfigError, match="unfinished batch to ftp://right/"):
        Journal(tmp_path / "j", "ftp://wrong/")


def test_what_cannot_be_a_journal_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    db = sqlite3.connect(tmp_path / "foreign")
    db.execute("CREATE TABLE t (x)")
    db.close()
    Journal(tmp_path / "newer", "t").close()
    db = sqlite3.connect(tmp_path / "newer")
    db.execute("PRAGMA user_version = 99")
    db.close()
    for path, words in (
        (tmp_path / "text", "is no journal; name another file"),
        (tmp_path / "foreign", "is a database of another program"),
        (tmp_path / "newer", "was made by a newer ftppool"),
        (tmp_path / "none" / "j", "must exist and be writable"),
        (tmp_path, "is a directory"),
        ("", "write the path of a file"),
        (3, "write the path of a file"),
        (b"x", "write the path of a file"),
    ):
        with pytest.raises(ConfigError) as caught:
            Journal(path, "t")  # type: ignore[arg-type]  # no real stream
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "text").read_text().startswith("no database")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="must exist and be writable"):
        Journal(tmp_path / "j", "t")
    tmp_path.chmod(0o700)


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "t")
    assert journal._db is not None
    (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
    journal._db.execute(f"PRAGMA max_page_count = {pages}")  # what SQLite says of a full disk

    def fill() -> None:
        for number in range(1000):
            done(journal, job_of(b"x", f"f{number}"))

    with pytest.raises(TransferError, match="the disk is full") as caught:
        fill()
    assert caught.value.stops_batch
    journal.close()


def test_a_file_that_another_source_replaces_is_no_longer_known(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "t")
    (path := tmp_path / "s").write_bytes(b"12345")
    done(journal, job_of(path))
    assert journal.arrived(job_of((tmp_path / "s").open)) is None
    assert journal.arrived(job_of(path)) is None, "what is there now is not this file"
    journal.close()


def test_parts_that_could_not_be_removed_are_known_to_the_next_batch(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "t")
    token = journal.begin("f", PATTERN, job_of(b"x"))
    journal.clear()
    assert [left.token for left in journal.left_overs()] == [token]
    journal.close()
    with pytest.raises(ConfigError, match="belongs to an unfinished batch"):
        Journal(tmp_path / "j", "elsewhere")
