"""What the gate and the transfer engine ask of a protocol driver."""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, Protocol, Self, runtime_checkable

from ftppool.errors import RemoteRejected
from ftppool.refusals import Reply

__all__ = [
    "Address",
    "Dates",
    "DatesOnClose",
    "Digests",
    "Driver",
    "Entry",
    "FileOps",
    "OpenFailed",
    "PlaceRefused",
    "Resumes",
    "Timeouts",
    "Watch",
    "Wire",
    "Withdrawn",
    "break_off",
    "drop",
    "explain",
    "reset",
    "shut_down",
    "tune",
    "wait_for",
]

LONGEST = float((2**31 - 1) // 1000)
"""Seconds that ``poll()`` can wait, 24 days: it takes milliseconds as a C int."""
LINGER_0 = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Address(NamedTuple):
    """A resolved server address: where the cap is counted.

    Attributes:
        family: ``socket.AF_INET`` or ``AF_INET6``.
        ip: The address without a scope or brackets.
        port: The control port.
    """

    family: int
    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


class Timeouts(NamedTuple):
    """Limits in seconds; none of them may be None, so that nothing waits for ever.

    Attributes:
        connect: TCP connect and greeting.
        io: One reply, or silence on a data connection.
        quit: The polite end of a session.
    """

    connect: float = 15.0
    io: float = 60.0
    quit: float = 3.0

    @classmethod
    def of(cls, *seconds: float) -> Self:
        """Take what a user wrote; longer than the system can wait is as long as it can."""
        return cls(*(min(limit, LONGEST) for limit in seconds))


class OpenFailed(Exception):
    """No session came of a connect; `reply` says in which phase and in what words.

    The socket is closed already. What it means (refusal, wrong password …) is decided by the gate,
    which knows how many sessions are open. `__cause__` is what the protocol library raised.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class PlaceRefused(Exception):
    """The server allows no more borrowers on this connection; those that it has are fine."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Withdrawn(Exception):
    """No session is wanted any more of a connection that was about to log in."""


class Watch(Protocol):
    """How a driver tells the gate how far an open has come."""

    def connecting(self, sock: socket.socket) -> None:
        """The socket exists: shutting it down ends the open.

        To be called before the connect and once more after it, since a shutdown between these two
        has no effect, and for each other socket that takes over.

        Raises:
            OpenFailed: It was to end before this socket existed.
        """

    def greeted(self) -> None:
        """The server has accepted the connection (220, or the SSH banner)."""

    def wait_to_log_in(self) -> None:
        """Wait until user name and password may be sent; for drivers that have `holds`.

        Raises:
            Withdrawn: They may not: say goodbye, and let this one through.
        """


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a directory listing.

    Attributes:
        name: The last component of the path.
        kind: ``"file"``, ``"dir"``, ``"link"`` or ``"other"``.
        size: Bytes, or None where the server does not say.
        modified: Seconds since the epoch (UTC), or None where the server does not say.
    """

    name: str
    kind: str
    size: int | None = None
    modified: float | None = None


class FileOps(Protocol):
    """Files on the server, one protocol-independent call each; raises only our errors.

    Paths are as the server takes them: absolute, or relative to the login directory.
    """

    def store(self, path: str, source: BinaryIO, on_bytes: Callable[[int], None]) -> int:
        """Write `source` up to its end to `path` and wait for the server's word; bytes sent."""

    def retrieve(self, path: str, sink: Callable[[memoryview], object], *, offset: int = 0) -> int:
        """Read `path` from `offset` to its end; bytes received. An end may come too early."""

    def stat(self, path: str) -> Entry:
        """What the server says of a file or directory; raises if there is none."""

    def size(self, path: str) -> int | None:
        """Bytes of a file, or None where the server cannot tell; raises if there is none."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, over an existing one where the server allows it."""

    def remove(self, path: str) -> None:
        """Delete a file."""

    def mkdir(self, path: str) -> None:
        """Make one directory; its parent must exist."""

    def rmdir(self, path: str) -> None:
        """Delete an empty directory."""

    def is_directory(self, path: str) -> bool:
        """True if `path` is an existing directory."""

    def scan(self, path: str) -> Sequence[Entry]:
        """List a directory, without ``.`` and ``..``."""

    def working_directory(self) -> str:
        """The login directory, absolute."""


@runtime_checkable
class Dates(Protocol):
    """File calls that know times, in seconds since the epoch."""

    def set_modified(self, path: str, modified: float) -> bool:
        """Give a file a time; False if the server sets none."""

    def modified(self, path: str) -> float | None:
        """The time of a file, or None where the server cannot tell; raises if there is none."""


@runtime_checkable
class DatesOnClose(Protocol):
    """File calls that set a time together with the end of a file."""

    def date_on_close(self, path: str, modified: float) -> None:
        """Give the file that is stored next as `path` this time; ``set_modified`` then tells."""


@runtime_checkable
class Digests(Protocol):
    """File calls that let the server compute a digest of what it has."""

    def digest_name(self) -> str | None:
        """What `hashlib` calls the digest that the server has; None if it has none."""

    def digest(self, path: str) -> str:
        """That digest of a whole file, in hexadecimal."""


@runtime_checkable
class Resumes(Protocol):
    """File calls that go on with a file that was broken off."""

    def resume(
        self, path: str, source: BinaryIO, on_bytes: Callable[[int], None], offset: int
    ) -> int:
        """Write the rest of `source`, which stands at `offset`; the bytes of the whole file."""


class Wire(Protocol):
    """A logged-in connection. It belongs to a slot; each loan is used by one thread at a time."""

    def looks_alive(self, loan: Any = None) -> bool:
        """Look at the socket, without a round trip; with a loan, at what it uses of the session."""

    def check(self, limit: float) -> bool:
        """Ask the server for a sign of life: one round trip, for which `limit` seconds are left."""

    def lend(self, limit: float) -> Any:
        """Hand the connection to a borrower as it was after login, within `limit` seconds.

        Raises:
            PlaceRefused: It serves fewer borrowers than the driver promised.
        """

    def files(self, loan: Any) -> FileOps:
        """The file calls over what :meth:`lend` gave."""

    def take_back(self, loan: Any, *, doom: bool = False) -> bool:
        """End a loan; True if the session may be lent again. No I/O.

        Args:
            loan: What :meth:`lend` gave.
            doom: Whatever this borrower used must not be lent again.
        """

    def goodbye(self, within: float) -> None:
        """Begin :meth:`end` without waiting for an answer, so that many can be ended at once.

        Args:
            within: Seconds after which :meth:`end` must not wait any more.
        """

    def end(self) -> bool:
        """Say goodbye within the quit time-out and close; True if the server said it too."""

    def cut(self, loan: Any = None) -> None:
        """Break the connection now, from any thread, so that whoever waits on it returns.

        Args:
            loan: Break only what this one uses of it, where others use the connection too.
        """

    def disown(self) -> None:
        """Close a forked child's copies of the descriptors; the parent's session notices nothing.

        No byte, no ``shutdown()``, no call into TLS or SSH state.
        """


class Driver(Protocol):
    """Makes sessions of one target.

    Attributes:
        places: Borrowers that one connection serves at a time.
        holds: True if it calls :meth:`Watch.wait_to_log_in`.
        endpoint: Host and port to connect to where they are not the target's own, and True if the
            host is not resolved here but by a proxy; else None.
    """

    places: int
    holds: bool
    endpoint: tuple[str, int, bool] | None

    def open(self, address: Address, watch: Watch) -> Wire:
        """Connect and log in, within the time-outs.

        Raises:
            OpenFailed: Always when no session came of it; nothing stays open then.
        """


def reset(sock: socket.socket) -> None:
    """Close with RST: a plain close (FIN) would tell an FTP server "that was the whole file"."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    except OSError:
        pass  # not connected any more: closing is all that is left
    finally:
        drop(sock)


def drop(sock: socket.socket) -> None:
    """Close the descriptor, in one step: what another process has of the connection lives on.

    Not ``sock.close()``: that of an SSLSocket first makes it a plain one, and another thread that
    is about to send would send clear text; and a file made of the socket would put it off.
    """
    super(socket.socket, sock).close()


def break_off(sock: socket.socket) -> None:
    """Wake whoever sends on a socket, from any thread; his close then is an RST.

    Whoever is blocked in sending has unsent bytes before the FIN of this shutdown, and the RST
    takes both away: the server does not see a file that ends well.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # see drop(): nothing in clear text
    except OSError:
        pass  # it was not connected, or is closed already


def shut_down(socks: Iterable[socket.socket]) -> None:
    """Wake whoever waits on these sockets; the sockets stay open for their owner to close."""
    for sock in socks:
        try:
            # Not sock.shutdown(), for the reason given in drop().
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            pass  # it was not connected, or is closed already


def wait_for(sock: socket.socket, timeout: float, *, to_write: bool = False) -> bool:
    """Wait until a socket can be read or written.

    Args:
        timeout: Seconds; 0 only looks.
        to_write: Wait for room instead of data.

    Returns:
        True if it can be, which includes EOF and errors; False if the time ran out.
    """
    if sys.platform == "win32":
        reads, writes = ([], [sock]) if to_write else ([sock], [])
        return any(select.select(reads, writes, [], timeout))
    poller = select.poll()
    poller.register(sock, select.POLLOUT if to_write else select.POLLIN)
    return bool(poller.poll(timeout * 1000))


def tune(sock: socket.socket) -> None:
    """Send small commands at once, and notice a peer that vanished in a long transfer."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def explain(error: RemoteRejected, words: str) -> None:
    """Say behind the server's words what can be done."""
    said = str(error.args[0]).rstrip(". ")  # most servers end their sentence with a full stop
    error.args = (f"{said}; {words}", *error.args[1:])
