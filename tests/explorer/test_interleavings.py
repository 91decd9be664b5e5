"""The threads of a gate in every order that fits the time; `scheduler` says what is checked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.explorer.explore import Explored, explore, explore_lines
from tests.explorer.scenarios import SCENARIOS

SECONDS = 4.0
LINES_SECONDS = 1.5
SEED = 11


@pytest.mark.filterwarnings("ignore::ftppool.LeakWarning")
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_interleaving_breaks_a_promise(name: str, record_summary: Callable[[str], None]) -> None:
    explored = explore(name, SECONDS, SEED)
    record_summary(
        f"explored {name}: {len(explored.seen):,} interleavings of "
        f"{explored.steps / explored.runs:.0f} steps"
    )
    assert len(explored.seen) > 10


@pytest.mark.filterwarnings("ignore::ftppool.LeakWarning")
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_interleaving_of_single_lines_breaks_a_promise(
    name: str, record_summary: Callable[[str], None]
) -> None:
    explored = Explored(name)
    explore_lines(explored, LINES_SECONDS, SEED)
    steps = explored.line_steps / explored.line_runs
    record_summary(f"explored {name}: {explored.line_runs:,} interleavings of {steps:,.0f} lines")
    assert steps > 500, "no line was a step of its own"
