"""What an interrupted batch has done already, kept in a file so that the next run goes on there.

One SQLite file in WAL mode, held exclusively while the batch runs. A worker writes down the token
of a part before it sends the first byte, and that a file has arrived before it takes the next one:
whenever the process is killed, at most the files under way are sent again, and their parts are
known. A power loss may cost the last commits as well (``synchronous=NORMAL``): the files of those
moments are then sent again. What is not written down is never taken for done.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref

from ftppool import hooks
from ftppool.errors import ConfigError, TransferError
from ftppool.inputs import Job
from ftppool.transfer.leftover import LeftOver
from ftppool.transfer.parts import new_token

try:
    import ctypes
except ImportError:  # a Python that was built without libffi
    ctypes = None  # type: ignore[assignment]

__all__ = ["Journal"]

APPLICATION = 0x66747070
"""``ftpp``: SQLite keeps it in the header of the file."""
VERSION = 1

_SCHEMA = """
CREATE TABLE target (url TEXT NOT NULL);
CREATE TABLE arrived (
    remote BLOB PRIMARY KEY, source BLOB NOT NULL, told INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE begun (
    remote BLOB, token TEXT, pattern TEXT NOT NULL, source BLOB, PRIMARY KEY (remote, token)
) WITHOUT ROWID;
"""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "is in use by another batch; wait for its end, or give each its own",
    sqlite3.SQLITE_NOTADB: "is no journal; name another file",
    sqlite3.SQLITE_CORRUPT: "is damaged; remove it to start from the beginning",
    sqlite3.SQLITE_READONLY: "cannot be written by this user; name another file",
    sqlite3.SQLITE_PERM: "cannot be written by this user; name another file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened or made: its directory must exist and be writable",
    sqlite3.SQLITE_FULL: "cannot be written: the disk is full",
}


class Journal:
    """The journal of one batch; used by its workers and its caller.

    The lock serialises them: a SQLite library need not be built for use by several threads.
    """

    def __init__(self, path: str | os.PathLike[str], target: str) -> None:
        """Open the journal, or make it with mode 600.

        Args:
            path: Where it is; on a local disk.
            target: Where the files go, without a password: a journal serves one target.

        Raises:
            ConfigError: It cannot be used; the message says why and what to do. It is `retryable`
                if another batch has it.
        """
        self._path = _checked_path(path)
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        try:
            _create(self._path)
            _journals.add(self)
            self._db = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
            self._prepare(self._db, target)
        except (sqlite3.Error, OSError) as error:
            self.close()
            failure = ConfigError(self._words(error), phase="journal")
            failure.retryable = _code(error) == sqlite3.SQLITE_BUSY
            raise failure from error
        except BaseException:
            self.close()
            raise

    def _prepare(self, db: sqlite3.Connection, target: str) -> None:
        # Exclusive mode first: the file then stays locked until it is closed, or the process dies,
        # and WAL needs no shared memory.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != APPLICATION:
            raise ConfigError(f"journal {self._path!r} is a database of another program")
        if version > VERSION:
            raise ConfigError(
                f"journal {self._path!r} was made by a newer ftppool; use that, or another file"
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA wal_autocheckpoint = 4000")  # pages; each checkpoint waits for the disk
        db.execute("BEGIN EXCLUSIVE")
        if not tables:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        known = db.execute("SELECT url FROM target").fetchone()
        if known is None:
            db.execute("INSERT INTO target VALUES (?)", (target,))
        elif known != (target,):
            began = "SELECT EXISTS (SELECT 1 FROM arrived) OR EXISTS (SELECT 1 FROM begun)"
            if db.execute(began).fetchone() != (0,):
                db.execute("ROLLBACK")
                raise ConfigError(
                    f"journal {self._path!r} belongs to an unfinished batch to {known[0]}; finish "
                    "that, or name another file"
                )
            db.execute("UPDATE target SET url = ?", (target,))  # a wrong address, say: no file went
        db.execute("COMMIT")

    def left_overs(self) -> list[LeftOver]:
        """List the uploads that earlier runs began and did not end."""
        rows = self._do("SELECT remote, token, pattern, source FROM begun")
        return [LeftOver(_text(row[0]), str(row[1]), str(row[2]), row[3]) for row in rows]

    def arrived(self, job: Job) -> bool | None:
        """None if the file must be sent, else whether the user was told that it has arrived."""
        remote = _bytes(job.remote)
        rows = self._do("SELECT source, told FROM arrived WHERE remote = ?", remote)
        if not rows:
            return None
        source, told = rows[0]
        if job.identity is not None and job.identity() == source:
            return bool(told)
        # Another source takes its place: what is known would be untrue from its first byte on.
        self._do("DELETE FROM arrived WHERE remote = ?", remote)
        return None

    def begin(self, remote: str, pattern: str, job: Job) -> str:
        """Write down that an upload of `job` begins, and return the token for its part.

        Raises:
            TransferError: The journal cannot be written.
        """
        token = new_token()
        source = None if job.identity is None else job.identity()
        self._do("INSERT INTO begun VALUES (?, ?, ?, ?)", _bytes(remote), token, pattern, source)
        return token

    def end(self, remote: str, token: str, job: Job | None = None) -> None:
        """Write down that nothing is left of an upload; with a `job`: that its file has arrived.

        Raises:
            TransferError: The journal cannot be written.
        """
        begun = ("DELETE FROM begun WHERE remote = ? AND token = ?", (_bytes(remote), token))
        if job is None or job.identity is None:
            self._commit(begun)
        else:
            arrived = "INSERT OR REPLACE INTO arrived VALUES (?, ?, 0)"
            self._commit(begun, (arrived, (_bytes(job.remote), job.identity())))

    def tell(self, remote: str) -> None:
        """Write down that the user has been told of a file."""
        self._do("UPDATE arrived SET told = 1 WHERE remote = ?", _bytes(remote))

    def clear(self) -> None:
        """Forget what has arrived: the batch is complete, and the next one begins anew.

        Parts of earlier runs that could not be removed are still known.

        Raises:
            TransferError: The journal cannot be written.
        """
        self._commit(
            ("DELETE FROM arrived", ()),
            ("DELETE FROM target WHERE NOT EXISTS (SELECT 1 FROM begun)", ()),
        )

    def close(self) -> None:
        """Close the file and free its lock; a second call does nothing."""
        with self._lock:
            db, self._db = self._db, None
            if db is not None:
                db.close()

    # No context manager made of a generator holds the lock: a Ctrl-C between its two halves would
    # leave it locked for as long as the traceback lives.

    def _do(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            db = self._open_one()
            try:
                return db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._failed(error) from error

    def _commit(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        """Do all of these or none."""
        with self._lock:
            db = self._open_one()
            try:
                db.execute("BEGIN")
                for statement, values in statements:
                    db.execute(statement, values)
                db.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._failed(error) from error
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _open_one(self) -> sqlite3.Connection:
        if self._db is None:
            raise TransferError(f"journal {self._path!r} is closed", phase="journal")
        return self._db

    def _failed(self, error: sqlite3.Error) -> TransferError:
        failure = TransferError(self._words(error), phase="journal")
        failure.stops_batch = True
        return failure

    def _words(self, error: sqlite3.Error | OSError) -> str:
        if isinstance(error, OSError):
            advice = f"cannot be made ({error.strerror}): its directory must exist and be writable"
        else:
            known = _ADVICE.get(_code(error))
            advice = known or f"cannot be used: {error}"
        return f"journal {self._path!r} {advice}"


_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
_parents: list[sqlite3.Connection] = []


def _after_fork() -> None:
    """Take the parent's journals from a forked child.

    SQLite takes the child for their owner: closed there, a journal would lose its ``-wal``, in
    which the parent still writes. A connection that is forgotten is closed as well, and at the end
    of the interpreter that is every one without a reference too many.
    """
    for journal in list(_journals):
        journal._lock = threading.Lock()  # a worker may have had it
        db, journal._db = journal._db, None
        if db is not None:
            _parents.append(db)
            if ctypes is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))


hooks.in_child(_after_fork)


def _code(error: Exception) -> int:
    """The kind of an error of SQLite, without what is special to it; 0 for any other error."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _checked_path(path: object) -> str:
    if not isinstance(path, str | os.PathLike) or not isinstance(text := os.fspath(path), str):
        raise ConfigError(f"journal={path!r}: write the path of a file, as str")
    if not text or os.path.isdir(text):
        raise ConfigError(f"journal {text!r} is a directory; write the path of a file in it")
    return os.path.abspath(text)  # SQLite has its own ideas of ":memory:" and the like


def _create(path: str) -> None:
    """Make an empty file that nobody else may read: it lists what the user has."""
    # Only if there is none: closing another descriptor of an open database drops its locks (POSIX).
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: object) -> str:
    assert isinstance(raw, bytes)
    return raw.decode("utf-8", "surrogateescape")
