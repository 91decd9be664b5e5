"""OpenSSH's sshd with its own host key and a user key, for root and for anybody else.

What its census rests on: the log tells connects, refusals, logins and disconnects; `held` and
`peak` are the listener's children that have not ended, sampled every 2 ms: one for each
connection, from before its banner. A connection that MaxStartups refuses never gets a child.

The one user is whoever runs the tests. There is no chroot: an absolute path is a path of the
machine, and the login directory is the served folder. Root's sshd wants a user ``sshd`` and a
folder ``/run/sshd``; it gets them, and a password for the user, in a mount namespace of its own, so
that the machine keeps its files. Anybody else has no password here: `password_works` tells.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import install
from .backend import HOST, PASSWORD_HASH, Spec, Supervised, read_log
from .census import Census, tally

password_works = os.getuid() == 0


@functools.cache
def available() -> str | None:
    """Return why there is no sshd here, None if there is."""
    if install.find("sshd") is None:
        return "sshd is not there: python -m tests.support.install"
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return "sshd needs a user with a name"
    if os.getuid() == 0:
        unshare = shutil.which("unshare")
        if unshare is None or subprocess.run([unshare, "-m", "true"], check=False).returncode:
            return "root's sshd needs a mount namespace, which is not allowed here"
    return None


def new_key(path: Path) -> str:
    """Write a new private key; its public half as it stands in ``authorized_keys``."""
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secret)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode()


class OpenSSH:
    """A running sshd. Options are lines of sshd_config, such as ``MaxSessions``.

    The option ``denied`` names SFTP requests that the server does not know, with commas.

    ``user_home`` is a folder with the ``.ssh`` of somebody who may log in.
    """

    def __init__(self, spec: Spec) -> None:
        """Start it."""
        self.port = spec.ports.listen
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.user_home = spec.folder / "user-home"
        self._log = spec.folder / "stderr.log"
        ssh = self.user_home / ".ssh"
        ssh.mkdir(parents=True, mode=0o700)
        host_key = new_key(spec.folder / "host_key")
        (ssh / "known_hosts").write_text(f"[{HOST}]:{self.port} {host_key}\n")
        (spec.folder / "authorized_keys").write_text(new_key(ssh / "id_ed25519") + "\n")
        configuration = spec.folder / "sshd_config"
        lines = [f"{key} {value}\n" for key, value in self._settings(spec).items()]
        configuration.write_text("".join(lines))
        program = install.find("sshd")
        assert program is not None
        command = [str(program), "-D", "-e", "-f", str(configuration)]
        if os.getuid() == 0:
            command = self._with_own_files(spec, command)
        self._server = Supervised(spec, command, counted="living")
        self._server.ready()

    def _settings(self, spec: Spec) -> dict[str, object]:
        settings: dict[str, object] = {
            "ListenAddress": HOST,
            "Port": self.port,
            "HostKey": spec.folder / "host_key",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "yes",
            "KbdInteractiveAuthentication": "no",
            "AuthorizedKeysFile": spec.folder / "authorized_keys",
            "Subsystem": f"sftp internal-sftp -d {spec.home}",
            "UseDNS": "no",
            "LogLevel": "ERROR" if spec.quiet else "VERBOSE",
        }
        options = dict(spec.options)
        if denied := options.pop("denied", None):
            settings["Subsystem"] = f"{settings['Subsystem']} -P {denied}"
        return settings | options

    def _with_own_files(self, spec: Spec, command: list[str]) -> list[str]:
        folder = spec.folder
        passwd = Path("/etc/passwd").read_text()
        (folder / "passwd").write_text(f"{passwd}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")
        (folder / "shadow").write_text(f"{self.user}:{PASSWORD_HASH}:19000:0:99999:7:::\n")
        script = " && ".join(
            (
                f"mount --bind {shlex.quote(str(folder / 'passwd'))} /etc/passwd",
                f"mount --bind {shlex.quote(str(folder / 'shadow'))} /etc/shadow",
                "mount -t tmpfs none /run",
                "mkdir -m 755 /run/sshd",
                f"exec {shlex.join(command)}",
            )
        )
        unshare = shutil.which("unshare")
        assert unshare is not None
        return [unshare, "-m", "/bin/sh", "-c", script]

    def census(self) -> Census:
        """Count what the server has seen."""
        lives = self._server.visits().values()
        text = "\n".join(read_log(self._log))

        def count(pattern: str) -> int:
            return len(re.findall(pattern, text, re.MULTILINE))

        refusals = count(r"^drop connection ")
        seen = tally(lives)
        return Census(
            held=seen.held,
            peak=seen.peak,
            connects=count(r"^Connection from ") + refusals,
            sessions=count(r"^Accepted (publickey|password) for "),
            quits=count(r"^Received disconnect from "),
            refusals=refusals,
            logins_failed=count(r"^Failed (publickey|password) for "),
        )

    def log(self) -> str:
        """Return what the server has logged."""
        return "\n".join(read_log(self._log))

    def drop(self) -> None:
        """End all sessions at once, as an administrator would."""
        for pid, (_, end) in self._server.lives().items():
            if end is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it and its sessions."""
        self._server.stop()
