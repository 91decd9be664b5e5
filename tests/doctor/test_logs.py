"""Refusals in logs: lines that the real servers wrote, in all the forms that logs have."""

from __future__ import annotations

import gzip
import os
from datetime import datetime
from pathlib import Path

import pytest

from ftppool.cli.doctor.logs import LogView, read_logs, rotated

VSFTPD = (
    'Sat Nov 28 10:33:00 2026 [pid 28269] CONNECT: Client "192.0.2.7"\n'
    'Sat Nov 28 10:33:00 2026 [pid 28269] [u] OK LOGIN: Client "192.0.2.7", anon password "x"\n'
    'Sat Nov 28 10:33:00 2026 [pid 28270] CONNECT: Client "192.0.2.7", "Connection refused: too '
    'many sessions for this address."\n'
    'Sat Nov 28 11:33:00 2026 [pid 28271] CONNECT: Client "::ffff:192.0.2.8", "Connection '
    'refused: too many sessions."\n'
)
PROFTPD = (
    "2026-11-28 10:33:01,911 vm proftpd[284] 127.0.0.1 (host[192.0.2.7]): Connection refused "
    "(MaxConnectionsPerHost 3)\n"
    "2026-11-28 10:33:02,328 vm proftpd[284] 127.0.0.1: MaxInstances (3) reached, new connection "
    "denied\n"
    "2026-11-28 10:33:02,870 vm proftpd[284] 127.0.0.1 (u[2001:db8::1]): Connection refused "
    "(MaxClientsPerUser 3)\n"
)
PURE = (
    "Nov  8 10:33:05 vm pure-ftpd: (?@?) [WARNING] Too many connections (3) from this IP: "
    "[192.0.2.7]\n"
)
MESSAGE = "pure-ftpd: (?@?) [WARNING] Too many connections (3) from this IP: [192.0.2.7]"


def read(path: Path, text: str | bytes, **options: int) -> LogView:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_logs([str(path)], **options)


def test_vsftpd_names_the_address_and_which_limit(tmp_path: Path) -> None:
    assert read(tmp_path / "v.log", VSFTPD).refusals == {
        ("2026-11-28 10:00", "192.0.2.7", "max_per_ip"): 1,
        ("2026-11-28 11:00", "192.0.2.8", "max_clients"): 1,
    }


def test_proftpd_names_its_directives(tmp_path: Path) -> None:
    assert read(tmp_path / "p.log", PROFTPD).refusals == {
        ("2026-11-28 10:00", "192.0.2.7", "MaxConnectionsPerHost"): 1,
        ("2026-11-28 10:00", "not logged", "MaxInstances"): 1,
        ("2026-11-28 10:00", "2001:db8::1", "MaxClientsPerUser"): 1,
    }


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-08T10:33:05.123456+00:00 vm ",
        "2026-11-08T10:33:05+0000 vm ",
        "Sun 2026-11-08 10:33:05 UTC vm ",
        "<92>1 2026-11-08T10:33:05Z vm ",
    ],
)
def test_syslog_and_journal_write_times_in_many_ways(tmp_path: Path, stamp: str) -> None:
    found = read(tmp_path / "syslog", f"{stamp}{MESSAGE}\n")
    assert found.refusals == {("2026-11-08 10:00", "192.0.2.7", "MaxClientsPerIP"): 1}


def test_a_time_without_a_year_is_never_in_the_future(tmp_path: Path) -> None:
    now = datetime.now().astimezone()
    found = read(tmp_path / "syslog", PURE + PURE.replace("Nov  8", now.strftime("%b %e")))
    years = {int(hour[:4]) for hour, _, _ in found.refusals}
    assert years <= {now.year, now.year - 1}
    assert now.strftime("%Y-%m-%d 10:00") in {hour for hour, _, _ in found.refusals}


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    noise = 'Sat Nov 28 10:00:00 2026 [pid 1] CONNECT: Client "192.0.2.1"\n' * 40_000
    path = tmp_path / "v.log"
    found = read(path, VSFTPD + noise + VSFTPD, budget=100_000)
    assert found.bytes <= 100_000 < os.path.getsize(path)
    assert sum(found.refusals.values()) == 2
    assert found.cut == [str(path)]
    whole = read_logs([str(path)])
    assert sum(whole.refusals.values()) == 4
    assert whole.cut == []


def test_rotated_and_packed_logs_are_read_the_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "v.log"
    for name, seconds in (("v.log.2.gz", 10), ("v.log.1", 20), ("v.log", 30), ("v.log.old", 5)):
        data = VSFTPD.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        os.utime(tmp_path / name, (seconds, seconds))
    names = rotated(str(path))
    assert [os.path.basename(name) for name in names] == ["v.log", "v.log.1", "v.log.2.gz"]
    assert sum(read_logs(names).refusals.values()) == 6


def test_what_is_no_log_is_told_and_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "broken.gz").write_bytes(b"\x1f\x8b no gzip")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "binary").write_bytes(os.urandom(100_000) + b"\0denied\0" * 100)
    names = [str(tmp_path / name) for name in ("broken.gz", "fifo", "missing", "binary")]
    found = read_logs(names)
    assert set(found.missing) == set(names[:3])
    assert found.files == names[3:]
    assert not found.refusals


def test_a_lying_address_is_not_shown(tmp_path: Path) -> None:
    line = VSFTPD.splitlines()[2].replace("192.0.2.7", "dead:beef::::::")
    found = read(tmp_path / "v.log", f"{line}\n")
    assert [who for _, who, _ in found.refusals] == ["not logged"]


def test_troubles_that_end_in_refusals_are_counted(tmp_path: Path) -> None:
    found = read(
        tmp_path / "log",
        "Nov 28 10:00:00 vm proftpd[1]: error: Too many open files\n"
        "Nov 28 10:00:00 vm vsftpd: 500 OOPS: vsf_sysutil_bind\n",
    )
    assert found.troubles == {"descriptors": 1, "passive ports": 1}
