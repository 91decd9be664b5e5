"""The ``files`` argument of a batch, turned into jobs: lazily, in the caller's thread, offline.

What is wrong with *one source* (missing, a FIFO, a name that no server can take) becomes a job
that has failed already, so that it gets an outcome and the others go on. What is wrong with the
*program* (an int, a pair of three) raises ``ConfigError`` at once.

Names are passed on as the file system gives them: names that are not valid UTF-8 keep their bytes
(surrogateescape), and accents that a macOS volume returns decomposed (NFD) stay decomposed.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias, cast

from ftppool.errors import ConfigError, FTPPoolError
from ftppool.logs import log
from ftppool.patterns import Globs, Patterns, patterns_of
from ftppool.sources import not_a_file, open_callable, open_path, raise_error, source_error
from ftppool.target import check_remote_name, join

if TYPE_CHECKING:
    from pathlib import PurePath

    from typing_extensions import Buffer

__all__ = ["EmptyDirectory", "Input", "Inputs", "Job", "Keyed", "Source", "jobs"]

_Path: TypeAlias = str | os.PathLike[str]
_Data: TypeAlias = "Buffer | Callable[[], BinaryIO]"  # called anew for each attempt
Source: TypeAlias = "_Path | _Data"
Input: TypeAlias = "_Path | tuple[Source, str | PurePath]"
_Found: TypeAlias = "Job | EmptyDirectory"
_Stack: TypeAlias = list[tuple[str, list[os.DirEntry[str]]]]

_LINK_TAGS = (0xA000000C, 0xA0000003)  # Windows: symbolic links and junctions


class Job:
    """One file to send.

    Attributes:
        index: Place in the batch, counted from 0 without gaps; outcomes are sorted by it.
        label: What to call the source: its path, ``"<bytes>"`` or ``"<name of the callable>"``.
        remote: Where it goes: absolute, or relative to the target's directory.
        open: Opens a fresh binary stream at the beginning, in any thread, as often as wanted.
            Raises only ``TransferError`` (phase ``"source"``) and ``ConfigError``.
        size: Bytes, as seen when the file was listed, or None for a callable. A file may grow
            afterwards (and Windows lists open files late): the stream has the last word.
        path: The local path, or None for bytes and callables.
        error: Why this job has failed before it began, or None. ``open`` then raises it.
        identity: Gives what makes the source the same one in a later run; None where nobody can
            tell.
    """

    __slots__ = ("error", "identity", "index", "label", "open", "path", "remote", "size")

    def __init__(
        self,
        index: int,
        label: str,
        remote: str,
        open: Callable[[], BinaryIO],
        *,
        size: int | None,
        path: str | None,
        error: FTPPoolError | None,
        identity: Callable[[], bytes] | None = None,
    ) -> None:
        self.index: int = index
        self.label: str = label
        self.remote: str = remote
        self.open: Callable[[], BinaryIO] = open
        self.size: int | None = size
        self.path: str | None = path
        self.error: FTPPoolError | None = error
        self.identity: Callable[[], bytes] | None = identity


@dataclass(frozen=True, slots=True)
class Keyed:
    """A callable source that a journal can recognise in a later run.

    Attributes:
        open: Opens a binary file, anew for each attempt.
        key: What stands for its content: the same key is never sent twice to one remote path.
    """

    open: Callable[[], BinaryIO]
    key: str

    def __post_init__(self) -> None:
        source, key = cast("tuple[object, object]", (self.open, self.key))
        if not (callable(source) and isinstance(key, str) and key):
            raise ConfigError("Keyed: write a callable that opens a binary file, and a key (str)")

    def __call__(self) -> BinaryIO:
        """Open the source."""
        return self.open()


class EmptyDirectory(NamedTuple):
    """A directory with nothing in it: made on the server, has no outcome.

    Attributes:
        remote: Where it goes: absolute, or relative to the target's directory.
    """

    remote: str


class Inputs:
    """Turns the ``files`` of a batch into jobs, one by one, as they are asked for; used once.

    A directory goes with everything below it under its own name, as with ``cp -r`` (``.``,
    ``..``, ``dir/`` and a root mean the contents); in a pair, everything below goes under the
    remote path. It is walked in the order of the names. Symbolic links to files are followed,
    to directories only where they are inputs themselves.

    Args:
        remote_dir: Where relative remote paths start, itself relative to the target's directory.
        include: Only what matches is part of the batch; see :data:`ftppool.patterns.Patterns`.
        exclude: What matches is not, even if it is included. Excluded directories are not even
            listed.

    Raises:
        ConfigError: ``remote_dir`` or a pattern is unusable.
    """

    def __init__(
        self, remote_dir: str = "", *, include: Patterns = None, exclude: Patterns = None
    ) -> None:
        _checked(join(remote_dir, "x"))  # whatever is put there
        self._remote_dir = _normal(remote_dir)
        self._include = Globs(patterns_of("include", include))
        self._exclude = Globs(patterns_of("exclude", exclude))
        self._count = 0
        # Remote path -> label of its source: the strings that the outcomes hold anyway.
        self._taken: dict[str, str] = {}
        self._warned: set[str] = set()

    def read(self, files: Iterable[Input]) -> Iterator[Job | EmptyDirectory]:
        """Check `files` and give its jobs; their only I/O is a stat a file, a listing a directory.

        Raises:
            ConfigError: ``files`` or (while iterating) an item of it is unusable; its own
                exceptions pass through.
        """
        _check_files(files)
        return self._read(files)

    def below(self, remote: str) -> str:
        """Give the path below ``remote_dir``, which patterns are matched with."""
        path, top = _normal(remote), self._remote_dir.rstrip("/")
        if path == top or not path.startswith(f"{top}/"):
            return "" if path == top else path.strip("/")
        return path[len(top) + 1 :]

    def _read(self, files: Iterable[Input]) -> Iterator[_Found]:
        for position, item in enumerate(files):
            source, remote = _parse(item, f"files[{position}]")
            if isinstance(source, (str, os.PathLike)):
                yield from self._path(source, remote)
            elif self._wanted(full := join(self._remote_dir, str(remote))):
                yield self._data(source, full)

    def _data(self, source: _Data, remote: str) -> Job:
        if callable(source):
            label = _callable_label(source)
            identity = partial(_digest, source.key) if isinstance(source, Keyed) else None
            return self._job(
                label, remote, partial(open_callable, source, label), identity=identity
            )
        data = _snapshot(source)
        # BytesIO shares an immutable bytes object until somebody writes: no copy is made.
        return self._job(
            "<bytes>", remote, partial(io.BytesIO, data), size=len(data),
            identity=partial(_digest, data),
        )  # fmt: skip

    def _path(self, source: _Path, remote: str | None) -> Iterator[_Found]:
        path = os.fsdecode(source)
        remote = join(self._remote_dir, _own_name(source) if remote is None else remote)
        # A stack of half-read listings, not recursion: trees can be deeper than Python's stack.
        stack: _Stack = []
        yield from self._visit(path, remote, partial(os.stat, path), stack)
        while stack:
            directory, entries = stack[-1]
            if not entries:
                stack.pop()
                continue
            entry = entries.pop()
            yield from self._visit(entry.path, join(directory, entry.name), entry.stat, stack)

    def _visit(
        self, path: str, remote: str, look: Callable[[], os.stat_result], stack: _Stack
    ) -> Iterator[_Found]:
        if self._exclude and self._exclude.match(self.below(remote)):
            return
        try:
            info = look()
            if stat.S_ISDIR(info.st_mode) and self._exclude.match_directory(self.below(remote)):
                return
            entries = self._listing(path) if stat.S_ISDIR(info.st_mode) else None
        except (OSError, ValueError) as exc:  # ValueError: a NUL, or characters no disk can hold
            if self._wanted(remote):
                yield self._failed(path, remote, source_error(path, exc))
            return
        if entries is None:
            if self._wanted(remote):
                yield self._file(path, remote, info)
        elif entries:
            stack.append((remote, entries))
        elif self._wanted_directory(remote) and (name := _normal(remote).rstrip("/")):
            yield self._empty(path, name)  # but the target's own directory is there already

    def _wanted(self, remote: str) -> bool:
        if not (self._include or self._exclude):
            return True
        path = self.below(remote)
        return not self._exclude.match(path) and (not self._include or self._include.match(path))

    def _wanted_directory(self, remote: str) -> bool:
        return not self._include or self._include.match_directory(self.below(remote))

    def _empty(self, path: str, remote: str) -> _Found:
        try:
            _checked(join(remote, "x"))  # ".." is a good directory and no good name
        except ConfigError as exc:
            return self._failed(path, remote, exc)
        return EmptyDirectory(remote)

    def _listing(self, path: str) -> list[os.DirEntry[str]]:
        """List a directory, last name first, so that pop() gives them in order and frees them."""
        with os.scandir(path) as found:
            entries = sorted(found, key=attrgetter("name"))
        entries = [entry for entry in entries if not self._is_linked_directory(entry)]
        entries.reverse()
        return entries

    def _is_linked_directory(self, entry: os.DirEntry[str]) -> bool:
        try:
            linked = _is_link(entry) and entry.is_dir()
        except OSError:
            return False  # the stat that follows tells what is wrong with it
        if linked and entry.path not in self._warned:
            self._warned.add(entry.path)
            log.warning(
                "ftppool: linked directory %r is not followed; name it as a source of its own",
                entry.path,
            )
        return linked

    def _file(self, path: str, remote: str, info: os.stat_result) -> Job:
        if not stat.S_ISREG(info.st_mode):
            return self._failed(path, remote, not_a_file(path, info.st_mode))
        identity = partial(_digest, path, info.st_size, info.st_mtime_ns, info.st_ino)
        return self._job(
            path, remote, partial(open_path, path), size=info.st_size, path=path, identity=identity
        )

    def _failed(self, path: str, remote: str, error: FTPPoolError) -> Job:
        return self._job(path, remote, partial(raise_error, error), path=path, error=error)

    def _job(
        self,
        label: str,
        remote: str,
        opener: Callable[[], BinaryIO],
        *,
        size: int | None = None,
        path: str | None = None,
        error: FTPPoolError | None = None,
        identity: Callable[[], bytes] | None = None,
    ) -> Job:
        try:
            remote = self._claim(remote, label)
        except ConfigError as exc:
            error = error or exc
            opener = partial(raise_error, error)
        index = self._count
        self._count += 1
        return Job(
            index, label, remote, opener, size=size, path=path, error=error, identity=identity
        )

    def _claim(self, remote: str, label: str) -> str:
        """Give the remote path in its shortest writing, or raise if it is unusable or taken."""
        # A failed job claims its path too: what a batch means must not hang on which of two
        # sources happens to exist today.
        name = _normal(_checked(remote))
        if (first := self._taken.get(name)) is not None:
            raise ConfigError(f"{first!r} and {label!r} both go to {name!r}; send one elsewhere")
        self._taken[name] = label
        return name


def jobs(files: Iterable[Input], *, remote_dir: str = "") -> Iterator[Job | EmptyDirectory]:
    """Turn ``files`` into jobs: see :class:`Inputs`."""
    return Inputs(remote_dir).read(files)


def _check_files(files: object) -> None:
    if isinstance(files, dict):
        raise ConfigError("files is a dict; pass its pairs: files.items()")
    single = isinstance(files, (str, os.PathLike)) or hasattr(files, "read") or _is_buffer(files)
    if single or not isinstance(files, Iterable):
        raise ConfigError(f"files is a single {type(files).__name__}; pass a list")


def _parse(item: object, where: str) -> tuple[Source, str | None]:
    """Check one item of ``files``; the remote path is None for a path that stands alone."""
    if isinstance(item, (str, os.PathLike)):
        return item, None
    if not isinstance(item, tuple) or len(item) != 2:
        raise ConfigError(f"{where} {_wrong(item)}")
    source, remote = item
    if not isinstance(remote, str):
        from pathlib import PurePath

        if not isinstance(remote, PurePath):
            raise ConfigError(f"{where} has a {type(remote).__name__} as remote path; pass a str")
        remote = remote.as_posix()
    if isinstance(source, (str, os.PathLike)) or callable(source) or _is_buffer(source):
        return source, remote
    raise ConfigError(f"the source of {where} {_wrong(source)}")


def _wrong(item: object) -> str:
    if hasattr(item, "read") and not _is_buffer(item):  # an mmap is both
        return "is an open file, which cannot be sent twice; pass its path, or a callable"
    kind = f"tuple of {len(item)}" if isinstance(item, tuple) else type(item).__name__
    return f"is a {kind}; pass a path, or a pair (source, remote_path)"


def _is_buffer(item: object) -> bool:
    try:
        memoryview(item).release()  # type: ignore[arg-type]  # it is the question
    except (TypeError, ValueError):  # no buffer; a memoryview released
        return False
    return True


def _snapshot(data: Buffer) -> bytes:
    # A bytearray may be refilled for the next file while this one is under way; bytes cannot.
    return data if type(data) is bytes else memoryview(data).tobytes()


def _callable_label(source: Callable[[], BinaryIO]) -> str:
    inner: object = source.open if isinstance(source, Keyed) else source
    inner = inner.func if isinstance(inner, partial) else inner
    return f"<{getattr(inner, '__name__', type(inner).__name__).strip('<>')}>"


def _digest(source: str | bytes, *stamp: int) -> bytes:
    """Digest what identifies a source: path and stamp, key, or the bytes themselves."""
    from hashlib import sha256

    if isinstance(source, bytes):
        return b"b" + sha256(source).digest()
    name = os.path.abspath(source) if stamp else source
    words = repr((name, *stamp)).encode("utf-8", "backslashreplace")
    return (b"p" if stamp else b"k") + sha256(words).digest()


def _own_name(source: _Path) -> str:
    """Give the name under which a path goes, or "" where a directory's contents are meant."""
    basename = os.path.basename
    if not isinstance(source, str):
        from pathlib import PureWindowsPath

        if isinstance(source, PureWindowsPath):
            import ntpath

            basename = ntpath.basename
    name = basename(os.fsdecode(source))
    return "" if name in (".", "..") else name


def _checked(remote: str) -> str:
    try:
        return check_remote_name(remote)
    except ConfigError as exc:
        words = str(exc)
    # Which of 100,000 names? The check is for URLs too and keeps quiet, they may hold a password.
    raise ConfigError(words if repr(remote) in words else f"{remote!r}: {words}")


def _normal(remote: str) -> str:
    # ".." stays: what it means depends on links that only the server knows.
    parts = [part for part in remote.split("/") if part not in ("", ".")]
    return "/" * remote.startswith("/") + "/".join(parts)


def _is_link(entry: os.DirEntry[str]) -> bool:
    if sys.platform == "win32":
        return entry.stat(follow_symlinks=False).st_reparse_tag in _LINK_TAGS
    else:  # noqa: RET505  # or mypy finds it unreachable
        return entry.is_symlink()  # costs no stat
