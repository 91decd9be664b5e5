"""Child process: relay control connections, count them, and hurt them when told to.

Usage: ``relay.py HOST PORT SETTINGS``, where to connect to, and a JSON object as in the command
``set``. Says ``{"port": …}`` when it listens. Answers each line on stdin, a JSON object ``{"do":
command, …}``, with one line (see ../relay.py for their meaning). Ends when stdin is closed.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

LIMIT_WORDS = re.compile(rb"maximum|more than|too many", re.IGNORECASE)
PORT = re.compile(rb"(?<=\(\|\|\|)\d+(?=\|\))")
REPLY = re.compile(rb"(\d{3})([ -])(.*)", re.DOTALL)
RST_ON_CLOSE = struct.pack("ii", 1, 0)
CHUNK = 65536
QUEUE = 1000
LONGEST_TALK = 100_000


@dataclass
class Settings:
    """The chaos in force; units and meaning as in ../relay.py."""

    delay: float = 0.0
    fin_delay: float = 0.0
    reset_at: int | None = None
    lose_record: int | None = None
    drop: str | None = None
    drop_times: int = 1
    refuse: int = 0
    words: str = ""
    black_hole: bool = False
    data: bool = False
    data_reset_at: int | None = None
    data_resets: tuple[float, float] | None = None

    def change(self, changes: dict[str, Any]) -> None:
        """Set the given fields."""
        for name, value in changes.items():
            if name not in self.__dataclass_fields__:
                raise ValueError(f"no setting {name}")
            setattr(self, name, value)
        if "drop" in changes and "drop_times" not in changes:
            self.drop_times = 1


@dataclass
class Record:
    """What one connection did."""

    begin: float = field(default_factory=time.monotonic)
    end: float | None = None
    reached: bool = False
    greeting: str | None = None
    refused: bool = False
    logged_in: bool = False
    login_failures: int = 0
    quit: bool = False
    completed: int = 0
    talk: list[tuple[str, str]] = field(default_factory=list)


class Talk:
    """Reads along with both directions of a plain control connection."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._rest = {"command": b"", "reply": b""}
        self._verbs: deque[bytes] = deque()  # commands without their final reply
        self.plain = True

    def commands(self, data: bytes) -> None:
        """Read what the client sent."""
        self._note("C", data)
        for line in self._lines("command", data):
            self._verbs.append(line.split(b" ")[0].upper())
            self._record.quit = self._record.quit or self._verbs[-1] == b"QUIT"

    def replies(self, data: bytes) -> None:
        """Read what the server sent."""
        self._note("S", data)
        for line in self._lines("reply", data):
            match = REPLY.match(line)
            if self._record.greeting is None:
                self._record.greeting = line.decode("utf-8", "replace")
                secure_shell = line.startswith(b"SSH-")
                self._record.refused = line[:1] != b"2" and not secure_shell
                self.plain = not secure_shell
            elif match is not None and match[2] == b" " and match[1][:1] != b"1":
                self._final_reply(match[1], match[3])

    def _final_reply(self, code: bytes, text: bytes) -> None:
        record = self._record
        # One verdict for each command: Pure-FTPd says "530 Logout." when it sees a FIN.
        verb = self._verbs.popleft() if self._verbs else b""
        if code == b"234":
            self.plain = False  # TLS from here on
        elif code == b"226":
            record.completed += 1
        elif verb in (b"USER", b"PASS"):
            if code == b"230":
                record.logged_in = True
            elif code == b"421" or (code == b"530" and LIMIT_WORDS.search(text)):
                record.refused = True
            elif code == b"530":
                record.login_failures += 1

    def _note(self, side: str, data: bytes) -> None:
        if data and self.plain and len(self._record.talk) < LONGEST_TALK:
            self._record.talk.append((side, data.decode("utf-8", "replace")))

    def _lines(self, kind: str, data: bytes) -> list[bytes]:
        if not self.plain:
            return []
        *lines, self._rest[kind] = (self._rest[kind] + data)[-CHUNK:].split(b"\n")
        return [line.rstrip(b"\r") for line in lines]


class Dropper:
    """Swallows replies that start with a prefix."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rest = b""
        self._inside = b""

    def filter(self, data: bytes) -> bytes:
        """Return what is to be forwarded of `data`; a line begun may be kept back."""
        settings = self._settings
        if not (settings.drop or self._rest or self._inside):
            return data
        *lines, self._rest = (self._rest + data).split(b"\n")
        kept = b"".join(line + b"\n" for line in lines if not self._drops(line))
        if not (settings.drop or self._inside):
            kept, self._rest = kept + self._rest, b""
        return kept

    def _drops(self, line: bytes) -> bool:
        settings = self._settings
        if self._inside:  # a reply of many lines
            if line.startswith(self._inside + b" "):
                self._inside = b""
                self._count()
            return True
        if not settings.drop or not line.startswith(settings.drop.encode()):
            return False
        if line[3:4] == b"-":
            self._inside = line[:3]
        else:
            self._count()
        return True

    def _count(self) -> None:
        self._settings.drop_times -= 1
        if self._settings.drop_times == 0:
            self._settings.drop = None


class DataLink:
    """One relayed data connection."""

    def __init__(self, relay: Relay, host: str, port: int) -> None:
        self._relay = relay
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._writers: list[asyncio.StreamWriter] = []
        self._bytes = 0

    async def run(self) -> None:
        """Take one connection and relay it until both sides have ended or it was reset."""
        listener = await asyncio.start_server(self._serve, sock=self._listener)
        await asyncio.sleep(30)
        listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relay.data_links.append(self)
        self._writers.append(writer)
        try:
            server_reader, server = await asyncio.open_connection(*self._target)
            self._writers.append(server)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, server))
                tasks.create_task(self._pump(server_reader, writer))
        except* OSError:
            self.reset()
        finally:
            self._relay.data_links.remove(self)
            for each in self._writers:
                each.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        settings = self._relay.settings
        while data := await source.read(CHUNK):
            self._bytes += len(data)
            if self._relay.overdue:
                self._relay.overdue = False
                raise ConnectionResetError
            if settings.data_reset_at is not None and self._bytes >= settings.data_reset_at:
                sink.write(data[: len(data) - (self._bytes - settings.data_reset_at)])
                settings.data_reset_at = None
                raise ConnectionResetError
            sink.write(data)
            await sink.drain()
        half_close(sink)

    def reset(self) -> None:
        """Send an RST to both sides."""
        for writer in self._writers:
            abort(writer)


class Link:
    """One relayed connection."""

    def __init__(
        self, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.record = Record()
        self.client = writer
        self.server: asyncio.StreamWriter | None = None
        self._relay = relay
        self._reader = reader
        self._talk = Talk(self.record)
        self._dropper = Dropper(relay.settings)
        self._received = 0
        self._records = b""
        self._record_count = 0

    async def run(self, host: str, port: int) -> None:
        """Relay until both sides have ended or one was reset."""
        try:
            await asyncio.sleep(self._relay.settings.delay)
            server_reader, self.server = await asyncio.open_connection(host, port)
            self.record.reached = True
            async with asyncio.TaskGroup() as tasks:
                for source, sink, inspect in (
                    (self._reader, self.server, self._from_client),
                    (server_reader, self.client, self._from_server),
                ):
                    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE)
                    tasks.create_task(self._take(source, queue, inspect))
                    tasks.create_task(self._give(queue, sink))
        except* OSError:
            self.reset()  # one side was reset: so is the other
        finally:
            self.finish()

    async def _take(self, source: asyncio.StreamReader, queue: Any, inspect: Any) -> None:
        loop = asyncio.get_running_loop()
        while data := await source.read(CHUNK):
            data = inspect(data)
            if data:
                await queue.put((loop.time() + self._relay.settings.delay, data))
        inspect(b"")
        settings = self._relay.settings
        await queue.put((loop.time() + settings.delay + settings.fin_delay, b""))

    async def _give(self, queue: Any, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._relay.flowing.wait()
            if not data:
                half_close(sink)
                return
            sink.write(data)
            await sink.drain()

    def _from_client(self, data: bytes) -> bytes:
        limit = self._relay.settings.reset_at
        if limit is not None and data and self._received + len(data) >= limit:
            data = data[: limit - self._received]
            self._relay.settings.reset_at = None
            self._talk.commands(data)
            if self.server is not None:
                self.server.write(data)
            raise ConnectionResetError
        self._received += len(data)
        self._talk.commands(data)
        return data

    def _from_server(self, data: bytes) -> bytes:
        if not data:
            self.record.end = time.monotonic()
            if self.record.greeting is None and not self._reader.at_eof():
                self.record.refused = True
        if self._relay.settings.lose_record is not None and not self._talk.plain:
            self._count_records(data)
        self._talk.replies(data)
        if self._relay.settings.data:
            data = PORT.sub(self._relay.divert, data)
        return self._dropper.filter(data)

    def _count_records(self, data: bytes) -> None:
        """Lose what has just come if it has the TLS record that is to be lost."""
        self._records += data
        while len(self._records) >= (size := 5 + int.from_bytes(self._records[3:5])) > 5:
            self._records = self._records[size:]
            self._record_count += 1
            if self._record_count == self._relay.settings.lose_record:
                self._relay.settings.lose_record = None
                raise ConnectionResetError

    def reset(self) -> None:
        """Send an RST to both sides."""
        for writer in (self.client, self.server):
            if writer is not None:
                abort(writer)

    def finish(self) -> None:
        """Close both sides."""
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()
        self.record.end = self.record.end or time.monotonic()


class Relay:
    """The listener, its connections and the chaos."""

    def __init__(self, host: str, port: int, settings: Settings) -> None:
        self.settings = settings
        self.flowing = asyncio.Event()
        self.links: list[Link] = []
        self.records: list[Record] = []
        self.data_links: list[DataLink] = []
        self.overdue = False  # there was none to reset yet: the next one that carries something
        self._tasks: set[asyncio.Task[None]] = set()
        self._target = host, port
        self.apply()

    def divert(self, port: re.Match[bytes]) -> bytes:
        """Have the next data connection come to us."""
        link = DataLink(self, self._target[0], int(port[0]))
        self._keep(link.run())
        return str(link.port).encode()

    def _keep(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def hurt(self) -> None:
        """Reset all data connections at random times; the first time there must be one."""
        struck = False
        while (pauses := self.settings.data_resets) is not None:
            await asyncio.sleep(random.uniform(*pauses))
            if self.settings.data_resets is not pauses:
                break  # changed meanwhile: there is another task for it
            for link in list(self.data_links):
                link.reset()
            # Not each time: a file that is tried again after a pause would never arrive.
            self.overdue, struck = not (struck or self.data_links), True
        self.overdue = False

    def apply(self) -> None:
        """Open or close the flow as the settings say."""
        if self.settings.black_hole:
            self.flowing.clear()
        else:
            self.flowing.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection."""
        link = Link(self, reader, writer)
        self.records.append(link.record)
        if self.settings.refuse:
            self.settings.refuse -= 1
            link.record.refused = True
            link.record.greeting = self.settings.words.split("\r\n")[0]
            writer.write(self.settings.words.encode("utf-8"))
            link.finish()
            return
        self.links.append(link)
        try:
            await link.run(*self._target)
        finally:
            self.links.remove(link)

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command of the test."""
        match command.pop("do"):
            case "set":
                self.settings.change(command)
                self.apply()
                if "data_resets" in command:
                    self._keep(self.hurt())
            case "reset":
                for link in self.links:
                    link.reset()
            case "half_close":
                for link in self.links:
                    sink = link.client if command["side"] == "client" else link.server
                    if sink is not None:
                        half_close(sink)
            case "look":
                return {"records": [asdict(record) for record in self.records]}
            case other:
                return {"error": f"unknown command {other}"}
        return {"settings": asdict(self.settings)}


def half_close(sink: asyncio.StreamWriter) -> None:
    """Send a FIN."""
    try:
        if not sink.is_closing():
            sink.write_eof()
    except OSError:
        pass  # the other side has reset it


def abort(writer: asyncio.StreamWriter) -> None:
    """Close with an RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    writer.transport.abort()


def say(answer: dict[str, Any]) -> None:
    """Write one answer."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main(host: str, port: str, settings: str) -> None:
    """Relay until stdin is closed."""
    chosen = Settings()
    chosen.change(json.loads(settings))
    relay = Relay(host, int(port), chosen)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    listener = await asyncio.start_server(relay.accept, "127.0.0.1", 0, backlog=512)
    say({"port": listener.sockets[0].getsockname()[1]})
    while line := await commands.readline():
        try:
            say(relay.obey(json.loads(line)))
        except (KeyError, ValueError) as error:
            say({"error": str(error)})
    listener.close()
    for link in list(relay.links):
        link.finish()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
