"""Two kinds of picture: bars that compare clients, and lines that show how they scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.svg import Drawing, width_of

_WIDTH = 880.0
_PAD = 24.0
_ROW = 23.0
_OURS = "ftppool"


@dataclass(frozen=True, slots=True)
class Bar:
    """One client's number; None with the reason instead."""

    label: str
    value: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """One panel of bars."""

    title: str
    bars: Sequence[Bar]
    show: Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Lines:
    """One panel of lines: by client, a value at each place of the x axis."""

    title: str
    x_label: str
    y_label: str
    places: Sequence[tuple[float, str]]
    """Position and label of each x."""
    lines: dict[str, list[float | None]]


def bars(title: str, subtitle: str, panels: Sequence[Bars], columns: int, *, shared: bool) -> str:
    """Draw panels of bars; with `shared` all have one scale."""
    gap = 36.0
    width = (_WIDTH - 2 * _PAD - (columns - 1) * gap) / columns
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    heights = [44 + _ROW * max(len(panel.bars) for panel in row) for row in rows]
    top = _heading_height(subtitle)
    drawing = Drawing(_WIDTH, top + sum(heights) + 8, title, subtitle)
    _heading(drawing, title, subtitle)
    y = top + 6
    for row, height in zip(rows, heights, strict=True):
        for number, panel in enumerate(row):
            scale = _Scale.of(panels if shared else [panel], width)
            _bars(drawing, panel, _PAD + number * (width + gap), y, scale)
        y += height
    return drawing.render()


@dataclass(frozen=True, slots=True)
class _Scale:
    """How wide labels are, and how many pixels one unit is."""

    labels: float
    unit: float

    @classmethod
    def of(cls, panels: Sequence[Bars], width: float) -> _Scale:
        """Return the scale of panels that are `width` pixels wide."""
        found = [(panel, bar) for panel in panels for bar in panel.bars]
        labels = max(width_of(bar.label) for _, bar in found) + 8
        known = [(panel.show(bar.value), bar.value) for panel, bar in found if bar.value]
        numbers = max((width_of(shown) for shown, _ in known), default=0) + 12
        most = max((value for _, value in known), default=1)
        return cls(labels, (width - labels - numbers) / most)


def _heading(drawing: Drawing, title: str, subtitle: str) -> None:
    drawing.text(_PAD, 34, title, size=18, bold=True)
    for number, line in enumerate(subtitle.splitlines()):
        drawing.text(_PAD, 56 + 18 * number, line, size=13, color="soft")


def _heading_height(subtitle: str) -> float:
    return 60 + 18 * len(subtitle.splitlines())


def _bars(drawing: Drawing, panel: Bars, x: float, y: float, scale: _Scale) -> None:
    drawing.text(x, y + 8, panel.title, size=14, bold=True)
    labels = scale.labels
    drawing.line([(x + labels, y + 18), (x + labels, y + 20 + _ROW * len(panel.bars))], "edge")
    for number, bar in enumerate(panel.bars):
        top = y + 20 + number * _ROW
        ours = bar.label.startswith(_OURS)
        color = "ours" if ours else "ink"
        drawing.text(x + labels - 8, top + 15, bar.label, color=color, anchor="end", bold=ours)
        if bar.value is None:
            drawing.text(x + labels + 8, top + 15, bar.note, size=12, color="soft")
            continue
        length = max(1.0, bar.value * scale.unit)
        drawing.bar(x + labels, top + 3, length, _ROW - 7, "ours" if ours else "peer")
        shown = panel.show(bar.value)
        drawing.text(x + labels + length + 6, top + 15, shown, color=color, bold=ours)


_STYLES = {
    "ftplib in threads": ("a", ""),
    "paramiko in threads": ("a", ""),
    "aioftp": ("b", "6 3"),
    "asyncssh": ("b", "6 3"),
    "lftp": ("c", "2 3"),
    "curl": ("d", "8 3 2 3"),
    _OURS: ("ours", ""),
}
_OTHER = ("e", "1 2")
"""Hue and dash of a client, the same in all panels."""


def lines(title: str, subtitle: str, panels: Sequence[Lines], columns: int) -> str:
    """Draw panels of lines, each named at its end."""
    rows = math.ceil(len(panels) / columns)
    gap, height = 28.0, 292.0
    width = (_WIDTH - 2 * _PAD - (columns - 1) * gap) / columns
    first = _heading_height(subtitle)
    drawing = Drawing(_WIDTH, first + rows * height, title, subtitle)
    _heading(drawing, title, subtitle)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        _lines(drawing, panel, _PAD + column * (width + gap), first + 6 + row * height, width)
    return drawing.render()


def _lines(drawing: Drawing, panel: Lines, x: float, y: float, width: float) -> None:
    drawing.text(x, y + 8, panel.title, size=14, bold=True)
    drawing.text(x, y + 27, panel.y_label, size=12, color="soft")
    left, top, bottom = x + 34, y + 40, y + 232
    right = x + width - max(width_of(name, 12) for name in panel.lines) - 12
    values = [value for line in panel.lines.values() for value in line if value is not None]
    ticks = _ticks(max(values, default=1))
    low, high = panel.places[0][0], panel.places[-1][0]

    def across(place: float) -> float:
        return left + (place - low) / (high - low or 1) * (right - left)

    def down(value: float) -> float:
        return bottom - value / ticks[-1] * (bottom - top)

    for tick in ticks:
        drawing.line([(left, down(tick)), (right, down(tick))], "grid" if tick else "edge")
        label = f"{tick:g}"
        drawing.text(left - 6, down(tick) + 4, label, size=11, color="soft", anchor="end")
    for place, label in panel.places:
        drawing.text(across(place), bottom + 17, label, size=11, color="soft", anchor="middle")
    middle = (left + right) / 2
    drawing.text(middle, bottom + 36, panel.x_label, size=12, color="soft", anchor="middle")
    ends: dict[str, float] = {}
    # Ours last, so that it is on top.
    for name in sorted(panel.lines, key=lambda name: name == _OURS):
        hue, dash = _STYLES.get(name, _OTHER)
        points = [
            (across(place), down(value))
            for (place, _), value in zip(panel.places, panel.lines[name], strict=True)
            if value is not None
        ]
        if not points:
            continue
        ours = name == _OURS
        drawing.line(points, hue, width=3 if ours else 1.6, dash=dash)
        for point in points:
            drawing.dot(*point, hue, 3.6 if ours else 2.6)
        ends[name] = points[-1][1]
    for name, end in _apart(ends, 15, bottom).items():
        bold = name == _OURS
        hue, _ = _STYLES.get(name, _OTHER)
        drawing.text(right + 8, end + 4, name, size=12, color=hue, bold=bold)


def _apart(ends: dict[str, float], distance: float, bottom: float) -> dict[str, float]:
    """Move labels that would cover each other: down, then up from the bottom."""
    placed: dict[str, float] = {}
    before = -math.inf
    for name, end in sorted(ends.items(), key=lambda item: item[1]):
        before = placed[name] = max(end, before + distance)
    before = math.inf
    for name in reversed(list(placed)):
        before = placed[name] = min(placed.pop(name), before - distance, bottom)
    return placed


def _ticks(most: float) -> list[float]:
    """Return three to six round numbers from 0 to at least `most`."""
    step = 10 ** math.floor(math.log10(most)) if most > 0 else 1
    step = next(step * part for part in (0.2, 0.25, 0.5, 1, 2) if most / (step * part) <= 5)
    return [number * step for number in range(math.ceil(most / step) + 1)]
