"""What a batch was asked for: which files, in what order, until when, and who is told."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

import ftppool
from ftppool import BatchError, ConfigError, Outcome, Status, TransferError, upload_batch
from ftppool.cli.reportfile import JsonLines
from ftppool.events import Event, FileDone, FileStarted, SessionSettled
from ftppool.inputs import Input
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import ALL_KINDS, Server


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Run the test once for each kind of server, SFTP too."""
    return str(request.param)


IMPATIENT = ftppool.RetryPolicy(attempts=3, first_wait=0.05, max_wait=0.1)


def names(server: Server) -> set[str]:
    """The files on the server, by their path."""
    home = server.home
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


class Endless:
    """A source that goes on until the batch is stopped."""

    def read(self, _size: int = -1) -> bytes:
        time.sleep(0.02)
        return b"x" * 1000

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None: ...


def tree(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


def test_patterns_choose_the_files(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    site = tree(
        tmp_path / "site",
        "index.html", "a/page.html", "a/page.tmp", ".git/objects/x.html", "raw/x.html", "raw/y",
    )  # fmt: skip
    (site / "void").mkdir()
    report = upload_batch([f"{site}/"], server.url, include="*.html", exclude=[".git", "/raw/"])
    assert names(server) == {"index.html", "a/page.html"}
    assert [outcome.remote for outcome in report.outcomes] == ["a/page.html", "index.html"]
    assert not (server.home / "void").exists()


def test_patterns_are_matched_below_the_remote_directory(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib")
    site = tree(tmp_path / "site", "a/x", "in/x")
    with ftppool.FTPPool(server.url) as pool:
        pool.upload_batch([f"{site}/", (b"", "b")], "in/deep", exclude="in/", include=["/a", "b"])
    assert names(server) == {"in/deep/a/x", "in/deep/b"}


def test_an_excluded_directory_is_not_even_listed(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib")
    site = tree(tmp_path / "site", "a")
    (site / "loop").symlink_to("loop")
    report = upload_batch([f"{site}/"], server.url, exclude="loop")
    assert len(report.outcomes) == 1


@pytest.fixture
def observed(server: Server) -> Iterator[tuple[Server, list[set[str]]]]:
    """A server whose directory somebody looks at all the time."""
    seen: list[set[str]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            found = {path.name for path in server.home.iterdir()}
            if not seen or found != seen[-1]:
                seen.append(found)

    thread = threading.Thread(target=watch)
    thread.start()
    yield server, seen
    stop.set()
    thread.join()


def test_an_observer_never_sees_the_trigger_before_the_last_other_file(
    observed: tuple[Server, list[set[str]]],
) -> None:
    server, seen = observed
    files = [(b"ok", "done.ok"), (b"all", "all.ok"), *((b"x" * 999, f"f{n}") for n in range(40))]
    report = upload_batch(files, server.url, max_per_ip=3, last=["done.ok", "all.ok"])
    assert [outcome.remote for outcome in report.outcomes] == [remote for _, remote in files]
    others = {remote for _, remote in files[2:]}
    time.sleep(0.05)
    assert names(server) == {*others, "done.ok", "all.ok"}
    assert any("done.ok" in found for found in seen)
    for found in seen:
        assert "done.ok" not in found or found >= others
        assert "all.ok" not in found or "done.ok" in found


def test_no_trigger_goes_when_a_file_before_it_did_not_arrive(server: Server) -> None:
    files: list[Input] = [(b"ok", "done.ok"), (b"x", "good"), (b"y", "bad\n")]
    with pytest.raises(BatchError) as caught:
        upload_batch(files, server.url, last="*.ok")
    trigger, good, bad = caught.value.report.outcomes
    assert (trigger.status, good.status, bad.status) == (
        Status.NOT_ATTEMPTED, Status.UPLOADED, Status.FAILED,
    )  # fmt: skip
    assert "goes last" in str(trigger.error)
    assert names(server) == {"good"}


def test_a_second_source_for_one_name_fails_and_nothing_is_sent_twice(
    server: Server, tmp_path: Path
) -> None:
    site = tree(tmp_path, "a/x", "b/x")
    started: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, FileStarted):
            started.append(event.source)

    with pytest.raises(BatchError) as caught:
        upload_batch([site / "a" / "x", site / "b" / "x"], server.url, on_event=note)
    first, second = caught.value.report.outcomes
    assert first.status is Status.UPLOADED
    assert isinstance(second.error, ConfigError)
    assert started == [str(site / "a" / "x")]
    assert (server.home / "x").read_text() == "a/x"


def test_each_uploaded_file_is_told_once_in_the_caller_s_thread(server: Server) -> None:
    told: list[tuple[str, int]] = []

    def archive(outcome: Outcome) -> None:
        assert (server.home / outcome.remote).exists()
        told.append((outcome.remote, threading.get_ident()))

    (server.home / "f3").write_bytes(b"there")
    (server.home / "f3").chmod(0o644)
    files = [(b"x", f"f{number}") for number in range(10)]
    upload_batch(files, server.url, on_uploaded=archive, on_conflict="skip")
    assert sorted(name for name, _ in told) == [f"f{n}" for n in range(10) if n != 3]
    assert {thread for _, thread in told} == {threading.get_ident()}


def test_an_error_of_the_callback_ends_the_batch_with_its_report(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def archive(_outcome: Outcome) -> None:
        raise OSError("archive is full")

    files = ((b"x" * 1000, f"f{number}") for number in range(3000))
    with pytest.raises(OSError, match="archive is full") as caught:
        upload_batch(files, server.url, on_uploaded=archive)
    report = caught.value.report  # type: ignore[attr-defined]  # set at run time
    assert 1 <= len(report.uploaded) < 3000
    assert len(names(server)) == len(report.uploaded)
    again = [one for one in caplog.records if one.levelname == "ERROR"]  # for the files behind it
    assert all("failed for f" in one.message and "OSError" in one.message for one in again)
    assert not any(one.exc_info for one in again)


def test_a_deadline_stops_the_batch_and_says_so(server: Server) -> None:
    # The type checker: Endless is no BinaryIO.
    files: list[Input] = [(b"x", "small"), (Endless, "endless"), (b"y", "never")]  # type: ignore[list-item]
    began = time.monotonic()
    with pytest.raises(BatchError, match=r"the deadline of 0\.7 s is over") as caught:
        upload_batch(files, server.url, max_per_ip=1, workers=1, deadline=0.7)
    assert time.monotonic() - began < 8
    report = caught.value.report
    assert [outcome.status for outcome in report.outcomes] == [
        Status.UPLOADED, Status.INTERRUPTED, Status.NOT_ATTEMPTED,
    ]  # fmt: skip
    assert len(report.causes) == 1
    assert report.outcomes[1].error is report.causes[0]
    assert names(server) == {"small"}
    census = server.wait_idle()
    assert census.quits == census.sessions


def test_a_deadline_is_kept_while_no_session_can_be_had() -> None:
    with pytest.raises(BatchError, match="deadline") as caught:
        upload_batch([(b"", "f")], "ftp://127.0.0.1:1", deadline=0.3)
    assert [outcome.status for outcome in caught.value.report.outcomes] == [Status.NOT_ATTEMPTED]


def test_enough_failures_end_the_batch(start: Start) -> None:
    server = start("pyftpdlib", options={"perm": "elr"})
    files = [(b"x", f"f{number}") for number in range(50)]
    with pytest.raises(BatchError) as caught:
        upload_batch(files, server.url, max_failures=3, workers=1)
    report = caught.value.report
    assert len(report.failed) == 3
    assert len(report.not_attempted) == 47
    assert "3 files have failed" in str(report.causes[0])


def test_bad_options_are_refused_in_one_sentence() -> None:
    with ftppool.FTPPool("ftp://127.0.0.1:1") as pool:
        for options, words in (
            ({"deadline": 0}, "deadline=0: write seconds"),
            ({"max_failures": 0}, "max_failures=0"),
            ({"include": 5}, "include=5: write a pattern"),
            ({"last": [""]}, "last holds ''"),
            ({"on_uploaded": 3}, "3 cannot be called"),
            ({"workers": 0}, "workers=0"),
            ({"verify": "x"}, "verify='x'"),
            ({"exlude": "x"}, "did you mean 'exclude'"),
        ):
            with pytest.raises(ConfigError) as caught:
                pool.upload_batch([], **options)
            assert words in str(caught.value)


def test_lost_connections_do_not_use_up_a_file_s_attempts_while_others_arrive(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind, max_per_ip=2)
    resets = 0
    arrived = 0

    def note(event: Event) -> None:
        nonlocal resets, arrived
        if isinstance(event, FileDone):
            arrived += 1
        elif isinstance(event, FileStarted) and event.remote == "unlucky" and resets < 8:
            resets += 1
            before, patience = arrived, time.monotonic() + 10
            while arrived < before + 2 and time.monotonic() < patience:
                time.sleep(0.001)
            relay.reset()

    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.behind(relay.port)
        files = [(b"x" * 100, "unlucky"), *((b"x" * 100, f"f{number}") for number in range(200))]
        report = upload_batch(files, url, max_per_ip=2, on_event=note, retry=IMPATIENT)
    assert len(report.uploaded) == 201
    assert report.outcomes[0].attempts == 9
    assert names(server) == {remote for _, remote in files}


def test_a_file_that_always_loses_its_connection_fails_in_the_end(
    start: Start, tmp_path: Path
) -> None:
    server = start("pyftpdlib")
    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.url.replace(str(server.port), str(relay.port))
        relay.set(drop="229", drop_times=-1)
        with pytest.raises(BatchError) as caught:
            upload_batch([(b"x", "f")], url, io_timeout=0.3, retry=IMPATIENT)
    (outcome,) = caught.value.report.outcomes
    assert isinstance(outcome.error, TransferError)
    assert outcome.attempts == 3


def test_what_stopped_the_batch_is_the_error_of_those_that_did_not_begin(start: Start) -> None:
    server = start("pyftpdlib")
    (server.home / "taken").write_text("a file")
    files = [(b"x", "taken/f0"), *((b"x", f"f{number}") for number in range(500))]
    report = upload_batch(files, server.url, max_per_ip=1, max_failures=1, check=False)
    assert [outcome.remote for outcome in report.failed] == ["taken/f0"]
    assert report.not_attempted
    errors = {str(outcome.error) for outcome in report.not_attempted}
    assert len(errors) == 1
    assert "1 files have failed (max_failures)" in errors.pop()


def test_a_name_that_begins_with_two_slashes_is_a_name(start: Start) -> None:
    server = start("pyftpdlib")
    assert upload_batch([(b"x", "//a//b/f")], server.url).ok
    assert (server.home / "a" / "b" / "f").read_bytes() == b"x"


def test_a_source_that_has_nothing_yet_is_not_at_its_end(start: Start) -> None:
    class Hesitates(io.RawIOBase):
        def __init__(self) -> None:
            self.pieces: list[bytes | None] = [b"abcd", None, b"efgh", b""]

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes | None:
            return self.pieces.pop(0)

    server = start("pyftpdlib")
    sources: list[Any] = [(Hesitates, "f")]
    report = upload_batch(sources, server.url, check=False)
    assert "nothing to read at the moment" in str(report.outcomes[0].error)
    assert list(server.home.iterdir()) == []


def test_the_time_of_an_event_is_when_it_happened_not_when_the_caller_heard_of_it(
    start: Start,
) -> None:
    server = start("pyftpdlib", max_per_ip=3)
    third_began = threading.Event()
    done: dict[str, float] = {}
    asked, began = 0.0, time.time()

    def note(event: Event) -> None:
        if isinstance(event, FileStarted) and event.remote == "c":
            third_began.set()
        elif isinstance(event, FileDone):
            done[event.outcome.remote] = event.time

    def files() -> Iterator[Input]:
        nonlocal asked
        for name in "abc":
            yield name.encode(), name
        # One worker: it has ended the first file, and nobody has taken its outcome meanwhile.
        assert third_began.wait(30)
        asked = time.time()
        yield b"d", "d"

    upload_batch(files(), server.url, workers=1, on_event=note)
    assert began <= done["a"] <= asked <= done["d"] <= time.time()


def test_lines_of_json_have_the_time_of_their_event() -> None:
    lines = io.StringIO()
    JsonLines(lines).take(SessionSettled(pool="p", address="127.0.0.1:21", time=1.5))
    assert json.loads(lines.getvalue()) == {
        "event": "SessionSettled", "time": "1970-01-01T00:00:01.500+00:00", "pool": "p",
        "address": "127.0.0.1:21",
    }  # fmt: skip
