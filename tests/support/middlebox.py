"""A box between client and server that cuts data connections in the middle.

It forwards so many bytes from the server and then says FIN, as if that were the whole file, or RST.
"""

from __future__ import annotations

import ftplib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Limit = Callable[[], int | None]
"""Asked for each data connection: after how many bytes to cut it; None for not at all."""


class Middlebox:
    """Forwards data connections, each in a thread of its own."""

    def __init__(self, limit: Limit, end: Literal["fin", "rst"]) -> None:
        self.cuts = 0
        self._limit = limit
        self._end = end
        self._threads: list[threading.Thread] = []

    def before(self, address: tuple[str, int]) -> tuple[str, int]:
        """Listen for one connection that goes on to `address`."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)
        thread = threading.Thread(target=self._forward, args=(listener, address, self._limit()))
        self._threads.append(thread)
        thread.start()
        host, port = listener.getsockname()
        return host, port

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)

    def _forward(
        self, listener: socket.socket, address: tuple[str, int], limit: int | None
    ) -> None:
        with listener, socket.create_connection(address, 10) as server:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                return
            with client:
                self._pump(server, client, limit)

    def _pump(self, server: socket.socket, client: socket.socket, limit: int | None) -> None:
        passed = 0
        server.settimeout(10)
        while data := server.recv(65536):
            if limit is not None and passed + len(data) > limit:
                client.sendall(data[: limit - passed])
                self.cuts += 1
                if self._end == "rst":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            client.sendall(data)
            passed += len(data)


@contextmanager
def middlebox(
    limit: Limit, end: Literal["fin", "rst"]
) -> Iterator[tuple[Middlebox, type[ftplib.FTP]]]:
    """A box, and a class of ftplib sessions whose data connections go through it."""
    box = Middlebox(limit, end)

    class Cut(ftplib.FTP):
        def makepasv(self) -> tuple[str, int]:
            return box.before(super().makepasv())

    try:
        yield box, Cut
    finally:
        box.join()
