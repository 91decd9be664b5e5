"""The command ``ftppool``.

Each command is imported only when it is asked for, so that ``--version`` and ``--help`` stay fast.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from ftppool.cli import args as arguments
from ftppool.cli.exits import (
    Exit,
    Terminated,
    UsageError,
    abandon,
    ended_by,
    ended_by_signals,
    one_line,
)
from ftppool.cli.settings import strangers

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments, without the program's name; None takes them from ``sys.argv``.

    Raises:
        SystemExit: From argparse, after ``--help``, ``--version`` and usage errors.
    """
    try:
        try:
            return _guarded(argv)
        finally:
            _flush()  # for --help, too
    except BrokenPipeError:
        abandon(sys.stdout)
        return Exit.FAILED
    except OSError as error:
        return _unwritten(error, json=False)
    finally:
        if sys.stderr is not None:
            try:
                sys.stderr.flush()
            except (OSError, ValueError):
                abandon(sys.stderr)  # the interpreter would make an exit code of its own of it


def _flush() -> None:
    """Write what waits, and not at the interpreter's exit, where no error can be caught."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _guarded(argv: Sequence[str] | None) -> int:
    """Run the command; every error becomes an exit code and at most one line."""
    options = arguments.Options()
    try:
        with ended_by_signals():
            try:
                return _run(argv, options)
            except (Exception, KeyboardInterrupt, Terminated) as error:
                _report(options, error)  # here, where a second signal changes nothing
                raise
    except (KeyboardInterrupt, Terminated) as stop:
        return _say(*ended_by(stop), json=_as_json(options))
    except Exception as error:  # noqa: BLE001 - the last one to catch it
        return _failure(error, json=_as_json(options))


def _run(argv: Sequence[str] | None, options: arguments.Options) -> int:
    arguments.parse(argv, options)
    if not getattr(options, "quiet", False):
        for words in strangers(options, os.environ):
            _say(words, Exit.OK, "warning", json=_as_json(options))
    code = arguments.runner(options.command)(options)
    _flush()
    return code


def _report(options: arguments.Options, error: BaseException) -> None:
    """Let a report of an earlier run not stand for this one."""
    if getattr(options, "report", None) is not None:
        from ftppool.cli.reporting import tell_failure

        tell_failure(options, error)


def _as_json(options: arguments.Options) -> bool:
    return getattr(options, "log_format", "text") == "json"


def _failure(error: Exception, *, json: bool) -> int:
    """Say what stopped the command: a sentence, or a traceback if it is our fault."""
    if isinstance(error, UsageError):
        return _say(one_line(error), Exit.USAGE, json=json)
    from ftppool.cli.exits import code_of, in_flags
    from ftppool.errors import FTPPoolError

    if isinstance(error, FTPPoolError):
        return _say(in_flags(error), code_of([error]), json=json)
    if isinstance(error, BrokenPipeError):
        raise error  # whoever read our output has gone: for main()
    if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
        return _unwritten(error, json=json)
    if isinstance(error, OSError):
        return _say(one_line(error), Exit.FAILED, json=json)
    import traceback

    traceback.print_exception(error)
    return _say("this is a bug in ftppool: please report it with the lines above", Exit.BUG)


def _say(sentence: str, code: Exit, level: str = "error", *, json: bool = False) -> Exit:
    if sys.stderr is None:
        return code
    from ftppool.cli.voice import line_of

    try:
        print(line_of(level, sentence, json=json), file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads it; the exit code still tells
    return code


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What writing to a file may fail of; files of ours have a name in their errors."""


def _unwritten(error: OSError, *, json: bool) -> Exit:
    abandon(sys.stdout)
    return _say(f"stdout cannot be written: {error.strerror}", Exit.FAILED, json=json)
