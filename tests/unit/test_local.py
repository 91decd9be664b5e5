"""Where a download may write, and what becomes of its part."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from ftppool import TransferError
from ftppool.transfer import local
from ftppool.transfer.local import Part, check_names, file_mode, make_directories, same_name


@pytest.mark.parametrize(
    "path", ["..", "../x", "a/../b", "a/..", "/x", "a//b", "", ".", "a/.", "a/", "nul\0"]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(TransferError, match="is not written"):
        check_names(path)


@pytest.mark.parametrize("path", ["a", "a/b", "..a", "...", "a..", " a ", "C:x", "back\\slash"])
def test_odd_names_are_fine_where_the_system_takes_them(path: str) -> None:
    assert check_names(path, windows=False) == path


@pytest.mark.parametrize(
    "path",
    ["C:x", "C:\\x", "..\\x", "a/b\\c", "con", "NUL.txt", "com1", "LPT¹.x", "a.", "a ", "a?",
     "a*", 'a"', "a<b", "x|y", "tab\t", "d/aux", "CON .txt"],
)  # fmt: skip
def test_names_that_windows_reads_otherwise_are_refused_there(path: str) -> None:
    with pytest.raises(TransferError, match="Windows"):
        check_names(path, windows=True)
    assert check_names("console/common.txt", windows=True)


def test_directories_are_made_but_no_link_is_followed(tmp_path: Path) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside"
    outside.mkdir()
    assert make_directories(str(top), "a/b") == str(top / "a" / "b")
    assert make_directories(str(top), "a/b") == str(top / "a" / "b")
    (top / "link").symlink_to(outside)
    (top / "file").touch()
    with pytest.raises(TransferError, match="symbolic link"):
        make_directories(str(top), "link/x")
    with pytest.raises(TransferError, match="no directory"):
        make_directories(str(top), "file/x")
    assert list(outside.iterdir()) == []


def test_a_part_is_private_until_it_takes_its_name(tmp_path: Path) -> None:
    part = Part(str(tmp_path), "d/f")
    part.begin(0)
    part.write(memoryview(b"12345"))
    part.end(fsync=True)
    (found,) = (tmp_path / "d").iterdir()
    assert stat.S_IMODE(found.stat().st_mode) == 0o600
    part.begin(3)
    part.write(memoryview(b"xy"))
    part.end()
    part.take_name(0o640, 1_000_000_000.0, fsync=True)
    (done,) = (tmp_path / "d").iterdir()
    assert done.name == "f"
    assert done.read_bytes() == b"123xy"
    assert stat.S_IMODE(done.stat().st_mode) == 0o640
    assert done.stat().st_mtime == 1_000_000_000
    assert part.discard() is None
    assert done.exists()


def test_a_part_that_is_discarded_is_gone(tmp_path: Path) -> None:
    part = Part(str(tmp_path), "f")
    part.begin(0)
    assert part.discard() is None
    assert list(tmp_path.iterdir()) == []


def test_a_link_under_the_final_name_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep")
    (tmp_path / "f").symlink_to("precious")
    part = Part(str(tmp_path), "f")
    part.begin(0)
    part.end()
    part.take_name(0o600, None, fsync=False)
    assert (tmp_path / "precious").read_text() == "keep"
    assert not (tmp_path / "f").is_symlink()


def test_a_directory_under_the_final_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    part = Part(str(tmp_path), "f")
    part.begin(0)
    part.end()
    with pytest.raises(TransferError, match="cannot be written"):
        part.take_name(0o600, None, fsync=False)
    part.discard()


def test_a_full_disk_stops_the_batch() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    part = Part("/dev", "full")
    part._descriptor = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(TransferError, match="No space") as caught:
        part.write(memoryview(b"x"))
    part.end()
    assert caught.value.stops_batch


def test_the_mode_of_new_files_is_what_the_umask_says() -> None:
    before = os.umask(0o027)
    try:
        assert file_mode() == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the umask")
def test_the_umask_is_not_changed_to_learn_it(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = file_mode()

    def change(mask: int) -> int:
        raise AssertionError("files of other threads get this mask")

    monkeypatch.setattr(os, "umask", change)
    assert file_mode() == expected


def test_the_umask_is_changed_once_where_there_is_no_other_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected, real = file_mode(), os.umask
    changes: list[int] = []

    def change(mask: int) -> int:
        changes.append(mask)
        return real(mask)

    monkeypatch.setattr(local, "_STATUS", str(tmp_path / "missing"))
    monkeypatch.setattr(os, "umask", change)
    local._exchanged.cache_clear()
    assert [file_mode() for _ in range(3)] == [expected] * 3
    assert len(changes) == 2
    assert 0o666 & ~changes[1] == expected


def test_names_that_differ_are_told_apart() -> None:
    assert same_name("a") == same_name("a") != same_name("b")
