"""The memory of large batches; ``python -m benchmarks count`` measures 100,000 real files."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Start

PEAK = r"""
import re, sys
from ftppool import RetryPolicy, upload_batch
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
url, count = sys.argv[1], int(sys.argv[2])
upload_batch([], url)
before = peak()
files = ((b"", f"{number // 1000}/{number:06}") for number in range(count))
if url.endswith(":1"):
    files = list(files)
    before = peak()
report = upload_batch(files, url, check=False, retry=RetryPolicy(attempts=1))
assert len(report.outcomes) == count
assert url.endswith(":1") or report.ok
print(peak() - before)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def growth(url: str, count: int) -> int:
    """Bytes that the peak of a fresh process grows by in a batch of `count` files."""
    run = [sys.executable, "-c", PEAK, url, str(count)]
    return int(subprocess.run(run, check=True, capture_output=True, timeout=100).stdout)


def test_the_outcomes_of_100_000_inputs_take_less_than_100_mib() -> None:
    assert growth("ftp://127.0.0.1:1", 100_000) < 100 << 20


def test_a_file_of_a_batch_takes_less_than_a_kilobyte(start: Start) -> None:
    small, large = (growth(start("pyftpdlib").url, count) for count in (500, 3500))
    assert (large - small) / 3000 < (100 << 20) / 100_000
