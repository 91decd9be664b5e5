"""Every example of README.md and docs/ does what its page says."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import require
from tests.docs.blocks import PAGES, ROOT, blocks
from tests.docs.stage import Stage

PLAYED = [page for page in PAGES if blocks(page)]


@pytest.mark.timeout(300)  # the tutorial takes its time, on a busy machine more
@pytest.mark.parametrize("page", PLAYED, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    for kind in ("proftpd", "asyncssh", "pyftpdlib"):
        require(kind)
    with ExitStack() as stack:
        stage = Stage(tmp_path, stack, page)
        for block in blocks(page):
            stage.play(block)
        stage.end()
