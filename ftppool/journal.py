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
from collections.abc import Iterator

from ftppool.errors import ConfigError, TransferError
from ftppool.inputs import Job
from ftppool.transfer.leftover import LeftOver
from ftppool.transfer.parts import new_token

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
            ConfigError: It cannot be used; the message says why and what to do.
        """
        self._path = _checked_path(path)
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        try:
            _create(self._path)
            self._db = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
            self._prepare(self._db, target)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise ConfigError(self._words(error)) from error
        except ConfigError:
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
            db.execute("ROLLBACK")
            raise ConfigError(
                f"journal {self._path!r} belongs to an unfinished batch to {known[0]}; finish "
                "that, or name another file"
            )
        db.execute("COMMIT")

    def left_overs(self) -> list[LeftOver]:
        """List the uploads that earlier runs began and did not end."""
        rows = self._do("SELECT remote, token, pattern, source FROM begun")
        return [LeftOver(_text(row[0]), str(row[1]), str(row[2]), row[3]) for row in rows]

    def arrived(self, job: Job) -> bool | None:
        """None if the file must be sent, else whether the user was told that it has arrived."""
        if job.identity is None:
            return None
        known = "SELECT told FROM arrived WHERE remote = ? AND source = ?"
        rows = self._do(known, _bytes(job.remote), job.identity())
        return bool(rows[0][0]) if rows else None

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
        with self._transaction() as db:
            db.execute("DELETE FROM begun WHERE remote = ? AND token = ?", (_bytes(remote), token))
            if job is not None and job.identity is not None:
                db.execute(
                    "INSERT OR REPLACE INTO arrived VALUES (?, ?, 0)",
                    (_bytes(job.remote), job.identity()),
                )

    def tell(self, remote: str) -> None:
        """Write down that the user has been told of a file."""
        self._do("UPDATE arrived SET told = 1 WHERE remote = ?", _bytes(remote))

    def clear(self) -> None:
        """Forget everything: the batch is complete, and the next one begins anew.

        Raises:
            TransferError: The journal cannot be written.
        """
        with self._transaction() as db:
            for table in ("arrived", "begun", "target"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - no user's text

    def close(self) -> None:
        """Close the file and free its lock; a second call does nothing."""
        with self._lock:
            db, self._db = self._db, None
            if db is not None:
                db.close()

    def _do(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self._held() as db:
            return db.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._held() as db:
            db.execute("BEGIN")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextlib.contextmanager
    def _held(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._db is None:
                raise TransferError(f"journal {self._path!r} is closed", phase="journal")
            try:
                yield self._db
            except sqlite3.Error as error:
                raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> TransferError:
        failure = TransferError(self._words(error), phase="journal")
        failure.stops_batch = True
        return failure

    def _words(self, error: sqlite3.Error | OSError) -> str:
        if isinstance(error, OSError):
            advice = f"cannot be made ({error.strerror}): its directory must exist and be writable"
        else:
            known = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
            advice = known or f"cannot be used: {error}"
        return f"journal {self._path!r} {advice}"


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
