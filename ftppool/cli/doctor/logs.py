"""Finds refusals in a server's log, by hour, address and limit.

Logs may be huge: what is read is the end of each file (of a compressed one its beginning), within a
budget for all of them together. No line of a log is ever shown: vsftpd writes the passwords of
anonymous logins into it.
"""

from __future__ import annotations

import glob
import gzip
import os
import re
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import BinaryIO

from ftppool.errors import ConfigError

__all__ = ["BUDGET", "LogView", "read_logs", "require", "rotated"]

BUDGET = 64 << 20
"""Bytes that are read of all logs together."""
BLOCK = 1 << 20
LONGEST_LINE = 1024
"""Bytes of a line that are looked at: the time for one grows with their cube, and whoever logs in
may write names into a log that are made for that."""
MOST_ROTATED = 8
"""Files of one log that are read: the newest."""
MOST_KEYS = 100_000
"""Different hours and addresses that are counted."""

_HINT = re.compile(
    rb"too many sessions|tcp_wrappers|onnection refused|reached, new|exceeded|denied|the maximum"
    rb"|oo many connections|accept more than|oo many open files|sysutil_bind|open port in"
)
_ADDRESS = r"(?:::ffff:)?(?P<who>[0-9A-Fa-f:.]{2,45})"
# Each row: which limit, and how its lines look. The first that fits counts.
_RULES: tuple[tuple[str, str], ...] = (
    # vsftpd. With log_ftp_protocol there is a line for the reply as well, which does not count.
    ("max_per_ip", rf'CONNECT: Client "{_ADDRESS}", "Connection refused: too many sessions for'),
    ("max_clients", rf'CONNECT: Client "{_ADDRESS}", "Connection refused: too many sessions\.'),
    ("tcp_wrappers", rf'CONNECT: Client "{_ADDRESS}", "Connection refused: tcp_wrappers'),
    # ProFTPD; the listener that refuses for MaxInstances does not say whom.
    ("{limit}", rf"\[{_ADDRESS}\]\): Connection refused \((?P<limit>Max[A-Za-z]+)"),
    ("MaxInstances", r"proftpd\b.*\bMaxInstances \(\d+\) reached, new connection denied"),
    ("MaxConnectionRate", r"proftpd\b.*\bMaxConnectionRate\b.*\b(reached|exceeded|denied)"),
    ("ban", rf"\[{_ADDRESS}\]\): mod_ban/\S+ Login denied: .* banned"),
    # Pure-FTPd.
    ("MaxClientsPerIP", rf"Too many connections \(\d+\) from this IP: \[{_ADDRESS}\]"),
    ("PerUserLimits", rf"@{_ADDRESS}\).*can't accept more than \d+ connections as the same user"),
    ("PerUserLimits", r"can't accept more than \d+ connections as the same user"),
    ("MaxClientsNumber", rf"@{_ADDRESS}\).*\d+ users \(the maximum\) are already logged in"),
    ("MaxClientsNumber", r"\d+ users \(the maximum\) are already logged in"),
    # ProFTPD's ExtendedLog, in whatever format: 421 or 530 with the words of a limit.
    ("reply 530", rf"{_ADDRESS}\b.*\b530\b.*maximum number of"),
    ("reply 530", r"\b530\b.*maximum number of"),
)  # fmt: skip
_REFUSALS = tuple((limit, re.compile(pattern)) for limit, pattern in _RULES)
_TROUBLES = (
    ("descriptors", re.compile(r"[Tt]oo many open files")),
    ("passive ports", re.compile(r"vsf_sysutil_bind|unable to find open port in PassivePorts")),
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_TIMES = (
    # vsftpd: Sat Nov 28 10:33:00 2026
    re.compile(r"^\w{3} (?P<mon>\w{3}) +(?P<day>\d+) (?P<hour>\d\d):\d\d:\d\d (?P<year>\d{4})"),
    # ProFTPD, RFC 5424, journalctl -o short-iso and short-full
    re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T ](?P<hour>\d\d):\d\d"),
    # syslog and journalctl: Nov 28 10:33:05, without a year
    re.compile(r"^(?:<\d+>)?(?P<mon>\w{3}) +(?P<day>\d+) (?P<hour>\d\d):\d\d:\d\d"),
    # ExtendedLog: [28/Nov/2026:10:33:05 +0000]
    re.compile(r"\[(?P<day>\d\d)/(?P<mon>\w{3})/(?P<year>\d{4}):(?P<hour>\d\d):"),
)


@dataclass(slots=True, kw_only=True)
class LogView:
    """What the logs say.

    Attributes:
        files: What was read.
        bytes: How much of it.
        cut: Files of which only a part was read.
        missing: Files that are not there or not for us to read, with the reason.
        refusals: Count by hour (``"2026-11-28 10:00"``), address and limit.
        troubles: Count of other lines that explain refusals: descriptors, passive ports.
    """

    files: list[str] = field(default_factory=list)
    bytes: int = 0
    cut: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    refusals: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)

    def by(self, *columns: int) -> Counter[tuple[str, ...]]:
        """Add up by some of hour (0), address (1) and limit (2)."""
        sums: Counter[tuple[str, ...]] = Counter()
        for key, number in self.refusals.items():
            sums[tuple(key[column] for column in columns)] += number
        return sums


def read_logs(paths: Iterable[str], budget: int = BUDGET) -> LogView:
    """Read logs, the first one first, up to the budget; ``-`` is standard input."""
    view = LogView()
    year, month = datetime.now().astimezone().timetuple()[:2]
    for path in dict.fromkeys(paths):
        left = budget - view.bytes
        if left <= 0:
            view.cut.append(path)
            continue
        try:
            for line in _lines(path, left, view):
                _count(view, line, year, month)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            view.missing[path] = reason
            continue
        view.files.append(path)
    return view


def rotated(path: str) -> list[str]:
    """Return a log with its older files (``.1``, ``.2.gz``, ``-20261128``), the newest first."""
    older = [
        found
        for found in glob.glob(f"{glob.escape(path)}[.-]*")
        if re.fullmatch(r"[.-]\d+(\.gz)?", found[len(path) :]) and os.path.isfile(found)
    ]
    older.sort(key=os.path.getmtime, reverse=True)
    return [path, *older[: MOST_ROTATED - 1]]


def _lines(path: str, budget: int, view: LogView) -> Iterator[str]:
    """Lines worth a second look."""
    if path == "-":
        yield from _scan(sys.stdin.buffer, path, budget, view)
        return
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file")
    if path.endswith(".gz"):
        with gzip.open(path, "rb") as packed:
            yield from _scan(packed, path, budget, view)
        return
    with open(path, "rb") as plain:
        size = plain.seek(0, os.SEEK_END)
        start = max(0, size - budget)
        plain.seek(start)
        if start:
            view.cut.append(path)
            plain.readline(LONGEST_LINE)  # the rest of a line
        yield from _scan(plain, path, budget, view)


def _scan(file: BinaryIO | gzip.GzipFile, path: str, budget: int, view: LogView) -> Iterator[str]:
    rest = b""
    while budget > 0:
        block = file.read(min(BLOCK, budget))
        budget -= len(block)
        view.bytes += len(block)
        text = rest + block
        end = text.rfind(b"\n") + 1 if block else len(text)
        if end == 0 and len(text) > LONGEST_LINE:
            end = len(text)  # whatever this is, it has no lines
        yield from _hits(text[:end])
        rest = text[end:]
        if not block:
            return
    if path not in view.cut and file.read(1):
        view.cut.append(path)


def _hits(text: bytes) -> Iterator[str]:
    """Cut out the lines with a word that a refusal has; most lines have none."""
    at = 0
    while (hint := _HINT.search(text, at)) is not None:
        begin = text.rfind(b"\n", 0, hint.start()) + 1
        end = text.find(b"\n", hint.end())
        end = len(text) if end < 0 else end
        yield text[begin : min(end, begin + LONGEST_LINE)].decode("utf-8", "replace")
        at = end


def _count(view: LogView, line: str, year: int, month: int) -> None:
    for limit, pattern in _REFUSALS:
        found = pattern.search(line)
        if found is None:
            continue
        groups = found.groupdict()
        who = _address(groups.get("who"))
        key = _hour(line, year, month), who, limit.format(limit=groups.get("limit", ""))
        if key in view.refusals or len(view.refusals) < MOST_KEYS:
            view.refusals[key] += 1
        return
    for what, pattern in _TROUBLES:
        if pattern.search(line):
            view.troubles[what] += 1
            return


def _address(text: str | None) -> str:
    try:
        return str(ip_address(text or ""))
    except ValueError:
        return "not logged"


def _hour(line: str, year: int, month: int) -> str:
    for pattern in _TIMES:
        found = pattern.search(line)
        if found is None:
            continue
        parts = found.groupdict()
        number = int(parts["month"]) if "month" in parts else _MONTHS.get(parts["mon"])
        if number is None:
            continue
        # Where the year is not written, a month that is still to come was last year's.
        of_year = parts.get("year") or str(year - (number > month))
        return f"{of_year}-{number:02}-{int(parts['day']):02} {parts['hour']}:00"
    return "unknown"


def require(paths: Iterable[str]) -> None:
    """Check the logs that the user has named.

    Raises:
        ConfigError: One cannot be read.
    """
    for path in paths:
        if path != "-" and not os.access(path, os.R_OK):
            raise ConfigError(f"the log {path} cannot be read: check its name, or run as root")
