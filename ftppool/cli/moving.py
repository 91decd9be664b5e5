"""What ``put`` and ``get`` have in common: a batch, followed, reported and judged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

from ftppool.cli import filelist, lockfile, reportfile, reporting
from ftppool.cli.args import PASSWORD_VARIABLE, Options
from ftppool.cli.credentials import Place, source_of
from ftppool.cli.exits import Exit, Terminated, code_of, ended_by, in_flags, one_line
from ftppool.cli.follower import Follower
from ftppool.cli.tally import Tally
from ftppool.cli.voice import Voice, logged
from ftppool.display import Display, summary
from ftppool.errors import AuthError, ConfigError, FTPPoolError, TransferError
from ftppool.events import (
    ConnectFailed,
    Event,
    FileDone,
    Retrying,
    SessionClosed,
    SessionOpened,
    SessionRefused,
)
from ftppool.report import BatchReport, Outcome, Status
from ftppool.screen import Screen, amount, size
from ftppool.target import lacks_password

__all__ = ["Run", "Watchers", "move"]


class Watchers(NamedTuple):
    """Who wants to know how a batch goes."""

    on_event: Callable[[Event], object]
    progress: Display | None


Run = Callable[[Watchers], BatchReport]


def move(options: Options, place: Place, batch: Run) -> int:
    """Run a batch, say what must be said and return the exit code.

    Args:
        place: Where it goes to or comes from.
        batch: Runs it, with those who watch it.

    Raises:
        FTPPoolError: The batch could not even begin.
    """
    reportfile.check_place(options.report)
    with lockfile.held(options.lock, options.lock_wait):
        return reporting.tell(options, *_followed(options, place, batch))


def _followed(options: Options, place: Place, batch: Run) -> tuple[Exit, BatchReport | None]:
    screen = Screen(sys.stderr, color=options.color, lenient=True)
    voice = Voice(screen, options)
    watch = _Watch(voice, options)
    display = Display(screen, say=watch.say, closing=False)
    # A block that is redrawn and lines of JSON do not go together.
    as_json = options.json or options.log_format == "json"
    shown = options.progress and not options.quiet and not as_json
    report: BatchReport | None = None
    try:
        follow = Follower(watch.take, lambda: None, 0.2, watch.give_up)
        with logged(voice, options), follow as follower:
            report = batch(Watchers(follower, display if shown else None))
    except (KeyboardInterrupt, Terminated) as stop:
        report = getattr(stop, "report", report)  # of an impatient Ctrl-C has none
        return _stopped(voice, watch.tally, stop, report), report
    finally:
        screen.clear()
    if not report.ok:
        given = source_of(options, place) is not None or lacks_password(place.target)
        return _failed(voice, report, known=given), report
    if not report.outcomes and options.error_on_empty:
        voice.error(filelist.nothing_in(options))
        return Exit.NOTHING, report
    if watch.lost:
        voice.error(watch.lost)
        return Exit.FAILED, report
    if screen.live and display.last is not None:
        screen.line(summary(screen, display.last))
    return Exit.OK, report


class _Watch:
    """What the user sees while it runs."""

    def __init__(self, voice: Voice, options: Options) -> None:
        self.tally = Tally()
        self._voice = voice
        self._options = options
        self._json = reportfile.JsonLines(sys.stdout) if options.json else None

    @property
    def lost(self) -> str:
        """Why the lines of JSON are not complete, or ""."""
        return "" if self._json is None else self._json.lost

    def give_up(self) -> None:
        """Write no more JSON: nobody reads it."""
        if self._json is not None:
            self._json.give_up()

    def take(self, event: Event) -> None:
        self.tally.take(event)
        if self._json is not None:
            self._json.take(event)
        if self._options.verbose:
            words = _words(event)
            if words:
                self._voice.info(words)

    def say(self, words: str, _progress: object) -> None:
        """Say how far it is where no block can be shown: cron hears of it only if it asks."""
        if self._options.verbose:
            self._voice.say("info", words)


def _words(event: Event) -> str:
    """Say what happened, for --verbose; "" for what nobody wants to read."""
    match event:
        case FileDone():
            return _fate(event.outcome)
        case Retrying():
            words = _naming(event.remote, one_line(event.error))
            return f"try {event.attempt} failed, next in {event.wait:.1f} s: {words}"
        case _:
            return _session_words(event)


def _session_words(event: Event) -> str:
    match event:
        case SessionOpened():
            return f"session opened to {event.address} in {event.elapsed:.2f} s"
        case SessionClosed():
            return f"session {'ended' if event.politely else 'cut'} at {event.address}"
        case SessionRefused():
            return f"refused, next try in {event.wait:.1f} s: {one_line(event.reply)}"
        case ConnectFailed():
            return one_line(event.error)
        case _:
            return ""


def _fate(outcome: Outcome) -> str:
    if outcome.status is Status.FAILED:
        return ""  # is said at the end, with all others
    notes = "".join(f"; {note}" for note in outcome.notes)
    amount_sent = "" if outcome.size is None else f", {size(outcome.size)}"
    return one_line(f"{outcome.status}: {outcome.source} as {outcome.remote}{amount_sent}{notes}")


def _failed(voice: Voice, report: BatchReport, *, known: bool) -> Exit:
    """Say what did not arrive and why, one line each, and a last one that counts.

    Args:
        known: True if there was a password, from a place or from the terminal.
    """
    errors: list[FTPPoolError] = list(report.causes)
    of_files = {one_line(outcome.error) for outcome in report.failed}
    for cause in report.causes:
        if one_line(cause) not in of_files:  # a full disk stops the batch, and has its line below
            voice.error(in_flags(cause))
    for outcome in report.failed:
        if outcome.error is not None:
            errors.append(_of_file(outcome.error))
        words = _naming(outcome.source, in_flags(outcome.error or "failed"))
        if outcome.left_behind:
            words += f" (left behind: {one_line(outcome.left_behind)})"
        voice.error(f"{words}")
    code = code_of(errors)
    if not known and any(isinstance(error, AuthError) for error in errors):
        voice.error(f"no password was given; set {PASSWORD_VARIABLE}, or write --password-file")
    again = "; run it again" if code is Exit.AGAIN else ""
    voice.error(f"{_count(report)}{again}")
    return code


def _of_file(error: FTPPoolError) -> FTPPoolError:
    """A bad name of one file is no bad setting: that file has failed, and no more."""
    return TransferError(str(error)) if isinstance(error, ConfigError) else error


def _count(report: BatchReport) -> str:
    arrived = _arrived(report)
    lost = {
        "failed": len(report.failed),
        "broken off": len(report.interrupted),
        "not begun": len(report.not_attempted),
    }
    parts = "".join(f", {number:,} {what}" for what, number in lost.items() if number)
    return f"{arrived:,} of {len(report.outcomes):,} files arrived{parts}"


def _arrived(report: BatchReport) -> int:
    return sum(outcome.ok for outcome in report.outcomes)


def _naming(name: str, words: str) -> str:
    """Put a name before the words about it, unless they name it themselves."""
    if one_line(name) in words or repr(name)[1:-1] in words:
        return words
    return f"{one_line(name)}: {words}"


def _stopped(
    voice: Voice,
    tally: Tally,
    stop: KeyboardInterrupt | Terminated,
    report: BatchReport | None,
) -> Exit:
    """Say in one line how far it came and how its sessions ended."""
    word, code = ended_by(stop)
    if report is None:
        counts = f"{amount(tally.done, 'file')} done"
    else:
        # No total: the input was read only so far ahead.
        arrived = amount(_arrived(report), "file")
        failed = f", {len(report.failed):,} failed" if report.failed else ""
        counts = f"{arrived} arrived{failed}, {len(report.interrupted)} broken off"
        left = [one_line(outcome.left_behind) for outcome in report.outcomes if outcome.left_behind]
        counts += f" (left behind: {', '.join(left)})" if left else ""
    ends = "all sessions ended politely"
    if tally.cut or tally.sessions:
        ends = f"{tally.quits} of {amount(tally.opened, 'session')} ended politely"
    voice.screen.clear()
    voice.error(f"{word}: {counts}; {ends}")
    return code
