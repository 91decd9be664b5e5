"""Pictures of the terminal: runs the real commands on a terminal and writes what it shows as SVG.

Usage: ``make pictures``, or ``python docs/screenshots.py [NAME...]`` in its environment.
The pictures are in ``docs/_static/terminal`` and are committed.

What changes while a command runs is part of the picture: each line is shown for as long as it was
on the terminal, and what was there at the end stays. Viewers without animation show the end.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import pwd
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import pyte

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.docs.stage import HOST, PASSWORD, USER, Stage  # noqa: E402 - the path comes first
from tests.support import servers  # noqa: E402 - as above
from tests.support.relay import Relay  # noqa: E402 - as above

FOLDER = HERE / "_static" / "terminal"
LINES = 60
CELL, ROW, LEFT, TOP = 8.43, 19, 18, 46  # pixels of a monospaced font of 14 px
FONT = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
SHORTEST = 0.1  # seconds: what is there for less is not shown
END = 120.0
COLORS = {
    "default": "#d5d9e0", "black": "#5c6370", "red": "#f07178", "green": "#a5d66f",
    "brown": "#ffcb6b", "yellow": "#ffcb6b", "blue": "#82aaff", "magenta": "#c792ea",
    "cyan": "#6fd3e8", "white": "#ffffff",
}  # fmt: skip
DIM = "#8b93a1"


Cells: TypeAlias = tuple[tuple[str, str], ...]
"""Runs of text, each with its style."""


@dataclass(frozen=True)
class Shown:
    """A line of the terminal, from one time to another (None: it stayed)."""

    row: int
    cells: Cells
    since: float
    until: float | None


class Terminal(pyte.Screen):
    """pyte's screen, with the faint text that it does not know."""

    def select_graphic_rendition(self, *attributes: int, private: bool = False) -> None:
        """Take "dim" for grey."""
        if 2 in attributes:
            attributes = (*(a for a in attributes if a != 2), 90)
        super().select_graphic_rendition(*attributes)


def record(command: list[str], cwd: Path, env: dict[str, str], columns: int = 80) -> list[Shown]:
    """Run a command on a terminal of its own, and return what was on it when."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    # The terminal becomes its own, as in a shell: in the background nobody draws on one.
    process = subprocess.Popen(
        ["setsid", "--ctty", *command],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=env,
    )  # fmt: skip
    os.close(theirs)
    screen = Terminal(columns, LINES)
    stream = pyte.ByteStream(screen)
    began = time.monotonic()
    shown: list[Shown] = []
    now: dict[int, tuple[Cells, float]] = {}

    def look(at: float) -> None:
        for row in range(LINES):
            cells = _cells(screen, row)
            before = now.get(row)
            if before is not None and before[0] == cells:
                continue
            if before is not None and before[0] and at - before[1] >= SHORTEST:
                shown.append(Shown(row, before[0], before[1], at))
            now[row] = (cells, at)

    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # EIO: nobody has it open any more
            break
        if not chunk or time.monotonic() - began > END:
            break
        stream.feed(chunk)
        look(time.monotonic() - began)
    os.close(ours)
    process.wait(END)
    shown += [Shown(row, cells, since, None) for row, (cells, since) in now.items() if cells]
    return shown


def _cells(screen: pyte.Screen, row: int) -> Cells:
    """Give a row as runs of text of one style, without the space at its end."""
    line = screen.buffer[row]
    cells = [line[column] for column in range(screen.columns)]
    runs = [
        ("".join(char.data for char in group), style) for style, group in groupby(cells, key=_style)
    ]
    while runs and not runs[-1][0].strip():
        runs.pop()
    if runs:
        runs[-1] = (runs[-1][0].rstrip(), runs[-1][1])
    return tuple(runs)


def _style(char: Any) -> str:
    color = DIM if char.fg in ("brightblack", "black") else COLORS.get(char.fg, COLORS["default"])
    return f"{color};{'bold' if char.bold else 'normal'}"


def picture(scene: Scene, shown: list[Shown]) -> str:
    """Give the SVG."""
    if not scene.moving:
        shown = [replace(one, since=0.0) for one in shown if one.until is None]
    typed = (("$ ", f"{DIM};normal"), (scene.typed, f"{COLORS['white']};bold"))
    rows = [
        one
        for one in (Shown(-1, typed, 0, None), *shown)
        if one.until is None or one.until - one.since >= SHORTEST
    ]
    last = max(one.row for one in rows)
    height = TOP + ROW * (last + 2) + 14
    width = round(2 * LEFT + scene.columns * CELL)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f"<title>{escape(scene.title)}</title>",
        f"<style>text{{font:14px {FONT};white-space:pre}}</style>",
        f'<rect width="{width}" height="{height}" rx="9" fill="#1b1f27"/>',
        *(f'<circle cx="{20 + 18 * n}" cy="20" r="5.5" fill="{color}"/>'
          for n, color in enumerate(("#f07178", "#ffcb6b", "#a5d66f"))),
    ]  # fmt: skip
    for one in sorted(rows, key=lambda one: (one.row, one.since)):
        y = TOP + ROW * (one.row + 1) + 4
        parts.append(f"<g{_when(one)}>{_set(one)}{_text(one, y)}</g>")
    return "\n".join([*parts, "</svg>\n"])


def _when(one: Shown) -> str:
    return "" if one.until is None else ' visibility="hidden"'


def _set(one: Shown) -> str:
    """Say when a line is there; without animation only what stayed is seen."""
    if one.until is not None:
        return (
            f'<set attributeName="visibility" to="visible" begin="{one.since:.2f}s"'
            f' end="{one.until:.2f}s"/>'
        )
    if one.since < SHORTEST:
        return ""
    return f'<set attributeName="visibility" to="hidden" begin="0s" end="{one.since:.2f}s"/>'


def _text(one: Shown, y: int) -> str:
    column, parts = 0, []
    for text, style in one.cells:
        color, weight = style.split(";")
        if text.strip():
            x = LEFT + CELL * (column + len(text) - len(text.lstrip()))
            words = text.strip()
            bold = ' style="font-weight:bold"' if weight == "bold" else ""
            width = len(words) * CELL
            # The width is given: whatever font the viewer has, columns stay columns.
            parts.append(
                f'<text x="{x:.1f}" y="{y}" fill="{color}"{bold} textLength="{width:.1f}"'
                f' lengthAdjust="spacingAndGlyphs">{escape(words)}</text>'
            )
        column += len(text)
    return "".join(parts)


# -- the scenes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """A picture: what is typed, and how it is run."""

    title: str
    typed: str
    run: Callable[[ExitStack, Path], list[Shown]]
    columns: int = 80
    moving: bool = False


def _stage(stack: ExitStack, folder: Path, *, delay: float = 0.0, kind: str = "proftpd") -> Stage:
    """Set up the server of the examples, behind a link of a certain length."""
    page = folder / "page.md"
    page.write_text(HOST)
    (folder / "stage").mkdir()
    stage = Stage(folder / "stage", stack, page)
    port = stage.servers[f"{HOST}:21"].port
    if kind != "proftpd":
        options = {"user": USER, "password": PASSWORD}
        port = stack.enter_context(
            servers.start(kind, max_per_ip=3, root=stage.home, workdir=folder, options=options)
        ).port
    relay = stack.enter_context(Relay(port, workdir=folder, delay=delay))
    stage.environment["STAGE_NAMES"] = json.dumps({f"{HOST}:21": relay.port})
    stage.environment |= {
        "TERM": "xterm-256color",
        "FTPPOOL_PASSWORD": PASSWORD,
        "LC_ALL": "C.UTF-8",
    }
    return stage


def _put(stack: ExitStack, folder: Path) -> list[Shown]:
    stage = _stage(stack, folder, delay=0.02)
    for number in range(180):
        path = stage.work / f"export/{number % 6}/{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(40_000))
    command = ["ftppool", "put", "--max-per-ip", "3", "export", "ftp://me@ftp.example.com/inbox"]
    return record([str(stage.root / "bin/ftppool"), *command[1:]], stage.work, stage.environment)


def _slots(stack: ExitStack, folder: Path) -> list[Shown]:
    stage = _stage(stack, folder, kind="pyftpdlib")
    code = (
        "import sys, ftppool\n"
        "pool = ftppool.FTPPool('ftp://me:secret@ftp.example.com', max_per_ip=5)\n"
        "held = [pool.acquire(10) for _ in range(3)]\n"
        "try: pool.acquire(10)\n"
        "except ftppool.WouldDeadlock: pass\n"
        "print('there', flush=True); sys.stdin.read()\n"
        "[lease.release() for lease in held]; pool.close()"
    )
    script = stage.work / "nightly.py"
    script.write_text(code)
    holder = subprocess.Popen(
        [sys.executable, str(script)], env=stage.environment, cwd=stage.work,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    command = [str(stage.root / "bin/ftppool"), "slots"]
    try:
        for _ in range(50):  # until it is known that nobody waits any more
            said = subprocess.run(command, env=stage.environment, check=True, capture_output=True)
            if b"backs off" not in said.stdout:
                break
            time.sleep(0.1)
        return record(command, stage.work, stage.environment, 128)
    finally:
        holder.communicate()


def _doctor(stack: ExitStack, folder: Path) -> list[Shown]:
    stage = _stage(stack, folder)
    server = next(iter(stage.servers.values()))
    _wait_for_the_last(server.port)
    script = stage.work / "import.py"
    script.write_text(
        "import ftplib, sys\n"
        "held = []\n"
        "for number in range(3):\n"
        f"    ftp = ftplib.FTP(); ftp.connect('127.0.0.1', {server.port})\n"
        f"    ftp.login('me', {PASSWORD!r}); held.append(ftp)\n"
        "print('there', flush=True); sys.stdin.read()\n"
    )
    leaker = subprocess.Popen(
        [sys.executable, str(script)], env=stage.environment, cwd=stage.work,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert leaker.stdout is not None
    leaker.stdout.readline()
    where = f"127.0.0.1:{server.port}"
    command = [str(stage.root / "bin/ftppool"), "doctor", where]
    try:
        shown = record(command, stage.work, stage.environment, 100)
    finally:
        leaker.communicate()
    me = pwd.getpwuid(os.getuid()).pw_name
    names = {str(server.port): "21021", f"  {me} ": f"  {'me':{len(me)}} "}
    return [replace(one, cells=_renamed(one.cells, names)) for one in shown]


def _wait_for_the_last(port: int) -> None:
    """Wait until nothing is left of what another server had at this port (TIME_WAIT: 60 s)."""
    deadline = time.monotonic() + 65
    while time.monotonic() < deadline:
        lines = Path("/proc/net/tcp").read_text().splitlines()
        if not any(f":{port:04X} " in line and line.split()[3] == "06" for line in lines):
            return
        time.sleep(0.5)


def _renamed(cells: Cells, names: dict[str, str]) -> Cells:
    """Give what differs from machine to machine the same name on all of them."""
    for before, after in names.items():
        cells = tuple((text.replace(before, after), style) for text, style in cells)
    return cells


def _demo(stack: ExitStack, folder: Path) -> list[Shown]:
    stage = _stage(stack, folder)
    return record([str(stage.root / "bin/ftppool"), "demo"], stage.work, stage.environment)


SCENES = {
    "doctor": Scene(
        "ftppool doctor: which process leaks", "ftppool doctor 127.0.0.1:21021", _doctor, 100
    ),
    "demo": Scene("ftppool demo", "ftppool demo", _demo, moving=True),
    "put": Scene(
        "ftppool put, at work",
        "ftppool put --max-per-ip 3 export ftp://me@ftp.example.com/inbox",
        _put,
        moving=True,
    ),
    "slots": Scene("ftppool slots: who holds which session", "ftppool slots", _slots, 128),
}


def make(name: str) -> str:
    """Run a scene and return its picture."""
    scene = SCENES[name]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shown = scene.run(stack, Path(folder))
    return picture(scene, shown)


def main(names: list[str]) -> None:
    """Make pictures; all of them if none is named."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or SCENES:
        (FOLDER / f"{name}.svg").write_text(make(name), encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
