"""pyftpdlib in a child process.

What its census rests on: a diary that the server's own handler writes in the instant in which the
server takes, refuses, logs in or forgets a connection. So all numbers are exact.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from typing import Any

from .backend import PASSWORD, USER, Spec, read_log
from .census import Census, Visit, tally
from .processes import Child


def available() -> str | None:
    """Return why there is no pyftpdlib here, None if there is."""
    return None if importlib.util.find_spec("pyftpdlib") else "pyftpdlib is not installed"


class Pyftpd:
    """A running pyftpdlib server.

    Options: ``max_cons`` (sockets of all sorts), ``auth_failed_timeout`` (0 seconds; the library's
    own is 3), ``data_timeout`` (seconds), ``perm`` (the library's letters), ``threaded`` (a
    thread for each session, with a race after QUIT that the default does not have), ``forgets``
    (over TLS: how many data connections of a control connection it takes until it answers as
    ProFTPD does when its cache has dropped the TLS session), ``loses`` (the code of a reply that
    it does not send, once).
    """

    user = USER

    def __init__(self, spec: Spec) -> None:
        """Start it."""
        self.port = spec.ports.listen
        self._diary = spec.folder / "diary.jsonl"
        self._stopped: float | None = None
        settings: dict[str, Any] = {
            "user": USER,
            "password": PASSWORD,
            "home": str(spec.home),
            "port": self.port,
            "passive": spec.ports.passive,
            "timeout": 300 if spec.idle_timeout is None else spec.idle_timeout,
            "max_cons_per_ip": spec.max_per_ip or 0,
            "max_cons": 512,
            "auth_failed_timeout": 0,
            "data_timeout": 300,
            "perm": "elradfmwMT",
            "threaded": False,
            "certificate": None if spec.certificate is None else str(spec.certificate),
            "forgets": None,
            "loses": None,
        }
        unknown = spec.options.keys() - settings.keys()
        if unknown:
            raise ValueError(f"unknown options: {', '.join(sorted(unknown))}")
        self._child = Child(
            "pyftpd.py",
            [self._diary, json.dumps(settings | dict(spec.options))],
            log=spec.folder / "stderr.log",
            site=True,
            claim=spec.ports.claim,
        )
        self._child.ready()

    def census(self) -> Census:
        """Count what the server has seen."""
        visits: dict[int, Visit] = {}
        for line in read_log(self._diary):
            event = json.loads(line)
            visit = visits.setdefault(event["id"], Visit())
            _note(visit, event["what"], event["at"])
        for visit in visits.values():
            visit.end = visit.end or self._stopped
        return tally(visits.values())

    def freeze(self) -> None:
        """Let it do nothing any more, so that buffers fill and senders block."""
        os.kill(self._child.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._child.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        if self._stopped is None:
            self._stopped = time.monotonic()
            self._child.stop()


def _note(visit: Visit, what: str, at: float) -> None:
    match what:
        case "connect":
            visit.begin = at
        case "refused":
            visit.refused = True
        case "login":
            visit.logged_in = True
        case "login_failed":
            visit.login_failures += 1
        case "quit":
            visit.quit = True
        case "end":
            visit.end = at
