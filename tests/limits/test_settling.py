"""A slot settles after ``close()`` has returned: nobody waits, and nobody takes it too early."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ftppool import FTPPool
from ftppool.gate import Gate
from ftppool.limits.base import Denied, Limiter
from ftppool.limits.machine import MachineLimiter
from ftppool.limits.process import ProcessLimiter
from tests.conftest import Start
from tests.limits.running import Run
from tests.support.servers import Server

ADDRESS = "192.0.2.1:21"
USER = "user"


@pytest.fixture(params=["vsftpd", "proftpd", "pure-ftpd"])
def for_three(start: Start, request: pytest.FixtureRequest) -> Server:
    return start(str(request.param), max_per_ip=3)


# -- what is written down --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MachineLimiter, ProcessLimiter])
def test_a_permit_given_back_counts_until_its_slot_has_settled(kind: type[Limiter]) -> None:
    limiter = kind()
    permit = limiter.take(ADDRESS, 1, USER)
    assert not isinstance(permit, Denied)
    settled_at = time.monotonic() + 0.4
    permit.release(settled_at)
    permit.release()  # a second call does nothing
    while isinstance(again := limiter.take(ADDRESS, 1, USER), Denied):
        assert time.monotonic() < settled_at + 20
        time.sleep(0.01)
    assert time.monotonic() >= settled_at
    again.release()
    limiter.forgo(ADDRESS)


def test_a_settling_slot_counts_for_another_process_as_if_it_were_held() -> None:
    one, other = MachineLimiter(), MachineLimiter()  # each takes itself for a process
    permit = one.take(ADDRESS, 2, USER)
    assert not isinstance(permit, Denied)
    permit.release(time.monotonic() + 0.4)
    assert isinstance(other.take(ADDRESS, 1, USER), Denied)
    assert other.others(ADDRESS) == other.others(ADDRESS, USER) == 1
    assert other.others(ADDRESS, "somebody else") == 0
    other.forgo(ADDRESS)


@pytest.mark.parametrize("ahead", [1e6, 3600.0, 2.0, -0.001, -1e6])
def test_a_time_of_an_earlier_boot_blocks_no_slot(ahead: float) -> None:
    limiter = MachineLimiter()
    permit = limiter.take(ADDRESS, 1, USER)
    assert not isinstance(permit, Denied)
    permit.release(max(0.0, time.monotonic() + ahead))
    again = limiter.take(ADDRESS, 1, USER)
    assert not isinstance(again, Denied)
    again.release()


# -- what close() does -----------------------------------------------------------------------------


@pytest.mark.parametrize("limiter", ["machine", "process"])
def test_close_does_not_wait_until_the_slots_have_settled(
    start: Start, limiter: str, gates: list[Gate]
) -> None:
    server = start("vsftpd")
    with FTPPool(server.url, max_per_ip=2, limiter=limiter) as pool:
        with pool.ftp(), pool.ftp():
            gates[0]._ledger.settle = 3600.0
        report = pool.close()
        assert (report.clean, report.quits, report.still_running) == (True, 2, 0)
        assert (pool.stats().open, pool.stats().settling) == (0, 2)


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> list[Gate]:
    """The gates that the test makes, the first one first."""
    made: list[Gate] = []
    init = Gate.__init__

    def note(self: Gate, *arguments: object) -> None:
        # The type checker: whatever Gate takes.
        init(self, *arguments)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(Gate, "__init__", note)
    return made


@pytest.mark.parametrize("limiter", ["machine", "process"])
def test_the_next_pool_of_the_process_waits_for_what_the_last_one_left(
    for_three: Server, limiter: str
) -> None:
    for _ in range(5):
        pool = FTPPool(for_three.url, max_per_ip=3, limiter=limiter)
        with pool, pool.ftp(), pool.ftp(), pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
    census = for_three.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0
    assert census.quits == census.sessions == 15


EACH_TURN = """
while sys.stdin.readline():
    with FTPPool(url, max_per_ip=3) as pool, pool.ftp(), pool.ftp(), pool.ftp():
        pass
    say("closed")
"""


def test_the_next_process_waits_for_what_the_last_one_left(for_three: Server, run: Run) -> None:
    pair = [run(EACH_TURN, for_three.url), run(EACH_TURN, for_three.url)]
    for _ in range(4):
        for program in pair:
            program.tell()
            assert program.line() == "closed"
    census = for_three.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0
    assert census.quits == census.sessions == 24


GOES = """
pool = FTPPool(url, max_per_ip=3)
with pool.ftp(), pool.ftp(), pool.ftp():
    pass
pool.close()
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
elif sys.argv[2] == "leaves":
    os._exit(0)
"""


@pytest.mark.parametrize("how", ["ends", "leaves", "killed"])
def test_a_process_that_ends_right_after_close_leaves_its_slots_settling(
    start: Start, run: Run, state_directory: Path, how: str
) -> None:
    server = start("vsftpd", max_per_ip=3)
    for _ in range(4):
        gone = run(GOES, server.url, how)
        assert gone.wait() == (-9 if how == "killed" else 0)
        with FTPPool(server.url, max_per_ip=3) as pool, pool.ftp(), pool.ftp(), pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
    slots = [json.loads(file.read_text()) for file in state_directory.glob("*/slot-*")]
    assert [slot["state"] for slot in slots] == ["closed"] * 3
    assert all(0 < slot["settled_at"] < time.monotonic() + 0.5 for slot in slots)
    census = server.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0
    assert census.quits == census.sessions == 24
