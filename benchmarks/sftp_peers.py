"""Other SFTP clients: what benchmarks.sftp compares with beside paramiko."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh

from tests.support.servers import Server


def by_asyncssh(server: Server, port: int, home: Path, paths: list[Path], connections: int) -> None:
    """One file after another on each connection, as people write it."""

    async def work(names: Iterator[Path]) -> None:
        async with (
            asyncssh.connect(
                server.host,
                port,
                username=server.user,
                known_hosts=str(home / "known_hosts"),
                client_keys=[str(home / "id_ed25519")],
                config=None,
                agent_path=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            for path in names:
                await sftp.put(path, f"asyncssh-{path.name}")

    async def run() -> None:
        names = iter(paths)
        await asyncio.gather(*(work(names) for _ in range(connections)))

    asyncio.run(run())


def ssh_options(home: Path) -> list[str]:
    options = {
        "BatchMode": "yes",
        "UserKnownHostsFile": home / "known_hosts",
        "IdentityFile": home / "id_ed25519",
        "IdentitiesOnly": "yes",
    }
    return ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())]


def by_openssh(server: Server, port: int, home: Path, path: Path) -> None:
    where = f"{server.user}@{server.host}"
    subprocess.run(
        ["sftp", "-q", *ssh_options(home), "-b", "-", "-P", str(port), where],
        input=f"put {path} openssh-large\n".encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def by_lftp(server: Server, port: int, home: Path, folder: Path, parallel: int) -> None:
    """Mirror a folder; lftp has OpenSSH make its connections."""
    program = " ".join(["ssh", "-a", "-x", *ssh_options(home)])
    commands = [
        "set cmd:fail-exit yes",
        f'set sftp:connect-program "{program}"',
        f"mirror -R --parallel={parallel} {folder} lftp-{os.urandom(4).hex()}",
    ]
    url = f"sftp://{server.user}:none@{server.host}:{port}"
    subprocess.run(
        ["lftp", "--norc", "-e", "; ".join([*commands, "exit"]), url],
        stdout=subprocess.DEVNULL,
        check=True,
    )


def by_rclone(server: Server, port: int, home: Path, folder: Path, parallel: int) -> None:
    settings = {
        "host": server.host,
        "port": port,
        "user": server.user,
        "key_file": home / "id_ed25519",
        "known_hosts_file": home / "known_hosts",
        "shell_type": "none",
        "md5sum_command": "none",
        "sha1sum_command": "none",
    }
    remote = ",".join([":sftp", *(f"{name}={value}" for name, value in settings.items())])
    options = ["--config", os.devnull, "-q", f"--transfers={parallel}"]
    target = f"{remote}:rclone-{os.urandom(4).hex()}"
    subprocess.run(["rclone", "copy", *options, str(folder), target], check=True)


def installed(*programs: str) -> list[str]:
    """Those of the programs that are here; of each other one a line says that it is left out."""
    found = [program for program in programs if shutil.which(program)]
    for program in programs:
        if program not in found:
            print(f"{program} is not installed: left out")
    return found
