"""Runs cases against the hostile server, many at a time, and judges each."""

from __future__ import annotations

import ftplib
import gc
import io
import logging
import pickle
import queue
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ftppool import FTPPool, FTPPoolError, RetryPolicy, gate
from tests.support.leaks import no_leaks
from tests.support.processes import Child

PASSWORD = "Tr0ub4dor-hostile"
ACQUIRE, CONNECT, IO, QUIT, CLOSE = 1.0, 0.25, 0.25, 0.15, 1.0
"""The limits of all pools here, in seconds."""
SLACK = 1.5
"""Seconds that a busy machine may add to any limit."""
ATTEMPTS = 2
ONCE = RetryPolicy(attempts=1, first_wait=0.01, max_wait=0.05, busy_total=0.5)
AT_A_TIME = 48
ALONE = 3
"""Times that a case which was late in the crowd is run alone, at most."""
CHUNK = 240

SESSION_CALLS: dict[str, Callable[[Any], object]] = {
    "list": lambda session: session.listdir("d"),
    "getcwd": lambda session: session.getcwd(),
    "exists": lambda session: session.exists("x"),
    "chdir": lambda session: (session.chdir("d"), session.size("x")),
    "size": lambda session: session.size("x"),
    "rename": lambda session: session.rename("x", "y"),
    "replace": lambda session: session.replace("x", "y"),
    "makedirs": lambda session: session.makedirs("a/b"),
    "mkdir": lambda session: session.mkdir("a"),
    "remove": lambda session: session.remove("x"),
    "rmdir": lambda session: session.rmdir("x"),
    "put": lambda session: session.upload(b"x" * 5000, "x"),
}
RAW_CALLS: dict[str, Callable[[ftplib.FTP], object]] = {
    "raw_pwd": lambda ftp: ftp.pwd(),
    "raw_cwd": lambda ftp: ftp.cwd("d"),
    "raw_size": lambda ftp: ftp.size("x"),
    "raw_nlst": lambda ftp: ftp.nlst(),
    "raw_dir": lambda ftp: ftp.dir(lambda _line: None),
    "raw_mlsd": lambda ftp: list(ftp.mlsd("d")),
    "raw_stor": lambda ftp: ftp.storbinary("STOR x", io.BytesIO(b"x" * 5000)),
    "raw_retr": lambda ftp: ftp.retrbinary("RETR x", lambda _block: None),
    "raw_mkd": lambda ftp: ftp.mkd("d"),
    "raw_feat": lambda ftp: ftp.sendcmd("FEAT"),
    "raw_quit": lambda ftp: ftp.quit(),
}


@dataclass(slots=True)
class Verdict:
    """What one case came to."""

    number: int
    spec: dict[str, Any]
    ended: str = ""
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = "/".join(self.spec[name] for name in ("phase", "deed", "action"))
        return f"case {self.number} ({what}): {'; '.join(self.wrong + self.late)}"


class Hostile:
    """A running hostile server; a context manager that stops it."""

    def __init__(self, seed: int | str = 1) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hostile-")
        self._child = Child("hostile.py", [str(seed)], log=Path(self._folder.name) / "log")
        self._child.ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()
        self._folder.cleanup()

    def cases(self, first: int, count: int) -> list[dict[str, Any]]:
        """Listen for these cases; where, and what each does."""
        found: list[dict[str, Any]] = self._child.ask(do="cases", first=first, count=count)["cases"]
        return found

    def peer(self, phase: str, deed: str, times: int = 1000) -> str:
        """Listen as a peer that does one thing; its URL."""
        spec = self._child.ask(do="peer", phase=phase, deed=deed, times=times)
        return url_of(spec)

    def held(self) -> int:
        """Control connections that we have not closed."""
        return int(self._child.ask(do="held")["held"])

    def wait_idle(self, patience: float = 3.0) -> int:
        """Wait until all connections are closed; how many are not."""
        deadline = time.monotonic() + patience
        while (held := self.held()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return held


def url_of(spec: dict[str, Any]) -> str:
    """Where a case listens."""
    return f"ftp://hostile:{PASSWORD}@{spec['ip']}:{spec['port']}/"


def pool_for(url: str, **options: Any) -> FTPPool:
    """A pool with the limits of this module."""
    terms: dict[str, Any] = {
        "max_per_ip": 1,
        "limiter": "process",
        "acquire_timeout": ACQUIRE,
        "connect_timeout": CONNECT,
        "io_timeout": IO,
        "quit_timeout": QUIT,
        "close_timeout": CLOSE,
        "check_after_idle": 0.0,
        "retry": RetryPolicy(attempts=ATTEMPTS, first_wait=0.01, max_wait=0.05, busy_total=0.5),
    }
    return FTPPool(url, **(terms | options))


def run_case(number: int, spec: dict[str, Any]) -> Verdict:
    """Do what the case says with a pool of its own, and close it."""
    verdict = Verdict(number, spec)
    pool = pool_for(url_of(spec))
    action = spec["action"]
    # Steps of one attempt, each with a limit of its own; an upload has the most.
    attempt = ACQUIRE + 14 * IO + 4 * QUIT
    limit = (ATTEMPTS + 1) * attempt if action in ("upload", "batch") else 2 * attempt
    started = time.monotonic()
    try:
        _act(pool, action)
        verdict.ended = "done"
    except FTPPoolError as error:
        verdict.ended = type(error).__name__
        verdict.wrong += check_error(error)
    except ftplib.all_errors as error:
        verdict.ended = f"raw {type(error).__name__}"
        if not action.startswith(("raw_", "twice")):
            verdict.wrong.append(f"not our error: {error!r}")
        verdict.wrong += check_error(error)
    except BaseException as error:
        verdict.ended = type(error).__name__
        verdict.wrong.append("".join(traceback.format_exception(error)))
    _within(verdict, action, time.monotonic() - started, limit)
    started = time.monotonic()
    report = pool.close()
    _within(verdict, "close", time.monotonic() - started, CLOSE)
    stats = pool.stats()
    if report.still_running or stats.open or stats.opening or stats.leased:
        # At its limit close() leaves what could not end in time, as where 48 share a processor.
        verdict.late.append(f"close() left {report} {stats}")
    return verdict


def _within(verdict: Verdict, what: str, took: float, limit: float) -> None:
    if took > limit + SLACK:
        verdict.late.append(f"{what} took {took:.2f} s instead of {limit:.2f}")


def _act(pool: FTPPool, action: str) -> None:
    if action == "upload":
        pool.upload(b"x" * 5000, "dir/file")
    elif action == "batch":
        pool.upload_batch([(b"x" * size, f"d/{size}") for size in (1, 3000, 70_000)])
    elif action == "acquire":
        pool.acquire().release()
    elif action == "twice":
        for _ in range(2):
            with pool.ftp() as ftp:
                ftp.voidcmd("NOOP")
    elif action in SESSION_CALLS:
        with pool.session() as session:
            SESSION_CALLS[action](session)
    else:
        with pool.ftp() as ftp:
            RAW_CALLS[action](ftp)


def check_error(error: BaseException) -> list[str]:
    """Look for what no error may hold: control characters, the password, what does not pickle."""
    wrong = []
    text = "".join(traceback.format_exception(error))
    shown = text + repr(error) + str(vars(error))
    bad = {char for char in text if not char.isprintable() and char != "\n"}
    if bad:
        wrong.append(f"control characters {bad} in {text!r}")
    if PASSWORD in shown:
        wrong.append(f"the password is in {shown!r}")
    if isinstance(error, FTPPoolError):
        again = pickle.loads(pickle.dumps(error))
        if str(again) != str(error) or again.code != error.code:
            wrong.append(f"pickled it becomes {again!r}")
    return wrong


class _Collector(logging.Handler):
    """Collects what is logged as an error."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        if (
            getattr(record, "ftppool_event", None) is None
        ):  # an event's is an outcome as it should be
            self._found.append(f"logged: {record.getMessage()}")


@contextmanager
def nothing_uncaught() -> Iterator[list[str]]:
    """Collect what would otherwise only be printed: dead threads, lost sockets, logged bugs."""
    found: list[str] = []
    log, hooks = logging.getLogger("ftppool"), (threading.excepthook, sys.unraisablehook)
    handler = _Collector(found)
    threading.excepthook = lambda args: found.append(f"thread died: {args.exc_value!r}")
    sys.unraisablehook = lambda args: found.append(f"unraisable: {args.exc_value!r}")
    log.addHandler(handler)
    try:
        yield found
    finally:
        gc.collect()
        log.removeHandler(handler)
        threading.excepthook, sys.unraisablehook = hooks


def run(
    seed: int, cases: int, *, first: int = 0, seconds: float = float("inf")
) -> Iterator[Verdict]:
    """Run cases in chunks until time is up; yield what each came to.

    After each chunk everything must be gone: threads, descriptors, connections. What only took too
    long is run again alone, since the other cases, or other programs, may have had the processors:
    what cannot be done in time fails each time.
    """
    deadline = time.monotonic() + seconds
    with Hostile(seed) as server:
        for start in range(first, first + cases, CHUNK):
            if time.monotonic() > deadline:
                return
            count = min(CHUNK, first + cases - start)
            with nothing_uncaught() as uncaught, no_leaks(grace=5.0):
                verdicts = _run_chunk(start, server.cases(start, count))
            held = server.wait_idle()
            if uncaught or held:
                verdicts[0].wrong += [*uncaught, f"{held} connections are held after the chunk"]
            for verdict in verdicts:
                yield _again(seed, verdict) if verdict.late and not verdict.wrong else verdict
            gate._gates.clear()


def _again(seed: int, verdict: Verdict) -> Verdict:
    for _ in range(ALONE):
        gate._gates.clear()  # no lesson of the time before
        with Hostile(seed) as server, no_leaks(grace=5.0):
            (spec,) = server.cases(verdict.number, 1)
            verdict = run_case(verdict.number, spec)
            if server.wait_idle():
                verdict.wrong.append("connections are held after the case")
        if verdict.wrong or not verdict.late:
            break
    return verdict


def _run_chunk(first: int, specs: list[dict[str, Any]]) -> list[Verdict]:
    todo: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
    for number, spec in enumerate(specs, first):
        todo.put((number, spec))
    done: list[Verdict] = []

    def work() -> None:
        while True:
            try:
                number, spec = todo.get_nowait()
            except queue.Empty:
                return
            done.append(run_case(number, spec))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(AT_A_TIME)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if len(done) < len(specs):
        missing = set(range(first, first + len(specs))) - {verdict.number for verdict in done}
        raise AssertionError(f"these cases hang: {sorted(missing)}")
    return sorted(done, key=lambda verdict: verdict.number)


def summary(counts: Counter[str]) -> str:
    """How the cases ended, most frequent first."""
    return "\n".join(f"{count:7,}  {ended}" for ended, count in counts.most_common())
