"""The password is in nothing that a program prints, logs, sends on or leaves on the disk."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ftppool import BatchError, FTPPool, FTPPoolError, Target, upload_batch
from tests.conftest import Start
from tests.hostile.running import ONCE, Hostile, url_of

PASSWORD = "pä$$ w/ord:with%25@everything"
QUOTED = quote(PASSWORD, safe="")
FORMS = [PASSWORD, QUOTED, quote(PASSWORD), repr(PASSWORD)[1:-1], json.dumps(PASSWORD)[1:-1]]
FORMS += [base64.b64encode(PASSWORD.encode()).decode(), ascii(PASSWORD)[1:-1]]
RAW_FORMS = {form.encode() for form in FORMS} | {PASSWORD.encode("latin-1")}


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    with Hostile() as server:
        yield server


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error with everything that hangs on it."""
    yield error
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        if other is not None:
            yield from chain(other)


def everything_said_of(error: BaseException) -> Iterator[str]:
    for link in chain(error):
        yield from (str(link), repr(link), repr(vars(link)), repr(link.args))
        yield from getattr(link, "__notes__", ())
        yield from traceback.format_exception(link)
        yield from traceback.TracebackException.from_exception(link, capture_locals=True).format()
        if isinstance(link, FTPPoolError):
            yield repr(pickle.dumps(link)) + repr(pickle.loads(pickle.dumps(link)))
    if isinstance(error, BatchError):
        yield json.dumps(error.report.to_dict()) + repr(error.report)


def fail(url: str, **options: Any) -> tuple[BaseException, list[str]]:
    """Let a batch fail; the error, and all that the pool said of itself meanwhile.

    The error's frames are the library's and this one's, which does not keep the URL.
    """
    said: list[str] = []
    files = [(b"x", "x"), (b"y", "d/y")]

    def note(event: object) -> None:
        said.extend([repr(event), *(thread.name for thread in threading.enumerate())])

    terms: dict[str, Any] = {
        "retry": ONCE,
        "io_timeout": 1.0,
        "quit_timeout": 0.5,
        "on_event": note,
    }
    pool = FTPPool(url, **terms, **options)
    said += [repr(pool), repr(Target.parse(url)), str(Target.parse(url))]
    del url
    with pool, pytest.raises(BatchError) as failed:
        pool.upload_batch(files)
    said += [repr(pool), repr(pool.stats()), repr(pool.close())]
    return failed.value, said


def check(error: BaseException, said: list[str], log: str, state: Path) -> None:
    for text in (*everything_said_of(error), *said, log):
        assert not [form for form in FORMS if form in text], text
    for path in state.rglob("*"):
        assert not [form for form in RAW_FORMS if path.is_file() and form in path.read_bytes()]
        assert not [form for form in FORMS if form in path.name]


@pytest.mark.parametrize(
    ("phase", "deed"),
    [("PASS", "echo"), ("PASS", "fin"), ("PASS", "silent"), ("USER", "echo"), ("STOR", "echo"),
     ("RNTO", "fin"), ("TYPE", "echo")],
)  # fmt: skip
def test_a_failing_batch_tells_no_password(
    hostile: Hostile,
    state_directory: Path,
    caplog: pytest.LogCaptureFixture,
    phase: str,
    deed: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    url = hostile.peer(phase, deed).replace("Tr0ub4dor-hostile", QUOTED)
    assert QUOTED in url
    error, said = fail(url)
    check(error, said, caplog.text, state_directory)


@pytest.mark.parametrize("kind", ["proftpd", "pure-ftpd", "pyftpdlib", "openssh", "asyncssh"])
def test_a_refused_login_tells_no_password(
    start: Start, kind: str, state_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = start(kind)
    error, said = fail(f"{server.scheme}://{server.user}:{QUOTED}@{server.host}:{server.port}/")
    assert isinstance(error, BatchError)
    check(error, said, caplog.text, state_directory)


def test_the_frames_of_upload_batch_tell_no_password(hostile: Hostile) -> None:
    def call(target: list[str]) -> None:
        upload_batch([(b"x", "x")], target.pop(), retry=ONCE, io_timeout=1.0, quit_timeout=0.5)

    url = [hostile.peer("PASS", "echo").replace("Tr0ub4dor-hostile", QUOTED)]
    with pytest.raises(BatchError) as failed:
        call(url)
    check(failed.value, [], "", Path("/nonexistent"))


def test_a_password_function_that_answers_badly_is_not_repeated(hostile: Hostile) -> None:
    host = hostile.peer("none", "none").rpartition("@")[2]
    pool = FTPPool(f"ftp://me@{host}", password=lambda: f"{PASSWORD}\n")
    with pool, pytest.raises(FTPPoolError) as failed:
        pool.acquire()
    check(failed.value, [], "", Path("/nonexistent"))


def test_what_is_looked_for_would_be_found() -> None:
    error = ValueError(f"PASS {PASSWORD}")
    with pytest.raises(AssertionError):
        check(error, [], "", Path("/nonexistent"))
    assert url_of({"ip": "127.0.0.1", "port": 1}).startswith("ftp://hostile:Tr0ub4dor-hostile@")
