"""``ftppool doctor --watch``: counts over time, and the process that leaks by name."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ftppool.cli.args import Options
from ftppool.cli.doctor import advice
from ftppool.cli.doctor.client import ClientView, Scope, Usage, look
from ftppool.cli.doctor.findings import Finding, Weight, exit_code, worst_first
from ftppool.cli.doctor.growth import Growth, Sample, growth
from ftppool.cli.doctor.machine import Machine, this_machine
from ftppool.cli.doctor.paper import Paper, age
from ftppool.cli.doctor.schema import document, process_json
from ftppool.cli.doctor.verdicts import judge
from ftppool.cli.exits import Terminated
from ftppool.screen import Screen, amount

__all__ = ["run"]

MOST_SAMPLES = 10_000
"""Samples kept of one process; of a longer watch every second one is dropped."""
MOST_SERIES = 1000
"""Processes kept; those that have ended go first."""


@dataclass(slots=True)
class Series:
    """The counts of one process at one server.

    Attributes:
        usage: What was seen of it last.
        samples: Its counts, since the first look at which it had a connection.
        most: The highest of them.
        gone: True if the last look did not find it.
    """

    usage: Usage
    samples: list[Sample] = field(default_factory=list)
    most: int = 0
    gone: bool = False

    def add(self, at: float, count: int) -> bool:
        """Note a count; True if it is another one than before."""
        changed = not self.samples or self.samples[-1].count != count
        if len(self.samples) >= MOST_SAMPLES:
            del self.samples[1::2]
        self.samples.append(Sample(at, count))
        self.most = max(self.most, count)
        return changed

    def leak(self) -> Growth | None:
        """How it grew; never for what ftppool counts, which its cap bounds."""
        if self.gone or self.usage.slots >= self.usage.open:
            return None
        return growth(self.samples)


def run(options: Options, scope: Scope) -> int:
    """Look again and again, until the time is up or Ctrl-C; then say what was seen.

    Raises:
        Terminated: SIGTERM came; what was seen has been said.
    """
    machine = this_machine()
    log = _Log(options, scope, machine)
    stop: Terminated | None = None
    try:
        _look_on(machine, scope, log, options.watch, options.duration)
    except KeyboardInterrupt:
        log.screen.leave()
    except Terminated as terminated:
        stop = terminated
    findings = log.end()
    if stop is not None:
        raise stop
    return exit_code(findings)


def _look_on(
    machine: Machine, scope: Scope, log: _Log, period: float, duration: float | None
) -> None:
    began = time.monotonic()
    number = 0
    while True:
        log.take(look(machine, scope))
        number += 1
        # From the beginning, not from the last look: the looks take time themselves.
        due = max(began + number * period, time.monotonic() + period / 10)
        if duration is not None and due > began + duration:
            return
        time.sleep(due - time.monotonic())


class _Log:
    """Keeps the counts, and writes a line whenever one has changed."""

    def __init__(self, options: Options, scope: Scope, machine: Machine) -> None:
        self._json: bool = options.json
        self._machine = machine
        self._scope = scope
        self._began = time.monotonic()
        self._series: dict[tuple[int | None, float | None, str], Series] = {}
        self._view: ClientView | None = None
        self._looks = 0
        self.screen = Screen(sys.stdout, color=options.color)
        if not self._json:
            where = f" to {scope.name}" if scope.name else ""
            self.screen.line(f"Connections of this machine{where}, every {options.watch:g} s")

    def take(self, view: ClientView) -> None:
        """Note what one look has seen."""
        self._view = view
        self._looks += 1
        now = time.monotonic()
        seen = set()
        changed = []
        for usage in view.usages:
            if not usage.open:
                continue
            key = _key(usage)
            seen.add(key)
            series = self._series.setdefault(key, Series(usage))
            before = series.samples[-1].count if series.samples else 0
            series.usage, series.gone = usage, False
            if series.add(now, usage.open):
                changed.append((series, before))
        for key, series in self._series.items():
            if key not in seen and not series.gone:
                before = series.samples[-1].count
                # A process that is there may open one again; one that has ended never will.
                if series.add(now, 0):
                    changed.append((series, before))
                series.gone = not self._alive(key)
        self._forget()
        self._write(view, changed)

    def _alive(self, key: tuple[int | None, float | None, str]) -> bool:
        pid, started, _ = key
        process = None if pid is None else self._machine.process(pid)
        return pid is None or (process is not None and process.started == started)

    def _forget(self) -> None:
        if len(self._series) > MOST_SERIES:
            for key in [key for key, series in self._series.items() if series.gone]:
                del self._series[key]

    # -- lines -------------------------------------------------------------------------------------

    def _write(self, view: ClientView, changed: list[tuple[Series, int]]) -> None:
        total = sum(usage.open for usage in view.usages)
        if self._json:
            line = {"event": "look", "time": round(time.time(), 3), "total": total}
            line["processes"] = [_series_json(one) for one in self._living()]
            print(json.dumps(line), flush=True)
            return
        clock = datetime.now().astimezone().strftime("%H:%M:%S")
        for series, before in changed:
            name, count = series.usage.name, series.samples[-1].count
            ended = " (has ended)" if series.gone else ""
            leak = ""
            if series.leak() is not None:
                leak = self.screen.style("red", "  grows and never falls")
            self.screen.line(
                f"{clock}  {series.usage.server}  {name}{ended}: {before} -> {count}"
                f"  (all processes: {total}){leak}"
            )
        self.screen.draw(f"{clock}  {amount(total, 'open connection')}  Ctrl-C ends")

    def _living(self) -> Iterator[Series]:
        for series in self._series.values():
            if not series.gone:
                yield series

    # -- the end -----------------------------------------------------------------------------------

    def end(self) -> list[Finding]:
        """Write the summary."""
        self.screen.clear()
        findings = list(self._leaks())
        if self._view is not None:
            leaking = {finding.pid for finding in findings}
            others = judge(self._view)
            findings += [f for f in others if f.code != "many" or f.pid not in leaking]
            findings = worst_first(findings)
        parts = {"watch": self._summary()}
        if self._json:
            last = {"event": "summary", **document("watch", time.time(), parts, findings)}
            print(json.dumps(last), flush=True)
            return findings
        paper = Paper(self.screen)
        watched = age(time.monotonic() - self._began)
        self.screen.line()
        paper.heading(f"Seen in {watched} ({amount(self._looks, 'look')})")
        if self._series:
            paper.table(
                ("PROCESS", "USER", "SERVER", "FIRST", "MOST", "LAST", ""),
                [_row(series) for series in self._series.values()],
            )
        else:
            paper.line("no connection")
        paper.heading("Findings")
        if findings:
            paper.findings(findings)
        else:
            paper.line("nothing is wrong: no count only grew")
        return findings

    def _summary(self) -> dict[str, Any]:
        return {
            "host": self._scope.name or None,
            "seconds": round(time.monotonic() - self._began, 3),
            "looks": self._looks,
            "processes": [_series_json(series) for series in self._series.values()],
        }

    def _leaks(self) -> Iterator[Finding]:
        for series in self._series.values():
            grown = series.leak()
            if grown is None:
                continue
            usage = series.usage
            yield Finding(
                code="leak",
                weight=Weight.PROBLEM,
                text=f"{usage.name} leaks connections to {usage.server}: {grown.first} became"
                f" {grown.last} in {age(grown.seconds)}, in {grown.rises} steps, and never fell"
                " back",
                fix=advice.close_them(),
                pid=usage.pid,
                count=grown.last,
            )


def _key(usage: Usage) -> tuple[int | None, float | None, str]:
    # Numbers of processes return: with its beginning it is certain which one it is.
    return usage.pid, usage.process.started if usage.process else None, usage.server


def _row(series: Series) -> tuple[str, ...]:
    usage, samples = series.usage, series.samples
    leaks = "leaks" if series.leak() is not None else "has ended" if series.gone else ""
    owner = (usage.process.owner if usage.process else usage.owner) or ""
    counts = (str(samples[0].count), str(series.most), str(samples[-1].count))
    return usage.name, owner, usage.server, *counts, leaks


def _series_json(series: Series) -> dict[str, Any]:
    usage = series.usage
    return {
        "server": usage.server,
        "pid": usage.pid,
        "process": None if usage.process is None else process_json(usage.process),
        "open": series.samples[-1].count,
        "first": series.samples[0].count,
        "most": series.most,
        "ftppool_slots": usage.slots,
        "ended": series.gone,
        "leaks": series.leak() is not None,
    }
