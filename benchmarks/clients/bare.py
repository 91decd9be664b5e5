"""The strict chain by bare sockets: no client for anybody, but the least that Python can take.

Each thread sends its files with a part name, SIZE and a rename, as ftppool does, in as few round
trips. It keeps no limit, knows no error, no time-out and no TLS, and understands the replies of
three servers.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator

from benchmarks.clients.tree import walk


class Session:
    """One control connection, logged in."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self._host = host
        self._sock = socket.create_connection((host, port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies(1)
        for command in (f"USER {user}", f"PASS {password}", "TYPE I"):
            self.say(command)
            self.replies(1)

    def say(self, *commands: str) -> None:
        self._sock.sendall("".join(f"{command}\r\n" for command in commands).encode())

    def replies(self, count: int) -> list[bytes]:
        """Read so many final replies."""
        buffer = b""
        while True:
            data = self._sock.recv(8192)
            if not data:
                raise EOFError
            buffer += data
            lines = buffer.split(b"\r\n")
            found = [line for line in lines if line[3:4] == b" " and line[:1] != b"1"]
            if not lines[-1] and len(found) >= count:
                return found

    def send(self, reply: bytes, part: str, path: str, before: list[str]) -> int:
        """Send one file to the passive port of a reply; returns its size."""
        with socket.socket() as data, open(path, "rb") as file:
            data.setblocking(False)
            data.connect_ex((self._host, int(reply.split(b"|||")[1].split(b"|")[0])))
            self.say(*before, f"STOR {part}")
            data.setblocking(True)
            size = os.fstat(file.fileno()).st_size
            sent = 0
            while sent < size:
                sent += os.sendfile(data.fileno(), file.fileno(), sent, size - sent)
        return size

    def work(self, folder: str, names: Iterator[str], lock: threading.Lock) -> None:
        """Send files while there are any."""
        part, final, size = "", "", 0
        while True:
            with lock:
                name = next(names, None)
            if part or name:
                self.say(*([f"SIZE {part}"] if part else []), *(["EPSV"] if name else []))
                found = self.replies(bool(part) + bool(name))
            if part and int(found[0][4:]) != size:
                raise ValueError(f"{final}: {found[0]!r}")
            rename = [f"RNFR {part}", f"RNTO {final}"] if part else []
            if name is None:
                break
            part, final = f".{name}.bare.part", name
            size = self.send(found[-1], part, os.path.join(folder, name), rename)
            if any(reply[:1] not in b"23" for reply in self.replies(1 + len(rename))):
                raise ValueError(f"{name} was refused")
        self.say(*rename, "QUIT")
        self.replies(1 + len(rename))
        self._sock.close()


def main() -> None:
    host, port, user, password, folder, connections, _ = sys.argv[1:]
    directories, files = walk(folder)
    assert not directories, "it makes none"
    names, lock = iter(files), threading.Lock()

    def work() -> None:
        Session(host, int(port), user, password).work(folder, names, lock)

    threads = [threading.Thread(target=work) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
