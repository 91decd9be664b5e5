"""File calls over SFTP that go beyond bytes and names: times and digests."""

from __future__ import annotations

import hashlib
import struct
from abc import ABC, abstractmethod

from ftppool.drivers import sftp_channel as sftp
from ftppool.drivers.sftp_channel import Packet, SFTPChannel, string
from ftppool.drivers.sftp_names import TIMES_KNOWN, Attributes, encoded
from ftppool.errors import RemoteRejected

__all__ = ["SLOWEST_COMMIT", "SFTPExtras"]

SLOWEST_COMMIT = 1 << 20
"""Bytes per second that a server may take to commit or read a file before it must have answered."""
DIGEST = "sha256"
WHOLE_FILE = struct.pack(">QQI", 0, 0, 0)
UNSUPPORTED = 8


TIMES = range(1 << 32)
"""Seconds since 1970 that SFTP 3 can say."""


class SFTPExtras(ABC):
    """The part of :class:`~ftppool.drivers.sftp_files.SFTPFiles` that a server may not have."""

    _place: SFTPChannel
    _due: tuple[str, int] | None = None
    _dated: tuple[str, int] | None = None

    @abstractmethod
    def _call(self, path: str, kind: int, payload: bytes) -> Packet: ...

    @abstractmethod
    def _stat(self, path: str) -> Attributes: ...

    # -- times, in whole seconds as SFTP has them --------------------------------------------------

    def date_on_close(self, path: str, modified: float) -> None:
        """Give the file that is stored next as `path` this time before it is closed."""
        if int(modified) in TIMES:
            self._due = (path, int(modified))

    def _post_date(self, path: str, handle: bytes) -> int | None:
        """Ask for the time that is due, without waiting; the number of the request."""
        self._dated = None
        if self._due is None or self._due[0] != path:
            return None
        return self._place.post(sftp.FSETSTAT, string(handle) + _times(self._due[1]))

    def _dated_as(self, modified: float | None) -> None:
        """Believe it only if the file, asked right after, had the time."""
        due, self._due = self._due, None
        if due is not None and modified == due[1]:
            self._dated = due

    def set_modified(self, path: str, modified: float) -> bool:
        """Set the times of access and change, unless that was done as the file was closed."""
        dated, self._dated = self._dated, None
        if dated == (path, int(modified)):
            return True
        if int(modified) not in TIMES:
            return False
        try:
            self._call(path, sftp.SETSTAT, string(encoded(path)) + _times(int(modified)))
        except RemoteRejected:
            return False
        return True

    def modified(self, path: str) -> float | None:
        """The time of a file."""
        return self._stat(path).modified

    # -- digests (draft-ietf-secsh-filexfer-extensions-00, 3) --------------------------------------

    def digest_name(self) -> str | None:
        """SHA-256 where the server knows ``check-file-name``: ProFTPD does and does not offer it.

        So it is asked for the digest of a directory, once for each channel. Any answer but
        "unsupported" tells that it understands.
        """
        place = self._place
        if place.digests is None:
            try:
                self._check(".")
            except RemoteRejected as error:
                place.digests = error.code != UNSUPPORTED
            else:
                place.digests = True
        return DIGEST if place.digests else None

    def digest(self, path: str) -> str:
        """Have the server read the whole file; ProFTPD refuses to read one that is empty."""
        place = self._place
        size = self._stat(path).size
        if size == 0:
            return hashlib.new(DIGEST).hexdigest()
        place.channel.settimeout(place.io_timeout + (size or 0) / SLOWEST_COMMIT)
        try:
            packet = self._check(path)
        finally:
            place.channel.settimeout(place.io_timeout)
        return packet.rest().hex()

    def _check(self, path: str) -> Packet:
        request = string(b"check-file-name") + string(encoded(path)) + string(DIGEST.encode())
        packet = self._call(path, sftp.EXTENDED, request + WHOLE_FILE)
        packet.string()  # the algorithm: there was no choice
        return packet


def _times(seconds: int) -> bytes:
    return struct.pack(">III", TIMES_KNOWN, seconds, seconds)
