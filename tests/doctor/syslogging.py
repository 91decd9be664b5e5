"""A Pure-FTPd that believes in a syslog: its ``/dev/log`` is a socket of ours. Needs root.

Pure-FTPd tells of refusals to syslog only. So it runs in a mount namespace of its own, whose
``/dev`` has the few devices that it needs and our socket; what it sends is written to a file as
rsyslogd does it, with the name of a host behind the time.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import install
from tests.support.backend import HOST, PASSWORD_HASH, USER, Spec, Supervised
from tests.support.processes import claim_ports

DEVICES = ("null", "zero", "random", "urandom")


@dataclass(frozen=True, slots=True)
class LoggingPure:
    """A running one."""

    port: int
    syslog: Path
    settings: Path
    """Its settings in the way of Debian: a folder with a file for each."""


@contextmanager
def pure_ftpd(folder: Path, settings: dict[str, str], *switches: str) -> Iterator[LoggingPure]:
    """Start it with switches; `settings` are only written down, as Debian's wrapper would."""
    home, conf = folder / "home", folder / "conf"
    for new in (home, conf):
        new.mkdir()
    home.chmod(0o777)
    ports = claim_ports()
    for name, value in ({"Bind": f"{HOST},{ports.listen}"} | settings).items():
        (conf / name).write_text(f"{value}\n")
    program, unshare = install.find("pure-ftpd"), shutil.which("unshare")
    assert program is not None
    assert unshare is not None
    command = [
        str(program), "-S", f"{HOST},{ports.listen}", "-l", f"puredb:{_database(folder)}",
        "-H", "-E", "-g", str(folder / "pid"), *switches,
    ]  # fmt: skip
    inside = f"{_devices(folder)} && exec {shlex.join(command)}"
    with ports.claim, _syslog(folder) as syslog:
        server = Supervised(
            Spec(ports, home, folder), [unshare, "-m", "/bin/sh", "-c", inside], counted="asked"
        )
        try:
            server.ready()
            yield LoggingPure(ports.listen, syslog, conf)
        finally:
            server.stop()


@contextmanager
def _syslog(folder: Path) -> Iterator[Path]:
    device, file = folder / "dev", folder / "syslog"
    device.mkdir()
    file.touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(device / "log"))
        (device / "log").chmod(0o666)

        def write() -> None:
            while (message := log.recv(8192)) != b"stop":
                text = re.sub(r"^<\d+>(\w{3} [ \d]\d [\d:]{8}) ", r"\1 host ", message.decode())
                with file.open("a") as lines:
                    lines.write(f"{text}\n")

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield file
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"stop", str(device / "log"))
            thread.join()


def _devices(folder: Path) -> str:
    """Give the program a ``/dev`` that has our socket."""
    here = shlex.quote(str(folder / "dev"))
    mounts = [f"touch {here}/{name} && mount --bind /dev/{name} {here}/{name}" for name in DEVICES]
    return " && ".join([*mounts, f"mount --rbind {here} /dev"])


def _database(folder: Path) -> Path:
    passwords, database = folder / "passwd", folder / "users.pdb"
    passwords.write_text(
        f"{USER}:{PASSWORD_HASH}:65534:65534::{folder / 'home'}/./" + ":" * 12 + "\n"
    )
    tool = install.find("pure-pw")
    assert tool is not None
    subprocess.run(
        [tool, "mkdb", database, "-f", passwords],
        check=True,
        env=install.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    )
    return database
