"""The client's half for people."""

from __future__ import annotations

import time

from ftppool.cli.doctor.client import ClientView, Usage
from ftppool.cli.doctor.machine import Process
from ftppool.cli.doctor.paper import Paper, age, moment
from ftppool.cli.doctor.slotview import SlotView
from ftppool.cli.exits import one_line

__all__ = ["write"]

_HEAD = (
    "PROCESS", "USER", "RUNS", "SERVER", "OPEN", "DEAD", "ENDED", "OTHER", "DATA", "FTPPOOL",
)  # fmt: skip
_ONES = ("ESTABLISHED", "CLOSE_WAIT", "TIME_WAIT")
_WORDS = {
    "ESTABLISHED": "open: ESTABLISHED",
    "CLOSE_WAIT": "dead: ended by the server, but not by the process (CLOSE_WAIT)",
    "TIME_WAIT": "ended: TIME_WAIT, which the server does not count",
}


def write(paper: Paper, view: ClientView) -> None:
    """Write what was seen."""
    where = f" to {view.scope.name}" if view.scope.name else ""
    paper.heading(f"Connections of this machine{where}")
    if view.usages:
        paper.table(
            _HEAD,
            map(_usage, view.usages),
        )
        paper.line(_legend(view))
    else:
        paper.line("none")
    if view.slots:
        paper.heading("What ftppool knows")
        paper.table(
            ("SERVER", "HELD", "WAITING", "CAP", "ALLOWS", "SINCE", "BANNED UNTIL", "ITS WORDS"),
            map(_slots, view.slots),
        )
    rows = [_descriptors(process) for process in _processes(view)]
    if rows or view.files is not None:
        paper.heading("File descriptors")
        if view.files is not None:
            rows.append(("the whole machine", f"{view.files.used:,}", f"{view.files.limit:,}"))
        paper.table(("WHOSE", "IN USE", "LIMIT"), rows)


def _usage(usage: Usage) -> tuple[str, ...]:
    process = usage.process
    runs = age(time.time() - process.started) if process and process.started else ""
    other = sum(count for state, count in usage.states.items() if state not in _ONES)
    slots = ""
    if usage.slots:
        since = "" if usage.oldest is None else f", {age(time.time() - usage.oldest)}"
        slots = f"{usage.slots}{since}"
    return (
        "-" if usage.name == "no process" else usage.name,
        (process.owner if process else usage.owner) or "",
        runs,
        usage.server,
        *(_count(usage.states.get(state, 0)) for state in _ONES),
        _count(other),
        _count(usage.data),
        slots,
    )


def _legend(view: ClientView) -> str:
    """Explain the columns that are there."""
    words = [
        text for state, text in _WORDS.items() if any(u.states.get(state) for u in view.usages)
    ]
    if any(usage.data for usage in view.usages):
        words.append("data: open data connections")
    if any(usage.slots for usage in view.usages):
        words.append("ftppool: those that it counts, since when")
    return "; ".join(words)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _slots(view: SlotView) -> tuple[str, ...]:
    lesson, ban = view.lessons.of_all, view.lessons.ban
    banned = ban is not None and view.banned
    caps = sorted({record.cap for record in (*view.held, *view.waiting)})
    words = ban.words if ban is not None and banned else lesson.words if lesson is not None else ""
    return (
        view.address,
        _count(len(view.held)) or "0",
        _count(len(view.waiting)),
        ", ".join(map(str, caps)),
        "" if lesson is None else str(lesson.limit),
        "" if lesson is None else moment(lesson.since),
        moment(ban.until) if ban is not None and banned else "",
        one_line(words) if words else "",
    )


def _processes(view: ClientView) -> list[Process]:
    found = {usage.pid: usage.process for usage in view.usages if usage.process is not None}
    if view.me is not None:
        found[view.me.pid] = view.me
    return list(found.values())


def _descriptors(process: Process) -> tuple[str, str, str]:
    name = f"{process.name}[{process.pid}]"
    used = "not for us to see" if process.files is None else f"{process.files:,}"
    limit = "" if process.limit is None else f"{process.limit:,}"
    return name, used, limit
