"""The file calls over FTP, with ftplib's errors turned into ours."""

from __future__ import annotations

import contextlib
import ftplib
import re
import socket
from calendar import timegm
from collections.abc import Callable, Iterator
from time import strptime
from typing import BinaryIO

from ftppool.bucket import Bucket
from ftppool.drivers.base import Entry
from ftppool.drivers.data import Flow, ready
from ftppool.drivers.ftp_chain import NO_SUCH_COMMAND, SLOWEST_COMMIT, Chain
from ftppool.drivers.ftp_lease import LeasedFTP
from ftppool.drivers.steps import Start, Tail
from ftppool.errors import (
    ConnectionLost,
    FTPPoolError,
    RemoteRejected,
    ServerBusy,
    TransferError,
)
from ftppool.refusals import Kind, Phase, Reply, classify

__all__ = ["FTPFiles"]

CHUNK = 256 * 1024
LONGEST_LISTING = 256 << 20
"""Bytes of one directory listing; about two million files."""


class FTPFiles:
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
        with self._errors(path, Phase.TRANSFER):
            data = self._ftp.transfercmd(f"STOR {path}")
        control = self._ftp._held()
        reader, fd = control.reader, control.sock.fileno()
        flow = Flow(
            data,
            on_bytes=on_bytes,
            heard=lambda: reader.buffered or bool(ready(0, reading=fd)),
            bucket=self._bucket,
        )
        try:
            with data:
                complete = flow.send(source, path)
                if not complete:
                    self._ftp._break_off(data)
        except BaseException:
            self._drain_after_reset()
            raise
        broken = flow.broken
        if not complete and broken is None:
            broken = ConnectionAbortedError("the server ended it")
        self._final_reply(path, flow.sent, broken)
        return flow.sent

    def retrieve(self, path: str, sink: Callable[[memoryview], object]) -> int:
        """RETR: hand over the bytes as they come."""
        with self._errors(path, Phase.TRANSFER):
            data = self._ftp.transfercmd(f"RETR {path}")
        buffer = memoryview(bytearray(CHUNK))
        received = 0
        with data:
            while count := self._receive(data, buffer, path):
                sink(buffer[:count])
                received += count
        self._final_reply(path, 0, None)
        return received

    def size(self, path: str) -> int | None:
        """SIZE; None where the server has no such command."""
        try:
            with self._errors(path):
                return self._ftp.size(path)
        except RemoteRejected as error:
            if str(error.code) in NO_SUCH_COMMAND:
                return None
            raise

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
        with self._errors(path):
            control = self._ftp._held()
            self._ftp.voidcmd(f"CWD {control.home}")
            control.moved = False
        return True

    def scan(self, path: str) -> list[Entry]:
        """MLSD; LIST in the form of ``ls -l`` or of DOS where the server has no MLSD."""
        try:
            entries = [_parse_mlsd(line) for line in self._lines("MLSD", path)]
        except RemoteRejected as error:
            if str(error.code) not in NO_SUCH_COMMAND:
                raise
            entries = [_parse_list(line) for line in self._lines("LIST", path)]
        return [entry for entry in entries if entry is not None and entry.name not in {".", ".."}]

    def _lines(self, command: str, path: str) -> list[str]:
        listing = bytearray()
        with self._errors(path, Phase.TRANSFER):
            data = self._ftp.transfercmd(f"{command} {path}".rstrip())
        buffer = memoryview(bytearray(CHUNK))
        with data:
            while count := self._receive(data, buffer, path):
                listing += buffer[:count]
                if len(listing) > LONGEST_LISTING:
                    raise TransferError(
                        f"{path}: a listing of over {LONGEST_LISTING >> 20} MiB", phase="transfer"
                    )
        self._final_reply(path, 0, None)
        text = listing.decode(self._ftp.encoding, "surrogateescape")
        return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]

    def working_directory(self) -> str:
        """PWD."""
        with self._errors("."):
            return self._ftp.pwd()

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

    def lost(self, path: str, phase: Phase, what: str) -> ConnectionLost:
        """Say that the connection broke."""
        return ConnectionLost(f"{path}: {what}", phase=phase.value, address=self._address)

    def rejected(self, path: str, phase: Phase, error: ftplib.Error) -> FTPPoolError:
        """Say in our own words, and in the server's, what it refuses."""
        text = str(error)
        code = int(text[:3]) if text[:3].isdigit() else None
        verdict = classify(Reply(phase, code, text), live=1, worked_before=True)
        kind: type[FTPPoolError] = {
            Kind.STALE: ConnectionLost,
            Kind.BUSY: ServerBusy,
        }.get(verdict.kind, RemoteRejected)
        rejected = kind(
            f"{path}: {text}",
            code=code,
            reply=text,
            phase=phase.value,
            address=self._address,
            retryable=verdict.kind not in {Kind.PERMANENT, Kind.AUTH},
        )
        if isinstance(rejected, TransferError):
            rejected.stops_batch = verdict.stops_batch
        return rejected


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
    return Entry(name, kind, int(size) if size.isdigit() else None, _time(facts.get("modify")))


def _time(stamp: str | None) -> float | None:
    if stamp is None or not re.match(r"\d{14}", stamp):
        return None
    return float(timegm(strptime(stamp[:14], "%Y%m%d%H%M%S")))


UNIX_LINE = re.compile(r"([-dlbcps])\S{9}\S*\s+\d+\s+\S+\s+\S+\s+(\d+)\s+\S+\s+\S+\s+\S+\s(.*)")
DOS_LINE = re.compile(r"\d\d-\d\d-\d{2,4}\s+\d\d:\d\d(?:[AP]M)?\s+(<DIR>|\d+)\s+(.*)")


def _parse_list(line: str) -> Entry | None:
    """Read a line of LIST: the common Unix and DOS forms, others are left out."""
    if unix := UNIX_LINE.match(line):
        letter, size, name = unix.groups()
        kind = {"-": "file", "d": "dir", "l": "link"}.get(letter, "other")
        if kind == "link":
            name = name.partition(" -> ")[0]
        return Entry(name, kind, int(size) if kind == "file" else None)
    if dos := DOS_LINE.match(line):
        size, name = dos.groups()
        return Entry(name, "dir") if size == "<DIR>" else Entry(name, "file", int(size))
    return None
