"""What ``--json`` writes, as docs/doctor.md says. What breaks its readers raises VERSION."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ftppool.cli.doctor.client import ClientView, Usage
from ftppool.cli.doctor.findings import Finding, exit_code
from ftppool.cli.doctor.machine import Files, Process
from ftppool.cli.doctor.slotview import SlotView
from ftppool.cli.exits import one_line

if TYPE_CHECKING:
    from ftppool.lessons import Lesson
    from ftppool.limits.slotfiles import Record

__all__ = [
    "VERSION",
    "client_json",
    "document",
    "files_json",
    "finding_json",
    "process_json",
    "slots_json",
]

VERSION = 1


def document(
    mode: str, now: float, parts: dict[str, Any], findings: Iterable[Finding]
) -> dict[str, Any]:
    """The whole, for one mode (``"client"``, ``"server"`` or ``"watch"``)."""
    findings = list(findings)
    return {
        "schema": "ftppool-doctor",
        "version": VERSION,
        "mode": mode,
        "time": round(now, 3),
        **parts,
        "findings": [finding_json(finding) for finding in findings],
        "problems": bool(exit_code(findings)),
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """One finding; ``paste`` are those lines of ``fix`` that are to be pasted."""
    return {
        **asdict(finding),
        "fix": [line.strip() for line in finding.fix],
        "paste": [line[4:] for line in finding.fix if line.startswith("    ")],
    }


def client_json(view: ClientView) -> dict[str, Any]:
    """The client's half."""
    return {
        "host": view.scope.name or None,
        "addresses": None if view.scope.ips is None else sorted(view.scope.ips),
        "connections": [usage_json(usage) for usage in view.usages],
        "slots": [slots_json(slots) for slots in view.slots],
        "own_descriptors": None if view.me is None else process_json(view.me),
        "system_descriptors": files_json(view.files),
    }


def usage_json(usage: Usage) -> dict[str, Any]:
    """What one process has at one server."""
    return {
        "server": usage.server,
        "pid": usage.pid,
        "process": None if usage.process is None else process_json(usage.process),
        "owner": usage.owner or None,
        "open": usage.open,
        "states": dict(usage.states),
        "data": usage.data,
        "ftppool_slots": usage.slots,
    }


def process_json(process: Process) -> dict[str, Any]:
    """A process; without its command line, which may hold passwords."""
    return {
        "pid": process.pid,
        "name": process.name,
        "user": process.owner or None,
        "started": process.started and round(process.started, 3),
        "descriptors": process.files,
        "descriptor_limit": process.limit,
    }


def files_json(files: Files | None) -> dict[str, int] | None:
    """Descriptors of the whole machine."""
    return None if files is None else {"used": files.used, "limit": files.limit}


def slots_json(view: SlotView) -> dict[str, Any]:
    """One server as ``client.slots`` has it."""
    lesson, ban = view.lessons.of_all, view.lessons.ban
    return {
        "address": view.address,
        "held": [_record(record) for record in view.held],
        "waiting": [_waiting(record) for record in view.waiting],
        "learned": None if lesson is None else _lesson(lesson),
        "learned_users": {who: one.limit for who, one in view.lessons.of_user.items()},
        "lessons_of_users": {who: _lesson(one) for who, one in view.lessons.of_user.items()},
        "banned_until": ban.until if ban is not None and view.banned else None,
        "ban": one_line(ban.words) if ban is not None and view.banned else None,
    }


def _lesson(lesson: Lesson) -> dict[str, Any]:
    return {
        "limit": lesson.limit,
        "words": lesson.words,
        "since": lesson.since,
        "probe_at": lesson.probe_at,
    }


def _waiting(record: Record) -> dict[str, Any]:
    until = record.asked if record.state == "paused" else None
    return {**_record(record), "refused": until is not None, "next_try": until}


def _record(record: Record) -> dict[str, Any]:
    return {
        "pid": record.pid,
        "name": record.name,
        "user": record.user or None,
        "cap": record.cap,
        "since": record.since if math.isfinite(record.since) else None,
    }
