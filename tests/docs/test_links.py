"""Links between README, CONTRIBUTING, SECURITY and docs/ lead somewhere.

Sphinx checks those between the pages of docs/; nobody else checks the files that are read on their
own, in an editor or on a forge.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

FILES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_IMAGE = re.compile(r'<img[^>]* src="([^"]+)"')


def anchors(page: Path) -> set[str]:
    """The anchors that a forge gives to headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", FILES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in [*_LINK.findall(text), *_IMAGE.findall(text)]:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"
