"""The course of an examination: what is looked at, in which order, and how it is written."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

from ftppool.cli import connect
from ftppool.cli.args import Options
from ftppool.cli.credentials import Place
from ftppool.cli.doctor import clientpaper
from ftppool.cli.doctor.client import FTP_PORTS, ClientView, Scope, look
from ftppool.cli.doctor.findings import Finding, exit_code, worst_first
from ftppool.cli.doctor.machine import this_machine
from ftppool.cli.doctor.paper import Paper
from ftppool.cli.doctor.schema import client_json, document
from ftppool.cli.doctor.verdicts import judge
from ftppool.cli.exits import Exit
from ftppool.errors import ConfigError
from ftppool.screen import Screen
from ftppool.sshconfig import SSHConfig
from ftppool.target import Target

__all__ = ["run"]


def run(options: Options) -> int:
    """Look, and say what is wrong."""
    if options.server:
        from ftppool.cli.doctor import servercourse

        return servercourse.run(options)
    place = _place(options)
    scope = _scope(options.target) if place is None else _scope_of(options, place.target)
    if options.watch is not None:
        from ftppool.cli.doctor import watch

        return watch.run(options, scope)
    view = look(this_machine(), scope)
    findings = judge(view)
    return _with_probe(options, place, view, findings)


def _with_probe(
    options: Options, place: Place | None, view: ClientView, findings: list[Finding]
) -> int:
    paper = Paper(Screen(sys.stdout, color=options.color))
    if not options.json:
        clientpaper.write(paper, view)
    parts: dict[str, Any] = {"client": client_json(view)}
    code = Exit.OK
    if options.probe is not None:
        assert place is not None
        from ftppool.cli.doctor import probecourse

        # What is open already is written before: if the probe hangs, it is known why.
        code, found = probecourse.run(options, place, paper, parts)
        findings = worst_first([*findings, *found])
    _end(options, paper, "client", parts, findings)
    return code if code is not Exit.OK else exit_code(findings)


def _end(
    options: Options,
    paper: Paper,
    mode: str,
    parts: dict[str, Any],
    findings: Iterable[Finding],
) -> None:
    findings = list(findings)
    if options.json:
        print(json.dumps(document(mode, time.time(), parts, findings), indent=2))
        return
    paper.heading("Findings")
    if findings:
        paper.findings(findings)
    else:
        paper.line("nothing is wrong")


def _place(options: Options) -> Place | None:
    """Read a URL or a profile; None for a bare host or nothing."""
    text = options.target
    if text is None and options.profile is not None and options.url is not None:
        text = f"{options.profile}:"
    elif text is None or not options.place:
        return None
    return connect.place_of(options, text)


def _scope_of(options: Options, target: Target) -> Scope:
    """Where the sessions of a target end: ``~/.ssh/config`` may say otherwise than the URL."""
    host, port, proxied = target.host, target.port, False
    if target.scheme == "sftp":
        from ftppool.drivers.sftp_endpoint import endpoint_of

        # Who only looks needs no user name.
        somebody = dataclasses.replace(target, user=target.user or "-")
        ssh = connect.pool_options(options, target).get("ssh") or SSHConfig()
        endpoint = endpoint_of(somebody, ssh)
        host, port, proxied = endpoint.host, endpoint.port, endpoint.proxied
    # What a proxy connects to counts by name.
    ips = frozenset({host}) if proxied else _resolve(host)
    return Scope(name=target.host, ips=ips, ports=frozenset({port}), port=port)


def _scope(text: str | None) -> Scope:
    if text is None:
        return Scope()
    host, named = _host_and_port(text)
    ports = FTP_PORTS | {22} if named is None else frozenset({named})
    return Scope(name=text, ips=_resolve(host), ports=ports, port=named)


def _host_and_port(text: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([^:]+)(?::(\d{1,5}))?", text)
    if found is None:
        return text, None  # an IPv6 address without brackets
    port = found[2] or found[4]
    return found[1] or found[3], None if port is None else int(port)


def _resolve(host: str) -> frozenset[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{host!r} cannot be resolved: {error}") from error
    return frozenset(str(address[0]).partition("%")[0] for *_, address in found)
