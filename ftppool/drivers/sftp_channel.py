"""The SFTP protocol on one SSH channel: requests out, replies in, each matched to its request.

paramiko's ``SFTPClient`` waits for each request, drops the errors of pipelined writes, and costs
more for each packet; so transfers talk to the channel directly. Both may use the same channel, one
after the other: what either has left open or unread is counted here.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any, cast

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from ftppool.drivers.sftp_stream import Stream
from ftppool.words import legible

__all__ = ["Packet", "Refused", "SFTPChannel", "open_channel", "string"]

VERSION = 3
FIRST_ID = 1 << 31
"""Where our request numbers begin; paramiko's begin at 1, so that no reply can be mistaken."""
CHUNK = 32600
"""Bytes of one write where the server does not say more: a whole packet fits into one of SSH."""
LARGEST_WRITE = 255 << 10
LARGEST_PACKET = 16 << 20
PATIENCE = 1.0
"""Seconds that a channel is kept open for a thread that is writing to it."""
SLOWEST = 1000
"""Bytes per second below which an answer does not come in any more."""
WINDOW = 16 << 20
"""Bytes that the server may send ahead of us on one channel."""

# Packet types of draft-ietf-secsh-filexfer-02.
INIT, HELLO = 1, 2
OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = range(3, 13)
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME = range(13, 19)
STATUS, HANDLE, DATA, NAME, ATTRS = range(101, 106)
EXTENDED, EXTENDED_REPLY = 200, 201

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = range(5)


CHANNEL_HEAD = struct.Struct(">BII")
CHANNEL_DATA = 94


def string(value: bytes) -> bytes:
    """Pack bytes with their length before them."""
    return struct.pack(">I", len(value)) + value


class Refused(Exception):
    """The server answered a request with an error.

    Attributes:
        code: The SFTP status code.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Packet:
    """The rest of one reply, read from left to right."""

    __slots__ = ("_at", "_body", "kind")

    def __init__(self, kind: int, body: memoryview) -> None:
        self.kind: int = kind
        self._body = body
        self._at = 0

    def number(self, size: int = 4) -> int:
        """Read an unsigned number of 4 or 8 bytes."""
        self._at += size
        return int.from_bytes(self._body[self._at - size : self._at], "big")

    def string(self) -> bytes:
        """Read bytes with their length before them."""
        return bytes(self.view())

    def view(self) -> memoryview:
        """Read bytes with their length before them, without copying them."""
        size = self.number()
        self._at += size
        if self._at > len(self._body):
            raise EOFError("a reply is shorter than it says")
        return self._body[self._at - size : self._at]

    def rest(self) -> bytes:
        """Read all that is left."""
        return bytes(self._body[self._at :])

    def left(self) -> bool:
        """True if there is more to read."""
        return self._at < len(self._body)


class _Message:
    """What paramiko sends: anything that tells its bytes."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def asbytes(self) -> bytes:
        return self._data


@dataclass(eq=False)
class SFTPChannel:
    """One place of a session.

    Attributes:
        handles: Files and directories that are open on the server.
        outstanding: Requests sent minus replies read, by whoever used the channel.
        broken: True once something happened after which it must not be lent again.
        extensions: What the server offers beyond version 3.
        write_size: Bytes that one write may carry.
        read_size: Bytes that one read may ask for.
        digests: True if the server computes digests, None while nobody has asked.
        sending: Held while a request is written. Bytes behind our CLOSE are the end of the whole
            connection ("nonexistent channel", says OpenSSH), and a thread that reads ahead for a
            borrower may still write when he has given the channel back.
    """

    channel: paramiko.Channel
    stream: Stream
    io_timeout: float
    handles: set[bytes] = field(default_factory=set)
    outstanding: int = 0
    broken: bool = False
    extensions: dict[str, bytes] = field(default_factory=dict)
    write_size: int = CHUNK
    read_size: int = 1 << 15
    digests: bool | None = None
    sending: threading.Lock = field(default_factory=threading.Lock)
    _next: int = FIRST_ID
    _arrived: dict[int, Packet] = field(default_factory=dict)
    _chunk: bytes = b""
    _at: int = 0

    # -- the state that decides about the next borrower --------------------------------------------

    @property
    def alive(self) -> bool:
        """True if neither side has closed the channel."""
        return not self.broken and not self.channel.closed and not self.channel.eof_received

    @property
    def clean(self) -> bool:
        """True if the next borrower would not notice that there was one before."""
        return (
            self.alive
            and not self.outstanding
            and not self.handles
            and not self._chunk
            and not self.channel.recv_ready()
        )

    def spoil(self) -> None:
        """Make it unusable and wake whoever waits on it, from any thread and without I/O."""
        self.broken = True
        self.channel.in_buffer.close()

    def cut(self) -> None:
        """Make whoever uses it notice, from any thread and without I/O."""
        self.spoil()
        self._stop_sending()

    def _stop_sending(self) -> None:
        """Let whoever waits for room to send give up."""
        channel = cast("Any", self.channel)
        with channel.lock:
            channel.eof_sent = True
            channel.out_buffer_cv.notify_all()

    def close(self) -> None:
        """End the channel, behind what another thread may be writing."""
        channel = cast("Any", self.channel)
        self._stop_sending()
        waited = self.sending.acquire(timeout=PATIENCE)
        try:
            channel.close()
        finally:
            if waited:
                self.sending.release()

    def disown(self) -> None:
        """In a forked child: no finalizer may wait for a lock that a thread of the parent had."""
        self.broken = True
        self.channel.lock = threading.Lock()
        self.channel.closed = True

    # -- requests and replies ----------------------------------------------------------------------

    def hello(self, limit: float) -> None:
        """Exchange versions, and learn the limits where the server tells them."""
        self.channel.settimeout(limit)
        self._write(struct.pack(">IBI", 5, INIT, VERSION))
        packet = self._read()
        if packet.kind != HELLO:
            raise EOFError("no SFTP server answers")
        packet.number()
        while packet.left():
            name = packet.string().decode("utf-8", "replace")
            self.extensions[name] = packet.string()
        if "limits@openssh.com" in self.extensions:
            with contextlib.suppress(Refused):
                limits = self.call(EXTENDED, string(b"limits@openssh.com"))
                _, read, write = limits.number(8), limits.number(8), limits.number(8)
                self.write_size = max(CHUNK, min(write or CHUNK, LARGEST_WRITE))
                self.read_size = max(1 << 15, min(read or CHUNK, LARGEST_WRITE))
        self.channel.settimeout(self.io_timeout)

    def post(self, kind: int, payload: bytes, data: memoryview | bytes = b"") -> int:
        """Send a request; the number under which its reply will come."""
        if self.broken:
            raise EOFError("the channel is closed")
        number = self._next
        self._next = FIRST_ID + (number + 1 - FIRST_ID) % FIRST_ID
        head = struct.pack(">IBI", 5 + len(payload) + len(data), kind, number)
        self.outstanding += 1
        self._write(b"".join((head, payload, data)))
        return number

    def reply(self, number: int) -> Packet:
        """Wait for the reply to a request.

        Raises:
            Refused: The server said no.
            TimeoutError, EOFError, OSError: No reply came; the channel is broken.
        """
        packet = self._arrived.pop(number, None)
        while packet is None:
            found = self._read()
            answered = found.number()
            self.outstanding -= 1
            if self.outstanding < 0:
                self.broken = True
                raise EOFError("the server answers what nobody has asked")
            if answered == number:
                packet = found
            else:
                self._arrived[answered] = found
        if packet.kind == STATUS:
            code = packet.number()
            if code != OK:
                text = packet.string().decode("utf-8", "replace") if packet.left() else ""
                raise Refused(code, legible(text) or f"status {code}")
        return packet

    def call(self, kind: int, payload: bytes) -> Packet:
        """Send a request and wait for its reply."""
        return self.reply(self.post(kind, payload))

    def ready(self) -> bool:
        """True if something has arrived that nobody has read."""
        return bool(self._arrived) or self.channel.recv_ready()

    def _write(self, data: bytes) -> None:
        """Send as ``Channel.send`` does, which copies each packet two times more."""
        view, channel = memoryview(data), cast("Any", self.channel)
        try:
            while view:
                with self.sending:
                    with channel.lock:
                        size = 0 if channel.closed else channel._wait_for_send_window(len(view))
                    if not size:
                        raise EOFError("the server closed the channel")
                    head = CHANNEL_HEAD.pack(CHANNEL_DATA, channel.remote_chanid, size)
                    channel.transport._send_user_message(_Message(head + view[:size]))
                view = view[size:]
        except BaseException:
            self.broken = True  # half a packet may be on its way
            raise

    def _read(self) -> Packet:
        try:
            self._fill(4)
            size = int.from_bytes(self._chunk[self._at : self._at + 4], "big")
            if not 1 <= size <= LARGEST_PACKET:
                raise EOFError("what came is no SFTP")
            self._fill(4 + size)
        except BaseException:
            self.broken = True  # a late reply would be taken for that of another request
            raise
        chunk, start = self._chunk, self._at + 4
        self._at = end = start + size
        if end == len(chunk):
            self._chunk, self._at = b"", 0
        return Packet(chunk[start], memoryview(chunk)[start + 1 : end])

    def _fill(self, size: int) -> None:
        """Have at least `size` bytes to read, in one piece."""
        there = len(self._chunk) - self._at
        if there >= size:
            return
        pieces = [self._chunk[self._at :]]
        end: float | None = None
        while there < size:
            # All that there is: paramiko would move the rest to its front, megabytes each time.
            data = self.channel.recv(WINDOW)
            if not data:
                raise EOFError("the server closed the channel")
            pieces.append(data)
            there += len(data)
            if end is None:
                end = time.monotonic() + (self.channel.gettimeout() or 0.0) + size / SLOWEST
            elif time.monotonic() > end:
                raise TimeoutError("the server's answer hardly gets on")
        self._chunk, self._at = b"".join(pieces), 0


def open_channel(
    transport: paramiko.Transport, stream: Stream, io_timeout: float, limit: float
) -> SFTPChannel:
    """Open a channel with an SFTP server behind it: two round trips and one for the limits.

    Raises:
        paramiko.ChannelException: The server refuses one more channel.
        paramiko.SSHException, OSError, EOFError: There is no connection or no SFTP.
    """
    channel = transport.open_session(window_size=WINDOW, timeout=limit)
    place = SFTPChannel(channel, stream, io_timeout)
    try:
        request = paramiko.Message()
        request.add_byte(cMSG_CHANNEL_REQUEST)
        request.add_int(channel.remote_chanid)
        request.add_string("subsystem")
        request.add_boolean(True)
        request.add_string("sftp")
        # invoke_subsystem() waits for the answer, without a time-out; a "no" closes the channel.
        transport._send_user_message(request)  # type: ignore[attr-defined]  # not in its stubs
        place.hello(limit)
    except TimeoutError:
        channel.close()
        raise
    except (EOFError, OSError) as error:
        channel.close()
        if transport.is_active():
            raise paramiko.SSHException("EOF during negotiation: no SFTP on this server") from error
        raise
    except BaseException:
        channel.close()
        raise
    return place
