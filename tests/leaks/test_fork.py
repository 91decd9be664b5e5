"""A forked child has no part in its parent's sessions, and says nothing on them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.leaks.scripts import run
from tests.support.servers import Server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

PARENT = """
def sockets():
    found = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if
             os.path.exists(f"/proc/self/fd/{n}") or os.path.islink(f"/proc/self/fd/{n}")]
    return sum(name.startswith("socket:") for name in found)

def attempt(call):
    try:
        call()
        say("worked")
    except ftppool.FTPPoolError as error:
        say(type(error).__name__)

def child_of(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            sys.exit(7)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

pool = FTPPool(url, max_per_ip=3, name="parents")
one, two = pool.acquire(), pool.acquire()
two.release()
"""
QUIET = (
    "-W",
    "always",
    "-W",
    "ignore::DeprecationWarning",
)  # 3.12: "is multi-threaded, use of fork"


@pytest.fixture
def server(start: Start) -> Server:
    return start("vsftpd", max_per_ip=4)


def test_the_child_has_nothing_and_the_parent_keeps_everything(server: Server) -> None:
    script = """
def work():
    say("sockets", sockets())
    attempt(lambda: pool.acquire(1))
    attempt(lambda: one.loan.voidcmd("NOOP"))
    attempt(lambda: pool.upload(b"x", "x"))
    one.release()
    say(pool.close().clean, pool.stats().open)

wait = child_of(work)
say("child", wait())
say(one.loan.voidcmd("NOOP")[:3])
one.release()
with pool.ftp() as ftp, pool.ftp() as other:
    say(ftp.voidcmd("NOOP")[:3], other.voidcmd("NOOP")[:3])
say(pool.stats().opened)
say(pool.close().quits)
"""
    ended = run(PARENT + script, server.url, options=QUIET)
    assert ended.out.splitlines() == [
        "sockets 0",
        "PoolClosed",
        "LeaseReturned",
        "PoolClosed",
        "True 0",
        "child 7",
        "200",
        "200 200",
        "2",
        "2",
    ], ended.err
    assert ended.err == ""
    census = server.wait_idle()
    assert census.quits == census.sessions == 2  # no stray one


@pytest.mark.parametrize("way", ["os.fork", "multiprocessing"])
def test_the_child_makes_a_pool_of_its_own(server: Server, way: str) -> None:
    script = """
def work():
    with FTPPool(url, max_per_ip=3, limiter="process") as mine, mine.ftp() as ftp:
        say(ftp.voidcmd("NOOP")[:3])
"""
    script += {
        "os.fork": "wait = child_of(work)\nwait()\n",
        "multiprocessing": "import multiprocessing\n"
        "child = multiprocessing.get_context('fork').Process(target=work)\n"
        "child.start()\nchild.join(20)\n",
    }[way]
    script += "say(one.loan.voidcmd('NOOP')[:3])\none.release()\npool.close()\n"
    ended = run(PARENT + script, server.url, options=QUIET)
    assert ended.out == "200\n200\n", ended.err
    assert ended.err == ""
    census = server.wait_idle()
    assert census.quits == census.sessions == 3


def test_locks_that_another_thread_holds_do_not_stop_the_child(server: Server) -> None:
    script = """
from ftppool import gate as gates
(gate,) = gates._gates.values()
for lock in (gate._lock, gates._gates_lock, gate._dispatcher._workers._lock, pool._lock):
    lock.acquire()

def work():
    signal.alarm(10)
    attempt(lambda: pool.acquire(1))
    with FTPPool(url, max_per_ip=3, limiter="process") as mine, mine.ftp() as ftp:
        say(ftp.voidcmd("NOOP")[:3])

wait = child_of(work)
say(wait())
for lock in (gate._lock, gates._gates_lock, gate._dispatcher._workers._lock, pool._lock):
    lock.release()
one.release()
pool.close()
"""
    ended = run(PARENT + script, server.url, options=QUIET)
    assert ended.out == "PoolClosed\n200\n7\n", ended.err
    assert server.wait_idle().quits == 3


def test_what_the_user_calls_in_each_child_finds_nothing_of_the_parents(server: Server) -> None:
    """It was registered before the first use of a pool, and so before most of us was imported."""
    script = """
def greet():
    say("sockets", sockets())
    with FTPPool(url, max_per_ip=3, limiter="process") as mine, mine.ftp() as ftp:
        say(ftp.voidcmd("NOOP")[:3])

os.register_at_fork(after_in_child=lambda: (signal.alarm(10), greet()))
"""
    script += PARENT + "say(child_of(lambda: None)())\none.release()\npool.close()\n"
    ended = run(script, server.url, options=QUIET)
    assert ended.out == "sockets 0\n200\n7\n", ended.err
    census = server.wait_idle()
    assert census.quits == census.sessions == 3


@pytest.mark.parametrize("module", ["ftppool.gate", "encodings.idna"])
def test_a_fork_during_the_first_use_leaves_the_child_with_whole_modules(
    server: Server, module: str
) -> None:
    script = f"slow = {module!r}\n"
    script += """
import importlib.abc
under_way = threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == slow:
            under_way.set()
            time.sleep(0.5)

def use():
    with FTPPool(url, max_per_ip=3) as pool, pool.ftp() as ftp:
        say(ftp.voidcmd("NOOP")[:3])

sys.meta_path.insert(0, Slow())
first = threading.Thread(target=use)
first.start()
under_way.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    use()
    os._exit(7)
say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
first.join()
"""
    ended = run(script, server.url, options=QUIET)
    assert sorted(ended.out.split()) == ["200", "200", "7"], ended.err
    assert server.wait_idle().quits == 2


def test_a_child_that_lives_on_does_not_keep_the_parents_connections_open(server: Server) -> None:
    script = """
ftp = one.loan
data = ftp.transfercmd("STOR file")
wait = child_of(lambda: time.sleep(6))
began = time.monotonic()
data.sendall(b"whole")
data.close()
say(ftp.voidresp()[:3])
one.release()
say(pool.close().quits)
say(time.monotonic() - began < 3)
wait()
"""
    ended = run(PARENT + script, server.url, options=QUIET)
    assert ended.out == "226\n2\nTrue\n", ended.err
    assert (server.home / "file").read_bytes() == b"whole"


def test_a_fork_during_open_and_close_harms_nobody(server: Server) -> None:
    script = """
one.discard()
stop = False

def churn():
    while not stop:
        lease = pool.acquire(20)
        lease.loan.voidcmd("NOOP")
        lease.discard()

threads = [threading.Thread(target=churn) for _ in range(3)]
for thread in threads:
    thread.start()

def work():
    say("child", sockets())

for _ in range(40):
    wait = child_of(work)
    assert wait() == 7
    time.sleep(0.02)
stop = True
for thread in threads:
    thread.join(20)
say(pool.close().clean)
"""
    ended = run(PARENT + script, server.url, options=QUIET)
    lines = ended.out.splitlines()
    assert lines[-1] == "True", ended.err
    assert ended.err == ""
    assert lines[:-1].count("child 0") >= 38, lines  # one may fall between socket() and its note
    census = server.wait_idle()
    assert census.quits == census.sessions


@pytest.mark.parametrize("end", ["sys.exit(0)", "raise ValueError"])
def test_a_child_that_leaves_a_batch_does_not_take_the_parents_journal_with_it(
    server: Server, tmp_path: Path, end: str
) -> None:
    script = f"""
journal = {str(tmp_path / "journal")!r}

def note(outcome):
    if outcome.remote == "a":
        pid = os.fork()
        if not pid:
            {end}
        os.waitpid(pid, 0)
        say(os.path.exists(journal + "-wal"))

report = ftppool.upload_batch(
    [(b"x", "a"), (b"y", "b")], url, workers=1, journal=journal, on_uploaded=note,
)
say(report.ok)
"""
    ended = run(script, server.url, options=QUIET)
    assert ended.out == "True\nTrue\n", ended.err
    assert end != "sys.exit(0)" or ended.err == ""
    assert not (tmp_path / "journal-wal").exists()  # it was the parent that closed it


def test_not_even_the_end_of_the_childs_interpreter_closes_the_parents_journal(
    tmp_path: Path,
) -> None:
    # Without a batch's threads, whose frames keep alive in the child what they had.
    script = """
from ftppool.journal import Journal
path = sys.argv[1]
journal = Journal(path, "ftp://host/")
pid = os.fork()
if not pid:
    sys.exit()
os.waitpid(pid, 0)
say(os.path.exists(path + "-wal"))
journal.close()
say(os.path.exists(path + "-wal"))
"""
    ended = run(script, str(tmp_path / "journal"), options=QUIET)
    assert ended.out == "True\nFalse\n", ended.err
    assert ended.err == ""
