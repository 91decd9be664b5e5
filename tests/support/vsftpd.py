"""vsftpd with an anonymous read-write login, for root and for anybody else.

What its census rests on: the protocol log tells connects, refusals, logins and QUITs, each with
the process id of the session. `held` and `peak` are the listener's children until it has reaped
them, which is what ``max_per_ip`` counts, sampled every 2 ms; children that the log calls refused
are left out. A session shorter than a sample can be missing from `peak`, never from the other
numbers.

There is no chroot: an absolute path is a path of the machine. Any password is right, any user
but ``anonymous`` and ``ftp`` is a failed login.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable

from . import install
from .backend import HOST, Spec, Supervised, read_log
from .census import Census, Visit, tally

_LINE = re.compile(r"\[pid (\d+)\] (?:\[[^\]]*\] )?(.*)")

_TLS: dict[str, object] = {
    "ssl_enable": "YES",
    "allow_anon_ssl": "YES",
    "force_anon_logins_ssl": "YES",
    "force_anon_data_ssl": "YES",
    "require_ssl_reuse": "YES",
    "strict_ssl_read_eof": "YES",
    "ssl_ciphers": "HIGH",
}


def available() -> str | None:
    """Return why there is no vsftpd here, None if there is."""
    if install.find("vsftpd") is None:
        return "vsftpd is not there: python -m tests.support.install"
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return "vsftpd needs a user with a name"
    return None


class Vsftpd:
    """A running vsftpd. Options are lines of vsftpd.conf, such as ``max_clients``."""

    user = "anonymous"
    other_user = "ftp"

    def __init__(self, spec: Spec) -> None:
        """Start it."""
        self.port = spec.ports.listen
        self._log = spec.folder / "vsftpd.log"
        configuration = spec.folder / "vsftpd.conf"
        lines = [f"{key}={value}\n" for key, value in self._settings(spec).items()]
        configuration.write_text("".join(lines))
        program = install.find("vsftpd")
        assert program is not None
        self._server = Supervised(spec, [program, configuration], counted="unreaped")
        self._server.ready()

    def _settings(self, spec: Spec) -> dict[str, object]:
        first, last = spec.ports.passive
        settings: dict[str, object] = {
            "listen": "YES",
            "listen_address": HOST,
            "listen_port": spec.ports.listen,
            "pasv_min_port": first,
            "pasv_max_port": last,
            "background": "NO",
            "run_as_launching_user": "YES",
            "anonymous_enable": "YES",
            "local_enable": "NO",
            "write_enable": "YES",
            "anon_upload_enable": "YES",
            "anon_mkdir_write_enable": "YES",
            "anon_other_write_enable": "YES",
            "anon_umask": "022",
            "anon_root": spec.home,
            "ftp_username": pwd.getpwuid(os.getuid()).pw_name,
            "allow_writeable_chroot": "YES",
            "secure_chroot_dir": spec.folder,
            # YES kills a session at its first STOR on today's kernels.
            "seccomp_sandbox": "NO",
            # The log must have the process ids that /proc has.
            "isolate": "NO",
            "isolate_network": "NO",
            "session_support": "NO",
            "xferlog_enable": "NO" if spec.quiet else "YES",
            "log_ftp_protocol": "NO" if spec.quiet else "YES",
            "vsftpd_log_file": self._log,
            "max_per_ip": spec.max_per_ip or 0,
        }
        if spec.idle_timeout is not None:
            settings["idle_session_timeout"] = max(1, round(spec.idle_timeout))
        if spec.certificate is not None:
            settings |= _TLS | {"rsa_cert_file": spec.certificate}
            settings["implicit_ssl"] = "YES" if spec.implicit else "NO"
        return settings | dict(spec.options)

    def census(self) -> Census:
        """Count what the server has seen."""
        visits = self._server.visits()
        # Only now: a refusal is in the log before its process can be gone.
        _read(read_log(self._log), visits)
        return tally(visits.values())

    def stop(self) -> None:
        """End it and its sessions."""
        self._server.stop()


def _read(lines: Iterable[str], visits: dict[int, Visit]) -> None:
    for line in lines:
        match = _LINE.search(line)
        if match is None:
            continue
        visit = visits.setdefault(int(match[1]), Visit())
        what = match[2]
        if what.startswith("CONNECT:"):
            visit.refused = "Connection refused" in what
        elif what.startswith("OK LOGIN:"):
            visit.logged_in = True
        elif what.startswith("FTP response:") and '"530 ' in what:
            visit.login_failures += "Please login" not in what
        elif what.startswith("FTP command:") and what.upper().endswith('"QUIT"'):
            visit.quit = True
