"""The state directory: private, or not used, with one warning."""

from __future__ import annotations

import logging
import os
import pwd
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftppool.limits import state
from ftppool.limits.base import Denied
from ftppool.limits.machine import MachineLimiter

ADDRESS = "192.0.2.1:21"
USER = "user"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process that has chosen nothing and warned of nothing yet."""
    monkeypatch.setattr(state, "_chosen", {})
    monkeypatch.setattr(state, "_warned", [])


@pytest.fixture
def fallback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the directory below /tmp be elsewhere: the real one may be in use."""
    folder = tmp_path / "fallback"
    real = state.open_private

    def elsewhere(name: str, *, within: int | None = None) -> int:
        if name == f"/tmp/ftppool-{os.geteuid()}":
            name = str(folder)
        return real(name, within=within)

    monkeypatch.setattr(state, "open_private", elsewhere)
    return folder


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home in the password database."""
    folder = tmp_path / "home"
    folder.mkdir()
    entry: Any = pwd.struct_passwd(("me", "x", os.geteuid(), os.getegid(), "", str(folder), ""))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: entry)
    monkeypatch.delenv("FTPPOOL_STATE_DIR")
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "xdg"))
    yield folder
    assert not (tmp_path / "xdg").exists()


def take_and_release() -> None:
    permit = MachineLimiter().take(ADDRESS, 1, USER)
    assert not isinstance(permit, Denied)
    permit.release()
    permit.release()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_it_is_below_the_home_of_the_password_database(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take_and_release()
    (machine,) = (home / ".local/state/ftppool").iterdir()
    (address,) = machine.iterdir()
    assert address.name == "192.0.2.1_21"
    for folder in (machine.parent, machine, address):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in address.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert warnings(caplog) == []


def damage_symlink(folder: Path) -> None:
    folder.rmdir()
    (folder.parent / "real").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "real")


def damage_mode(folder: Path) -> None:
    folder.chmod(0o755)


def damage_kind(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("a file")


DAMAGE = [
    (damage_symlink, "is a symlink"),
    (damage_mode, "has mode 755 instead of 700"),
    (damage_kind, "Not a directory"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=[words for _, words in DAMAGE])
def test_a_directory_that_is_not_private_is_refused_with_one_warning(
    damage: Any, words: str, fallback: Path, state_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(state_directory)
    for _ in range(3):
        take_and_release()
    (warning,) = warnings(caplog)
    assert words in warning
    assert "is used instead" in warning
    assert [path.name for path in fallback.iterdir()] == ["192.0.2.1_21"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_owner_is_refused(
    fallback: Path, state_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.chown(state_directory, 12345, 12345)
    take_and_release()
    (warning,) = warnings(caplog)
    assert "belongs to user 12345" in warning
    assert fallback.exists()


def test_a_relative_directory_is_refused(
    fallback: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FTPPOOL_STATE_DIR", "here")
    take_and_release()
    assert "is not an absolute path" in warnings(caplog)[0]


def test_a_network_file_system_is_refused(
    fallback: Path,
    monkeypatch: pytest.MonkeyPatch,
    state_directory: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    device = state_directory.stat().st_dev
    line = f"9 1 {os.major(device)}:{os.minor(device)} / /home rw - nfs4 server:/home rw"
    monkeypatch.setattr(state, "_mounts", lambda: iter([line.split()]))
    monkeypatch.setattr(state, "_kinds", {})
    take_and_release()
    assert "is on a network file system (nfs4)" in warnings(caplog)[0]


def test_a_home_that_does_not_exist_is_not_made(
    home: Path, fallback: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.rmdir()
    take_and_release()
    assert not home.exists()
    assert "does not exist" in warnings(caplog)[0]
    assert fallback.exists()


def test_without_any_place_the_cap_is_the_processes_own(
    fallback: Path, state_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage_mode(state_directory)
    damage_kind_of = fallback
    damage_kind_of.write_text("a file")
    limiter = MachineLimiter()
    permit = limiter.take(ADDRESS, 1, USER)
    assert not isinstance(permit, Denied)
    assert limiter.take(ADDRESS, 1, USER) is Denied.FULL
    (warning,) = warnings(caplog)
    assert "holds within this process only" in warning
    assert limiter.pressure(ADDRESS, 1) is None
    assert limiter.elsewhere(ADDRESS) == ""
    assert limiter.teach(ADDRESS, lambda known: known.refused(1, "421", 1.0)).of_all is not None
    assert limiter.lessons(ADDRESS).of_all is not None
    limiter.forgo(ADDRESS)
    permit.release()
    again = limiter.take(ADDRESS, 1, USER)
    assert not isinstance(again, Denied)
    again.release()


def test_a_symlink_in_place_of_a_slot_is_not_followed(
    state_directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take_and_release()
    slot = state_directory / "192.0.2.1_21" / "slot-000"
    slot.unlink()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    slot.symlink_to(victim)
    take_and_release()
    assert victim.read_text() == "precious"
    assert "cannot be counted" in warnings(caplog)[0]


def put_hard_link(slot: Path, victim: Path) -> None:
    os.link(victim, slot)


def put_fifo(slot: Path, victim: Path) -> None:
    os.mkfifo(slot, 0o600)


def put_folder(slot: Path, victim: Path) -> None:
    slot.mkdir()


@pytest.mark.parametrize("put", [put_hard_link, put_fifo, put_folder])
@pytest.mark.parametrize("name", ["slot-000", "mutex", "wanted-1-1"])
def test_what_is_no_file_of_ours_alone_is_neither_written_nor_waited_for(
    put: Any, name: str, state_directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take_and_release()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    planted = state_directory / "192.0.2.1_21" / name
    planted.unlink(missing_ok=True)
    put(planted, victim)
    take_and_release()
    assert MachineLimiter().records(ADDRESS) == []
    assert victim.read_text() == "precious"
    assert "cannot be counted" in warnings(caplog)[0]


@pytest.mark.parametrize("put", [put_hard_link, put_fifo, put_folder])
@pytest.mark.parametrize("name", ["lessons.json", "lessons.json.new"])
def test_lessons_are_written_to_a_file_of_their_own(
    put: Any, name: str, state_directory: Path, tmp_path: Path
) -> None:
    take_and_release()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    put(state_directory / "192.0.2.1_21" / name, victim)
    limiter = MachineLimiter()
    limiter.teach(ADDRESS, lambda known: known.refused(1, "421 too many", time.time()))
    lesson = limiter.lessons(ADDRESS).of_all
    assert lesson is not None  # in the file, or where that is not to be had, in this process
    assert lesson.limit == 1
    assert victim.read_text() == "precious"


def test_a_file_of_another_user_is_not_used(
    state_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    take_and_release()
    os.chown(state_directory / "192.0.2.1_21" / "slot-000", 12345, 12345)
    take_and_release()
    assert "slot-000 is not a private file" in warnings(caplog)[0]


def test_a_directory_that_becomes_a_symlink_while_it_is_used_is_not_followed(
    fallback: Path, state_directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = MachineLimiter()
    held = limiter.take(ADDRESS, 1, USER)
    assert not isinstance(held, Denied)
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    state_directory.rename(state_directory.with_name("moved"))
    state_directory.symlink_to(victim)
    take_and_release()
    held.release()
    assert list(victim.iterdir()) == []
    assert "is a symlink" in warnings(caplog)[0]


def test_an_address_folder_that_becomes_a_symlink_is_not_followed(
    state_directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take_and_release()
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    folder = state_directory / "192.0.2.1_21"
    folder.rename(tmp_path / "moved")
    folder.symlink_to(victim)
    take_and_release()
    assert list(victim.iterdir()) == []
    assert "is a symlink" in warnings(caplog)[0]


def test_below_a_parent_that_all_may_write_only_a_private_directory_is_used(
    fallback: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("FTPPOOL_STATE_DIR", str(shared / "mine"))
    take_and_release()
    assert stat.S_IMODE((shared / "mine").stat().st_mode) == 0o700
    monkeypatch.setenv("FTPPOOL_STATE_DIR", str(shared))
    take_and_release()
    assert [path.name for path in shared.iterdir()] == ["mine"]
    assert "has mode 777 instead of 700" in warnings(caplog)[0]
