"""The files of one address: one for each slot, one for each process that waits, one mutex.

A file counts as long as its ``flock`` is held, and the kernel lets go of that when the holder dies,
however it dies. So what is written in a file is only about its holder and decides nothing alone.
Slot files are never unlinked: a lock on a name that another has replaced would count for nothing.
All looks and all takes happen under the mutex; letting go needs none. A lock belongs to the open
file description, not to the process: our own slots count like everybody's, and a forked child that
closes its copies takes nothing from its parent.

A slot whose holder has let go of it counts for as long as the server may still count its
connection. The holder does not wait for that, and may be no more: it has written down when that
ends, in seconds of ``time.monotonic()``, which is one clock for all processes since the boot and
follows no change of the wall clock. Such a time counts only if it is near, so that one of an
earlier boot blocks nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ftppool.lessons import FAR, Lessons
from ftppool.limits.fairness import Claim, Seen
from ftppool.limits.state import Unusable, address_folder, open_private

__all__ = ["Folder", "Lock", "Look", "Record", "drop_all_after_fork", "program"]

LENGTH = 512
"""Bytes of a record: it is written in one piece, so that a reader never sees half of one."""
FRESH = 2.0
"""Seconds since a waiting process last asked until it no longer counts: it may be stopped."""
SETTLE = 0.5
"""Seconds for which the server may still count a connection of a process that was killed; no other
one settles longer."""
MEMORY = 1.0
"""Seconds for which an ended connection still explains a refusal."""
LONGEST_LESSONS = 100_000
# O_NONBLOCK: to open a FIFO that somebody put there would wait for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE = _READ | os.O_RDWR | os.O_CREAT
_LESSONS = "lessons.json"
_SLOT = re.compile(r"slot-\d{3,}")
_WANTED = re.compile(r"wanted-\d+-\d+")


class Record(NamedTuple):
    """What is written in a file.

    Attributes:
        pid: The process that holds or held it.
        process: A token of that process, since pids return.
        cap: The cap that it names.
        since: When it began to hold or wait, or closed; seconds of the wall clock.
        state: ``"held"``, ``"closed"``, ``"died"`` (without writing ``closed``), ``"wanted"``, or
            ``"paused"``: it waits, as the server refused it, and stands in no line.
        name: The program's name.
        asked: When a waiting process last asked, or until when it pauses; seconds of the wall
            clock.
        user: Who logs in.
        trying: True for a slot beyond what was learned, taken to see if the server allows it.
        settled_at: When the server will have noticed that it was closed; seconds of
            ``time.monotonic()``.
    """

    pid: int
    process: str
    cap: int
    since: float
    state: str
    name: str = ""
    asked: float = 0.0
    user: str = ""
    trying: bool = False
    settled_at: float = 0.0

    @classmethod
    def parse(cls, line: bytes) -> Record | None:
        """Read a line; None if it is not one of ours."""
        try:
            fields = json.loads(line)
            record = cls(**fields)
        except (ValueError, TypeError):
            return None
        for value, kind in (
            (record.pid, int), (record.cap, int), (record.process, str), (record.state, str),
            (record.name, str), (record.user, str), (record.trying, bool),
        ):  # fmt: skip
            if not isinstance(value, kind):
                return None
        try:
            sane = all(
                0 <= number < FAR for number in (record.since, record.asked, record.settled_at)
            )
        except TypeError:
            return None
        return record if sane else None

    def closed(self, now: float, settled_at: float = 0.0) -> Record:
        """What the holder writes at the end."""
        return self._replace(state="closed", since=now, settled_at=settled_at)

    @property
    def settling(self) -> bool:
        """True if the server may still count the connection that was closed."""
        left = self.settled_at - time.monotonic()
        return self.state == "closed" and 0 < left <= SETTLE

    def with_cap(self, cap: int, *, asked: float = 0.0) -> Record:
        """The same with another cap."""
        return self._replace(cap=cap, asked=asked)

    def claim(self) -> Claim:
        """What counts of it."""
        return Claim(self.process, self.cap, self.since, self.user, self.trying)


def program() -> str:
    """Name the program that runs, as its user knows it; never its arguments."""
    path = sys.argv[0] if sys.argv else ""
    if os.path.basename(path) == "__main__.py":  # python -m
        path = os.path.dirname(path)
    return os.path.basename(path)[:60]


class Lock:
    """A file that this process has locked, until it lets go."""

    __slots__ = ("_file", "name")

    def __init__(self, file: int, name: str) -> None:
        self._file = file
        self.name: str = name
        _locks[file] = self

    def write(self, record: Record) -> None:
        """Replace the record in one piece."""
        line = json.dumps(record._asdict(), ensure_ascii=True)
        if len(line) >= LENGTH:
            line = json.dumps(record._replace(name="")._asdict(), ensure_ascii=True)
        os.pwrite(self._file, line.ljust(LENGTH - 1).encode() + b"\n", 0)

    def release(self) -> None:
        """Let go; a second call does nothing."""
        file, self._file = self._file, -1
        if file >= 0 and _locks.pop(file, None) is self:
            try:
                # A child that is between fork and exec has a copy: closing ours would not do.
                fcntl.flock(file, fcntl.LOCK_UN)
            finally:
                os.close(file)

    def forget(self) -> None:
        """Close a forked child's copy; the lock stays its parent's."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


_locks: dict[int, Lock] = {}


def drop_all_after_fork() -> None:
    """Close what a forked child has inherited, without unlocking anything."""
    while _locks:
        _locks.popitem()[1].forget()


class Look(NamedTuple):
    """What was found in the folder of an address at one instant.

    Attributes:
        seen: What counts.
        records: Its records: of slots that are taken, settling ones included, and of processes that
            wait.
        ended: Records of slots that were given back, or whose holder died, a moment ago.
        free: The name of a slot file that nobody has.
    """

    seen: Seen
    records: list[Record]
    ended: list[Record]
    free: str


class Folder:
    """The folder of one address, open."""

    def __init__(self, root: int, address: str) -> None:
        self._folder = open_private(address_folder(address), within=root)

    def close(self) -> None:
        """Close it; locks that were taken in it stay."""
        os.close(self._folder)

    @contextmanager
    def mutex(self, patience: float) -> Iterator[bool]:
        """Be alone; False if that was not possible within `patience` seconds."""
        deadline = time.monotonic() + patience
        lock = None
        try:
            while lock is None:
                lock = self.try_lock("mutex")
                if lock is None:
                    if time.monotonic() >= deadline:
                        break
                    time.sleep(0.003)
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def try_lock(self, name: str) -> Lock | None:
        """Lock a file, made if it is missing; None if somebody has it."""
        file = self._open(name, _CREATE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except BaseException:
            os.close(file)
            raise
        return Lock(file, name)

    def _open(self, name: str, flags: int) -> int:
        """Open a file that is ours and has no second name, by which we would write elsewhere."""
        file = os.open(name, flags, 0o600, dir_fd=self._folder)
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1 and found.st_uid == os.geteuid():
            return file
        os.close(file)
        raise Unusable(f"{name} is not a private file")

    def remove(self, name: str) -> None:
        """Unlink a file, if it is there."""
        try:
            os.unlink(name, dir_fd=self._folder)
        except FileNotFoundError:
            pass  # somebody else tidied up

    def read(self, name: str) -> Record | None:
        """Read a record; None if there is none that we understand."""
        try:
            file = self._open(name, _READ)
        except FileNotFoundError:
            return None
        try:
            return Record.parse(os.pread(file, LENGTH, 0))
        finally:
            os.close(file)

    def lessons(self) -> Lessons:
        """Read what was learned; needs no mutex, as it is replaced in one step."""
        try:
            file = self._open(_LESSONS, _READ)
        except FileNotFoundError:
            return Lessons()
        with open(file, encoding="utf-8", errors="replace") as text:
            return Lessons.load(text.read(LONGEST_LESSONS))

    def write_lessons(self, lessons: Lessons) -> None:
        """Replace what was learned; the mutex must be held."""
        new = f"{_LESSONS}.new"
        self.remove(new)  # left by a process that was killed just here
        with open(self._open(new, _CREATE | os.O_EXCL), "w", encoding="utf-8") as text:
            text.write(lessons.dump())
        os.replace(new, _LESSONS, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def look(self, now: float) -> Look:
        """Count everything; the mutex must be held."""
        held: list[Record] = []
        wanted: list[Record] = []
        ended: list[Record] = []
        settling = 0
        free = ""
        names = sorted(os.listdir(self._folder))
        for name in names:
            if _SLOT.fullmatch(name):
                record, locked = self._look_at_slot(name, now)
                if locked or (record is not None and record.settling):
                    held.append(record or _unknown(name, now))
                    continue
                age = now - record.since if record is not None else -1.0
                if record is not None and 0 <= age < MEMORY:
                    ended.append(record)
                if record is not None and record.state == "died" and 0 <= age < SETTLE:
                    settling += 1
                else:
                    free = free or name
            elif _WANTED.fullmatch(name):
                record = self._look_at_wanted(name, now)
                if record is not None:
                    wanted.append(record)
        free = free or f"slot-{sum(1 for name in names if _SLOT.fullmatch(name)):03d}"
        claims = tuple(record.claim() for record in held)
        wishes = tuple(record.claim() for record in wanted if record.state == "wanted")
        seen = Seen(claims, wishes, settling, self.lessons())
        return Look(seen, held + wanted, ended, free)

    def _look_at_slot(self, name: str, now: float) -> tuple[Record | None, bool]:
        lock = self.try_lock(name)
        if lock is None:
            return self.read(name), True  # no record: locked by another version of us
        try:
            record = self.read(name)
            if record is not None and record.state == "held":
                record = record._replace(state="died", since=now)
                lock.write(record)
        finally:
            lock.release()
        return record, False

    def _look_at_wanted(self, name: str, now: float) -> Record | None:
        lock = self.try_lock(name)
        if lock is not None:
            self.remove(name)
            lock.release()
            return None
        record = self.read(name)
        if record is None or now - record.asked >= FRESH:
            return None
        if record.state != "paused" and now - record.asked <= -FRESH:
            return None  # the clock was set back
        return record


def _unknown(name: str, now: float) -> Record:
    return Record(pid=0, process=name, cap=1_000_000, since=now, state="held", name="")
