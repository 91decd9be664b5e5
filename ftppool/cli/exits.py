"""Exit codes, and the signals that end a command politely."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import TextIO

from ftppool.signals import Terminated, exit_on
from ftppool.words import printable

__all__ = [
    "Exit",
    "Terminated",
    "UsageError",
    "abandon",
    "code_of",
    "ended_by",
    "ended_by_signals",
    "in_flags",
    "one_line",
]


class Exit(IntEnum):
    """What the exit code says; the numbers from 64 on are those of ``sysexits.h``."""

    OK = 0
    """Every file was uploaded or rightly skipped."""

    FAILED = 1
    """At least one file failed for good."""

    USAGE = 2
    """The command line is wrong (argparse)."""

    NOTHING = 9
    """There was no file at all, and ``--error-on-empty`` was given."""

    DEADLINE = 10
    """The deadline was reached, and not all files were done."""

    BUG = 70
    """A bug in ftppool."""

    AGAIN = 75
    """Only passing failures, or another run has the lock or the journal: run it again."""

    LOGIN = 77
    """The login was refused, or the server's certificate or host key is not trusted."""

    CONFIG = 78
    """A setting is wrong (scheme and port of the URL among them), something is not installed, or
    the journal cannot be written, whenever that is noticed."""

    HUNG_UP = 129
    """SIGHUP; the sessions were ended first."""

    INTERRUPTED = 130
    """Ctrl-C; the sessions were ended first."""

    TERMINATED = 143
    """SIGTERM; the sessions were ended first."""


class UsageError(Exception):
    """The command line is wrong in a way that argparse cannot know; says what to write."""


# Of several failures the one that a human must act on decides.
_WORST_FIRST = (Exit.LOGIN, Exit.CONFIG, Exit.FAILED, Exit.DEADLINE, Exit.AGAIN)


def code_of(errors: Iterable[Exception]) -> Exit:
    """Give the exit code for failures; 75 for none, as then something was merely left undone."""
    codes = {_code(error) for error in errors}
    return next((code for code in _WORST_FIRST if code in codes), Exit.AGAIN)


def _code(error: Exception) -> Exit:
    from ftppool.errors import (
        AuthError,
        BatchError,
        ConfigError,
        FTPPoolError,
        HostKeyError,
        TLSError,
    )

    if isinstance(error, BatchError):
        return code_of(error.exceptions)
    if not isinstance(error, FTPPoolError):
        return Exit.FAILED
    # That there is no TLS or SSH at all, where the URL wants it, is no matter of trust.
    if isinstance(error, AuthError | HostKeyError | TLSError) and not error.wrong_url:
        return Exit.LOGIN
    if error.retryable:
        return Exit.DEADLINE if error.phase == "deadline" else Exit.AGAIN
    # A journal that cannot be written is a ConfigError only at the start.
    setting = isinstance(error, ConfigError) or error.wrong_url or error.phase == "journal"
    return Exit.CONFIG if setting else Exit.FAILED


def abandon(stream: TextIO) -> None:
    """Let what waits in a stream that cannot be written go nowhere, instead of failing again."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def one_line(error: object) -> str:
    """Give the words of an error in one line that every terminal and log can show.

    What a server says may hold line breaks and escape codes; file names may be no Unicode.
    """
    return printable(str(error).strip() or type(error).__name__)


def _flag_of(found: re.Match[str]) -> str:
    return f"--{found[1].replace('_', '-')} "


# What errors tell a programmer to pass, and what it is called on the command line.
_FLAGS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"tls=TLSConfig\(ca_file=…\)", "--ca-file PEM"),
    (r"tls=TLSConfig\(client_certificate=…\)", "--client-certificate PEM"),
    (r"(?:tls=TLSConfig|SSHConfig)\(fingerprint='([^']*)'\)", r"--fingerprint \1"),
    (r"ssh=SSHConfig\(keys=…\)", "--identity FILE"),
    (r"pass SSHConfig\(passphrase=…\), or load", "load"),
    (r"\bpassword=(?!\w)", "--password-file FILE"),
    (r"pass another FTPConfig\(encoding=…\)", "write another --encoding"),
    (r"; for one older than 1\.2 pass an ssl\.SSLContext of your own as tls=", ""),
    (r", or pass (?:an ssl\.SSLContext of your own as tls=|config_file=None)", ""),
    (r"SSHConfig: the key file", "--identity: the key file"),
    (r"SSHConfig: with a fingerprint (.*): drop one",
     r"with --fingerprint \1 (--accept-new): drop one"),
    (r"TLSConfig: a client_key needs its client_certificate", "--client-key needs its"
     " --client-certificate"),
    (r"\bTLSConfig: (ca_file|client_certificate): ", _flag_of),
    (r"(?:\b[A-Z]{3}Config: )?\b(encoding|fingerprint|proxy_jump)(?:=|: | )(?=')", _flag_of),
    (r"\b(?:SSH|TLS|FTP)Config: ", ""),
)  # fmt: skip


def in_flags(error: object) -> str:
    """Give the words of an error as :func:`one_line` does, for who writes flags and no Python."""
    words = one_line(error)
    for python, flag in _FLAGS:
        words = re.sub(python, flag, words)
    return words


def ended_by(stop: KeyboardInterrupt | Terminated) -> tuple[str, Exit]:
    """Give the word and the exit code for what ended a command."""
    code = Exit(stop.code) if isinstance(stop, Terminated) else Exit.INTERRUPTED
    return code.name.lower().replace("_", " "), code


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the command politely at SIGTERM, and at SIGHUP (the terminal or the connection went)."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        # Who has a plan of his own for a signal, or ignores it as nohup does, keeps it.
        before = {n: signal.SIG_DFL for n in numbers if signal.getsignal(n) is signal.SIG_DFL}
        exit_on(*before)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
