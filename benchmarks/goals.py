"""What was promised, and what the results say to it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from benchmarks.parts import NAMES
from benchmarks.results import Records

OURS = ("ftppool", "ftppool, 1 connection")
BARE = "bare script"
"""The same steps by sockets alone: no client, but what Python itself takes for them."""
Figure = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound, and the number that must not be above it."""

    text: str
    limit: float
    value: Callable[[Records], float | None]
    """None: not measured."""
    unit: str = ""
    bare: Callable[[Records], float | None] | None = None
    """The same number of the bare script: what Python itself leaves of the bound."""


def middle(figure: Figure, what: str = "wall") -> float | None:
    """Return the median of a figure's runs; None if there is no run."""
    return statistics.median(figure[what]) if figure.get(what) else None


def figures(records: Records, part: str, **axis: float) -> Mapping[str, Figure]:
    """Return the figures of the first cell of a part that fits; empty if there is none."""
    for cell in records.get(part, {}).get("cells", ()):
        if all(cell["axis"][name] == value for name, value in axis.items()):
            found: Mapping[str, Figure] = cell["figures"]
            return found
    return {}


def of(records: Records, part: str, client: str, what: str = "wall", **axis: float) -> float | None:
    """Return the median of one client."""
    return middle(figures(records, part, **axis).get(client, {}), what)


def _ratio(
    part: str, ours: str, theirs: str, what: str = "wall"
) -> Callable[[Records], float | None]:
    """Ours in parts of theirs."""

    def value(records: Records) -> float | None:
        above, below = of(records, part, ours, what), of(records, part, theirs, what)
        return above / below if above is not None and below else None

    return value


def _trips(part: str) -> Callable[[Records], float | None]:
    """Round trips for each file over one connection, start and login included."""

    def value(records: Records) -> float | None:
        wall = of(records, part, OURS[1])
        if wall is None:
            return None
        axis = records[part]["cells"][0]["axis"]
        return float(wall / axis["files"] / axis["rtt_ms"] * 1000)

    return value


def further(records: Records, part: str, client: str, files: float) -> float | None:
    """Return the seconds for each file above the smallest batch of a part, which pays the start."""
    cells = records.get(part, {}).get("cells", ())
    least = min((cell["axis"]["files"] for cell in cells), default=0)
    first, all_of_them = (of(records, part, client, files=number) for number in (least, files))
    if first is None or all_of_them is None or files == least:
        return None
    return (all_of_them - first) / (files - least)


def _flat(records: Records) -> float | None:
    few, all_of_them = (further(records, "count-vsftpd", OURS[0], n) for n in (1000, 100_000))
    return all_of_them / few if few and all_of_them else None


def memory(records: Records, part: str, files: float) -> float | None:
    """Return our peak above that of a process that has only imported ftppool, in MiB."""
    peak = of(records, part, OURS[0], "peak", files=files)
    base = records.get(part, {}).get("import_peak")
    return (peak - base) / 2**20 if peak and base else None


def _pools(records: Records) -> float | None:
    alone = records.get("pools", {}).get("alone", {})
    ours, theirs = (middle(alone, name) for name in ("ftppool", "psycopg_pool"))
    return ours / theirs if ours and theirs else None


def _start(what: str) -> Callable[[Records], float | None]:
    def value(records: Records) -> float | None:
        walls = records.get("startup", {}).get("walls", {})
        both, bare = (middle(walls, name) for name in (what, "python -c pass"))
        return (both - bare) * 1000 if both and bare else None

    return value


def _all() -> list[Goal]:
    small = "200 x 10 kB, 20 ms, 4 connections"
    threads, alone = f"{BARE}, 4 threads", f"{BARE}, 1 thread"
    goals = [
        Goal(f"{small}, {NAMES[server]}: time, of ftplib's in 4 threads", limit,
             _ratio(f"small-{server}", OURS[0], "ftplib, 4 threads"),
             bare=_ratio(f"small-{server}", threads, "ftplib, 4 threads"))
        for server, limit in (("vsftpd", 0.72), ("proftpd", 0.65), ("pure-ftpd", 0.67))
    ]  # fmt: skip
    goals += [
        Goal(f"the same over SFTP, {number}: time, of paramiko's in 4 threads", limit,
             _ratio("small-openssh", ours, "paramiko, 4 threads"))
        for number, ours, limit in (("4 connections", OURS[0], 0.4), ("1 connection", OURS[1], 0.8))
    ]  # fmt: skip
    goals += [
        Goal(f"1 connection, {NAMES[server]}: round trips a file", limit,
             _trips(f"small-{server}"))
        for server, limit in (("vsftpd", 4.3), ("proftpd", 3.3), ("pure-ftpd", 3.3))
    ]  # fmt: skip
    for server in ("vsftpd", "proftpd", "pure-ftpd"):
        work = f"2,000 x 1 kB, loopback, {NAMES[server]}: time, of"
        part = f"loopback-{server}"
        goals += [
            Goal(f"{work} {whose}", limit, _ratio(part, OURS[0], theirs),
                 bare=_ratio(part, threads, theirs))
            for whose, limit, theirs in (
                ("curl's", 1.1, "curl"),
                ("ftplib's in 4 threads", 0.8, "ftplib, 4 threads"),
            )
        ]  # fmt: skip
    sizes = (("500 MB", "half"), ("1 GB", "large"))
    for server, (size, kind) in product(("vsftpd", "proftpd", "pure-ftpd"), sizes):
        work, part = f"{size}, loopback, {NAMES[server]}:", f"{kind}-{server}"
        goals += [
            Goal(f"{work} {text}", limit, _ratio(part, OURS[0], theirs, what),
                 bare=_ratio(part, alone, theirs, what))
            for text, limit, theirs, what in (
                ("time, of curl's", 1.15, "curl", "wall"),
                ("CPU seconds, of curl's", 1.1, "curl", "cpu"),
                ("CPU seconds, of ftplib's", 0.5, "ftplib, 1 connection", "cpu"),
            )
        ]  # fmt: skip
    put = _ratio("large-openssh", OURS[0], "paramiko, 1 connection")
    return [
        *goals,
        Goal("1 GB, loopback, SFTP: time, of paramiko's put", 0.6, put),
        Goal("cost of a further file: of 100,000, of that of 1,000", 1.1, _flat),
        Goal("100,000 files: memory above import", 100,
             lambda records: memory(records, "count-vsftpd", 100_000), " MiB"),
        Goal("acquire + release: time, of psycopg_pool's", 2, _pools),
        Goal("import ftppool and FTPPool(url), above a bare interpreter", 60,
             _start("FTPPool(url)"), " ms"),
        Goal("ftppool --version, above a bare interpreter", 80, _start("ftppool --version"), " ms"),
    ]  # fmt: skip


GOALS = _all()
