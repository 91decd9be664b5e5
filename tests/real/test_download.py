"""Downloads: every byte or nothing, in the right place, and never outside of it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import stat
import threading
import time
from pathlib import Path
from typing import Literal

import pytest

import ftppool
from ftppool import BatchError, ConfigError, Outcome, RemoteRejected, Status, TransferError
from ftppool.drivers.base import Entry
from ftppool.drivers.ftp_files import FTPFiles
from ftppool.events import Event, FileProgress, Retrying
from tests.conftest import Start
from tests.support.middlebox import Middlebox
from tests.support.servers import ALL_KINDS, KINDS, Server

QUICK = ftppool.RetryPolicy(attempts=4, first_wait=0.05, max_wait=0.1)


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fill(server: Server, files: dict[str, bytes]) -> None:
    """Put files on the server, for anybody to read."""
    for name, content in files.items():
        path = server.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in list(path.relative_to(server.home).parents)[:-1]:
            (server.home / folder).chmod(0o755)
        path.write_bytes(content)
        path.chmod(0o644)


def through(box: Middlebox, server: Server) -> str:
    """The server's URL, by way of the box."""
    return server.url.replace(str(server.port), str(box.port))


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of server, SSH as well."""
    return str(request.param)


IN_CLEAR = pytest.mark.parametrize("kind", KINDS)  # a middlebox cannot read what TLS hides


def test_a_tree_comes_byte_for_byte_and_the_cap_holds(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind, max_per_ip=2)
    rng = random.Random(7)
    odd = ["a", "b c", "ünïcödé", "d/e", "d/f/g", ".hidden", "-rf", "x'y"]
    files = {
        f"tree/{name}": rng.randbytes(rng.choice([0, 1, 1460, 65537, 300_000]))
        for name in [*odd, *map(str, range(30))]
    }
    fill(server, files)
    (server.home / "tree" / "void").mkdir()
    with ftppool.FTPPool(server.url, max_per_ip=2) as pool:
        report = pool.download_batch(["tree"], tmp_path / "here")
    assert report.ok
    if kind.startswith("vsftpd"):
        files.pop("tree/.hidden")  # it does not list that
    assert [outcome.remote for outcome in report.outcomes] == sorted(
        files, key=lambda name: name.split("/")
    )
    assert all(outcome.status is Status.DOWNLOADED for outcome in report.outcomes)
    assert all(outcome.verified for outcome in report.outcomes)
    assert report.bytes_sent == report.bytes_received == sum(map(len, files.values()))
    assert tree_of(tmp_path / "here") == files
    assert (tmp_path / "here" / "tree" / "void").is_dir()
    assert report.outcomes[0].local == str(tmp_path / "here" / report.outcomes[0].remote)
    mode = os.umask(0)
    os.umask(mode)
    assert stat.S_IMODE((tmp_path / "here" / "tree" / "a").stat().st_mode) == 0o666 & ~mode
    census = server.wait_idle()
    assert census.peak <= 2
    assert census.quits == census.sessions


def test_contents_files_and_pairs_go_where_they_are_told(server: Server, tmp_path: Path) -> None:
    fill(server, {"d/a": b"A", "d/s/b": b"B", "c": b"C", "e/f": b"F"})
    with ftppool.FTPPool(server.url) as pool:
        report = pool.download_batch(
            ["d/", "c", ("e/f", "sub/renamed"), ("e", "tree")], tmp_path / "to"
        )
    assert report.ok
    assert tree_of(tmp_path / "to") == {
        "a": b"A", "s/b": b"B", "c": b"C", "sub/renamed": b"F", "tree/f": b"F",
    }  # fmt: skip


@IN_CLEAR
@pytest.mark.parametrize("end", ["fin", "rst"])
def test_a_data_connection_that_ends_early_is_never_a_short_file(
    start: Start, kind: str, tmp_path: Path, end: Literal["fin", "rst"]
) -> None:
    server = start(kind, max_per_ip=3)
    rng = random.Random(11)
    files = {f"f{number}": rng.randbytes(400_000) for number in range(12)}
    fill(server, files)
    lock = threading.Lock()

    def limit() -> int | None:
        with lock:
            return rng.randrange(400_000) if rng.random() < 0.5 else None

    seen: list[int] = []

    def look(_event: Event) -> None:
        for path in (tmp_path / "here").glob("f*"):
            seen.append(path.stat().st_size)

    with Middlebox(server.port, limit, end) as box:
        policy = ftppool.RetryPolicy(attempts=20, max_wait=0.05)
        with ftppool.FTPPool(through(box, server), retry=policy, on_event=look) as pool:
            report = pool.download_batch(files, tmp_path / "here")
    assert report.ok
    assert box.cuts >= 3
    assert tree_of(tmp_path / "here") == files  # and no part
    assert set(seen) == {400_000}


@IN_CLEAR
def test_an_attempt_that_broke_off_is_continued_where_it_stopped(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    content = random.Random(3).randbytes(2_000_000)
    fill(server, {"big": content})
    limits = [1_500_000, 300_000]
    with (
        Middlebox(server.port, lambda: limits.pop(0) if limits else None) as box,
        ftppool.FTPPool(through(box, server), retry=QUICK) as pool,
    ):
        outcome = pool.download("big", tmp_path / "big")
    assert (tmp_path / "big").read_bytes() == content
    assert outcome.attempts == 3
    assert outcome.sent == outcome.received == len(content)


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(
    start: Start, tmp_path: Path
) -> None:
    server = start("proftpd")
    fill(server, {"big": b"old" * 100_000})
    new = b"new!" * 100_000

    def change(event: Event) -> None:
        if isinstance(event, Retrying):
            (server.home / "big").write_bytes(new)

    limits = [200_000]
    with (
        Middlebox(server.port, lambda: limits.pop(0) if limits else None) as box,
        ftppool.FTPPool(through(box, server), retry=QUICK, on_event=change) as pool,
    ):
        pool.download("big", tmp_path / "big")
    assert (tmp_path / "big").read_bytes() == new


@IN_CLEAR
def test_a_download_that_fails_leaves_the_old_file_and_no_part(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    fill(server, {"f": b"x" * 100_000})
    here = tmp_path / "here"
    here.mkdir()
    (here / "f").write_bytes(b"old")
    with Middlebox(server.port, lambda: 1000) as box:
        policy = ftppool.RetryPolicy(attempts=2, max_wait=0.05)
        with (
            ftppool.FTPPool(through(box, server), retry=policy) as pool,
            pytest.raises(TransferError, match="f: "),
        ):
            pool.download("f", here)
    assert tree_of(here) == {"f": b"old"}


HOSTILE = (
    "../escaped", "..", "/etc/escaped", "x/../../escaped", "", ".", "sub/../../escaped",
    "nul\0name", "good",
)  # fmt: skip


def hostile_scan(_files: FTPFiles, _path: str) -> list[Entry]:
    """What a hostile server could list: no real one does."""
    return [Entry(name, "file", 4, None) for name in HOSTILE]


def test_no_name_of_the_server_leads_out_of_the_directory(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("pyftpdlib")
    fill(server, {"d/good": b"good", "escaped": b"evil", "etc/escaped": b"evil"})
    monkeypatch.setattr(FTPFiles, "scan", hostile_scan)
    with ftppool.FTPPool(server.url) as pool:
        report = pool.download_batch(["d"], tmp_path / "top" / "here", check=False)
    assert len(report.failed) == len(HOSTILE) - 1
    assert all(isinstance(outcome.error, TransferError | ConfigError) for outcome in report.failed)
    assert [outcome.remote for outcome in report.downloaded] == ["d/good"]
    assert tree_of(tmp_path / "top") == {"here/d/good": b"good"}


def test_a_symbolic_link_below_the_directory_is_not_followed(
    server: Server, tmp_path: Path
) -> None:
    fill(server, {"d/x": b"evil", "y": b"good"})
    outside, here = tmp_path / "outside", tmp_path / "here"
    outside.mkdir()
    here.mkdir()
    (here / "d").symlink_to(outside)
    (here / "y").symlink_to(outside / "y")
    with ftppool.FTPPool(server.url) as pool:
        report = pool.download_batch(["d", "y"], here, check=False)
    assert [outcome.status for outcome in report.outcomes] == [Status.FAILED, Status.DOWNLOADED]
    assert "symbolic link" in str(report.outcomes[0].error)
    assert list(outside.iterdir()) == []
    assert (here / "y").read_bytes() == b"good"


def test_a_link_of_the_server_that_leads_back_up_ends(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    fill(server, {"d/x": b"x"})
    (server.home / "d" / "up").symlink_to(".")
    with ftppool.FTPPool(server.url) as pool:
        report = pool.download_batch(["d"], tmp_path / "here", check=False, max_failures=3)
    assert tree_of(tmp_path / "here")["d/x"] == b"x"
    assert len(report.outcomes) < 300


def test_existing_files_are_kept_replaced_or_defended(server: Server, tmp_path: Path) -> None:
    fill(server, {"f": b"remote"})
    os.utime(server.home / "f", (1_500_000_000, 1_500_000_000))
    here = tmp_path / "f"
    with ftppool.FTPPool(server.url) as pool:
        here.write_bytes(b"local")
        assert pool.download("f", here, on_conflict="skip").status is Status.SKIPPED
        with pytest.raises(TransferError, match="exists"):
            pool.download("f", here, on_conflict="fail")
        assert here.read_bytes() == b"local"
        first = pool.download("f", here, on_conflict="skip_same", preserve_mtime=True, fsync=True)
        assert first.status is Status.DOWNLOADED
        assert here.stat().st_mtime == 1_500_000_000
        again = pool.download("f", here, on_conflict="skip_same")
        assert again.status is Status.SKIPPED
        assert pool.download("f", here).status is Status.DOWNLOADED
    assert here.read_bytes() == b"remote"


def test_what_is_not_there_fails_alone(server: Server, tmp_path: Path) -> None:
    fill(server, {"good": b"x"})
    with ftppool.FTPPool(server.url) as pool, pytest.raises(BatchError) as caught:
        pool.download_batch(["missing", "good", "nowhere/", "bad\nname"], tmp_path / "here")
    outcomes = caught.value.report.outcomes
    assert [outcome.status for outcome in outcomes] == [
        Status.FAILED, Status.DOWNLOADED, Status.FAILED, Status.FAILED,
    ]  # fmt: skip
    assert isinstance(outcomes[0].error, RemoteRejected)
    assert "no such file" in str(outcomes[0].error).lower()
    assert isinstance(outcomes[3].error, ConfigError)
    assert "good" in tree_of(tmp_path / "here")


def test_two_files_for_one_place_and_bad_arguments_are_refused(
    server: Server, tmp_path: Path
) -> None:
    fill(server, {"a/x": b"1", "b/x": b"2"})
    with ftppool.FTPPool(server.url) as pool:
        report = pool.download_batch(["a/x", "b/x"], tmp_path / "here", check=False)
        assert isinstance(report.outcomes[1].error, ConfigError)
        assert tree_of(tmp_path / "here") == {"x": b"1"}
        for call in (
            lambda: pool.download_batch("a", tmp_path),
            lambda: pool.download_batch(["a"], ""),
            # The type checker: wrong on purpose.
            lambda: pool.download_batch([3], tmp_path),  # type: ignore[list-item]
            # The type checker: wrong on purpose.
            lambda: pool.download_batch([], tmp_path, verify="x"),  # type: ignore[arg-type]
            # The type checker: wrong on purpose.
            lambda: pool.download_batch([], tmp_path, atomic=True),  # type: ignore[call-arg]
            lambda: pool.download("a/", tmp_path),
            lambda: pool.download("a", tmp_path / "z"),
        ):
            with pytest.raises(ConfigError):
                call()


@pytest.mark.parametrize("remote", ["logs", "logs/", "logs/.", "empty/", "empty", "", "."])
def test_a_single_download_refuses_a_directory_however_it_is_written(
    start: Start, tmp_path: Path, remote: str
) -> None:
    server = start("proftpd")
    fill(server, {"logs/a": b"1", "logs/b": b"2"})
    (server.home / "empty").mkdir()
    here = tmp_path / "here"
    with ftppool.FTPPool(server.url) as pool:
        words = f"^{re.escape(remote or '.')} is a directory; fetch it with download_batch"
        with pytest.raises(ConfigError, match=words):
            pool.download(remote, here / "name")
        assert pool.stats().leased == 0
    assert not here.exists() or tree_of(here) == {}


def test_patterns_triggers_and_callbacks_work_for_downloads(server: Server, tmp_path: Path) -> None:
    fill(server, {f"d/{name}": b"x" for name in ("a.csv", "b.csv", "c.tmp", "skip/e.csv", "ok")})
    told: list[str] = []

    def note(outcome: Outcome) -> None:
        told.append(outcome.remote)

    with ftppool.FTPPool(server.url) as pool:
        report = pool.download_batch(
            ["d"], tmp_path, include=["*.csv", "ok"], exclude="skip/", last="ok", on_downloaded=note
        )
    assert report.ok
    assert set(tree_of(tmp_path / "d")) == {"a.csv", "b.csv", "ok"}
    assert told[-1] == "d/ok"
    assert len(told) == 3


def test_a_session_fetches_opens_and_describes_files(server: Server, tmp_path: Path) -> None:
    fill(server, {"d/f": b"content"})
    os.utime(server.home / "d" / "f", (1_500_000_000, 1_500_000_000))
    with ftppool.FTPPool(server.url) as pool, pool.session() as session:
        assert session.download("d/f", tmp_path) == 7
        assert (tmp_path / "f").read_bytes() == b"content"
        with session.open("d/f") as file:
            assert file.read(3) == b"con"
            file.seek(0)
            assert file.read() == b"content"
        with session.open("new/g", "wb") as file:
            file.write(b"written")
            assert not (server.home / "new").exists()
        assert (server.home / "new" / "g").read_bytes() == b"written"
        with contextlib.suppress(ZeroDivisionError), session.open("never", "wb") as file:
            file.write(b"half")
            file.write(bytes(1 // 0))
        assert not session.exists("never")
        found = session.stat("d/f")
        assert (found.name, found.kind, found.size) == ("f", "file", 7)
        assert found.modified == 1_500_000_000
        assert session.stat("d").kind == "dir"
        with pytest.raises(RemoteRejected):
            session.stat("missing")
        with pytest.raises(ConfigError, match="write 'rb' or 'wb'"):
            session.open("d/f", "r")  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(RemoteRejected, match="directory"):
            session.download("d", tmp_path)


def test_a_deadline_leaves_no_part_and_says_what_is_missing(server: Server, tmp_path: Path) -> None:
    fill(server, {"a-small": b"x", "big": b"y" * 8_000_000, "never": b"z"})

    def slow(event: Event) -> None:
        if isinstance(event, FileProgress) and event.remote == "big":
            time.sleep(0.1)

    with ftppool.FTPPool(server.url, max_per_ip=1, on_event=slow) as pool:
        report = pool.download_batch(
            ["a-small", "big", "never"], tmp_path / "here", workers=1, deadline=1.0, check=False
        )
    assert [outcome.status for outcome in report.outcomes] == [
        Status.DOWNLOADED, Status.INTERRUPTED, Status.NOT_ATTEMPTED,
    ]  # fmt: skip
    assert "deadline" in str(report.causes[0])
    assert tree_of(tmp_path / "here") == {"a-small": b"x"}
    census = server.wait_idle()
    assert census.quits == census.sessions


def test_a_directory_that_goes_last_is_fetched_with_all_that_is_in_it(
    start: Start, tmp_path: Path
) -> None:
    server = start("proftpd")
    for name in ("x", "m/a", "m/b"):
        (server.home / name).parent.mkdir(exist_ok=True)
        (server.home / name).write_text(name)
    with ftppool.FTPPool(server.url) as pool:
        report = pool.download_batch(["x", "m"], tmp_path / "here", last="m")
    assert report.ok
    assert tree_of(tmp_path / "here") == {"x": b"x", "m/a": b"m/a", "m/b": b"m/b"}
