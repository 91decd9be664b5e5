"""Names processes by their program, and never shows an argument.

Command lines hold passwords, in URLs and behind options that nobody can list in full. So what is
shown is not what is left after a search for secrets, but only what cannot be one: the program, and
for interpreters the script or module that they run. ``ps -fp PID`` shows the rest to its user.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

__all__ = ["program_of"]

_INTERPRETERS = re.compile(
    r"(python|pypy|perl|ruby|php|node|nodejs|java|bash|dash|ash|ksh|zsh|sh|lua|tclsh|env)[\d.]*"
)
_WITH_VALUE = frozenset({"-W", "-X", "-cp", "-classpath", "-o"})
_CODE = frozenset({"-c", "-e", "-E", "-r", "--eval", "-p", "--print"})
LONGEST = 40


def program_of(arguments: Sequence[str], fallback: str = "?") -> str:
    """Name what runs.

    Args:
        arguments: The command line, its program first.
        fallback: What the system calls the process, for one without a command line.
    """
    if not arguments or not arguments[0]:
        return _plain(fallback)
    first = arguments[0]
    title = re.match(r"([\w.-]+)(: | \()", first)  # "vsftpd: LISTENER", "pure-ftpd (SERVER)"
    if title:
        return _plain(title[1])
    program = os.path.basename(first.split(" ")[0] if len(arguments) == 1 else first)
    program = program.removeprefix("-")  # a login shell
    if not _INTERPRETERS.fullmatch(program):
        return _plain(program or fallback)
    script = _script(arguments[1:])
    return f"{_plain(script)} ({_plain(program)})" if script else _plain(program)


def _script(arguments: Sequence[str]) -> str:
    """What an interpreter runs: a script's name, ``-m`` and a module, "code", or ""."""
    skip = False
    for number, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument == "-m":
            following = arguments[number + 1 : number + 2]
            return f"-m {following[0]}" if following else ""
        elif argument in _CODE or re.fullmatch(r"-\w*[ce]", argument):
            return "code"
        elif argument in _WITH_VALUE:
            skip = True
        elif not argument.startswith("-"):
            if "://" in argument or "@" in argument or "=" in argument:
                return ""
            return os.path.basename(argument)
    return ""


def _plain(name: str) -> str:
    """Leave out what is no name: a path with a password in it, control characters."""
    if "@" in name or "://" in name:
        return "…"
    shown = "".join(char if char.isprintable() else "?" for char in name)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
