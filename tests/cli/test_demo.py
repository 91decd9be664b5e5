"""``ftppool demo``: what people see first, as they see it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftppool.cli import demo
from ftppool.cli.demo_host import HOST, LIMIT, Host, Seen
from ftppool.cli.tally import Tally
from ftppool.report import BatchReport
from ftppool.stats import PoolStats
from tests.cli.running import COLUMNS, Ran, end, environment, run, run_on_terminal, start
from tests.conftest import require

REFUSAL = "421 There are too many connections from your internet address."


@dataclass(frozen=True)
class Shows:
    """One demo without and one with a terminal, and where they had their files."""

    plain: Ran
    terminal: Ran
    folder: Path
    elapsed: float


@pytest.fixture(scope="module")
def shows(tmp_path_factory: pytest.TempPathFactory) -> Shows:
    """Both at the same time: it takes a while."""
    require("pyftpdlib")
    folder = tmp_path_factory.mktemp("demo")
    env = {"TMPDIR": str(folder)}
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        plain = pool.submit(run, "demo", env=env)
        terminal = pool.submit(run_on_terminal, "demo", env=env)
        return Shows(plain.result(), terminal.result(), folder, time.monotonic() - began)


def rows(text: str) -> dict[str, list[str]]:
    """Return the lines of the tables: a name, and one or two figures."""
    split = (re.split(r" {2,}", line.strip()) for line in text.splitlines())
    return {first: rest for first, *rest in split if rest}


def test_it_ends_well_and_leaves_no_file(shows: Shows) -> None:
    assert shows.plain.code == 0, shows.plain.out
    assert shows.terminal.code == 0, shows.terminal.out
    assert shows.plain.err == ""
    assert not list(shows.folder.iterdir())
    assert shows.elapsed < 30


def test_plain_output_is_plain(shows: Shows) -> None:
    text = shows.plain.out
    assert text.isascii()
    assert all(char == "\n" or char.isprintable() for char in text)
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert not any(line != line.rstrip() for line in text.splitlines())
    progress = re.findall(r"^ +(\d+)/300 files .* 0 refused$", text, re.MULTILINE)
    assert len(progress) >= 2
    assert progress[-1] == "300"


def test_the_first_act_fails_in_the_servers_words(shows: Shows) -> None:
    found = re.search(r"(\d+) of 40 files failed in", shows.plain.out)
    assert found
    failed = int(found[1])
    assert failed > 0
    refused = int(rows(shows.plain.out)["refused"][0])
    assert f"{refused:3}x  {REFUSAL}" in shows.plain.out
    assert rows(shows.plain.out)["files whole"][0] == f"{40 - failed} of 40"


def test_the_tables_say_what_the_second_act_kept(shows: Shows) -> None:
    for ran in (shows.plain, shows.terminal):
        table = rows("\n".join(ran.frames()))
        assert table["files sent"] == ["300"]
        assert table["sizes verified"] == ["300"]
        assert table["sessions opened"] == ["3"]
        assert table["reused for a file"] == ["297"]
        assert table["What the server saw"] == ["by hand", "ftppool"]
        assert table["connections"] == ["40", "3"]
        assert table["at once, at most"][1] == "3"
        assert table["refused"][1] == "0"
        assert table["ended by QUIT"][1] == "3"
        assert table["just vanished"][1] == "0"
        assert table["files whole"][1] == "300 of 300"


def test_it_ends_with_a_line_to_copy(shows: Shows) -> None:
    last = shows.plain.out.splitlines()[-2].strip()
    assert last.startswith("ftppool.upload_batch(")
    compile(last, "demo", "eval")


def test_a_terminal_gets_colours_and_a_live_line(shows: Shows) -> None:
    assert "\x1b[1mftppool demo\x1b[0m" in shows.terminal.out
    frames = shows.terminal.frames()
    assert max(map(len, frames)) < COLUMNS
    live = [frame for frame in frames if "of 3 sessions" in frame]
    assert len(live) > 10
    assert not any("..." in frame for frame in live)
    assert all("0 refused" in frame for frame in live)
    # What stays of them is one line.
    stayed = [line for line in shows.terminal.lines() if "/300 files" in line]
    assert len(stayed) == 1
    assert "300/300 files" in stayed[0]
    assert "█" in stayed[0]


@pytest.mark.parametrize("seen", ["By hand", "3 of 3 sessions"])
def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path, seen: str) -> None:
    ran = run_on_terminal("demo", env={"TMPDIR": str(tmp_path)}, interrupt_at=seen)
    assert ran.code == 130
    assert "Traceback" not in ran.out
    assert ran.lines()[-2] == "ftppool: interrupted"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process = start("demo", env={"TMPDIR": str(tmp_path)})
    assert process.stdout is not None
    while "By hand" not in process.stdout.readline():
        pass
    assert list(tmp_path.iterdir())
    process.send_signal(number)
    ran = end(process)
    if number == signal.SIGTERM:
        assert (ran.code, ran.err) == (143, "ftppool: terminated\n")
    # Killed, it leaves that to its server, which sees its end.
    deadline = time.monotonic() + 10
    while list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_pyftpdlib_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pyftpdlib'] = None\n"
        "from ftppool.cli import main; sys.exit(main(['demo']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment(), check=False
    )
    assert done.returncode == 78
    assert done.stdout == b""
    assert done.stderr == b"ftppool: the demo needs pyftpdlib: pip install 'ftppool[demo]'\n"


def test_nobody_reads_it_to_the_end(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m ftppool demo | head -2'],
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert b"ftppool demo" in done.stdout
    assert done.stderr == b""
    assert not list(tmp_path.iterdir())


def greeting(sock: socket.socket) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        text += sock.recv(1000)
    return text


def test_the_demos_server_refuses_as_vsftpd_does_and_counts_it(tmp_path: Path) -> None:
    require("pyftpdlib")
    with Host(str(tmp_path), ("someone",)) as host:
        socks = [socket.create_connection((HOST, host.port)) for _ in range(LIMIT)]
        assert all(greeting(sock).startswith(b"220 ") for sock in socks)
        with socket.create_connection((HOST, host.port)) as refused:
            assert greeting(refused) == f"{REFUSAL}\r\n".encode()
            assert refused.recv(1) == b""
        seen = host.look()
        assert (seen.now, seen.peak, seen.connections, seen.refusals) == (3, 4, 4, 1)
        socks[0].sendall(b"QUIT\r\n")
        assert greeting(socks[0]).startswith(b"221 ")
        for sock in socks:
            sock.close()
        seen = host.settle()
        assert (seen.now, seen.quits, seen.vanished, seen.refusals) == (0, 1, 2, 0)
    assert not os.listdir(tmp_path.parent) or not tmp_path.exists()
    tmp_path.mkdir()


def test_a_server_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pyftpdlib").mkdir()
    (tmp_path / "pyftpdlib" / "__init__.py").write_text("raise RuntimeError('broken')\n")
    ran = run("demo", env={"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)})
    assert ran.code == 1
    assert ran.err == "ftppool: the demo's server has ended: RuntimeError: broken\n"


def cure(**changes: object) -> demo._Cure:
    tally = Tally()
    tally.opened = 3
    stats = PoolStats(
        cap=3, learned=None, effective=3, open=3, idle=0, leased=3, opening=0, closing=0,
        settling=0, waiting=0,
    )  # fmt: skip
    values: dict[str, object] = {
        "files": 300,
        "whole": 300,
        "seen": seen(),
        "strangers": 0,
        "report": BatchReport((), datetime.now(UTC), 1.0, stats),
        "tally": tally,
        "elapsed": 1.0,
    }
    return demo._Cure(**(values | changes))  # type: ignore[arg-type]  # fields by name


def seen(**changes: int) -> Seen:
    counts = {"now": 0, "peak": 3, "connections": 3, "refusals": 0, "quits": 3}
    return Seen(**(counts | {"vanished": 0, "files": 300} | changes))


def test_it_judges_itself_by_what_was_measured() -> None:
    assert cure().complaints() == []
    for act, words in (
        (cure(whole=299), "1 of 300 files are not whole"),
        (cure(strangers=1), "1 files on the server"),
        (cure(seen=seen(peak=4)), "4 connections at once"),
        (cure(seen=seen(refusals=2)), "refused 2 connections"),
        (cure(seen=seen(quits=2, vanished=1)), "3 sessions were opened and 2 ended by QUIT"),
    ):
        (complaint,) = act.complaints()
        assert words in complaint
