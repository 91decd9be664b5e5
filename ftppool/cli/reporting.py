"""What ``--report`` says of a run, however that has ended."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ftppool.cli import reportfile
from ftppool.cli.args import Options
from ftppool.cli.exits import Exit, Terminated, UsageError, code_of, ended_by, one_line
from ftppool.cli.voice import line_of
from ftppool.errors import ConfigError, FTPPoolError
from ftppool.report import BatchReport
from ftppool.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["tell", "tell_failure"]


def tell(options: Options, code: Exit, report: BatchReport | None) -> Exit:
    """Write what became of a batch, if that was asked for.

    Args:
        report: None: an impatient Ctrl-C came before there was one.

    Returns:
        The exit code: a report that cannot be written fails the run.
    """
    if options.report is None:
        return code
    return _write(options, code, _failed(None) if report is None else report.to_dict())


def tell_failure(options: Options, error: BaseException) -> None:
    """Write that a run could not begin, or was broken off by an error or a signal.

    Args:
        options: What is known of them: reading the command line may be what has failed.
    """
    if getattr(options, "report", None) is None or getattr(options, "dry_run", False):
        return
    try:
        reportfile.check_place(options.report)
    except ConfigError:
        return  # that is told already, or will be once the other error is mended
    report: BatchReport | None = getattr(error, "report", None)
    _write(options, _code(error), _failed(error) if report is None else report.to_dict())


def _code(error: BaseException) -> Exit:
    """The exit code that this error leads to."""
    if isinstance(error, KeyboardInterrupt | Terminated):
        return ended_by(error)[1]
    if isinstance(error, UsageError):
        return Exit.USAGE
    return code_of([error]) if isinstance(error, FTPPoolError | OSError) else Exit.BUG


def _failed(error: BaseException | None) -> dict[str, object]:
    said = error is not None and not isinstance(error, KeyboardInterrupt | Terminated)
    return {
        "version": 1,
        "ok": False,
        "started": datetime.now(UTC).isoformat(),
        "causes": [{"message": one_line(error)}] if said else [],
        "outcomes": [],
    }


def _write(options: Options, code: Exit, content: Mapping[str, object]) -> Exit:
    assert options.report is not None
    about = {"command": options.command, "target": options.server_url, "exit_code": int(code)}
    try:
        reportfile.write(options.report, {**content, **about})
    except OSError as error:
        words = one_line(f"the report {options.report} cannot be written: {error.strerror}")
        words += "" if code else " (every file has arrived)"
        as_json = getattr(options, "log_format", "text") == "json"
        Screen(sys.stderr, lenient=True).line(line_of("error", words, json=as_json))
        return code or Exit.FAILED
    return code
