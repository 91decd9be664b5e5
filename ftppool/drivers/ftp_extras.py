"""File calls over FTP that not every server has: times, digests, going on with a file."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import BinaryIO

from ftppool.drivers.ftp_chain import NO_SUCH_COMMAND, date_command
from ftppool.drivers.ftp_lease import LeasedFTP
from ftppool.errors import RemoteRejected

__all__ = ["FTPExtras", "parse_time"]

DATE_COMMANDS = ("MFMT {stamp} {path}", "MDTM {stamp} {path}", "SITE UTIME {stamp} {path}")
OLD_DIGESTS = {"XSHA256": "sha256", "XSHA512": "sha512", "XSHA1": "sha1", "XMD5": "md5"}
HEX = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{32,128}(?![0-9A-Za-z])")


class FTPExtras(ABC):
    """The part of :class:`~ftppool.drivers.ftp_files.FTPFiles` that a server may not have."""

    _ftp: LeasedFTP

    @abstractmethod
    def _errors(self, path: str) -> AbstractContextManager[None]: ...

    @abstractmethod
    def _put(
        self,
        command: str,
        path: str,
        source: BinaryIO,
        on_bytes: Callable[[int], None],
        rest: int | None = None,
    ) -> int: ...

    def set_modified(self, path: str, modified: float) -> bool:
        """MFMT, MDTM with a time, SITE UTIME; what has worked is kept for this server."""
        known = self._ftp._held().known
        if known.dates == "":
            return False
        unknown = 0
        for pattern in DATE_COMMANDS if known.dates is None else (known.dates,):
            try:
                self._ask(path, date_command(pattern, path, modified))
            except RemoteRejected as error:
                unknown += str(error.code) in NO_SUCH_COMMAND
            else:
                known.dates = pattern
                return True
        if unknown == len(DATE_COMMANDS):
            known.dates = ""
        return False

    def modified(self, path: str) -> float | None:
        """MDTM."""
        try:
            reply = self._ask(path, f"MDTM {path}")
        except RemoteRejected as error:
            if str(error.code) in NO_SUCH_COMMAND:
                return None
            raise
        return parse_time(reply[4:].strip())

    def digest_name(self) -> str | None:
        """The server's default for HASH, else the strongest of the old commands."""
        import hashlib

        features = self._features()
        for word in features.get("HASH", "").split(";"):
            name = word.strip().rstrip("*").replace("-", "").lower()
            if word.strip().endswith("*") and name in hashlib.algorithms_available:
                return name
        return next((name for verb, name in OLD_DIGESTS.items() if verb in features), None)

    def digest(self, path: str) -> str:
        """HASH, or one of the old commands."""
        name = self.digest_name()
        features = self._features()
        verb = next((verb for verb, old in OLD_DIGESTS.items() if old == name), "HASH")
        reply = self._ask(path, f"{'HASH' if 'HASH' in features else verb} {path}")
        found = HEX.search(reply[4:].removesuffix(path))
        return found[0] if found else reply

    def resume(
        self, path: str, source: BinaryIO, on_bytes: Callable[[int], None], offset: int
    ) -> int:
        """REST and STOR; APPE where the server does not have that for uploads."""
        taken = 0

        def count(sent: int) -> None:
            nonlocal taken
            taken = sent
            on_bytes(sent)

        try:
            return offset + self._put(f"STOR {path}", path, source, count, offset)
        except RemoteRejected as error:
            # Of what was taken it may have stored some: APPE would put the rest behind that.
            if error.retryable or error.stops_batch or taken or source.tell() != offset:
                raise
        self._ftp._held().restarting = False
        return offset + self._put(f"APPE {path}", path, source, on_bytes)

    def _ask(self, path: str, command: str) -> str:
        with self._errors(path):
            return self._ftp.sendcmd(command)

    def _features(self) -> dict[str, str]:
        known = self._ftp._held().known
        if known.features is None:
            try:
                known.learn_features(self._ask("FEAT", "FEAT").split("\n")[1:-1])
            except RemoteRejected as error:
                if error.retryable:
                    raise
                known.learn_features([])
        return known.features or {}


def parse_time(stamp: str | None) -> float | None:
    """Read ``YYYYMMDDHHMMSS`` as seconds since the epoch; None if it is none."""
    if stamp is None:
        return None
    try:
        return datetime.strptime(stamp[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
