"""A password that is nowhere: ask for it where somebody can answer, else say where it may be."""

from __future__ import annotations

import os
import sys

from ftppool.cli.args import PASSWORD_VARIABLE
from ftppool.cli.exits import one_line
from ftppool.errors import ConfigError
from ftppool.target import Target

__all__ = ["ask"]


def ask(target: Target) -> str:
    """Ask for the password on the terminal, without showing it; Enter alone is an empty one.

    Raises:
        ConfigError: There is nobody to ask; the message says where a password may be.
        KeyboardInterrupt: Ctrl-C.
    """
    user = one_line(target.user)
    # The process may have a terminal (as below a shell) that nobody looks at for its sake.
    watched = any(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
    found = _prompt(f"Password of {user} at {one_line(target.host)}: ") if watched else None
    if found is None:
        raise ConfigError(
            f"there is no password for {user!r}: set {PASSWORD_VARIABLE}, write --password-file"
            " FILE, --password-command CMD, --credential NAME, --netrc or --keyring SERVICE, or"
            f" one of these into a profile; an empty one is written {user}:@host"
        )
    return found


def _prompt(words: str) -> str | None:
    """Read a line without its echo; None if there is no terminal, or Ctrl-D was pressed."""
    import getpass  # only for those who have none

    if sys.platform != "win32":
        try:
            # Without one, getpass would read from stdin, and with echo if that is no terminal.
            terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            return None
    else:
        terminal = -1
    try:
        return getpass.getpass(words)
    except EOFError:
        return None
    except UnicodeDecodeError:
        pass  # it has what was typed, so it must not become the context of our error
    except BaseException:
        if terminal >= 0:
            os.write(terminal, b"\n")  # what is said next gets a line of its own
        raise
    finally:
        if terminal >= 0:
            os.close(terminal)
    raise ConfigError("what was typed is not in the encoding of the terminal: look at $LANG")
