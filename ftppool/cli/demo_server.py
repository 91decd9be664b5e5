"""The demo's FTP server, run as a script in a process of its own.

Usage: ``demo_server.py ROOT PASSWORD LIMIT REPLY LOGIN``: ROOT has a home directory for each user,
who is called after it; REPLY and LOGIN are the seconds that any reply and a login take.

Behaves like vsftpd with ``max_per_ip=LIMIT`` at the end of a short line, and counts what it sees.
Writes one JSON line with its port; answers each line on stdin with its counts since the last one.
Removes ROOT's parent and ends when stdin is closed: even a killed demo leaves nothing behind.

It imports nothing of ftppool: it must not depend on what it measures.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections import deque
from typing import Any

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

REFUSAL = "421 There are too many connections from your internet address."


class Census:
    """What the server has seen. ``now`` is of the moment, the rest adds up."""

    now: int
    peak: int
    connections: int
    refusals: int
    quits: int
    vanished: int
    files: int

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = 0
        self._begin()

    def _begin(self) -> None:
        self.peak = self.now
        self.connections = self.refusals = self.quits = self.vanished = self.files = 0

    def connect(self, limit: int) -> bool:
        """Count a new connection; False if it is one too many."""
        with self._lock:
            self.connections += 1
            # One that is refused was there as well, if only for a moment.
            self.peak = max(self.peak, self.now + 1)
            if self.now >= limit:
                self.refusals += 1
                return False
            self.now += 1
            return True

    def end(self, *, politely: bool) -> None:
        """Count the end of a connection that was not refused."""
        with self._lock:
            self.now -= 1
            self.quits += politely
            self.vanished += not politely

    def file(self) -> None:
        """Count a file received to its end."""
        with self._lock:
            self.files += 1

    def take(self) -> dict[str, int]:
        """Return the counts, and begin new ones."""
        with self._lock:
            counts = {name: value for name, value in vars(self).items() if name[0] != "_"}
            self._begin()
            return counts


class _Handler(FTPHandler):  # type: ignore[misc]  # pyftpdlib has no types
    """One control connection."""

    census: Census
    limit: int
    reply_delay: float
    login_delay: float
    banner = "Welcome to the demo."
    auth_failed_timeout = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        self._late: deque[str | None] = deque()
        self._held = self._said_quit = False
        super().__init__(*args, **options)

    def handle(self) -> None:
        """Greet a connection, or send it away as vsftpd does: one line instead of the banner."""
        self._held = self.census.connect(self.limit)
        if self._held:
            super().handle()
        else:
            self.push(f"{REFUSAL}\r\n")
            self.close_when_done()

    def push(self, data: str) -> None:
        """Send a reply, after a while."""
        self._soon(data)

    def close_when_done(self) -> None:
        """Close behind the last reply."""
        self._soon(None)

    def _soon(self, data: str | None) -> None:
        self._late.append(data)
        self.ioloop.call_later(self.reply_delay, self._send_first, _errback=self.handle_error)

    def _send_first(self) -> None:
        # In the order of the queue, whatever the order in which the timers go off.
        data = self._late.popleft()
        if self._closed:
            return
        if data is None:
            super().close_when_done()
        else:
            super().push(data)

    def handle_auth_success(self, *args: Any) -> None:
        """Let a user in, after a while."""
        self.ioloop.call_later(self.login_delay, self._let_in, args, _errback=self.handle_error)

    def _let_in(self, args: tuple[Any, ...]) -> None:
        if not self._closed:
            super().handle_auth_success(*args)

    def ftp_QUIT(self, line: str) -> None:  # noqa: N802 - pyftpdlib's name
        """End the session on the client's wish."""
        self._said_quit = True
        super().ftp_QUIT(line)

    def on_file_received(self, file: str) -> None:
        """Count it."""
        self.census.file()

    def close(self) -> None:
        """Close the connection; called more than once."""
        super().close()
        if self._held:
            self._held = False
            self.census.end(politely=self._said_quit)


def main(root: str, password: str, limit: str, reply: str, login: str) -> None:
    """Serve until stdin is closed."""
    # What a terminal sends to both of us is for the demo; we end when it does, and after cleaning.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    log = logging.getLogger("pyftpdlib")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    _Handler.census = Census()
    _Handler.limit = int(limit)
    _Handler.reply_delay, _Handler.login_delay = float(reply), float(login)
    _Handler.authorizer = DummyAuthorizer()
    for user in os.listdir(root):
        _Handler.authorizer.add_user(user, password, os.path.join(root, user), perm="elradfmw")
    server = FTPServer(("127.0.0.1", 0), _Handler)
    _say({"port": server.address[1]})
    threading.Thread(target=_answer, args=(_Handler.census, root), daemon=True).start()
    server.serve_forever(handle_exit=False)


def _answer(census: Census, root: str) -> None:
    for _ in sys.stdin:
        _say(census.take())
    shutil.rmtree(os.path.dirname(root), ignore_errors=True)
    os._exit(0)


def _say(answer: dict[str, int]) -> None:
    try:
        print(json.dumps(answer), flush=True)
    except OSError:
        pass  # the demo has gone: the end of stdin comes next


if __name__ == "__main__":
    main(*sys.argv[1:])
