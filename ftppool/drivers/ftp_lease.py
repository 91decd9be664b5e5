"""The object that a borrower gets: a real ``ftplib.FTP`` on a connection that is not its own."""

from __future__ import annotations

import contextlib
import math
import socket
import types
from collections.abc import Callable, Iterator
from ftplib import CRLF, FTP, Error, error_perm, error_proto, error_reply, error_temp, parse150
from typing import Any, cast

from ftppool.drivers.control import Control, DataSocket
from ftppool.drivers.replies import BIGGEST, check_announcement, parse_epsv, parse_pasv
from ftppool.errors import ConfigError, LeaseReturned
from ftppool.typed import override
from ftppool.words import legible

__all__ = ["LeasedFTP", "leased_class"]

LONGEST_LISTING = 64 << 20
"""Bytes of one directory listing; about 600,000 files."""

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
    source_address: tuple[str, int] | None
    passiveserver: bool
    welcome: str | None
    sock: socket.socket | None
    file: Any
    _wanted_type = "A"
    _new_type: str | None = None
    _showed_password = False

    # -- the lease ---------------------------------------------------------------------------------

    @override
    def __repr__(self) -> str:
        """Where and as whom it is logged in, or that it is over."""
        control, name = self._control, type(self).__name__
        if control is None:
            return f"<{name}: given back>"
        return f"<{name} {control.user}@{control.name}:{control.peer[1]}>"

    def _take(self, control: Control, timeout: float) -> None:
        self._control = control
        self.sock = control.sock
        self.file = cast("Any", control.reader)
        self.welcome = control.welcome
        self.af = control.family
        self.host, self.port = control.peer
        self.timeout = timeout

    def _give_back(self) -> None:
        if self._control is not None:
            # An exception may have left them; if its traceback goes before `leave` comes, the last
            # reference would end them with a FIN, and half a file would count as whole.
            self._control.left = self._control.open_data
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
        if "\r" in line or "\n" in line or "\0" in line:
            raise ValueError("an illegal newline character should not be contained")
        raw = (line + CRLF).encode(self.encoding, "surrogateescape")
        verb, _, argument = line.partition(" ")
        if control.reader.buffered and not (control.outstanding or control.tainted):
            self._unasked(control)
        self._prepare(control, verb.upper(), argument)
        if self.debugging > 1:
            print("*put*", self.sanitize(line))
        control.outstanding += 1
        control.sock.sendall(raw)

    def _unasked(self, control: Control) -> None:
        """Refuse to take what the server said unasked for the reply to the next command."""
        control.tainted = True
        words = legible(control.reader.reply())
        raise (error_temp if words[0] == "4" else error_proto)(words)

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
            self._showed_password |= verb == "PASS"
        if verb in {"STOR", "RETR", "APPE"}:
            control.restarting = False

    @override
    def getline(self) -> str:
        self._held()
        return super().getline()

    @override
    def getmultiline(self) -> str:
        control = self._held()
        try:
            reply = control.reader.reply()
            check_announcement(reply)
        except error_proto:
            control.tainted = True
            raise
        if self.debugging > 1:
            print("*get*", self.sanitize(reply))
        self._note_reply(control, reply)
        return reply

    @override
    def getresp(self) -> str:
        with _legible(self._held()):
            return super().getresp()

    @override
    def voidresp(self) -> str:
        with _legible(self._held()):
            return super().voidresp()

    def _note_reply(self, control: Control, reply: str) -> None:
        if reply[:1] == "1":
            return  # preliminary: the final one is still to come
        control.outstanding -= 1
        if self._new_type is not None:
            if reply[:1] == "2":
                control.type = self._wanted_type = self._new_type
            self._new_type = None

    @override
    def delete(self, filename: str) -> str:
        with _legible(self._held()):
            return super().delete(filename)

    @override
    def rename(self, fromname: str, toname: str) -> str:
        with _legible(self._held()):
            return super().rename(fromname, toname)

    # -- data connections --------------------------------------------------------------------------

    @override
    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        control = self._held()
        if self.passiveserver:
            sock, size = self._passive_transfer(control, cmd, rest)
        else:
            with _legible(control):
                sock, size = super().ntransfercmd(cmd, rest)
        try:
            return self._adopt_data(sock), size
        except OSError as error:
            self._explain(error)
            raise

    def _passive_transfer(
        self, control: Control, cmd: str, rest: int | str | None
    ) -> tuple[socket.socket, int | None]:
        host, port = self.makepasv()
        # Known to the session before it is connected: whatever happens, it will be closed.
        data = DataSocket(self.af)
        try:
            control.data.add(data)
            data.settimeout(self.timeout)
            if self.source_address is not None:
                data.bind(self.source_address)
            data.connect((host, port))
            with _legible(control):
                return data, self._begin_transfer(cmd, rest)
        except BaseException:
            data.close()
            raise

    def _begin_transfer(self, cmd: str, rest: int | str | None) -> int | None:
        """Send the command; the size that the server announces."""
        if rest is not None:
            self.sendcmd(f"REST {rest}")
        reply = self.sendcmd(cmd)
        if reply[0] == "2":
            reply = self.getresp()  # some servers say 200 first; see ftplib
        if reply[0] != "1":
            raise error_reply(reply)
        return parse150(reply) if reply[:3] == "150" else None

    def _adopt_data(self, sock: socket.socket) -> socket.socket:
        """Make a data connection of a socket: every one passes through here.

        The socket is connected and the command that uses it has been sent. Over TLS this is the
        handshake, bounded by the socket's time-out; see :class:`LeasedFTPTLS`.

        Returns:
            What the bytes of the file go through. Left by an exception, it closes with RST; else
            (over TLS) it says close_notify first.

        Raises:
            OSError: The handshake failed; the socket is closed, the session is tainted, and the
                server's reply to the command is still to be read.
        """
        if not isinstance(sock, DataSocket):
            sock.__class__ = DataSocket  # one step: no moment in which nobody has the descriptor
        self._held().data.add(cast("DataSocket", sock))
        return sock

    def _explain(self, error: OSError) -> None:
        """A handshake failed: raise the server's reply, which has the reason, if it gave one."""

    def _reuse_worked(self) -> bool:
        """True if a data connection of this session has resumed its TLS session before."""
        return False

    @override
    def makepasv(self) -> tuple[str, int]:
        control = self._held()
        if self.af != socket.AF_INET or control.known.epsv:
            try:
                return self.host, parse_epsv(self.sendcmd("EPSV"))
            except error_perm as error:
                no_such_command = str(error)[:3] in {"500", "501", "502", "522"}
                if self.af != socket.AF_INET or not no_such_command:
                    raise
                control.known.epsv = False
        host, port = parse_pasv(self.sendcmd("PASV"))
        # Servers behind NAT announce wrong addresses, hostile ones those of others.
        return host if self.trust_server_pasv_ipv4_address else self.host, port

    @override
    def retrlines(self, cmd: str, callback: Callable[[str], object] | None = None) -> str:
        """Retrieve lines; a directory listing has an end."""
        control = self._held()
        left = LONGEST_LISTING if cmd[:4].upper() in {"LIST", "MLSD", "NLST"} else math.inf

        def count(line: str) -> None:
            nonlocal left
            left -= len(line) + 1
            if left < 0:
                control.tainted = True
                raise error_proto(f"{cmd[:4]}: a listing of over {LONGEST_LISTING >> 20} MiB")
            (callback or print)(line)

        return super().retrlines(cmd, count)

    # -- replies with a value ----------------------------------------------------------------------

    @override
    def size(self, filename: str) -> int | None:
        """Bytes of a file; only a number that can be one is taken."""
        self._held()
        try:
            size = super().size(filename)
        except UnicodeError:
            raise
        except ValueError as error:
            if set(filename) & {"\r", "\n", "\0"}:
                raise
            raise self._senseless(f"SIZE: {error}") from None
        if size is not None and not 0 <= size < BIGGEST:
            raise self._senseless(f"SIZE: {size}")
        return size

    @override
    def pwd(self) -> str:
        """The working directory, if it is one that a command can carry."""
        directory = super().pwd()
        if "\r" in directory or "\0" in directory:
            raise self._senseless(directory)
        return directory

    def _senseless(self, reply: str) -> error_proto:
        self._held().tainted = True
        return error_proto(legible(reply))

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
        with _legible(self._held()):
            return super().login(user, password)

    def _log_in_at_once(self, user: str, password: str) -> str:
        """The same in one round trip: the password does not wait until it is asked for."""
        if user == "anonymous" and password in {"", "-"}:
            password += "anonymous@"  # as ftplib does
        self.putcmd(f"USER {user}")
        self.putcmd(f"PASS {password}")
        reply = self.getresp()
        if reply[:1] == "2":  # it wants none any more
            self.getmultiline()
            return reply
        reply = self.getresp()
        if reply[:1] == "3":
            reply = self.sendcmd("ACCT ")
        if reply[:1] != "2":
            raise error_reply(reply)
        return reply


@contextlib.contextmanager
def _legible(control: Control) -> Iterator[None]:
    """Let no server write to the terminal on which its words are shown."""
    try:
        yield
    except Error as error:
        error.args = (legible(str(error)),)
        control.tainted |= isinstance(error, (error_proto, error_reply))
        raise


def leased_class(lent: type[LeasedFTP], base: type[FTP] | None) -> type[LeasedFTP]:
    """Return the class that is lent, on top of the user's own subclass of ftplib's if given."""
    if base is None or issubclass(lent, base):
        return lent
    if (lent, base) not in _classes:
        made = types.new_class(f"Leased{base.__name__}", (lent, base))
        _classes[lent, base] = cast("type[LeasedFTP]", made)
    return _classes[lent, base]


_classes: dict[tuple[type[LeasedFTP], type[FTP]], type[LeasedFTP]] = {}
