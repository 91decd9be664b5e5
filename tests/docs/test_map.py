"""The map of the code in CONTRIBUTING.md has every module, and none that is gone."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT


def test_the_map_of_the_code_is_complete() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([^`]+)`", rooms))
    package = ROOT / "ftppool"
    there = {path.name for path in package.glob("[!_]*.py")}
    there |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert named == there
