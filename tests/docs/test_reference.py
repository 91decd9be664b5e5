"""The reference leaves nothing out."""

from __future__ import annotations

import re

import ftppool
from ftppool import errors
from tests.docs.blocks import ROOT

REFERENCE = ROOT / "docs/reference"


def test_every_public_name_is_in_the_reference() -> None:
    page = (REFERENCE / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\.\. auto\w+:: ftppool\.(\w+)", page, re.MULTILINE))
    generated = {*errors.__all__, "__version__"}
    assert set(ftppool.__all__) == named & set(ftppool.__all__) | generated


def test_every_environment_variable_is_in_the_reference() -> None:
    page = (REFERENCE / "environment.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(FTPPOOL_[A-Z_]+)`", page))
    read = set()
    for source in (ROOT / "ftppool").rglob("*.py"):
        read |= set(re.findall(r"\"(FTPPOOL_[A-Z_]+)\"", source.read_text(encoding="utf-8")))
    assert read <= named, read - named
