"""From an address to a logged-in SSH connection, each step within its time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field, replace

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from ftppool.drivers.base import Address, OpenFailed, Timeouts, Watch, tune
from ftppool.drivers.sftp_auth import authenticate
from ftppool.drivers.sftp_endpoint import CommandSocket, Endpoint, hops_of
from ftppool.drivers.sftp_hosts import HostKeys
from ftppool.drivers.sftp_stream import FAILURES, Stream, Transport
from ftppool.errors import ConnectError, FTPPoolError
from ftppool.refusals import Phase, Reply
from ftppool.sshconfig import SSHConfig

__all__ = ["Connection", "Opening"]

JOIN = 2.0
"""Seconds for paramiko's thread to end once its socket is closed."""


@dataclass(eq=False, slots=True)
class Connection:
    """An SSH connection, with those to the jump hosts that it goes through."""

    stream: Stream
    transport: Transport
    jumps: list[Connection] = field(default_factory=list)
    due: float | None = None

    def cut(self) -> None:
        """Break it now, from any thread."""
        for connection in (*self.jumps[:1], self):
            connection.stream.cut()

    def goodbye(self, within: float) -> None:
        """Say that we disconnect; the server has `within` seconds from now to hang up."""
        if self.due is None:
            self.due = time.monotonic() + within
            # Whoever is stuck in a send gives up soon; the goodbye comes behind him.
            self.stream.limit = within
            with contextlib.suppress(*FAILURES):  # the peer is gone
                self.transport.disconnect(within)

    def end(self, within: float) -> bool:
        """Say that we disconnect, wait for the server to hang up, close; the jump hosts after it.

        Returns:
            True if the server hung up by itself.
        """
        polite = False
        if self.transport.is_active():
            self.goodbye(within)
            assert self.due is not None
            self.transport.join(max(0.0, self.due - time.monotonic()))
            polite = not (self.transport.is_alive() or self.stream.broken)
        self._close()
        for jump in reversed(self.jumps):
            jump.end(within)
        return polite

    def disown(self) -> None:
        """In a forked child: close the descriptor and touch nothing that a thread had locked."""
        for connection in (self, *self.jumps):
            connection.transport.disown()
            connection.stream.disown()

    def close(self) -> None:
        """Close it and those below it, without a word."""
        self._close()
        for jump in reversed(self.jumps):
            jump.close()

    def _close(self) -> None:
        self.transport.close()
        self.stream.close()
        if self.transport.ident is not None:
            self.transport.join(JOIN)


class _Refused(Exception):
    """The server said something else than an SSH banner, or nothing, and hung up."""


class _Garbled(Exception):
    """What came behind the SSH banner is no SSH."""


class Opening:
    """One attempt to get to a server and in; used once."""

    def __init__(
        self,
        endpoint: Endpoint,
        config: SSHConfig,
        timeouts: Timeouts,
        *,
        password: str | None,
        watch: Watch,
    ) -> None:
        self._endpoint = endpoint
        self._config = config
        self._timeouts = timeouts
        self._password = password  # not in a local: frames of errors are read by debuggers
        self._watch = watch
        self._opened: list[Connection] = []
        self._phase = Phase.CONNECT
        self._transport: Transport | None = None

    def connect(self, address: Address) -> Connection:
        """Connect to `address`, unless a proxy leads to the endpoint, and log in.

        Raises:
            OpenFailed: The server refused, or did not answer in time.
            HostKeyError, AuthError, ConfigError, ConnectError: Another try would end the same way.
        """
        try:
            for hop in hops_of(self._endpoint, self._config):
                there = Address(socket.AF_UNSPEC, hop.host, hop.port)
                # The target's password and pinned key are none of the jump host's business.
                config = replace(self._config, fingerprint=None)
                self._log_in(self._socket(there, hop), hop, config, None)
            sock = self._socket(address, self._endpoint)
            self._log_in(sock, self._endpoint, self._config, self._password, final=True)
        except BaseException as error:
            for connection in reversed(self._opened):
                connection.close()
            _drop_frames(error)
            if isinstance(error, IncompatiblePeer):
                raise ConnectError(
                    f"{address}: no common SSH algorithms ({error})",
                    phase="login",
                    retryable=False,
                ) from error
            expected = (*FAILURES, _Refused, _Garbled)
            if isinstance(error, expected) and not isinstance(error, FTPPoolError):
                raise OpenFailed(self._reply(error)) from error
            raise
        connection = self._opened.pop()
        connection.jumps = self._opened
        return connection

    def _reply(self, error: BaseException) -> Reply:
        """What the server said, or what happened where it said nothing."""
        if isinstance(error, _Refused):
            return Reply(Phase.SSH_BANNER, None, str(error))
        if isinstance(error, TimeoutError) and self._phase is Phase.SSH_BANNER:
            # Whoever refuses closes; a server that accepts and says nothing is not reached.
            words = (
                "connected, but no SSH banner came in time; check the port, or write ftpsi:// if it"
                " is for FTP with implicit TLS"
            )
            return Reply(Phase.CONNECT, None, words)
        text = str(error) or type(error).__name__
        if isinstance(error, TimeoutError) or "timeout" in text.lower():
            return Reply(Phase.CONNECT, None, text)
        said = self._transport.farewell if self._transport is not None else ""
        if self._password:
            said = said.replace(self._password, "***")
        return Reply(self._phase, None, said or text)

    def _socket(self, address: Address, endpoint: Endpoint) -> socket.socket | paramiko.Channel:
        """Go on from the last jump host, or begin."""
        self._phase, self._transport = Phase.CONNECT, None
        if self._opened:
            last = self._opened[-1].transport
            there = (endpoint.host, endpoint.port)
            return last.open_channel("direct-tcpip", there, ("127.0.0.1", 0))
        if endpoint.command:
            return CommandSocket.start(endpoint.command, self._watch.connecting)
        sock = self._dial(address, endpoint)
        try:
            self._watch.connecting(sock)
            tune(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _dial(self, address: Address, endpoint: Endpoint) -> socket.socket:
        limit, source = self._timeouts.connect, self._config.source_address
        if self._config.socket_factory is not None:
            there = (endpoint.host, endpoint.port)
            made: socket.socket = self._config.socket_factory(there, timeout=limit)
            return made
        if address.family == socket.AF_UNSPEC:  # a jump host, by name
            return socket.create_connection((address.ip, address.port), limit, source)
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            self._watch.connecting(sock)
            sock.settimeout(limit)
            if source is not None:
                sock.bind(source)
            sock.connect((address.ip, address.port))
        except BaseException:
            sock.close()
            raise
        return sock

    def _log_in(
        self,
        sock: socket.socket | paramiko.Channel,
        endpoint: Endpoint,
        config: SSHConfig,
        password: str | None,
        *,
        final: bool = False,
    ) -> None:
        """Make an SSH connection of a socket; from then on it is in ``_opened``."""
        stream = Stream(sock, self._timeouts.io)
        self._phase = Phase.SSH_BANNER
        try:
            words = stream.banner(self._timeouts.connect)
            if words == "" and isinstance(sock, CommandSocket) and (failure := sock.failure()):
                self._phase = Phase.CONNECT  # no server has refused anything
                raise ConnectionError(failure)
            if words is not None:
                raise _Refused(words or "the server hung up without a word")
            transport = Transport(stream, handshake=self._timeouts.connect, login=self._timeouts.io)
        except BaseException:
            stream.close()
            raise
        self._opened.append(Connection(stream, transport))
        if final:
            self._watch.greeted()
        self._phase, self._transport = Phase.LOGIN, transport
        keys = HostKeys(config, endpoint.host, endpoint.port)
        security = transport.get_security_options()
        security.key_types = keys.algorithms(tuple(security.key_types))
        _shake_hands(transport, self._timeouts.connect)
        keys.check(transport.get_remote_server_key())
        authenticate(transport, endpoint, password, config)


def _shake_hands(transport: Transport, timeout: float) -> None:
    done = threading.Event()
    transport.start_client(event=done)
    if not done.wait(timeout):
        raise TimeoutError(f"the SSH key exchange did not end within {timeout:g} s")
    if not transport.is_active():
        error = transport.get_exception()
        if error is None or isinstance(error, EOFError):  # paramiko's has no words
            raise EOFError("the server hung up in the key exchange")
        if transport.farewell or isinstance(error, (OSError, IncompatiblePeer)):
            raise error
        # Whatever paramiko makes of bytes that have no sense, be it an IndexError.
        raise _Garbled(f"what follows its SSH banner is no SSH ({error})") from error


def _drop_frames(error: BaseException | None) -> None:
    """Frames on the way to an error hold the password."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
