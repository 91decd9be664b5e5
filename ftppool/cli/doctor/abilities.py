"""Finds out, on one session, what a server can do that ftppool makes use of.

It makes a few small files, whose names say what they are, and removes them again.
"""

from __future__ import annotations

import contextlib
import ftplib
import io
import secrets
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from ftppool.cli.exits import one_line
from ftppool.drivers.base import Dates, FileOps, PlaceRefused, Wire
from ftppool.drivers.known import Known
from ftppool.drivers.steps import Chains, Start, Tail
from ftppool.errors import FTPPoolError, RemoteRejected
from ftppool.target import Target

__all__ = ["Abilities", "examine", "sweep"]

CONTENT = b"A test file of 'ftppool doctor --probe', which removes it again. Please delete it.\n"
A_DATE = 1_000_000_000.0
"""2001-09-09, in seconds since the epoch: a time that no file has by accident."""
PATIENCE = 10.0
ROUND_TRIPS = 3


@dataclass(slots=True, kw_only=True)
class Abilities:
    """What was found; None: not found out, and `notes` may say why.

    Attributes:
        greeting: The server's first words.
        round_trip: Seconds for the fastest of a few questions for the directory.
        features: What FEAT lists.
        tls: Version and cipher of the control connection; None in clear text.
        resumes: True if data connections resume its TLS session.
        writable: True if files may be made in the directory.
        overwrites: True if a file may be renamed over an existing one.
        groups: True if commands may be sent together: three round trips a file.
        clock: Seconds by which the server's clock is ahead of ours.
        dates: The command that sets a file's time; "" if there is none.
        channels: Channels at a time on one SSH connection, as far as it was tried.
        left_behind: Files that could not be removed.
        notes: The server's words where it refused something.
    """

    greeting: str = ""
    round_trip: float | None = None
    features: tuple[str, ...] = ()
    tls: str | None = None
    resumes: bool | None = None
    writable: bool | None = None
    overwrites: bool | None = None
    groups: bool | None = None
    clock: float | None = None
    dates: str | None = None
    channels: int | None = None
    left_behind: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


class _Chaining(FileOps, Chains, Protocol):
    """File calls over FTP."""


def examine(wire: Wire, target: Target, places: int) -> Abilities:
    """Try everything, on a session that nobody else uses."""
    found = Abilities()
    if target.scheme == "sftp":
        found.channels = _channels(wire, places)
    loan = wire.lend(PATIENCE)
    try:
        files = wire.files(loan)
        found.round_trip = _round_trip(files)
        if target.scheme != "sftp":
            _greet(found, loan)
        _Trial(found, files, loan, target).run()
    finally:
        wire.take_back(loan)
    return found


def sweep(wire: Wire, found: Abilities) -> None:
    """Try on another session to remove what could not be removed on the first."""
    if not found.left_behind:
        return
    loan = wire.lend(PATIENCE)
    try:
        found.left_behind = _remove(wire.files(loan), found.left_behind)
    finally:
        wire.take_back(loan)


def _remove(files: FileOps, names: tuple[str, ...]) -> tuple[str, ...]:
    left = []
    for name in names:
        try:
            files.remove(name)
        except RemoteRejected as error:
            if error.retryable or _there(files, name):
                left.append(name)
        except FTPPoolError:
            left.append(name)
    return tuple(left)


def _there(files: FileOps, name: str) -> bool:
    """True unless the server says that there is no such file."""
    try:
        files.size(name)
    except RemoteRejected:
        return False
    except FTPPoolError:
        return True
    return True


def _round_trip(files: FileOps) -> float | None:
    fastest = None
    with contextlib.suppress(FTPPoolError):
        for _ in range(ROUND_TRIPS):
            began = time.monotonic()
            files.working_directory()
            took = time.monotonic() - began
            fastest = took if fastest is None else min(fastest, took)
    return fastest


def _channels(wire: Wire, places: int) -> int:
    """Open channels until one is refused, as many as ftppool would use; then close them."""
    loans: list[Any] = []
    try:
        while len(loans) < places:
            loans.append(wire.lend(PATIENCE))
    except (PlaceRefused, FTPPoolError):
        pass  # that is the answer
    finally:
        for loan in loans:
            wire.take_back(loan)
    return len(loans)


def _greet(found: Abilities, ftp: Any) -> None:
    found.greeting = one_line(ftp.welcome or "")[:200]
    with contextlib.suppress(ftplib.Error):
        lines = ftp.sendcmd("FEAT").split("\n")[1:-1]
        found.features = tuple(one_line(line)[:100] for line in lines if line.strip())[:100]
    sock = ftp.sock
    if isinstance(sock, ssl.SSLSocket):
        cipher = sock.cipher()
        found.tls = f"{sock.version()} {cipher[0] if cipher else ''}".strip()


class _Trial:
    """The trials that need files."""

    def __init__(self, found: Abilities, files: FileOps, loan: Any, target: Target) -> None:
        self._found = found
        self._files = files
        self._loan = loan
        self._target = target
        token = secrets.token_hex(4)
        self._stem = f"ftppool-doctor-{token}-please-delete"
        self._made: list[str] = []

    def run(self) -> None:
        """Each trial alone: what one of them meets must not hide what the others find."""
        try:
            if not self._store():
                return
            for name, trial in (
                ("clock", self._clock),
                ("resumes", self._resumes),
                ("overwrites", self._overwrites),
                ("dates", self._dates),
                ("groups", self._groups),
            ):
                try:
                    trial()
                except (FTPPoolError, ftplib.Error, OSError, EOFError) as error:
                    self._found.notes[name] = one_line(error)
        finally:
            self._found.left_behind = _remove(self._files, tuple(self._made))

    def _name(self, number: int) -> str:
        name = self._target.resolve(f"{self._stem}-{number}.txt")
        if name not in self._made:
            self._made.append(name)
        return name

    def _store(self) -> bool:
        first = self._name(1)
        try:
            self._files.store(first, io.BytesIO(CONTENT), _ignore)
        except FTPPoolError as error:
            self._found.writable = False
            self._found.notes["writable"] = one_line(error)
            return False
        self._found.writable = True
        return True

    def _clock(self) -> None:
        modified = self._files.stat(self._name(1)).modified
        if modified is None and isinstance(self._files, Dates):
            modified = self._files.modified(self._name(1))
        if modified is not None:
            self._found.clock = round(modified - time.time(), 1)

    def _resumes(self) -> None:
        if self._found.tls is None:
            return
        ftp = self._loan
        data = ftp.transfercmd(f"RETR {self._name(1)}")
        try:
            while data.recv(8192):
                pass
            self._found.resumes = bool(data.session_reused)
        finally:
            data.close()
        ftp.voidresp()

    def _overwrites(self) -> None:
        first, second = self._name(1), self._name(2)
        self._files.store(second, io.BytesIO(CONTENT), _ignore)
        try:
            self._files.rename(second, first)
        except RemoteRejected as error:
            self._found.overwrites = False
            self._found.notes["overwrites"] = one_line(error)
        else:
            self._found.overwrites = True

    def _dates(self) -> None:
        files, name = self._files, self._name(1)
        if not isinstance(files, Dates):
            return
        took = files.set_modified(name, A_DATE) and files.stat(name).modified in {A_DATE, None}
        self._found.dates = self._date_command() if took else ""

    def _date_command(self) -> str:
        if self._target.scheme == "sftp":
            return "SETSTAT"
        pattern = self._known().dates or ""
        return pattern.partition(" {")[0]

    def _known(self) -> Known:
        known: Known = self._loan._held().known
        return known

    def _groups(self) -> None:
        """Send two files as a batch does; see :mod:`ftppool.drivers.ftp_chain`."""
        if self._target.scheme == "sftp":
            return
        files: Any = self._files
        chains: _Chaining = files
        if not chains.chaining:
            self._found.groups = False
            self._found.notes["groups"] = "its greeting is that of a server that loses commands"
            return
        third, fourth = self._name(3), self._name(4)
        part = f"{third}.part"
        self._made.append(part)
        start = self._start(part)
        chains.step(None, start)
        self._raise(start.error)
        tail, start = self._tail(part, third), self._start(fourth)
        chains.step(tail, start)
        self._raise(tail.error)
        self._raise(start.error)
        tail = self._tail(fourth, None)
        chains.step(tail, None)
        self._raise(tail.error)
        self._found.groups = chains.chaining

    def _raise(self, error: Exception | None) -> None:
        if error is None:
            return
        self._found.groups = False
        self._found.notes["groups"] = one_line(error)
        raise error if isinstance(error, FTPPoolError) else OSError(str(error))

    def _start(self, path: str) -> Start:
        return Start(path=path, final=path, source=io.BytesIO(CONTENT), on_bytes=_ignore)

    def _tail(self, path: str, final: str | None) -> Tail:
        return Tail(path=path, final=final, size=len(CONTENT), on_end=_nothing)


def _ignore(count: int) -> None:
    pass


def _nothing() -> None:
    pass
