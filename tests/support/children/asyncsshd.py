"""Child process: asyncssh's SFTP server with a diary, and with faults on demand.

Usage: ``asyncsshd.py CLAIM_FD DIARY SETTINGS``, the settings as a JSON object (../asyncsshd.py).

Appends a JSON line ``{"at": seconds, "id": connection, "what": …}`` to the diary for each
``connect``, ``login``, ``login_failed`` and ``end``. Says ``{"port": …}`` when it listens and ends
when stdin is closed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from typing import Any

import asyncssh

SETTINGS: dict[str, Any] = {}


class Server(asyncssh.SSHServer):
    """One connection that keeps a diary."""

    count = 0
    diary = -1

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        Server.count += 1
        self.number = Server.count
        self.note("connect")

    def connection_lost(self, exc: Exception | None) -> None:
        # asyncssh gives no exception to who disconnected with a message.
        self.note("end" if exc else "quit")

    def note(self, what: str) -> None:
        """Append one line."""
        event = {"at": time.monotonic(), "id": self.number, "what": what}
        os.write(Server.diary, json.dumps(event).encode() + b"\n")

    def auth_completed(self) -> None:
        self.note("login")

    def public_key_auth_supported(self) -> bool:
        return False

    def password_auth_supported(self) -> bool:
        return not SETTINGS["kbdint"]

    def kbdint_auth_supported(self) -> bool:
        return bool(SETTINGS["kbdint"])

    async def validate_password(self, username: str, password: str) -> bool:
        while SETTINGS["silent_login"]:
            await asyncio.sleep(1)
        return self.check(username, password)

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        return self.check(username, responses[0])

    def check(self, username: str, password: str) -> bool:
        good = (username, password) == (SETTINGS["user"], SETTINGS["password"])
        if not good:
            self.note("login_failed")
        return good


class Files(asyncssh.SFTPServer):
    """The served folder."""

    def __init__(self, chan: Any) -> None:
        super().__init__(chan, chroot=os.fsencode(SETTINGS["home"]))
        self.server = chan.get_connection().get_owner()

    def tell(self, request: str) -> None:
        """Note a request."""
        if SETTINGS["told"]:
            self.server.note(request)

    def fsync(self, file_obj: object) -> None:
        self.tell("fsync")
        super().fsync(file_obj)

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        self.tell(f"write {len(data)}")
        await hang(offset)
        limit = SETTINGS["full_after"]
        if limit is not None and offset + len(data) > limit:
            raise asyncssh.SFTPFailure("No space left on device")
        # The type checker: asyncssh's write may be awaitable; this server's is not.
        return super().write(file_obj, offset, data)  # type: ignore[return-value]

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        self.tell(f"read {size}")
        await hang(offset)
        end = SETTINGS["grows_at"]
        if end is not None and offset <= end < offset + size:
            size = end - offset
        # The type checker: asyncssh's read may be awaitable; this server's is not.
        return super().read(file_obj, offset, size)  # type: ignore[return-value]

    async def close(self, file_obj: object) -> None:
        self.tell("close")
        super().close(file_obj)
        await lose("close")

    async def fstat(self, file_obj: object) -> Any:
        found = super().fstat(file_obj)
        await lose("fstat")
        return found

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        self.tell("rename")
        super().posix_rename(oldpath, newpath)
        await lose("posix_rename")


async def hang(offset: int) -> None:
    """Come to no end from some place in a file on."""
    limit = SETTINGS["silent_after"]
    while limit is not None and offset >= limit:
        await asyncio.sleep(1)


async def lose(what: str) -> None:
    """Come to no end, once, if that is what is to be lost."""
    if SETTINGS["loses"] == what:
        SETTINGS["loses"] = None
        await asyncio.Event().wait()


def end_with_stdin() -> None:
    """End the process when the other side closes our stdin."""
    while os.read(0, 4096):
        pass
    os._exit(0)


async def serve() -> None:
    """Serve for ever."""
    await asyncssh.listen(
        "127.0.0.1",
        SETTINGS["port"],
        server_factory=Server,
        sftp_factory=Files,
        server_host_keys=[SETTINGS["host_key"]],
        login_timeout=0,
        encryption_algs=["aes128-ctr", "aes128-gcm@openssh.com"],
    )
    sys.stdout.write(json.dumps({"port": SETTINGS["port"]}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main(claim: str, diary: str, settings: str) -> None:
    """Serve until stdin is closed."""
    os.set_inheritable(int(claim), False)
    Server.diary = os.open(diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    SETTINGS.update(json.loads(settings))
    threading.Thread(target=end_with_stdin, daemon=True).start()
    asyncio.run(serve())


if __name__ == "__main__":
    main(*sys.argv[1:])
