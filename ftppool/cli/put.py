"""``ftppool put``: upload files, say nothing if all went well, and say exactly what did not."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Iterator

from ftppool.batch import WINDOW
from ftppool.cli.args import PASSWORD_VARIABLE, Options
from ftppool.cli.exits import Exit, Terminated, code_of, ended_by, one_line
from ftppool.cli.progress import Follower, Tally
from ftppool.cli.screen import Screen, amount, size
from ftppool.errors import AuthError, ConfigError, FTPPoolError
from ftppool.events import (
    ConnectFailed,
    Event,
    FileDone,
    Retrying,
    SessionClosed,
    SessionOpened,
    SessionRefused,
)
from ftppool.oneshot import upload_batch
from ftppool.report import BatchReport, Outcome, Status
from ftppool.sshconfig import SSHConfig
from ftppool.target import Target
from ftppool.tlsconfig import TLSConfig

__all__ = ["run"]


def run(options: Options) -> int:
    """Upload and return the exit code.

    Raises:
        FTPPoolError: The batch could not even begin.
    """
    target = _target(options.dest)
    screen = Screen(sys.stderr, color=options.color, lenient=True)
    watch = _Watch(screen, options)
    try:
        with _log_lines(screen, options), Follower(watch.take, watch.tick, 0.2) as follower:
            report = _upload(options, target, follower)
    except (KeyboardInterrupt, Terminated) as stop:
        return _stopped(screen, watch.tally, stop)
    finally:
        screen.clear()
    if not report.ok:
        return _failed(screen, report, target)
    if screen.live and not options.quiet:
        screen.line(_done(screen, report, watch.tally))
    return Exit.OK


def _upload(options: Options, target: Target, follower: Follower) -> BatchReport:
    return upload_batch(
        options.sources,
        target,
        max_per_ip=options.max_per_ip,
        workers=options.workers,
        atomic=options.atomic,
        verify=options.verify,
        on_conflict=options.on_conflict,
        makedirs=options.makedirs,
        on_event=follower,
        check=False,
        tls=_tls(options, target.scheme),
        ssh=_ssh(options, target.scheme),
    )


def _tls(options: Options, scheme: str) -> TLSConfig | None:
    if options.ca_file is not None and scheme in {"ftp", "sftp"}:
        raise ConfigError(f"--ca-file is for ftps:// and ftpsi://: this is {scheme}://")
    if options.fingerprint is not None and scheme == "ftp":
        raise ConfigError("--fingerprint is for ftps://, ftpsi:// and sftp://: this is ftp://")
    if scheme == "sftp" or (options.ca_file is None and options.fingerprint is None):
        return None
    return TLSConfig(ca_file=options.ca_file, fingerprint=options.fingerprint)


def _ssh(options: Options, scheme: str) -> SSHConfig | None:
    if scheme == "sftp":
        return SSHConfig(fingerprint=options.fingerprint, accept_new=options.accept_new)
    if options.accept_new:
        raise ConfigError(f"--accept-new is for sftp://: this is {scheme}://")
    return None


def _target(url: str) -> Target:
    """Parse the URL; a password that it does not have may be in the environment."""
    target = Target.parse(url)
    secret = os.environ.get(PASSWORD_VARIABLE)
    if secret is None or target.password is not None:
        return target
    if "@" not in url and target.scheme != "sftp":
        raise ConfigError(
            f"{PASSWORD_VARIABLE} is set, but the URL names no user: write {target.scheme}://"
            "user@host/directory, or unset the variable for anonymous FTP."
        )
    return dataclasses.replace(target, password=secret)


class _Watch:
    """What the user sees while it runs."""

    def __init__(self, screen: Screen, options: Options) -> None:
        self.tally = Tally()
        self._screen = screen
        self._options = options

    def take(self, event: Event) -> None:
        self.tally.take(event)
        if self._options.verbose:
            words = _words(event)
            if words:
                self._screen.line(self._screen.style("dim", words))

    def tick(self) -> None:
        if not self._options.quiet:
            self._screen.draw(self._progress())

    def _progress(self) -> str:
        screen, tally = self._screen, self.tally
        if not tally.sessions and tally.trouble:
            return screen.style("yellow", f"waiting: {one_line(tally.trouble)}")
        if tally.queued - tally.done >= WINDOW:
            # The input is read only so far ahead, so nobody knows the total.
            files = f"{tally.done:,} of more than {tally.queued:,} files"
        else:
            part = tally.done / tally.queued if tally.queued else 0.0
            files = f"{screen.bar(part, 16)} {tally.done:,} of {tally.queued:,} files"
        parts = [files, size(tally.bytes), f"{size(tally.rates()[1])}/s"]
        parts.append(amount(tally.sessions, "session"))
        if tally.refused:
            parts.append(screen.style("yellow", f"{tally.refused} refused"))
        if tally.failed:
            parts.append(screen.style("red", f"{tally.failed} failed"))
        return "  ".join(parts)


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


def _failed(screen: Screen, report: BatchReport, target: Target) -> int:
    """Say what did not arrive and why, one line each, and a last one that counts."""
    errors: list[FTPPoolError] = list(report.causes)
    for cause in report.causes:
        screen.line(f"ftppool: {one_line(cause)}")
    for outcome in report.failed:
        if outcome.error is not None:
            errors.append(_of_file(outcome.error))
        words = _naming(outcome.source, one_line(outcome.error or "failed"))
        if outcome.left_behind:
            words += f" (left behind: {one_line(outcome.left_behind)})"
        screen.line(f"ftppool: {words}")
    code = code_of(errors)
    if target.password is None and any(isinstance(error, AuthError) for error in errors):
        screen.line(f"ftppool: no password was given; set {PASSWORD_VARIABLE}")
    again = "; run it again" if code is Exit.AGAIN else ""
    screen.line(f"ftppool: {_count(report)}{again}")
    return code


def _of_file(error: FTPPoolError) -> FTPPoolError:
    """A bad name of one file is no bad setting: that file has failed, and no more."""
    from ftppool.errors import ConfigError, TransferError

    return TransferError(str(error)) if isinstance(error, ConfigError) else error


def _count(report: BatchReport) -> str:
    arrived = len(report.uploaded) + len(report.skipped)
    lost = {
        "failed": len(report.failed),
        "broken off": len(report.interrupted),
        "not begun": len(report.not_attempted),
    }
    parts = "".join(f", {number:,} {what}" for what, number in lost.items() if number)
    return f"{arrived:,} of {len(report.outcomes):,} files arrived{parts}"


def _naming(name: str, words: str) -> str:
    """Put a name before the words about it, unless they name it themselves."""
    if one_line(name) in words or repr(name)[1:-1] in words:
        return words
    return f"{one_line(name)}: {words}"


def _stopped(screen: Screen, tally: Tally, stop: KeyboardInterrupt | Terminated) -> int:
    """Say in one line how far it came and how its sessions ended."""
    report: BatchReport | None = getattr(stop, "report", None)  # of an impatient Ctrl-C has none
    word, code = ended_by(stop)
    if report is None:
        counts = f"{amount(tally.done, 'file')} done"
    else:
        # No total: the input was read only so far ahead.
        arrived = amount(len(report.uploaded) + len(report.skipped), "file")
        failed = f", {len(report.failed):,} failed" if report.failed else ""
        counts = f"{arrived} arrived{failed}, {len(report.interrupted)} broken off"
        left = [one_line(outcome.left_behind) for outcome in report.outcomes if outcome.left_behind]
        counts += f" (left behind: {', '.join(left)})" if left else ""
    ends = "all sessions ended politely"
    if tally.cut or tally.sessions:
        ends = f"{tally.quits} of {amount(tally.opened, 'session')} ended politely"
    screen.clear()
    screen.line(f"ftppool: {word}: {counts}; {ends}")
    return code


def _done(screen: Screen, report: BatchReport, tally: Tally) -> str:
    sent = f"{amount(len(report.uploaded), 'file')}, {size(report.bytes_sent)}"
    skipped = f", {len(report.skipped):,} skipped" if report.skipped else ""
    sessions = amount(tally.opened, "session")
    return f"{screen.style('green', '✓')} {sent} in {report.elapsed:.1f} s{skipped}, {sessions}" + (
        f", {tally.refused} refused" if tally.refused else ""
    )


class _Lines(logging.Handler):
    """Writes the library's warnings above the live line."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "ftppool_event", None)
        if event is not None and not event.startswith("Lea"):
            return  # of a file or session: said at the end, or with --verbose
        self._screen.line(f"ftppool: {one_line(record.getMessage().removeprefix('ftppool: '))}")


@contextlib.contextmanager
def _log_lines(screen: Screen, options: Options) -> Iterator[None]:
    log = logging.getLogger("ftppool")
    handler: logging.Handler = logging.NullHandler() if options.quiet else _Lines(screen)
    before, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before
