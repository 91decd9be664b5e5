"""What a look at this machine can see: its TCP connections, and the processes that have them.

Linux tells it in ``/proc``, with the owner of what it does not let us see; on other systems psutil
asks the system (``pip install 'ftppool[doctor]'``).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from ftppool.errors import ConfigError

__all__ = ["OPEN", "Connection", "Files", "Machine", "Process", "this_machine"]

OPEN = frozenset({"ESTABLISHED", "CLOSE_WAIT"})
"""States of connections that a process still has open; the others are on their way out, or in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One TCP connection.

    Attributes:
        local: Address and port of our end; mapped IPv4 addresses are plain ones.
        remote: Address and port of the other end.
        state: As ``ss`` and ``netstat`` name it: ``"ESTABLISHED"``, ``"TIME_WAIT"`` …
        pid: The process that has it; None if none has it any more, or it cannot be seen.
        owner: The name of the user whose process has it, or None where the system does not say.
    """

    local: tuple[str, int]
    remote: tuple[str, int]
    state: str
    pid: int | None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process, named so that no argument of its command line is shown.

    Attributes:
        pid: Its number.
        name: Program or script; see :func:`ftppool.cli.doctor.names.program_of`.
        command: The name of the program file, for daemons that change their title.
        parent: Number of the process that started it; 0 if unknown.
        owner: Name of its user, or "".
        started: When it began, in seconds of the wall clock; None if unknown.
        files: Descriptors that it has open; None if that is not for us to see.
        limit: How many it may have (its soft limit); None if unknown.
    """

    pid: int
    name: str
    command: str
    parent: int = 0
    owner: str = ""
    started: float | None = None
    files: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """Descriptors in use and their limit."""

    used: int
    limit: int


class Machine(Protocol):
    """One way to look."""

    def connections(self) -> Iterable[Connection]:
        """List all TCP connections that lead somewhere; pids are not looked up yet."""

    def listening(self) -> Iterable[Connection]:
        """List the sockets that wait for connections."""

    def holders(self, found: Iterable[Connection]) -> list[Connection]:
        """Fill in which process has each of these; those that have ended meanwhile are left out."""

    def process(self, pid: int) -> Process | None:
        """Look at a process; None if it has ended."""

    def named(self, names: Collection[str]) -> list[Process]:
        """List the processes whose program has one of these names."""

    def command_line(self, pid: int) -> list[str]:
        """The arguments of a process, its program first: to be read, never to be shown."""

    def files(self) -> Files | None:
        """Descriptors in use on the whole machine; None where the system does not say."""


def this_machine() -> Machine:
    """Choose how to look.

    Raises:
        ConfigError: There is no way on this system; the message says what to install.
    """
    if sys.platform == "linux":
        from ftppool.cli.doctor.proc import ProcMachine

        return ProcMachine()
    else:  # noqa: RET505 - so that type checkers see it for each platform
        return _through_psutil()


def _through_psutil() -> Machine:
    try:
        from ftppool.cli.doctor.psutils import PsutilMachine
    except ImportError as error:
        raise ConfigError(
            f"on {sys.platform} the connections of this machine are seen through psutil:"
            " run pip install 'ftppool[doctor]'"
        ) from error
    return PsutilMachine()
