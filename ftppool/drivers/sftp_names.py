"""Names and attributes of files as SFTP packs them."""

from __future__ import annotations

import stat as modes
from collections.abc import Iterator
from dataclasses import dataclass

from ftppool.drivers.base import Entry
from ftppool.drivers.sftp_channel import Packet

__all__ = [
    "TIMES_KNOWN",
    "Attributes",
    "decoded",
    "encoded",
    "kind_of",
    "read_attributes",
    "read_names",
]

SIZE_KNOWN, OWNER_KNOWN, MODE_KNOWN, TIMES_KNOWN, MORE_KNOWN = 1, 2, 4, 8, 0x80000000


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the server says of a file; None where it does not."""

    size: int | None
    mode: int | None
    modified: float | None


def encoded(path: str) -> bytes:
    """Return a path as it goes over the wire."""
    return path.encode("utf-8", "surrogateescape")


def decoded(name: bytes) -> str:
    """Return a name that came over the wire; bytes that are no UTF-8 are kept."""
    return name.decode("utf-8", "surrogateescape")


def read_attributes(packet: Packet) -> Attributes:
    """Read attributes from a reply."""
    flags = packet.number()
    size = packet.number(8) if flags & SIZE_KNOWN else None
    if flags & OWNER_KNOWN:
        packet.number(8)
    mode = packet.number() if flags & MODE_KNOWN else None
    modified = None
    if flags & TIMES_KNOWN:
        packet.number()
        modified = float(packet.number())
    if flags & MORE_KNOWN:
        for _ in range(packet.number()):
            packet.string(), packet.string()
    return Attributes(size, mode, modified)


def read_names(packet: Packet) -> Iterator[Entry]:
    """Read a part of a listing, without ``.`` and ``..`` and what can be no name.

    Raises:
        EOFError: There is nothing in it, for ever perhaps: the end is said in another way.
    """
    count = packet.number()
    if not count:
        raise EOFError("the server answers out of step")
    for _ in range(count):
        name = decoded(packet.string())
        packet.string()  # a line as of `ls -l`, for people
        found = read_attributes(packet)
        if name not in {"", ".", ".."} and "/" not in name and "\0" not in name:
            yield Entry(name, kind_of(found.mode), found.size, found.modified)


def kind_of(mode: int | None) -> str:
    """Return the kind of an entry from its mode."""
    if mode is None:
        return "other"
    tests = ((modes.S_ISREG, "file"), (modes.S_ISDIR, "dir"), (modes.S_ISLNK, "link"))
    return next((kind for test, kind in tests if test(mode)), "other")
