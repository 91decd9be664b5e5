"""The files that the demo sends, and the proof that they arrived."""

from __future__ import annotations

import filecmp
import os
import random

__all__ = ["FILES", "all_below", "make", "whole"]

FILES = 300
_DIRECTORIES = ("invoices", "logs", "photos/2025", "photos/2026", "reports")
_LARGE_EVERY = 47


def make(folder: str) -> None:
    """Fill a directory with small files and a few larger ones, the same in every run."""
    generator = random.Random(421)  # noqa: S311 - no secret
    for directory in _DIRECTORIES:
        os.makedirs(os.path.join(folder, directory))
    for number in range(FILES):
        large = number % _LARGE_EVERY == 0
        count = generator.randrange(300_000, 900_000) if large else generator.randrange(200, 16_000)
        name = f"{_DIRECTORIES[number % len(_DIRECTORIES)]}/{number:03}.bin"
        with open(os.path.join(folder, name), "wb") as file:
            file.write(generator.randbytes(count))


def all_below(folder: str) -> list[str]:
    """List all files below a directory, relative to it, sorted."""
    return sorted(
        os.path.relpath(os.path.join(directory, name), folder).replace(os.sep, "/")
        for directory, _, names in os.walk(folder)
        for name in names
    )


def whole(names: list[str], here: str, there: str) -> int:
    """Count the files that are byte for byte the same below both directories."""
    same, _, _ = filecmp.cmpfiles(here, there, names, shallow=False)
    return len(same)
