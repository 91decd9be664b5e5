"""Several processes share the slots of one server, which counts what it sees."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ftppool
from ftppool import FTPPool, ServerBusy
from ftppool.limits.machine import MachineLimiter
from tests.conftest import Start
from tests.limits.running import PRELUDE, Run, wait_until
from tests.support.servers import Server


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


def test_two_pools_of_different_users_share_the_slots_of_their_address(debian: Server) -> None:
    # The type checker: not of all backends.
    other = debian.url.replace(f"//{debian.user}:", f"//{debian.backend.other_user}:")  # type: ignore[attr-defined]
    assert other != debian.url
    with FTPPool(debian.url, max_per_ip=3) as one, FTPPool(other, max_per_ip=3) as two:
        with one.ftp(), one.ftp(), one.ftp(), pytest.raises(ftppool.FTPPoolError):
            two.acquire(timeout=0.3)
        began = time.monotonic()
        with two.ftp(timeout=5) as ftp:
            ftp.voidcmd("NOOP")
            assert time.monotonic() - began < 1.5
            assert (one.stats().open, two.stats().open) == (2, 1)
    census = debian.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0
    assert census.quits == census.sessions == 4


@pytest.fixture(params=["vsftpd", "proftpd", "pure-ftpd"])
def for_five(start: Start, request: pytest.FixtureRequest) -> Server:
    return start(str(request.param), max_per_ip=5)


FIVE = """
files = [(lambda: Slow(0.5), f"five-{n}") for n in range(40)]
report = ftppool.upload_batch(files, url, max_per_ip=5)
say(len(report.uploaded))
"""


def test_the_smallest_cap_counts_while_its_process_holds_or_waits(
    for_five: Server, run: Run
) -> None:
    server = for_five
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


def test_a_shell_and_a_cron_job_share_the_slots(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No XDG variables, no HOME, another directory: the state is where the password database says.

    Both programs run as a user whose home is a directory of this test.
    """
    server = start("vsftpd", max_per_ip=2)
    home = tmp_path / "home"
    home.mkdir()
    script = tmp_path / "hold.py"
    script.write_text(HOME + PRELUDE + BOTH)
    program = [sys.executable, str(script), server.url]
    shell = {
        **os.environ,
        "TEST_HOME": str(home),
        "HOME": str(home),
        "XDG_STATE_HOME": str(tmp_path),
    }
    cron = {"TEST_HOME": str(home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "x"}
    shell.pop("FTPPOOL_STATE_DIR")
    cron["PYTHONPATH"] = os.getcwd()
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, env=shell, **pipes) as one:
        assert one.stdout is not None
        assert [one.stdout.readline() for _ in range(2)] == ["begins\n", "ready\n"]
        with subprocess.Popen(program, env=cron, cwd="/", **pipes) as two:
            assert two.stdout is not None
            assert two.stdout.readline() == "begins\n"
            time.sleep(1.0)
            census = server.census()
            assert (census.held, census.refusals) == (2, 0), "it waits, and tries nothing"
            one.communicate("\n", timeout=20)
            assert two.stdout.readline() == "ready\n"
            two.communicate("\n", timeout=20)
    assert (one.returncode, two.returncode) == (0, 0)
    census = server.wait_idle()
    assert (census.peak, census.refusals, census.sessions) == (2, 0, 4)
    assert list((home / ".local" / "state" / "ftppool").iterdir())


BOTH = """
say("begins")
with FTPPool(url, max_per_ip=2) as pool, pool.ftp(), pool.ftp():
    say("ready")
    sys.stdin.readline()
"""

HOME = """
# A fake of the password database: a test must not write into the home of who runs it.
import os, pwd
entry = list(pwd.getpwuid(os.geteuid()))
entry[5] = os.environ["TEST_HOME"]
pwd.getpwuid = lambda uid: pwd.struct_passwd(entry)
"""


MINUTE = """
files = [(lambda: Slow(1.0), f"minute-{n}") for n in range(180)]
report = ftppool.upload_batch(files, url, max_per_ip=3)
say(len(report.uploaded), report.stats.refused, report.elapsed)
"""


@pytest.mark.timeout(240)
def test_during_a_batch_of_a_minute_a_second_process_gets_its_turn_each_time(
    start: Start, run: Run
) -> None:
    """On three servers at the same time, since it takes so long."""
    servers = [start(kind, max_per_ip=3) for kind in ("vsftpd", "proftpd", "pure-ftpd")]
    batches = [run(MINUTE, server.url) for server in servers]
    for server in servers:
        # The type checker does not know the type of a lambda's argument.
        wait_until(lambda server=server: len(list(server.home.glob("minute-*"))) >= 3, 30)  # type: ignore[misc]
    for turn in range(3):
        for server in servers:
            began = time.monotonic()
            with FTPPool(server.url, max_per_ip=3) as pool:
                pool.upload(b"x" * 1000, f"second-{turn}")
            took = time.monotonic() - began
            print(f"{server.kind}: first file after {took:.2f} s")
            assert took < 5
        time.sleep(8)
    assert all(batch.process.poll() is None for batch in batches), "they still run"
    for server, batch in zip(servers, batches, strict=True):
        uploaded, refused, elapsed = batch.line().split()
        assert (uploaded, refused) == ("180", "0")
        assert float(elapsed) > 60
        assert batch.wait() == 0
        assert len(list(server.home.iterdir())) == 183
        census = server.wait_idle()
        assert census.peak <= 3
        assert census.refusals == 0


def test_a_cap_that_falls_by_a_lesson_while_slots_are_held_is_kept_by_all(
    for_five: Server, run: Run
) -> None:
    server = for_five
    one = run(FIVE, server.url)
    server.wait_for(lambda census: census.held == 5, 20)
    taught = time.time()
    MachineLimiter().teach(
        f"127.0.0.1:{server.port}", lambda known: known.refused(2, "421", taught)
    )
    # What is too much ends at the next file boundaries, and nobody opens any.
    server.wait_for(lambda census: census.held <= 2, 10)
    with FTPPool(server.url, max_per_ip=2) as pool:
        pool.upload_batch([(b"x" * 1000, f"two-{n}") for n in range(20)])
        for _ in range(50):
            assert server.census().held <= 2
            time.sleep(0.01)
    assert one.line() == "40"
    assert one.wait() == 0
    assert server.wait_idle().refusals == 0
