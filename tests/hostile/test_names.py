"""What cannot be sent is refused in a sentence, before anything is sent."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ftppool import ConfigError, FTPConfig, FTPPool
from ftppool.target import Target
from ftppool.transfer.parts import check_part_name
from tests.hostile.running import Hostile, pool_for


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    with Hostile() as server:
        yield server


def in_session(pool: FTPPool, call: Callable[[Any], object]) -> None:
    with pool.session() as session:
        call(session)


BREAKS = ["a\rb", "a\nb", "a\r\nDELE b", "a\0b", "\ud800"]
CALLS: dict[str, Callable[[FTPPool, str], object]] = {
    "upload": lambda pool, name: pool.upload(b"x", name),
    "batch": lambda pool, name: pool.upload_batch([(b"x", "good")], remote_dir=name),
    "put": lambda pool, name: in_session(pool, lambda session: session.upload(b"x", name)),
    "mkdir": lambda pool, name: in_session(pool, lambda session: session.mkdir(name)),
    "makedirs": lambda pool, name: in_session(pool, lambda session: session.makedirs(name)),
    "rename": lambda pool, name: in_session(pool, lambda session: session.rename("a", name)),
    "rename from": lambda pool, name: in_session(pool, lambda session: session.rename(name, "a")),
    "replace": lambda pool, name: in_session(pool, lambda session: session.replace("a", name)),
    "remove": lambda pool, name: in_session(pool, lambda session: session.remove(name)),
    "rmdir": lambda pool, name: in_session(pool, lambda session: session.rmdir(name)),
    "listdir": lambda pool, name: in_session(pool, lambda session: session.listdir(name)),
    "exists": lambda pool, name: in_session(pool, lambda session: session.exists(name)),
    "size": lambda pool, name: in_session(pool, lambda session: session.size(name)),
    "chdir": lambda pool, name: in_session(pool, lambda session: session.chdir(name)),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_name_with_a_line_break_is_refused_in_a_sentence_before_anything_is_sent(
    hostile: Hostile, call: str
) -> None:
    with pool_for(hostile.peer("STOR", "fin")) as pool:
        for name in BREAKS:
            with pytest.raises(ConfigError, match=r"remove it\.|line break"):
                CALLS[call](pool, name)


def test_ftplib_calls_refuse_line_breaks_as_ftplib_does(hostile: Hostile) -> None:
    with pool_for(hostile.peer("none", "none")) as pool, pool.ftp() as ftp:
        for name in BREAKS[:4]:
            with pytest.raises(ValueError, match="illegal newline"):
                ftp.delete(name)
        assert ftp.pwd() == "/"
    assert pool.stats().opened == 1


@pytest.mark.parametrize("bad", BREAKS)
def test_user_password_and_directory_are_refused_with_a_sentence_that_hides_them(bad: str) -> None:
    for field in ("user", "password", "directory"):
        parts: dict[str, Any] = {
            "user": "u",
            "password": "p",
            "directory": "d",
            field: f"s3cr3t{bad}",
        }
        with pytest.raises(ConfigError) as refused:
            Target(scheme="ftp", host="h", port=21, **parts)
        assert "s3cr3t" not in "".join(traceback.format_exception(refused.value))
        with pytest.raises(ConfigError):
            check_part_name(f"{{name}}.{{token}}{bad}")


@pytest.mark.parametrize("part", ["user", "password"])
def test_a_login_that_the_encoding_does_not_have_is_never_begun(
    hostile: Hostile, part: str
) -> None:
    spec = hostile.peer("none", "none").rpartition("@")[2]
    login: dict[str, Any] = {"user": "me", "password": "plain"} | {part: "grün-πass"}
    with (
        FTPPool(f"ftp://{spec}", ftp=FTPConfig(encoding="latin-1"), **login) as pool,
        pytest.raises(ConfigError, match="cannot be written in latin-1") as refused,
    ):
        pool.acquire()
    assert "πass" not in "".join(traceback.format_exception(refused.value))


def test_a_name_that_the_encoding_does_not_have_is_refused_and_harms_nobody(
    hostile: Hostile,
) -> None:
    with pool_for(hostile.peer("none", "none"), ftp=FTPConfig(encoding="latin-1")) as pool:
        with (
            pytest.raises(ConfigError, match="cannot be written in latin-1"),
            pool.session() as one,
        ):
            one.mkdir("π")
        with pool.ftp() as ftp:
            with pytest.raises(UnicodeEncodeError):
                ftp.delete("π")
            assert ftp.pwd() == "/"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-7", "cp037", "punycode", "rot13", "nonsense"])
def test_an_encoding_in_which_commands_cannot_be_written_is_refused(encoding: str) -> None:
    with pytest.raises(ConfigError, match="encoding"):
        FTPConfig(encoding=encoding)
