"""asyncssh's SFTP server in a child process: passwords for everybody, and faults on demand.

What its census rests on: a diary that the server writes in the instant in which it takes, logs in
or loses a connection. The served folder is the root of all paths.
"""

from __future__ import annotations

import importlib.util
import json
import time
from typing import Any

from .backend import PASSWORD, USER, Spec, read_log
from .census import Census, Visit, tally
from .openssh import new_key
from .processes import Child


def available() -> str | None:
    """Return why there is no asyncssh here, None if there is."""
    return None if importlib.util.find_spec("asyncssh") else "asyncssh is not installed"


class AsyncSSH:
    """A running asyncssh server.

    Options: ``kbdint`` (keyboard-interactive in place of the password method, as PAM does it),
    ``silent_login`` (no answer to a password, as behind a dead LDAP server), ``silent_after``
    (bytes of a file after which nothing is answered, as on a hung NFS), ``full_after`` (bytes
    of a file after which writes fail, as with a quota), ``loses`` (``close``, ``fstat`` or
    ``posix_rename``: the first such request is done and not answered), ``grows_at`` (bytes of a
    file at which a read finds its end, though later reads find more, as if somebody wrote to it in
    between), ``told`` (it keeps what it was asked for, see `requests`).

    ``user_home`` is a folder with the ``.ssh`` of somebody who knows the host.
    """

    user = USER

    def __init__(self, spec: Spec) -> None:
        """Start it."""
        self.port = spec.ports.listen
        self.user_home = spec.folder / "user-home"
        self._diary = spec.folder / "diary.jsonl"
        self._stopped: float | None = None
        ssh = self.user_home / ".ssh"
        ssh.mkdir(parents=True, mode=0o700)
        public = new_key(spec.folder / "host_key")
        (ssh / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}\n")
        settings: dict[str, Any] = {
            "user": USER,
            "password": PASSWORD,
            "home": str(spec.home),
            "port": self.port,
            "host_key": str(spec.folder / "host_key"),
            "kbdint": False,
            "silent_login": False,
            "silent_after": None,
            "full_after": None,
            "loses": None,
            "grows_at": None,
            "told": False,
        }
        unknown = spec.options.keys() - settings.keys()
        if unknown:
            raise ValueError(f"unknown options: {', '.join(sorted(unknown))}")
        self._child = Child(
            "asyncsshd.py",
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
            match event["what"]:
                case "connect":
                    visit.begin = event["at"]
                case "login":
                    visit.logged_in = True
                case "login_failed":
                    visit.login_failures += 1
                case "quit" | "end":
                    visit.quit = event["what"] == "quit"
                    visit.end = event["at"]
        for visit in visits.values():
            visit.end = visit.end or self._stopped
        return tally(visits.values())

    def requests(self) -> list[str]:
        """Return what was asked for: reads and writes with their bytes, fsync, close, rename."""
        asked = ("read", "write", "fsync", "close", "rename")
        events = [json.loads(line)["what"] for line in read_log(self._diary)]
        return [what for what in events if what.startswith(asked)]

    def stop(self) -> None:
        """End it."""
        if self._stopped is None:
            self._stopped = time.monotonic()
            self._child.stop()
