"""What a server teaches: learned once, remembered on disk, and put to the test after a while."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ftppool
from ftppool import FTPPool, ServerBusy
from ftppool.events import Event, SessionRefused
from ftppool.lessons import Lesson, Lessons
from ftppool.limits.machine import MachineLimiter
from tests.conftest import Start
from tests.limits.running import Program, Run
from tests.support.relay import Relay
from tests.support.servers import Server


@pytest.fixture(params=["vsftpd", "proftpd", "pure-ftpd"])
def for_two(start: Start, request: pytest.FixtureRequest) -> Server:
    return start(str(request.param), max_per_ip=2)


def address_of(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


BATCH = """
files = [(b"x" * 10_000, f"{sys.argv[2]}-{n}") for n in range(120)]
report = ftppool.upload_batch(files, url, max_per_ip=8)
say(len(report.uploaded), report.stats.refused, report.stats.learned)
"""


def test_a_cap_set_too_high_is_learned_once_for_this_and_the_next_process(
    for_two: Server, run: Run
) -> None:
    def result(program: Program) -> list[int]:
        numbers = [int(word) for word in program.line().split()]
        assert program.wait() == 0
        return numbers

    uploaded, refused, learned = result(run(BATCH, for_two.url, "one"))
    assert uploaded == 120
    assert 1 <= refused <= 3
    assert learned == 2
    assert result(run(BATCH, for_two.url, "two")) == [120, 0, 2]
    assert len(list(for_two.home.iterdir())) == 240
    census = for_two.wait_idle()
    assert census.refusals == refused
    assert census.peak <= 2
    lesson = MachineLimiter().lessons(address_of(for_two)).of_all
    assert lesson is not None
    assert lesson.limit == 2
    assert "onnections" in lesson.words or "clients" in lesson.words
    assert 0 <= time.time() - lesson.since < 60


def make_due(server: Server, limit: int, pause: float = 300.0) -> None:
    """As if the lesson had been learned long ago."""
    past = time.time() - 1000.0
    lesson = Lesson(limit=limit, words="421", since=past, probe_at=past, pause=pause)
    MachineLimiter().teach(address_of(server), lambda _known: Lessons(of_all=lesson))


def test_a_lesson_that_is_due_is_put_to_the_test_and_rises(start: Start) -> None:
    server = start("vsftpd", max_per_ip=2)
    make_due(server, limit=1)
    with FTPPool(server.url, max_per_ip=5) as pool:
        with pool.ftp(), pool.ftp(timeout=10):
            assert pool.stats().learned == 2
        with pool.ftp(), pool.ftp(), ThreadPoolExecutor(1) as other:
            waiting = other.submit(pool.acquire, 0.3)
            with pytest.raises(ftppool.PoolTimeout):  # the next step has to wait
                waiting.result()
        assert pool.stats().refused == 0
    assert server.wait_idle().refusals == 0


def test_a_probe_that_is_refused_costs_one_refusal_and_twice_the_pause(start: Start) -> None:
    server = start("vsftpd", max_per_ip=2)
    make_due(server, limit=2)
    refused: list[SessionRefused] = []

    def listen(event: Event) -> None:
        if isinstance(event, SessionRefused):
            refused.append(event)

    files = [(b"x" * 10_000, f"f{n}") for n in range(60)]
    report = ftppool.upload_batch(files, server.url, max_per_ip=5, on_event=listen)
    assert len(report.uploaded) == 60
    assert [event.effective for event in refused] == [2]
    lesson = MachineLimiter().lessons(address_of(server)).of_all
    assert lesson is not None
    assert (lesson.limit, lesson.pause) == (2, 600.0)
    assert lesson.probe_at > time.time() + 500


USERS = """
with FTPPool(url, max_per_ip=6) as pool, pool.ftp(), pool.ftp():
    say("ready")
    sys.stdin.readline()
"""


def test_words_about_a_user_bind_that_user_in_every_process(start: Start, run: Run) -> None:
    server = start("proftpd", max_per_ip=2, options={"limit": "MaxClientsPerUser"})
    holder = run(USERS, server.url)
    assert holder.line() == "ready"
    with FTPPool(server.url, max_per_ip=6) as pool:
        with pytest.raises(ServerBusy):
            pool.acquire(timeout=1.5)
        assert pool.stats().refused == 1
        lessons = MachineLimiter().lessons(address_of(server))
        assert lessons.of_all is None
        assert {who: lesson.limit for who, lesson in lessons.of_user.items()} == {server.user: 2}
        holder.tell()
        with pool.ftp(timeout=5), pool.ftp(timeout=5):
            pass
    assert holder.wait() == 0
    assert server.wait_idle().refusals == 1


def test_a_ban_is_obeyed_by_the_next_process_too(start: Start, run: Run, tmp_path: Path) -> None:
    server = start("pyftpdlib")
    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.url.replace(str(server.port), str(relay.port))
        relay.set(refuse=1, words="530 Host 127.0.0.1 has been banned\r\n")
        with FTPPool(url, max_per_ip=2) as pool:
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(ServerBusy, match=r"banned.*nothing is tried before 20\d\d-"):
                    pool.acquire(timeout=30)
                assert time.monotonic() - began < 5
            assert pool.stats().connect_failed == 1
        program = run(
            "try: FTPPool(url).acquire(timeout=30)\n"
            "except ftppool.ServerBusy as error: say('has been banned' in str(error))",
            url,
        )
        assert program.line() == "True"
        assert program.wait() == 0
        past = time.time() - 1000.0
        address = f"127.0.0.1:{relay.port}"
        MachineLimiter().teach(address, lambda known: Lessons().banned("530", past))
        with FTPPool(url, max_per_ip=2) as pool, pool.ftp() as ftp:
            ftp.voidcmd("NOOP")


def test_who_can_wait_for_an_open_session_does_so_during_a_ban(
    start: Start, tmp_path: Path
) -> None:
    server = start("pyftpdlib")
    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.url.replace(str(server.port), str(relay.port))
        with FTPPool(url, max_per_ip=3, name="banned") as pool:
            files = [(b"x" * 1000, f"f{n}") for n in range(20)]
            with pool.ftp() as ftp:
                ftp.voidcmd("NOOP")
            relay.set(refuse=1, words="530 you are banned for a while\r\n")
            report = pool.upload_batch(files)
            assert len(report.uploaded) == 20
            assert pool.stats().connect_failed == 1
