"""Child process: pyftpdlib with a diary.

Usage: ``pyftpd.py CLAIM_FD DIARY SETTINGS``, the settings as a JSON object (see ../pyftpd.py).

Appends a JSON line ``{"at": seconds, "id": connection, "what": …}`` to the diary for each
``connect``, ``refused``, ``login``, ``login_failed``, ``quit`` and ``end``, in the instant in
which the server does it. Says ``{"port": …}`` when it listens and ends when stdin is closed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer, ThreadedFTPServer


class Handler(FTPHandler):  # type: ignore[misc]  # pyftpdlib has no types
    """One control connection that keeps a diary."""

    count = 0
    diary = -1
    forgets: int | None = None
    loses: str | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        Handler.count += 1
        self.number = Handler.count
        self.noted_end = False
        super().__init__(*arguments, **options)
        self.note("connect")

    def note(self, what: str) -> None:
        """Append one line; a single write, so that threads do not mix theirs."""
        event = {"at": time.monotonic(), "id": self.number, "what": what}
        os.write(Handler.diary, json.dumps(event).encode() + b"\n")

    def handle_max_cons(self) -> None:
        self.note("refused")
        super().handle_max_cons()

    def handle_max_cons_per_ip(self) -> None:
        self.note("refused")
        super().handle_max_cons_per_ip()

    def on_login(self, username: str) -> None:
        self.note("login")

    def on_login_failed(self, username: str, password: str) -> None:
        self.note("login_failed")

    def ftp_STOR(self, file: str, mode: str = "w") -> None:
        self.stored = getattr(self, "stored", 0) + 1
        if self.forgets is not None and self.stored > self.forgets:
            self._shutdown_connecting_dtp()
            if self.data_channel is not None:
                self.data_channel.close()
            self.respond("425 Unable to build data connection: Operation not permitted")
        else:
            super().ftp_STOR(file, mode)

    def respond(self, resp: str, *arguments: Any, **options: Any) -> None:
        if Handler.loses is not None and resp.startswith(Handler.loses):
            Handler.loses = None
        else:
            super().respond(resp, *arguments, **options)

    def ftp_QUIT(self, line: str) -> None:
        self.note("quit")
        super().ftp_QUIT(line)

    def close(self) -> None:
        super().close()  # takes it off the server's count
        if not self.noted_end:
            self.noted_end = True
            self.note("end")


def make_server(settings: dict[str, Any]) -> Any:
    """Return a server that listens."""
    authorizer = DummyAuthorizer()
    authorizer.add_user(
        settings["user"], settings["password"], settings["home"], perm=settings["perm"]
    )
    handler: type[Handler] = Handler
    Handler.loses = settings["loses"]
    if settings["certificate"] is not None:
        from pyftpdlib.handlers import TLS_FTPHandler

        class TLSHandler(Handler, TLS_FTPHandler):  # type: ignore[misc]  # pyftpdlib has no types
            """The same over TLS."""

        handler = TLSHandler
        handler.certfile = settings["certificate"]
        handler.tls_control_required = handler.tls_data_required = True
        handler.forgets = settings["forgets"]
    handler.authorizer = authorizer
    handler.timeout = settings["timeout"]
    handler.auth_failed_timeout = settings["auth_failed_timeout"]
    handler.passive_ports = range(settings["passive"][0], settings["passive"][1] + 1)
    handler.dtp_handler.timeout = handler.passive_dtp.timeout = settings["data_timeout"]
    server_class = ThreadedFTPServer if settings["threaded"] else FTPServer
    server = server_class(
        (os.environ.get("FTPPOOL_TEST_HOST", "127.0.0.1"), settings["port"]), handler
    )
    server.max_cons_per_ip = settings["max_cons_per_ip"]
    server.max_cons = settings["max_cons"]
    return server


def end_with_stdin() -> None:
    """End the process when the other side closes our stdin."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def main(claim: str, diary: str, settings: str) -> None:
    """Serve until stdin is closed."""
    os.set_inheritable(int(claim), False)
    Handler.diary = os.open(diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    server = make_server(json.loads(settings))
    threading.Thread(target=end_with_stdin, daemon=True).start()
    sys.stdout.write(json.dumps({"port": server.address[1]}) + "\n")
    sys.stdout.flush()
    server.serve_forever(handle_exit=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
