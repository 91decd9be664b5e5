"""Headings, tables and findings on a screen, fitted to its width."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime

from ftppool.cli.doctor.findings import Finding, Weight
from ftppool.screen import Screen

__all__ = ["Paper", "age", "moment"]

GAP = 2
NARROWEST = 16
"""Columns that the last cell of a row needs; with less, each row becomes lines of its own."""
_MARKS = {Weight.PROBLEM: ("red", "✗"), Weight.NOTE: ("yellow", "-"), Weight.UNSEEN: ("dim", "?")}


class Paper:
    """What is written on one screen; a pipe or a file has all the width it wants."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._begun = False
        self._width: int | None = None
        if screen.live:
            self._width = max(20, shutil.get_terminal_size((80, 24)).columns - 1)

    def heading(self, text: str) -> None:
        """Begin a part."""
        if self._begun:
            self._screen.line()
        self._begun = True
        for line in self._wrapped(text):
            self._screen.line(self._screen.style("bold", line))

    def line(self, text: str, *, indent: str = "  ") -> None:
        """Write a sentence below a heading."""
        for line in self._wrapped(text, indent):
            self._screen.line(line)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write a table; columns in which no row has anything are left out."""
        rows = [tuple(row) for row in rows]
        kept = [at for at in range(len(head)) if any(row[at] for row in rows)]
        if not rows or not kept:
            return
        head = [head[at] for at in kept]
        rows = [tuple(row[at] for at in kept) for row in rows]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        before = 2 + sum(widths[:-1]) + GAP * (len(widths) - 1)
        if self._width is not None and self._width - before < min(NARROWEST, widths[-1]):
            self._blocks(head, rows)
            return
        for line in self._row(head, widths, before):
            self._screen.line(self._screen.style("dim", line))
        for row in rows:
            for line in self._row(row, widths, before):
                self._screen.line(line)

    def findings(self, found: Iterable[Finding]) -> None:
        """Write each finding with what to do about it."""
        before: tuple[str, ...] = ()
        for finding in found:
            style, mark = _MARKS[finding.weight]
            first, *rest = self._wrapped(finding.text, "  ")
            self._screen.line(f"{self._screen.style(style, mark)} {first[2:]}")
            for line in rest:
                self._screen.line(line)
            fix = () if finding.fix == before else finding.fix  # once is enough
            before = finding.fix
            for line in fix:
                if line.startswith("    "):
                    # To be pasted: never broken, whatever the width.
                    self._screen.line(f"    {self._screen.style('cyan', line[4:])}")
                else:
                    self.line(line, indent="  ")

    # -- insides -----------------------------------------------------------------------------------

    def _row(self, cells: Sequence[str], widths: Sequence[int], before: int) -> list[str]:
        start = "  " + "".join(
            cell.ljust(width + GAP) for cell, width in zip(cells[:-1], widths[:-1], strict=True)
        )
        room = None if self._width is None else self._width - before
        last = [cells[-1]] if room is None else textwrap.wrap(cells[-1], room) or [""]
        return [
            f"{start if number == 0 else ' ' * before}{part}".rstrip()
            for number, part in enumerate(last)
        ]

    def _blocks(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        for row in rows:
            for number, (name, cell) in enumerate(zip(head, row, strict=True)):
                if cell:
                    self.line(f"{name.lower()}: {cell}", indent="  " if number == 0 else "    ")

    def _wrapped(self, text: str, indent: str = "") -> list[str]:
        if self._width is None:
            return [f"{indent}{text}"]
        return textwrap.wrap(
            text, self._width, initial_indent=indent, subsequent_indent=indent
        ) or [indent]


def age(seconds: float) -> str:
    """Write how long something has lasted, as in ``12 s`` and ``3 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole // 60 % 60} min"
    return f"{whole // 86_400} d {whole // 3600 % 24} h"


def moment(seconds: float) -> str:
    """Write a moment of the wall clock."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
