"""verify, preserve_mtime, skip_same, resume and rate_limit, on real servers."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

import ftppool
from ftppool import FTPPool, upload_batch
from ftppool.events import Event, Retrying
from ftppool.report import Status
from tests.conftest import Start
from tests.support.relay import Chaos, Relay
from tests.support.servers import ALL_KINDS

A_DAY = 1_700_000_000
pytestmark = pytest.mark.parametrize("kind", ALL_KINDS)


def make(folder: Path, count: int, size: int = 5000) -> Path:
    folder.mkdir()
    for number in range(count):
        path = folder / f"f{number}"
        path.write_bytes(os.urandom(size))
        os.utime(path, (A_DAY + number, A_DAY + number))
    return folder


def test_the_time_of_a_source_goes_with_it(start: Start, kind: str, tmp_path: Path) -> None:
    server = start(kind, options={"mdtm_write": "YES"} if "vsftpd" in kind else {})
    folder = make(tmp_path / "out", 6)
    report = upload_batch([f"{folder}/"], server.url, max_per_ip=1, preserve_mtime=True)
    assert [outcome.notes for outcome in report.outcomes] == [()] * 6
    assert [outcome.attempts for outcome in report.outcomes] == [1] * 6
    times = {path.name: int(path.stat().st_mtime) for path in server.home.iterdir()}
    assert times == {f"f{number}": A_DAY + number for number in range(6)}


def test_what_is_the_same_already_is_skipped(start: Start, kind: str, tmp_path: Path) -> None:
    server = start(kind, options={"mdtm_write": "YES"} if "vsftpd" in kind else {})
    folder = make(tmp_path / "out", 5)
    upload_batch([f"{folder}/"], server.url, preserve_mtime=True)
    (folder / "f1").write_bytes(b"n" * 5000)
    os.utime(folder / "f1", (A_DAY + 900, A_DAY + 900))
    (folder / "f2").write_bytes(b"longer" * 5000)
    os.utime(folder / "f2", (A_DAY + 2, A_DAY + 2))
    report = upload_batch([f"{folder}/"], server.url, on_conflict="skip_same", preserve_mtime=True)
    assert [outcome.status for outcome in report.outcomes] == [
        Status.SKIPPED, Status.UPLOADED, Status.UPLOADED, Status.SKIPPED, Status.SKIPPED,
    ]  # fmt: skip
    for path in folder.iterdir():
        assert (server.home / path.name).read_bytes() == path.read_bytes()


def test_a_digest_is_compared_where_the_server_has_one_and_else_refused(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind, options={"DigestEngine": "on"} if kind == "proftpd" else {})
    folder = make(tmp_path / "out", 3)
    if kind == "proftpd":
        report = upload_batch([f"{folder}/"], server.url, verify="hash")
        assert [outcome.verified for outcome in report.outcomes] == [True] * 3
    else:
        with pytest.raises(ftppool.ConfigError, match="write verify='size'") as caught:
            upload_batch([f"{folder}/"], server.url, verify="hash")
        # The type checker: set at run time.
        assert len(caught.value.report.outcomes) == 3  # type: ignore[attr-defined]
        with (
            ftppool.FTPPool(server.url) as pool,
            pytest.raises(ftppool.ConfigError, match="write verify='size'"),
        ):
            pool.upload(folder / "f0", "f0", verify="hash")
        assert list(server.home.iterdir()) == []


@pytest.mark.parametrize("refuses", [False, True])
def test_a_transfer_that_broke_off_goes_on_where_the_server_proves_it_ended(
    start: Start, kind: str, tmp_path: Path, refuses: bool
) -> None:
    if refuses and kind != "proftpd":
        pytest.skip("only ProFTPD can be told to refuse")
    if "+" in kind:
        pytest.skip("TLS hides from the relay which connections carry data")
    restart = {"AllowStoreRestart": "off" if refuses else "on"}
    server = start(kind, options=restart if kind == "proftpd" else {})
    source = tmp_path / "big"
    source.write_bytes(os.urandom(3_000_000))
    policy = ftppool.RetryPolicy(attempts=4, max_wait=0.1)
    cut: Chaos = {"data": True, "data_reset_at": 2_000_000}
    if kind == "openssh":
        cut = {"reset_at": 2_000_000}
    with Relay(server.port, workdir=tmp_path, **cut) as relay:
        url = server.behind(relay.port)
        events: list[Event] = []
        report = upload_batch([source], url, resume=True, retry=policy, on_event=events.append)
    (outcome,) = report.outcomes
    [failure] = [event.error for event in events if isinstance(event, Retrying)]
    assert (server.home / "big").read_bytes() == source.read_bytes()
    assert outcome.attempts == 2
    assert outcome.size == 3_000_000
    assert outcome.verified
    if "bytes were sent, the server has" in failure:
        # pyftpdlib may take the reset for the end and say 226: what is missing need not be the end.
        # The reset takes with it what it has not read yet.
        assert kind == "pyftpdlib"
        assert outcome.notes == ()
    elif not refuses and kind != "openssh":
        # There the reset may take with it all that sshd has not read yet.
        assert "went on at byte" in outcome.notes[0]


def test_a_retry_does_not_go_on_with_another_version_of_its_source(
    start: Start, kind: str, tmp_path: Path
) -> None:
    if "+" in kind:
        pytest.skip("TLS hides from the relay which connections carry data")
    server = start(kind)
    cut: Chaos = {"data": True, "data_reset_at": 2_000_000}
    if kind == "openssh":
        cut = {"reset_at": 2_000_000}
    source = tmp_path / "big"
    source.write_bytes(b"A" * 3_000_000)

    def rewrite(event: Event) -> None:
        if isinstance(event, Retrying):
            source.write_bytes(b"B" * 3_000_000)

    policy = ftppool.RetryPolicy(attempts=4, max_wait=0.1)
    with Relay(server.port, workdir=tmp_path, **cut) as relay:
        url = server.behind(relay.port)
        report = upload_batch([source], url, resume=True, retry=policy, on_event=rewrite)
    assert report.ok
    assert set((server.home / "big").read_bytes()) == set(b"B")


def test_a_rate_limit_holds_for_all_sessions_together(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    files = [(b"x" * 100_000, f"f{number}") for number in range(6)]
    began = time.monotonic()
    report = upload_batch(files, server.url, max_per_ip=3, rate_limit=400_000)
    # What is promised is a lower bound: a tenth of a second's worth may go out at once.
    assert time.monotonic() - began >= 600_000 / 400_000 - 0.2
    assert len(report.uploaded) == 6


def test_a_part_has_the_name_that_was_asked_for(start: Start, kind: str, tmp_path: Path) -> None:
    if "+" in kind or kind == "openssh":
        pytest.skip("the relay shows what is said in clear text only")
    server = start(kind)
    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.behind(relay.port)
        assert upload_batch([(b"x", "d/f")], url, part_name="{name}-{token}.filepart").ok
        with FTPPool(url) as pool:
            pool.upload(b"y", "g", part_name="_{token}_{name}")
        said = [text for talk in relay.look().talks for side, text in talk if side == "C"]
    stores = re.findall(r"STOR (\S+)", "".join(said))
    assert re.fullmatch(r"d/f-[0-9a-f]{8}\.filepart", stores[0])
    assert re.fullmatch(r"_[0-9a-f]{8}_g", stores[-1])
    assert sorted(path.name for path in server.home.rglob("*")) == ["d", "f", "g"]
