"""What stands between paramiko and the socket: time-outs that hold, silence, the server's words."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from typing import Any, cast

import paramiko
from paramiko.common import cMSG_DISCONNECT
from paramiko.packet import Packetizer

from ftppool.drivers.base import drop, shut_down
from ftppool.typed import override

__all__ = ["FAILURES", "Stream", "Transport"]

BY_APPLICATION = 11
READ_AHEAD = 128 * 1024
FAILURES = (OSError, EOFError, paramiko.SSHException)
"""What paramiko raises when a connection, or what was asked over it, fails."""
LONGEST_WORDS = 1000
"""Bytes of what a server says in place of its banner."""


class Stream:
    """The connection as paramiko sees it: ``send``, ``recv``, ``settimeout`` and ``close``.

    paramiko asks for each header and body alone; this reads what there is. paramiko tries to send
    for ever to a peer whose window stays shut; this gives up after `limit` seconds.

    Attributes:
        limit: Seconds without any progress after which sending fails.
        arrived: When the last bytes came, in seconds of ``time.monotonic()``.
        broken: True once we broke the connection: what ends then did not end by itself.
    """

    def __init__(self, sock: Any, limit: float) -> None:
        self._sock = sock
        self._rest = b""
        self._at = 0
        self._stuck: float | None = None
        self._closed = False  # paramiko looks at it, as at that of a socket
        self.limit: float = limit
        self.broken: bool = False
        self.arrived: float = time.monotonic()

    def banner(self, timeout: float) -> str | None:
        """Read up to the server's SSH banner, and leave it for paramiko.

        Args:
            timeout: Seconds for all of it; further lines must follow within two each.

        Returns:
            None if the banner is there, else what the server said instead before it hung up or
            fell silent.

        Raises:
            TimeoutError: It said nothing at all, or empty lines only.
        """
        ends = deadline = time.monotonic() + timeout
        lines = 0
        while True:
            whole = self._rest.split(b"\n")[:-1]
            if any(line.startswith(b"SSH-") for line in whole):
                return None
            if len(whole) > lines:
                lines, deadline = len(whole), min(ends, time.monotonic() + 2.0)
            try:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("timed out")
                self._sock.settimeout(left)
                more = self._sock.recv(4096)
            except TimeoutError:
                if not self._rest.strip():
                    raise
                more = b""
            if not more or len(self._rest) > READ_AHEAD:
                return self._rest[:LONGEST_WORDS].decode("utf-8", "replace").strip()
            self._rest += more

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        if self._at >= len(self._rest):
            self._rest, self._at = self._sock.recv(READ_AHEAD), 0
            self.arrived = time.monotonic()
        data = self._rest[self._at : self._at + size]
        self._at += len(data)
        return data

    def send(self, data: bytes) -> int:
        """Send what fits; paramiko sends the rest."""
        try:
            sent: int = self._sock.send(data)
        except TimeoutError:
            now = time.monotonic()
            self._stuck = self._stuck or now
            if now - self._stuck < self.limit:
                raise  # paramiko tries again
            self.cut()
            raise BrokenPipeError(f"the peer takes no bytes for {self.limit:g} s") from None
        self._stuck = None
        return sent

    def settimeout(self, timeout: float | None) -> None:
        """Set the seconds after which paramiko looks if it is to end."""
        self._sock.settimeout(timeout)

    def getpeername(self) -> Any:
        """Return the peer's address."""
        return self._sock.getpeername()

    def cut(self) -> None:
        """Break the connection now, from any thread."""
        self.broken = True
        self._shut_down()

    def _shut_down(self) -> None:
        if isinstance(self._sock, socket.socket):
            shut_down([self._sock])
            return
        with contextlib.suppress(*FAILURES):
            self._sock.close()  # a channel of the jump host

    def disown(self) -> None:
        """In a forked child: close the descriptor, without a word to the peer."""
        self._closed = True
        if isinstance(self._sock, socket.socket):
            drop(self._sock)

    def close(self) -> None:
        """Close; a second call does nothing."""
        if not self._closed:
            self._closed = True
            # First: closing alone would leave a thread of paramiko's asleep on it.
            self._shut_down()
            self._sock.close()


class _Packetizer(Packetizer):
    """Watches the handshake's time without the timer thread that outlives a failed one."""

    def send_soon(self, message: paramiko.Message, within: float) -> None:
        """Send, unless another thread does not come to an end with its own message."""
        lock = getattr(self, "_Packetizer__write_lock", None)  # reentrant
        if lock is None or lock.acquire(timeout=within):
            try:
                self.send_message(message)
            finally:
                if lock is not None:
                    lock.release()

    _handshake_ends = float("inf")

    @override
    def start_handshake(self, timeout: float) -> None:
        self._handshake_ends = time.monotonic() + timeout

    @override
    def handshake_timed_out(self) -> bool:
        return time.monotonic() > self._handshake_ends

    @override
    def complete_handshake(self) -> None:
        self._handshake_ends = float("inf")


class Transport(paramiko.Transport):
    """paramiko's SSH connection, that keeps its tracebacks to itself.

    Attributes:
        farewell: What the server gave as its reason to disconnect.
        asked_for_auth: True once the authentication service was asked for.
    """

    def __init__(self, stream: Stream, *, handshake: float, login: float) -> None:
        # The type checker: not in its stubs.
        super().__init__(stream, packetizer_class=_Packetizer)  # type: ignore[arg-type]
        self.farewell: str = ""
        self.asked_for_auth: bool = False
        self._closing = False
        self.banner_timeout = handshake
        self.handshake_timeout = handshake
        self.auth_timeout = login
        self.channel_timeout = login
        self.clear_to_send_timeout = login
        self.name = "ftppool-ssh"
        self.set_log_channel("ftppool.ssh")
        security = self.get_security_options()
        # GCM is twice as fast as CTR with HMAC, and paramiko would take it last.
        gcm = [cipher for cipher in security.ciphers if "gcm" in cipher]
        security.ciphers = [*gcm, *(cipher for cipher in security.ciphers if cipher not in gcm)]

    def _log(self, level: int, msg: Any, *args: Any) -> None:
        # What went wrong is raised as an error of ours; its traceback must not reach a cron mail.
        super()._log(min(level, logging.DEBUG), msg, *args)  # type: ignore[misc]  # private

    @override
    def close(self) -> None:
        self._closing = True
        super().close()

    @override
    def stop_thread(self) -> None:
        # At the interpreter's exit paramiko stops all there are, before we could say goodbye.
        if self._closing:
            super().stop_thread()

    def disown(self) -> None:
        """In a forked child, which has no such thread: channels that are lost say nothing."""
        self.active: bool = False

    def disconnect(self, within: float) -> None:
        """Say goodbye; another thread that is sending may take `within` seconds."""
        message = paramiko.Message()
        message.add_byte(cMSG_DISCONNECT)
        message.add_int(BY_APPLICATION)
        message.add_string("disconnected by user")
        message.add_string("")
        cast("_Packetizer", self.packetizer).send_soon(message, within)

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        message.get_int()
        self.farewell = message.get_text()
