"""Many small files over loopback: ftppool beside ftplib by hand, on each real server.

Run with ``python -m benchmarks.small_files`` in a checkout after ``make test``. Loopback has no
round-trip time, so this measures the cost of the safety (part name, SIZE, rename), not its benefit;
what counts is the ratio within one run.
"""

from __future__ import annotations

import argparse
import ftplib
import io
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ftppool import upload_batch
from tests.support import servers
from tests.support.servers import KINDS, Server

CONTENT = b"x" * 10_000


def by_hand(server: Server, files: int, workers: int) -> None:
    """One ftplib session a thread: no part name, no check of the size."""
    names: Iterator[int] = iter(range(files))
    lock = threading.Lock()

    def work() -> None:
        with ftplib.FTP() as ftp:
            ftp.connect(server.host, server.port)
            ftp.login(server.user, server.password)
            while True:
                with lock:
                    number = next(names, None)
                if number is None:
                    return
                ftp.storbinary(f"STOR hand-{number}", io.BytesIO(CONTENT))

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def by_ftppool(server: Server, files: int, workers: int) -> None:
    """The same files, each whole, verified and renamed."""
    report = upload_batch(
        ((CONTENT, f"pool-{number}") for number in range(files)), server.url, max_per_ip=workers
    )
    assert report.ok


def seconds(call: Callable[[], None]) -> float:
    """Time one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.files} files of {len(CONTENT)} bytes, {options.workers} connections,")
    print(f"median of {options.runs} runs in turn")
    print(f"{'server':<12}{'ftplib':>10}{'ftppool':>10}{'ratio':>8}")
    for kind in KINDS:
        if servers.available(kind):
            continue
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            work.chmod(0o755)
            with servers.start(kind, max_per_ip=None, root=work / "home", workdir=work) as server:
                hand, pool = [], []
                for _ in range(options.runs):
                    hand.append(seconds(lambda: by_hand(server, options.files, options.workers)))
                    pool.append(seconds(lambda: by_ftppool(server, options.files, options.workers)))
        ours, theirs = statistics.median(pool), statistics.median(hand)
        print(f"{kind:<12}{theirs:>9.2f}s{ours:>9.2f}s{ours / theirs:>8.2f}")


if __name__ == "__main__":
    main()
