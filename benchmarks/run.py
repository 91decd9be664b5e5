"""Measure one part: all clients in turn, and each proved to have delivered."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import ftppool
from benchmarks import links, peers, tools, work
from benchmarks.parts import Cell, Part
from benchmarks.peers import Command, Job, Peer

LIMIT = 120.0
"""Seconds for one run of one client."""
SLOW, ENOUGH = 3.0, 2
"""Clients that need more than so many times the fastest's time run so many times only."""

Figures = dict[str, dict[str, Any]]


class NotHere(RuntimeError):
    """This part cannot be measured on this machine."""


def measure(command: Command, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run one command under the stopwatch."""
    order = {
        "command": command.words,
        "folder": str(command.folder),
        "environment": dict(environment),
        "input": command.input,
        "limit": LIMIT,
    }
    watch = [sys.executable, "-I", "-S", str(Path(__file__).with_name("stopwatch.py"))]
    ran = subprocess.run(
        watch, input=json.dumps(order), check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that everybody may enter, in memory if there is room, so that no disk is measured.

    Raises:
        NotHere: there is no room anywhere.
    """
    roots = ["/dev/shm", tempfile.gettempdir()]
    roomy = [root for root in roots if os.path.isdir(root) and _room(root) > 4e9]
    if not roomy:
        raise NotHere("this needs 4 GB of room in /dev/shm or the folder of temporary files")
    with tempfile.TemporaryDirectory(dir=roomy[0], prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _room(folder: str) -> float:
    return shutil.disk_usage(folder).free


class Bench:
    """One part with its server running."""

    def __init__(self, part: Part, folder: Path, link: links.Link | None) -> None:
        self._part = part
        self._folder = folder
        self._link = link
        self._stack = ExitStack()
        self._environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        from tests.support import servers  # after main() has said where they are to listen
        from tests.support.openssh import OpenSSH

        kind = self._part.server
        if reason := servers.available(kind):
            raise NotHere(reason)
        with self._link.at_server() if self._link else nullcontext():
            server = servers.start(
                kind, max_per_ip=None, root=self._folder / "home", workdir=self._folder, quiet=True
            )
        self._server = self._stack.enter_context(server)
        backend = server.backend
        self._ssh = backend.user_home / ".ssh" if isinstance(backend, OpenSSH) else None
        self._port = getattr(backend, "direct", server.port)
        self._host = links.SERVER if self._link else server.host
        (self._folder / "user").mkdir()
        self._environment = {
            **tools.CLIENTS.environment(),
            "HOME": str(self._folder / "user"),
            "FTPPOOL_STATE_DIR": str(self._folder / "state"),
        }
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def cell(self, cell: Cell, clients: list[Peer], runs: int) -> Figures:
        """Measure one cell."""
        folder = self._folder / "files"
        folder.mkdir()
        cell.make(folder)
        wanted = work.sizes(folder)
        figures: Figures = {}
        for turn in range(runs):
            for client in clients:
                label = client.label(cell.connections)
                figure = figures.setdefault(label, _blank(client, cell))
                if "failed" in figure or _slow(figure, figures):
                    continue
                self._once(client, cell, folder, wanted, figure)
                _tell(turn, label, figure)
        shutil.rmtree(folder)
        return figures

    def _once(
        self, client: Peer, cell: Cell, folder: Path, wanted: dict[str, int], figure: dict[str, Any]
    ) -> None:
        server = self._server
        number = client.connections or cell.connections
        job = Job(self._host, self._port, server.user, server.password, folder, number, self._ssh)
        with self._link.at_client(cell.rtt) if self._link else nullcontext():
            found = measure(client.command(job), self._environment)
        wrong = work.missing(wanted, work.sizes(server.home))
        if wrong is None and found["code"] != 0:
            wrong = f"exit status {found['code']}"
        if found["late"]:
            wrong = f"not done in {LIMIT:g} s"
        work.empty(server.home)
        if wrong:
            print(f"  {client.tool} said: {found['said']}", file=sys.stderr)
            figure["failed"] = wrong
            return
        for name in ("wall", "cpu", "peak"):
            figure[name].append(found[name])


def _blank(client: Peer, cell: Cell) -> dict[str, Any]:
    return {
        "tool": client.tool,
        "connections": client.connections or cell.connections,
        "wall": [],
        "cpu": [],
        "peak": [],
    }


def _slow(figure: dict[str, Any], figures: Figures) -> bool:
    walls = [statistics.median(other["wall"]) for other in figures.values() if other["wall"]]
    return len(figure["wall"]) >= ENOUGH and statistics.median(figure["wall"]) > SLOW * min(walls)


def _tell(turn: int, label: str, figure: dict[str, Any]) -> None:
    result = figure.get("failed")
    if not result:
        wall, cpu, peak = (figure[name][-1] for name in ("wall", "cpu", "peak"))
        result = f"{wall:8.2f} s {cpu:8.2f} s CPU {peak / 2**20:7.1f} MiB"
    print(f"  {turn + 1}. {label:<28}{result}", file=sys.stderr, flush=True)


def compile_ours() -> None:
    """As pip does on installing: the peers' modules have their bytecode already."""
    for folder in (Path(ftppool.__file__).parent, Path(__file__).parent):
        compileall.compile_dir(folder, quiet=1)


def part(part: Part, *, runs: int | None = None) -> dict[str, Any]:
    """Measure a part and return its record.

    Raises:
        NotHere: its server or link cannot be had.
    """
    offered = peers.SFTP if part.protocol == "sftp" else peers.FTP
    clients, without = [], {}
    for name in part.peers:
        if reason := offered[name].missing():
            without[name.replace(", {n} threads", "")] = reason
            print(f"  left out: {reason}", file=sys.stderr)
        else:
            clients.append(offered[name])
    cells = []
    began = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        try:
            link = stack.enter_context(links.Link()) if part.link else None
        except links.LinkError as error:
            raise NotHere(str(error)) from None
        bench = stack.enter_context(Bench(part, folder, link))
        for cell in part.cells:
            print(f" {cell.axis}", file=sys.stderr, flush=True)
            figures = bench.cell(cell, clients, runs or cell.runs or part.runs)
            cells.append({"axis": cell.axis, "figures": figures})
        how = link.how if link else None
    imported = measure(Command([sys.executable, "-c", "import ftppool"]), os.environ)
    return {
        "title": part.title,
        "server": part.server,
        "link": how,
        "left_out": without,
        "import_peak": imported["peak"],
        "seconds": round(time.monotonic() - began),
        "versions": {client.tool: tools.version(client.tool) for client in clients}
        | {part.server: tools.version(part.server)},
        "cells": cells,
    }
