"""aioftp: one session a task, each taking the next file."""

from __future__ import annotations

import asyncio
import os
import sys

import aioftp

from benchmarks.clients.tree import walk


def main() -> None:
    host, port, user, password, folder, connections, _ = sys.argv[1:]
    directories, files = walk(folder)
    names = iter(files)

    async def work() -> None:
        async with aioftp.Client.context(host, int(port), user, password) as client:
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    async with client.upload_stream(name) as stream:
                        while block := file.read(1 << 16):
                            await stream.write(block)

    async def run() -> None:
        if directories:
            async with aioftp.Client.context(host, int(port), user, password) as client:
                for directory in directories:
                    await client.make_directory(directory, parents=False)
        await asyncio.gather(*(work() for _ in range(int(connections))))

    asyncio.run(run())
