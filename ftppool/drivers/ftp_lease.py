"""The object that a borrower gets: a real ``ftplib.FTP`` on a connection that is not its own."""

from __future__ import annotations

import socket
import types
import weakref
from dataclasses import dataclass, field
from ftplib import CRLF, FTP, error_perm, error_proto
from typing import Any, cast

from typing_extensions import override

from ftppool.drivers.base import reset
from ftppool.drivers.replies import ReplyReader
from ftppool.errors import ConfigError, LeaseReturned

__all__ = ["Control", "DataSocket", "LeasedFTP", "leased_class"]

LONGEST_REPLY = 1 << 20
"""Characters of one reply with all its lines; FEAT and STAT answer with a few thousand."""

# fmt: off
STATELESS = frozenset({
    "ALLO", "APPE", "DELE", "EPRT", "EPSV", "FEAT", "HASH", "HELP", "LIST", "MDTM", "MFMT", "MKD",
    "MLSD", "MLST", "NLST", "NOOP", "PASV", "PORT", "PWD", "QUIT", "RETR", "RMD", "RNFR", "RNTO",
    "SIZE", "STAT", "STOR", "STOU", "SYST", "XCRC", "XMD5", "XMKD", "XPWD", "XRMD", "XSHA1",
    "XSHA256",
})
TYPED = frozenset({
    "APPE", "HASH", "LIST", "MLSD", "NLST", "REST", "RETR", "SIZE", "STOR", "STOU", "XCRC", "XMD5",
    "XSHA1", "XSHA256",
})
# fmt: on
MOVES = frozenset({"CWD", "XCWD", "CDUP", "XCUP"})
HARMLESS_SITE = frozenset({"CHMOD", "UTIME", "HELP"})


class DataSocket(socket.socket):
    """A data connection that never ends a file by accident.

    Left by an exception, it closes with RST; FIN would make the server keep half a file and answer
    226 (all four servers measured do).
    """

    @override
    def __exit__(self, *args: object) -> None:
        if args and args[0] is not None:
            reset(self)
        self.close()


@dataclass(eq=False, slots=True)
class Control:
    """The control connection of one session, and what the borrowers so far have done to it.

    Attributes:
        outstanding: Commands sent minus final replies read; anything but 0 is out of step.
        tainted: True once something was done that cannot be undone for the next borrower.
        ended: True once the borrower itself has ended the session.
        said_goodbye: True once QUIT was answered with 221.
        type: The representation type that the server has now.
        home: The login directory; asked for only when somebody is about to leave it.
        moved: True if the working directory may not be `home`.
        restarting: True after a REST that no transfer has used yet.
        no_epsv: True once the server has refused EPSV.
        no_mlst: True once the server has refused MLST as a command.
        quit_timeout: Seconds for the goodbye.
    """

    sock: socket.socket
    reader: ReplyReader
    name: str
    user: str
    quit_timeout: float
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
    no_epsv: bool = False
    no_mlst: bool = False
    data: weakref.WeakSet[DataSocket] = field(default_factory=weakref.WeakSet)

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
    def open_data(self) -> list[DataSocket]:
        """Data connections that nobody has closed."""
        return [sock for sock in self.data if sock.fileno() != -1]

    def leave(self) -> None:
        """Close what a borrower left open: data connections first, or the server keeps the slot."""
        for sock in self.open_data:
            reset(sock)


class LeasedFTP(FTP):
    """``ftplib.FTP`` for the time of a lease.

    Everything works as in the standard library; what is different is what would hurt others:

    * after the lease every command raises :class:`~ftppool.LeaseReturned`;
    * ``quit()`` and ``close()`` really end the session, and may be called at any time;
    * ``connect()`` and ``login()`` have been done: repeated for the same server and user they
      return the server's words again;
    * passive mode asks EPSV first and ignores a foreign address in PASV's answer;
    * a data connection that is left by an exception is reset, so that the server sees the failure.
    """

    _control: Control | None = None
    trust_server_pasv_ipv4_address: bool  # set by ftplib, unknown to its stubs
    host: str
    port: int
    af: int
    timeout: float | None
    welcome: str | None
    sock: socket.socket | None
    file: Any
    _wanted_type = "A"
    _new_type: str | None = None

    # -- the lease ---------------------------------------------------------------------------------

    def _take(self, control: Control, timeout: float) -> None:
        self._control = control
        self.sock = control.sock
        self.file = cast("Any", control.reader)
        self.welcome = control.welcome
        self.af = control.sock.family
        peer = control.sock.getpeername()
        self.host, self.port = peer[0], peer[1]
        self.timeout = timeout

    def _give_back(self) -> None:
        self._control = None
        self.sock = None
        self.file = None

    def _held(self) -> Control:
        control = self._control
        if control is None:
            raise LeaseReturned(
                "this FTP session was given back to its pool or ended; take a new one"
            )
        return control

    # -- what goes over the wire -------------------------------------------------------------------

    @override
    def putline(self, line: str) -> None:
        control = self._held()
        if "\r" in line or "\n" in line:
            raise ValueError("an illegal newline character should not be contained")
        verb, _, argument = line.partition(" ")
        self._prepare(control, verb.upper(), argument)
        if self.debugging > 1:
            print("*put*", self.sanitize(line))
        control.outstanding += 1
        control.sock.sendall((line + CRLF).encode(self.encoding, "surrogateescape"))

    def _prepare(self, control: Control, verb: str, argument: str) -> None:
        """Note what a command does to the session; first restore the type that it relies on."""
        if verb in TYPED and control.type != self._wanted_type and not control.outstanding:
            self.voidcmd(f"TYPE {self._wanted_type}")
        if verb == "TYPE":
            self._new_type = argument[:1].upper()
        elif verb in MOVES:
            if control.home is None and not control.outstanding:
                control.home = self.pwd()
            control.moved = True
        elif verb == "REST":
            control.restarting = True
        elif verb == "SITE":
            control.tainted |= argument.partition(" ")[0].upper() not in HARMLESS_SITE
        elif verb not in STATELESS:
            control.tainted = True
        if verb in {"STOR", "RETR", "APPE"}:
            control.restarting = False

    @override
    def getline(self) -> str:
        self._held()
        return super().getline()

    @override
    def getmultiline(self) -> str:
        control = self._held()
        line = self.getline()
        if line[3:4] == "-":
            lines, total, code = [line], len(line), line[:3]
            while not (line[:3] == code and line[3:4] != "-"):
                line = self.getline()
                lines.append(line)
                total += len(line) + 1
                if total > LONGEST_REPLY:
                    control.tainted = True
                    raise error_proto(f"a reply of over {LONGEST_REPLY} characters: {lines[0]}")
            line = "\n".join(lines)
        self._note_reply(control, line)
        return line

    def _note_reply(self, control: Control, reply: str) -> None:
        if reply[:1] == "1":
            return  # preliminary: the final one is still to come
        control.outstanding -= 1
        if self._new_type is not None:
            if reply[:1] == "2":
                control.type = self._wanted_type = self._new_type
            self._new_type = None

    # -- data connections --------------------------------------------------------------------------

    @override
    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        control = self._held()
        sock, size = super().ntransfercmd(cmd, rest)
        timeout = sock.gettimeout()
        data = DataSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        data.settimeout(timeout)
        control.data.add(data)
        return data, size

    @override
    def makepasv(self) -> tuple[str, int]:
        control = self._held()
        if self.af == socket.AF_INET and not control.no_epsv:
            try:
                return self._epsv()
            except error_perm as error:
                if str(error)[:3] not in {"500", "501", "502", "522"}:
                    raise
                control.no_epsv = True
        return super().makepasv()

    def _epsv(self) -> tuple[str, int]:
        # As ftplib does for IPv6; servers behind NAT announce wrong addresses in PASV's answer.
        family, self.af = self.af, socket.AF_INET6
        try:
            return super().makepasv()
        finally:
            self.af = family

    # -- calls that would end, replace or spoil the session ----------------------------------------

    @override
    def connect(
        self,
        host: str = "",
        port: int = 0,
        timeout: float = -999,
        source_address: tuple[str, int] | None = None,
    ) -> str:
        """Return the greeting again; another host needs a pool of its own."""
        control = self._held()
        if host and host not in {self.host, control.name}:
            raise ConfigError(
                f"this session is connected to {control.name}; make another pool for {host}"
            )
        return control.welcome

    @override
    def login(self, user: str = "", passwd: str = "", acct: str = "") -> str:
        """Return the reply to the login again; another user needs a pool of its own."""
        control = self._held()
        if user and user != control.user:
            raise ConfigError(
                f"this session is logged in as {control.user!r}; make another pool for {user!r}"
            )
        return control.login_reply

    @override
    def abort(self) -> str:
        """Send ABOR; the session is not used again, as servers differ in how they answer."""
        self._held().tainted = True
        return super().abort()

    @override
    def quit(self) -> str:
        """Send QUIT, return the server's goodbye, and end the session."""
        control = self._held()
        control.leave()
        try:
            control.sock.settimeout(control.quit_timeout)
            reply = self.voidcmd("QUIT")
            control.said_goodbye = True
            return reply
        finally:
            self.close()

    @override
    def close(self) -> None:
        """End the session; the pool says QUIT where it was not said. May be called twice."""
        control = self._control
        if control is not None:
            control.ended = True
            self._give_back()

    def _log_in(self, user: str, password: str) -> str:
        return super().login(user, password)


_classes: dict[type[FTP], type[LeasedFTP]] = {FTP: LeasedFTP}


def leased_class(base: type[FTP] | None) -> type[LeasedFTP]:
    """Return :class:`LeasedFTP`, on top of the user's own subclass of ``ftplib.FTP`` if given."""
    base = base or FTP
    if base not in _classes:
        made = types.new_class(f"Leased{base.__name__}", (LeasedFTP, base))
        _classes[base] = cast("type[LeasedFTP]", made)
    return _classes[base]
