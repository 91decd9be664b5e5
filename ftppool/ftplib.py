"""A stand-in for the standard library's ``ftplib``: change one line of a script.

::

    from ftppool import ftplib          # was: import ftplib

Classes, errors and constants are those of the standard module or subclasses of them. What is
different is what happens around the commands:

* An object is one connection, and all connections of this machine to one server address together
  are never more than ``max_per_ip`` (:func:`configure`, or ``FTPPOOL_MAX_PER_IP``; default 2):
  :meth:`FTP.connect` waits for its turn.
* Where the server refuses, in its greeting or at the login, it is tried again with a growing pause.
* What a script forgets is ended with QUIT: when the object is collected, when its thread has ended
  and another one waits, when the interpreter exits.
* Without any time-out it is 60 s. ``socket.setdefaulttimeout()`` counts, and ``timeout=None`` still
  means none, but for connect and greeting.
* TLS verifies the server's certificate and its name, unless there is a ``context`` or
  ``configure(verify=False)``; data connections resume the session of the control connection.

If all connections are held by objects of the thread that wants another one, its oldest idle one is
ended, and raises ``error_temp("421 …")`` the next time it is used, as after an idle time-out.

Only ftplib's errors and ``OSError`` leave the methods, the server's text first. For wrong arguments
it is ``ValueError``.
"""

from __future__ import annotations

import ftplib as _std
import functools
import sys  # noqa: F401 - test() needs it
import types
from collections.abc import Callable
from ftplib import (
    B_CRLF as B_CRLF,
    CRLF as CRLF,
    FTP_PORT as FTP_PORT,
    MAXLINE as MAXLINE,
    MSG_OOB as MSG_OOB,
    Error as Error,
    all_errors as all_errors,
    error_perm as error_perm,
    error_proto as error_proto,
    error_reply as error_reply,
    error_temp as error_temp,
    ftpcp as ftpcp,
    parse150 as parse150,
    parse227 as parse227,
    parse229 as parse229,
    parse257 as parse257,
)

from ftppool.standin import FTP as FTP, configure as configure
from ftppool.standin_tls import FTP_TLS as FTP_TLS

# As in the standard module; what is in it besides can be asked for by name.
__all__ = ["FTP", "FTP_TLS", "all_errors", "configure"]
__all__ += ["error_perm", "error_proto", "error_reply", "error_temp"]


def _own(function: Callable[..., None]) -> Callable[[], None]:
    """Return the standard module's function as if it were written here."""
    assert isinstance(function, types.FunctionType)
    own = types.FunctionType(function.__code__, globals(), function.__name__)
    return functools.update_wrapper(own, function)


# Known to no type checker, but to scripts.
print_line: Callable[[str], None] = getattr(_std, "print_line")  # noqa: B009 - not in its stubs
test: Callable[[], None] = _own(getattr(_std, "test"))  # noqa: B009 - not in its stubs
