"""``python -m tests.faults [--every | --tls]``: print the fault matrix."""

from __future__ import annotations

import argparse
import logging
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from ftppool import ledger
from tests.faults.matrix import TLS_CALLS, TLS_ERRORS, Bench, Matrix, fill, plan, plan_of_tls
from tests.support import certificates, servers

PARTS = 6


def main() -> int:
    """Fill the matrix and print it; 1 if a fault was not survived or a cell is empty."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--every", action="store_true", help="every call, not each line's first")
    parser.add_argument("--tls", action="store_true", help="the calls of OpenSSL, over FTPS")
    parser.add_argument("--seconds", type=float, default=3600.0, help="give up after so many")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        faults = pickle.load(sys.stdin.buffer)
        with _bench(tls=options.tls) as bench:
            pickle.dump(fill(bench, faults, seconds=options.seconds), sys.stdout.buffer)
        return 0
    matrix = in_parts(every=options.every, tls=options.tls, seconds=options.seconds)
    print(matrix.table())
    for line in matrix.complaints():
        print(line)
    return 1 if matrix.complaints() else 0


def in_parts(*, every: bool = False, tls: bool = False, seconds: float) -> Matrix:
    """Fill the matrix in processes of their own: most of the time is spent waiting."""
    with _bench(tls=tls) as bench:
        faults = plan_of_tls(bench) if tls else plan(bench, every=every)
    command = [sys.executable, "-m", "tests.faults", "--part", "--seconds", str(seconds)]
    command += ["--tls"] if tls else []
    matrix = Matrix(errors=TLS_ERRORS, needed=frozenset(TLS_CALLS)) if tls else Matrix()
    with ThreadPoolExecutor(PARTS) as threads:
        for out in threads.map(
            lambda part: (
                subprocess.run(
                    command,
                    input=pickle.dumps(faults[part::PARTS]),
                    stdout=subprocess.PIPE,
                    check=True,
                ).stdout
            ),
            range(PARTS),
        ):
            matrix.add(pickle.loads(out))
    return matrix


@contextmanager
def _bench(*, tls: bool) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        # The servers count at once, and each run waits several times for them to notice an end.
        stack.enter_context(patch.object(ledger, "FIRST_SETTLE", 0.002))
        stack.enter_context(patch.object(logging.getLogger("ftppool"), "disabled", True))
        stack.enter_context(patch.dict(os.environ, FTPPOOL_STATE_DIR=name))
        if tls:
            trusted = str(certificates.write_authority(Path(name)))
            stack.enter_context(patch.dict(os.environ, SSL_CERT_FILE=trusted))
        wide, narrow = [
            stack.enter_context(
                servers.start(
                    "pyftpdlib+tls" if tls else "pyftpdlib",
                    max_per_ip=limit,
                    root=Path(name, f"home-{limit}"),
                    workdir=Path(name),
                )
            )
            for limit in (None, 1)
        ]
        nobody = wide.url.replace(f":{wide.port}", f":{wide.port - 1}")
        yield Bench(wide.url, nobody, narrow.url)


if __name__ == "__main__":
    sys.exit(main())
