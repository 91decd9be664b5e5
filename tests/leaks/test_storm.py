"""1,500 interrupts at random moments, on each Python that is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import ftppool
from tests.conftest import Start

INTERRUPTS = 1500
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
PROGRAM = Path(__file__).with_name("storm.py")


def interpreter(version: str) -> str | None:
    """Find a Python of this version; shims that lead nowhere do not count."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    candidates = [shutil.which(f"python{version}")]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates += [str(path) for path in root.glob(f"{version}.*/bin/python{version}")]
    for candidate in candidates:
        if candidate:
            ran = subprocess.run([candidate, "-c", ""], capture_output=True, check=False)
            if ran.returncode == 0:
                return candidate
    return None


def run(python: str, url: str, seed: int) -> dict[str, Any]:
    # The dependencies that FTP needs are pure Python: another version may share ours.
    path = f"{Path(ftppool.__file__).parents[1]}{os.pathsep}{sysconfig.get_path('purelib')}"
    ran = subprocess.run(
        [python, "-W", "ignore", str(PROGRAM), url, str(INTERRUPTS), str(seed)],
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


@pytest.mark.timeout(200)
@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_lost_in_a_storm_of_interrupts(start: Start, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    server = start("pyftpdlib", max_per_ip=3)
    result = run(python, server.url, seed=sum(map(ord, version)))
    taken = result.pop("taken")
    assert taken >= INTERRUPTS
    assert result == {
        "stuck": 0,
        "errors": [],
        "capacity": 3,
        "waiting": 0,
        "clean": True,
        "threads": [],
    }
    census = server.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0
