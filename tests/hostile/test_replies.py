"""What a server may not do with its replies, one thing at a time."""

from __future__ import annotations

import ftplib
import random
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from ftppool import (
    ConnectError,
    ConnectionLost,
    FTPConfig,
    FTPPool,
    FTPPoolError,
    RemoteRejected,
    ServerBusy,
    TransferError,
)
from ftppool.drivers import ftp_files, ftp_lease, replies
from ftppool.drivers.replies import ReplyReader, parse_epsv, parse_pasv
from ftppool.words import legible
from tests.hostile.running import Hostile, pool_for


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    with Hostile() as server:
        yield server


@contextmanager
def scripted(*answers: tuple[bytes, bytes], pause: float = 0.0) -> Iterator[str]:
    """A peer that answers commands that begin with a word as told; others like a small server."""
    usual = {
        b"USER": b"331 -", b"PASS": b"230 -", b"PWD": b'257 "/"', b"QUIT": b"221 -",
        b"EPSV": b"500 -",
    }  # fmt: skip
    table = {**usual, **dict(answers)}

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as lines, suppress(OSError):
                    connection.sendall(table.get(b"", b"220 -") + b"\r\n")
                    for line in lines:
                        time.sleep(pause)
                        connection.sendall(table.get(line[:4].rstrip(), b"200 -") + b"\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"ftp://me:secret@127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def test_a_login_has_one_limit_for_all_its_replies() -> None:
    with (
        scripted(pause=0.7) as url,
        pool_for(url, io_timeout=1.0, acquire_timeout=2.0) as pool,
        pytest.raises((ServerBusy, ConnectError)),
    ):
        pool.acquire()
    with scripted(pause=0.1) as url, pool_for(url, io_timeout=3.0, acquire_timeout=9.0) as pool:
        pool.acquire().release()


class Feed:
    """A socket's receiving half, from memory: what a reader sees of a server."""

    def __init__(self, *packets: bytes) -> None:
        self.packets = list(packets)
        self.taken = 0

    def gettimeout(self) -> float:
        return 5.0

    def settimeout(self, _seconds: float) -> None:
        pass

    def recv(self, size: int) -> bytes:
        packet = self.packets.pop(0) if self.packets else b""
        self.taken += len(packet)
        return packet[:size]


class Endless(Feed):
    """The same packet for ever: an 8 GB line is no longer."""

    def recv(self, size: int) -> bytes:
        self.taken += len(self.packets[0])
        return self.packets[0]


def read(*packets: bytes, encoding: str = "utf-8") -> str:
    sock: Any = Feed(*packets)
    return ReplyReader(sock, encoding).reply()


@pytest.mark.parametrize(
    ("packets", "reply"),
    [
        ([b"220 hello\r\n"], "220 hello"),
        ([b"22", b"0 he", b"llo\r", b"\n"], "220 hello"),
        ([b"220\r\n"], "220"),
        ([b"220 only LF\n"], "220 only LF"),
        ([b"220-a\r\n b\r\n221 c\r\n220-d\r\n220 e\r\n"], "220-a\n b\n221 c\n220-d\n220 e"),
        ([b"220-a\r\n220\r\n"], "220-a\n220"),
        ([b"421 no end", b""], "421 no end"),
        ([b"530-too many\r\n", b""], "530-too many"),
        ([b"550 \xe4\r\n"], "550 \udce4"),
        ([b"220-a\r\n22", b"0 e\r", b"\n"], "220-a\n220 e"),
        ([b"220-a\r\n220 cut", b""], "220-a\n220 cut"),
        ([b"530-too\r\n man", b""], "530-too\n man"),
        ([b"220-a\r\n\r\n220 e\r\n" + b"9" * 9000], "220-a\n\n220 e"),
    ],
)
def test_a_reply_comes_however_it_is_cut(packets: list[bytes], reply: str) -> None:
    assert read(*packets) == reply


def test_replies_that_come_at_once_are_read_one_by_one() -> None:
    sock: Any = Feed(b"213 1\r\n211-a\r\n211 b\r\nnonsense\r\n200 c\r\n421 bye")
    reader = ReplyReader(sock, "utf-8")
    assert [reader.reply() for _ in range(2)] == ["213 1", "211-a\n211 b"]
    with pytest.raises(ftplib.error_proto, match="nonsense"):
        reader.reply()
    assert [reader.reply() for _ in range(2)] == ["200 c", "421 bye"]
    assert not reader.buffered


def test_a_reply_that_comes_too_late_is_not_forgotten() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.05)
        reader = ReplyReader(ours, "utf-8")
        theirs.sendall(b"220-begun\r\n220 ")
        with pytest.raises(TimeoutError):
            reader.reply()
        assert reader.buffered
        theirs.sendall(b"done\r\n221 bye\r\n")
        assert reader.reply() == "220-begun\n220 done"
        assert reader.readline() == "221 bye\r\n"


@pytest.mark.parametrize(
    "line",
    [b"", b"hello", b"099 x", b"600 x", b"22 x", b"2x0 x", b" 220 x", "²²⁰ x".encode(), b"-1 x",
     "٢٢٠ x".encode(), b"SSH-2.0-x", b"\x00\x00\x00 x"],
)  # fmt: skip
def test_what_does_not_begin_with_a_code_is_no_reply(line: bytes) -> None:
    with pytest.raises(ftplib.error_proto):
        read(line + b"\r\n")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "shift_jis", "iso2022_jp", "gb18030"])
def test_no_bytes_are_too_bad_for_an_encoding(encoding: str) -> None:
    FTPConfig(encoding=encoding)
    for number in range(500):
        noise = random.Random(number).randbytes(6).replace(b"\n", b"\x1b")
        assert read(b"550 \x1b$B" + noise + b"\r\n", encoding=encoding)


@pytest.mark.parametrize("packets", [[b""], [b"220-a\r\n", b""]])
def test_a_connection_that_ends_without_a_reply_is_at_its_end(packets: list[bytes]) -> None:
    with pytest.raises(EOFError):
        read(*packets)


@pytest.mark.parametrize(
    ("packet", "most"),
    [
        (b"A" * 8192, 4 * replies.LONGEST_LINE),
        (b"220-\r\n" * 1000, 2 * replies.LONGEST_REPLY),
        (b"220-" + b"a" * 4000 + b"\r\n", 2 * replies.LONGEST_REPLY),
    ],
)
def test_a_reply_without_end_has_one_here(packet: bytes, most: int) -> None:
    sock: Any = Endless(packet)
    with pytest.raises(ftplib.error_proto):
        ReplyReader(sock, "utf-8").reply()
    assert sock.taken < most


def test_of_a_line_without_end_nothing_is_taken_for_a_reply_later() -> None:
    sock: Any = Feed(b"221 " + b"A" * 8188, b"A" * 5000, b"A\r\n200 ok\r\n")
    reader = ReplyReader(sock, "utf-8")
    with pytest.raises(ftplib.error_proto, match="a line of over"):
        reader.reply()
    assert not reader.buffered
    assert reader.readline() == "A\r\n"
    assert reader.reply() == "200 ok"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "()",
        "(|||)",
        "(|||0|)",
        "(|||65536|)",
        "(|||x|)",
        "(||||",
        "(|1|10.0.0.1|21|)",
        "(|||٢١|)",
        "(|||" + "9" * 5000 + "|)",
    ],
)
def test_a_229_without_a_port_is_refused(text: str) -> None:  # fmt: skip
    with pytest.raises(ftplib.error_proto):
        parse_epsv(f"229 {text}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2,3",
        "(1,2,3,4,0,0)",
        "(256,1,1,1,1,1)",
        "(1,1,1,1,1,256)",
        "(::1,4,5)",
        "(" + ",".join(["9" * 900] * 6) + ")",
    ],
)
def test_a_227_without_address_and_port_is_refused(text: str) -> None:  # fmt: skip
    with pytest.raises(ftplib.error_proto):
        parse_pasv(f"227 {text}")


def test_the_usual_forms_of_227_and_229_are_read() -> None:
    assert parse_epsv("229 Extended Passive Mode Entered (|||6446|)") == 6446
    assert parse_epsv("229 ok (!!!21!)") == 21
    for form in ("227 Entering Passive Mode (10,0,0,1,4,5).", "227 =10,0,0,1,4,5"):
        assert parse_pasv(form) == ("10.0.0.1", 1029)


def test_a_passive_address_elsewhere_is_not_connected_to() -> None:
    with socket.create_server(("127.0.0.2", 0)) as victim:
        victim.settimeout(0.3)
        port = victim.getsockname()[1]
        answer = f"227 (127,0,0,2,{port >> 8},{port & 255})".encode()
        with scripted((b"PASV", answer)) as url:
            with pool_for(url) as pool, pytest.raises(FTPPoolError), pool.session() as session:
                session.listdir()
            with pytest.raises(TimeoutError):
                victim.accept()
            # The victim would have seen it: who trusts the server does connect.
            trusting = FTPConfig(trust_pasv_address=True)
            with pool_for(url, ftp=trusting) as pool, suppress(FTPPoolError):
                in_session(pool, lambda session: session.listdir())
            victim.accept()[0].close()


TERMINAL = b" \x1b]0;owned\x07\x1b[2J\x00\x9b31m\xe2\x80\xae\xff"


@pytest.mark.parametrize("verb", [b"", b"PASS", b"DELE"])
@pytest.mark.parametrize("code", [b"550", b"421", b"530", b"200", b"xyz", b"331"])
def test_no_reply_writes_to_the_terminal(verb: bytes, code: bytes) -> None:
    with (
        scripted((verb, code + TERMINAL)) as url,
        pool_for(url, acquire_timeout=0.3) as pool,
    ):
        for call in (lambda: session_call(pool), lambda: raw_call(pool)):
            error = outcome(call)
            if error is not None:
                shown = "".join(traceback.format_exception(error))
                assert all(char.isprintable() or char == "\n" for char in shown)
                assert "\n" not in str(error)


def outcome(call: Callable[[], object]) -> Exception | None:
    """What a call raises of what it may raise."""
    try:
        call()
    except (FTPPoolError, ftplib.Error, OSError, EOFError) as error:
        return error
    return None


def in_session(pool: FTPPool, call: Callable[[Any], object]) -> None:
    with pool.session() as session:
        call(session)


def session_call(pool: FTPPool) -> None:
    with pool.session() as session:
        session.remove("x")


def raw_call(pool: FTPPool) -> None:
    with pool.ftp() as ftp:
        ftp.delete("x")


def test_a_page_of_a_reply_is_shown_with_its_last_line() -> None:
    shown = legible("530-" + "x" * 100_000 + "\n530 Login incorrect.")
    assert len(shown) < 2100
    assert shown.endswith("530 Login incorrect.")
    assert (
        legible("550 Zu viele\xa0Verbindungen für Jürgen")
        == "550 Zu viele\xa0Verbindungen für Jürgen"
    )


def two_sizes(pool: FTPPool) -> None:
    with pool.session() as session:
        assert session.size("five") == 5
        session.size("other")


def test_an_unasked_reply_is_never_taken_for_the_answer_to_the_next_command() -> None:
    with scripted((b"SIZE", b"213 5\r\n213 7")) as url, pool_for(url) as pool:
        with pytest.raises(ConnectionLost, match="213 7"):
            two_sizes(pool)
        with pool.ftp() as ftp:
            assert ftp.size("five") == 5
            with pytest.raises(ftplib.error_proto, match="213 7"):
                ftp.size("other")
        assert pool.stats().opened == 2


def test_a_farewell_said_unasked_is_told_and_may_be_retried() -> None:
    with (
        scripted((b"SIZE", b"213 5\r\n421 shutting down")) as url,
        pool_for(url) as pool,
        pytest.raises(ConnectionLost, match="shutting down") as lost,
    ):
        two_sizes(pool)
    assert lost.value.retryable


@pytest.mark.parametrize(
    "reply",
    [b"999 x", b"hello", b"", b"150 go on", b"331 more?", b"200 a\r\n200 b", b"A" * 9000, b"2"],
)
def test_a_session_that_talked_nonsense_is_not_lent_again(reply: bytes) -> None:
    with scripted((b"SYST", reply)) as url, pool_for(url) as pool:
        with pool.ftp() as ftp:
            error = outcome(lambda: ftp.voidcmd("SYST"))  # caught by the borrower
            assert (error is None) == reply.startswith(b"200")
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert pool.stats().opened == 2


@pytest.mark.parametrize("reply", [b"213", b"213 -1", b"213 x", b"213 " + b"9" * 5000, b"200 ok"])
def test_a_size_that_is_none_is_no_answer(reply: bytes) -> None:
    with (
        scripted((b"SIZE", reply)) as url,
        pool_for(url) as pool,
        pytest.raises(ConnectionLost),
        pool.session() as session,
    ):
        session.size("x")


@pytest.mark.parametrize("home", [b'"/\r"', b'"/\x00"', b"", b"nothing"])
def test_a_login_directory_that_no_command_can_carry_is_not_gone_back_to(home: bytes) -> None:
    with scripted((b"PWD", b"257 " + home), (b"SIZE", b"550 no")) as url, pool_for(url) as pool:
        with pytest.raises(ConnectionLost), pool.session() as session:
            session.exists("x")
        with pytest.raises(ConnectionLost), pool.session() as session:
            session.getcwd()


@pytest.mark.parametrize(("name", "value"), [("LONGEST_LISTING", 10), ("MOST_ENTRIES", 1)])
def test_a_listing_has_an_end(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(ftp_files, name, value)
    with pool_for(hostile.peer("none", "none")) as pool:
        with pytest.raises(TransferError, match="a listing of over"), pool.session() as session:
            session.listdir()
        assert pool.stats().leased == 0
        with pool.session() as session:
            monkeypatch.undo()
            assert session.listdir() == ["a", "b"]
        assert pool.stats().opened == 2


def test_a_listing_that_is_one_line_without_end_has_an_end(hostile: Hostile) -> None:
    with (
        pool_for(hostile.peer("MLSD", "data_line_endless")) as pool,
        pytest.raises(TransferError, match="bytes in a line"),
        pool.session() as session,
    ):
        session.listdir()


def test_a_listing_through_ftplib_has_an_end(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool_for(hostile.peer("none", "none")) as pool, pool.ftp() as ftp:
        assert ftp.nlst() == ["a", "b"]
        monkeypatch.setattr(ftp_lease, "LONGEST_LISTING", 3)
        with pytest.raises(ftplib.error_proto, match="NLST: a listing of over"):
            ftp.nlst()


def test_names_that_lead_elsewhere_are_left_out(hostile: Hostile) -> None:
    with pool_for(hostile.peer("MLSD", "data_lines")) as pool, pool.session() as session:
        names = session.listdir()
    assert names
    assert all("/" not in name and "\0" not in name for name in names)


def test_a_rejected_reply_keeps_its_lines_in_reply_and_is_one_line_in_the_message() -> None:
    with (
        scripted((b"DELE", b"550-first\r\n550 second")) as url,
        pool_for(url) as pool,
        pytest.raises(RemoteRejected) as rejected,
    ):
        session_call(pool)
    assert rejected.value.reply == "550-first\n550 second"
    assert str(rejected.value).endswith("550-first / 550 second")


@pytest.mark.parametrize("reply", ["229 (\0\0\021\0)", "227 \x1b[31m999,1,1,1,1,1"])
def test_a_reply_that_is_none_is_quoted_without_its_control_characters(reply: str) -> None:
    parse = parse_epsv if reply.startswith("229") else parse_pasv
    with pytest.raises(ftplib.error_proto) as caught:
        parse(reply)
    assert str(caught.value).isprintable()
