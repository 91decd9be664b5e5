"""One FTP session's connections: what of it is the same for all its borrowers, one by one."""

from __future__ import annotations

import socket
import weakref
from typing import TYPE_CHECKING, Any

from ftppool.drivers.base import break_off, reset, wait_for
from ftppool.drivers.known import Known
from ftppool.drivers.replies import ReplyReader
from ftppool.typed import override

if TYPE_CHECKING:
    from ftppool.drivers.tls import TLSState

__all__ = ["Control", "DataSocket"]


class DataSocket(socket.socket):
    """A data connection that never ends a file by accident.

    Left by an exception, it closes with RST; FIN would make the server keep half a file and answer
    226 (all four servers measured do).
    """

    __slots__ = ()

    @override
    def makefile(self, *args: Any, **kwargs: Any) -> Any:
        # Names in another encoding than the configured one are kept, as in replies.
        if "b" not in str(args[:1]) + kwargs.get("mode", ""):
            kwargs.setdefault("errors", "surrogateescape")
        return super().makefile(*args, **kwargs)

    @override
    def __exit__(self, *args: object) -> None:
        if args and args[0] is not None:
            reset(self)
        self.close()


class Control:
    """The control connection of one session, and what the borrowers so far have done to it.

    Attributes:
        peer: Address and port of the other end, asked for once: a loan is made for each file.
        outstanding: Commands sent minus final replies read; anything but 0 is out of step.
        tainted: True once something was done that cannot be undone for the next borrower.
        ended: True once the borrower itself has ended the session.
        said_goodbye: True once QUIT was answered with 221.
        type: The representation type that the server has now.
        home: The login directory; asked for only when somebody is about to leave it.
        moved: True if the working directory may not be `home`.
        restarting: True after a REST that no transfer has used yet.
        heard: When the last step of a chain was answered (``time.monotonic()``).
        quit_timeout: Seconds for the goodbye.
        known: What is known of the server at this address.
        tls: What TLS knows of this session; None in clear text.
        left: Data connections that the last borrower has left open.
    """

    welcome: str = ""
    login_reply: str = ""
    outstanding: int = 0
    tainted: bool = False
    ended: bool = False
    said_goodbye: bool = False
    type: str = "A"
    home: str | None = None
    moved: bool = False
    restarting: bool = False
    heard: float = 0.0

    def __init__(
        self,
        sock: socket.socket,
        reader: ReplyReader,
        name: str,
        user: str,
        *,
        quit_timeout: float,
        known: Known,
        tls: TLSState | None,
    ) -> None:
        self.sock: socket.socket = sock
        self.reader: ReplyReader = reader
        self.name: str = name
        self.user: str = user
        self.quit_timeout: float = quit_timeout
        self.known: Known = known
        self.family: int = sock.family
        self.peer: tuple[str, int] = sock.getpeername()[:2]
        self.tls: TLSState | None = tls
        # Weak: a script may end a file by forgetting its socket.
        self.data: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.left: list[socket.socket] = []

    @property
    def clean(self) -> bool:
        """True if the next borrower would not notice that there was one before."""
        return not (
            self.outstanding
            or self.tainted
            or self.ended
            or self.restarting
            or self.reader.buffered
            or self.open_data
        )

    @property
    def open_data(self) -> list[socket.socket]:
        """Data connections that nobody has closed."""
        if not self.data:
            return []
        return [sock for sock in self.data if sock.fileno() != -1]

    def leave(self) -> None:
        """Close what a borrower left open: data connections first, or the server keeps the slot."""
        for sock in self.open_data:
            reset(sock)
        self.left.clear()

    def plain_fd(self) -> int | None:
        """What can be waited on for a reply; None over TLS, where records need not hold any."""
        return None if self.tls is not None else self.sock.fileno()

    def speaks(self) -> bool:
        """True if a reply has come, or the end."""
        if self.tls is not None:
            return self.reader.arrived()
        return self.reader.buffered or wait_for(self.sock, 0)

    def cut(self) -> None:
        """Make whoever uses the data connections notice, from any thread; he closes them."""
        for sock in self.open_data:
            break_off(sock)
