"""The file calls over SFTP: requests that need not wait for each other do not."""

from __future__ import annotations

import contextlib
import posixpath
import stat as modes
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, NoReturn

import paramiko

from ftppool.bucket import Bucket
from ftppool.drivers import sftp_channel as sftp
from ftppool.drivers.base import Entry
from ftppool.drivers.data import read_from
from ftppool.drivers.sftp_channel import Packet, Refused, SFTPChannel, string
from ftppool.drivers.sftp_extras import SLOWEST_COMMIT, SFTPExtras
from ftppool.drivers.sftp_names import (
    Attributes,
    decoded,
    encoded,
    kind_of,
    read_attributes,
    read_names,
)
from ftppool.drivers.sftp_stream import FAILURES
from ftppool.errors import ConnectionLost, FTPPoolError, RemoteRejected, TransferError
from ftppool.refusals import Phase

__all__ = ["SFTPFiles"]

IN_FLIGHT = 4 << 20
"""Bytes on their way, in either direction, before replies are waited for."""
MOST_REQUESTS = 64
"""Requests on their way; OpenSSH's own client has as many."""
LONGEST_LISTING = 2_000_000
"""Entries of one directory."""
READ, WRITE, CREATE, TRUNCATE = 0x01, 0x02, 0x08, 0x10
NO_SPACE = 1 << 20
"""Bytes free on the server's disk below which a failed write is taken for want of room."""
WORDS = {
    sftp.NO_SUCH_FILE: "no such file or directory",
    sftp.PERMISSION_DENIED: "permission denied",
}


class SFTPFiles(SFTPExtras):
    """File calls of one leased place; see :class:`ftppool.drivers.base.FileOps`."""

    def __init__(
        self, place: SFTPChannel, address: str, *, fsync: bool, bucket: Bucket | None
    ) -> None:
        self._place = place
        self._address = address
        self._fsync = fsync and "fsync@openssh.com" in place.extensions
        self._bucket = bucket
        self._proved: tuple[str, int] | None = None

    # -- transfers ---------------------------------------------------------------------------------

    def store(
        self,
        path: str,
        source: BinaryIO,
        on_bytes: Callable[[int], None],
        *,
        offset: int = 0,
    ) -> int:
        """Write the source up to its end; every write is answered before this returns.

        Args:
            path: Where to.
            source: What.
            on_bytes: Called with the bytes sent so far.
            offset: Where in the file to begin; above 0 what is before stays as it is.

        Returns:
            Bytes sent.
        """
        flags = WRITE | CREATE | (0 if offset else TRUNCATE)
        with self._errors(path, Phase.TRANSFER):
            handle = self._open(path, flags)
            sent = 0
            writes: deque[tuple[int, int]] = deque()
            try:
                while chunk := _read(source, self._place.write_size, path):
                    self._wait_for_rate(len(chunk))
                    where = struct.pack(">QI", offset + sent, len(chunk))
                    number = self._place.post(sftp.WRITE, string(handle) + where, chunk)
                    writes.append((number, len(chunk)))
                    sent += len(chunk)
                    self._collect(writes, path)
                    on_bytes(sent)
                self._finish(path, handle, writes, sent)
            except BaseException:
                self._abandon(handle, [number for number, _ in writes])
                raise
        self._proved = (path, offset + sent) if self._proved == (path, offset + sent) else None
        return sent

    def _wait_for_rate(self, due: int) -> None:
        while self._bucket is not None and due > 0:
            due -= self._bucket.take(due)

    def resume(
        self, path: str, source: BinaryIO, on_bytes: Callable[[int], None], offset: int
    ) -> int:
        """Write the rest of the source behind what is there; the bytes of the whole file."""
        return offset + self.store(path, source, on_bytes, offset=offset)

    def _collect(self, writes: deque[tuple[int, int]], path: str) -> None:
        """Read the answers that are there; wait for some when too many are missing."""
        full = len(writes) >= MOST_REQUESTS or len(writes) * self._place.write_size >= IN_FLIGHT
        keep = len(writes) // 2 if full else len(writes)
        while writes and (len(writes) > keep or self._place.ready()):
            self._answered(writes, path)

    def _answered(self, writes: deque[tuple[int, int]], path: str) -> None:
        number, _size = writes.popleft()
        try:
            self._place.reply(number)
        except Refused as error:
            raise self._rejected(path, error, full=self._disk_is_full(path)) from error

    def _finish(self, path: str, handle: bytes, writes: deque[tuple[int, int]], sent: int) -> None:
        """Ask for time, size and close together with the last writes: one round trip for all."""
        place = self._place
        pending = [number for number, _ in writes]
        if self._fsync:
            request = string(b"fsync@openssh.com") + string(handle)
            pending.append(place.post(sftp.EXTENDED, request))
        dating = self._post_date(path, handle)
        size = place.post(sftp.FSTAT, string(handle))
        closing = place.post(sftp.CLOSE, string(handle))
        place.handles.discard(handle)
        place.channel.settimeout(place.io_timeout + sent / SLOWEST_COMMIT)
        try:
            failures = [refusal for number in pending if (refusal := self._outcome(number))]
            writes.clear()
            if dating is not None:
                self._outcome(dating)
            try:
                found = read_attributes(place.reply(size))
            except Refused:
                found = Attributes(None, None, None)
            failures += [refusal for number in [closing] if (refusal := self._outcome(number))]
        finally:
            place.channel.settimeout(place.io_timeout)
        if failures:
            full = self._disk_is_full(path)
            raise self._rejected(path, failures[0], full=full) from failures[0]
        self._proved = None if found.size is None else (path, found.size)
        self._dated_as(found.modified)

    def _outcome(self, number: int) -> Refused | None:
        """Wait for an answer of which only the verdict counts."""
        try:
            self._place.reply(number)
        except Refused as error:
            return error
        return None

    def _abandon(self, handle: bytes, writes: list[int]) -> None:
        """Close a file after an error, if the channel is still in step."""
        place = self._place
        if place.broken or not place.alive:
            return
        place.channel.settimeout(min(place.io_timeout, 3.0))
        with contextlib.suppress(*FAILURES):
            numbers = list(writes)
            if handle in place.handles:
                place.handles.discard(handle)
                numbers.append(place.post(sftp.CLOSE, string(handle)))
            for number in numbers:
                with contextlib.suppress(Refused):
                    place.reply(number)
            place.channel.settimeout(place.io_timeout)

    def retrieve(self, path: str, sink: Callable[[memoryview], object], *, offset: int = 0) -> int:
        """Read a file from `offset` to its end, with a bounded number of reads ahead."""
        place = self._place
        with self._errors(path, Phase.TRANSFER):
            handle = self._open(path, READ)
            ahead: deque[tuple[int, int, int]] = deque()
            received, most = 0, 2
            asked = offset
            ended = False
            try:
                while True:
                    while not ended and len(ahead) < most:
                        ahead.append(
                            (self._ask(handle, asked, place.read_size), asked, place.read_size)
                        )
                        asked += place.read_size
                    if not ahead:
                        break
                    number, where, wanted = ahead.popleft()
                    try:
                        packet = place.reply(number)
                    except Refused as error:
                        if error.code != sftp.EOF:
                            raise
                        ended = True
                        continue
                    if ended:
                        continue  # the file grows: what is before it was not there yet
                    data = packet.view() if packet.kind == sftp.DATA else memoryview(b"")
                    if not 0 < len(data) <= wanted:
                        raise EOFError("the server answers out of step")
                    sink(data)
                    received += len(data)
                    if len(data) < wanted:  # short: the rest is asked for before all later answers
                        where, wanted = where + len(data), wanted - len(data)
                        ahead.appendleft((self._ask(handle, where, wanted), where, wanted))
                    most = min(2 * most, max(2, IN_FLIGHT // place.read_size))
                place.handles.discard(handle)
                place.call(sftp.CLOSE, string(handle))
            except BaseException:
                self._abandon(handle, [number for number, _, _ in ahead])
                raise
        return received

    def _ask(self, handle: bytes, where: int, size: int) -> int:
        return self._place.post(sftp.READ, string(handle) + struct.pack(">QI", where, size))

    def _open(self, path: str, flags: int, kind: int = sftp.OPEN) -> bytes:
        payload = string(encoded(path))
        if kind == sftp.OPEN:
            payload += struct.pack(">II", flags, 0)
        packet = self._place.call(kind, payload)
        if packet.kind != sftp.HANDLE:
            raise EOFError("the server answers out of step")
        handle = packet.string()
        self._place.handles.add(handle)
        return handle

    # -- names -------------------------------------------------------------------------------------

    def size(self, path: str) -> int | None:
        """Bytes of a file; right after :meth:`store` what its open handle has proved."""
        proved, self._proved = self._proved, None
        if proved is not None and proved[0] == path:
            return proved[1]
        attributes = self._stat(path)
        if attributes.mode is not None and modes.S_ISDIR(attributes.mode):
            raise RemoteRejected(
                f"{path}: it is a directory", code=sftp.FAILURE, phase=Phase.COMMAND.value,
                address=self._address,
            )  # fmt: skip
        return attributes.size

    def stat(self, path: str) -> Entry:
        """What the server says of a file or directory, by way of a link to it."""
        found = self._stat(path)
        return Entry(posixpath.basename(path), kind_of(found.mode), found.size, found.modified)

    def rename(self, old: str, new: str) -> None:
        """Rename over an existing file where the server can (``posix-rename@openssh.com``)."""
        names = string(encoded(old)) + string(encoded(new))
        if "posix-rename@openssh.com" in self._place.extensions:
            self._call(new, sftp.EXTENDED, string(b"posix-rename@openssh.com") + names)
        else:
            self._call(new, sftp.RENAME, names)

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._call(path, sftp.REMOVE, string(encoded(path)))

    def mkdir(self, path: str) -> None:
        """Make a directory with the server's usual permissions."""
        self._call(path, sftp.MKDIR, string(encoded(path)) + struct.pack(">I", 0))

    def rmdir(self, path: str) -> None:
        """Delete an empty directory."""
        self._call(path, sftp.RMDIR, string(encoded(path)))

    def is_directory(self, path: str) -> bool:
        """True if it is a directory, or a link to one."""
        try:
            mode = self._stat(path).mode
        except RemoteRejected:
            return False
        return mode is not None and modes.S_ISDIR(mode)

    def scan(self, path: str) -> list[Entry]:
        """List a directory, with two requests on their way."""
        entries: list[Entry] = []
        place = self._place
        with self._errors(path, Phase.TRANSFER):
            handle = self._open(path or ".", 0, sftp.OPENDIR)
            ahead: deque[int] = deque()
            try:
                answers = 0
                while len(entries) + answers <= LONGEST_LISTING:
                    while len(ahead) < 2:
                        ahead.append(place.post(sftp.READDIR, string(handle)))
                    answers += 1
                    try:
                        entries += read_names(place.reply(ahead.popleft()))
                    except Refused as error:
                        if error.code != sftp.EOF:
                            raise
                        break
                else:
                    raise TransferError(f"{path}: over {LONGEST_LISTING} entries", phase="transfer")
            finally:
                self._abandon(handle, list(ahead))
        return entries

    def working_directory(self) -> str:
        """The login directory."""
        with self._errors("."):
            packet = self._place.call(sftp.REALPATH, string(b"."))
            packet.number()
            return decoded(packet.string())

    def _stat(self, path: str) -> Attributes:
        return read_attributes(self._call(path, sftp.STAT, string(encoded(path))))

    def _call(self, path: str, kind: int, payload: bytes) -> Packet:
        with self._errors(path):
            return self._place.call(kind, payload)

    # -- errors ------------------------------------------------------------------------------------

    def _disk_is_full(self, path: str) -> bool:
        """Ask why a write failed: OpenSSH says "Failure" for a full disk and for all else."""
        if "statvfs@openssh.com" not in self._place.extensions:
            return False
        where = string(encoded(posixpath.dirname(path) or "."))
        try:
            packet = self._place.call(sftp.EXTENDED, string(b"statvfs@openssh.com") + where)
            fields = [packet.number(8) for _ in range(5)]
        except (*FAILURES, Refused):
            return False
        fragment, available = fields[1], fields[4]
        return fragment * available < NO_SPACE

    @contextlib.contextmanager
    def _errors(self, path: str, phase: Phase = Phase.COMMAND) -> Iterator[None]:
        try:
            yield
        except FTPPoolError:
            raise
        except Refused as error:
            raise self._rejected(path, error, phase) from error
        except TimeoutError as error:
            self._lost(path, phase, f"no answer within {self._place.io_timeout:g} s", error)
        except EOFError as error:
            self._lost(path, phase, str(error) or "the server closed the connection", error)
        except (OSError, paramiko.SSHException) as error:
            self._lost(path, phase, str(error), error)

    def _lost(self, path: str, phase: Phase, what: str, cause: Exception) -> NoReturn:
        raise ConnectionLost(f"{path}: {what}", phase=phase.value, address=self._address) from cause

    def _rejected(
        self, path: str, error: Refused, phase: Phase = Phase.TRANSFER, *, full: bool = False
    ) -> RemoteRejected:
        words = "no space left on the server's disk" if full else WORDS.get(error.code, str(error))
        rejected = RemoteRejected(
            f"{path}: {words}",
            code=error.code,
            reply=str(error),
            phase=phase.value,
            address=self._address,
        )
        rejected.stops_batch = full
        return rejected


def _read(source: BinaryIO, size: int, path: str) -> bytes | memoryview:
    return read_from(lambda: source.read(size), path)
