"""A small FTP server in memory whose answers a test can change, one command at a time.

For what real servers do only on bad days: a disk that loses bytes, a command that fails once, an
end of the connection behind a certain reply. Each test says which real behaviour it imitates.
"""

from __future__ import annotations

import contextlib
import posixpath
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["HANG_UP", "Tricky", "Visit"]

HANG_UP = "hang up"
"""What a trick returns to end the connection without a reply."""

_PLAIN = {
    "USER": "331 password?",
    "PASS": "230 in",
    "TYPE": "200 ok",
    "PWD": '257 "/"',
    "NOOP": "200 ok",
}


class Visit:
    """One control connection."""

    def __init__(self, server: Tricky, control: socket.socket) -> None:
        self.server = server
        self.control = control
        self.passive: socket.socket | None = None
        self.renamed = ""
        self.restart = 0

    def run(self) -> None:
        self.say(self.server.greeting)
        with self.control.makefile("rb") as lines:
            for line in lines:
                text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
                verb, _, argument = text.partition(" ")
                self.server.commands.append(text)
                if not self.obey(verb.upper(), argument):
                    return

    def say(self, reply: str) -> bool:
        """Send a reply; False if it is to be the end."""
        if reply != HANG_UP:
            self.control.sendall(f"{reply}\r\n".encode("utf-8", "surrogateescape"))
        return reply != HANG_UP

    def obey(self, verb: str, argument: str) -> bool:
        reply = self.server.trick(self, verb, argument)
        if reply is None:
            known = getattr(self, f"do_{verb.lower()}", None)
            reply = known(argument) if known else _PLAIN.get(verb, "502 no such command")
        return self.say(reply) and verb != "QUIT"

    def do_quit(self, _: str) -> str:
        return "221 bye"

    def do_cwd(self, path: str) -> str:
        return "250 ok" if place(path) in self.server.directories else "550 no such directory"

    def do_mkd(self, path: str) -> str:
        self.server.directories.add(place(path))
        return f'257 "{path}"'

    def do_size(self, path: str) -> str:
        found = self.server.files.get(place(path))
        return "550 no such file" if found is None else f"213 {len(found)}"

    def do_epsv(self, _: str) -> str:
        self.close_passive()
        self.passive = socket.create_server(("127.0.0.1", 0))
        return f"229 go on (|||{self.passive.getsockname()[1]}|)"

    def do_rest(self, offset: str) -> str:
        self.restart = int(offset)
        return "350 ok"

    def do_stor(self, path: str) -> str:
        files, name = self.server.files, place(path)
        with self.data() as data:
            sent = b"".join(iter(lambda: data.recv(1 << 16), b""))
        old = files.get(name, b"")[: self.restart]
        self.restart = 0
        files[name] = old + self.server.keep(sent)
        return self.server.trick(self, "226", name) or "226 done"

    def do_mlsd(self, path: str) -> str:
        with self.data() as data:
            for name, content in self.server.files.items():
                if posixpath.dirname(name) == place(path):
                    fact = f"type=file;size={len(content)}; {posixpath.basename(name)}\r\n"
                    data.sendall(fact.encode("utf-8", "surrogateescape"))
        return "226 done"

    def do_rnfr(self, path: str) -> str:
        self.renamed = place(path)
        return "350 go on" if self.renamed in self.server.files else "550 no such file"

    def do_rnto(self, path: str) -> str:
        self.server.files[place(path)] = self.server.files.pop(self.renamed)
        return "250 done"

    def do_dele(self, path: str) -> str:
        gone = self.server.files.pop(place(path), None) is not None
        return "250 done" if gone else "550 no such file"

    def data(self) -> socket.socket:
        self.say("150 go on")
        assert self.passive is not None
        connection, _ = self.passive.accept()
        self.close_passive()
        return connection

    def close_passive(self) -> None:
        if self.passive is not None:
            self.passive.close()
            self.passive = None


class Tricky:
    """The server; a context manager that ends it.

    Attributes:
        files: What it has, by absolute path.
        commands: All that it was told, of all connections.
        trick: Asked before each command is obeyed, and with ``226`` before a file is confirmed: a
            reply in place of the usual one, `HANG_UP`, or None.
        keep: What becomes of the bytes of a transfer.
    """

    def __init__(
        self,
        trick: Callable[[Visit, str, str], str | None] = lambda *_: None,
        *,
        keep: Callable[[bytes], bytes] = lambda sent: sent,
        greeting: str = "220 tricky",
        **files: bytes,
    ) -> None:
        self.files = {f"/{name}": content for name, content in files.items()}
        self.directories = {"/"}
        self.commands: list[str] = []
        self.trick = trick
        self.keep = keep
        self.greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"ftp://user:secret@127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                control, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(control,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, control: socket.socket) -> None:
        visit = Visit(self, control)
        with control, contextlib.suppress(OSError):
            control.settimeout(20)
            visit.run()
        visit.close_passive()


def place(path: str) -> str:
    """Make a path absolute, as from the login directory."""
    return posixpath.normpath(posixpath.join("/", path))
