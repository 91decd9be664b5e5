"""The stand-in's ``FTP``: an object of the standard library's kind that holds a slot."""

from __future__ import annotations

import contextlib
import copy
import ftplib
import os
import socket
import ssl
import sys
import time
import weakref
from dataclasses import dataclass, field
from ftplib import Error, error_temp
from typing import Any, cast

from ftppool.drivers.base import Timeouts
from ftppool.drivers.control import Control, DataSocket
from ftppool.drivers.replies import ReplyReader
from ftppool.errors import ConfigError, FTPPoolError
from ftppool.held import Dial, Held, in_ftplibs_words
from ftppool.options import check_cap, check_seconds
from ftppool.target import FTPConfig, Target
from ftppool.typed import override

__all__ = ["FTP", "GOODBYE", "UNSET", "configure", "secure", "settings"]

TIMEOUT = 60.0
"""Seconds for one step, where neither the script nor the ``socket`` module says another number."""
GOODBYE = 3.0
"""Seconds for the QUIT that a script leaves to us."""
UNSET: Any = getattr(socket, "_GLOBAL_DEFAULT_TIMEOUT")  # noqa: B009 - as ftplib does


@dataclass(slots=True)
class Settings:
    max_per_ip: int | None = None
    acquire_timeout: float = 600.0
    verify: bool = True

    def cap(self) -> int:
        """How many connections the server may see."""
        if self.max_per_ip is not None:
            return self.max_per_ip
        said = os.environ.get("FTPPOOL_MAX_PER_IP", "2")
        if not said.isascii() or not said.isdigit() or int(said) < 1:
            raise ConfigError(f"FTPPOOL_MAX_PER_IP={said!r}: write a number, 1 or more")
        return int(said)


settings: Settings = Settings()


def configure(
    *,
    max_per_ip: int | None = None,
    acquire_timeout: float | None = None,
    verify: bool | None = None,
) -> None:
    """Change what applies to the connects from now on; what is not named stays as it is.

    Args:
        max_per_ip: Connections that the server may see at any instant; the default is
            ``FTPPOOL_MAX_PER_IP``, or 2.
        acquire_timeout: Seconds that a connect waits for its turn, and for a server that refuses
            (default 600: left-overs of a crashed run can count that long).
        verify: False: TLS takes any certificate, as the standard module does.

    Raises:
        ConfigError: A value is wrong; it is a ``ValueError``.
    """
    if max_per_ip is not None:
        settings.max_per_ip = check_cap(max_per_ip)
    if acquire_timeout is not None:
        settings.acquire_timeout = check_seconds("acquire_timeout", acquire_timeout, zero=True)
    if verify is not None:
        settings.verify = verify


@dataclass(frozen=True, slots=True)
class _Login:
    user: str
    passwd: str = field(repr=False)
    acct: str = field(repr=False)
    secured: bool
    protected: bool


class FTP(ftplib.FTP):
    """``ftplib.FTP`` that holds one of the connections that the server allows."""

    host: str
    port: int
    timeout: float | None
    source_address: tuple[str, int] | None
    welcome: str | None
    af: int
    sock: socket.socket | None
    file: Any
    _held: Held | None = None
    _ended: str = ""

    # -- the connection ----------------------------------------------------------------------------

    @override
    def connect(
        self,
        host: str = "",
        port: int = 0,
        timeout: float | None = -999,
        source_address: tuple[str, int] | None = None,
    ) -> str:
        """Wait for a free connection and return the server's greeting.

        Args:
            host: Host name (default: the one before).
            port: Port (default: the one before, at first 21).
            timeout: Seconds for each step (default: as given to the constructor, else
                ``socket.getdefaulttimeout()``, else 60). None: no limit, once the server has
                greeted.
            source_address: ``(host, port)`` to bind to.

        Raises:
            ftplib.error_temp: All connections stayed in use, or the server refused, for
                ``acquire_timeout`` seconds.
            ftplib.Error, OSError, EOFError: As in the standard module.
        """
        if host != "":
            self.host = host
        if port > 0:
            self.port = port
        if timeout != -999:
            self.timeout = timeout
        if self.timeout is not None and not self.timeout:
            raise ValueError("Non-blocking socket (timeout=0) is not supported")
        if self.timeout is UNSET:
            default = socket.getdefaulttimeout()
            self.timeout = TIMEOUT if default is None else default
        if source_address is not None:
            self.source_address = source_address
        sys.audit("ftplib.connect", self, self.host, self.port)
        FTP.close(self)
        self._ended = ""
        return self._dial(None).welcome

    def _dial(self, login: _Login | None) -> Control:
        limit = self.timeout or TIMEOUT
        try:
            held = Dial(
                target=Target("ftp", self.host or "localhost", self.port, _user(login)),
                config=FTPConfig(encoding=self.encoding, source_address=self.source_address),
                timeouts=Timeouts.of(limit, limit, GOODBYE),
                caller=_Caller(self, login),
                cap=settings.cap(),
                wait=settings.acquire_timeout,
            ).connect()
        except ConfigError:
            raise
        except FTPPoolError as error:
            raise in_ftplibs_words(error) from None
        held.owner = weakref.ref(self)
        self._held = held
        self._adopt(held.control)
        return held.control

    def _adopt(self, control: Control) -> None:
        control.sock.settimeout(self.timeout)
        self.sock = control.sock
        self.file = cast("Any", control.reader)
        self.af = control.family
        self.welcome = control.welcome

    def _lost(self, words: str) -> None:
        self._ended = words
        self._held = None
        self.sock = self.file = None

    @override
    def quit(self) -> str:
        """Say QUIT and return the server's goodbye; the connection is closed in any case."""
        if self._ended:
            ended, self._ended = self._ended, ""
            return f"221 {ended[4:]}"
        held = self._held
        try:
            if held is not None and held.control.outstanding:
                return self._quit_late(held.control)
            return self.voidcmd("QUIT")
        finally:
            self.close()

    def _quit_late(self, control: Control) -> str:
        """Say QUIT although answers are still to come: a transfer was broken off.

        Pure-FTPd takes what comes before its own last word on the transfer for an interruption of
        it, and other servers have two words to say.
        """
        control.leave()
        control.sock.settimeout(GOODBYE)
        reader = control.reader
        try:
            reader.until = time.monotonic() + GOODBYE
            with contextlib.suppress(TimeoutError):
                while control.outstanding:
                    self.getmultiline()
            self.putcmd("QUIT")
            reader.until = time.monotonic() + GOODBYE  # what was late may have taken all of it
            while (reply := self.getmultiline())[:3] != "221":
                pass
            return reply
        finally:
            reader.until = None

    @override
    def close(self) -> None:
        """Give the connection back at once; QUIT is said in the background if it was not."""
        held, self._held = self._held, None
        if held is None:
            super().close()
            return
        sock, file = self.sock, self.file
        self.sock = self.file = None
        control = held.control
        if sock is not None and sock is not control.sock:  # a script has put another one there
            control.sock, control.reader = sock, ReplyReader(sock, self.encoding)
        if file is not None and file is not control.reader:
            file.close()
        held.let_go()

    # -- what goes over the wire -------------------------------------------------------------------

    @override
    def putline(self, line: str) -> None:
        held = self._in_use()
        super().putline(line)
        if held is not None:
            held.control.outstanding += 1

    @override
    def getline(self) -> str:
        self._in_use()
        return super().getline()

    @override
    def getmultiline(self) -> str:
        reply = super().getmultiline()
        if self._held is not None and reply[:1] != "1":
            control = self._held.control
            control.outstanding = max(0, control.outstanding - 1)
            control.said_goodbye |= reply[:3] == "221"
            if control.tls is not None and not control.outstanding:
                control.tls.let_go()
        return reply

    def _in_use(self) -> Held | None:
        if self._ended:
            raise error_temp(self._ended)
        held = self._held
        if held is not None:
            held.used()
        return held

    @override
    def login(self, user: str = "", passwd: str = "", acct: str = "") -> str:
        """Log in; if the server has no room for one more, connect again when it may have.

        Raises:
            ftplib.Error: The server's answer. A wrong password is tried once.
        """
        held = self._held
        try:
            return ftplib.FTP.login(self, user, passwd, acct)
        except (Error, EOFError) as error:
            if held is None or not held.refuses(error):
                raise
            refusal = error
        secured = isinstance(self.sock, ssl.SSLSocket)
        self.close()
        self._ended = str(refusal) or "421 The server ended the login"  # if it comes to nothing
        protected = getattr(self, "_prot_p", False)
        try:
            control = self._dial(_Login(user, passwd, acct, secured, protected))
        except (OSError, EOFError) as error:
            raise refusal from error
        self._ended = ""
        return control.login_reply

    @override
    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        """Open a data connection; left by an exception it is reset, so that the server notices."""
        sock, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        return Data.of(sock, self._held), size


class Data(DataSocket):
    """A data connection; if a script forgets the rest, the session lives as long as this."""

    held: Held | None = None

    def _real_close(self, *args: Any) -> None:
        # Called when the last file that was made of the socket is closed as well.
        getattr(super(), "_real_close")(*args)  # noqa: B009 - unknown to type checkers
        self.held = None

    @classmethod
    def of(cls, sock: socket.socket, held: Held | None) -> Data:
        """Make one of a connected socket, which is taken over."""
        timeout = sock.gettimeout()
        data = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        data.settimeout(timeout)
        if held is not None:
            data.held = held
            held.control.data.add(data)
        return data


def secure(ftp: FTP, control: Control | None) -> str:
    """Do what ``FTP_TLS.auth`` does, with a reader that hides nothing and keeps to its time."""
    reply = ftplib.FTP_TLS.auth(cast("ftplib.FTP_TLS", ftp))
    if control is not None and ftp.sock is not None:
        ftp.file.close()
        control.sock = ftp.sock
        control.reader = ftp.file = ReplyReader(ftp.sock, ftp.encoding)
    return reply


def _user(login: _Login | None) -> str:
    return (login.user if login else "") or "anonymous"


class _Caller:
    """Speaks for an object as far as a refusal can come, with a copy of it.

    The copy has the settings and the methods of the user's class (some put TLS on a connection as
    soon as they see it), but the object itself is not touched before it has a connection: it may
    have given up meanwhile, and the gate's own thread calls this.
    """

    def __init__(self, ftp: FTP, login: _Login | None) -> None:
        self._pattern = copy.copy(ftp)
        self._login = login
        self._ftp = self._pattern

    def greet(self, control: Control) -> None:
        """Read the greeting."""
        ftp = self._ftp = copy.copy(self._pattern)
        ftp._ended = ""
        ftp.sock = control.sock
        if ftp.sock is not control.sock:
            control.sock = ftp.sock
            control.reader = ReplyReader(control.sock, ftp.encoding)
        ftp.af, ftp.file = control.family, control.reader
        ftp.welcome = control.welcome = ftp.getresp()

    def log_in(self, control: Control) -> None:
        """Log in again as before."""
        ftp, login = self._ftp, self._login
        if login is None:
            return
        if login.secured and not isinstance(ftp.sock, ssl.SSLSocket):
            secure(ftp, control)
        control.login_reply = ftplib.FTP.login(ftp, login.user, login.passwd, login.acct)
        if login.protected:
            ftplib.FTP_TLS.prot_p(cast("ftplib.FTP_TLS", ftp))
