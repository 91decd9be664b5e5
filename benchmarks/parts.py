"""The parts of the suite: which clients send what to which server, over which link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import work

FTP_SERVERS = ("vsftpd", "proftpd", "pure-ftpd")
NAMES = {
    "vsftpd": "vsftpd",
    "proftpd": "ProFTPD",
    "pure-ftpd": "Pure-FTPd",
    "openssh": "OpenSSH (SFTP)",
}
"""What the servers are called."""

_FTP_PEERS = ("ftplib, {n} threads", "aioftp", "lftp", "curl")
_FTP_SLOW = ("rclone", "ftplib, 1 connection", "ncftpput, 1 connection")
_SFTP_PEERS = ("paramiko, {n} threads", "asyncssh", "lftp")
_SFTP_SLOW = ("rclone", "paramiko, 1 connection", "OpenSSH sftp, 1 connection")
_OURS = ("ftppool", "ftppool, 1 connection")


@dataclass(frozen=True, slots=True)
class Cell:
    """One comparison: all clients do the same work."""

    files: int
    make: Callable[[Path], None]
    connections: int = 4
    rtt: float = 0.0
    """Seconds."""
    runs: int | None = None
    """None: those of the part."""

    @property
    def axis(self) -> dict[str, float]:
        """What may vary between the cells of a part."""
        return {
            "files": self.files,
            "connections": self.connections,
            "rtt_ms": round(self.rtt * 1000, 3),
        }


@dataclass(frozen=True, slots=True)
class Part:
    """Comparisons on one server that are measured together."""

    name: str
    title: str
    server: str
    cells: tuple[Cell, ...]
    peers: tuple[str, ...]
    """Names in ``peers.FTP`` or ``peers.SFTP``."""
    runs: int
    minutes: int
    """What it takes, about."""

    @property
    def protocol(self) -> str:
        """``ftp`` or ``sftp``."""
        return "sftp" if self.server == "openssh" else "ftp"

    @property
    def link(self) -> bool:
        """Whether it needs a link with a round-trip time."""
        return any(cell.rtt for cell in self.cells)


def every(*, quick: bool = False) -> dict[str, Part]:
    """Return all parts by name; `quick` ones show that the suite runs, and mean nothing."""
    return {part.name: part for part in _parts(quick)}


def _parts(quick: bool) -> Iterator[Part]:
    for server in (*FTP_SERVERS, "openssh"):
        yield from _on_each(server, quick)
    yield from _trees(quick)
    yield from _large(quick)
    yield from _scaling(quick)
    counts = (10, 100) if quick else (10, 100, 1_000, 10_000, 100_000)
    yield Part(
        "count-vsftpd",
        "from few files to many: files of 1 kB, a thousand in a directory, loopback",
        "vsftpd",
        # A small batch is over before it says much; a large one says it in one run.
        tuple(
            Cell(count, work.many(count, 1000), runs=1 if quick or count > 10_000 else 5)
            for count in counts
        ),
        ("ftppool", "ftplib, {n} threads"),
        1,
        8,
    )


def _on_each(server: str, quick: bool) -> Iterator[Part]:
    sftp = server == "openssh"
    ftp = (*_FTP_PEERS, "bare script, {n} threads", *_FTP_SLOW)
    peers = _OURS + (_SFTP_PEERS + _SFTP_SLOW if sftp else ftp)
    count = 5 if quick else 200
    yield Part(
        f"small-{server}",
        f"{count} files of 10 kB, 20 ms round trip, 4 connections",
        server,
        (Cell(count, work.small(count, 10_000), rtt=0.020),),
        peers,
        1 if quick else 5,
        5,
    )
    count = 20 if quick else 2000
    yield Part(
        f"loopback-{server}",
        f"{count} files of 1 kB, loopback, 4 connections",
        server,
        (Cell(count, work.small(count, 1000)),),
        peers,
        1 if quick else 5,
        4,
    )


def _trees(quick: bool) -> Iterator[Part]:
    directories, files = (4, 12) if quick else (24, 300)
    cell = Cell(files, work.tree(directories, files), rtt=0.020)
    title = f"a tree of {files} files in {directories} directories, 20 ms round trip, 4 connections"
    runs = 1 if quick else 3
    ftp = ("ftppool", *_FTP_PEERS, "rclone", "ncftpput, 1 connection")
    yield Part("tree-proftpd", title, "proftpd", (cell,), ftp, runs, 3)
    yield Part("tree-openssh", title, "openssh", (cell,), ("ftppool", *_SFTP_PEERS), runs, 2)


def _large(quick: bool) -> Iterator[Part]:
    size = 1_000_000 if quick else 1_000_000_000
    title = f"one file of {'1 MB' if quick else '1 GB'}, loopback"
    cells = (Cell(1, work.one(size), connections=1),)
    half = (Cell(1, work.one(size // 2), connections=1),)
    half_title = f"one file of {'500 kB' if quick else '500 MB'}, loopback"
    ftp = (
        "ftppool", "ftplib, 1 connection", "bare script, 1 thread", "aioftp", "lftp", "curl",
        "ncftpput, 1 connection",
    )  # fmt: skip
    sftp = ("ftppool", "paramiko, 1 connection", "asyncssh", "lftp", "OpenSSH sftp, 1 connection")
    runs = 1 if quick else 5
    for server in FTP_SERVERS:
        yield Part(f"half-{server}", half_title, server, half, ftp, 1 if quick else 9, 1)
        yield Part(f"large-{server}", title, server, cells, (*ftp, "rclone"), runs, 2)
    yield Part("large-openssh", title, "openssh", cells, (*sftp, "rclone"), min(runs, 3), 5)


def _scaling(quick: bool) -> Iterator[Part]:
    count, runs = (4, 1) if quick else (100, 3)
    make = work.small(count, 10_000)
    numbers = (1, 2) if quick else (1, 2, 4, 8)
    trips = (0.0, 0.005) if quick else (0.0, 0.005, 0.020, 0.080)
    for server in ("proftpd", "openssh"):
        some = ("ftppool", *(_SFTP_PEERS if server == "openssh" else _FTP_PEERS))
        yield Part(
            f"connections-{server}",
            f"more connections: {count} files of 10 kB, 20 ms round trip",
            server,
            tuple(Cell(count, make, connections=number, rtt=0.020) for number in numbers),
            some,
            runs,
            5,
        )
        yield Part(
            f"rtt-{server}",
            f"longer round trips: {count} files of 10 kB, 4 connections",
            server,
            tuple(Cell(count, make, rtt=rtt) for rtt in trips),
            some,
            runs,
            5,
        )
