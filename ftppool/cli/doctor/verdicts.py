"""What the client's half shows to be wrong, and which fix applies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from ftppool.cli.doctor import advice
from ftppool.cli.doctor.client import ClientView, Usage
from ftppool.cli.doctor.findings import Finding, Weight, worst_first
from ftppool.cli.doctor.machine import Process
from ftppool.cli.doctor.slotview import SlotView
from ftppool.cli.exits import one_line
from ftppool.refusals import named_limit
from ftppool.screen import amount

__all__ = ["MANY", "NEARLY", "judge", "system_files"]

MANY = 3
"""Connections of one program to one server that are worth a word: many hosters allow 3."""
NEARLY = 0.8
"""Part of the descriptors from which on they count as nearly used up."""
CHURN = 20
"""Connections in TIME_WAIT (the last minute's) that show a connection for each file."""


def judge(view: ClientView) -> list[Finding]:
    """List what is wrong, worst first."""
    caps = {slots.address: _allowed(slots) for slots in view.slots}
    found = [
        finding for usage in view.usages for finding in _of_usage(usage, caps.get(usage.server))
    ]
    for slots in view.slots:
        found += _of_server(view, slots)
    found += _of_descriptors(view)
    found += _unseen(view)
    return worst_first(found)


def _allowed(slots: SlotView) -> int | None:
    """Return what the server allows as far as its refusals tell: others may have had a part."""
    lesson = slots.lessons.of_all
    if slots.cap is None or lesson is None:
        return slots.cap
    return max(slots.cap, named_limit(lesson.words) or 0)


def _of_usage(usage: Usage, cap: int | None) -> Iterator[Finding]:
    dead = usage.states.get("CLOSE_WAIT", 0)
    if dead and usage.pid is not None:
        yield Finding(
            code="not-closed",
            weight=Weight.PROBLEM,
            text=f"{usage.name} has not closed {amount(dead, 'connection')} that"
            f" {usage.server} has ended (CLOSE_WAIT)",
            fix=advice.close_them(),
            pid=usage.pid,
            count=dead,
        )
    # Those that ftppool counts are bounded by its cap; what is judged is what nobody bounds.
    loose = usage.open - usage.slots
    if usage.pid is not None and loose >= MANY:
        allowed = f", which allows {cap}" if cap is not None else ""
        yield Finding(
            code="many",
            weight=Weight.PROBLEM,
            text=f"{usage.name} holds {amount(loose, 'connection')} to {usage.server}{allowed};"
            " hosting providers often allow 3 to 10",
            fix=(*advice.close_them()[:3], *advice.reuse(cap or 2)),
            pid=usage.pid,
            count=loose,
        )
    just_ended = usage.states.get("TIME_WAIT", 0)
    if just_ended >= CHURN:
        yield Finding(
            code="churn",
            weight=Weight.NOTE,
            text=f"{amount(just_ended, 'connection')} to {usage.server} ended within the last"
            " minute (TIME_WAIT): a connection for each file? The server does not count them any"
            " more",
            fix=advice.reuse(cap or 2),
            count=just_ended,
        )


def _of_server(view: ClientView, slots: SlotView) -> Iterator[Finding]:
    total, cap = view.total(slots.address), _allowed(slots)
    ban = slots.lessons.ban
    if ban is not None and slots.banned:
        left = max(1, round(ban.until - time.time()))
        yield Finding(
            code="banned",
            weight=Weight.PROBLEM,
            text=f"{slots.address} has shut this machine out: {one_line(ban.words)}",
            fix=(
                f"ftppool does not connect for another {left} s; more tries would prolong the ban.",
                "Find which program keeps hitting the limit (ftppool doctor --watch), and ask the",
                "server's operator to lift the ban.",
            ),
        )
    foreign = [u for u in view.usages if u.server == slots.address and u.open > u.slots]
    if cap is not None:
        yield from _of_cap(slots, cap, total, sum(usage.open - usage.slots for usage in foreign))
    for user, lesson in slots.lessons.of_user.items():
        yield Finding(
            code="learned",
            weight=Weight.NOTE,
            text=f"{slots.address} allows user {one_line(user)}"
            f" {amount(lesson.limit, 'connection')}, as its refusals have taught:"
            f" {one_line(lesson.words)}",
            fix=(f"    max_per_ip={lesson.limit}",),
            count=lesson.limit,
        )
    if slots.waiting:
        names = ", ".join(f"{record.name or 'process'}[{record.pid}]" for record in slots.waiting)
        yield Finding(
            code="waiting",
            weight=Weight.NOTE,
            text=f"{names} wait{'s' * (len(slots.waiting) == 1)} for a session to {slots.address},"
            f" of which {amount(len(slots.held), 'slot')} {'is' if len(slots.held) == 1 else 'are'}"
            " taken",
            count=len(slots.waiting),
        )
    if foreign and slots.held:
        names = ", ".join(f"{usage.name} ({usage.open - usage.slots})" for usage in foreign)
        yield Finding(
            code="foreign",
            weight=Weight.NOTE,
            text=f"connections to {slots.address} that ftppool does not count: {names}; the server"
            " counts them all",
            fix=("Leave room for them in max_per_ip, or let them use ftppool too:",
                 *advice.one_line()),
            count=sum(usage.open - usage.slots for usage in foreign),
        )  # fmt: skip


def _of_cap(slots: SlotView, cap: int, total: int, foreign: int) -> Iterator[Finding]:
    """Judge what refusals have taught, which is less than the limit if others are connected."""
    lesson, learned = slots.lessons.of_all, slots.cap
    assert lesson is not None
    assert learned is not None
    said = one_line(lesson.words)
    if total > cap:
        counted = f", {foreign} of them not ftppool's," if foreign else ""
        yield Finding(
            code="over-cap",
            weight=Weight.PROBLEM,
            text=f"this machine has {amount(total, 'connection')} to {slots.address}{counted} and"
            f" was refused when ftppool had {learned}: {said}",
            fix=(
                "See above who has the others: end them, or let them use ftppool too.",
                "Then find the limit: ftppool doctor --probe URL",
            )
            if foreign
            else (f"Set max_per_ip={cap}, and see above who has the others.",),
            count=total,
        )
    elif cap > learned:
        yield Finding(
            code="learned",
            weight=Weight.NOTE,
            text=f"{slots.address} allows {amount(cap, 'connection')}, of which ftppool could have"
            f" {learned}: others of this address had the rest: {said}",
            fix=(
                f"    max_per_ip={cap}",
                f"or, if the others are to stay, max_per_ip={learned}. ftppool itself tries for one"
                " more every now and then.",
            ),
            count=cap,
        )
    else:
        yield Finding(
            code="learned",
            weight=Weight.NOTE,
            text=f"{slots.address} allows {amount(cap, 'connection')}, as its refusals have"
            f" taught: {said}",
            fix=(f"    max_per_ip={cap}",),
            count=cap,
        )


def _of_descriptors(view: ClientView) -> Iterator[Finding]:
    processes = {usage.pid: usage.process for usage in view.usages if usage.process is not None}
    if view.me is not None:
        processes[view.me.pid] = view.me
    for process in processes.values():
        if _nearly(process):
            yield Finding(
                code="descriptors",
                weight=Weight.PROBLEM,
                text=f"{process.name}[{process.pid}] has {process.files:,} of the"
                f" {process.limit:,} descriptors that it may have",
                fix=advice.shell_limit(process.owner),
                pid=process.pid,
                count=process.files,
            )
    if view.files is not None and view.files.used >= NEARLY * view.files.limit:
        yield system_files(view.files.used, view.files.limit)


def _nearly(process: Process) -> bool:
    used, limit = process.files, process.limit
    return used is not None and limit is not None and used >= NEARLY * limit


def system_files(used: int, limit: int) -> Finding:
    """The machine itself is running out of descriptors."""
    return Finding(
        code="system-descriptors",
        weight=Weight.PROBLEM,
        text=f"{used:,} of the {limit:,} descriptors of the whole machine are in use",
        fix=("    sysctl -w fs.file-max=1000000  # and in /etc/sysctl.d/ for the next start",),
        count=used,
    )


def _unseen(view: ClientView) -> Iterator[Finding]:
    hidden = [usage for usage in view.usages if usage.pid is None and usage.open]
    count = sum(usage.open for usage in hidden)
    if count:
        owners = sorted({usage.owner for usage in hidden if usage.owner})
        whose = f"of {', '.join(owners)}" if owners else "of other users"
        who = f"which process has {amount(count, 'connection')} {whose}"
        root = getattr(os, "geteuid", lambda: 0)() == 0
        yield Finding(
            code="hidden",
            weight=Weight.UNSEEN,
            text=f"{who} cannot be seen: it is in a container or another namespace"
            if root
            else f"{who} is for that user and root to see",
            fix=() if root else ("    sudo ftppool doctor ...",),
            count=count,
        )
    closed = [u.process for u in view.usages if u.process is not None and u.process.files is None]
    if closed:
        names = ", ".join(f"{process.name}[{process.pid}]" for process in closed)
        yield Finding(
            code="hidden-descriptors",
            weight=Weight.UNSEEN,
            text=f"how many descriptors {names} use is for their user and root to see",
        )
