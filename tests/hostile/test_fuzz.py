"""Thousands of servers that each do one thing wrong; ``python -m tests.hostile`` runs them all."""

from __future__ import annotations

import resource
from collections import Counter

import pytest

from tests.hostile.running import CHUNK, run, summary
from tests.support.children.hostile import CONTROL_DEEDS, DATA_DEEDS, PHASES

SECONDS = 40.0


@pytest.mark.timeout(300)
def test_whatever_a_server_sends_the_outcome_is_one_of_our_errors_and_nothing_is_left() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verdicts = list(run(seed=1, cases=10_000, seconds=SECONDS))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    wrong = [str(verdict) for verdict in verdicts if verdict.wrong or verdict.late]
    assert not wrong, "\n".join(wrong)
    # One chunk is run however slow the machine is, and has every phase and every deed.
    assert len(verdicts) >= CHUNK
    assert {verdict.spec["phase"] for verdict in verdicts} == set(PHASES)
    assert {verdict.spec["deed"] for verdict in verdicts} == {*CONTROL_DEEDS, *DATA_DEEDS}
    assert grown < 200 << 10, f"{grown >> 10} MiB more than before"  # kB, as Linux counts
    # Most deeds must have been noticed: a server of which nothing is believed would not be tested.
    ended = Counter(verdict.ended for verdict in verdicts)
    assert 0.2 < ended["done"] / len(verdicts) < 0.7, summary(ended)
