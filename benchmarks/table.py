"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import goals
from benchmarks.goals import GOALS, OURS, middle
from benchmarks.parts import NAMES
from benchmarks.results import Records

_INTRO = """# Results

Written by `python -m benchmarks render` from `results.json`. How it is measured:
[../README.md](../README.md). Seconds are medians of whole processes, start-up included. ftppool
proves the size of each file before it gives the file its name; the others do not. The *bare script*
is no client: it takes ftppool's steps by sockets alone, without a limit, errors, time-outs or TLS,
and shows what Python and the server need for them.
"""


def write(records: Records, folder: Path, plots: list[str]) -> None:
    """Write the table beside the plots."""
    (folder / "README.md").write_text("\n".join(_lines(records, plots)).rstrip() + "\n")


def _lines(records: Records, plots: list[str]) -> Iterator[str]:
    yield _INTRO
    if any(record.get("quick") for record in records.values()):
        yield "**Quick runs are among these: they show that the suite runs, and mean nothing.**\n"
    yield from (f"- {line}" for line in _machines(records))
    yield ""
    yield from (f"![{name}]({name}.svg)\n" for name in plots)
    yield from _goals(records)
    for name, record in records.items():
        if "cells" not in record:
            continue
        yield f"## {NAMES[record['server']]}: {record['title']}\n"
        yield f"{record['date']}; {_versions(record)}" + _link(record) + "\n"
        for client, reason in record["left_out"].items():
            yield f"Without {client}: {reason}.\n"
        yield from _part(name, record)
        yield ""
    yield from _others(records)


def _machines(records: Records) -> list[str]:
    seen: dict[str, set[str]] = {}
    for record in records.values():
        machine = record["machine"]
        line = (
            f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
            f"Linux {machine['kernel']}, Python {machine['python']}"
        )
        seen.setdefault(line, set()).add(record["date"])
    return [f"{line}; measured on {', '.join(sorted(dates))}" for line, dates in seen.items()]


def _versions(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()))


def _link(record: dict[str, Any]) -> str:
    return f"; delay by {record['link'].removeprefix('a ')}" if record["link"] else ""


def _goals(records: Records) -> Iterator[str]:
    full = {name: record for name, record in records.items() if not record.get("quick")}
    yield "## Goals\n"
    yield "| | goal | ftppool | | bare script |\n|---|--:|--:|---|--:|"
    for goal in GOALS:
        value = goal.value(full)
        said = "met" if value is not None and value <= goal.limit else "**missed**"
        bare = "" if goal.bare is None else _number(goal.bare(full), goal.unit)
        yield (
            f"| {goal.text} | ≤ {goal.limit:g}{goal.unit} | {_number(value, goal.unit)} "
            f"| {said if value is not None else 'not measured'} | {bare} |"
        )
    yield ""


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}{unit}" if unit else f"{value:.2f}"


def _part(name: str, record: dict[str, Any]) -> Iterator[str]:
    cells = record["cells"]
    if len(cells) == 1:
        yield from _clients(cells[0])
        return
    varied = next(
        axis for axis in cells[0]["axis"] if len({cell["axis"][axis] for cell in cells}) > 1
    )
    heads = {"files": "{:,} files", "connections": "{} connections", "rtt_ms": "{:g} ms"}
    columns = [heads[varied].format(cell["axis"][varied]) for cell in cells]
    yield f"| seconds | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}"
    clients = {figure["tool"] for cell in cells for figure in cell["figures"].values()}
    first = list(cells[0]["figures"].values())
    for tool in sorted(clients, key=[figure["tool"] for figure in first].index):
        shown = [_seconds(_by_tool(cell, tool)) for cell in cells]
        yield f"| {_bold(tool)} | {' | '.join(shown)} |"
    if varied == "files":
        yield from _counts(name, record, columns)


def _counts(name: str, record: dict[str, Any], columns: list[str]) -> Iterator[str]:
    records = {name: record}
    counts = [cell["axis"]["files"] for cell in record["cells"]]
    yield f"\n| ftppool | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}"
    each = [goals.further(records, name, OURS[0], count) for count in counts]
    shown = ["-" if cost is None else f"{cost * 1000:.2f}" for cost in each]
    yield f"| ms for each file above {counts[0]} | {' | '.join(shown)} |"
    peaks = [goals.memory(records, name, count) for count in counts]
    shown = ["-" if peak is None else f"{peak:.1f}" for peak in peaks]
    yield f"| peak memory above import, MiB | {' | '.join(shown)} |"


def _by_tool(cell: dict[str, Any], tool: str) -> dict[str, Any]:
    return next(figure for figure in cell["figures"].values() if figure["tool"] == tool)


def _clients(cell: dict[str, Any]) -> Iterator[str]:
    yield "| | seconds | ftppool's, of it | CPU s | ftppool's, of it | peak MiB | runs |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    found = cell["figures"]
    own = found.get(OURS[0], {})
    for label, figure in sorted(found.items(), key=lambda item: middle(item[1]) or 1e9):
        wall, cpu, peak = (middle(figure, what) for what in ("wall", "cpu", "peak"))
        if wall is None or cpu is None or peak is None:
            yield f"| {label} | {_seconds(figure)} | | | | | |"
            continue
        of_wall, of_cpu = (_ratio(own, figure, what) for what in ("wall", "cpu"))
        runs = len(figure["wall"])
        yield (
            f"| {_bold(label)} | {wall:.2f} | {of_wall} | {cpu:.2f} | {of_cpu} "
            f"| {peak / 2**20:.0f} | {runs} |"
        )


def _ratio(own: dict[str, Any], other: dict[str, Any], what: str) -> str:
    ours, theirs = middle(own, what), middle(other, what)
    return f"{ours / theirs:.2f}" if ours and theirs and own is not other else ""


def _bold(label: str) -> str:
    return f"**{label}**" if label in OURS else label


def _seconds(figure: dict[str, Any]) -> str:
    if "failed" in figure:
        return f"did not deliver: {figure['failed']}"
    wall = middle(figure)
    return "-" if wall is None else f"{wall:.2f}"


def _others(records: Records) -> Iterator[str]:
    if record := records.get("pools"):
        yield f"## acquire + release\n\n{record['title']}; {record['date']}; {_versions(record)}\n"
        yield "| | µs, one borrower | µs, crowd | longest wait, ms |\n|---|--:|--:|--:|"
        for name in record["alone"]:
            alone = middle(record["alone"], name) or 0
            crowd, longest = (middle(record[what], name) or 0 for what in ("crowd", "longest"))
            yield f"| {_bold(name)} | {alone * 1e6:.1f} | {crowd * 1e6:.1f} | {longest * 1e3:.1f} |"
        yield ""
    if record := records.get("startup"):
        yield f"## Start\n\n{record['title']}; {record['date']}\n"
        yield "| | ms |\n|---|--:|"
        for name in record["walls"]:
            yield f"| `{name}` | {(middle(record['walls'], name) or 0) * 1000:.0f} |"
