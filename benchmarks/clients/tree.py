"""What is to be sent."""

from __future__ import annotations

import os


def walk(folder: str) -> tuple[list[str], list[str]]:
    """Return the directories, parents first, and the files below `folder`, as relative paths."""
    directories: list[str] = []
    files: list[str] = []
    for where, inner, names in os.walk(folder):
        inner.sort()
        below = "" if where == folder else os.path.relpath(where, folder) + "/"
        directories += [below + name for name in inner]
        files += [below + name for name in sorted(names)]
    return directories, files
