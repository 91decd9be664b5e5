"""The files that are sent, and the proof that they arrived."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

_NOISE = os.urandom(1 << 20)
_PER_FOLDER = 1000


def _write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        left = size
        while left > 0:
            left -= file.write(_NOISE[: min(left, len(_NOISE))])


def small(count: int, size: int) -> Callable[[Path], None]:
    """Files of one size in one directory."""

    def make(folder: Path) -> None:
        for number in range(count):
            _write(folder / f"file-{number:05}", size)

    return make


def one(size: int) -> Callable[[Path], None]:
    """One file."""
    return lambda folder: _write(folder / "large", size)


def many(count: int, size: int) -> Callable[[Path], None]:
    """Files of one size, a thousand in a directory."""

    def make(folder: Path) -> None:
        for first in range(0, count, _PER_FOLDER):
            inner = folder / f"{first // _PER_FOLDER:03}"
            inner.mkdir()
            for number in range(first, min(first + _PER_FOLDER, count)):
                _write(inner / f"file-{number:06}", size)

    return make


def tree(directories: int, files: int) -> Callable[[Path], None]:
    """Directories in directories with files of 0 bytes to 4 MB, most of a few kB; always the same.

    The sizes are those of a source tree with some pictures: log-normal around 6 kB.
    """

    def make(folder: Path) -> None:
        dice = random.Random(7)
        places = [folder]
        for number in range(directories):
            below = dice.choice(places[: 1 + number // 2])
            places.append(below / f"directory-{number:02}")
            places[-1].mkdir()
        for number in range(files):
            size = 0 if number % 50 == 0 else int(min(dice.lognormvariate(8.7, 2.0), 4e6))
            _write(dice.choice(places) / f"file-{number:03}", size)

    return make


def sizes(folder: Path) -> dict[str, int]:
    """Return the size of each file below a folder."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            found[os.path.relpath(path, folder)] = os.path.getsize(path)
    return found


def missing(wanted: dict[str, int], found: dict[str, int]) -> str | None:
    """Say what is not as it should be; None if all is there, whole, and nothing else."""
    lost = sum(name not in found for name in wanted)
    wrong = sum(found.get(name, size) != size for name, size in wanted.items())
    more = sum(name not in wanted for name in found)
    words = [
        f"{number} of {len(wanted)} files {what}"
        for number, what in ((lost, "missing"), (wrong, "of another size"))
        if number
    ]
    if more:
        words.append(f"{more} other files left there")
    return ", ".join(words) or None


def empty(folder: Path) -> None:
    """Remove all that is in a folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
