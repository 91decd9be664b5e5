"""The file calls over FTP, with ftplib's errors turned into ours."""

from __future__ import annotations

import contextlib
import ftplib
import posixpath
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ftppool.bucket import Bucket
from ftppool.drivers.base import Entry, explain, reset
from ftppool.drivers.data import Flow
from ftppool.drivers.ftp_chain import NO_SUCH_COMMAND, SLOWEST_COMMIT, Chain
from ftppool.drivers.ftp_extras import FTPExtras, parse_time
from ftppool.drivers.ftp_lease import LONGEST_LISTING, LeasedFTP
from ftppool.drivers.replies import LONGEST_LINE, decode, parse_number
from ftppool.drivers.steps import Start, Tail
from ftppool.errors import (
    ConfigError,
    ConnectionLost,
    FTPPoolError,
    RemoteRejected,
    ServerBusy,
    TransferError,
)
from ftppool.refusals import Kind, Phase, Reply, classify
from ftppool.words import legible

__all__ = ["FTPFiles"]

CHUNK = 256 * 1024
LISTING_CHUNK = 16 * 1024
SLOWEST_LISTING = 1 << 10
"""Bytes per second of a listing that goes on for longer than one reply may take."""
MOST_ENTRIES = 1_000_000
"""Lines of one directory listing."""


class FTPFiles(FTPExtras):
    """File calls of one leased session; see :class:`ftppool.drivers.base.FileOps`."""

    def __init__(
        self,
        ftp: LeasedFTP,
        address: str,
        io_timeout: float,
        *,
        bucket: Bucket | None = None,
        chains: bool = False,
    ) -> None:
        self._ftp = ftp
        self._address = address
        self._io_timeout = io_timeout
        self._bucket = bucket
        self._chains = chains
        ftp._wanted_type = "I"

    @property
    def chaining(self) -> bool:
        """True if the server takes commands that are sent together."""
        return self._chains and self._ftp._held().known.grouping

    def step(self, tail: Tail | None, start: Start | None) -> None:
        """End one file and send the next; see :mod:`ftppool.drivers.ftp_chain`."""
        Chain(self._ftp, self, self._io_timeout, self._bucket).step(tail, start)

    def store(self, path: str, source: BinaryIO, on_bytes: Callable[[int], None]) -> int:
        """STOR: send the source and wait for the final reply, which alone is the verdict."""
        return self._put(f"STOR {path}", path, source, on_bytes)

    def _put(
        self,
        command: str,
        path: str,
        source: BinaryIO,
        on_bytes: Callable[[int], None],
        rest: int | None = None,
    ) -> int:
        with self._errors(path, Phase.TRANSFER):
            data = self._ftp.transfercmd(command, rest)
        flow = Flow(
            data,
            on_bytes=on_bytes,
            heard=self._ftp._held().speaks,
            stall=self._io_timeout,
            bucket=self._bucket,
        )
        try:
            with data:
                complete = flow.send(source, path)
                if not complete:
                    reset(data)
        except BaseException:
            self._drain_after_reset()
            raise
        broken = flow.broken
        if not complete and broken is None:
            broken = ConnectionAbortedError("the server ended it")
        self._final_reply(path, flow.sent, broken)
        return flow.sent

    def retrieve(self, path: str, sink: Callable[[memoryview], object], *, offset: int = 0) -> int:
        """RETR, after REST if it is not from the beginning: hand over the bytes as they come."""
        with self._errors(path, Phase.TRANSFER):
            data = self._ftp.transfercmd(f"RETR {path}", offset or None)
        buffer = memoryview(bytearray(CHUNK))
        received = 0
        broken: OSError | None = None
        try:
            with data:
                while True:
                    try:
                        count = data.recv_into(buffer)
                    except OSError as error:
                        broken = error
                        reset(data)
                        break
                    if not count:
                        break
                    sink(buffer[:count])
                    received += count
        except BaseException:
            self._drain_after_reset()
            raise
        self._final_reply(path, 0, broken)
        return received

    def stat(self, path: str) -> Entry:
        """MLST; SIZE, MDTM and CWD where the server has no MLST."""
        control = self._ftp._held()
        if control.known.mlst:
            try:
                with self._errors(path):
                    reply = self._ftp.voidcmd(f"MLST {path}")
            except RemoteRejected as error:
                if str(error.code) not in NO_SUCH_COMMAND:
                    _tell_absence(error)
                    raise
                control.known.mlst = False
            else:
                return _parse_mlst(reply, path)
        try:
            size = self.size(path)
        except RemoteRejected as error:
            if error.retryable:
                raise
            if not self.is_directory(path):
                _tell_absence(error)
                raise
            return Entry(posixpath.basename(path), "dir")
        return Entry(posixpath.basename(path), "file", size, self._modified(path))

    def _modified(self, path: str) -> float | None:
        try:
            with self._errors(path):
                return parse_time(self._ftp.voidcmd(f"MDTM {path}")[3:].strip())
        except RemoteRejected as error:
            if error.retryable:
                raise
            return None

    def size(self, path: str) -> int | None:
        """SIZE; None where the server has no such command."""
        try:
            with self._errors(path):
                size = self._ftp.size(path)
        except RemoteRejected as error:
            if str(error.code) in NO_SUCH_COMMAND:
                return None
            raise
        if size is None:
            raise self.lost(path, Phase.COMMAND, "the reply to SIZE is out of step")
        return size

    def rename(self, old: str, new: str) -> None:
        """RNFR and RNTO."""
        with self._errors(new):
            self._ftp.rename(old, new)

    def remove(self, path: str) -> None:
        """DELE."""
        with self._errors(path):
            self._ftp.delete(path)

    def mkdir(self, path: str) -> None:
        """MKD."""
        with self._errors(path):
            self._ftp.voidcmd(f"MKD {path}")

    def rmdir(self, path: str) -> None:
        """RMD."""
        with self._errors(path):
            self._ftp.rmd(path)

    def is_directory(self, path: str) -> bool:
        """Try CWD: the one test that all servers understand."""
        try:
            with self._errors(path):
                self._ftp.voidcmd(f"CWD {path}")
        except RemoteRejected as error:
            if error.retryable:
                raise
            return False
        control = self._ftp._held()
        if not control.home:
            raise self.lost(path, Phase.COMMAND, "the server does not say where it was before")
        with self._errors(path):
            self._ftp.voidcmd(f"CWD {control.home}")
            control.moved = False
        return True

    def scan(self, path: str) -> list[Entry]:
        """MLSD; LIST in the form of ``ls -l`` or of DOS where the server has no MLSD."""
        try:
            return self._list("MLSD", path, _parse_mlsd)
        except RemoteRejected as error:
            if str(error.code) not in NO_SUCH_COMMAND:
                raise
            entries = self._list("LIST", path, _parse_list)
            if not entries and path and not self.is_directory(path):
                # vsftpd: 226 and nothing, for an empty directory as for none.
                raise self.rejected(
                    path, Phase.COMMAND, ftplib.error_perm("550 No such directory.")
                ) from None
            return entries

    def _list(self, command: str, path: str, parse: Callable[[str], Entry | None]) -> list[Entry]:
        entries: list[Entry] = []
        with self._errors(path, Phase.TRANSFER):
            data = self._ftp.transfercmd(f"{command} {path}".rstrip())
        with data:
            for raw in self._lines(data, path):
                entry = parse(decode(raw, self._ftp.encoding).rstrip("\r"))
                if entry is not None and _is_name(entry.name):
                    entries.append(entry)
        self._final_reply(path, 0, None)
        return entries

    def _lines(self, data: socket.socket, path: str) -> Iterator[bytes]:
        """Lines of a listing as they come, within bounds: it all ends up in memory."""
        buffer = memoryview(bytearray(LISTING_CHUNK))
        rest, size, number = b"", 0, 0
        end = time.monotonic() + self._io_timeout
        while count := self._receive(data, buffer, path):
            size += count
            *lines, rest = (rest + buffer[:count]).split(b"\n")
            number += len(lines)
            if time.monotonic() > end + size / SLOWEST_LISTING:
                raise self.lost(path, Phase.TRANSFER, "the listing hardly gets on")
            if size > LONGEST_LISTING or number > MOST_ENTRIES or len(rest) > LONGEST_LINE:
                raise TransferError(
                    f"{path}: a listing of over {LONGEST_LISTING >> 20} MiB, {MOST_ENTRIES:,} "
                    f"entries or {LONGEST_LINE} bytes in a line",
                    phase="transfer",
                    address=self._address,
                )
            yield from lines
        yield rest

    def working_directory(self) -> str:
        """PWD."""
        with self._errors("."):
            directory = self._ftp.pwd()
        if not directory:
            raise self.lost(".", Phase.COMMAND, "the server does not say its directory")
        return directory

    def _receive(self, data: socket.socket, buffer: memoryview, path: str) -> int:
        with self._errors(path, Phase.TRANSFER):
            return data.recv_into(buffer)

    def _drain_after_reset(self) -> None:
        """Read the reply to a transfer that we have broken off, so that the session is in step."""
        control = self._ftp._held()
        control.sock.settimeout(control.quit_timeout)
        with contextlib.suppress(ftplib.Error, EOFError, OSError):
            self._ftp.getmultiline()
        control.sock.settimeout(self._io_timeout)

    def _final_reply(self, path: str, sent: int, broken: OSError | None) -> None:
        """Read the reply that ends a transfer; it may take longer the more was sent."""
        control = self._ftp._held()
        limit = self._io_timeout + sent / SLOWEST_COMMIT
        if broken is not None:
            limit = control.quit_timeout
        control.sock.settimeout(limit)
        with self._errors(path, Phase.TRANSFER, limit):
            self._ftp.voidresp()
        control.sock.settimeout(self._io_timeout)
        if broken is not None:
            raise ConnectionLost(
                f"{path}: the data connection broke ({broken})",
                phase="transfer",
                address=self._address,
            ) from broken

    @contextlib.contextmanager
    def _errors(
        self, path: str, phase: Phase = Phase.COMMAND, limit: float | None = None
    ) -> Iterator[None]:
        try:
            yield
        except ftplib.Error as error:
            raise self.rejected(path, phase, error) from error
        except TimeoutError as error:
            raise self.lost(
                path, phase, f"no answer for {limit or self._io_timeout:.3g} s"
            ) from error
        except EOFError as error:
            raise self.lost(path, phase, "the server closed the connection") from error
        except OSError as error:
            raise self.lost(path, phase, str(error)) from error
        except UnicodeEncodeError as error:
            raise self.unwritable(path) from error

    def unwritable(self, path: str) -> ConfigError:
        """Say that the connection's encoding does not have a name."""
        return ConfigError(
            f"{path!r} cannot be written in {self._ftp.encoding}: pass another "
            "FTPConfig(encoding=…)"
        )

    def lost(self, path: str, phase: Phase, what: str) -> ConnectionLost:
        """Say that the connection broke."""
        return ConnectionLost(f"{path}: {what}", phase=phase.value, address=self._address)

    def rejected(self, path: str, phase: Phase, error: ftplib.Error) -> FTPPoolError:
        """Say in our own words, and in the server's, what it refuses."""
        text = legible(str(error))
        code = int(text[:3]) if text[:3].isascii() and text[:3].isdigit() else None
        verdict = classify(Reply(phase, code, text), live=1, worked_before=True)
        if verdict.rule == "tls-session-reuse" and self._ftp._reuse_worked():
            # Servers forget TLS sessions in time: a new connection has a new one.
            return self.lost(path, phase, text)
        kind: type[FTPPoolError] = {
            Kind.STALE: ConnectionLost,
            Kind.BUSY: ServerBusy,
        }.get(verdict.kind, RemoteRejected)
        said = text.replace("\n", " / ")
        if verdict.rule == "write-failed":
            said = f"{said.rstrip('. ')}; its disk is probably full, or this user's quota used up"
        rejected = kind(
            f"{path}: {said}",
            code=code,
            reply=text,
            phase=phase.value,
            address=self._address,
            retryable=verdict.kind not in {Kind.PERMANENT, Kind.AUTH},
        )
        if isinstance(rejected, TransferError):
            rejected.stops_batch = verdict.stops_batch
        return rejected


def _tell_absence(error: RemoteRejected) -> None:
    """Say what servers mean by words such as "Could not get file size"."""
    if error.code == 550 and "no such file" not in str(error.reply).lower():
        explain(error, "there is no such file, or this user may not see it")


def _parse_mlst(reply: str, path: str) -> Entry:
    """Read the one line of facts, which begins with a blank."""
    name = posixpath.basename(path)
    for line in reply.splitlines()[1:]:
        if line[:1].isspace() and "=" in line:
            facts = line.strip().partition(" ")[0]
            entry = _parse_mlsd(f"{facts} {name}")
            return Entry(name, "dir") if entry is None else entry
    return Entry(name, "other")


def _is_name(name: str) -> bool:
    """True unless it would lead a careless reader elsewhere."""
    return name not in {"", ".", ".."} and not set(name) & {"/", "\0"}


def _parse_mlsd(line: str) -> Entry | None:
    head, _, name = line.partition(" ")
    pairs = (fact.partition("=") for fact in head.split(";") if fact)
    facts = {key.lower(): value for key, _, value in pairs}
    kind = facts.get("type", "").lower()
    if kind in {"cdir", "pdir"}:
        return None
    if kind.startswith("os.unix=s"):
        kind = "link"
    elif kind not in {"file", "dir"}:
        kind = "other"
    size = facts.get("size", "")
    return Entry(name, kind, parse_number(size), parse_time(facts.get("modify")))


UNIX_LINE = re.compile(r"([-dlbcps])\S{9}\S*\s+\d+\s+\S+\s+\S+\s+(\d+)\s+\S+\s+\S+\s+\S+\s(.*)")
DOS_LINE = re.compile(r"\d\d-\d\d-\d{2,4}\s+\d\d:\d\d(?:[AP]M)?\s+(<DIR>|\d+)\s+(.*)")


def _parse_list(line: str) -> Entry | None:
    """Read a line of LIST: the common Unix and DOS forms, others are left out."""
    if unix := UNIX_LINE.match(line):
        letter, size, name = unix.groups()
        kind = {"-": "file", "d": "dir", "l": "link"}.get(letter, "other")
        if kind == "link":
            name = name.partition(" -> ")[0]
        return Entry(name, kind, parse_number(size) if kind == "file" else None)
    if dos := DOS_LINE.match(line):
        size, name = dos.groups()
        return Entry(name, "dir") if size == "<DIR>" else Entry(name, "file", parse_number(size))
    return None
