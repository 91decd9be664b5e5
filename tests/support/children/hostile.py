"""Child process: an FTP server that misbehaves, each case at one point and in one way.

Usage: ``hostile.py SEED``. Says ``{"pid": …}`` when it is ready and answers each line on stdin, a
JSON object, with one line. Ends when stdin is closed.

* ``{"do": "cases", "first": n, "count": m}``: listen for these cases, each on a port of its own
  (and close those of before). Answers with port, phase, deed and action of each. What a case does
  follows from seed and number alone.
* ``{"do": "peer", "phase": …, "deed": …}``: listen for one peer that misbehaves as told.
* ``{"do": "held"}``: how many control connections the other side has not closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import sys
from pathlib import Path
from typing import Any

# A child runs isolated (-I): it has to say where its own code is.
sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.support.children.hostile_talk import DATA, Case, Gone, Talk

CONTROL_DEEDS = (
    "silent", "drip", "drip_lines", "drip_proper", "fin", "fin_middle", "rst", "code", "code",
    "garbage", "other_protocol", "endless_line", "endless_lines", "endless_replies", "multi",
    "extra", "extra", "control_characters", "no_newline", "no_newline_fin", "bare_cr", "numbers",
    "long", "echo", "answer", "answer", "bytewise", "late_extra",
)  # fmt: skip
DATA_DEEDS = (
    "data_silent", "data_refused", "data_rst", "data_fin", "data_garbage", "data_lines",
    "data_line_endless", "data_drip", "data_no_final", "data_final_first", "data_half_rst",
)  # fmt: skip
PHASES = (
    "greeting", "USER", "PASS", "TYPE", "PWD", "CWD", "EPSV", "PASV", "STOR", "RETR", "LIST",
    "MLSD", "NLST", "SIZE", "RNFR", "RNTO", "MKD", "DELE", "RMD", "NOOP", "QUIT", "FEAT", "final",
)  # fmt: skip
ACTIONS = {
    "greeting": ("upload", "acquire", "list", "raw_pwd"),
    "USER": ("upload", "acquire", "batch"),
    "PASS": ("upload", "acquire", "batch"),
    "TYPE": ("upload", "list", "raw_size"),
    "PWD": ("getcwd", "exists", "raw_pwd", "raw_cwd"),
    "CWD": ("exists", "chdir", "raw_cwd"),
    "EPSV": ("upload", "list", "raw_nlst"),
    "PASV": ("upload", "list", "raw_nlst"),
    "STOR": ("upload", "put", "batch", "raw_stor"),
    "RETR": ("raw_retr",),
    "LIST": ("list", "raw_dir"),
    "MLSD": ("list", "raw_mlsd"),
    "NLST": ("raw_nlst",),
    "SIZE": ("upload", "size", "exists", "raw_size"),
    "RNFR": ("upload", "rename"),
    "RNTO": ("upload", "batch", "rename", "replace"),
    "MKD": ("makedirs", "mkdir", "raw_mkd"),
    "DELE": ("remove", "upload"),
    "RMD": ("rmdir",),
    "NOOP": ("twice",),
    "QUIT": ("upload", "acquire", "raw_quit", "list"),
    "FEAT": ("raw_feat",),
    "final": ("upload", "list", "raw_nlst", "raw_stor"),
}


def draw(seed: str, number: int) -> Case:
    """Draw a case; the same for the same seed and number."""
    generator = random.Random(f"{seed}/{number}")
    phase = generator.choice(PHASES)
    deed = generator.choice(CONTROL_DEEDS)
    if phase in DATA and generator.random() < 0.6:
        deed = generator.choice(DATA_DEEDS)
    return Case(phase, deed, generator.choice(ACTIONS[phase]), generator)


class Host:
    """All listeners, and what is connected to them."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.held = 0
        self.servers: list[asyncio.Server] = []

    async def open(self, case: Case, ip: str) -> dict[str, Any]:
        """Listen for one case."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            session = Talk(case, reader, writer)
            # A client that goes away ends whatever is being done to it.
            work = asyncio.ensure_future(session.run())
            self.held += 1
            try:
                while not work.done():
                    await asyncio.wait([work], timeout=0.05)
                    if _left(writer):
                        work.cancel()
                with contextlib.suppress(
                    Gone, OSError, TimeoutError, asyncio.CancelledError, asyncio.LimitOverrunError
                ):
                    await work
            finally:
                await session.stop_listening()
                writer.close()
                self.held -= 1

        server = await asyncio.start_server(talk, ip, 0, limit=65536)
        self.servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return {
            "ip": ip, "port": port, "phase": case.phase, "deed": case.deed, "action": case.action,
        }  # fmt: skip

    async def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do one command."""
        if command["do"] == "held":
            return {"held": self.held}
        if command["do"] == "peer":
            case = Case(command["phase"], command["deed"], "", random.Random(1))
            case.times = command.get("times", 1000)
            return await self.open(case, "127.0.0.1")
        for server in self.servers:
            server.close()
        self.servers = []
        first, count = command["first"], command["count"]
        # No address twice: the pool remembers what it learned of one.
        ips = [
            f"127.{1 + n // 16384}.{n // 128 % 128}.{1 + n % 128}"
            for n in range(first, first + count)
        ]
        cases = [draw(self.seed, number) for number in range(first, first + count)]
        opened = [await self.open(case, ip) for case, ip in zip(cases, ips, strict=True)]
        return {"cases": opened}


def _left(writer: asyncio.StreamWriter) -> bool:
    """True if the client has closed or reset the connection; asyncio tells only those who read."""
    sock = writer.get_extra_info("socket")
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:
        return True
    return bool(info[0] != 1)  # not ESTABLISHED


async def main(seed: str) -> None:
    """Obey until stdin is closed."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    stdin = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    host = Host(seed)
    print(json.dumps({"ready": True}), flush=True)
    while line := await stdin.readline():
        print(json.dumps(await host.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
