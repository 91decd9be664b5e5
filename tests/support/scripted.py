"""A peer that plays one trick over TLS which no real server can be made to play when asked."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from . import certificates

Trick = Literal[
    "silent-greeting",  # accepts and says nothing: a black hole behind a firewall
    "silent-handshake",  # says yes to TLS and then nothing
    "silent-login",  # does the handshake and then says nothing
    "silent-request",  # logs in, answers nothing after that
    "injects",  # somebody in between adds a reply in clear text behind that to AUTH TLS
    "drops",  # ends the connection in the middle of the handshake
    "no-prot",  # encrypts the control connection only
]
_REPLIES = {"AUTH": "234 go on", "USER": "331 password", "PASS": "230 in", "PBSZ": "200 ok"}


class Scripted:
    """One listener with a thread for each connection; a context manager that ends them all."""

    def __init__(self, trick: Trick, folder: Path, *, implicit: bool = False) -> None:
        self._trick = trick
        self._implicit = implicit
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.write_certificate(folder))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop, self._stopped = socket.socketpair()
        self._threads = [threading.Thread(target=self._accept)]
        self.commands: list[str] = []
        self.ended = 0
        port = self._listener.getsockname()[1]
        self.url = f"{'ftpsi' if implicit else 'ftps'}://user:secret@127.0.0.1:{port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.close()
        for thread in self._threads:
            thread.join()
        self._stopped.close()
        self._listener.close()

    def _readable(self, sock: socket.socket) -> bool:
        """Wait for a socket or for the end."""
        return self._stopped not in select.select([sock, self._stopped], [], [])[0]

    def _accept(self) -> None:
        while self._readable(self._listener):
            sock = self._listener.accept()[0]
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(5)
            with contextlib.suppress(OSError):
                self._talk(sock)
        self.ended += 1

    def _wait_for_end(self, sock: socket.socket) -> None:
        # As a TCP stack does for a process that hangs: the client's end is seen, nothing is said.
        while self._readable(sock) and socket.socket.recv(sock, 4096):
            pass

    def _talk(self, sock: socket.socket) -> None:
        if self._trick == "silent-greeting":
            return self._wait_for_end(sock)
        if not self._implicit:
            sock.sendall(b"220 ready\r\n")
            self._read(sock)
            injected = b"331 injected\r\n" if self._trick == "injects" else b""
            sock.sendall(f"{_REPLIES['AUTH']}\r\n".encode() + injected)
        if self._trick == "silent-handshake":
            return self._wait_for_end(sock)
        if self._trick == "drops":
            sock.recv(4096)
            return None
        with self._context.wrap_socket(sock, server_side=True) as secure:
            return self._talk_securely(secure)

    def _talk_securely(self, sock: ssl.SSLSocket) -> None:
        if self._trick == "silent-login":
            return self._wait_for_end(sock)
        if self._implicit:
            sock.sendall(b"220 ready\r\n")
        while verb := self._read(sock):
            if verb == "PROT" and self._trick == "no-prot":
                sock.sendall(b"536 not supported\r\n")
            elif verb == "QUIT":
                sock.sendall(b"221 bye\r\n")
                return None
            elif verb in _REPLIES or verb == "PROT":
                sock.sendall(f"{_REPLIES.get(verb, '200 protected')}\r\n".encode())
            else:
                return self._wait_for_end(sock)
        return None

    def _read(self, sock: socket.socket) -> str:
        """Read one command; "" at the end."""
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
        if not pending and not self._readable(sock):
            return ""
        line = sock.recv(4096).decode().strip()
        if line:
            self.commands.append(line)
        return line.partition(" ")[0]
