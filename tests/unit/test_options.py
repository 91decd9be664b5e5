"""Bad input gets one sentence that says what to write."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

import ftppool
from ftppool import BatchError, ConfigError, ConnectError, FTPPool, RetryPolicy, Target

URL = "ftp://127.0.0.1:1"

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: FTPPool(URL, max_per_ip=0), "max_per_ip=0"),
    (lambda: FTPPool(URL, max_per_ip=True), "max_per_ip=True"),
    # The type checker: wrong on purpose.
    (lambda: FTPPool(URL, max_per_ip="3"), "max_per_ip='3'"),  # type: ignore[arg-type]
    (lambda: FTPPool(URL, io_timeout=0), "io_timeout=0"),
    (lambda: FTPPool(URL, io_timeout=float("nan")), "io_timeout=nan"),
    # The type checker: wrong on purpose.
    (lambda: FTPPool(URL, connect_timeout=None), "connect_timeout=None"),  # type: ignore[arg-type]
    (lambda: FTPPool(URL, close_timeout=float("inf")), "close_timeout=inf"),
    (lambda: FTPPool(URL, max_idle=-1), "max_idle=-1"),
    (lambda: FTPPool(URL, limiter="redis://x"), "limiter='redis://x'"),
    (lambda: FTPPool("gopher://x"), "ftp://"),
    (lambda: FTPPool(None), "target=None"),  # type: ignore[arg-type]  # wrong on purpose
    (lambda: FTPPool("sftp://u@h", tls=ftppool.TLSConfig()), "tls= has no use with sftp://"),
    (lambda: FTPPool(Target.parse(URL), user="x"), "Target"),
    (lambda: RetryPolicy(attempts=0), "attempts=0"),
    (lambda: RetryPolicy(max_wait=-1), "max_wait=-1"),
    (lambda: RetryPolicy(patterns=("(",)), "regular expression"),
    # The type checker: wrong on purpose.
    (lambda: ftppool.upload_batch([b""], URL), "files[0]"),  # type: ignore[list-item]
    (lambda: ftppool.upload_batch("one.txt", URL), "list"),
    # The type checker: wrong on purpose.
    (
        lambda: ftppool.upload_batch([], URL, max_connections=3),  # type: ignore[call-arg]
        "did you mean 'max_per_ip'?",
    ),
    # The type checker: wrong on purpose.
    (lambda: ftppool.upload_batch(["x"], URL, max_per_host=3), "'max_per_ip'"),  # type: ignore[call-arg]
    (lambda: ftppool.upload_batch(["x"], URL, workers=0), "workers=0"),
    (lambda: ftppool.upload_batch(["x"], URL, part_name="{name}"), "holds {name} and {token}"),
    (lambda: ftppool.upload_batch(["x"], URL, part_name="{name}{token}{0}"), "part_name="),
    (lambda: ftppool.upload_batch(["x"], URL, part_name="{name}/{token}"), "without '/'"),
    # The type checker: wrong on purpose.
    (lambda: ftppool.upload_batch(["x"], URL, verify="md5"), "verify='md5'"),  # type: ignore[arg-type]
    # The type checker: wrong on purpose.
    (lambda: ftppool.upload_batch(["x"], URL, on_conflict="ask"), "on_conflict='ask'"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_argument_is_named_with_what_to_write(
    call: Callable[[], object], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    sentence = str(caught.value)
    assert words in sentence
    assert "\n" not in sentence
    assert len(sentence) < 250


@pytest.mark.parametrize(
    "url",
    [
        "ftp://bob:to/p-s3cret@h/x",
        "ftp://bob:to#p-s3cret@h",
        "ftp://bob:to?p-s3cret@h",
        "ftp://b:to@p/s3cret@h",
    ],
)
def test_a_password_that_breaks_the_url_is_explained_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"%|password=") as caught:
        FTPPool(url)
    assert "s3cret" not in str(caught.value)


def test_an_at_sign_or_colon_in_the_password_is_understood() -> None:
    assert Target.parse("ftp://bob:a@b:c@host/x").secret() == "a@b:c"


def test_no_files_is_no_error_but_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ftppool"):
        report = ftppool.upload_batch([], URL)
    assert report.ok
    assert report.outcomes == ()
    assert "no files" in caplog.text


def test_an_unresolvable_host_names_the_host() -> None:
    with pytest.raises(BatchError) as caught:
        ftppool.upload_batch([(b"x", "f")], "ftp://no-such-host.invalid")
    (error,) = caught.value.exceptions
    assert isinstance(error, ConnectError)
    assert "'no-such-host.invalid' cannot be resolved" in str(error)
    assert len(caught.value.report.not_attempted) == 1


def test_nothing_connects_in_the_constructor() -> None:
    pool = FTPPool("ftp://no-such-host.invalid")
    assert pool.stats().open == 0
    assert pool.close().clean


def test_no_password_in_any_repr() -> None:
    pool = FTPPool("ftp://bob:s3cret@host", name="p")
    assert "s3cret" not in repr(pool)
    assert "s3cret" not in repr(Target.parse("ftp://bob:s3cret@host"))
    pool.close()
