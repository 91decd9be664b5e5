"""``ftppool doctor`` on a client: real scripts that leak, at real servers."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ftppool import FTPPool
from ftppool.cli.doctor.machine import Connection, Machine
from ftppool.cli.doctor.proc import ProcMachine
from ftppool.cli.doctor.psutils import PsutilMachine
from ftppool.limits.machine import MachineLimiter
from tests.cli.running import environment, run, run_on_terminal
from tests.conftest import Start
from tests.doctor.running import run_as_nobody, run_on_darwin
from tests.doctor.scripts import LEAK, program, wait_up
from tests.support.servers import Server

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


def leak(server: Server, number: int) -> list[object]:
    """Arguments of the leaking script."""
    return [server.host, server.port, server.user, server.password, number]


def place(server: Server) -> str:
    return f"{server.host}:{server.port}"


def findings(out: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(out)["findings"]
    return found


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
def test_a_leaking_script_is_named_with_its_pid_its_count_and_the_advice(
    start: Start, tmp_path: Path, kind: str
) -> None:
    server = start(kind)
    with program(tmp_path, "nightly.py", LEAK, *leak(server, 4)) as script:
        wait_up(script)
        connects = server.census().connects
        ran = run("doctor", place(server))
        assert ran.code == 1
        assert f"nightly.py ({Path(sys.executable).name})[{script.pid}] holds 4 connections" in (
            ran.out
        )
        assert "with ftplib.FTP(host) as ftp:" in ran.out
        assert "from ftppool import ftplib" in ran.out
        assert "max_per_ip=2" in ran.out
        assert server.password not in ran.out
        assert "\x1b" not in ran.out
        assert not ran.err
        found = findings(run("doctor", place(server), "--json").out)
        assert [(one["code"], one["pid"], one["count"]) for one in found] == [
            ("many", script.pid, 4)
        ]
        assert server.census().connects == connects  # it connects to nothing
    ran = run("doctor", place(server))
    assert ran.code == 0
    assert "nothing is wrong" in ran.out


def test_connections_that_the_server_has_ended_and_the_script_has_not(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd", idle_timeout=1)
    with program(tmp_path, "forgets.py", LEAK, *leak(server, 2)) as script:
        wait_up(script)
        server.wait_for(lambda census: census.held == 0, timeout=20)
        ran = run("doctor", place(server), "--json")
        assert ran.code == 1
        [found] = [one for one in findings(ran.out) if one["code"] == "not-closed"]
        assert (found["pid"], found["count"]) == (script.pid, 2)
        [usage] = [u for u in json.loads(ran.out)["client"]["connections"] if u["pid"]]
        assert usage["states"] == {"CLOSE_WAIT": 2}


def test_ftppools_own_slots_are_known_and_no_leak(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=4)
    with FTPPool(server.url, max_per_ip=4) as pool, pool.ftp(), pool.ftp(), pool.ftp(), pool.ftp():
        ran = run("doctor", place(server), "--json")
        document = json.loads(ran.out)
        assert ran.code == 0
        assert document["problems"] is False
        [usage] = [u for u in document["client"]["connections"] if u["pid"]]
        assert (usage["pid"], usage["open"], usage["ftppool_slots"]) == (os.getpid(), 4, 4)
        [slots] = document["client"]["slots"]
        assert slots["address"] == place(server)
        assert [record["pid"] for record in slots["held"]] == [os.getpid()] * 4


def test_a_data_connection_is_told_from_a_control_connection(start: Start) -> None:
    server = start("vsftpd", max_per_ip=2)
    (server.home / "big").write_bytes(bytes(20_000_000))
    with FTPPool(server.url, max_per_ip=1) as pool, pool.ftp() as ftp:
        data = ftp.transfercmd("RETR big")
        document = json.loads(run("doctor", place(server), "--json").out)
        [usage] = [u for u in document["client"]["connections"] if u["pid"]]
        assert (usage["open"], usage["data"]) == (1, 1)
        data.close()


def test_what_refusals_have_taught_and_who_is_over_it(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    limiter, now = MachineLimiter(), time.time()
    words = "421 There are too many connections from your internet address."
    limiter.teach(place(server), lambda known: known.refused(2, words, now))
    ran = run("doctor", place(server), "--json")
    assert ran.code == 0
    [found] = findings(ran.out)
    assert (found["code"], found["count"], found["paste"]) == ("learned", 2, ["max_per_ip=2"])
    with program(tmp_path, "leak.py", LEAK, *leak(server, 3)) as script:
        wait_up(script)
        ran = run("doctor", place(server))
        assert ran.code == 1
        assert "this machine has 3 connections" in ran.out
        assert ", 3 of them not ftppool's, and was refused when ftppool had 2" in ran.out
        assert "Set max_per_ip=2" not in ran.out  # it may allow more, without the others
        assert "holds 3 connections" in ran.out
        assert "which allows 2" in ran.out


def test_others_do_not_make_the_limit_smaller_that_the_server_names(
    start: Start, tmp_path: Path
) -> None:
    server = start("proftpd")
    limiter, now = MachineLimiter(), time.time()
    words = "530 Sorry, the maximum number of connections (3) for your host are already connected."
    limiter.teach(place(server), lambda known: known.refused(1, words, now))
    ran = run("doctor", place(server), "--json")
    assert ran.code == 0
    [found] = findings(ran.out)
    assert (found["code"], found["count"], found["paste"]) == ("learned", 3, ["max_per_ip=3"])
    assert "allows 3 connections, of which ftppool could have 1" in found["text"]
    with program(tmp_path, "leak.py", LEAK, *leak(server, 3)) as script:
        wait_up(script)
        assert "which allows 3; hosting" in run("doctor", place(server)).out


def test_a_ban_is_a_problem_until_it_is_over(start: Start) -> None:
    limiter, now = MachineLimiter(), time.time()
    limiter.teach("127.0.0.3:21", lambda known: known.banned("530 you are banned", now))
    ran = run("doctor", "127.0.0.3")
    assert ran.code == 1
    assert "127.0.0.3:21 has shut this machine out: 530 you are banned" in ran.out


def test_a_process_near_its_descriptor_limit_is_told_with_the_fix(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd")
    few = (
        'import os, resource; used = len(os.listdir("/proc/self/fd"))\n'
        "resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))\n"
    )
    text = LEAK.replace('print("up"', f'{few}print("up"')
    with program(tmp_path, "short.py", text, *leak(server, 2)) as script:
        wait_up(script)
        used = len(os.listdir(f"/proc/{script.pid}/fd"))
        ran = run("doctor", place(server))
        assert ran.code == 1
        assert f"[{script.pid}] has {used} of the {used + 1} descriptors" in ran.out
        assert "LimitNOFILE=65536" in ran.out
        assert "/etc/security/limits.conf" in ran.out


@root_only
def test_without_rights_it_says_whose_connections_it_cannot_see(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd")
    with program(tmp_path, "leak.py", LEAK, *leak(server, 3)) as script:
        wait_up(script)
        ran = run_as_nobody("doctor", place(server))
        assert "3 connections of root is for that user and root to see" in ran.out
        assert "sudo ftppool doctor" in ran.out
        assert "a process of root" in ran.out
        assert str(script.pid) not in ran.out
        assert ran.code == 0  # what was not seen is no problem found


@root_only
def test_without_rights_ones_own_processes_are_named(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    # Whoever has changed his user is not for others of that user to look at, unless he says so.
    become = (
        "import ctypes, encodings.idna, ftplib, os, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE\n"
    )
    with program(tmp_path, "mine.py", become + LEAK, *leak(server, 3)) as script:
        wait_up(script)
        ran = run_as_nobody("doctor", place(server))
        assert ran.code == 1
        assert f"[{script.pid}] holds 3 connections" in ran.out
        assert "mine.py" in ran.out


def test_on_another_system_psutil_is_asked_or_named(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd")
    with program(tmp_path, "leak.py", LEAK, *leak(server, 3)) as script:
        wait_up(script)
        ran = run_on_darwin("doctor", place(server), psutil=True)
        assert ran.code == 1
        assert f"[{script.pid}] holds 3 connections" in ran.out
        ran = run_on_darwin("doctor", place(server), psutil=False)
        assert ran.code == 78
        assert ran.err.count("\n") == 1
        assert "pip install 'ftppool[doctor]'" in ran.err


@pytest.mark.parametrize("machine", [ProcMachine(), PsutilMachine()])
def test_both_ways_to_look_see_the_same_sockets(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as ours, listener.accept()[0] as theirs:
            theirs.shutdown(socket.SHUT_WR)
            wanted = Connection(
                local=ours.getsockname(),
                remote=address,
                state="CLOSE_WAIT",
                pid=os.getpid(),
            )
            found = [
                one
                for one in machine.holders(machine.connections())
                if (one.local, one.remote) == (wanted.local, wanted.remote)
            ]
            assert [(one.state, one.pid) for one in found] == [(wanted.state, wanted.pid)]
            assert address in [one.local for one in machine.listening()]
    me = machine.process(os.getpid())
    assert me is not None
    assert me.parent == os.getppid()
    assert me.files
    assert me.limit
    assert me.started is not None
    assert 0 < time.time() - me.started < 86_400
    assert [one.pid for one in machine.named({me.command}) if one.pid == me.pid]
    assert machine.command_line(me.pid)[0] == sys.orig_argv[0]
    assert machine.process(2**22 - 1) is None


def test_connections_over_ipv6_and_mapped_ones_are_read() -> None:
    machine = ProcMachine()
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port)) as ours, listener.accept()[0]:
                ends = [(one.local, one.remote) for one in machine.connections()]
                local = ours.getsockname()[:2]
                assert (local, (host, port)) in ends
                assert ((host, port), local) in ends


def test_a_socket_that_is_closed_during_the_look_is_not_called_hidden() -> None:
    """Reading all descriptors takes a while in which connections come and go."""
    machine = ProcMachine()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        address = listener.getsockname()
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                with socket.create_connection(address), listener.accept()[0]:
                    pass

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(10):
                found = [
                    one
                    for one in machine.holders(machine.connections())
                    if one.remote == address and one.state == "ESTABLISHED"
                ]
                assert all(one.pid == os.getpid() for one in found)
        finally:
            stop.set()
            thread.join()


def test_on_a_narrow_terminal_no_line_is_too_long_and_nothing_is_lost(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd")
    with program(tmp_path, "leak.py", LEAK, *leak(server, 4)) as script:
        wait_up(script)
        ran = run_on_terminal("doctor", place(server))
        assert ran.code == 1
        assert "\x1b[" in ran.out
        for line in ran.frames():
            # What is to be pasted is never broken.
            assert len(line) < 80 or line.startswith("    ")
        assert "holds 4 connections" in " ".join(" ".join(ran.frames()).split())
        narrow = _on_narrow_terminal("doctor", place(server))
        for line in narrow.splitlines():
            assert len(line) < 40 or line.startswith("    ")
        assert f"[{script.pid}]" in narrow


def _on_narrow_terminal(*args: str) -> str:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "ftppool", *args, "--color", "never"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={name: value for name, value in environment().items() if name != "COLUMNS"},
    )
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 65536):
            output += chunk
    except OSError:  # EIO: it has ended
        pass
    finally:
        os.close(ours)
        process.wait(60)
    return output.decode().replace("\r\n", "\n")


def test_an_alias_of_the_ssh_configuration_leads_to_its_host(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("openssh")
    config = Path(os.environ["HOME"]) / ".ssh" / "config"
    config.write_text(f"Host backup\n  HostName 127.0.0.1\n  Port {server.port}\n")
    config.chmod(0o600)
    with FTPPool(server.url, max_per_ip=1) as pool, pool.sftp():
        ran = run("doctor", "sftp://backup", "--json")
        assert not ran.err
        document = json.loads(ran.out)
        [usage] = [u for u in document["client"]["connections"] if u["pid"]]
        assert (usage["server"], usage["ftppool_slots"]) == (place(server), 1)


def test_a_password_in_a_url_is_never_repeated(start: Start, tmp_path: Path) -> None:
    server = start("proftpd")
    with program(tmp_path, "leak.py", LEAK, *leak(server, 4)) as script:
        wait_up(script)
        for arguments in (["doctor", server.url], ["doctor", server.url, "--json"]):
            ran = run(*arguments)
            assert ran.code == 1
            assert str(script.pid) in ran.out
            assert server.password not in ran.out + ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no-such-host.invalid"], 78, "cannot be resolved"),
        (["ftp://me:geheim@host:99999/"], 2, "port"),
        (["--for", "3"], 2, "add --watch"),
        (["--probe"], 2, "write a URL"),
        (["--probe", "11", "ftp://me:geheim@host/"], 2, "at most 10"),
        (["--probe", "0", "ftp://me:geheim@host/"], 2, "write a whole number"),
        (["--watch", "0", "host"], 2, "write seconds"),
        (["--watch", "one", "two"], 2, "two hosts"),
        (["--probe", "ftp://me:geheim@host/", "ftp://host/"], 2, "two hosts"),
        (["--probe", "--watch", "1", "--", "ftp://me:geheim@host/"], 2, "do not go together"),
        (["--server", "host"], 2, "leave out the host"),
        (["--server", "--watch"], 2, "leave out --server"),
        (["--log", "x"], 2, "add --server"),
        (["--server", "--log", "/nowhere/x.log"], 78, "cannot be read"),
        (["--server", "--config", "/nowhere/x.conf"], 78, "cannot be read"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_one_sentence(
    arguments: list[str], code: int, words: str
) -> None:
    ran = run("doctor", *arguments)
    assert ran.code == code
    assert words in ran.err
    assert "geheim" not in ran.out + ran.err
    assert "Traceback" not in ran.err
