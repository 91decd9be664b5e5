"""Pure-FTPd, which needs root, behind a counting relay.

Pure-FTPd tells its story to syslog only, so what its census rests on is the relay before it
(relay.py), which reads along: `connects`, `sessions`, `quits`, `refusals`, `logins_failed` and
`peak` are the relay's, a connection being held from its arrival at the relay until the server has
closed it. `held` is the larger of that and the number of the server's session processes. Once a
client says AUTH TLS the relay understands no more.

The system's user is ``nobody`` in a chroot. The served folder is made writable for everybody; a
folder that a test makes in it is not, unless the test says so.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pwd
import subprocess
from pathlib import Path

from . import install
from .backend import HOST, OTHER_USER, PASSWORD_HASH, USER, Spec, Supervised
from .census import Census
from .relay import Relay

_SCOREBOARD = Path("/run/pure-ftpd")


def available() -> str | None:
    """Return why there is no Pure-FTPd here, None if there is."""
    if install.find("pure-ftpd") is None:
        return "pure-ftpd is not there: python -m tests.support.install"
    return None if os.getuid() == 0 else "Pure-FTPd refuses every login unless started by root"


class PureFtpd:
    """A running Pure-FTPd with its relay.

    Options: ``limit``, the switch that enforces `max_per_ip`: ``-C`` (421 in the greeting) or
    ``-y`` (421 after PASS); ``arguments``, a list of more switches.
    """

    other_user = OTHER_USER

    def __init__(self, spec: Spec) -> None:
        """Start both."""
        # `-y` counts a user's connections over all servers of the machine.
        per_user = spec.options.get("limit") == "-y"
        self.user = f"{USER}{spec.ports.listen}" if per_user else USER
        nobody = pwd.getpwnam("nobody")
        spec.home.chmod(0o777)
        database = self._make_database(spec, nobody)
        program = install.find("pure-ftpd")
        assert program is not None
        command: list[str | Path] = [program, *self._switches(spec), "-l", f"puredb:{database}"]
        self._server = Supervised(spec, command, counted="asked")
        try:
            # Both start at the same time.
            self._relay = Relay(spec.ports.listen, workdir=spec.folder)
            self._server.ready()
        except BaseException:
            self._server.stop()
            raise
        self.port = self._relay.port
        self.direct: int = spec.ports.listen  # past the relay, for benchmarks

    def _make_database(self, spec: Spec, owner: pwd.struct_passwd) -> Path:
        passwords = spec.folder / "passwd"
        with open(passwords, "w", encoding="ascii") as file:
            for user in (self.user, OTHER_USER):
                account = [user, PASSWORD_HASH, owner.pw_uid, owner.pw_gid, "", f"{spec.home}/./"]
                file.write(":".join(map(str, account)) + ":" * 12 + "\n")
        database = spec.folder / "users.pdb"
        tool = install.find("pure-pw")
        assert tool is not None
        subprocess.run(
            [tool, "mkdb", database, "-f", passwords],
            check=True,
            env=install.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
        )
        return database

    def _switches(self, spec: Spec) -> list[str]:
        first, last = spec.ports.passive
        switches = ["-S", f"{HOST},{spec.ports.listen}", "-p", f"{first}:{last}", "-H", "-E"]
        switches += ["-g", str(spec.folder / "pid"), "-O", f"clf:{spec.folder / 'transfers.log'}"]
        if spec.max_per_ip is not None:
            limit = spec.options.get("limit", "-C")
            # -y takes a limit for users and one for anonymous logins.
            number = f"{spec.max_per_ip}:{spec.max_per_ip}" if limit == "-y" else spec.max_per_ip
            switches += [limit, str(number)]
        if spec.idle_timeout is not None:
            switches += ["-I", str(math.ceil(spec.idle_timeout / 60))]
        if spec.certificate is not None:
            switches += ["-Y", "2", "-2", str(spec.certificate)]
        return [*switches, *spec.options.get("arguments", [])]

    def census(self) -> Census:
        """Count what relay and server have seen."""
        processes = sum(end is None for _, end in self._server.lives().values())
        seen = self._relay.look().census
        return dataclasses.replace(seen, held=max(seen.held, processes))

    def stop(self) -> None:
        """End both."""
        try:
            self._relay.stop()
        finally:
            self._server.stop()
            for pid in self._server.lives():
                # What a killed session leaves there would count for `-y` of servers to come.
                (_SCOREBOARD / f"client-{pid:08d}").unlink(missing_ok=True)
