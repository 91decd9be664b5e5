"""What a batch costs for each file, from 100 files to 100,000, in time and memory.

Run with ``python -m benchmarks.batch_size`` in a checkout after ``make test``. The files are empty
and the server is pyftpdlib on loopback, so that what is measured is the batch itself. Time is a
ratio to the cost for each file of the smallest batch (flat is 1.0), memory as the growth of the
process's peak since ``import ftppool`` (Linux only), each batch in a process of its own.
``--journal`` measures the same with a journal, in turn with runs without, and prints the ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import servers

CHILD = r"""
import json, re, sys, time
import ftppool
from ftppool import upload_batch
url, count, journal = sys.argv[1], int(sys.argv[2]), sys.argv[3] or None
def peak():  # of this program; ru_maxrss would be that of the one that started it
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
before, began = peak(), time.perf_counter()
report = upload_batch(
    ((b"", f"{number // 1000}/{number:06}") for number in range(count)), url, max_per_ip=4,
    journal=journal,
)
assert len(report.uploaded) == count
print(json.dumps({"seconds": time.perf_counter() - began, "bytes": peak() - before}))
"""


def measure(url: str, count: int, journal: str = "") -> tuple[float, float]:
    """Seconds for each file, and MiB above import, of one batch in a fresh process."""
    run = [sys.executable, "-c", CHILD, url, str(count), journal]
    found = json.loads(subprocess.run(run, check=True, capture_output=True).stdout)
    return found["seconds"] / count, found["bytes"] / 2**20


def sizes(work: Path, counts: list[int]) -> None:
    """Print the cost of batches of several sizes."""
    print(f"{'files':>8}{'ms a file':>12}{'ratio':>8}{'MiB above import':>18}")
    first = None
    for number, count in enumerate(counts):
        home = work / f"home-{number}"
        with servers.start("pyftpdlib", max_per_ip=None, root=home, workdir=work) as server:
            cost, memory = measure(server.url, count)
        first = first or cost
        print(f"{count:>8}{cost * 1000:>12.3f}{cost / first:>8.2f}{memory:>18.1f}")


def journals(work: Path, count: int, runs: int) -> None:
    """Print what a journal costs, as a ratio."""
    without: list[float] = []
    within: list[float] = []
    for number in range(runs):
        for journal, costs in (("", without), (str(work / f"journal-{number}"), within)):
            home = work / f"journal-home-{number}{bool(journal)}"
            with servers.start("pyftpdlib", max_per_ip=None, root=home, workdir=work) as server:
                costs.append(measure(server.url, count, journal)[0])
    ratio = statistics.median(within) / statistics.median(without)
    print(f"with a journal, {count} files, median of {runs} runs in turn: {ratio:.2f} of the time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--journal", type=int, metavar="FILES", help="measure a journal instead")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        work.chmod(0o755)
        if options.journal:
            journals(work, options.journal, options.runs)
        else:
            sizes(work, options.files)


if __name__ == "__main__":
    main()
