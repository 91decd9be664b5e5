"""``ftppool doctor --server``: looks, and writes what it found."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import Any

from ftppool.cli.args import Options
from ftppool.cli.doctor.findings import exit_code
from ftppool.cli.doctor.machine import this_machine
from ftppool.cli.doctor.paper import Paper
from ftppool.cli.doctor.schema import document, files_json, process_json
from ftppool.cli.doctor.server import Daemon, ServerView, look
from ftppool.cli.doctor.serververdicts import judge
from ftppool.cli.doctor.settings import Configuration, Setting
from ftppool.cli.settings import Level
from ftppool.screen import Screen, amount, size

__all__ = ["run"]

HOURS = 24
"""Rows of the table by hour: the latest with refusals."""
ADDRESSES = 20
"""Rows of the tables by address."""


def run(options: Options) -> int:
    """Look at the servers of this machine."""
    # FTPPOOL_CONFIG is for profiles: only the flag itself names a server's configuration.
    configs = options.config if options.origins["config"].level is Level.FLAG else None
    view = look(this_machine(), configs, options.log)
    findings = judge(view)
    if options.json:
        print(
            json.dumps(document("server", time.time(), {"server": _json(view)}, findings), indent=2)
        )
    else:
        paper = Paper(Screen(sys.stdout, color=options.color))
        _write(paper, view)
        paper.heading("Findings")
        if findings:
            paper.findings(findings)
        else:
            paper.line("nothing is wrong")
    return exit_code(findings)


def _write(paper: Paper, view: ServerView) -> None:
    paper.heading("FTP servers that run here")
    rows = [_daemon(daemon) for daemon in view.daemons]
    if view.files is not None:
        rows.append(
            ("the whole machine", "", "", "", f"{view.files.used:,}", f"{view.files.limit:,}")
        )
    if not view.daemons:
        paper.line("none that is called vsftpd, proftpd or pure-ftpd")
    paper.table(("DAEMON", "USER", "PORTS", "CHILDREN", "DESCRIPTORS", "LIMIT"), rows)
    for configuration in view.configurations:
        _settings(paper, configuration)
    paper.heading("Connections by address")
    if view.guests:
        shown = view.guests[:ADDRESSES]
        paper.table(
            ("ADDRESS", "PORT", "OPEN", "CLOSING"),
            [(g.address, str(g.port), f"{g.open:,}", _number(g.other)) for g in shown],
        )
        if len(view.guests) > len(shown):
            paper.line(f"and {amount(len(view.guests) - len(shown), 'address')[:-1]}es more")
    else:
        paper.line("none")
    _refusals(paper, view)


def _daemon(daemon: Daemon) -> tuple[str, ...]:
    process = daemon.process
    files = "not for us to see" if daemon.most_files is None else f"{daemon.most_files:,}"
    limit = "" if process.limit is None else f"{process.limit:,}"
    ports = ", ".join(map(str, daemon.ports))
    name = f"{process.command}[{process.pid}]"
    return name, process.owner, ports, str(daemon.children), files, limit


def _settings(paper: Paper, configuration: Configuration) -> None:
    paper.heading(f"{configuration.kind}: {configuration.files[0]}")
    files = [s for s in configuration.settings if s.value.startswith("/")]
    paper.table(
        ("SETTING", "VALUE", "IN", "WHERE", "MEANING"),
        [
            (s.name, s.value, s.context, _where(configuration, s), s.meaning)
            for s in configuration.settings
            if s not in files
        ],
    )
    # Their long names would leave no room for the rest of the table.
    for s in files:
        paper.line(f"{s.name} {s.value} ({_where(configuration, s)}): {s.meaning}")
    for path in configuration.files[1:]:
        paper.line(f"includes {path}")


def _where(configuration: Configuration, setting: Setting) -> str:
    path, colon, line = setting.where.rpartition(":")
    if colon and path == configuration.files[0]:
        return f"line {line}"
    return setting.where.rpartition("/")[2] or "default"


def _refusals(paper: Paper, view: ServerView) -> None:
    paper.heading("Refusals in the logs")
    log = view.log
    if log.files:
        paper.line(f"read {size(log.bytes)} of {', '.join(log.files)}")
    if not log.refusals:
        paper.line("none")
        return
    hours = sorted(log.by(0, 2).items())[-HOURS:]
    paper.table(
        ("HOUR", "LIMIT", "REFUSALS"), [(hour, limit, f"{n:,}") for (hour, limit), n in hours]
    )
    paper.line("", indent="")
    paper.table(
        ("ADDRESS", "LIMIT", "REFUSALS"),
        [(who, limit, f"{n:,}") for (who, limit), n in log.by(1, 2).most_common(ADDRESSES)],
    )


def _number(number: int) -> str:
    return f"{number:,}" if number else ""


# -- for programs ----------------------------------------------------------------------------------


def _json(view: ServerView) -> dict[str, Any]:
    log = view.log
    return {
        "daemons": [
            {
                **process_json(daemon.process),
                "command": daemon.process.command,
                "children": daemon.children,
                "most_descriptors": daemon.most_files,
                "ports": list(daemon.ports),
            }
            for daemon in view.daemons
        ],
        "configurations": [
            {**asdict(one), "ports": sorted(one.ports)} for one in view.configurations
        ],
        "connections": [asdict(guest) for guest in view.guests],
        "log": {
            "files": log.files,
            "bytes": log.bytes,
            "cut": log.cut,
            "missing": log.missing,
            "refusals": sum(log.refusals.values()),
            "by_hour": _sums(log.by(0, 2), "hour"),
            "by_address": _sums(log.by(1, 2), "address"),
            "troubles": dict(log.troubles),
        },
        "system_descriptors": files_json(view.files),
    }


def _sums(counts: Any, what: str) -> list[dict[str, Any]]:
    return [
        {what: key, "limit": limit, "count": number}
        for (key, limit), number in sorted(counts.items())
    ]
