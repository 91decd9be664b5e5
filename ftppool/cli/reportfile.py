"""``--report FILE`` and ``--json``: what happened, for programs to read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import TextIO

from ftppool.cli.exits import abandon
from ftppool.errors import ConfigError
from ftppool.events import Event, FileDone, FileProgress
from ftppool.report import BatchReport, Outcome
from ftppool.transfer.local import file_mode
from ftppool.words import encodable

__all__ = ["JsonLines", "check_place", "write"]

_EVERY = 1.0
"""Seconds between two progress lines of one file."""
_STRAY = 60.0
"""Seconds after which what is still a part will never be a report: writing one takes a moment."""


def check_place(path: str | None) -> None:
    """Refuse a report that could not be written at the end, before anything is moved.

    Raises:
        ConfigError: Its directory is missing or cannot be written.
    """
    if path is None:
        return
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or os.path.isdir(path):
        raise ConfigError(f"--report {path}: write the path of a file in an existing directory")
    if os.path.lexists(path) and not _plain_file(path):
        # It would be replaced: root has no /dev/null after that.
        raise ConfigError(f"--report {path}: what is there is no plain file; choose another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--report {path}: its directory cannot be written; choose another")


def _plain_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:  # gone meanwhile
        return True


def write(path: str, content: Mapping[str, object]) -> None:
    """Write a report whole: whoever reads it finds the old one or the new one.

    Raises:
        OSError: It cannot be written; the old one is as it was.
    """
    name, folder = os.path.basename(path), os.path.dirname(path)
    _clear_away(folder or ".", name)
    file, part = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
    try:
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        # As any new file: a monitor that runs as another user reads it.
        os.chmod(part, file_mode())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _clear_away(folder: str, name: str) -> None:
    """Remove the parts of runs that were killed while they wrote this report."""
    pattern = re.compile(rf"\.{re.escape(name)}\.[a-z0-9_]{{8}}\.part")
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                info = entry.stat(follow_symlinks=False)
                ours = sys.platform == "win32" or info.st_uid == os.geteuid()
                # Younger ones may be those of another run that writes now.
                stray = time.time() - info.st_mtime > _STRAY
                if ours and stray and stat.S_ISREG(info.st_mode):
                    os.unlink(entry.path)


class JsonLines:
    """Writes events as lines of JSON; used by one thread at a time.

    Attributes:
        lost: Why they could not be written to their end, as on a full disk; "" if they could, or
            if nobody reads them any more.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.lost: str = ""
        self._stream = stream
        self._told: dict[str, float] = {}

    def take(self, event: Event) -> None:
        """Write an event; of progress only a line a second for each file."""
        if isinstance(event, FileProgress):
            now = time.monotonic()
            if now - self._told.get(event.remote, -_EVERY) < _EVERY:
                return
            self._told[event.remote] = now
        elif isinstance(event, FileDone):
            self._told.pop(event.outcome.remote, None)
        names = (field.name for field in fields(event) if field.name != "time")
        found = {name: _value(getattr(event, name)) for name in names}
        self.write({"event": type(event).__name__, "time": _stamp(event.time), **found})

    def write(self, content: Mapping[str, object]) -> None:
        """Write one line; what cannot be written any more is dropped, the work goes on."""
        stream = self._stream
        if stream is None:
            return
        try:
            stream.write(json.dumps(content) + "\n")
            stream.flush()
        except BrokenPipeError:
            self.give_up()
        except (OSError, ValueError) as error:
            self.give_up()
            self.lost = f"--json: stdout cannot be written: {getattr(error, 'strerror', error)}"

    def give_up(self) -> None:
        """Write no more, and let what waits go nowhere; any thread may call it."""
        stream, self._stream = self._stream, None
        if stream is not None:
            abandon(stream)


def _value(value: object) -> object:
    match value:
        case BatchReport():
            # Its outcomes have had a line each.
            return {key: part for key, part in value.to_dict().items() if key != "outcomes"}
        case Outcome():
            return value.to_dict()
        case str():
            return encodable(value)
        case _:
            return value


def _stamp(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")
