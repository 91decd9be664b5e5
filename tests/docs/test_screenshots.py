"""The pictures of the terminal show what the commands say today: same words, other numbers."""

from __future__ import annotations

import importlib.util
import re
import sys
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import require
from tests.docs.blocks import ROOT

PICTURES = sorted((ROOT / "docs/_static/terminal").glob("*.svg"))


@pytest.fixture(scope="module")
def screenshots() -> ModuleType:
    """The script that makes them."""
    pytest.importorskip("pyte")
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "docs/screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["screenshots"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def words(picture: str) -> list[str]:
    """What stays on the terminal, without numbers, line by line."""
    stayed = [line for line in picture.splitlines() if "<text" in line and 'hidden"><' not in line]
    lines = [" ".join(re.findall(r"<text[^>]*>([^<]*)</text>", line)) for line in stayed]
    plain = [re.sub(r"\d[\d,.:-]*", "0", unescape(line)) for line in lines]
    # How often and with which words plain ftplib fails, and what it leaves behind, is chance.
    chance = re.compile(r"0x |0 of 0 places are still taken|\(They are ended now")
    lines = [" ".join(line.split()) for line in plain]
    return [line for line in lines if not chance.match(line)]


def test_there_is_a_picture_of_each_scene(screenshots: ModuleType) -> None:
    assert {path.stem for path in PICTURES} == set(screenshots.SCENES)


@pytest.mark.timeout(300)  # the demo shows how long the naive way takes
@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_shows_what_is_said_today(screenshots: ModuleType, picture: Path) -> None:
    require("proftpd")
    require("pyftpdlib")
    made = screenshots.make(picture.stem)
    assert words(made) == words(picture.read_text(encoding="utf-8")), (
        "make it anew: python docs/screenshots.py " + picture.stem
    )
