"""``ftppool demo``: the problem and the cure, measured on a small server of its own."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from dataclasses import dataclass

from ftppool.cli import demo_files
from ftppool.cli.args import Options
from ftppool.cli.demo_host import HOST, LIMIT, LOGIN, PASSWORD, REPLY, Host, Seen
from ftppool.cli.demo_naive import THREADS, ByHand
from ftppool.cli.exits import Exit, Terminated, one_line
from ftppool.cli.follower import Follower
from ftppool.cli.tally import Tally
from ftppool.oneshot import upload_batch
from ftppool.report import BatchReport
from ftppool.screen import Screen, size

__all__ = ["run"]

_BY_HAND = 40
"""Files of the first act."""
_PLAIN_EVERY = 2.0
"""Seconds between two progress lines where no line can be redrawn."""
_DRAW_EVERY = 0.1
_EXAMPLE = "ftp://user@host/inbox"


def run(options: Options) -> int:
    """Play both acts, show what was measured, and judge it.

    Raises:
        OSError: The server does not start, or the disk is full.
    """
    if importlib.util.find_spec("pyftpdlib") is None:
        print("ftppool: the demo needs pyftpdlib: pip install 'ftppool[demo]'", file=sys.stderr)
        return Exit.CONFIG
    screen = Screen(sys.stdout, color=options.color)
    try:
        with tempfile.TemporaryDirectory(
            prefix="ftppool-demo-", ignore_cleanup_errors=True
        ) as folder:
            return _play(screen, folder)
    except (KeyboardInterrupt, Terminated):
        screen.leave()
        raise


def _play(screen: Screen, folder: str) -> int:
    outbox = os.path.join(folder, "outbox")
    demo_files.make(outbox)
    names = demo_files.all_below(outbox)
    with Host(folder, ("by-hand", "ftppool")) as host:
        _introduce(screen)
        before = _by_hand(screen, host, outbox, names[:_BY_HAND])
        after = _with_ftppool(screen, host, outbox, names)
        _tables(screen, before, after)
        complaints = after.complaints()
    return _verdict(screen, complaints)


@dataclass(frozen=True, slots=True)
class _Act:
    """What was measured in one act.

    Attributes:
        files: Files that were to be sent.
        whole: Files that are byte for byte the same on the server's disk.
        seen: What the server saw.
    """

    files: int
    whole: int
    seen: Seen


@dataclass(frozen=True, slots=True)
class _Cure(_Act):
    """The second act, with what the client knows.

    Attributes:
        strangers: Files on the server that should not be there.
        report: What ``upload_batch`` returned.
        tally: What its events add up to.
        elapsed: Seconds of the whole call, with the end of all sessions.
    """

    strangers: int
    report: BatchReport
    tally: Tally
    elapsed: float

    def complaints(self) -> list[str]:
        """Say what is not as it was promised; nothing if all is well."""
        found = [one_line(error) for error in self.report.causes]
        found += [one_line(o.error) for o in self.report.failed]
        if self.whole != self.files:
            found.append(f"{self.files - self.whole} of {self.files} files are not whole")
        if self.strangers:
            found.append(f"{self.strangers} files on the server were not to be there")
        if self.seen.peak > LIMIT:
            found.append(f"the server saw {self.seen.peak} connections at once")
        if self.seen.refusals:
            found.append(f"the server refused {self.seen.refusals} connections")
        if self.seen.quits != self.tally.opened or self.seen.vanished or self.seen.now:
            found.append(
                f"{self.tally.opened} sessions were opened and {self.seen.quits} ended by QUIT"
            )
        return found


def _introduce(screen: Screen) -> None:
    screen.line()
    screen.line(f"  {screen.style('bold', 'ftppool demo')}")
    screen.line(f"  An FTP server on {HOST} allows {LIMIT} connections from one address, as vsftpd")
    screen.line(
        f"  does with max_per_ip={LIMIT}. Its replies take {REPLY * 1000:.0f} ms, a login"
        f" {LOGIN * 1000:.0f} ms more."
    )
    screen.line("  All that follows is measured.")
    screen.line()


def _by_hand(screen: Screen, host: Host, outbox: str, names: list[str]) -> _Act:
    _title(screen, "1", "By hand")
    screen.line(f"     {THREADS} threads with ftplib. For each file: connect, login, cwd or mkd,")
    screen.line("     storbinary, quit. After an error: the next file, and no cleaning up.")
    host.look()
    act = ByHand(host.port, "by-hand", outbox, names)
    began = time.monotonic()
    try:
        act.start()
        while act.running:
            time.sleep(_DRAW_EVERY)
            bar = screen.bar(act.done / len(names), 24)
            screen.draw(f"     {bar} {act.arrived} of {len(names)} files arrived")
        elapsed = time.monotonic() - began
        left = host.look()
    finally:
        act.close()
    seen = left.plus(host.settle())
    screen.clear()
    screen.line()
    _failures(screen, act, elapsed)
    if left.now:
        screen.line(
            f"     {left.now} of {LIMIT} places are still taken by sessions that nobody ended."
        )
        screen.line("     (They are ended now: the second way begins with a free server.)")
    screen.line()
    whole = demo_files.whole(names, outbox, os.path.join(host.root, "by-hand"))
    return _Act(len(names), whole, seen)


def _failures(screen: Screen, act: ByHand, elapsed: float) -> None:
    failed = act.errors.total()
    mark = screen.style("bold red", "✗") if failed else screen.style("bold green", "✓")
    words = f"{failed} of {len(act.names)} files failed"
    screen.line(f"   {mark} {screen.style('bold', words)} in {elapsed:.1f} s:")
    for words, count in act.errors.most_common(3):
        screen.line(f"     {count:3}x  {screen.style('red', one_line(words)[:65])}")


def _with_ftppool(screen: Screen, host: Host, outbox: str, names: list[str]) -> _Cure:
    _title(screen, "2", "With ftppool")
    folders = len({name.rpartition("/")[0] for name in names})
    screen.line(
        f"     {len(names)} files in {folders} directories, among them the {_BY_HAND} of above:"
    )
    screen.line(f"     {_code(f'ftp://{HOST}')}")
    screen.line()
    watch = _Watch(screen, len(names))
    began = time.monotonic()
    with Follower(watch.tally.take, watch.tick, _DRAW_EVERY) as follower:
        report = upload_batch(
            [f"{outbox}{os.sep}"],
            f"ftp://ftppool:{PASSWORD}@{HOST}:{host.port}",
            max_per_ip=LIMIT,
            on_event=follower,
            check=False,
        )
        elapsed = time.monotonic() - began
    screen.clear()
    watch.end(elapsed)
    screen.line()
    seen = host.settle()
    home = os.path.join(host.root, "ftppool")
    whole = demo_files.whole(names, outbox, home)
    strangers = len(set(demo_files.all_below(home)) - set(names))
    return _Cure(len(names), whole, seen, strangers, report, watch.tally, elapsed)


class _Watch:
    """The progress line of the second act."""

    def __init__(self, screen: Screen, files: int) -> None:
        self.tally = Tally()
        self._screen = screen
        self._files = files
        self._next = _PLAIN_EVERY

    def tick(self) -> None:
        if self._screen.live:
            self._screen.draw(self._text())
        elif self.tally.elapsed >= self._next:
            self._next += _PLAIN_EVERY
            self._screen.line(self._text())

    def end(self, elapsed: float) -> None:
        """Write what stays."""
        self._screen.line(f"{self._start()}  in {elapsed:.1f} s  {self.tally.refused} refused")

    def _text(self) -> str:
        tally = self.tally
        return (
            f"{self._start()}  {tally.rates()[0]:3.0f}/s"
            f"  {tally.sessions} of {LIMIT} sessions  {tally.refused} refused"
        )

    def _start(self) -> str:
        screen, tally = self._screen, self.tally
        bar = f"{screen.bar(tally.done / self._files, 14)} " if screen.live else ""
        return f"     {bar}{tally.done:3}/{self._files} files  {size(tally.bytes):>8}"


def _code(url: str) -> str:
    return f'upload_batch(["outbox/"], "{url}", max_per_ip={LIMIT})'


def _tables(screen: Screen, before: _Act, after: _Cure) -> None:
    report, tally = after.report, after.tally
    _title(screen, "", "What the client did")
    sent = len(report.uploaded)
    for name, value in (
        ("files sent", f"{sent}"),
        ("bytes", size(report.bytes_sent)),
        ("seconds", f"{after.elapsed:.1f}"),
        ("files a second", f"{sent / after.elapsed:.0f}"),
        ("sessions opened", f"{tally.opened}"),
        ("reused for a file", f"{tally.started - tally.opened}"),
        ("sizes verified", f"{sum(o.verified is True for o in report.outcomes)}"),
    ):
        screen.line(f"  {name:<24}{value:>12}")
    screen.line()
    _title(screen, "", f"{'What the server saw':<24}{'by hand':>12}{'ftppool':>14}")
    for name, key in (
        ("connections", "connections"),
        ("at once, at most", "peak"),
        ("refused", "refusals"),
        ("ended by QUIT", "quits"),
        ("just vanished", "vanished"),
    ):
        screen.line(f"  {name:<24}{getattr(before.seen, key):>12}{getattr(after.seen, key):>14}")
    wholes = [f"{act.whole} of {act.files}" for act in (before, after)]
    screen.line(f"  {'files whole':<24}{wholes[0]:>12}{wholes[1]:>14}")
    screen.line()


def _title(screen: Screen, number: str, words: str) -> None:
    lead = f"  {screen.style('cyan', number)}  " if number else "  "
    screen.line(f"{lead}{screen.style('bold', words)}")


def _verdict(screen: Screen, complaints: list[str]) -> int:
    if complaints:
        screen.line(f"  {screen.style('bold red', '✗')} Not as promised:")
        for complaint in complaints[:10]:
            screen.line(f"    {complaint}"[:79])
        return Exit.FAILED
    words = "All files were compared byte for byte. In your own code:"
    screen.line(f"  {screen.style('bold green', '✓')} {words}")
    screen.line()
    screen.line(f"    {screen.style('bold', f'ftppool.{_code(_EXAMPLE)}')}")
    screen.line()
    return Exit.OK
