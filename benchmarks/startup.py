"""How long ftppool takes to start: whole processes, in turn."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import run, tools
from benchmarks.peers import ROOT, Command

POOL = "from ftppool import FTPPool; FTPPool('ftp://user:secret@127.0.0.1/')"
TITLE = "whole processes, median of {runs} in turn"


def part(*, runs: int = 15) -> dict[str, Any]:
    """Measure and return the record."""
    script = Path(sys.executable).with_name("ftppool")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import ftppool": [sys.executable, "-c", "import ftppool"],
        "FTPPool(url)": [sys.executable, "-c", POOL],
        "import ftplib": [sys.executable, "-c", "import ftplib"],
        "import paramiko": [sys.executable, "-c", "import paramiko"],
        "ftppool --version": [str(script), "--version"],
    }
    walls: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, words in commands.items():
            walls[name].append(run.measure(Command(words, ROOT), os.environ)["wall"])
    return {
        "title": TITLE.format(runs=runs),
        "walls": walls,
        "versions": {name: tools.version(name) for name in ("ftppool", "paramiko")},
    }
