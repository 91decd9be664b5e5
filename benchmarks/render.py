"""Table and plots from the results file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import goals, parts, plots, results, table
from benchmarks.goals import OURS, middle
from benchmarks.parts import NAMES
from benchmarks.plots import Bar, Bars, Lines
from benchmarks.results import Records

_SAFE = "ftppool proves the size of each file before it takes its name; the others do not"


def write(folder: Path) -> None:
    """Write the plots and the table of a results folder."""
    order = list(parts.every())
    records = results.load(folder)
    records = {
        name: records[name]
        for name in sorted(records, key=lambda name: order.index(name) if name in order else 99)
    }
    drawn = []
    for name, picture in _pictures(records):
        (folder / f"{name}.svg").write_text(picture)
        drawn.append(name)
    table.write(records, folder, drawn)


def _pictures(records: Records) -> Iterator[tuple[str, str]]:
    for kind, title in (
        ("small", "Many small files over a link with latency"),
        ("loopback", "Many small files over loopback"),
        ("tree", "A tree of files, small and large"),
    ):
        if panels := _compared(records, kind):
            subtitle = f"{_title(records, kind)}. Seconds, less is better.\n{_SAFE}."
            yield kind, plots.bars(title, subtitle, panels, 2, shared=True)
    if panels := _large(records):
        title = _title(records, "large").replace("one", "One", 1)
        subtitle = "One connection, whole processes; less is better"
        yield "large", plots.bars(title, subtitle, panels, 3, shared=False)
    if scaling := _scaling(records):
        subtitle = "Seconds for files of 10 kB, less is better"
        yield "scaling", plots.lines("More connections, longer round trips", subtitle, scaling, 2)
    if count := _count(records):
        subtitle = "Files of 1 kB over loopback, 4 connections, one process for each batch"
        yield "count", plots.lines("From few files to many", subtitle, count, 2)


def _title(records: Records, kind: str) -> str:
    title: str
    title, *_ = (record["title"] for name, record in records.items() if name.startswith(f"{kind}-"))
    return title


def _compared(records: Records, kind: str) -> list[Bars]:
    found = []
    for name, record in records.items():
        if name.startswith(f"{kind}-"):
            figures = record["cells"][0]["figures"]
            found.append(Bars(NAMES[record["server"]], _sorted(figures, "wall"), _seconds))
    return found


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 9.95 else f"{value:.2f} s"


def _sorted(figures: Mapping[str, Any], what: str, share: float = 1) -> list[Bar]:
    """Return bars, the least first, those without a value last."""
    found = []
    for label, figure in figures.items():
        value = middle(figure, what)
        note = f"did not deliver ({figure.get('failed', 'not measured')})"
        found.append(Bar(label, None if value is None else value * share, note))
    return sorted(found, key=lambda bar: math.inf if bar.value is None else bar.value)


def _large(records: Records) -> list[Bars]:
    found = []
    shown: list[tuple[str, str, float, Callable[[float], str]]] = [
        ("seconds", "wall", 1, _seconds),
        ("CPU seconds of the client", "cpu", 1, _seconds),
        ("peak memory of the client", "peak", 1 / 2**20, lambda value: f"{value:.0f} MiB"),
    ]
    for name, record in records.items():
        if name.startswith("large-"):
            figures = {
                label.replace(", 1 connection", ""): figure
                for label, figure in record["cells"][0]["figures"].items()
            }
            for title, what, share, show in shown:
                head = f"{NAMES[record['server']]}: {title}" if what == "wall" else title
                found.append(Bars(head, _sorted(figures, what, share), show))
    return found


def _scaling(records: Records) -> list[Lines]:
    found = []
    for server in ("proftpd", "openssh"):
        for kind, axis, label in (
            ("connections", "connections", "connections"),
            ("rtt", "rtt_ms", "round trip, ms"),
        ):
            if record := records.get(f"{kind}-{server}"):
                places = [
                    (cell["axis"][axis], f"{cell['axis'][axis]:g}") for cell in record["cells"]
                ]
                title = f"{NAMES[server]}: {'4 connections' if kind == 'rtt' else '20 ms'}"
                count = record["cells"][0]["axis"]["files"]
                lines = _by_client(record)
                found.append(Lines(title, label, f"seconds for {count} files", places, lines))
    return found


def _by_client(record: dict[str, Any]) -> dict[str, list[float | None]]:
    """Return the medians of each client, whatever its number of threads."""
    found: dict[str, list[float | None]] = {}
    for number, cell in enumerate(record["cells"]):
        for label, figure in cell["figures"].items():
            client = figure["tool"] + (" in threads" if "thread" in label else "")
            found.setdefault(client, [None] * len(record["cells"]))[number] = middle(figure)
    return found


def _count(records: Records) -> list[Lines]:
    name = "count-vsftpd"
    cells = records.get(name, {}).get("cells", [])[1:]
    if not cells:
        return []
    counts = [cell["axis"]["files"] for cell in cells]
    places = [(math.log10(count), f"{count:,}") for count in counts]
    costs: dict[str, list[float | None]] = {}
    several = [count for count in counts if count >= 1000] or counts  # fewer are all start-up
    for label in cells[0]["figures"]:
        each = [goals.further(records, name, label, count) for count in several]
        short = label.replace(", 4 threads", " in threads")
        costs[short] = [None if cost is None else cost * 1000 for cost in each]
    memory = {OURS[0]: [goals.memory(records, name, count) for count in counts]}
    measured = places[-len(several) :]
    return [
        Lines("Cost of a file", "files", "ms for each file after the first ten", measured, costs),
        Lines("Memory", "files", "peak of ftppool above import, MiB", places, memory),
    ]
