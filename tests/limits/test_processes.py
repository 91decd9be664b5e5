"""Several processes share the slots of one server, which counts what it sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftppool import FTPPool, ServerBusy
from tests.conftest import Start
from tests.limits.running import Program, programs, wait_until
from tests.support.servers import Server

Run = Callable[..., Program]


@pytest.fixture
def run() -> Iterator[Run]:
    with programs() as start:
        yield start


@pytest.fixture(params=["vsftpd", "proftpd", "pure-ftpd"])
def debian(start: Start, request: pytest.FixtureRequest) -> Server:
    return start(str(request.param), max_per_ip=3)


STORM = """
def work(number):
    for turn in range(6):
        pool.upload(b"x" * 20_000, f"{os.getpid()}-{number}-{turn}")

with FTPPool(url, max_per_ip=3, acquire_timeout=60) as pool:
    failed = []
    threading.excepthook = failed.append
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
say(len(failed), pool.stats().refused)
for failure in failed: print(failure, file=sys.stderr)
"""


def test_three_processes_of_eight_threads_keep_a_cap_of_three(debian: Server, run: Run) -> None:
    crowd = [run(STORM, debian.url) for _ in range(3)]
    assert [program.line() for program in crowd] == ["0 0"] * 3
    assert [program.wait() for program in crowd] == [0] * 3
    assert len(list(debian.home.iterdir())) == 3 * 8 * 6
    census = debian.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0
    assert census.held == 0
    assert census.quits == census.sessions


ENDLESS = """
files = [(lambda: Slow(1000), f"endless-{n}") for n in range(10)]
ftppool.upload_batch(files, url, max_per_ip=3)
"""


def test_after_kill_9_another_process_has_all_three(debian: Server, run: Run) -> None:
    victim = run(ENDLESS, debian.url)
    wait_until(lambda: len(list(debian.home.glob(".endless-*"))) == 3, 20)
    with FTPPool(debian.url, max_per_ip=3, acquire_timeout=15) as pool:
        with pytest.raises(ServerBusy, match=rf"process {victim.process.pid}.* holds 3"):
            pool.acquire(timeout=0.3)
        victim.process.kill()
        began = time.monotonic()
        with pool.acquire(), pool.acquire(), pool.acquire():
            assert time.monotonic() - began < 10
            print(f"all three after {time.monotonic() - began:.2f} s")
            assert pool.stats().open == 3
    census = debian.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0


IDLE = """
with FTPPool(url, max_per_ip=3, max_idle=100) as pool:
    with pool.ftp(), pool.ftp(), pool.ftp():
        pass
    say(pool.stats().idle)
    sys.stdin.readline()
    say(pool.stats().idle)
"""


def test_an_idle_session_is_given_up_to_another_process(debian: Server, run: Run) -> None:
    holder = run(IDLE, debian.url)
    assert holder.line() == "3"
    with FTPPool(debian.url, max_per_ip=3) as pool:
        began = time.monotonic()
        with pool.ftp(timeout=10) as ftp:
            took = time.monotonic() - began
            ftp.voidcmd("NOOP")
            holder.tell()
            assert holder.line() == "2"
    print(f"given up after {took:.2f} s")
    assert took < 1.5
    assert holder.wait() == 0
    census = debian.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0
    assert census.quits == census.sessions == 4


LONG = """
files = [(lambda: Slow(1.0), f"long-{n}") for n in range(30)]
report = ftppool.upload_batch(files, url, max_per_ip=3)
say(len(report.uploaded), report.stats.refused)
"""


def test_a_second_process_gets_its_turn_in_a_long_batch(debian: Server, run: Run) -> None:
    first = run(LONG, debian.url)
    wait_until(lambda: len(list(debian.home.glob("long-*"))) >= 3, 20)
    began = time.monotonic()
    with FTPPool(debian.url, max_per_ip=3) as pool:
        pool.upload(b"x" * 1000, "second-0")
        took = time.monotonic() - began
        pool.upload_batch([(b"x" * 1000, f"second-{n}") for n in range(1, 6)])
    print(f"first file after {took:.2f} s")
    assert took < 5
    assert first.process.poll() is None
    assert first.line() == "30 0"
    assert first.wait() == 0
    assert len(list(debian.home.iterdir())) == 36
    census = debian.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0


FIVE = """
files = [(lambda: Slow(0.5), f"five-{n}") for n in range(40)]
report = ftppool.upload_batch(files, url, max_per_ip=5)
say(len(report.uploaded))
"""


def test_the_smallest_cap_counts_while_its_process_holds_or_waits(start: Start, run: Run) -> None:
    server = start("vsftpd", max_per_ip=5)
    first = run(FIVE, server.url)
    server.wait_for(lambda census: census.held == 5, 20)
    with FTPPool(server.url, max_per_ip=2) as pool, pool.acquire(timeout=20):
        # What the first had too many ended at its file boundaries.
        for _ in range(100):
            assert server.census().held <= 2
            time.sleep(0.01)
    # The second is gone: the first may have five again.
    server.wait_for(lambda census: census.held > 2, 10)
    assert first.line() == "40"
    assert first.wait() == 0
    census = server.wait_idle()
    assert census.refusals == 0
    assert census.peak == 5


TWO = """
with FTPPool(url, max_per_ip=8) as pool, pool.ftp(), pool.ftp():
    say("ready")
    sys.stdin.readline()
"""


def test_a_refusal_teaches_what_all_processes_have_open(start: Start, run: Run) -> None:
    server = start("vsftpd", max_per_ip=2)
    holder = run(TWO, server.url)
    assert holder.line() == "ready"
    with FTPPool(server.url, max_per_ip=8) as pool:
        with pytest.raises(ServerBusy, match="holds 2"):
            pool.acquire(timeout=1.5)
        assert pool.stats().learned == 2
        assert server.census().refusals == 1  # and now it waits in line
        holder.tell()
        with pool.ftp(timeout=5), pool.ftp(timeout=5):
            pass
    assert holder.wait() == 0
    census = server.wait_idle()
    assert census.refusals == 1


ROTATE = """
files = [(lambda: Slow(1.0), f"one-{n}") for n in range(16)]
say(len(ftppool.upload_batch(files, url, max_per_ip=1).uploaded))
"""


def test_with_one_slot_it_changes_hands_after_ten_seconds(start: Start, run: Run) -> None:
    server = start("vsftpd", max_per_ip=1)
    first = run(ROTATE, server.url)
    wait_until(lambda: len(list(server.home.glob("one-*"))) >= 1, 20)
    began = time.monotonic()
    with FTPPool(server.url, max_per_ip=1) as pool:
        pool.upload(b"x", "mine")
    took = time.monotonic() - began
    print(f"first file after {took:.2f} s")
    assert 9 < took < 14
    assert first.line() == "16"
    assert first.wait() == 0
    census = server.wait_idle()
    assert census.peak == 1
    assert census.refusals == 0


FORK = """
pool = FTPPool(url, max_per_ip=1)
with pool.ftp() as ftp:
    ftp.pwd()
child = os.fork()
if child == 0:
    time.sleep(1000)
    os._exit(0)
say(child)
os.kill(os.getpid(), 9)
"""


def test_a_forked_child_keeps_no_slot_of_its_dead_parent(
    start: Start, run: Run, state_directory: Path
) -> None:
    import os
    import signal

    server = start("pyftpdlib", max_per_ip=2)
    parent = run(FORK, server.url)
    child = int(parent.line())
    try:
        assert parent.wait() == -9
        with FTPPool(server.url, max_per_ip=1) as pool:
            began = time.monotonic()
            with pool.ftp(timeout=10) as ftp:
                ftp.pwd()
            assert time.monotonic() - began < 2
    finally:
        os.kill(child, signal.SIGKILL)
    (folder,) = state_directory.iterdir()
    assert {path.name for path in folder.iterdir()} == {"mutex", "slot-000"}
