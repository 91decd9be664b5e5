"""``ftppool slots`` as a user runs it."""

from __future__ import annotations

import os

from ftppool import FTPPool
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
        assert run("slots", "192.0.2.1").out == "no session is held and nobody waits\n"
    assert run("slots").out == "no session is held and nobody waits\n"
    assert server.wait_idle().connects == 2


def test_a_host_that_is_none_is_one_sentence() -> None:
    ran = run("slots", "no-such-host.invalid")
    assert ran.code == 78
    assert "cannot be resolved" in ran.err
    assert ran.err.count("\n") == 1
