"""A batch against real servers: every byte arrives, and the server never sees too much."""

from __future__ import annotations

import ftplib
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

import pytest

import ftppool
from ftppool import BatchError, ConfigError, Status, TransferError, upload_batch
from ftppool.events import Event, FileQueued
from ftppool.inputs import Input
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import ALL_KINDS, KINDS, Server


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Run the test once for each kind of server, SFTP too."""
    return str(request.param)


def tree_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their path relative to it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def odd_files(folder: Path) -> dict[str, bytes]:
    """68 files whose names, sizes and places make trouble elsewhere."""
    rng = random.Random(68)
    names = [
        "empty", "one", "two words", "'single'", '"double"', "back`tick", "semi;colon", "comma,",
        "(round)", "[square]", "{curly}", "<angle>", "per%cent", "per%20cent", "hash#", "ques?tion",
        "star*", "plus+", "equals=", "at@sign", "col:on", "pi|pe", "under_score", "dollar$HOME",
        "tilde~", "~tilde", "-rf", "--help", "-", ".hidden", "..twice", "...", "dot.",
        "trailing.tar.gz",
        "ünïcödé", "日本語", "смешно", "עברית", "emoji-🎉", "combining-e\u0301", "ﬁ-ligature",
        "\u0131-dotless",
        "UPPER", "upper", "a" * 200, "é" * 100, "comma,space dot.", "bang!", "caret^", "amp&ersand",
        " leading space", "three   spaces inside",
    ]  # fmt: skip
    files = {
        name: rng.randbytes(rng.choice([0, 1, 2, 511, 512, 1460, 8192, 65537])) for name in names
    }
    files["empty"] = b""
    files["one"] = b"\n"
    files["crlf"] = b"line\r\n\r\nline\n" * 1000
    files["telnet"] = bytes(range(256)) * 33 + b"\xff\xf4\xff\xf2"
    files["three-megabytes"] = rng.randbytes(3 * 1024 * 1024)
    deep = "deep"
    for level in range(10):
        deep = f"{deep}/level {level}"
        files[f"{deep}/leaf-{level}"] = rng.randbytes(100 * level)
    files["-dir/-file"] = b"x"
    files[".dir/.file"] = b"y"
    files["zz ü/ß"] = b"z"
    assert len(files) == 68
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return files


def test_68_odd_files_arrive_byte_for_byte_and_the_cap_of_two_holds(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind, max_per_ip=2)
    files = odd_files(tmp_path / "odd")
    report = upload_batch([tmp_path / "odd"], server.at("in"), max_per_ip=2)
    assert report.ok
    assert len(report.uploaded) == 68
    assert all(outcome.verified for outcome in report.outcomes)
    assert tree_of(server.home / "in" / "odd") == files
    census = server.wait_idle()
    assert census.peak <= 2
    assert census.refusals == 0
    assert census.held == 0
    assert census.quits == census.sessions == report.stats.opened


def test_a_directory_goes_under_its_own_name_and_its_contents_with_a_slash(
    server: Server, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    (site / "img").mkdir(parents=True)
    (site / "index.html").write_text("hi")
    (site / "img" / "a.png").write_bytes(b"png")
    (site / "void").mkdir()
    upload_batch([site], server.url)
    upload_batch([f"{site}/"], server.at("flat"))
    assert set(tree_of(server.home)) == {
        "site/index.html", "site/img/a.png", "flat/index.html", "flat/img/a.png",
    }  # fmt: skip
    assert (server.home / "site" / "void").is_dir()
    assert (server.home / "flat" / "void").is_dir()


def test_sources_may_be_paths_bytes_and_callables(server: Server, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"path")
    files: list[Input] = [
        (tmp_path / "p", "from/path"),
        (b"bytes", "from/bytes"),
        (lambda: (tmp_path / "p").open("rb"), "from/callable"),
    ]
    report = upload_batch(files, server.url, max_per_ip=3)
    assert [outcome.remote for outcome in report.outcomes] == [
        "from/path", "from/bytes", "from/callable",
    ]  # fmt: skip
    assert tree_of(server.home / "from") == {
        "path": b"path", "bytes": b"bytes", "callable": b"path",
    }  # fmt: skip


def test_an_existing_file_is_replaced_skipped_or_defended(server: Server) -> None:
    with ftppool.FTPPool(server.url, max_per_ip=1) as pool:
        pool.upload(b"old", "a/f")
        assert pool.upload(b"newer", "a/f").status is Status.UPLOADED
        assert pool.upload(b"newest", "a/f", on_conflict="skip").status is Status.SKIPPED
        with pytest.raises(TransferError, match="exists"):
            pool.upload(b"newest", "a/f", on_conflict="fail")
        assert pool.upload(b"fresh", "a/g", on_conflict="skip").status is Status.UPLOADED
    assert tree_of(server.home) == {"a/f": b"newer", "a/g": b"fresh"}


@pytest.mark.parametrize("verify", ["size", "none"])
def test_a_server_without_size_is_asked_for_a_listing_before_a_file_counts_as_new(
    start: Start, verify: Literal["size", "none"]
) -> None:
    server = start("vsftpd", options={"cmds_denied": "SIZE"})
    (server.home / "good").write_bytes(b"precious")
    (server.home / "good").chmod(0o644)
    with ftppool.FTPPool(server.url) as pool:
        outcome = pool.upload(b"new", "good", on_conflict="skip", verify=verify)
        with pytest.raises(TransferError, match="exists"):
            pool.upload(b"new", "good", on_conflict="fail", verify=verify)
    assert outcome.status is Status.SKIPPED
    assert tree_of(server.home) == {"good": b"precious"}


def test_a_server_that_does_not_rename_over_a_file_is_said_so(start: Start) -> None:
    server = start("proftpd", options={"AllowOverwrite": "off"})
    with ftppool.FTPPool(server.url) as pool:
        pool.upload(b"old", "f")
        outcome = pool.upload(b"new", "f")
    assert outcome.status is Status.UPLOADED
    assert "does not rename over a file" in outcome.notes[0]
    assert tree_of(server.home) == {"f": b"new"}


def test_without_atomic_the_file_is_written_under_its_name(server: Server) -> None:
    with ftppool.FTPPool(server.url) as pool:
        outcome = pool.upload(b"direct", "d/f", atomic=False, verify="none")
    assert outcome.verified is None
    assert tree_of(server.home) == {"d/f": b"direct"}


def test_a_bad_file_leaves_the_others_alone_and_nothing_half_done(
    server: Server, tmp_path: Path
) -> None:
    for number in range(12):
        (tmp_path / f"good-{number}").write_bytes(os.urandom(20_000))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    broken = iter([b"x" * 300_000])

    class Breaks:
        def read(self, _size: int = -1) -> bytes:
            try:
                return next(broken)
            except StopIteration:
                raise OSError(5, "Input/output error") from None

        def close(self) -> None: ...
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_args: object) -> None: ...

    goods = [tmp_path / f"good-{number}" for number in range(12)]
    bad: list[Input] = [
        tmp_path / "missing", tmp_path / "fifo", tmp_path / "loop", (b"", "new\r\nline"),
        # The type checker: no BinaryIO.
        (b"", "nul\0"), (b"", "good-3"), (Breaks, "breaks"),  # type: ignore[list-item]
    ]  # fmt: skip
    with pytest.raises(BatchError) as caught:
        upload_batch([*goods[:6], *bad, *goods[6:]], server.url, max_per_ip=2)
    report = caught.value.report
    assert len(report.uploaded) == 12
    assert len(report.failed) == 7
    assert len(report.outcomes) == 19
    assert set(tree_of(server.home)) == {path.name for path in goods}
    duplicate = report.outcomes[11]
    assert isinstance(duplicate.error, ConfigError)
    sentences = [str(outcome.error) for outcome in report.failed]
    assert all("\n" not in sentence and len(sentence) < 300 for sentence in sentences)
    census = server.wait_idle()
    assert census.quits == census.sessions


def test_an_input_that_raises_ends_the_batch_after_what_runs(
    server: Server, tmp_path: Path
) -> None:
    def names() -> object:
        for number in range(20):
            yield (b"x" * 1000, f"f{number}")
        raise KeyError("boom")

    with pytest.raises(KeyError, match="boom") as caught:
        upload_batch(names(), server.url)  # type: ignore[arg-type]  # no BinaryIO
    report = caught.value.report  # type: ignore[attr-defined]  # set at run time
    assert len(report.outcomes) == 20
    assert all(o.status in {Status.UPLOADED, Status.NOT_ATTEMPTED} for o in report.outcomes)
    assert len(tree_of(server.home)) == len(report.uploaded)


def test_a_batch_inside_a_pool_uses_the_pool_s_sessions(server: Server) -> None:
    with ftppool.FTPPool(server.url, max_per_ip=2) as pool:
        for number in range(5):
            pool.upload_batch([(b"x", f"{number}/{n}") for n in range(4)], "sub")
        opened = pool.stats().opened
    assert opened <= 2
    assert len(tree_of(server.home / "sub")) == 20
    assert server.wait_idle().connects == opened


def test_a_batch_that_is_given_up_still_has_an_outcome_for_every_file() -> None:
    files = [(b"x", f"f{number}") for number in range(2500)]
    with pytest.raises(BatchError) as caught:
        upload_batch(files, "ftp://127.0.0.1:1", retry=ftppool.RetryPolicy(attempts=1))
    report = caught.value.report
    assert [outcome.remote for outcome in report.outcomes] == [remote for _, remote in files]
    assert len(report.not_attempted) == 2500
    assert {outcome.error for outcome in report.outcomes} == set(report.causes)
    assert len(caught.value.exceptions) == 1


def test_an_error_names_the_file_and_not_its_part(start: Start) -> None:
    server = start("pyftpdlib", options={"perm": "elr"})
    with ftppool.FTPPool(server.url) as pool, pytest.raises(ftppool.RemoteRejected) as caught:
        pool.upload(b"x", "report.csv")
    assert str(caught.value) == "report.csv: 550 Not enough privileges."


def test_a_file_is_not_lost_where_the_server_renames_nothing(start: Start) -> None:
    server = start("vsftpd", options={"cmds_denied": "RNTO"})
    (server.home / "good").write_bytes(b"old")
    (server.home / "good").chmod(0o644)
    with pytest.raises(BatchError):
        upload_batch([(b"new", "good")], server.url)
    assert tree_of(server.home) == {"good": b"old"}


@pytest.mark.parametrize("kind", [*KINDS, "pyftpdlib+tls"])
@pytest.mark.parametrize("lost", ["226", "250", "350", "213"])
def test_a_lost_reply_is_settled_on_another_session(
    start: Start, kind: str, lost: str, tmp_path: Path
) -> None:
    tls = "+" in kind  # there the relay does not understand the replies: the server loses one
    server = start(kind, options={"loses": lost} if tls else {})
    with Relay(server.port, workdir=tmp_path) as relay:
        if not tls:
            relay.set(drop=lost, drop_times=1)
        url = server.behind(relay.port)
        report = upload_batch(
            [(b"z" * 50_000, "a"), (b"y", "b")], url, max_per_ip=1, io_timeout=0.7
        )
    assert len(report.uploaded) == 2
    assert tree_of(server.home) == {"a": b"z" * 50_000, "b": b"y"}
    assert server.wait_idle().sessions > 1


def test_whatever_a_source_raises_fails_its_file_alone(start: Start) -> None:
    server = start("pyftpdlib")

    class Odd:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def read(self, _size: int = -1) -> bytes:
            raise self.error

        def close(self) -> None:
            raise RuntimeError("close failed")

    files: list[Input] = [
        (lambda: Odd(MemoryError()), "memory"),  # type: ignore[list-item]  # no BinaryIO
        (lambda: Odd(ZeroDivisionError("0")), "zero"),  # type: ignore[list-item]  # no BinaryIO
        *((b"x", f"good-{number}") for number in range(10)),
    ]
    with pytest.raises(BatchError) as caught:
        upload_batch(files, server.url)
    assert len(caught.value.report.uploaded) == 10
    assert [type(error) for error in caught.value.exceptions] == [TransferError, TransferError]
    assert len(tree_of(server.home)) == 10


def test_a_password_function_that_fails_is_told_and_not_taken_for_the_server(start: Start) -> None:
    server = start("pyftpdlib")

    def password() -> str:
        raise OSError("no such secret")

    url = f"ftp://{server.user}@{server.host}:{server.port}"
    with (
        ftppool.FTPPool(url, password=password) as pool,
        pytest.raises(ConfigError, match="no such secret"),
    ):
        pool.acquire()
    assert server.census().connects == 0


class Exaggerates(ftplib.FTP):
    """A server that says one byte more than it has: a full disk, or a file that was there."""

    def size(self, filename: str) -> int | None:
        said = super().size(filename)
        return None if said is None else said + 1


def test_a_file_of_the_wrong_size_never_gets_its_name(start: Start) -> None:
    server = start("vsftpd")
    config = ftppool.FTPConfig(ftp_class=Exaggerates)
    policy = ftppool.RetryPolicy(attempts=2, max_wait=0.1)
    with (
        ftppool.FTPPool(server.url, ftp=config, retry=policy) as pool,
        pytest.raises(ftppool.VerifyError, match="7 bytes were sent, the server has 8"),
    ):
        pool.upload(b"content", "f")
    assert tree_of(server.home) == {}


def test_a_source_that_grows_while_it_waits_is_not_sent_as_whole(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd")
    growing = tmp_path / "growing"
    growing.write_bytes(b"first")

    def grow(event: Event) -> None:
        if isinstance(event, FileQueued):
            growing.write_bytes(b"first and more")

    with pytest.raises(BatchError, match="had 5 bytes"):
        upload_batch([growing], server.url, on_event=grow)
    assert tree_of(server.home) == {}


def test_the_old_file_comes_back_when_its_replacement_is_cut_off(
    start: Start, tmp_path: Path
) -> None:
    server = start("proftpd", options={"AllowOverwrite": "off"})
    (server.home / "f").write_bytes(b"old")
    (server.home / "f").chmod(0o666)
    for attempts in (1, 3):
        with Relay(server.port, workdir=tmp_path) as relay:
            url = server.url.replace(str(server.port), str(relay.port))
            relay.set(drop="250", drop_times=1)
            policy = ftppool.RetryPolicy(attempts=attempts, max_wait=0.1)
            report = upload_batch([(b"new", "f")], url, io_timeout=0.5, retry=policy, check=False)
        assert report.ok == (attempts == 3)
        assert tree_of(server.home) == {"f": b"new" if report.ok else b"old"}


def test_a_given_up_batch_does_not_wait_for_an_input_without_end() -> None:
    def endless() -> Iterator[tuple[bytes, str]]:
        for number in itertools.count():
            yield b"x", f"f{number}"

    with pytest.raises(BatchError):
        upload_batch(endless(), "ftp://127.0.0.1:1", retry=ftppool.RetryPolicy(attempts=1))
