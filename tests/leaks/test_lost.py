"""Leases and pools that nobody has any more."""

from __future__ import annotations

import gc
import logging
import re
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from ftppool import ConfigError, FTPPool, FTPPoolError, LeakWarning
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import Server

pytestmark = pytest.mark.filterwarnings("always::ftppool.LeakWarning")


@pytest.fixture
def server(start: Start) -> Server:
    return start("vsftpd", max_per_ip=3)


@pytest.fixture
def warned(recwarn: pytest.WarningsRecorder) -> pytest.WarningsRecorder:
    recwarn.clear()
    return recwarn


def leaks(warned: pytest.WarningsRecorder) -> list[str]:
    return [str(one.message) for one in warned if issubclass(one.category, LeakWarning)]


def wait_for_leaks(warned: pytest.WarningsRecorder, count: int) -> list[str]:
    deadline = time.monotonic() + 5
    while len(found := leaks(warned)) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(found) == count, found
    return found


def take_and_forget(pool: FTPPool) -> None:
    pool.acquire()


def test_a_lost_lease_comes_back_with_one_warning_that_shows_who_took_it(
    server: Server, warned: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool:
        take_and_forget(pool)
        with pool.ftp(timeout=5) as ftp:
            ftp.voidcmd("NOOP")
        (message,) = wait_for_leaks(warned, 1)
        assert "MainThread" in message
        (warning,) = [one for one in warned if issubclass(one.category, LeakWarning)]
        assert warning.filename == __file__  # it points at the line that took the lease
        assert warning.lineno == take_and_forget.__code__.co_firstlineno + 1
        (record,) = [record for record in caplog.records if "was lost" in record.getMessage()]
        assert record.levelno == logging.WARNING
        assert "in take_and_forget" in record.getMessage()
        assert "in test_a_lost_lease" in record.getMessage()
        assert record.threadName is not None
        assert "dispatcher" in record.threadName  # never the finalizer: it may run anywhere
    assert server.wait_idle().quits == 2
    assert len(leaks(warned)) == 1


def test_a_thread_that_ends_with_a_lease_loses_it(
    server: Server, warned: pytest.WarningsRecorder
) -> None:
    with FTPPool(server.url, max_per_ip=2) as pool:
        threads = [threading.Thread(target=take_and_forget, args=(pool,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        wait_for_leaks(warned, 5)
        with pool.ftp(timeout=5), pool.ftp(timeout=5):
            pass
    assert server.wait_idle().peak <= 2


def test_a_lease_in_a_reference_cycle_is_found_by_the_collector(
    server: Server, warned: pytest.WarningsRecorder
) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool:
        cycle: list[object] = [pool.acquire()]
        cycle.append(cycle)
        del cycle
        gc.collect()
        with pool.ftp(timeout=5):
            pass
        wait_for_leaks(warned, 1)


def test_a_lost_pool_ends_its_sessions_and_says_where_it_was_made(
    server: Server, warned: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    pool = FTPPool(server.url, max_per_ip=3)
    with pool.ftp(), pool.ftp():
        pass
    before = threading.active_count()
    del pool
    census = server.wait_idle()
    assert census.quits == census.sessions == 2
    (message,) = wait_for_leaks(warned, 1)
    assert "close()" in message
    (record,) = [record for record in caplog.records if "the pool" in record.getMessage()]
    assert "in test_a_lost_pool" in record.getMessage()
    deadline = time.monotonic() + 5
    while threading.active_count() >= before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() < before  # its dispatcher has nothing to do any more


def test_a_lease_outlives_its_lost_pool(server: Server, warned: pytest.WarningsRecorder) -> None:
    lease = FTPPool(server.url).acquire()
    wait_for_leaks(warned, 1)
    assert lease.loan.voidcmd("NOOP").startswith("200")
    lease.release()
    assert server.wait_idle().quits == 1


def test_a_pool_that_was_never_used_may_be_forgotten(warned: pytest.WarningsRecorder) -> None:
    FTPPool("ftp://127.0.0.1:9")
    gc.collect()
    assert not leaks(warned)


def test_a_pool_lost_while_it_connects_is_ended_too(
    server: Server, tmp_path: Path, warned: pytest.WarningsRecorder
) -> None:
    with Relay(server.port, workdir=tmp_path, delay=0.15) as relay:
        pool = FTPPool(server.url.replace(str(server.port), str(relay.port)))
        with pytest.raises(FTPPoolError):
            pool.acquire(timeout=0.1)
        del pool
        wait_for_leaks(warned, 1)
        server.wait_for(lambda census: census.quits == 1)


def test_a_long_lease_is_logged_once_with_its_stack_and_once_when_it_came_back(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def hold() -> None:
        lease = pool.acquire()
        time.sleep(1.5)
        lease.release()

    began = time.monotonic()
    with FTPPool(server.url, leak_warn_after=0.2) as pool:
        thread = threading.Thread(target=hold, name="keeper")
        thread.start()
        thread.join(10)
        most = time.monotonic() - began
        with pool.ftp():
            pass  # short enough: not a word
    suspected, back = [record.getMessage() for record in caplog.records]
    assert "keeper has had a session" in suspected
    assert "in hold" in suspected
    after = re.search(r"came back after (\d+\.\d) s", back)
    assert after is not None
    assert 1.5 <= float(after[1]) < most + 0.05  # it is rounded
    assert "keeper" in back


@pytest.mark.parametrize("limit", [None, 300.0])
def test_leak_warn_after_may_be_off(
    server: Server, caplog: pytest.LogCaptureFixture, limit: float | None
) -> None:
    with FTPPool(server.url, leak_warn_after=limit) as pool, pool.ftp():
        time.sleep(1.1)
    assert not caplog.records


def test_a_batch_may_keep_its_sessions(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    class Slow:
        def __init__(self) -> None:
            self.left = 12

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def close(self) -> None:
            pass

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            time.sleep(0.1)
            return b"x" if self.left > 0 else b""

    with FTPPool(server.url, leak_warn_after=0.1) as pool:
        pool.upload_batch([(Slow, "slow")])  # type: ignore[list-item]  # no BinaryIO
    assert not caplog.records


@pytest.mark.parametrize("wrong", [0, -1.0, float("inf"), float("nan"), "300", True])
def test_a_wrong_leak_warn_after_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match="leak_warn_after"):
        FTPPool("ftp://127.0.0.1", leak_warn_after=wrong)
