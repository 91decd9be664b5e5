"""Whatever a peer does not say, every call ends at its own limit, and nothing stays."""

from __future__ import annotations

import ftplib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from ftppool import (
    BatchError,
    ConnectError,
    ConnectionLost,
    FTPPool,
    FTPPoolError,
    PoolTimeout,
    RemoteRejected,
    ServerBusy,
)
from tests.hostile.running import (
    ACQUIRE,
    CLOSE,
    CONNECT,
    IO,
    ONCE,
    QUIT,
    SLACK,
    Hostile,
    pool_for,
)

QUIET = ("silent", "drip", "drip_lines")
"""Says nothing; a line without end, a byte at a time; a reply without end, a line at a time."""
LOUD = ("endless_line", "endless_lines", "endless_replies")
BIG = b"x" * (24 << 20)
"""More than the buffers of a connection hold."""


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    with Hostile() as server:
        yield server


@pytest.fixture(autouse=True)
def all_connections_closed(hostile: Hostile) -> Iterator[None]:
    yield
    assert hostile.wait_idle() == 0


@contextmanager
def within(limit: float) -> Iterator[None]:
    """A call keeps its limit; a busy machine may be late, a hanging one is far later."""
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    assert took < limit + SLACK, f"{took:.2f} s instead of {limit:.2f}"


@contextmanager
def pool(url: str, **options: Any) -> Iterator[FTPPool]:
    """A pool whose close() keeps its limit, too."""
    made = pool_for(url, **({"retry": ONCE} | options))
    try:
        yield made
    finally:
        with within(CLOSE):
            report = made.close()
        assert report.still_running == 0


@contextmanager
def unreachable() -> Iterator[str]:
    """A peer that does not even complete the TCP handshake: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"ftp://127.0.0.1:{listener.getsockname()[1]}"


CALLS: dict[str, Callable[[FTPPool], object]] = {
    "acquire": lambda pool: pool.acquire(),
    "upload": lambda pool: pool.upload(b"x", "x"),
    "batch": lambda pool: pool.upload_batch([(b"x", "x"), (b"y", "y")]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_peer_that_does_not_answer_the_connect(call: str) -> None:
    with (
        unreachable() as url,
        pool(url) as slow,
        within(ACQUIRE),
        pytest.raises((ConnectError, ServerBusy, BatchError)),
    ):
        CALLS[call](slow)


@pytest.mark.parametrize("deed", QUIET + LOUD)
@pytest.mark.parametrize("phase", ["greeting", "USER", "PASS"])
def test_a_peer_that_does_not_come_to_an_end_before_the_login_has(
    hostile: Hostile, phase: str, deed: str
) -> None:
    with pool(hostile.peer(phase, deed)) as slow, within(ACQUIRE):
        # The last of these has an unasked reply for an answer to the next command.
        with pytest.raises((ConnectError, ServerBusy, RemoteRejected)) as failed:
            slow.acquire()
        assert isinstance(failed.value, FTPPoolError)
        assert slow.stats().opened == 0


@pytest.mark.parametrize("call", ["upload", "batch"])
@pytest.mark.parametrize("phase", ["greeting", "PASS"])
def test_a_batch_ends_when_nobody_can_log_in(hostile: Hostile, phase: str, call: str) -> None:
    with (
        pool(hostile.peer(phase, "drip")) as slow,
        within(ONCE.busy_total + CONNECT + IO),
        pytest.raises(FTPPoolError),
    ):
        CALLS[call](slow)


STEPS = [
    ("TYPE", "silent"), ("EPSV", "silent"), ("PASV", "silent"), ("STOR", "silent"),
    ("STOR", "data_unreachable"), ("STOR", "data_silent"), ("STOR", "data_no_final"),
    ("final", "silent"), ("SIZE", "silent"), ("RNFR", "silent"), ("RNTO", "silent"),
    ("EPSV", "drip"), ("STOR", "drip_lines"), ("final", "drip"), ("SIZE", "drip_lines"),
    ("RNTO", "drip"), ("final", "endless_lines"), ("EPSV", "endless_line"),
]  # fmt: skip


@pytest.mark.parametrize(("phase", "deed"), STEPS)
@pytest.mark.parametrize("call", ["upload", "put"])
def test_an_upload_to_a_peer_that_falls_silent(
    hostile: Hostile, phase: str, deed: str, call: str
) -> None:
    # One step is waited for; then the part file is to be removed, on this session or a new one.
    limit = 3 * IO + ACQUIRE + QUIT + len(BIG) / (1 << 20) * IO
    source = BIG if deed == "data_silent" else b"x"

    def put(pool: FTPPool) -> None:
        if call == "upload":
            pool.upload(source, "x")
        else:
            with pool.session() as session:
                session.upload(source, "x")

    with pool(hostile.peer(phase, deed)) as slow, within(limit), pytest.raises(ConnectionLost):
        put(slow)


READS = [
    ("MLSD", "silent"), ("MLSD", "data_silent"), ("MLSD", "data_unreachable"),
    ("MLSD", "data_no_final"), ("MLSD", "data_drip"), ("MLSD", "endless_line"), ("final", "drip"),
]  # fmt: skip


@pytest.mark.parametrize(("phase", "deed"), READS)
def test_a_listing_of_a_peer_that_falls_silent(hostile: Hostile, phase: str, deed: str) -> None:
    with (
        pool(hostile.peer(phase, deed)) as slow,
        within(ACQUIRE + 3 * IO),
        pytest.raises(ConnectionLost),
        slow.session() as session,
    ):
        session.listdir()


@pytest.mark.parametrize("deed", ["silent", "data_silent", "data_unreachable", "data_no_final"])
@pytest.mark.parametrize("verb", ["RETR", "STOR"])
def test_ftplib_calls_on_a_peer_that_falls_silent(hostile: Hostile, verb: str, deed: str) -> None:
    calls: dict[str, Callable[[ftplib.FTP], str]] = {
        "RETR": lambda ftp: ftp.retrbinary("RETR x", lambda _block: None),
        "STOR": lambda ftp: ftp.storbinary("STOR x", io.BytesIO(BIG)),
    }
    with (
        pool(hostile.peer(verb, deed)) as slow,
        within(ACQUIRE + 3 * IO),
        pytest.raises(TimeoutError),
        slow.ftp() as ftp,
    ):
        calls[verb](ftp)


@pytest.mark.parametrize("deed", [*QUIET, "endless_line", "endless_lines"])
def test_a_peer_that_does_not_say_goodbye(hostile: Hostile, deed: str) -> None:
    with pool(hostile.peer("QUIT", deed)) as slow:
        slow.acquire().release()
        with slow.ftp() as ftp, within(QUIT), pytest.raises((OSError, ftplib.Error)):
            ftp.quit()
    assert slow.stats().quits == 0


@pytest.mark.parametrize("deed", QUIET + LOUD)
def test_a_session_that_does_not_answer_noop_costs_its_limit_and_is_replaced(
    hostile: Hostile, deed: str
) -> None:
    with pool(hostile.peer("NOOP", deed, times=1)) as slow:
        slow.acquire().release()
        with within(2 * QUIT), slow.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert slow.stats().opened == 2


@pytest.mark.parametrize(("phase", "deed"), [("NOOP", "silent"), ("CWD", "drip")])
def test_waiting_keeps_its_limit_even_if_the_session_given_is_silent(
    hostile: Hostile, phase: str, deed: str
) -> None:
    with pool(hostile.peer(phase, deed), quit_timeout=20.0, check_after_idle=0.5) as slow:
        with slow.ftp() as ftp:
            if phase == "CWD":
                ftp.voidcmd("CDUP")  # so that only the way back stays unanswered
        if phase == "NOOP":
            time.sleep(0.6)
        with within(0.3), pytest.raises((PoolTimeout, ConnectionLost, ServerBusy)):
            slow.acquire(timeout=0.3).release()


@pytest.mark.parametrize(
    ("phase", "deed"),
    [
        ("greeting", "silent"), ("PASS", "drip"), ("STOR", "silent"), ("STOR", "data_silent"),
        ("STOR", "data_unreachable"), ("final", "drip"), ("QUIT", "silent"),
    ],
)  # fmt: skip
def test_close_ends_a_call_that_would_wait_for_long(
    hostile: Hostile, phase: str, deed: str
) -> None:
    far = {"connect_timeout": 60.0, "io_timeout": 60.0, "acquire_timeout": 60.0}
    ended: list[BaseException | None] = []
    begun = threading.Event()

    def work() -> None:
        begun.set()
        try:
            slow.upload(BIG if deed == "data_silent" else b"x", "x")
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    with pool(hostile.peer(phase, deed), **far, quit_timeout=0.5) as slow:
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        if phase == "QUIT":
            thread.join(60)  # only the goodbye stays unanswered
        else:
            time.sleep(0.3)
    thread.join(5 * SLACK)
    assert not thread.is_alive()
    assert len(ended) == 1
    assert (ended[0] is None) == (phase == "QUIT")
    assert ended[0] is None or isinstance(ended[0], FTPPoolError)


SENDS: dict[str, Callable[[FTPPool], object]] = {
    "one": lambda pool: pool.upload(b"x" * 1000, "f"),
    "batch": lambda pool: pool.upload_batch([(b"x" * 1000, f"f{number}") for number in range(3)]),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
def test_a_transfer_that_is_announced_again_and_again_is_given_up(
    hostile: Hostile, send: Callable[[FTPPool], object]
) -> None:
    with (
        pool_for(hostile.peer("STOR", "endless_replies")) as pool,
        within(2 * (ACQUIRE + 8 * IO)),
        pytest.raises((BatchError, FTPPoolError)),
    ):
        send(pool)
