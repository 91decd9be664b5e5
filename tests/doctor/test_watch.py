"""``ftppool doctor --watch``: the count over time, and who leaks."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftppool import FTPPool
from tests.cli import running
from tests.conftest import Start
from tests.doctor.scripts import DRIP, TIDY, next_round, program
from tests.support.servers import Server

PERIOD = "0.2"


def arguments(server: Server) -> list[object]:
    return [server.host, server.port, server.user, server.password]


class Watching:
    """A ``doctor --watch --json`` that runs; its looks are read as they come."""

    def __init__(self, server: Server, *more: str) -> None:
        self.process: subprocess.Popen[str] = running.start(
            "doctor", f"{server.host}:{server.port}", "--watch", PERIOD, "--json", *more
        )
        self.looks: list[dict[str, Any]] = []

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read looks until one fulfils a condition."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            look: dict[str, Any] = json.loads(line)
            if look["event"] == "look":
                self.looks.append(look)
                if condition(look):
                    return look
        raise AssertionError(f"it has ended: {self.process.stderr and self.process.stderr.read()}")

    def interrupt(self, number: int = signal.SIGINT) -> tuple[int, dict[str, Any]]:
        """Press Ctrl-C; returns the exit code and the summary."""
        self.process.send_signal(number)
        ran = running.end(self.process)
        summary = json.loads(ran.out.splitlines()[-1])
        assert summary["event"] == "summary"
        assert not ran.err or number != signal.SIGINT
        return ran.code, summary


def test_the_process_that_leaks_is_named_with_pid_and_count(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    with program(tmp_path, "drip.py", DRIP, *arguments(server)) as script:
        watching = Watching(server)
        watching.until(lambda look: True)
        for number in range(1, 6):
            next_round(script)
            watching.until(lambda look, number=number: look["total"] == number)  # type: ignore[misc]  # bound now
        watching.until(lambda look: any(one["leaks"] for one in look["processes"]))
        code, summary = watching.interrupt()
        assert code == 1
        [finding] = [one for one in summary["findings"] if one["code"] == "leak"]
        assert (finding["pid"], finding["count"]) == (script.pid, 5)
        assert "drip.py" in finding["text"]
        assert finding["paste"]
        assert not [one for one in summary["findings"] if one["code"] == "many"]  # said once


def test_a_script_that_gives_all_back_is_no_leak(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    with program(tmp_path, "tidy.py", TIDY, *arguments(server)) as script:
        watching = Watching(server)
        for _ in range(4):
            next_round(script)
            watching.until(lambda look: look["total"] == 0)
        code, summary = watching.interrupt()
        assert code == 0
        assert summary["findings"] == []


def test_ftppools_pools_are_no_leak_however_they_grow(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=6)
    with FTPPool(server.url, max_per_ip=6) as pool:
        watching = Watching(server)
        leases = []
        for number in range(1, 7):
            leases.append(pool.acquire())
            watching.until(lambda look, number=number: look["total"] == number)  # type: ignore[misc]  # bound now
        code, summary = watching.interrupt()
        for lease in leases:
            lease.release()
    assert (code, summary["findings"]) == (0, [])


def test_it_ends_by_itself_and_says_what_it_has_seen(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    with program(tmp_path, "drip.py", DRIP, *arguments(server)) as script:
        next_round(script)
        began = time.monotonic()
        ran = running.run("doctor", f"{server.host}:{server.port}", "--watch", "0.3", "--for", "1")
        assert time.monotonic() - began > 0.5
        assert ran.code == 0
        assert f"[{script.pid}]: 0 -> 1  (all processes: 1)" in ran.out
        assert "Seen in" in ran.out
        assert "nothing is wrong" in ran.out
        assert not ran.err


def test_ctrl_c_on_a_terminal_ends_it_politely_with_a_summary(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    with program(tmp_path, "drip.py", DRIP, *arguments(server)) as script:
        next_round(script)
        ran = running.run_on_terminal(
            "doctor", f"{server.host}:{server.port}", "--watch", PERIOD,
            interrupt_at="1 open connection",
        )  # fmt: skip
        assert ran.code == 0
        shown = "\n".join(ran.frames())
        assert "Seen in" in shown
        assert "Findings" in shown
        assert "Traceback" not in shown


def test_sigterm_ends_it_with_a_summary_and_143(start: Start) -> None:
    server = start("vsftpd")
    watching = Watching(server)
    watching.until(lambda look: True)
    code, summary = watching.interrupt(signal.SIGTERM)
    assert code == 143
    assert summary["watch"]["looks"] >= 1


def test_a_process_that_ends_is_said_to_have_ended(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    watching = Watching(server)
    with program(tmp_path, "drip.py", DRIP, *arguments(server)) as script:
        for number in range(1, 5):
            next_round(script)
            watching.until(lambda look, number=number: look["total"] == number)  # type: ignore[misc]  # bound now
    watching.until(lambda look: look["total"] == 0)
    code, summary = watching.interrupt()
    assert code == 0
    [process] = [one for one in summary["watch"]["processes"] if one["pid"] == script.pid]
    assert process["ended"] is True
    assert process["most"] >= 4
