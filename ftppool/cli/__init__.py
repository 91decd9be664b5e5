"""The command ``ftppool``.

Each command is imported only when it is asked for, so that ``--version`` and ``--help`` stay fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ftppool.cli import args as arguments
from ftppool.cli.exits import Exit, Terminated, ended_by, ended_by_signals, one_line

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
            # Here and not at the interpreter's exit, where a closed pipe can no longer be caught.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
        return Exit.FAILED


def _guarded(argv: Sequence[str] | None) -> int:
    """Run the command; every error becomes an exit code and at most one line."""
    try:
        with ended_by_signals():
            options = arguments.parse(argv)
            return arguments.runner(options.command)(options)
    except (KeyboardInterrupt, Terminated) as stop:
        return _say(*ended_by(stop))
    except Exception as error:  # noqa: BLE001 - the last one to catch it
        return _failure(error)


def _failure(error: Exception) -> int:
    """Say what stopped the command: a sentence, or a traceback if it is our fault."""
    from ftppool.cli.exits import code_of
    from ftppool.errors import FTPPoolError

    if isinstance(error, FTPPoolError):
        return _say(one_line(error), code_of([error]))
    if isinstance(error, BrokenPipeError):
        raise error  # whoever read our output has gone: for main()
    if isinstance(error, OSError):
        return _say(one_line(error), Exit.FAILED)
    import traceback

    traceback.print_exception(error)
    return _say("this is a bug in ftppool: please report it with the lines above", Exit.BUG)


def _say(sentence: str, code: Exit) -> Exit:
    if sys.stderr is not None:
        try:
            print(f"ftppool: {sentence}", file=sys.stderr, flush=True)
        except OSError:
            pass  # nobody reads it; the exit code still tells
    return code


def _abandon_stdout() -> None:
    """Let the interpreter's own flush at exit go nowhere, instead of failing once more."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
