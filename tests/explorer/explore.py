"""Chooses interleavings: all with few preemptions, then random ones, then between any lines."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.explorer.scenarios import SCENARIOS, World
from tests.explorer.scheduler import Chooser, Task

PREEMPTIONS = 2
"""Most bugs of this kind show with two (CHESS, 2008)."""


@dataclass
class Explored:
    """How many interleavings of a scenario were run."""

    name: str
    runs: int = 0
    steps: int = 0
    seen: set[int] = field(default_factory=set)
    line_runs: int = 0
    line_steps: int = 0


class Path:
    """Depth-first: repeats the choices so far, then takes the first of each; see `next`."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self._options: list[int] = []
        self._depth = 0
        self._preemptions = 0

    def choose(self, able: Sequence[Task], last: Task | None) -> Task:
        able = sorted(able, key=lambda task: task is not last)  # to go on costs nothing
        going_on = bool(able) and able[0] is last
        options = 1 if going_on and self._preemptions >= PREEMPTIONS else len(able)
        if self._depth == len(self.taken):
            self.taken.append(0)
            self._options.append(options)
        choice = min(self.taken[self._depth], options - 1)
        self._depth += 1
        self._preemptions += going_on and choice > 0
        return able[choice]

    def next(self) -> bool:
        """Go to the next interleaving; False if there is none."""
        del self.taken[self._depth :], self._options[self._depth :]
        while self.taken and self.taken[-1] + 1 >= self._options[-1]:
            self.taken.pop()
            self._options.pop()
        if not self.taken:
            return False
        self.taken[-1] += 1
        self._depth = self._preemptions = 0
        return True


def at_random(seed: str) -> tuple[Chooser, list[int]]:
    """Choose at random, but mostly go on with who went last."""
    dice, taken = random.Random(seed), list[int]()
    eager = dice.choice((0.1, 0.5, 0.9))

    def choose(able: Sequence[Task], last: Task | None) -> Task:
        if last in able and dice.random() < eager:
            choice = able.index(last)
        else:
            choice = dice.randrange(len(able))
        taken.append(choice)
        return able[choice]

    return choose, taken


class AtLines:
    """Goes on with who went last, but for one to three of so many chances to do otherwise."""

    def __init__(self, seed: str, chances: int) -> None:
        self.chances = 0
        self._dice = random.Random(seed)
        self._moments = {self._dice.randrange(chances) for _ in range(self._dice.randint(1, 3))}

    def choose(self, able: Sequence[Task], last: Task | None) -> Task:
        others = [task for task in able if task is not last]
        if last is None or last not in able:
            return self._dice.choice(others)
        if not others:
            return last
        self.chances += 1
        return self._dice.choice(others) if self.chances - 1 in self._moments else last


def explore_lines(explored: Explored, seconds: float, seed: int) -> None:
    """Run interleavings of a scenario in which each line of the gate's code is a step.

    Raises:
        AssertionError: With what is to be done to run the same again.
    """
    cap, scenario = SCENARIOS[explored.name]
    end, chances = time.monotonic() + seconds, 2000
    with _silent():
        while time.monotonic() < end:
            label = f"{seed}-{explored.line_runs}"
            lines = AtLines(label, chances)
            world = World(lines.choose, cap, lines=True)
            try:
                world.run(scenario)
            except BaseException as error:
                how = f"AtLines({label!r}, {chances})"
                raise AssertionError(f"{explored.name}, {how}: {error!r}") from error
            explored.line_runs += 1
            explored.line_steps += world.scheduler.steps
            chances = max(1, lines.chances)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    log = logging.getLogger("ftppool")
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False


def explore(name: str, seconds: float, seed: int) -> Explored:
    """Run interleavings of a scenario, half of the time in order, half at random.

    Raises:
        AssertionError: With what is to be done to run the same again.
    """
    explored = Explored(name)
    with _silent():
        path, half = Path(), time.monotonic() + seconds / 2
        while time.monotonic() < half:
            _run(explored, path.choose, "choices", path.taken)
            if not path.next():
                break
        end, number = time.monotonic() + seconds / 2, 0
        while time.monotonic() < end:
            number += 1
            label = f"{seed}-{number}"
            choose, taken = at_random(label)
            _run(explored, choose, f"seed {label}, choices", taken)
    return explored


def _run(explored: Explored, chooser: Chooser, how: str, taken: list[int]) -> None:
    cap, scenario = SCENARIOS[explored.name]
    world = World(chooser, cap)
    try:
        world.run(scenario)
    except BaseException as error:
        raise AssertionError(f"{explored.name}, {how} {taken}: {error!r}") from error
    explored.runs += 1
    explored.steps += world.scheduler.steps
    explored.seen.add(hash(tuple(taken)))
