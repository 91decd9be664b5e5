"""``ftppool slots`` as a user runs it."""

from __future__ import annotations

import os
import time

from ftppool import FTPPool
from ftppool.limits.machine import MachineLimiter
from tests.cli.running import run
from tests.conftest import Start


def test_it_shows_who_holds_what_and_connects_to_nothing(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=3)
    with FTPPool(server.url, max_per_ip=3) as pool, pool.ftp(), pool.ftp():
        ran = run("slots")
        assert ran.code == 0
        head, *rows = ran.lines()[:-1]
        assert head.split() == ["SERVER", "STATE", "PID", "PROGRAM", "CAP", "SINCE", "AGE"]
        assert len(rows) == 2
        for row in rows:
            cells = row.split()
            assert cells[:3] == [f"127.0.0.1:{server.port}", "holds", str(os.getpid())]
            assert cells[4] == "3"
        assert run("slots", "localhost").out.count("holds") == 2
        assert run("slots", f"127.0.0.1:{server.port}").out.count("holds") == 2
        assert run("slots", "192.0.2.1").out == "no session is held and nobody waits\n"
    assert run("slots").out == "no session is held and nobody waits\n"
    assert server.wait_idle().connects == 2


def test_a_host_that_is_none_is_one_sentence() -> None:
    ran = run("slots", "no-such-host.invalid")
    assert ran.code == 78
    assert "cannot be resolved" in ran.err
    assert ran.err.count("\n") == 1


def test_it_shows_what_servers_have_taught() -> None:
    limiter, now = MachineLimiter(), time.time()
    limiter.teach("127.0.0.1:2121", lambda known: known.refused(2, "421 At most\x1b 2", now))
    limiter.teach("127.0.0.1:2121", lambda known: known.refused(1, "530 one", now, user="upload"))
    limiter.teach("127.0.0.2:21", lambda known: known.banned("530 you are banned", now))
    ran = run("slots")
    assert ran.code == 0
    head, all_users, user, ban = ran.out.split("\n\n")[1].splitlines()
    assert head.split()[:3] == ["SERVER", "USER", "ALLOWS"]
    assert all_users.split()[:3] == ["127.0.0.1:2121", "everybody", "2"]
    assert all_users.endswith("421 At most 2")
    assert user.split()[:3] == ["127.0.0.1:2121", "upload", "1"]
    assert "none: banned" in ban
    assert "127.0.0.2" not in run("slots", "127.0.0.1").out
