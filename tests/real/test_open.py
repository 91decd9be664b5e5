"""A file that is written through ``Session.open()`` is sent when it is complete, and only then."""

from __future__ import annotations

import codecs
import contextlib
import gc
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftppool import FTPPool, Session
from ftppool.transfer.remotefile import IN_MEMORY
from tests.conftest import Start
from tests.support.servers import Server


@pytest.fixture(name="server")
def _server(start: Start) -> Server:
    return start("pyftpdlib")


@pytest.fixture(name="session")
def _session(server: Server) -> Iterator[Session]:
    with FTPPool(server.url) as pool, pool.session() as session:
        yield session


def text(session: Session, path: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(session.open(path, "wb"), encoding="utf-8", newline="\n")


def test_a_text_file_around_it_is_sent_when_its_block_ends(
    server: Server, session: Session
) -> None:
    with text(session, "f.csv") as file:
        file.write("a,b\n")
        file.write("ü,1\n")
        assert not (server.home / "f.csv").exists()
    assert (server.home / "f.csv").read_text("utf-8") == "a,b\nü,1\n"


def test_a_wrapper_that_an_exception_leaves_sends_nothing_and_says_so(
    server: Server, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.suppress(ZeroDivisionError), text(session, "text") as file:
        file.write("half")
        file.write(str(1 // 0))
    with (
        contextlib.suppress(ZeroDivisionError),
        codecs.getwriter("utf-8")(session.open("codec", "wb")) as writer,
    ):
        writer.write("half")
        writer.write(str(1 // 0))
    assert list(server.home.iterdir()) == []
    records = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.__dict__["ftppool_remote"] for record in records] == ["text", "codec"]
    assert "'text' was not sent: it was closed while ZeroDivisionError" in records[0].message


def test_a_close_on_the_way_out_of_an_exception_sends_nothing(
    server: Server, session: Session
) -> None:
    file = session.open("half", "wb")
    with contextlib.suppress(ZeroDivisionError):
        try:
            file.write(bytes(1 // 0))
        finally:
            file.close()
    assert file.closed
    assert list(server.home.iterdir()) == []


def test_a_wrapper_that_is_lost_sends_nothing(server: Server, session: Session) -> None:
    text(session, "text").write("half")
    io.BufferedWriter(session.open("bytes", "wb")).write(b"half")
    in_a_cycle = [text(session, "cycle")]
    in_a_cycle.append(in_a_cycle)  # type: ignore[arg-type]  # on purpose
    del in_a_cycle
    gc.collect()
    assert list(server.home.iterdir()) == []


def test_a_generator_that_is_ended_early_sends_nothing(server: Server, session: Session) -> None:
    def rows() -> Iterator[int]:
        with text(session, "rows") as file:
            file.write("half")
            yield 1

    written = rows()
    next(written)
    del written
    gc.collect()
    assert list(server.home.iterdir()) == []


def test_what_is_written_while_an_older_exception_is_handled_is_sent(
    server: Server, session: Session
) -> None:
    try:
        session.size("missing")
    except Exception as first:
        with text(session, "inside") as file:
            file.write("it was missing")
        with contextlib.suppress(type(first)), text(session, "raised-again") as file:
            file.write("half")
            raise first
    assert [path.name for path in server.home.iterdir()] == ["inside"]
    assert (server.home / "inside").read_text() == "it was missing"


def test_what_could_not_be_written_to_its_end_is_not_sent(
    server: Server, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    file = text(session, "big")
    with pytest.raises(OSError, match="missing"):
        file.write("x" * (IN_MEMORY + 1))
    file.close()
    assert list(server.home.iterdir()) == []


def test_lines_that_end_in_an_error_are_not_sent(server: Server, session: Session) -> None:
    def lines() -> Iterator[bytes]:
        yield b"half\n"
        raise OSError("unreadable")

    file = session.open("lines", "wb")
    with pytest.raises(OSError, match="unreadable"):
        file.writelines(lines())
    file.close()
    assert list(server.home.iterdir()) == []
