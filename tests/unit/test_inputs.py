"""The ``files`` argument: what becomes a job, what an error, and under which remote name."""

from __future__ import annotations

import array
import functools
import gc
import io
import logging
import mmap
import os
import pathlib
import shutil
import socket
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

import pytest
from hypothesis import given, strategies as st

from ftppool import inputs
from ftppool.errors import ConfigError, TransferError
from ftppool.inputs import EmptyDirectory, Job

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs any bytes as a name")


def read(files: Any, remote_dir: str = "") -> list[Job | EmptyDirectory]:
    return list(inputs.jobs(files, remote_dir=remote_dir))


def read_jobs(files: Any, remote_dir: str = "") -> list[Job]:
    found = [job for job in read(files, remote_dir) if isinstance(job, Job)]
    assert [job.index for job in found] == list(range(len(found)))
    return found


def read_one(files: Any, remote_dir: str = "") -> Job:
    (job,) = read_jobs(files, remote_dir)
    return job


def remotes(files: Any, remote_dir: str = "") -> list[str]:
    return [found.remote for found in read(files, remote_dir)]


def words_of(job: Job) -> str:
    """Check that a job has failed for its source's sake, and give its sentence."""
    assert isinstance(job.error, TransferError)
    assert job.error.phase == "source"
    with pytest.raises(TransferError) as caught:
        job.open()
    assert caught.value is job.error
    assert "\n" not in str(job.error)
    return str(job.error)


def facts(job: Job) -> tuple[object, ...]:
    return job.index, job.label, job.remote, job.size, job.path, job.error


def content(job: Job) -> bytes:
    with job.open() as stream:
        return stream.read()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the tree ``data`` in a fresh current directory."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    (data / "sub" / "deep").mkdir(parents=True)
    (data / "empty").mkdir()
    (data / "b.csv").write_bytes(b"bb")
    (data / "a.csv").write_bytes(b"a")
    (data / "sub" / "c.csv").write_bytes(b"ccc")
    (data / "sub" / "deep" / "d.csv").write_bytes(b"dddd")
    return data


BELOW = ["a.csv", "b.csv", "empty", "sub/c.csv", "sub/deep/d.csv"]


def under(prefix: str) -> list[str]:
    return [f"{prefix}/{name}" for name in BELOW]


# --- paths and their names ---------------------------------------------------------------------


def test_a_path_goes_under_its_last_name(tree: Path) -> None:
    job = read_one(["data/sub/c.csv"])
    assert (job.label, job.remote, job.path) == ("data/sub/c.csv", "c.csv", "data/sub/c.csv")
    assert (job.size, job.error) == (3, None)
    assert content(job) == b"ccc"


def test_a_path_object_is_as_good_as_a_string(tree: Path) -> None:
    paths = read_jobs([tree / "a.csv", Path("data/b.csv")])
    strings = read_jobs([str(tree / "a.csv"), "data/b.csv"])
    assert list(map(facts, paths)) == list(map(facts, strings))


def test_a_directory_entry_of_bytes_is_decoded(tree: Path) -> None:
    with os.scandir(b"data/sub/deep") as entries:
        assert remotes(list(entries)) == ["d.csv"]


def test_each_open_starts_at_the_beginning(tree: Path) -> None:
    job = read_one([tree / "b.csv"])
    assert content(job) == content(job) == b"bb"


def test_an_opened_path_is_unbuffered_and_blocking(tree: Path) -> None:
    with read_one([tree / "b.csv"]).open() as stream:
        assert isinstance(stream, io.FileIO)
        assert sys.platform == "win32" or os.get_blocking(stream.fileno())


def test_relative_remote_paths_start_at_the_remote_directory(tree: Path) -> None:
    files = ["data/a.csv", ("data/b.csv", "x/b"), (b"", "y"), ("data/sub", "z")]
    assert remotes(files, "in/today") == [
        "in/today/a.csv",
        "in/today/x/b",
        "in/today/y",
        "in/today/z/c.csv",
        "in/today/z/deep/d.csv",
    ]


def test_an_absolute_remote_path_wins(tree: Path) -> None:
    assert remotes([("data/b.csv", "/x/b"), ("data/sub/deep", "/y")], "in") == [
        "/x/b",
        "/y/d.csv",
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("a/./b", "a/b"), ("a//b", "a/b"), ("./b", "b"), ("//a/b", "/a/b"), ("a/../b", "a/../b")],
)
def test_a_remote_path_is_given_in_its_shortest_writing(written: str, meant: str) -> None:
    job = read_one([(b"", written)])
    assert (job.remote, job.error) == (meant, None)


@given(st.lists(st.text(), max_size=6), st.booleans())
def test_the_shortest_writing_is_its_own_shortest_writing(parts: list[str], rooted: bool) -> None:
    path = "/" * rooted + "/".join(parts)
    once = inputs._normal(path)
    assert inputs._normal(once) == once
    assert once.startswith("/") == path.startswith("/")
    assert "//" not in once


def test_a_path_object_may_be_the_remote_path(tree: Path) -> None:
    files = [("data/a.csv", tree.relative_to(tree.parent)), (b"", pathlib.PureWindowsPath("x\\y"))]
    assert remotes(files) == ["data", "x/y"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("C:\\data\\a.csv", "a.csv"),
        ("C:a.csv", "a.csv"),
        ("C:\\data/b.csv", "b.csv"),
        ("C:\\", ""),
        ("C:", ""),
        ("\\\\server\\share\\c.csv", "c.csv"),
        ("..\\..", ""),
    ],
)
def test_a_windows_path_goes_under_its_last_name(path: str, name: str) -> None:
    assert inputs._own_name(pathlib.PureWindowsPath(path)) == name


# --- directories -------------------------------------------------------------------------------


def test_a_directory_goes_under_its_own_name_in_the_order_of_names(tree: Path) -> None:
    assert remotes(["data"]) == under("data")
    assert remotes([tree]) == under("data")
    assert [job.size for job in read_jobs(["data"])] == [1, 2, 3, 4]


def test_the_order_is_that_of_the_names_and_not_of_the_disk(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("z", "A", "é", "10", "9", "a b"):
        (tree / name).write_bytes(b"")
    names = [Path(job.remote).name for job in read_jobs([tree]) if job.remote.count("/") == 1]
    assert names == sorted(names)


@pytest.mark.parametrize("path", ["data/", "data/.", "data/sub/..", "./data/"])
def test_a_path_that_ends_in_a_slash_or_dots_means_the_contents(tree: Path, path: str) -> None:
    assert remotes([path]) == BELOW
    assert remotes([path], "in") == under("in")


@pytest.mark.parametrize("path", [".", "./", Path()])
def test_a_dot_means_the_contents_of_the_current_directory(
    tree: Path, path: str | Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    assert remotes([path]) == BELOW


def test_two_dots_mean_the_contents_of_the_parent(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree / "sub")
    assert remotes([".."]) == BELOW


@posix_only
def test_the_root_means_its_contents(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def short_root(path: str) -> Any:
        return scandir(tree if path == "/" else path)

    monkeypatch.setattr(os, "scandir", short_root)
    assert remotes(["/"]) == BELOW


@pytest.mark.parametrize("remote", ["up/to", "up/to/", "./up//to"])
def test_a_directory_in_a_pair_goes_under_the_remote_path(tree: Path, remote: str) -> None:
    assert remotes([("data", remote)]) == under("up/to")


@pytest.mark.parametrize("remote", ["", "."])
def test_a_directory_in_a_pair_may_go_into_the_target_itself(tree: Path, remote: str) -> None:
    assert remotes([("data", remote)]) == BELOW
    assert remotes([("data", remote)], "in") == under("in")


def test_an_empty_directory_is_made_and_has_no_index(tree: Path) -> None:
    assert read(["data/empty", "data/a.csv"])[0] == EmptyDirectory("empty")
    assert read_one(["data/empty", "data/a.csv"]).index == 0


def test_an_empty_directory_meant_by_its_contents_makes_only_the_remote_directory(
    tree: Path,
) -> None:
    assert read(["data/empty/"]) == []
    assert read([("data/empty", "/")]) == []
    assert read(["data/empty/"], "in") == [EmptyDirectory("in")]
    assert read([("data/empty", "..")]) == [EmptyDirectory("..")]


@posix_only
def test_an_empty_directory_whose_name_cannot_be_sent_fails(tree: Path) -> None:
    (tree / "empty" / "new\nline").mkdir()
    job = read_one(["data/empty"])
    assert isinstance(job.error, ConfigError)
    assert job.label == os.path.join("data", "empty", "new\nline")


def test_a_tree_deeper_than_the_stack_of_python_is_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth = 60
    (tmp_path / "/".join("d" * depth)).mkdir(parents=True)
    (tmp_path / "/".join("d" * depth) / "f").write_bytes(b"")
    frames = len(__import__("inspect").stack())
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(frames + 50)
    try:
        found = list(inputs.jobs([tmp_path / "d"]))
    finally:
        sys.setrecursionlimit(limit)
    assert [job.remote for job in found] == ["d/" * depth + "f"]


def test_one_stat_for_each_file_is_enough(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = os.stat

    def counting(path: Any, **options: Any) -> os.stat_result:
        asked.append(path)
        return real(path, **options)

    monkeypatch.setattr(os, "stat", counting)
    read(["data", "data/a.csv"])
    assert asked == ["data", "data/a.csv"]  # below, the entries' own stat is used


def test_nothing_is_read_before_it_is_asked_for(tree: Path) -> None:
    taken: list[str] = []

    def files() -> Iterator[str]:
        for name in ("data/a.csv", "data/b.csv"):
            taken.append(name)
            yield name

    found = inputs.jobs(files())
    assert taken == []
    next(found)
    assert taken == ["data/a.csv"]


# --- links -------------------------------------------------------------------------------------


@posix_only
def test_a_link_to_a_file_is_followed_under_its_own_name(tree: Path) -> None:
    (tree / "sub" / "link.csv").symlink_to(tree / "b.csv")
    job = read_one(["data/sub/link.csv"])
    assert (job.remote, job.size, content(job)) == ("link.csv", 2, b"bb")
    assert ("sub/link.csv", 2) in [(job.remote, job.size) for job in read_jobs(["data/"])]


@posix_only
def test_a_linked_directory_is_followed_if_it_is_an_input(tree: Path) -> None:
    Path("link").symlink_to("data")
    assert remotes(["link"]) == under("link")
    assert remotes(["link/"]) == BELOW


@posix_only
def test_a_linked_directory_below_an_input_is_not_followed_and_warned_of_once(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "empty" / "up").symlink_to("..")
    (tree / "sub" / "loop").symlink_to(tree)
    with caplog.at_level(logging.WARNING, logger="ftppool"):
        assert remotes(["data/", ("data", "again")]) == BELOW + under("again")
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("ftppool", "WARNING")
    ] * 2
    assert repr(os.path.join("data", "empty", "up"))[1:-1] in caplog.text


@posix_only
def test_a_broken_link_fails(tree: Path) -> None:
    (tree / "empty" / "broken").symlink_to("nowhere")
    for files in (["data/empty/broken"], ["data/empty"]):
        job = read_one(files)
        assert "symbolic link to a file that does not exist" in words_of(job)
        # The type checker: checked by the line before.
        assert isinstance(job.error.__cause__, FileNotFoundError)  # type: ignore[union-attr]


@posix_only
def test_a_link_that_leads_back_to_itself_fails_and_the_others_go_on(tree: Path) -> None:
    (tree / "a1").symlink_to("a2")
    (tree / "a2").symlink_to("a1")
    found = read_jobs(["data/a1", "data/"])
    assert [job.remote for job in found if job.error is None] == [
        name for name in BELOW if name != "empty"
    ]
    failed = [job for job in found if job.error is not None]
    assert len(failed) == 3
    assert all("leads back to itself" in str(job.error) for job in failed)


# --- sources that cannot be sent ---------------------------------------------------------------


def test_a_missing_source_fails_and_says_where_relative_paths_start(tree: Path) -> None:
    job, other = read_jobs(["no.csv", "data/a.csv"])
    assert "'no.csv' does not exist" in words_of(job)
    assert repr(os.getcwd()) in words_of(job)
    assert (job.remote, job.size, other.error) == ("no.csv", None, None)
    # The type checker: checked by the line before.
    assert isinstance(job.error.__cause__, FileNotFoundError)  # type: ignore[union-attr]


def test_a_missing_absolute_source_is_told_without_the_current_directory(tree: Path) -> None:
    assert "does not exist; check the path" in words_of(read_one([tree / "no.csv"]))


def test_a_tilde_is_not_expanded_and_the_error_says_so() -> None:
    assert "os.path.expanduser()" in words_of(read_one(["~/no such file"]))


@posix_only
def test_a_missing_current_directory_does_not_break_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert "use an absolute path" in words_of(read_one(["a.csv"]))
    finally:
        os.chdir(tmp_path)


@pytest.mark.parametrize("path", ["", "nul\0byte", "lone\ud800surrogate"])
def test_a_path_that_no_system_can_hold_fails(path: str) -> None:
    words_of(read_one([path]))


@posix_only
def test_a_path_through_a_file_fails(tree: Path) -> None:
    assert "as if that were a directory" in words_of(read_one(["data/a.csv/"]))


@posix_only
def test_a_fifo_fails_without_being_opened(tree: Path) -> None:
    os.mkfifo(tree / "empty" / "fifo")
    for files in (["data/empty/fifo"], ["data/empty"]):
        assert "is a FIFO; only regular files" in words_of(read_one(files))


@posix_only
def test_a_socket_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not in tmp_path, whose name can be longer than a socket's may be.
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(directory)
        server.bind("s")
        assert "is a socket" in words_of(read_one(["s"]))
        assert "is a socket" in words_of(read_one(["."]))
        monkeypatch.undo()


def test_a_device_fails() -> None:
    assert "is a character device" in words_of(read_one([(os.devnull, "x")]))


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make ``locked/`` and ``locked.csv`` that this process may not read, even if it is root."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such modes")
    top = Path(tempfile.mkdtemp())  # tmp_path lies below a directory that only root may enter
    (top / "locked").mkdir()
    (top / "locked" / "in.csv").write_bytes(b"")
    (top / "locked.csv").write_bytes(b"")
    (top / "z.csv").write_bytes(b"z")
    for path, mode in ((top, 0o755), (top / "locked", 0), (top / "locked.csv", 0)):
        path.chmod(mode)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        yield top
    finally:
        if root:
            os.seteuid(0)
        (top / "locked").chmod(0o755)
        shutil.rmtree(top)


def test_an_unreadable_directory_is_one_failed_job_and_the_rest_goes_on(locked: Path) -> None:
    found = read_jobs([locked])
    by_name = {Path(job.label).name: job for job in found}
    assert sorted(by_name) == ["locked", "locked.csv", "z.csv"]
    assert "grant read permission" in words_of(by_name["locked"])
    # The type checker: checked by the line before.
    assert isinstance(by_name["locked"].error.__cause__, PermissionError)  # type: ignore[union-attr]
    assert content(by_name["z.csv"]) == b"z"


def test_an_unreadable_file_fails_when_it_is_opened(locked: Path) -> None:
    job = read_one([locked / "locked.csv"])
    assert job.error is None
    with pytest.raises(TransferError, match="grant read permission") as caught:
        job.open()
    assert isinstance(caught.value.__cause__, PermissionError)


def test_a_directory_that_changes_under_the_walk_does_not_raise(tree: Path) -> None:
    found = inputs.jobs(["data"])
    first = next(found)  # the listing of data/ has been read now
    (tree / "b.csv").unlink()
    shutil.rmtree(tree / "sub")
    (tree / "empty").rmdir()
    (tree / "new.csv").write_bytes(b"")
    rest = list(found)
    assert first.remote == "data/a.csv"
    assert [job.remote for job in rest] == ["data/b.csv", "data/empty", "data/sub"]
    for job in rest:
        assert isinstance(job, Job)
        assert "does not exist" in words_of(job)


def test_a_directory_that_breaks_while_it_is_listed_is_one_failed_job(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def __iter__(self) -> Self:
            return self

        def __next__(self) -> Any:
            raise OSError(5, "Input/output error")

    real = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: Breaking() if path.endswith("sub") else real(path)
    )
    found = read_jobs(["data"])
    assert [(job.remote, job.error is None) for job in found] == [
        ("data/a.csv", True),
        ("data/b.csv", True),
        ("data/sub", False),
    ]
    assert "cannot be read: Input/output error" in words_of(found[-1])


def test_a_file_that_vanished_before_it_is_opened_fails_then(tree: Path) -> None:
    job = read_one(["data/a.csv"])
    (tree / "a.csv").unlink()
    with pytest.raises(TransferError, match="does not exist") as caught:
        job.open()
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@posix_only
@pytest.mark.timeout(10)
def test_a_file_that_became_a_fifo_is_found_out_without_waiting_for_a_writer(tree: Path) -> None:
    job = read_one(["data/a.csv"])
    (tree / "a.csv").unlink()
    os.mkfifo(tree / "a.csv")
    with pytest.raises(TransferError, match="is a FIFO"):
        job.open()


@posix_only
def test_a_file_that_became_a_directory_is_found_out(tree: Path) -> None:
    job = read_one(["data/a.csv"])
    (tree / "a.csv").unlink()
    (tree / "a.csv").mkdir()
    with pytest.raises(TransferError, match="has become a directory"):
        job.open()


# --- odd names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["with space", "it's", "-rf", "é", "e\u0301", "%2F", "#", "~"])
def test_an_odd_name_goes_as_it_is(tree: Path, name: str) -> None:
    (tree / "empty" / name).write_bytes(b"")
    (listed,) = os.listdir(tree / "empty")  # the file system may have its own mind
    assert remotes(["data/empty"]) == [f"empty/{listed}"]
    assert remotes([f"data/empty/{listed}"]) == [listed]


@posix_only
@pytest.mark.parametrize("name", ['"quoted"', "back\\slash", "tab\t", "C:x"])
def test_a_name_that_only_posix_can_hold_goes_as_it_is(tree: Path, name: str) -> None:
    (tree / "empty" / name).write_bytes(b"")
    assert remotes(["data/empty"]) == [f"empty/{name}"]


@posix_only
@pytest.mark.parametrize("name", ["new\nline", "return\r"])
def test_a_name_that_no_command_can_carry_fails_and_the_others_go_on(tree: Path, name: str) -> None:
    (tree / name).write_bytes(b"")
    failed = [job for job in read_jobs(["data"]) if job.error is not None]
    assert [job.label for job in failed] == [os.path.join("data", name)]
    assert isinstance(failed[0].error, ConfigError)
    assert name not in str(failed[0].error)
    assert repr(name)[1:-1] in str(failed[0].error)


@linux_only
def test_a_name_that_is_not_utf_8_keeps_its_bytes(tree: Path) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/empty/caf\xe9")).write_bytes(b"x")
    job = read_one(["data/empty"])
    assert os.fsencode(job.remote) == b"empty/caf\xe9"
    assert content(job) == b"x"


@pytest.mark.parametrize("remote", ["", ".", "..", "/", "a/", "a/.", "a/..", "a\nb", "a\r", "\0"])
def test_a_remote_path_that_cannot_name_a_file_fails_and_the_others_go_on(
    tree: Path, remote: str
) -> None:
    first, second, third = read_jobs([("data/a.csv", remote), (b"", remote), (b"", "good")])
    for job in (first, second):
        assert isinstance(job.error, ConfigError)
        assert repr(remote) in str(job.error)
        with pytest.raises(ConfigError):
            job.open()
    assert third.error is None


# --- two sources for one remote path -----------------------------------------------------------


@pytest.mark.parametrize("second", ["a/b", "a/./b", "a//b", "./a/b"])
def test_a_second_source_for_the_same_remote_path_fails_and_names_both(
    tree: Path, second: str
) -> None:
    one, two, three = read_jobs(
        [("data/a.csv", "a/b"), ("data/b.csv", second), ("data/b.csv", "a/c")]
    )
    assert isinstance(two.error, ConfigError)
    for part in ("'data/a.csv'", "'data/b.csv'", "'a/b'"):
        assert part in str(two.error)
    assert (one.error, three.error) == (None, None)


def test_the_same_path_twice_fails_the_second_time(tree: Path) -> None:
    path = "data/a.csv"
    one, two = read_jobs([path, path])
    assert one.error is None
    assert isinstance(two.error, ConfigError)


def test_two_bytes_for_the_same_remote_path_fail(tree: Path) -> None:
    assert isinstance(read_jobs([(b"", "x"), (b"1", "x")])[1].error, ConfigError)


def test_a_file_found_twice_under_one_name_fails_the_second_time(tree: Path) -> None:
    found = read_jobs(["data/", "data/a.csv"])
    assert [job.remote for job in found if job.error is not None] == ["a.csv"]


def test_a_missing_source_holds_its_remote_path_as_if_it_were_there(tree: Path) -> None:
    one, two = read_jobs([("no.csv", "x"), ("data/a.csv", "x")])
    assert "does not exist" in words_of(one)
    assert isinstance(two.error, ConfigError)


def test_letter_case_and_root_tell_remote_paths_apart(tree: Path) -> None:
    found = read_jobs([(b"", "x"), (b"", "X"), (b"", "/x")])
    assert [job.error for job in found] == [None] * 3


# --- bytes and callables -----------------------------------------------------------------------


def test_bytes_are_sent_without_a_copy() -> None:
    data = os.urandom(1 << 20)
    tracemalloc.start()
    try:
        job = read_one([(data, "x")])
        with job.open() as stream:
            _, peak = tracemalloc.get_traced_memory()
            assert stream.read() == data
    finally:
        tracemalloc.stop()
    assert (job.label, job.size, job.path) == ("<bytes>", 1 << 20, None)
    assert peak < 1 << 18


@pytest.mark.parametrize(
    "data",
    [
        b"abcd",
        bytearray(b"abcd"),
        memoryview(b"abcd"),
        memoryview(b"a.b.c.d.")[::2],
        array.array("B", b"abcd"),
    ],
)
def test_anything_like_bytes_can_be_sent(data: Any) -> None:
    job = read_one([(data, "x")])
    assert (job.size, content(job), content(job)) == (4, b"abcd", b"abcd")


def test_an_empty_buffer_of_integers_can_be_sent() -> None:
    assert read_one([(array.array("i"), "x")]).size == 0


def test_a_memory_map_can_be_sent() -> None:
    with mmap.mmap(-1, 4) as data:
        data[:] = b"abcd"
        job = read_one([(data, "x")])
    assert content(job) == b"abcd"


def test_a_buffer_that_is_refilled_for_the_next_file_does_not_change_this_one() -> None:
    buffer = bytearray(b"first")

    def files() -> Iterator[tuple[bytearray, str]]:
        yield buffer, "1"
        buffer[:] = b"second"
        yield buffer, "2"

    assert [content(job) for job in read_jobs(files())] == [b"first", b"second"]


def test_the_repr_of_a_job_does_not_print_the_bytes() -> None:
    assert "secret" not in repr(read_one([(b"secret", "x")]))


def open_report() -> BinaryIO:
    return io.BytesIO(b"report")


class Opener:
    def __call__(self) -> BinaryIO:
        return io.BytesIO(b"report")


@pytest.mark.parametrize(
    ("source", "label"),
    [
        (open_report, "<open_report>"),
        (lambda: io.BytesIO(b"report"), "<lambda>"),
        (functools.partial(open_report), "<open_report>"),
        (Opener(), "<Opener>"),
    ],
)
def test_a_callable_is_asked_anew_at_each_open(source: Callable[[], BinaryIO], label: str) -> None:
    job = read_one([(source, "x")])
    assert (job.label, job.size, job.path, job.error) == (label, None, None, None)
    assert content(job) == content(job) == b"report"


def test_a_callable_is_not_called_before_the_job_is_opened() -> None:
    read([(lambda: pytest.fail("called"), "x")])


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "a NoneType"),
        (b"data", "a bytes"),
        (io.StringIO("text"), "a text file"),
    ],
)
def test_a_callable_that_returns_no_binary_file_fails(result: Any, words: str) -> None:
    job = read_one([(lambda: result, "x")])
    with pytest.raises(ConfigError, match=f"<lambda> returned {words}.*'rb'"):
        job.open()


def test_a_text_file_that_a_callable_returns_is_closed(tree: Path) -> None:
    opened: list[Any] = []

    def source() -> Any:
        opened.append(tempfile.TemporaryFile("w+"))  # noqa: SIM115 - checked above
        return opened[0]

    with pytest.raises(ConfigError, match="a text file"):
        read_one([(source, "x")]).open()
    assert opened[0].closed


@pytest.mark.filterwarnings("error")
def test_a_coroutine_function_fails_without_a_warning() -> None:
    async def source() -> BinaryIO:
        return io.BytesIO()

    with pytest.raises(ConfigError, match="a coroutine"):
        read_one([(source, "x")]).open()
    gc.collect()


def test_a_callable_that_returns_the_same_file_twice_is_found_out() -> None:
    stream = io.BytesIO(b"x")
    job = read_one([(lambda: stream, "x")])
    content(job)
    with pytest.raises(ConfigError, match="returned a closed file"):
        job.open()


def test_what_a_callable_raises_becomes_the_cause() -> None:
    def source() -> BinaryIO:
        raise KeyError("no such report")

    with pytest.raises(TransferError, match="<source> raised KeyError") as caught:
        read_one([(source, "x")]).open()
    assert caught.value.phase == "source"
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_error_of_ours_from_a_callable_passes_unchanged() -> None:
    error = TransferError("mine", retryable=True)

    def source() -> BinaryIO:
        raise error

    with pytest.raises(TransferError) as caught:
        read_one([(source, "x")]).open()
    assert caught.value is error


# --- mistakes of the program -------------------------------------------------------------------


@pytest.mark.parametrize(
    "files",
    ["a.csv", Path("a.csv"), b"a.csv", bytearray(), memoryview(b""), None, 3, open_report],
)
def test_a_single_source_instead_of_a_list_is_refused_at_once(files: Any) -> None:
    with pytest.raises(ConfigError, match="pass a list"):
        inputs.jobs(files)


def test_a_dict_is_refused_because_its_values_would_be_lost() -> None:
    with pytest.raises(ConfigError, match=r"files\.items\(\)"):
        inputs.jobs({"a.csv": "b.csv"})


def test_an_open_list_of_names_is_refused_because_of_its_line_ends() -> None:
    with pytest.raises(ConfigError, match="pass a list"):
        inputs.jobs(io.StringIO("a.csv\n"))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (3, "is a int"),
        (None, "is a NoneType"),
        ({"a": "b"}, "is a dict"),
        (["a", "b"], "is a list"),
        (("a", "b", "c"), "is a tuple of 3"),
        (("a",), "is a tuple of 1"),
        (b"data", "is a bytes"),
        (open_report, "is a function"),
        (io.StringIO("text"), "is an open file"),
        (io.BytesIO(b"data"), "is an open file"),
        ((io.BytesIO(b"data"), "x"), "is an open file"),
        ((3, "x"), "is a int"),
        ((("a", "b"), "x"), "is a tuple of 2"),
        (("a", 3), "a int as remote path"),
        (("a", None), "a NoneType as remote path"),
        (("a", b"x"), "a bytes as remote path"),
    ],
)
def test_an_item_of_a_wrong_type_is_refused_by_its_place(tree: Path, item: Any, words: str) -> None:
    found = inputs.jobs(["data/a.csv", item])
    next(found)
    with pytest.raises(ConfigError, match=r"files\[1\]") as caught:
        next(found)
    assert words in str(caught.value)


def test_a_released_memoryview_is_refused() -> None:
    view = memoryview(b"data")
    view.release()
    with pytest.raises(ConfigError):
        read([(view, "x")])


def test_a_remote_directory_that_cannot_be_sent_is_refused_at_once() -> None:
    with pytest.raises(ConfigError):
        inputs.jobs([], remote_dir="a\nb")


@pytest.mark.parametrize("remote_dir", ["", ".", "./", "in/..", "..", "/"])
def test_no_files_are_no_jobs(remote_dir: str) -> None:
    assert read([], remote_dir) == []


@pytest.mark.parametrize(
    ("remote_dir", "remote"),
    [("..", "../x"), ("/", "/x"), (".", "x"), ("in/", "in/x"), ("//in/./a", "/in/a/x")],
)
def test_a_remote_directory_may_be_written_in_any_way(remote_dir: str, remote: str) -> None:
    assert remotes([(b"", "x")], remote_dir) == [remote]


def test_an_exception_of_the_iterable_passes_unchanged(tree: Path) -> None:
    error = LookupError("mine")

    def files() -> Iterator[str]:
        yield "data/a.csv"
        raise error

    found = inputs.jobs(files())
    next(found)
    with pytest.raises(LookupError) as caught:
        next(found)
    assert caught.value is error
    assert caught.value.__cause__ is None


# --- many --------------------------------------------------------------------------------------


def test_a_hundred_thousand_inputs_take_little_memory() -> None:
    names = (f"some/rather/long/directory/name/for/a/test/file-{n:06}.csv" for n in range(100_000))
    tracemalloc.start()
    try:
        count = sum(1 for _ in inputs.jobs((b"", name) for name in names))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert peak < 40 << 20


@posix_only
def test_a_directory_of_many_files_takes_little_memory(tmp_path: Path) -> None:
    for n in range(5_000):
        os.close(os.open(tmp_path / f"file-{n:06}.csv", os.O_CREAT | os.O_WRONLY))
    tracemalloc.start()
    try:
        count = sum(1 for _ in inputs.jobs([tmp_path]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 5_000
    assert peak < 5_000 * 800


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0\r\n"), min_size=1).filter(
    lambda name: name not in (".", "..")
)


@given(st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), max_size=30))
def test_of_all_sources_for_one_remote_path_exactly_the_first_is_sent(paths: list[str]) -> None:
    found = read_jobs([(b"", path) for path in paths])
    assert [job.remote for job in found if job.error is None] == list(dict.fromkeys(paths))
    assert [job.remote for job in found] == paths
