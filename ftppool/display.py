"""What ``progress=True`` and ``ftppool put`` show: a calm block on a terminal, else some lines."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable

from ftppool.above import Detour
from ftppool.logs import log
from ftppool.progress import Progress, UnderWay
from ftppool.screen import Screen, amount, cut, size
from ftppool.words import printable

__all__ = ["Display", "block", "sentence", "summary"]

EVERY = 30.0
"""Seconds between two lines where no block can be redrawn."""
BAR = 20
"""Columns of the bar."""
LARGE = 1_000_000
"""Bytes from which it is worth a word how much of a file has gone."""


class Display:
    """Shows the progress of one batch; give it as ``progress=``.

    Args:
        screen: Where to show it; default: stderr. Without a terminal lines are said instead.
        say: Says a line (default: the log, INFO).
        every: Seconds between two of them.
        closing: False: the block goes without leaving a line that sums up.

    Attributes:
        last: The latest of what was shown.
    """

    def __init__(
        self,
        screen: Screen | None = None,
        *,
        say: Callable[[str, Progress], object] | None = None,
        every: float = EVERY,
        closing: bool = True,
    ) -> None:
        self.last: Progress | None = None
        self._closing = closing
        self._screen = screen or Screen(sys.stderr, lenient=True)
        self._say = say or _log
        self._every = every
        self._next = time.monotonic() + every
        self._detour: Detour | None = None

    def __call__(self, progress: Progress) -> None:
        """Show how far it is now."""
        self.last = progress
        if self._screen.live and _has_block(self):
            self._draw(progress)
        elif time.monotonic() >= self._next and not progress.finished:
            self._next = time.monotonic() + self._every
            self._say(sentence(progress), progress)

    def _draw(self, progress: Progress) -> None:
        screen = self._screen
        if progress.finished:
            screen.clear()
            if self._detour is not None:
                self._detour.end()
            if self._closing:
                screen.line(summary(screen, progress))
            _give_up_block(self)  # last: whoever has it next leads stdout past his own
            return
        if self._detour is None:
            self._detour = Detour(screen)
            self._detour.begin()
        screen.draw(*block(screen, progress))


# Whose block the terminal shows. Two batches at a time would each draw over the other's: the second
# says lines as without a terminal, until the first has ended.
_lock = threading.RLock()  # reentrant for the reason of the screen's
_shown: weakref.ref[Display] | None = None


def _has_block(display: Display) -> bool:
    """True if this display has the block, or can have it now."""
    global _shown  # noqa: PLW0603 - there is one terminal
    with _lock:
        if _shown is None or _shown() is None:
            _shown = weakref.ref(display)
        return _shown() is display


def _give_up_block(display: Display) -> None:
    global _shown  # noqa: PLW0603 - one block a process
    with _lock:
        if _shown is not None and _shown() is display:
            _shown = None


def block(screen: Screen, progress: Progress) -> list[str]:
    """Lay out the live block: how far it is, over which sessions, and the files under way."""
    columns = screen.columns
    first = [
        f"{screen.bar(_part(progress), BAR)} {_files(progress)}",
        _bytes(progress),
        *_rate(progress),
        *_left(progress),
    ]
    if not screen.tall:
        if progress.waiting:
            return [screen.style("yellow", _waiting(progress))]
        return [_fitting([*first, *_sessions(screen, progress, brief=True)], columns)]
    if progress.waiting:
        second = screen.style("yellow", cut(_waiting(progress), columns))
    else:
        second = _fitting(_sessions(screen, progress), columns)
    third = _names(progress.under_way, columns)
    return [_fitting(first, columns), second, *([screen.style("dim", third)] if third else [])]


def sentence(progress: Progress) -> str:
    """Say how far it is in one plain line."""
    parts = [
        _files(progress), _bytes(progress), *_rate(progress), *_left(progress),
        f"{progress.sessions} of {amount(progress.cap, 'session')}",
    ]  # fmt: skip
    if progress.files_failed:
        parts.append(f"{progress.files_failed:,} failed")
    if progress.trouble and (progress.waiting or progress.cap < progress.max_per_ip):
        parts.append(_waiting(progress) if progress.waiting else printable(progress.trouble))
    return ", ".join(parts)


def summary(screen: Screen, progress: Progress) -> str:
    """Say in one line what has become of it."""
    arrived = progress.files_done - progress.files_failed - progress.files_skipped
    good = arrived + progress.files_skipped == progress.files_total
    mark = screen.style("green", "✓") if good else screen.style("red", "✗")
    files = amount(arrived, "file")
    if not good:
        files = f"{arrived:,} of {amount(progress.files_total - progress.files_skipped, 'file')}"
    parts = [f"{mark} {files}, {size(progress.bytes_done)} in {progress.elapsed:.1f} s"]
    if progress.files_skipped:
        parts.append(f"{progress.files_skipped:,} skipped")
    if progress.files_failed:
        parts.append(screen.style("red", f"{progress.files_failed:,} failed"))
    parts.append(amount(progress.opened, "session"))
    if progress.refused:
        parts.append(f"{progress.refused:,} refused")
    return ", ".join(parts)


def _log(words: str, progress: Progress) -> None:
    log.info("ftppool: %s", words, event="Progress", pool=progress.pool, seconds=progress.elapsed)


def _part(progress: Progress) -> float:
    """How much of it is done; bytes say more than files, where all are known."""
    if progress.complete and progress.bytes_total:
        return progress.bytes_done / progress.bytes_total
    return progress.files_done / progress.files_total if progress.files_total else 0.0


def _files(progress: Progress) -> str:
    # The input is read only so far ahead: until its end nobody knows the total.
    more = "" if progress.complete else "+"
    return f"{progress.files_done:,} of {progress.files_total:,}{more} files"


def _bytes(progress: Progress) -> str:
    if not progress.complete:
        return size(progress.bytes_done)
    return f"{size(progress.bytes_done)} of {size(progress.bytes_total)}"


def _rate(progress: Progress) -> list[str]:
    return [f"{size(progress.rate)}/s"] if progress.rate else []


def _left(progress: Progress) -> list[str]:
    if progress.eta is None:
        return []
    minutes, seconds = divmod(round(progress.eta), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return [f"{clock} left"]


def _sessions(screen: Screen, progress: Progress, *, brief: bool = False) -> list[str]:
    parts = [f"{progress.sessions} of {amount(progress.cap, 'session')}"]
    lowered = progress.cap < progress.max_per_ip
    if lowered and not brief:
        parts[0] += f" (the server allows {progress.cap}, not {progress.max_per_ip})"
    if progress.files_failed:
        parts.append(screen.style("red", f"{progress.files_failed:,} failed"))
    if progress.files_skipped:
        parts.append(f"{progress.files_skipped:,} skipped")
    if progress.refused:
        parts.append(screen.style("yellow", f"{progress.refused:,} refused"))
    if progress.trouble and not brief:
        parts.append(screen.style("yellow", printable(progress.trouble)))
    return parts


def _waiting(progress: Progress) -> str:
    when = f", next try in {progress.next_try:.0f} s" if progress.next_try >= 0.5 else ""
    return f"waiting{when}: {printable(progress.trouble)}"


def _fitting(parts: list[str], columns: int) -> str:
    """Join as many parts as there is room for; the first comes in any case."""
    line = parts[0]
    for part in parts[1:]:
        longer = f"{line}  {part}"
        if cut(longer, columns) != longer:
            # The last one says why: better in part than not at all.
            return cut(longer, columns) if part is parts[-1] and len(parts) > 2 else line
        line = longer
    return line


def _names(files: tuple[UnderWay, ...], columns: int) -> str:
    """Name the files under way, the biggest first, as many as there is room for."""
    line = ""
    for file in sorted(files, key=lambda file: -(file.size or 0)):
        name = printable(file.remote)
        name = name if len(name) <= 36 else f"…{name[-35:]}"
        slow = file.size is not None and file.size >= LARGE
        part = f" {100 * file.moved // file.size} %" if slow and file.size else ""
        longer = f"{line}  {name}{part}" if line else f"{name}{part}"
        if cut(longer, columns) != longer:
            break
        line = longer
    return line
