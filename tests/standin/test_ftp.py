"""An object of the stand-in: a real ftplib.FTP that holds one of the connections."""

from __future__ import annotations

import contextlib
import ftplib as original
import gc
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftppool import FTPPool, ftplib
from ftppool.standin import GOODBYE, TIMEOUT, _Login
from tests.conftest import Start
from tests.limits.running import programs, wait_until
from tests.support.servers import KINDS, Server
from tests.support.tricky import HANG_UP, Tricky, Visit


def connect(server: Server, **options: Any) -> ftplib.FTP:
    """Connect and log in as a script would."""
    make = ftplib.FTP if server.scheme == "ftp" else ftplib.FTP_TLS
    ftp = make(**options)
    ftp.connect(server.host, server.port)
    ftp.login(server.user, server.password)
    if isinstance(ftp, ftplib.FTP_TLS):
        ftp.prot_p()
    return ftp


@contextlib.contextmanager
def others(server: Server, number: int) -> Iterator[list[original.FTP]]:
    """Connections of somebody who does not know ftppool."""
    made = []
    for _ in range(number):
        ftp = original.FTP(timeout=10)
        ftp.connect(server.host, server.port)
        ftp.login(server.user, server.password)
        made.append(ftp)
    try:
        yield made
    finally:
        for ftp in made:
            ftp.close()


# -- it is ftplib ----------------------------------------------------------------------------------


def test_every_name_of_the_standard_module_is_there() -> None:
    own = {"sys", "socket", "ssl"}
    missing = {name for name in dir(original) if name[:1] != "_"} - own - set(dir(ftplib))
    assert missing == set()
    assert set(original.__all__) <= set(ftplib.__all__)


def test_classes_are_subclasses_and_errors_the_same() -> None:
    assert issubclass(ftplib.FTP, original.FTP)
    assert issubclass(ftplib.FTP_TLS, original.FTP_TLS)
    assert issubclass(ftplib.FTP_TLS, ftplib.FTP)
    assert ftplib.error_perm is original.error_perm
    assert ftplib.all_errors == original.all_errors


def test_the_calls_of_ftplib_work_on_every_server(server: Server) -> None:
    with connect(server) as ftp:
        home = ftp.pwd()
        assert ftp.getwelcome()[:3] == "220"
        assert ftp.storbinary("STOR a.bin", io.BytesIO(b"\x00\xff" * 5000))[:3] == "226"
        received: list[bytes] = []
        assert ftp.retrbinary("RETR a.bin", received.append)[:3] == "226"
        assert b"".join(received) == b"\x00\xff" * 5000
        ftp.mkd("sub")
        ftp.cwd("sub")
        ftp.storlines("STOR lines.txt", io.BytesIO(b"one\ntwo\n"))
        lines: list[str] = []
        ftp.retrlines("RETR lines.txt", lines.append)
        assert lines == ["one", "two"]
        ftp.cwd("..")
        assert ftp.pwd() == home
        assert "a.bin" in ftp.nlst()
        ftp.rename("a.bin", "b.bin")
        ftp.voidcmd("TYPE I")
        assert ftp.size("b.bin") == 10_000
        with pytest.raises(ftplib.error_perm) as refused:
            ftp.delete("not there")
        assert str(refused.value)[:3] == "550"
        ftp.delete("b.bin")
    census = server.wait_idle()
    assert (census.sessions, census.quits) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_active_mode_works(start: Start, kind: str) -> None:
    server = start(kind)
    with connect(server) as ftp:
        ftp.set_pasv(False)
        ftp.storbinary("STOR a", io.BytesIO(b"active"))
        received: list[bytes] = []
        ftp.retrbinary("RETR a", received.append)
    assert b"".join(received) == b"active"


def test_passive_mode_asks_pasv_on_ipv4(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    with connect(start("vsftpd")) as ftp:
        ftp.set_debuglevel(1)
        ftp.nlst()
    said = capsys.readouterr().out
    assert "'PASV'" in said
    assert "EPSV" not in said


def test_the_constructor_connects_and_logs_in(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("pyftpdlib")
    monkeypatch.setattr(ftplib.FTP, "port", server.port)
    with ftplib.FTP(server.host, server.user, server.password) as ftp:
        assert ftp.pwd() == "/"


def test_quit_returns_the_goodbye_and_the_object_can_connect_again(server: Server) -> None:
    ftp = connect(server)
    for _ in range(3):
        assert ftp.quit()[:3] == "221"
        assert ftp.sock is None
        ftp.connect(server.host, server.port)
        ftp.login(server.user, server.password)
    ftp.connect(server.host, server.port)  # without a word to the last one
    ftp.close()
    ftp.close()
    census = server.wait_idle()
    assert (census.connects, census.quits) == (5, 5)
    assert census.peak <= 2


# -- the cap ---------------------------------------------------------------------------------------


def test_twenty_threads_never_have_more_than_the_cap(server: Server) -> None:
    ftplib.configure(max_per_ip=3)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            ftp = connect(server)
            ftp.storbinary(f"STOR {number}", io.BytesIO(b"x" * 5000))
            if number % 2:
                ftp.quit()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    census = server.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0
    assert census.quits == census.sessions == 20
    assert sorted(map(int, os.listdir(server.home))) == list(range(20))


def test_pools_and_objects_share_the_connections(start: Start) -> None:
    server = start("vsftpd", max_per_ip=2)
    with FTPPool(server.url, max_per_ip=2) as pool:
        with pool.ftp(), connect(server) as ftp:
            ftp.voidcmd("NOOP")
        # The pool's idle session makes room for the second one.
        with connect(server), connect(server):
            pass
    census = server.wait_idle()
    assert census.peak <= 2
    assert census.refusals == 0


def test_the_environment_names_the_cap(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start("pyftpdlib", max_per_ip=1)
    monkeypatch.setenv("FTPPOOL_MAX_PER_IP", "1")
    with connect(server) as first:
        with connect(server) as second:
            second.voidcmd("NOOP")
        assert first.sock is None
    census = server.wait_idle()
    assert census.peak == 1
    assert census.refusals == 0


@pytest.mark.parametrize("wrong", ["", "0", "-1", "two", "٣"])
def test_a_wrong_number_in_the_environment_is_named(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTPPOOL_MAX_PER_IP", wrong)
    with pytest.raises(ValueError, match="write a number, 1 or more"):
        ftplib.FTP("127.0.0.1")


def test_configure_refuses_nonsense() -> None:
    for wrong in ({"max_per_ip": 0}, {"max_per_ip": "3"}, {"acquire_timeout": -1}):
        with pytest.raises(ValueError, match="write"):
            ftplib.configure(**wrong)


# -- one thread, more objects than connections -----------------------------------------------------


def test_the_oldest_idle_object_of_the_thread_is_ended(server: Server) -> None:
    ftplib.configure(max_per_ip=2)
    first, second = connect(server), connect(server)
    with connect(server) as third:
        third.voidcmd("NOOP")
        second.voidcmd("NOOP")
        for call in (first.pwd, first.nlst, lambda: first.storbinary("STOR x", io.BytesIO())):
            with pytest.raises(ftplib.error_temp) as ended:
                call()
            assert str(ended.value)[:3] == "421"
        assert "max_per_ip" in str(ended.value)
        assert first.quit()[:3] == "221"  # so it was
    second.quit()
    census = server.wait_idle()
    assert census.peak <= 2
    assert census.quits == census.sessions == 3


def test_what_was_ended_can_connect_again(start: Start) -> None:
    server = start("vsftpd", max_per_ip=1)
    ftplib.configure(max_per_ip=1)
    first = connect(server)
    with connect(server):
        pass
    first.connect(server.host, server.port)
    first.login(server.user, server.password)
    assert first.quit()[:3] == "221"


def test_an_object_in_a_transfer_is_not_ended(server: Server) -> None:
    ftplib.configure(max_per_ip=1)
    seen: list[str] = []

    def another(block: bytes) -> None:
        with pytest.raises(ftplib.error_temp) as busy:
            connect(server)
        seen.append(str(busy.value))

    with connect(server) as ftp:
        ftp.storbinary("STOR a", io.BytesIO(b"x"), callback=another)
        assert "a" in ftp.nlst()
    assert [words[:3] for words in seen] == ["421"]
    assert server.wait_idle().peak == 1


# -- what is forgotten -----------------------------------------------------------------------------


def test_a_forgotten_object_is_ended_with_quit(server: Server) -> None:
    ftp = connect(server)
    ftp.storbinary("STOR a", io.BytesIO(b"x"))
    del ftp
    server.wait_for(lambda census: census.quits == 1)


def test_an_object_in_a_cycle_is_ended_when_it_is_collected(start: Start) -> None:
    server = start("proftpd", max_per_ip=1)
    loop: list[Any] = [connect(server)]
    loop.append(loop)
    del loop
    gc.collect()
    server.wait_for(lambda census: census.quits == 1)


def test_a_forgotten_transfer_is_broken_off_and_the_session_ended(server: Server) -> None:
    ftp = connect(server)
    data = ftp.transfercmd("STOR half")
    data.sendall(b"x" * 1000)
    ftp.close()
    server.wait_for(lambda census: census.quits == 1)
    assert data.fileno() == -1


def test_a_data_connection_keeps_its_session_although_the_object_is_forgotten(
    server: Server,
) -> None:
    with connect(server) as ftp:
        ftp.storbinary("STOR a", io.BytesIO(b"x" * 500_000))

    def download() -> socket.socket:
        ftp = connect(server)
        ftp.voidcmd("TYPE I")
        return ftp.transfercmd("RETR a")

    with download() as data, data.makefile("rb") as file:
        gc.collect()
        time.sleep(0.1)
        assert file.read() == b"x" * 500_000
    server.wait_for(lambda census: census.quits == 2)


def test_what_a_dead_thread_left_makes_room_for_others(server: Server) -> None:
    ftplib.configure(max_per_ip=1)
    kept: list[ftplib.FTP] = []
    thread = threading.Thread(target=lambda: kept.append(connect(server)))
    thread.start()
    thread.join()
    with connect(server) as ftp:
        ftp.voidcmd("NOOP")
    with pytest.raises(ftplib.error_temp, match=r"^421 "):
        kept[0].pwd()
    assert server.wait_idle().quits == 2


def test_an_object_may_go_on_in_another_thread(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=1)
    kept: list[ftplib.FTP] = []
    thread = threading.Thread(target=lambda: kept.append(connect(server)))
    thread.start()
    thread.join()
    assert kept[0].pwd() == "/"
    kept.pop().quit()


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "1 / 0", "ftp.transfercmd('STOR half')"])
def test_the_end_of_the_interpreter_says_quit(start: Start, ending: str) -> None:
    server = start("vsftpd", max_per_ip=3)
    script = (
        "import sys\nfrom ftppool import ftplib\n"
        "ftp = ftplib.FTP()\n"
        f"ftp.connect({server.host!r}, {server.port})\n"
        f"ftp.login({server.user!r}, {server.password!r})\n"
        f"other = ftplib.FTP()\nother.connect({server.host!r}, {server.port})\n{ending}"
    )
    subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    census = server.wait_idle()
    assert (census.connects, census.quits) == (2, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_neither_ends_its_parents_session_nor_waits_for_it(start: Start) -> None:
    server = start("vsftpd", max_per_ip=3)
    script = (
        "import os, sys, warnings\nfrom ftppool import ftplib\n"
        "warnings.simplefilter('ignore')\n"
        "def connect():\n"
        "    ftp = ftplib.FTP()\n"
        f"    ftp.connect({server.host!r}, {server.port})\n"
        f"    ftp.login({server.user!r}, {server.password!r})\n"
        "    return ftp\n"
        "ftp = connect()\n"
        "if os.fork() == 0:\n"
        "    own = connect()\n"
        "    print(own.pwd()[:1])\n"
        "    ftp.close()\n"
        "    sys.exit()\n"
        "os.wait()\n"
        "ftp.voidcmd('NOOP')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"/\n", b"")
    census = server.wait_idle()
    assert (census.connects, census.quits) == (2, 2)


# -- refusals --------------------------------------------------------------------------------------


def test_a_refusal_in_the_greeting_is_tried_again(start: Start, kind: str) -> None:
    if "+" in kind:
        pytest.skip("others() speaks without TLS")
    server = start(kind, max_per_ip=2)
    with others(server, 2) as strangers:
        timer = threading.Timer(0.5, strangers[0].close)
        timer.start()
        with connect(server) as ftp:
            ftp.voidcmd("NOOP")
        timer.join()
    assert server.wait_idle().refusals >= 1


@pytest.mark.parametrize("limit", ["MaxClientsPerHost", "MaxClientsPerUser", "MaxInstances"])
def test_a_refusal_at_the_login_is_tried_again(start: Start, limit: str) -> None:
    server = start("proftpd", max_per_ip=2, options={"limit": limit})
    ftplib.configure(max_per_ip=5)
    with others(server, 1):
        kept = connect(server)  # so that a silent end is taken for a limit
        timer = threading.Timer(0.5, kept.quit)
        timer.start()
        with connect(server) as ftp:
            assert ftp.getwelcome()[:3] == "220"
            ftp.storbinary("STOR a", io.BytesIO(b"x"))
        timer.join()
    census = server.wait_idle()
    assert census.refusals >= 1
    assert census.quits >= 2


def test_who_waits_in_vain_gets_the_servers_words(start: Start) -> None:
    ftplib.configure(acquire_timeout=0.5)
    for kind, error, code in (
        ("vsftpd", ftplib.error_temp, "421"),
        ("proftpd", ftplib.error_perm, "530"),
    ):
        server = start(kind, max_per_ip=1)
        began = time.monotonic()
        with others(server, 1), pytest.raises(error) as busy:
            connect(server)
        assert str(busy.value).startswith(code)
        within = re.search(r"\(no session within (\d+\.?\d*) s", str(busy.value))
        assert within is not None
        # Less what it took to get into the line; it is rounded.
        assert 0.3 <= float(within[1]) < time.monotonic() - began + 0.05
        assert not isinstance(busy.value, OSError)


def test_who_waits_in_vain_for_ours_gets_a_421_that_names_the_holder(start: Start) -> None:
    server = start("pyftpdlib")
    ftplib.configure(max_per_ip=1, acquire_timeout=0.3)
    held = threading.Event()
    done = threading.Event()

    def hold() -> None:
        with connect(server):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold, name="the-holder")
    thread.start()
    held.wait(10)
    with pytest.raises(ftplib.error_temp, match=r"^421 .*the-holder"):
        connect(server)
    done.set()
    thread.join()


def test_a_refused_login_is_over_for_the_object(start: Start) -> None:
    server = start("proftpd", max_per_ip=1, options={"limit": "MaxClientsPerHost"})
    ftplib.configure(acquire_timeout=0.3)
    with others(server, 1):
        ftp = ftplib.FTP()
        ftp.connect(server.host, server.port)
        with pytest.raises(ftplib.error_perm, match=r"^530 "):
            ftp.login(server.user, server.password)
        with pytest.raises(ftplib.error_temp):
            ftp.pwd()
        ftp.quit()


def test_a_login_that_is_kept_for_later_shows_no_password() -> None:
    login = _Login("user", "pass-word", "acc-ount", secured=False, protected=False)
    assert "'user'" in repr(login)
    assert "pass-word" not in repr(login)
    assert "acc-ount" not in repr(login)


def test_a_wrong_password_is_tried_once(start: Start) -> None:
    for kind in ("proftpd", "pyftpdlib"):
        server = start(kind, max_per_ip=3)
        with ftplib.FTP() as ftp:
            ftp.connect(server.host, server.port)
            with pytest.raises(ftplib.error_perm, match=r"^530"):
                ftp.login(server.user, "wrong")
        assert server.wait_idle().logins_failed == 1


def test_nobody_listening_is_told_at_once_as_by_ftplib() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ftp = ftplib.FTP()
    started = time.monotonic()
    with pytest.raises(ConnectionRefusedError) as refused:
        ftp.connect("127.0.0.1", port)
    assert refused.value.errno
    assert time.monotonic() - started < 5


def test_an_address_where_nobody_listens_is_not_tried_for_each_object(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("pyftpdlib")
    asked = socket.getaddrinfo

    def two(host: str, *args: Any, **options: Any) -> Any:
        hosts = ("127.0.0.2", "127.0.0.1") if host == "two.example" else (host,)
        return [found for one in hosts for found in asked(one, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    started = time.monotonic()
    for _ in range(40):  # more connects that come to nothing would have to wait for a minute
        with ftplib.FTP() as ftp:
            ftp.connect("two.example", server.port)
    assert time.monotonic() - started < 30


def test_an_unknown_host_is_told_as_by_ftplib() -> None:
    with pytest.raises(socket.gaierror):
        ftplib.FTP("no-such-host.invalid")


# -- time-outs -------------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts, as the kernel does for it, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_there_is_a_time_out_where_the_script_has_none(start: Start) -> None:
    server = start("pyftpdlib")
    with connect(server) as ftp:
        assert ftp.sock is not None
        assert ftp.sock.gettimeout() == ftp.timeout == TIMEOUT
        with ftp.transfercmd("NLST") as data:
            assert data.gettimeout() == TIMEOUT
        ftp.voidresp()


def test_setdefaulttimeout_is_honoured(silent: int) -> None:
    socket.setdefaulttimeout(0.2)
    try:
        ftp = ftplib.FTP()
        with pytest.raises(TimeoutError):
            ftp.connect("127.0.0.1", silent)
    finally:
        socket.setdefaulttimeout(None)


def test_a_silent_server_costs_the_time_out(silent: int) -> None:
    with pytest.raises(TimeoutError):
        ftplib.FTP(timeout=0.2).connect("127.0.0.1", silent)


def test_timeout_none_means_none_once_the_server_has_greeted(start: Start) -> None:
    with connect(start("pyftpdlib"), timeout=None) as ftp:
        assert ftp.sock is not None
        assert ftp.sock.gettimeout() is None


def test_the_goodbye_to_a_silent_server_takes_its_time_and_no_more() -> None:
    # No real server falls silent when asked: a black hole in the network does.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ftp = ftplib.FTP()
        opened = threading.Thread(target=ftp.connect, args=listener.getsockname())
        opened.start()
        peer = listener.accept()[0]
        with peer:
            peer.sendall(b"220 hello\r\n")
            opened.join()
            started = time.monotonic()
            ftp.close()
            assert time.monotonic() - started < GOODBYE / 2  # that is for the background
            peer.settimeout(10)
            assert peer.recv(100) == b"QUIT\r\n"
            assert peer.recv(100) == b""


@pytest.mark.parametrize("word", ["200 more", "150 wait"])
def test_the_goodbye_to_a_server_that_does_not_stop_talking_has_an_end(word: str) -> None:
    # No real server talks on and on: one whose replies are out of step for good comes near to it.
    over = threading.Event()

    def babble(visit: Visit, verb: str, _argument: str) -> str | None:
        if verb == "NOOP":
            until = time.monotonic() + 10 * GOODBYE
            while not over.is_set() and time.monotonic() < until:
                visit.say(word)
                time.sleep(0.05)
            return HANG_UP
        return None

    with Tricky(babble) as server:
        ftp = ftplib.FTP()
        ftp.connect("127.0.0.1", server.port)
        ftp.login("u", "p")
        ftp.putcmd("NOOP")
        started = time.monotonic()
        try:
            with pytest.raises(TimeoutError):
                ftp.quit()
            assert time.monotonic() - started < 5 * GOODBYE
        finally:
            over.set()
    assert ftp.sock is None


# -- faults ----------------------------------------------------------------------------------------


class Unreadable(io.RawIOBase):
    """A file on a disk that fails after some blocks."""

    def __init__(self) -> None:
        self.left = 3

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if not self.left:
            raise OSError(5, "Input/output error")
        return b"x" * size


# Not pyftpdlib, which takes an RST for the end of the file.
@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pure-ftpd", "vsftpd+tls", "proftpd+tls"])
def test_a_file_that_cannot_be_read_is_not_stored_as_if_it_were_whole(server: Server) -> None:
    with connect(server) as ftp:
        with pytest.raises(OSError, match="Input/output"):
            ftp.storbinary("STOR half", Unreadable())
        try:
            reply = ftp.voidresp()
        except ftplib.all_errors as error:
            reply = str(error)
        assert reply[:3] != "226"
    assert server.wait_idle().quits == 1


def test_what_breaks_a_transfer_off_is_what_leaves_the_with_block(server: Server) -> None:
    def refuse(block: bytes) -> None:
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"), connect(server) as ftp:
        ftp.storbinary("STOR a", io.BytesIO(b"x" * 50_000), callback=refuse)
    (server.home / "b").write_bytes(b"x" * 3_000_000)
    with pytest.raises(LookupError, match="no more"), connect(server) as ftp:
        ftp.retrbinary("RETR b", refuse)
    census = server.wait_idle()
    assert census.quits == census.sessions == 2


def test_ctrl_c_while_waiting_leaves_nothing(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib", max_per_ip=1)
    script = (
        "import _thread, threading\nfrom ftppool import ftplib\n"
        "ftplib.configure(max_per_ip=1)\n"
        "def connect():\n"
        "    ftp = ftplib.FTP()\n"
        f"    ftp.connect({server.host!r}, {server.port})\n"
        f"    ftp.login({server.user!r}, {server.password!r})\n"
        "    return ftp\n"
        "held = threading.Event()\ndone = threading.Event()\n"
        "def hold():\n"
        "    with connect():\n"
        "        held.set()\n        done.wait(20)\n"
        "thread = threading.Thread(target=hold)\nthread.start()\nheld.wait()\n"
        "threading.Timer(0.3, _thread.interrupt_main).start()\n"
        "try:\n    connect()\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
        "done.set()\nthread.join()\n"
        "connect().quit()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
    census = server.wait_idle()
    assert (census.sessions, census.quits, census.peak) == (2, 2, 1)


SMALL = """
say("begins")
with FTPPool(url, max_per_ip=2, acquire_timeout=30) as pool:
    pool.upload(b"x", "theirs")
say("done")
"""


def test_a_thread_does_not_wait_for_itself_when_others_allow_less(
    start: Start, state_directory: Path
) -> None:
    server = start("pyftpdlib", max_per_ip=3)
    ftplib.configure(max_per_ip=3)
    kept = [connect(server), connect(server)]
    with programs() as run:
        # It names a cap of two, which counts for everybody from now on.
        small = run(SMALL, server.url)
        assert small.line() == "begins"
        wait_until(lambda: any(state_directory.rglob("wanted-*")), 30)
        time.sleep(1.0)
        began = time.monotonic()
        kept.append(connect(server))
        kept[-1].voidcmd("NOOP")
        assert time.monotonic() - began < 20
        assert small.line() == "done"
        assert small.wait() == 0
    with pytest.raises(original.error_temp, match="421"):
        kept[0].voidcmd("NOOP")
    for ftp in kept:
        ftp.close()
    census = server.wait_idle()
    assert census.refusals == 0
