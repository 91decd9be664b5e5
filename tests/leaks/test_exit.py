"""The ends of a program: each one says QUIT on every session, in time, and warns once for each."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.leaks.scripts import run, start as start_script
from tests.support.relay import Relay
from tests.support.servers import Server

EVERYTHING_OPEN = """
pools = [FTPPool(url, max_per_ip=4, name=name) for name in ("one", "two")]

def hold(pool, ready):
    lease = pool.acquire()
    lease.loan.voidcmd("NOOP")
    ready.set()
    time.sleep(60)

with pools[0].ftp():
    pass
for pool in pools:
    ready = threading.Event()
    threading.Thread(target=hold, args=(pool, ready), daemon=True).start()
    assert ready.wait(10)
lease = pools[1].acquire()
say("ready")
"""
STARTS_THREADS_TO_THE_END = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3),
    reason="this Python starts no thread once the main one has ended (cpython#113964)",
)
ENDS = {
    "the end of the file": "",
    "sys.exit": "sys.exit(3)",
    "an exception": "raise ValueError('of the script')",
    "Ctrl-C": "signal.raise_signal(signal.SIGINT)",
    "SIGTERM": "ftppool.exit_on_sigterm(); signal.raise_signal(signal.SIGTERM)",
}
CODES = {"sys.exit": 3, "an exception": 1, "Ctrl-C": -signal.SIGINT, "SIGTERM": 143}


@pytest.mark.parametrize("end", ENDS)
def test_a_script_that_closes_nothing_says_quit_on_all_sessions(start: Start, end: str) -> None:
    server = start("pyftpdlib", max_per_ip=4)
    ended = run(EVERYTHING_OPEN + ENDS[end], server.url)
    assert ended.out == "ready\n"
    assert ended.code == CODES.get(end, 0)
    census = server.wait_idle()
    assert census.quits == census.sessions == 3
    # Two pools, and three leases that nobody gave back.
    assert (len(ended.logged), ended.leaks) == (5, 5)
    assert "in hold" in ended.err
    assert ended.seconds < 10


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pure-ftpd"])
def test_every_server_gets_its_quits(start: Start, kind: str) -> None:
    server = start(kind, max_per_ip=4)
    run(EVERYTHING_OPEN, server.url)
    census = server.wait_idle()
    assert census.quits == census.sessions == 3


def test_warnings_may_be_errors(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=4)
    ended = run(EVERYTHING_OPEN, server.url, options=("-W", "error"))
    census = server.wait_idle()
    assert census.quits == census.sessions == 3
    assert ended.code == 0
    assert ended.leaks == 5  # as exceptions of threads, which harm nobody
    assert len(ended.logged) == 5


def test_a_closed_pool_says_nothing(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=4)
    ended = run(
        "with FTPPool(url) as pool, pool.ftp() as ftp: ftp.voidcmd('NOOP')",
        server.url,
        options=("-W", "error"),
    )
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert server.wait_idle().quits == 1


@STARTS_THREADS_TO_THE_END
def test_threads_that_are_no_daemons_finish_first(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=4)
    script = """
    pool = FTPPool(url, max_per_ip=1)
    def work():
        time.sleep(0.5)
        with pool.ftp() as ftp:
            say(ftp.voidcmd("NOOP")[:3])
    for _ in range(3):
        threading.Thread(target=work).start()
    """
    ended = run("if True:\n" + script, server.url)
    assert ended.out == "200\n" * 3
    assert ended.leaks == 1
    census = server.wait_idle()
    assert census.quits == census.sessions


@pytest.mark.parametrize("used", [pytest.param("never", marks=STARTS_THREADS_TO_THE_END), "before"])
def test_an_exit_handler_may_use_a_pool_that_it_was_registered_after(
    start: Start, used: str
) -> None:
    """Ours comes after it, although the code that ends sessions is imported at the first use."""
    server = start("pyftpdlib", max_per_ip=4)
    script = """
import atexit
pool = FTPPool(url)

def say_noop():
    with pool.ftp() as ftp:
        say(ftp.voidcmd("NOOP")[:3])

atexit.register(say_noop)
"""
    script += {"never": "", "before": "say_noop()\n"}[used]
    ended = run(script, server.url)
    assert ended.out == {"never": "200\n", "before": "200\n200\n"}[used], ended.err
    assert ended.leaks == 1
    census = server.wait_idle()
    assert census.quits == census.sessions == 1


def test_a_log_file_has_what_is_logged_at_the_exit(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib", max_per_ip=4)
    script = """
logging.basicConfig(filename=sys.argv[2], filemode="w", force=True)
pool = FTPPool(url, name="forgotten")
pool.acquire().release()
"""
    assert run(script, server.url, str(tmp_path / "log")).code == 0
    assert "the pool forgotten was not closed" in (tmp_path / "log").read_text()


def test_an_upload_that_exit_breaks_off_never_looks_whole(start: Start) -> None:
    server = start("vsftpd")
    script = """
    under_way = threading.Event()
    class Endless:
        def read(self, size=-1):
            under_way.set()
            time.sleep(0.001)
            return b"x" * 1000
    pool = FTPPool(url)
    def work():
        with pool.ftp() as ftp:
            ftp.storbinary("STOR endless", Endless())
    threading.Thread(target=work, daemon=True).start()
    assert under_way.wait(10)
    """
    ended = run("if True:\n" + script, server.url)
    assert ended.seconds < 5
    assert server.wait_idle().quits == 1
    log = "".join(path.read_text() for path in server.home.parent.glob("vsftpd-*/*.log"))
    assert "OK UPLOAD" not in log


def test_ten_sessions_of_a_dead_peer_do_not_hold_up_the_exit(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib")
    with Relay(server.port, workdir=tmp_path) as relay:
        url = server.url.replace(str(server.port), str(relay.port))
        script = """
        pools = [FTPPool(url, max_per_ip=10, close_timeout=1.0, quit_timeout=5.0) for _ in range(2)]
        leases = [pool.acquire() for pool in pools for _ in range(5)]
        say("ready")
        sys.stdout.close()
        time.sleep(1)
        began = time.monotonic()
        import atexit
        os.environ["BEGAN"] = str(began)
        """
        process = start_script("if True:\n" + script, url)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        relay.set(black_hole=True)
        time.sleep(1)
        began = time.monotonic()
        process.wait(20)
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        assert time.monotonic() - began < 3.5


def test_a_lock_that_was_left_behind_does_not_hold_up_the_exit(start: Start) -> None:
    server = start("pyftpdlib")
    script = """
    from ftppool import gate
    pool = FTPPool(url)
    lease = pool.acquire()
    (one,) = gate._gates.values()
    one._lock.acquire()
    """
    ended = run("if True:\n" + script, server.url)
    assert ended.code == 0
    assert ended.seconds < 5
    assert server.wait_idle().held == 0


def test_no_thread_is_started_at_the_exit(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=4)
    script = """
    import atexit
    def forbid():
        def start(self):
            os.write(1, b"a thread was started")
            os._exit(9)
        threading.Thread.start = start
    pool = FTPPool(url, max_per_ip=3)
    leases = [pool.acquire() for _ in range(3)]
    leases[0].release()
    time.sleep(0.2)
    atexit.register(forbid)
    """
    ended = run("if True:\n" + script, server.url)
    assert (ended.code, ended.out) == (0, "")
    assert server.wait_idle().quits == 3


@pytest.fixture
def server(start: Start) -> Server:
    return start("pyftpdlib", max_per_ip=4)


TERMINATED = """
ftppool.exit_on_sigterm()
ftppool.exit_on_sigterm()
pool = FTPPool(url)
try:
    with pool.ftp() as ftp:
        say("ready")
        time.sleep(30)
finally:
    pool.close()
    say("closed")
"""


def test_sigterm_leaves_with_blocks_and_exits_with_143(server: Server) -> None:
    process = start_script(TERMINATED, server.url)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(3):  # timeout(1) sends two
        process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (143, "closed\n", "")
    assert server.wait_idle().quits == 1


def test_a_handler_that_was_there_before_is_called_first() -> None:
    script = """
    signal.signal(signal.SIGTERM, lambda number, frame: say("before", number))
    ftppool.exit_on_sigterm()
    signal.raise_signal(signal.SIGTERM)
    """
    ended = run("if True:\n" + script)
    assert (ended.code, ended.out) == (143, "before 15\n")


def test_exit_on_sigterm_belongs_into_the_main_thread() -> None:
    script = """
    def work():
        try:
            ftppool.exit_on_sigterm()
        except ftppool.ConfigError as error:
            say(error)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    """
    ended = run("if True:\n" + script)
    sentence, untouched = ended.out.splitlines()
    assert "main thread" in sentence
    assert untouched == "True"


WORKER_PROCESS = """
import multiprocessing
context = multiprocessing.get_context(sys.argv[2])

def work(url):
    global pool
    pool = FTPPool(url)
    with pool.ftp() as ftp:
        say(ftp.voidcmd("NOOP")[:3])

if __name__ == "__main__":
    process = context.Process(target=work, args=(url,))
    process.start()
    process.join(20)
    say(process.exitcode)
"""


def test_a_worker_process_that_closes_nothing_says_quit_too(server: Server) -> None:
    ended = run(WORKER_PROCESS, server.url, "fork")
    assert ended.out == "200\n0\n", ended.err
    assert server.wait_idle().quits == 1
