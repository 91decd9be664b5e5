"""The deeds of the hostile server, and the little FTP that it needs to come so far.

A deed is a malformed, late, endless or missing answer in the place of a proper one. Real servers
show each of them in a worse moment: proxies and NAT boxes that drop or reset, servers that are
killed, another protocol behind the port; the rest is what an attacker would send.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

RST = struct.pack("ii", 1, 0)
MOST = 64 << 20
"""Bytes of an "endless" answer."""
LONGEST = 30.0
"""Seconds of an "endless" silence."""
DRIP = 0.04

PROPER = {
    "USER": "331 password?", "PASS": "230 welcome", "TYPE": "200 ok", "NOOP": "200 ok",
    "PWD": '257 "/" is where you are', "CWD": "250 ok", "DELE": "250 gone", "RMD": "250 gone",
    "MKD": '257 "/made" made', "RNFR": "350 to what?", "RNTO": "250 renamed", "QUIT": "221 bye",
    "SIZE": "213 {size}", "FEAT": "211-Features:\r\n SIZE\r\n MLSD\r\n211 End", "SYST": "215 UNIX",
    "REST": "350 ok", "CDUP": "250 ok",
}  # fmt: skip
DATA = {"STOR", "RETR", "LIST", "MLSD", "NLST"}
LISTING = {
    "MLSD": b"type=dir;modify=20260101000000; a\r\ntype=file;size=3;modify=20260101000000; b\r\n",
    "LIST": b"-rw-r--r-- 1 u g 3 Jan 01 00:00 b\r\ndrwxr-xr-x 2 u g 4096 Jan 01 00:00 a\r\n",
    "NLST": b"a\r\nb\r\n",
    "RETR": b"0123456789" * 2000,
}
CODES = (
    "000", "099", "600", "999", "abc", "2x0", "\u00b2\u00b2\u2070", "\u0662\u0662\u0660", "20", "2",
    "", "-1", " 220", "421", "530", "550", "450", "500", "502", "553", "452", "120", "331", "227",
    "150", "226", "257", "221", "250",
)  # fmt: skip
ANSWERS = {
    "EPSV": (
        "229 no", "229 ()", "229 (", "229 (|||)", "229 (||||)", "229 (|||0|)", "229 (|||99999|)",
        "229 (|||x|)", "229 (|||-5|)", "229 (|||" + "9" * 5000 + "|)", "229 (|1|10.0.0.1|21|)",
        "229 |||21|", "229 (|||\u0661\u0662|)", "229 )(", "229 (\x00\x00\x0021\x00)",
    ),
    "PASV": (
        "227 no", "227 (1,2,3)", "227 (127,0,0,1,0,0)", "227 (256,0,0,1,4,5)",
        "227 (127,0,0,1,999,999)", "227 (10,9,8,7,0,21)", "227 127,0,0,1,0,1", "227 (::1,4,5)",
        "227 (" + ",".join(["9" * 1000] * 6) + ")", "227 (-1,-1,-1,-1,-1,-1)", "227 (1,1,1,1,1,1",
    ),
    "SIZE": (
        "213", "213 ", "213 -1", "213 1e9", "213 " + "9" * 5000, "213 \u00b2", "213 0x10",
        "213 nan", "213 18446744073709551616", "213-1\r\n213 1",
    ),
    "PWD": (
        "257", "257 ", '257 "', '257 ""', '257 "\r"', '257 "a\x00b"', '257 "a""b" x', "257 /bare",
        '257 "' + "x" * 8000 + '"', '257-"/"\r\n257 "/"', '257 "\x1b[31m"',
    ),
    "STOR": ("150 (" + "9" * 5000 + " bytes)", "125 go", "200 ok", "226 done"),
    "RETR": ("150 b (" + "9" * 5000 + " bytes)", "150 b (-3 bytes)", "125 go", "226 done"),
}  # fmt: skip
ANSWERS["MKD"] = ANSWERS["PWD"]
LINES = (
    b"type=file;size=\xc2\xb2;modify=99999999999999; x", b"type=file;size=" + b"9" * 5000 + b"; x",
    b"-rw-r--r-- 1 u g " + b"9" * 5000 + b" Jan 01 00:00 x", b"type=;=;;; ", b";", b" ", b"total",
    b"type=file;modify=20260230256199; x", b"type=dir; ../../etc", b"type=file; \x1b[2J\xff\x00",
    b"01-01-26  10:00AM  99999999999999999999999 x", b"-rw-r--r-- x", b"\xff\xfe\x00\x00",
)  # fmt: skip


class Gone(Exception):
    """This connection is over."""


class Case:
    """What one listener does to all who connect."""

    def __init__(self, phase: str, deed: str, action: str, generator: random.Random) -> None:
        self.phase = phase
        self.deed = deed
        self.action = action
        self.random = generator
        self.times = generator.choice((1, 1, 2, 1000))
        self.data_port: int | None = None

    def due(self, phase: str) -> bool:
        """True if the deed is to be done now."""
        if phase != self.phase or self.times <= 0:
            return False
        self.times -= 1
        return True


class Talk:
    """One control connection."""

    def __init__(
        self, case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.case = case
        self.reader = reader
        self.writer = writer
        self.line = ""
        self.size = 0
        self.passive: asyncio.Server | None = None
        self.sockets: list[socket.socket] = []
        self.data: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        self.data = asyncio.Queue()

    async def run(self) -> None:
        """Talk until the client or the case ends it."""
        await self.say("greeting", "220 hostile")
        while raw := await self.reader.readline():
            self.line = raw.decode("utf-8", "replace").strip()
            verb, _, _ = self.line.partition(" ")
            await self.command(verb.upper())
            if verb.upper() == "QUIT":
                return

    async def command(self, verb: str) -> None:
        """Answer one command."""
        if verb in DATA and not (verb == "MLSD" and self.case.phase == "LIST"):
            await self.transfer(verb)
        elif verb in ("EPSV", "PASV") and not (verb == "EPSV" and self.case.phase == "PASV"):
            port = await self.listen()
            if verb == "EPSV":
                await self.say(verb, f"229 ok (|||{port}|)")
            else:
                host = self.writer.get_extra_info("sockname")[0].replace(".", ",")
                await self.say(verb, f"227 ok ({host},{port >> 8},{port & 255})")
        else:
            await self.say(verb, PROPER.get(verb, "502 no").format(size=self.size))

    async def say(self, phase: str, proper: str) -> None:
        """Answer properly, or do the deed."""
        data = proper.encode() + b"\r\n"
        if self.case.due(phase):
            await getattr(self, self.case.deed)(data)
        else:
            await self.send(data)

    async def send(self, data: bytes) -> None:
        """Send in one piece."""
        self.writer.write(data)
        await self.writer.drain()

    # -- deeds on the control connection: `proper` is what was to be said --------------------------

    async def silent(self, proper: bytes) -> None:
        """Say nothing."""
        await asyncio.sleep(LONGEST)
        raise Gone

    async def drip(self, proper: bytes) -> None:
        """A line without end, slowly."""
        await self.send(proper[:4])
        await self.flood(b"a", DRIP)

    async def drip_lines(self, proper: bytes) -> None:
        """A reply without end, slowly."""
        await self.flood(proper[:3] + b"-and\r\n", DRIP)

    async def drip_proper(self, proper: bytes) -> None:
        """What was to be said, slowly."""
        await self.bytewise(proper, DRIP)

    async def bytewise(self, proper: bytes, pause: float = 0.0) -> None:
        """What was to be said, in packets of one byte."""
        for byte in proper:
            await self.send(bytes([byte]))
            await asyncio.sleep(pause)

    async def fin(self, proper: bytes) -> None:
        """Close."""
        raise Gone

    async def fin_middle(self, proper: bytes) -> None:
        """Close in the middle of a reply."""
        await self.send(proper[: self.case.random.randrange(len(proper))])
        raise Gone

    async def rst(self, proper: bytes) -> None:
        """Reset."""
        _reset(self.writer)
        raise Gone

    async def code(self, proper: bytes) -> None:
        """Another code."""
        await self.send(self.case.random.choice(CODES).encode() + proper[3:])

    async def garbage(self, proper: bytes) -> None:
        """Bytes."""
        end = self.case.random.choice((b"", b"\n", b"\r\n"))
        await self.send(self.case.random.randbytes(self.case.random.randrange(300)) + end)

    async def other_protocol(self, proper: bytes) -> None:
        """Another protocol."""
        words = (b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\n")
        await self.send(self.case.random.choice(words))

    async def endless_line(self, proper: bytes) -> None:
        """A line without end."""
        await self.send(proper[:4])
        await self.flood(b"A" * 65536)

    async def endless_lines(self, proper: bytes) -> None:
        """A reply without end."""
        line = proper[:3] + self.case.random.choice((b"-\r\n", b"-aaaaaaaaaaaaa\r\n", b"-\n"))
        await self.flood(line * 2000)

    async def endless_replies(self, proper: bytes) -> None:
        """Replies without end."""
        await self.flood(proper * 500)

    async def multi(self, proper: bytes) -> None:
        """Several lines, badly."""
        forms = (
            b"%s-a\r\n331-b\r\n230 c\r\n%s end\r\n", b"%s-a\r\n%s-b\r\n", b"%s-\r\n\r\n%s x\r\n",
            b"%s-a\r\n%s\r\n", b"%s-a\n%s -b\n", b"%s-a\r\n %s b\r\n221 x\r\n", b"-\r\n%s%s\r\n",
        )  # fmt: skip
        form = self.case.random.choice(forms)
        await self.send(form.replace(b"%s", proper[:3]))

    async def extra(self, proper: bytes) -> None:
        """One reply too many."""
        await self.send(proper + self.case.random.choice((proper, b"226 done\r\n", b"421 bye\r\n")))

    async def late_extra(self, proper: bytes) -> None:
        """One reply too many, a moment later."""
        await self.send(proper)
        await asyncio.sleep(0.02)
        await self.send(b"226 done\r\n")

    async def control_characters(self, proper: bytes) -> None:
        """What a terminal would obey, in a refusal."""
        code = self.case.random.choice((b"550", b"421", b"530", b"999", proper[:3]))
        await self.send(code + b" \x1b]0;owned\x07\x1b[2J\x00\r\x9b31m\xff\xe2\x80\xae\x08\r\n")

    async def no_newline(self, proper: bytes) -> None:
        """A line that does not end."""
        await self.send(proper.rstrip())
        await self.silent(proper)

    async def no_newline_fin(self, proper: bytes) -> None:
        """A line that ends with the connection."""
        await self.send(proper.rstrip())
        raise Gone

    async def bare_cr(self, proper: bytes) -> None:
        """CR for CRLF."""
        await self.send(proper.replace(b"\r\n", self.case.random.choice((b"\r", b"\n", b"\r\r\n"))))

    async def numbers(self, proper: bytes) -> None:
        """Numbers that cannot be."""
        number = self.case.random.choice((b"9" * 5000, b"-7", b"", b"1.5", b"\xc2\xb2"))
        await self.send(proper[:4] + b"%s (%s bytes)\r\n" % (number, number))

    async def long(self, proper: bytes) -> None:
        """Near the longest line."""
        await self.send(
            proper.rstrip() + b"x" * self.case.random.choice((7000, 8190, 9000)) + b"\r\n"
        )

    async def echo(self, proper: bytes) -> None:
        """Repeat the command, as servers do that do not know it."""
        code = self.case.random.choice((b"500", b"530", b"421", b"599"))
        await self.send(code + b" '" + self.line.encode() + b"': what?\r\n")

    async def answer(self, proper: bytes) -> None:
        """An answer without sense to this command."""
        answers = ANSWERS.get(self.case.phase, CODES)
        await self.send(self.case.random.choice(answers).encode() + b"\r\n")

    async def flood(self, data: bytes, pause: float = 0.0) -> None:
        """Send it over and over."""
        for _ in range(MOST // len(data)):
            await self.send(data)
            await asyncio.sleep(pause)
        raise Gone

    # -- data connections --------------------------------------------------------------------------

    async def listen(self) -> int:
        """Open a passive port."""
        await self.stop_listening()
        host = self.writer.get_extra_info("sockname")[0]
        if self.case.deed == "data_refused" and self.case.times > 0:
            with socket.socket() as sock:
                sock.bind((host, 0))
                return int(sock.getsockname()[1])

        if self.case.deed == "data_unreachable":
            return self.deaf(host)

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.data.put_nowait((reader, writer))

        self.passive = await asyncio.start_server(accepted, host, 0, limit=65536)
        return int(self.passive.sockets[0].getsockname()[1])

    def deaf(self, host: str) -> int:
        """Open a port whose queue is full: nothing answers, as behind a firewall."""
        listener = socket.socket()
        listener.bind((host, 0))
        listener.listen(0)
        self.sockets = [listener, *(socket.socket() for _ in range(3))]
        for sock in self.sockets[1:]:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        return int(listener.getsockname()[1])

    async def stop_listening(self) -> None:
        """Close the passive port and what came to it."""
        if self.passive is not None:
            self.passive.close()
            self.passive = None
        while self.sockets:
            self.sockets.pop().close()
        while not self.data.empty():
            self.data.get_nowait()[1].close()

    async def transfer(self, verb: str) -> None:
        """A whole transfer, properly or not."""
        if self.case.deed.startswith("data_") and self.case.due(verb):
            deed: Callable[[str], Awaitable[None]] = getattr(self, self.case.deed)
            await deed(verb)
            return
        await self.say(verb, "150 go")
        reader, writer = await asyncio.wait_for(self.data.get(), 5)
        try:
            if verb == "STOR":
                self.size = 0
                while chunk := await reader.read(65536):
                    self.size += len(chunk)
            else:
                writer.write(LISTING[verb])
                await writer.drain()
        finally:
            writer.close()
        await self.say("final", "226 done")

    @contextlib.asynccontextmanager
    async def begun(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Say 150 and have the data connection."""
        await self.send(b"150 go\r\n")
        reader, writer = await asyncio.wait_for(self.data.get(), 5)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def data_silent(self, verb: str) -> None:
        """Neither read nor write."""
        async with self.begun() as (_, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # not in its stubs
            await asyncio.sleep(LONGEST)

    async def data_refused(self, verb: str) -> None:
        """It never gets so far."""
        await self.send(b"425 no data connection\r\n")

    async def data_rst(self, verb: str) -> None:
        """Reset at once."""
        async with self.begun() as (_, writer):
            _reset(writer)
        await self.send(self.case.random.choice((b"426 cut\r\n", b"226 done\r\n", b"552 full\r\n")))

    async def data_half_rst(self, verb: str) -> None:
        """Half of it, then a reset, and nothing more."""
        async with self.begun() as (_, writer):
            writer.write(LISTING.get(verb, b"x" * 100)[:40])
            await asyncio.sleep(0.01)
            _reset(writer)
        raise Gone

    async def data_fin(self, verb: str) -> None:
        """End at once, as if that were all."""
        async with self.begun():
            pass
        await self.send(b"226 done\r\n")

    async def data_garbage(self, verb: str) -> None:
        """Bytes for a listing."""
        async with self.begun() as (_, writer):
            writer.write(self.case.random.randbytes(5000))
        await self.send(b"226 done\r\n")

    async def data_lines(self, verb: str) -> None:
        """Lines for a listing, each of them wrong."""
        async with self.begun() as (_, writer):
            writer.write(b"\r\n".join(self.case.random.choices(LINES, k=10)))
        await self.send(b"226 done\r\n")

    async def data_line_endless(self, verb: str) -> None:
        """A listing of one line."""
        async with self.begun() as (_, writer):
            for _ in range(MOST // 65536):
                writer.write(b"a" * 65536)
                await writer.drain()
        await self.send(b"226 done\r\n")

    async def data_drip(self, verb: str) -> None:
        """A listing without end, slowly."""
        async with self.begun() as (_, writer):
            for _ in range(int(1.5 / DRIP)):
                writer.write(b"a\n")
                await writer.drain()
                await asyncio.sleep(DRIP)
        await self.send(b"226 done\r\n")

    async def data_no_final(self, verb: str) -> None:
        """All data, and then nothing."""
        async with self.begun() as (reader, writer):
            if verb == "STOR":
                await reader.read()
            else:
                writer.write(LISTING[verb])
        await asyncio.sleep(LONGEST)

    async def data_final_first(self, verb: str) -> None:
        """The final reply before any data."""
        await self.send(b"150 go\r\n226 done\r\n")
        await asyncio.sleep(0.01)


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    writer.transport.abort()
