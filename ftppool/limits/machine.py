"""The limiter of one machine: all processes of a user share the slots of an address.

See :mod:`ftppool.limits.state` for where they meet, :mod:`~ftppool.limits.slotfiles` for how they
count, and :mod:`~ftppool.limits.fairness` for who gives up what.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ftppool.hooks import in_child
from ftppool.lessons import Lessons
from ftppool.limits.base import Allowance, Denied, Permit
from ftppool.limits.fairness import Grant, Seen, allowance, may_take, shown_too_low
from ftppool.limits.process import ProcessLimiter
from ftppool.limits.slotfiles import Folder, Lock, Record, drop_all_after_fork, program
from ftppool.limits.state import PASSING, address_of, open_root, warn_once
from ftppool.logs import log

__all__ = ["MachineLimiter", "SlotPermit"]

TAKE = 2.0
"""Seconds to wait for the mutex before a permit counts as denied."""
LOOK = 0.2
"""Seconds to wait for the mutex for what can be asked again."""
TAKEN = frozenset({"held", "closed"})
"""States of slots, closed ones while they settle; the others are of processes that wait."""


_numbers = itertools.count()


class SlotPermit:
    """A locked slot file."""

    __slots__ = ("_lock", "_owner", "address", "record", "trying")

    def __init__(
        self, owner: MachineLimiter, address: str, lock: Lock, record: Record, trying: Grant
    ) -> None:
        self._owner = owner
        self._lock: Lock | None = lock
        self.address: str = address
        self.record: Record = record
        self.trying: Grant = trying

    def rewrite(self, record: Record) -> None:
        """Change what is written in the file, while it is held."""
        lock = self._lock
        if lock is not None:
            lock.write(record)
            self.record = record

    def release(self, settled_at: float = 0.0) -> None:
        """Let go of the slot, which counts until `settled_at`; a second call does nothing."""
        lock, self._lock = self._lock, None
        self._owner.permits.discard(self)
        if lock is None:
            return
        try:
            lock.write(self.record.closed(time.time(), settled_at))
        except OSError as error:
            # A full disk, say. Whoever finds it takes it for a slot whose holder has died.
            log.debug(
                "ftppool: %s was not marked as closed: %s", lock.name, error, address=self.address
            )
        finally:
            lock.release()


class MachineLimiter:
    """Permits are locks on slot files, which the kernel lets go of when a process dies.

    One object serves all gates of the process; see :meth:`shared`. All methods may be called from
    any thread. A forked child begins with none of its parent's permits.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._process = f"{os.getpid()}-{os.urandom(4).hex()}"
        # Changed only by who has the mutex of the address.
        self._wishes: dict[str, tuple[Lock, Record]] = {}
        self.permits: set[SlotPermit] = set()
        self._alone = ProcessLimiter()  # for addresses whose folder is out of reach
        self._unsaved: dict[str, Lessons] = {}
        self._mismatch: set[str] = set()

    @classmethod
    def shared(cls) -> MachineLimiter:
        """Return the limiter of this process."""
        return _SHARED

    # -- the protocol ------------------------------------------------------------------------------

    def take(self, address: str, cap: int, user: str) -> Permit | Denied:
        """Take a slot of the machine, or stand in line for one."""
        try:
            with self._folder(address, TAKE) as folder:
                return Denied.FULL if folder is None else self._take(folder, address, cap, user)
        except _NoState:
            pass
        except OSError as error:
            if error.errno in PASSING:
                log.debug(
                    "ftppool: no look at the slots of %s: %s", address, error, address=address
                )
                return Denied.FULL  # and it is asked for again
            warn_once(
                "ftppool: the slots of %s cannot be counted (%s): max_per_ip holds within this "
                "process only", address, error,
            )  # fmt: skip
        return self._alone.take(address, cap, user)

    def pause(self, address: str, cap: int, until: float) -> None:
        """Let those who look see that this process waits; it counts for nobody."""
        try:
            with self._folder(address, LOOK) as folder:
                if folder is not None:
                    self._note_wish(folder, address, cap, "paused", asked=until)
        except (_NoState, OSError) as error:
            log.debug("ftppool: no pause noted at %s: %s", address, error, address=address)

    def forgo(self, address: str) -> None:
        """Leave the line."""
        if address not in self._wishes:
            return
        try:
            with self._folder(address, TAKE) as folder:
                if folder is not None:
                    self._leave_line(folder, address)
        except (_NoState, OSError):
            # Without the directory the file is out of reach; without its lock it does not count.
            self._leave_line(None, address)

    def pressure(self, address: str, cap: int) -> Allowance | None:
        """Say how many sessions this process may keep, and let the others know its cap."""
        mine = [permit for permit in list(self.permits) if permit.address == address]
        if not mine:
            return None
        try:
            with self._folder(address, LOOK) as folder:
                if folder is None:
                    return None
                for permit in mine:
                    if permit.record.cap != cap:
                        permit.rewrite(permit.record.with_cap(cap))
                now = time.time()
                return allowance(folder.look(now).seen, self._process, cap, now)
        except (_NoState, OSError):
            return None

    def others(self, address: str, user: str | None = None) -> int | None:
        """Count the connections of other processes, and those that ended in the last second."""
        try:
            with self._folder(address, TAKE) as folder:
                if folder is None:
                    return None
                found = folder.look(time.time())
        except _NoState:
            return 0
        except OSError:
            return None
        known = [record for record in found.records if record.state in TAKEN] + found.ended
        return sum(
            record.process != self._process and user in (None, record.user) for record in known
        )

    def lessons(self, address: str) -> Lessons:
        """Look up what the processes of this machine were taught."""
        unsaved = self._unsaved.get(address)
        if unsaved is not None:
            return unsaved
        try:
            with self._open(address) as folder:
                return folder.lessons()
        except (_NoState, OSError):
            return self._alone.lessons(address)

    def teach(self, address: str, change: Callable[[Lessons], Lessons]) -> Lessons:
        """Change what they know; what cannot be written is kept for this process."""
        try:
            with self._folder(address, TAKE) as folder:
                if folder is not None:
                    lessons = change(self._unsaved.get(address) or folder.lessons())
                    self._keep(folder, address, lessons)
                    return lessons
        except (_NoState, OSError):
            return self._alone.teach(address, change)
        lessons = self._unsaved[address] = change(self.lessons(address))
        return lessons

    def proved(self, address: str, permit: Permit) -> Lessons:
        """Raise the lessons that a probe showed to be too low."""
        try:
            with self._folder(address, TAKE) as folder:
                if folder is None:
                    return self.lessons(address)  # the next probe will show it
                now = time.time()
                seen = self._with_unsaved(address, folder.look(now).seen)
                lessons = seen.lessons.raised(shown_too_low(seen, permit.trying), now)
                self._keep(folder, address, lessons)
                return lessons
        except (_NoState, OSError):
            return self._alone.proved(address, permit)

    def _keep(self, folder: Folder, address: str, lessons: Lessons) -> None:
        try:
            folder.write_lessons(lessons)
            self._unsaved.pop(address, None)
        except OSError as error:
            log.debug(
                "ftppool: what %s taught was not written: %s", address, error, address=address
            )
            self._unsaved[address] = lessons

    def elsewhere(self, address: str) -> str:
        """Name the other processes that hold slots."""
        held = Counter(
            f"process {record.pid}" + (f" ({record.name})" if record.name else "")
            for record in self.records(address)
            if record.state in TAKEN and record.process != self._process
        )
        return ", ".join(f"{who} holds {count}" for who, count in sorted(held.items()))

    def records(self, address: str) -> list[Record]:
        """List who holds or waits at an address."""
        try:
            with self._folder(address, LOOK) as folder:
                return [] if folder is None else folder.look(time.time()).records
        except (_NoState, OSError):
            return []

    def addresses(self) -> list[str]:
        """List the addresses that ever had a slot here."""
        root = open_root()
        if root is None:
            return []
        try:
            return [address_of(name) for name in sorted(os.listdir(root)) if "_" in name]
        finally:
            os.close(root)

    # -- insides -----------------------------------------------------------------------------------

    def _take(self, folder: Folder, address: str, cap: int, user: str) -> SlotPermit | Denied:
        now = time.time()
        found = folder.look(now)
        seen, free = self._with_unsaved(address, found.seen), found.free
        self._tell_mismatch(address, cap, seen.cap(cap))
        trying = may_take(seen, self._process, cap, user, now)
        if trying is Denied.FULL:
            self._stand_in_line(folder, address, cap, now)
        if isinstance(trying, Denied):
            return trying
        lock = folder.try_lock(free)
        if lock is None:  # a slot file of another version of us
            return Denied.FULL
        if trying:
            self._keep(folder, address, seen.lessons.tried(trying, now))
        record = self._record(cap, "held", now, user=user, trying=bool(trying))
        permit = SlotPermit(self, address, lock, record, trying)
        self.permits.add(permit)
        try:
            permit.rewrite(permit.record)
        except OSError as error:
            # The lock alone makes it count; only the cap is not known to others.
            log.debug("ftppool: %s was not written: %s", free, error, address=address)
        self._leave_line(folder, address)
        return permit

    def _with_unsaved(self, address: str, seen: Seen) -> Seen:
        unsaved = self._unsaved.get(address)
        return seen if unsaved is None else seen._replace(lessons=unsaved)

    def _leave_line(self, folder: Folder | None, address: str) -> None:
        wish = self._wishes.pop(address, None)
        if wish is not None:
            try:
                if folder is not None:
                    folder.remove(wish[0].name)
            except OSError as error:
                # Without its lock it does not count.
                log.debug("ftppool: %s was not removed: %s", wish[0].name, error, address=address)
            finally:
                wish[0].release()

    def _stand_in_line(self, folder: Folder, address: str, cap: int, now: float) -> None:
        """Leave a wanted file, or say that we still want; without it we wait all the same."""
        try:
            self._note_wish(folder, address, cap, "wanted", asked=now)
        except OSError as error:
            log.debug("ftppool: no place in the line for %s: %s", address, error, address=address)

    def _note_wish(
        self, folder: Folder, address: str, cap: int, state: str, *, asked: float
    ) -> None:
        now = time.time()
        wish = self._wishes.get(address)
        if wish is None:
            lock = folder.try_lock(f"wanted-{os.getpid()}-{next(_numbers)}")
            if lock is None:
                return
            record = self._record(cap, state, now)
        else:
            lock, record = wish
            if record.state != state:  # who paused was in no line
                record = self._record(cap, state, now)
        # A clock that was set back must not make us newcomers until it has caught up.
        record = record.with_cap(cap, asked=asked)._replace(since=min(record.since, now))
        self._wishes[address] = (lock, record)
        lock.write(record)

    def _record(
        self, cap: int, state: str, now: float, *, user: str = "", trying: bool = False
    ) -> Record:
        return Record(
            pid=os.getpid(),
            process=self._process,
            cap=cap,
            since=now,
            state=state,
            name=program(),
            user=user,
            trying=trying,
        )

    def _tell_mismatch(self, address: str, cap: int, limit: int) -> None:
        if limit < cap and address not in self._mismatch:
            self._mismatch.add(address)
            log.info(
                "ftppool: another process allows %d connections to %s, this one %d: the smaller "
                "number counts", limit, address, cap, address=address,
            )  # fmt: skip

    @contextmanager
    def _folder(self, address: str, patience: float) -> Iterator[Folder | None]:
        """Open the folder of an address and be alone in it; None if that takes too long.

        Raises:
            _NoState: There is no place for one.
            OSError: It cannot be read or written.
        """
        with self._open(address) as folder, folder.mutex(patience) as alone:
            if not alone:
                log.debug(
                    "ftppool: the slots of %s were busy for %g s",
                    address,
                    patience,
                    address=address,
                )
            yield folder if alone else None

    @contextmanager
    def _open(self, address: str) -> Iterator[Folder]:
        root = open_root()
        if root is None:
            raise _NoState
        try:
            folder = Folder(root, address)
        finally:
            os.close(root)
        try:
            yield folder
        finally:
            folder.close()


_SHARED = MachineLimiter()


class _NoState(Exception):
    """There is no state directory, so each process counts for itself."""


def _after_fork() -> None:
    drop_all_after_fork()
    _SHARED._forget()


in_child(_after_fork)
