"""ProFTPD with a user of its own, for root and for anybody else.

What its census rests on: the logs tell connects, refusals, logins and QUITs, with the process id
of the session (a refusal by ``MaxInstances`` is made by the listener and has none). `held` and
`peak` are the listener's children that have not ended, sampled every 2 ms, those that the log
calls refused left out: zombies that the listener has not reaped yet (up to 0.4 s) hold no
connection and do not count here, though they do for ``MaxInstances``. A session shorter than a
sample can be missing from `peak`, never from the other numbers.

There is no chroot: an absolute path is a path of the machine.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Iterable
from pathlib import Path

from . import install
from .backend import HOST, OTHER_USER, PASSWORD_HASH, USER, Spec, Supervised, read_log
from .census import Census, Visit, tally

_SYSTEM_LINE = re.compile(r"proftpd\[(\d+)\] [^:]*: (.*)")
_MODULES = {
    "TLS": ["mod_tls.c"],
    "SFTP": ["mod_sftp.c"],
    "Ban": ["mod_ctrls_admin.c", "mod_ban.c"],
    "Digest": ["mod_digest.c"],
}


def available() -> str | None:
    """Return why there is no ProFTPD here, None if there is."""
    if install.find("proftpd") is None:
        return "proftpd is not there: python -m tests.support.install"
    try:
        pwd.getpwuid(os.getuid())
        grp.getgrgid(os.getgid())
    except KeyError:
        return "ProFTPD needs a user and a group with names"
    return None


class Proftpd:
    """A running ProFTPD.

    Options are directives, such as ``AllowOverwrite``; the modules of TLS…, SFTP… and Ban… are
    loaded as needed. The option ``limit`` names the directive that enforces `max_per_ip`:
    ``MaxConnectionsPerHost`` (530 in the greeting), ``MaxInstances`` (silent EOF),
    ``MaxClientsPerHost`` or ``MaxClientsPerUser`` (530 after PASS).
    """

    user = USER
    other_user = OTHER_USER

    def __init__(self, spec: Spec) -> None:
        """Start it."""
        self.port = spec.ports.listen
        self._system_log = spec.folder / "system.log"
        self._command_log = spec.folder / "commands.log"
        passwords = spec.folder / "passwd"
        with open(passwords, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            for user in (USER, OTHER_USER):
                entry = [user, PASSWORD_HASH, os.getuid(), os.getgid(), "", spec.home, "/bin/sh"]
                file.write(":".join(map(str, entry)) + "\n")
        program = install.find("proftpd")
        assert program is not None
        modules = program.parent.parent / "lib" / "proftpd"
        lines = [f"ModulePath {modules}", *self._lines(spec)]
        configuration = spec.folder / "proftpd.conf"
        configuration.write_text("\n".join(lines) + "\n")
        command: list[str | Path] = [program, "-n", "-q", "-c", configuration]
        self._server = Supervised(spec, command, counted="living")
        self._server.ready()

    def _lines(self, spec: Spec) -> list[str]:
        options = dict(spec.options)
        limit = options.pop("limit", "MaxConnectionsPerHost")
        directives = self._directives(spec)
        if spec.max_per_ip is not None:
            directives[limit] = spec.max_per_ip
        if spec.certificate is not None:
            options = {
                "TLSEngine": "on",
                "TLSRequired": "on",
                "TLSRSACertificateFile": spec.certificate,
                "TLSRSACertificateKeyFile": spec.certificate,
                "TLSLog": spec.folder / "tls.log",
                **({"TLSOptions": "UseImplicitSSL"} if spec.implicit else {}),
            } | options
        directives |= options
        loads = [
            f"LoadModule {module}"
            for prefix, modules in _MODULES.items()
            if any(name.startswith(prefix) for name in options)
            for module in modules
        ]
        formats = ['LogFormat census "%P %m %s %S"', f"ExtendedLog {self._command_log} ALL census"]
        if spec.quiet:
            formats = []
        return [*loads, *(f"{name} {value}" for name, value in directives.items()), *formats]

    def _directives(self, spec: Spec) -> dict[str, object]:
        first, last = spec.ports.passive
        directives: dict[str, object] = {
            "ServerName": '"fixture"',
            "ServerType": "standalone",
            "DefaultAddress": HOST,
            "SocketBindTight": "on",
            "Port": spec.ports.listen,
            "PassivePorts": f"{first} {last}",
            "UseIPv6": "off",
            "User": pwd.getpwuid(os.getuid()).pw_name,
            "Group": grp.getgrgid(os.getgid()).gr_name,
            "RootLogin": "on",  # the user has our uid, which may be root's
            "AuthOrder": "mod_auth_file.c",
            "AuthUserFile": spec.folder / "passwd",
            "RequireValidShell": "off",
            "UseReverseDNS": "off",
            "WtmpLog": "off",
            "ControlsEngine": "off",
            "PidFile": spec.folder / "pid",
            "ScoreboardFile": spec.folder / "scoreboard",
            "SystemLog": self._system_log,
            "SyslogLevel": "info",
            "TransferLog": "none",
            "DelayEngine": "off",
            "AllowOverwrite": "on",
        }
        if spec.idle_timeout is not None:
            directives["TimeoutIdle"] = max(1, round(spec.idle_timeout))
        return directives

    def census(self) -> Census:
        """Count what the server has seen."""
        visits = self._server.visits()
        denied = _read_system(read_log(self._system_log), visits)
        _read_commands(read_log(self._command_log), visits)
        return tally([*visits.values(), *denied])

    def stop(self) -> None:
        """End it and its sessions."""
        self._server.stop()


def _read_system(lines: Iterable[str], visits: dict[int, Visit]) -> list[Visit]:
    """Note sessions and refusals; return the refused visits that had no process."""
    denied = []
    for line in lines:
        match = _SYSTEM_LINE.search(line)
        if match is None:
            continue
        what = match[2]
        if "new connection denied" in what:  # by the listener, for MaxInstances
            denied.append(Visit(refused=True))
        elif "Connection refused (Max" in what:
            visits.setdefault(int(match[1]), Visit()).refused = True
        elif what == "FTP session opened.":
            visits.setdefault(int(match[1]), Visit())
    return denied


def _read_commands(lines: Iterable[str], visits: dict[int, Visit]) -> None:
    for line in lines:
        pid, command, code, *_ = [*line.split(" ", 3), "", "", ""]
        visit = visits.setdefault(int(pid), Visit())
        if command == "QUIT":
            visit.quit = True
        elif command == "PASS" and code == "230":
            visit.logged_in = True
        elif command in ("USER", "PASS") and code == "530" and not visit.refused:
            visit.login_failures += 1
