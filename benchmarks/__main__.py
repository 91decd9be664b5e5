"""Measure parts of the suite, or render what was measured.

``python -m benchmarks list`` names the parts; ``all`` measures every one, ``small`` all that are
called ``small-…``, ``render`` writes table and plots of the results again. Each part's result takes
the place of its older one in the results file.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import links, parts, results, tools

OTHERS = {
    "startup": ("benchmarks.startup", 1),
    "pools": ("benchmarks.acquire", 1),
}
"""The parts without a server: their modules, and minutes."""


def names() -> dict[str, str]:
    """Return all parts and what they measure."""
    found = {}
    for part in parts.every().values():
        found[part.name] = f"{parts.NAMES[part.server]}: {part.title} (about {part.minutes} min)"
    return found | {
        "startup": "how long ftppool takes to start (about 1 min)",
        "pools": "acquire and release, beside other pools (about 1 min)",
    }


def chosen(wanted: list[str]) -> list[str]:
    """Return the parts that were asked for, by their names or how these begin."""
    found = []
    for word in wanted:
        fitting = [name for name in names() if word in (name, "all") or name.startswith(word + "-")]
        if not fitting:
            sys.exit(f"there is no part {word}: python -m benchmarks list")
        found += [name for name in fitting if name not in found]
    return found


def measure(name: str, *, quick: bool, runs: int | None) -> dict[str, Any]:
    """Measure one part in this process."""
    from benchmarks import run

    run.compile_ours()
    if name in OTHERS:
        try:
            module = importlib.import_module(OTHERS[name][0])
        except ImportError as error:
            raise run.NotHere(
                f"{error.name} is not installed (pip install --group bench)"
            ) from None
        record: dict[str, Any] = module.part(**_fewer(name) if quick else {})
        return record
    return run.part(parts.every(quick=quick)[name], runs=runs)


def _fewer(name: str) -> dict[str, int]:
    return {"runs": 1} if name == "startup" else {"rounds": 1, "loans": 50, "crowd_rounds": 1}


def here(name: str, options: argparse.Namespace) -> int:
    """Measure one part and merge its result."""
    if name not in OTHERS and parts.every()[name].link:
        # Before anything of tests.support is imported.
        os.environ["FTPPOOL_TEST_HOST"] = links.SERVER
    from benchmarks import run

    print(f"{name}: {names()[name]}", file=sys.stderr, flush=True)
    try:
        record = measure(name, quick=options.quick, runs=options.runs)
    except run.NotHere as error:
        print(f"  left out: {error}", file=sys.stderr)
        return 0
    if options.quick:
        record["quick"] = True
    results.merge(options.results, name, record)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="+", metavar="NAME", help="parts, all, list or render")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--runs", type=int, help="of each client (default: the part's own number)")
    parser.add_argument("--results", type=Path, help="folder (default: benchmarks/results)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick and not options.results:
        parser.error("--quick needs --results FOLDER, so that true results are not lost")
    options.results = options.results or results.HERE
    if options.what == ["list"]:
        for name, what in names().items():
            print(f"{name:<22}{what}")
        return 0
    if options.here:
        return here(options.what[0], options)
    if options.what != ["render"]:
        if not options.quick:
            tools.get_all()
        again = [f"--results={options.results}", *(["--quick"] if options.quick else [])]
        again += [f"--runs={options.runs}"] if options.runs else []
        for name in chosen(options.what):
            # A process for each: servers listen elsewhere for those with a link.
            words = [sys.executable, "-m", "benchmarks", name, "--here", *again]
            if subprocess.run(words, check=False).returncode:
                return 1
    from benchmarks import render

    render.write(options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
