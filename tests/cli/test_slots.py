"""``ftppool slots`` as a user runs it."""

from __future__ import annotations

import ftplib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ftppool import FTPPool
from ftppool.limits.base import Denied
from ftppool.limits.machine import MachineLimiter
from tests.cli.running import Ran, end, run, start as begin
from tests.cli.test_put import make, secret, url
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


def test_who_waits_out_a_refusal_is_shown_and_stands_in_nobodys_way(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd", max_per_ip=1)
    files = make(tmp_path / "out", 1)
    with ftplib.FTP() as stranger:  # takes the only connection, unseen by us
        stranger.connect(server.host, server.port)
        process = begin("put", "--max-per-ip", "3", files, url(server), env=secret(server))
        try:
            waits = shown_while(process, lambda ran: "backs off" in ran.out)
            # A row before it may be of the slot that has just been refused, and still settles.
            (row,) = [line for line in waits.lines() if "backs off" in line]
            assert row.split()[0] == f"{server.host}:{server.port}"
            assert row.split()[3] == str(process.pid)
            assert "; next try in" in row
            told = shown_while(process, lambda ran: '"refused": true' in ran.out, "--json")
            found = json.loads(told.out)
            assert (found["schema"], found["version"]) == ("ftppool-slots", 1)
            (one,) = found["servers"]
            (who,) = one["waiting"]
            assert (who["pid"], who["cap"]) == (process.pid, 3)
            assert who["since"] <= found["time"] + 1
            assert who["next_try"] > who["since"]
            # It holds nothing, and it is in no line.
            limiter = MachineLimiter()
            permit = limiter.take(one["address"], 3, "me")
            assert not isinstance(permit, Denied)
            assert limiter.pressure(one["address"], 3) is None
            permit.release()
            stranger.quit()
        except BaseException:
            process.kill()
            raise
        finally:
            ran = end(process)
    assert ran.code == 0, ran
    assert run("slots").out.splitlines()[0] == "no session is held and nobody waits"


def shown_while(process: subprocess.Popen[str], seen: Callable[[Ran], bool], *args: str) -> Ran:
    """Look again and again; between two tries there is a moment in which it does not wait."""
    deadline = time.monotonic() + 30
    while True:
        ran = run("slots", *args)
        assert ran.code == 0, ran
        if seen(ran):
            return ran
        assert time.monotonic() < deadline, ran
        assert process.poll() is None


def test_json_has_what_the_tables_have() -> None:
    limiter, now = MachineLimiter(), time.time()
    address = "127.0.0.3:2121"
    limiter.teach(address, lambda known: known.refused(2, "421 At most\x1b 2", now))
    limiter.teach(address, lambda known: known.refused(1, "530 one", now, user="upload"))
    limiter.teach(address, lambda known: known.banned("530 you are banned", now))
    permit = limiter.take("127.0.0.2:21", 4, "me")
    assert not isinstance(permit, Denied)
    try:
        ran = run("slots", "--json")
        servers = {one["address"]: one for one in json.loads(ran.out)["servers"]}
    finally:
        permit.release()
    (held,) = servers["127.0.0.2:21"]["held"]
    assert (held["pid"], held["cap"], held["user"]) == (os.getpid(), 4, "me")
    taught = servers[address]
    assert taught["learned"]["limit"] == 2
    assert taught["lessons_of_users"]["upload"]["words"] == "530 one"
    assert taught["banned_until"] > now
    assert taught["ban"] == "530 you are banned"
    assert json.loads(run("slots", "--json", "127.0.0.1").out)["servers"] == []


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
