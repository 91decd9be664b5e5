"""Run hostile cases: ``python -m tests.hostile --cases 10000 --seed 1``."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter

from tests.hostile.running import run, summary


def main() -> int:
    """Print what is wrong, and how the cases ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    given = parser.parse_args()
    started = time.monotonic()
    ended: Counter[str] = Counter()
    wrong = 0
    for verdict in run(given.seed, given.cases, first=given.first):
        ended[verdict.ended] += 1
        if verdict.wrong or verdict.late:
            wrong += 1
            print(verdict, flush=True)
    took = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(summary(ended))
    print(f"{ended.total():,} cases in {took:.1f} s, {wrong} wrong, {peak} MiB at most")
    return 1 if wrong else 0


sys.exit(main())
