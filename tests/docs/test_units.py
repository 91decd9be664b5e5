"""systemd itself finds nothing wrong with the units of the documentation."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, blocks

UNITS = {
    Path(block.path).name: block.text
    for page in PAGES
    for block in blocks(page)
    if block.path.endswith((".service", ".timer"))
}


def test_there_are_units() -> None:
    assert {Path(name).suffix for name in UNITS} == {".service", ".timer"}


def test_systemd_accepts_them(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed here; nothing else knows what a unit may say")
    program = tmp_path / "ftppool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name, text in UNITS.items():
        (tmp_path / name).write_text(text.replace("/opt/venv/bin/ftppool", str(program)))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, sorted(tmp_path.glob("*.*")))],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    ours = [line for line in done.stderr.splitlines() if any(name in line for name in UNITS)]
    assert ours == []
