"""A box between client and server that cuts data connections in the middle.

It forwards control connections and rewrites the port in the replies to EPSV, so that data
connections go through it as well: so many bytes from the server, and then FIN, as if that were the
whole file, or RST.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

Limit = Callable[[], int | None]
"""Asked for each data connection: after how many bytes to cut it; None for not at all."""

EPSV = re.compile(rb"(229 .*\|)(\d+)(\|\).*)", re.DOTALL)
PATIENCE = 20.0


class Middlebox:
    """Forwards connections, each in threads of its own; a context manager that ends them."""

    def __init__(self, port: int, limit: Limit, end: Literal["fin", "rst"] = "fin") -> None:
        self.cuts = 0
        self._server = ("127.0.0.1", port)
        self._limit = limit
        self._end = end
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._spawn(self._accept)

    def _spawn(self, call: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=call, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server, PATIENCE)
            self._spawn(self._commands, client, server)
            self._spawn(self._replies, client, server)

    def _commands(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one of them is gone

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        server.settimeout(None)
        with client, server, server.makefile("rb") as lines:
            try:
                for line in lines:
                    found = EPSV.fullmatch(line)
                    client.sendall(self._rewritten(found) if found else line)
            except OSError:
                pass  # one of them is gone

    def _rewritten(self, reply: re.Match[bytes]) -> bytes:
        return b"%s%d%s" % (reply[1], self._before(int(reply[2])), reply[3])

    def _before(self, port: int) -> int:
        """Listen for one data connection that goes on to `port`."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(PATIENCE)
        self._spawn(self._data, listener, port, self._limit())
        return int(listener.getsockname()[1])

    def _data(self, listener: socket.socket, port: int, limit: int | None) -> None:
        with listener, socket.create_connection(("127.0.0.1", port), PATIENCE) as server:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                return
            with client:
                try:
                    self._pump(server, client, limit)
                except OSError:
                    pass  # one of them is gone

    def _pump(self, server: socket.socket, client: socket.socket, limit: int | None) -> None:
        passed = 0
        while data := server.recv(65536):
            if limit is not None and passed + len(data) > limit:
                client.sendall(data[: limit - passed])
                self.cuts += 1
                if self._end == "rst":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            client.sendall(data)
            passed += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)
