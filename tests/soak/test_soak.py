"""Half a minute of what ``make soak`` does for an hour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import require
from tests.soak.chaos import soak


@pytest.mark.timeout(180)
def test_nothing_is_lost_in_a_crowd_that_is_hurt(
    tmp_path: Path, record_summary: Callable[[str], None]
) -> None:
    require("pyftpdlib")
    result = soak(tmp_path, seconds=20.0, seed=20)
    record_summary(result.summary())
    assert not result.problems
    assert result.files
    assert result.done["ask"]
    assert result.uses > result.errors, result.summary()
