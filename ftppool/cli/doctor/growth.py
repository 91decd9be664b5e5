"""Tells a process that leaks connections from one that is busy: pure, on counts over time.

Theory
------
The count of a healthy program falls again after each batch. That of a leaking one has a floor that
rises: what is left before the next batch begins is more each time, whether the program closes some
(3, 1, 4, 2, 5, 3) or none (1, 2, 3, 4). So what is compared is the *lows*: the counts from which
the next rise began. A program that only starts up looks the same for a moment, but then its rises
are all in the beginning; those of a leak go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Growth", "Sample", "growth"]

RISES = 3
"""Lows, each above the one before, that make a leak."""
SPREAD = 1 / 3
"""Part of the time watched over which the rises must be spread."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A count at one instant (seconds, of whatever clock)."""

    at: float
    count: int


@dataclass(frozen=True, slots=True)
class Growth:
    """How a count grew.

    Attributes:
        first: The lowest count in the beginning.
        last: The count at the end.
        seconds: Over how long.
        rises: How often it rose above what had been left.
    """

    first: int
    last: int
    seconds: float
    rises: int


def growth(samples: Sequence[Sample]) -> Growth | None:
    """Return how the floor of a count has risen; None if it has not, or not for long enough."""
    lows = _lows(samples)
    if not lows:
        return None
    rising = [lows[-1]]
    for low in reversed(lows[:-1]):
        if low.count > rising[0].count:
            break  # it fell back since: what came before was given back
        if low.count < rising[0].count:
            rising.insert(0, low)
        else:
            rising[0] = low  # a batch in between that left nothing
    first, last = rising[0], samples[-1]
    if len(rising) < RISES or last.count < rising[-1].count or last.count <= first.count:
        return None
    watched = last.at - samples[0].at
    if rising[-1].at - first.at < SPREAD * watched:
        return None
    return Growth(first.count, last.count, last.at - first.at, len(rising))


def _lows(samples: Sequence[Sample]) -> list[Sample]:
    """The counts from which a rise began, at the moment before it."""
    pairs = itertools.pairwise(samples)
    return [before for before, after in pairs if after.count > before.count]
