"""asyncssh: one SSH connection a task, each taking the next file."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import asyncssh

from benchmarks.clients.tree import walk


def main() -> None:
    host, port, user, _, folder, connections, ssh = sys.argv[1:]
    directories, files = walk(folder)
    names = iter(files)

    def connect() -> Any:  # to be awaited, or entered
        return asyncssh.connect(
            host,
            int(port),
            username=user,
            known_hosts=os.path.join(ssh, "known_hosts"),
            client_keys=[os.path.join(ssh, "id_ed25519")],
            config=None,
            agent_path=None,
        )

    async def work() -> None:
        async with connect() as connection, connection.start_sftp_client() as sftp:
            for name in names:
                await sftp.put(os.path.join(folder, name), name)

    async def run() -> None:
        if directories:
            async with connect() as connection, connection.start_sftp_client() as sftp:
                for directory in directories:
                    await sftp.mkdir(directory)
        await asyncio.gather(*(work() for _ in range(int(connections))))

    asyncio.run(run())
