"""Raises one exception at one call that the pool makes, in whichever thread makes it.

Nothing of ours is replaced: the interpreter's own profiling hook sees each call on its way out of
the package (socket, ftplib, threads, locks) and may raise in the place of the call. What a user
hands to the pool (limiter, listener, password, source) calls :meth:`Injector.point` itself.
"""

from __future__ import annotations

import ftplib
import os.path
import socket
import ssl
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Self

import ftppool

OURS = os.path.dirname(os.path.abspath(ftppool.__file__)) + os.sep
CALLERS = (OURS, ftplib.__file__, socket.__file__, ssl.__file__)
STEPS = {
    "_connect": "connect",
    "greet": "greeting",
    "log_in": "login",
    "check": "NOOP",
    "lend": "CWD",
    "goodbye": "QUIT",
    "end": "close",
    "store": "transfer",
    "retrieve": "transfer",
    "take_back": "give back",
    "looks_alive": "look",
    "start": "thread start",
    "do": "thread start",
    "wait": "bell",
    "ring": "bell",
    "shake_hands": "handshake",
    "unwrap": "TLS end",
    "ask": "resolver",
    "_resolve": "resolver",
    "cut": "cut",
    "break_off": "cut",
}
"""Our functions, and what they are in the table."""
CALLEES = {"start": "start", "__init__": "socket", "getaddrinfo": "getaddrinfo"}
"""Functions of ``socket`` and ``threading`` that are a boundary, and their names in the table. So
is each method of a socket or lock that is written in C."""
MODULES = (socket.__file__, threading.__file__)
HARMLESS = {"__enter__", "__exit__", "fileno", "gettimeout", "detach"}
"""Cannot fail. (The first two are a lock's in a ``with`` block.)"""


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A line of code that calls, in one kind of thread."""

    step: str
    call: str
    where: str
    thread: str

    @property
    def row(self) -> str:
        """Its row in the table."""
        return f"{self.step}: {self.call}"

    @property
    def of_tls(self) -> bool:
        """True if OpenSSL is called, and not the kernel."""
        return self.call.startswith("TLS ")


class Injector:
    """Counts the calls of a run, and raises at one of them if it is armed."""

    def __init__(self) -> None:
        self.seen: Counter[Site] = Counter()
        self.fired = 0
        self._target: Site | None = None
        self._countdown = 0
        self._error: type[BaseException] | None = None
        self._lock = threading.Lock()
        self._codes: dict[CodeType, bool] = {}

    def arm(self, site: Site, occurrence: int, error: type[BaseException]) -> None:
        """Raise `error` when `site` calls for the given time, the first being 1."""
        self._target, self._countdown, self._error = site, occurrence, error

    def __enter__(self) -> Self:
        threading.setprofile(self._see)
        sys.setprofile(self._see)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        self._target = None

    def point(self, step: str, call: str) -> None:
        """A call of something that the user gave to the pool."""
        self._reach(Site(step, call, "user", _role()))

    def _see(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" or event == "c_return":
            caller, name = frame, _name_in_c(argument)
            # A descriptor is gone whatever close() says: its fault comes after the deed.
            if not name or (event == "c_return") != (name == "close"):
                return
        elif event == "call" and frame.f_code.co_filename in MODULES and frame.f_back is not None:
            caller, name = frame.f_back, CALLEES.get(frame.f_code.co_name, "")
            if not name or (name == "socket" and frame.f_code.co_filename != MODULES[0]):
                return
        else:
            return
        if self._is_caller(caller.f_code):
            self._reach(_site(caller, name))

    def _is_caller(self, code: CodeType) -> bool:
        known = self._codes.get(code)
        if known is None:
            known = self._codes[code] = code.co_filename.startswith(CALLERS)
        return known

    def _reach(self, site: Site) -> None:
        with self._lock:
            self.seen[site] += 1
            if site != self._target:
                return
            self._countdown -= 1
            if self._countdown != 0 or self._error is None:
                return
            self.fired += 1
        raise _made(self._error)


def _made(kind: type[BaseException]) -> BaseException:
    if not issubclass(kind, ssl.SSLError):
        return kind("injected")
    error = kind(1, "injected")  # as OpenSSL makes them
    error.reason, error.library = "INJECTED", "SSL"
    return error


def _name_in_c(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    if isinstance(owner, socket.socket) or type(owner).__name__ in {"lock", "poll"}:
        name = str(function.__name__)
        return "" if name in HARMLESS else name
    if type(owner).__name__ == "_SSLSocket" or isinstance(owner, ssl.SSLContext):
        return f"TLS {function.__name__}"
    return ""


def _role() -> str:
    name = threading.current_thread().name
    for role in ("dispatcher", "opening", "closing", "resolve"):
        if role in name:
            return role
    return "borrower"


def _site(frame: FrameType, name: str) -> Site:
    step, where = "", ""
    walk: FrameType | None = frame
    while walk is not None and not (step and where):
        code = walk.f_code
        if code.co_filename.startswith(OURS):
            where = where or f"{os.path.basename(code.co_filename)}:{walk.f_lineno}"
            step = step or STEPS.get(code.co_name, "")
        elif where and not code.co_filename.startswith(CALLERS):
            break
        walk = walk.f_back
    return Site(step or "command", name, where, _role())
