"""What is measured: ftppool and its peers, each as the command that sends a folder.

Each peer runs with what makes it fast and keeps it to its number of connections; no peer is made to
check sizes or to rename, which ftppool does.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from benchmarks import tools
from benchmarks.clients.tree import walk
from benchmarks.goals import BARE

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Job:
    """What to send, and where to."""

    host: str
    port: int
    user: str
    password: str
    folder: Path
    connections: int
    ssh: Path | None = None
    """A folder with ``id_ed25519`` and ``known_hosts``: send by SFTP."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run."""

    words: list[str]
    folder: Path = ROOT
    input: str | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """One client of the comparison."""

    name: str
    """``{n}`` in it is the number of connections."""
    tool: str
    """Of this the version is told."""
    command: Callable[[Job], Command]
    connections: int | None = None
    """As many and no others, None for as many as asked."""
    python: bool = False

    def label(self, connections: int) -> str:
        """Return the name with the number of connections."""
        return self.name.replace("{n}", str(connections))

    def missing(self) -> str | None:
        """Say why it cannot be had here, None if it can."""
        if self.python:
            found = self.tool in sys.stdlib_module_names or tools.module(self.tool)
            return None if found else f"{self.tool} is not installed (pip install --group bench)"
        return None if tools.program(self.tool) else f"{self.tool} is not there"


def _python(client: str, job: Job) -> Command:
    code = f"from benchmarks.clients.{client} import main; main()"
    words = [sys.executable, "-c", code, job.host, str(job.port), job.user, job.password]
    return Command([*words, str(job.folder), str(job.connections), str(job.ssh or "")])


def _program(name: str) -> str:
    path = tools.program(name)
    assert path is not None, "asked before"
    return str(path)


def _ssh_options(ssh: Path) -> list[str]:
    options = {
        "BatchMode": "yes",
        "UserKnownHostsFile": ssh / "known_hosts",
        "IdentityFile": ssh / "id_ed25519",
        "IdentitiesOnly": "yes",
    }
    return ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())]


def _lftp(job: Job) -> Command:
    settings = ["cmd:fail-exit yes", "ftp:ssl-allow no", "ftp:sync-mode off", "ftp:use-mode-z no"]
    password, scheme = job.password, "ftp"
    if job.ssh:
        program = " ".join([_program("ssh"), "-a", "-x", *_ssh_options(job.ssh)])
        settings.append(f'sftp:connect-program "{program}"')
        password, scheme = "none", "sftp"
    script = [f"set {setting}" for setting in settings]
    script += [f"mirror -R --parallel={job.connections} --no-perms {job.folder} .", "exit"]
    url = f"{scheme}://{job.user}:{password}@{job.host}:{job.port}"
    if job.ssh:
        url += "/~"
    return Command([_program("lftp"), "--norc", "-e", "; ".join(script), url])


def _curl(job: Job) -> Command:
    words = [_program("curl"), "-q", "--silent", "--show-error", "--config", "-"]
    words += ["--user", f"{job.user}:{job.password}"]
    if job.connections > 1:
        words += ["--parallel", "--parallel-max", str(job.connections)]
    directories, files = walk(str(job.folder))
    if directories:
        words.append("--ftp-create-dirs")
    lines = [
        f'upload-file = "{name}"\nurl = "ftp://{job.host}:{job.port}/{quote(name)}"\n'
        for name in files
    ]
    return Command(words, job.folder, "".join(lines))


def _ncftpput(job: Job) -> Command:
    words = [_program("ncftpput"), "-V", "-R", "-u", job.user, "-p", job.password]
    names = sorted(path.name for path in job.folder.iterdir())
    return Command([*words, "-P", str(job.port), job.host, ".", *names], job.folder)


@functools.cache
def _obscured(password: str) -> str:
    said = subprocess.run(
        [_program("rclone"), "obscure", password], check=True, capture_output=True, text=True
    )
    return said.stdout.strip()


def _rclone(job: Job) -> Command:
    settings: dict[str, object] = {"host": job.host, "port": job.port, "user": job.user}
    if job.ssh:
        settings |= {
            "key_file": job.ssh / "id_ed25519",
            "known_hosts_file": job.ssh / "known_hosts",
            "shell_type": "none",
            "md5sum_command": "none",
            "sha1sum_command": "none",
        }
    else:
        settings["pass"] = _obscured(job.password)
    kind = ":sftp" if job.ssh else ":ftp"
    remote = ",".join([kind, *(f"{name}={value}" for name, value in settings.items())])
    words = [_program("rclone"), "copy", "--config", "/dev/null", "-q", "--no-check-dest"]
    return Command([*words, f"--transfers={job.connections}", str(job.folder), f"{remote}:"])


def _sftp(job: Job) -> Command:
    assert job.ssh is not None
    directories, files = walk(str(job.folder))
    lines = [f"mkdir {name}\n" for name in directories]
    lines += [f"put {job.folder}/{name} {name}\n" for name in files]
    words = [_program("sftp"), "-q", "-S", _program("ssh"), *_ssh_options(job.ssh), "-b", "-"]
    words += ["-P", str(job.port), f"{job.user}@{job.host}"]
    return Command(words, input="".join(lines))


OURS = Peer("ftppool", "ftppool", functools.partial(_python, "by_ftppool"), python=True)
OURS_ALONE = Peer("ftppool, 1 connection", "ftppool", OURS.command, 1, python=True)

FTP = {
    peer.name: peer
    for peer in (
        OURS,
        OURS_ALONE,
        Peer("ftplib, {n} threads", "ftplib", functools.partial(_python, "by_ftplib"), python=True),
        Peer(
            "ftplib, 1 connection",
            "ftplib",
            functools.partial(_python, "by_ftplib"),
            1,
            python=True,
        ),
        Peer(f"{BARE}, {{n}} threads", "socket", functools.partial(_python, "bare"), python=True),
        Peer(f"{BARE}, 1 thread", "socket", functools.partial(_python, "bare"), 1, python=True),
        Peer("lftp", "lftp", _lftp),
        Peer("curl", "curl", _curl),
        Peer("ncftpput, 1 connection", "ncftpput", _ncftpput, 1),
        Peer("rclone", "rclone", _rclone),
        Peer("aioftp", "aioftp", functools.partial(_python, "by_aioftp"), python=True),
    )
}
SFTP = {
    peer.name: peer
    for peer in (
        OURS,
        OURS_ALONE,
        Peer(
            "paramiko, {n} threads",
            "paramiko",
            functools.partial(_python, "by_paramiko"),
            python=True,
        ),
        Peer(
            "paramiko, 1 connection",
            "paramiko",
            functools.partial(_python, "by_paramiko"),
            1,
            python=True,
        ),
        Peer("asyncssh", "asyncssh", functools.partial(_python, "by_asyncssh"), python=True),
        Peer("OpenSSH sftp, 1 connection", "sftp", _sftp, 1),
        Peer("lftp", "lftp", _lftp),
        Peer("rclone", "rclone", _rclone),
    )
}
