"""``python -m tests.soak [--minutes 60] [--seed N]``: many processes, much harm, one summary."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.chaos import soak


def main() -> int:
    """Run and print the summary; 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        state = Path(name, "state")
        state.mkdir(mode=0o700)
        os.environ["FTPPOOL_STATE_DIR"] = str(state)
        result = soak(Path(name), seconds=options.minutes * 60, seed=options.seed)
    print(result.summary())
    for problem in result.problems:
        print(f"problem: {problem}")
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
