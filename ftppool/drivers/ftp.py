"""FTP sessions: connect, log in, lend, and the polite end."""

from __future__ import annotations

import contextlib
import ftplib
import select
import socket
import sys
import time

from ftppool.drivers.base import Address, OpenFailed, Timeouts, Watch, Wire, shut_down, tune
from ftppool.drivers.ftp_files import FTPFiles
from ftppool.drivers.ftp_lease import Control, LeasedFTP, leased_class
from ftppool.drivers.replies import ReplyReader
from ftppool.errors import ConfigError, FTPPoolError
from ftppool.refusals import Phase, Reply
from ftppool.target import FTPConfig, Target

__all__ = ["FTPDriver", "FTPWire"]

SECRET = 5
"""Characters from which on a password is blotted out of replies; a shorter one is in any text."""

LINGER = 1.0
"""Seconds to wait for the server's FIN after its 221; Pure-FTPd frees the slot only then."""


class FTPDriver:
    """Makes FTP sessions of one target."""

    places = 1
    endpoint: tuple[str, int, bool] | None = None

    def __init__(self, target: Target, config: FTPConfig, timeouts: Timeouts) -> None:
        self._target = target
        self._config = config
        self._timeouts = timeouts

    def open(self, address: Address, watch: Watch) -> Wire:
        """Connect and log in; see :meth:`ftppool.drivers.base.Driver.open`."""
        password = self._target.secret()  # the user's own code: its errors are not the server's
        self._check_encodable(password)
        phase = Phase.CONNECT
        sock: socket.socket | None = None
        try:
            sock = self._connect(address, watch)
            phase = Phase.GREETING
            wire = FTPWire(self._target, self._config, self._timeouts, sock, address)
            wire.greet()
            watch.greeted()
            phase = Phase.LOGIN
            wire.log_in(password)
            return wire
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, ftplib.all_errors):
                _forget(password, error)
                raise OpenFailed(_reply(phase, error)) from error
            raise

    def _check_encodable(self, password: str) -> None:
        for what, text in (("user name", self._target.user), ("password", password)):
            try:
                text.encode(self._config.encoding, "surrogateescape")
                continue
            except UnicodeEncodeError:
                pass  # it quotes the text, so it must not become the context of our error
            raise ConfigError(
                f"the {what} cannot be written in {self._config.encoding}: pass another "
                "FTPConfig(encoding=…)"
            )

    def _connect(self, address: Address, watch: Watch) -> socket.socket:
        if self._config.socket_factory is not None:
            sock: socket.socket = self._config.socket_factory(
                (self._target.host, address.port), timeout=self._timeouts.connect
            )
            watch.connecting(sock)
        else:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            try:
                watch.connecting(sock)
                sock.settimeout(self._timeouts.connect)
                if self._config.source_address is not None:
                    sock.bind(self._config.source_address)
                sock.connect((address.ip, address.port))
            except BaseException:
                sock.close()
                raise
        sock.settimeout(self._timeouts.connect)
        tune(sock)
        return sock


class FTPWire:
    """One FTP control connection in a slot."""

    def __init__(
        self,
        target: Target,
        config: FTPConfig,
        timeouts: Timeouts,
        sock: socket.socket,
        address: Address,
    ) -> None:
        self._target = target
        self._config = config
        self._timeouts = timeouts
        self._address = address
        self._control = Control(
            sock,
            ReplyReader(sock, config.encoding),
            target.host,
            target.user,
            timeouts.quit,
        )

    # -- the beginning -----------------------------------------------------------------------------

    def greet(self) -> None:
        """Read the server's greeting."""
        ftp = self._new_handle()
        self._control.welcome = ftp.getresp()
        self._control.outstanding = 0  # nobody asked for the greeting

    def log_in(self, password: str) -> None:
        """Send user name and password; all replies together have the time of one."""
        self._control.sock.settimeout(self._timeouts.io)
        self._control.reader.until = time.monotonic() + self._timeouts.io
        ftp = self._new_handle()
        self._control.login_reply = ftp._log_in(self._target.user, password)
        if self._control.reader.buffered:
            ftp._unasked(self._control)
        self._control.reader.until = None
        self._control.tainted = False  # by USER and PASS, which are not for borrowers

    # -- one loan after another --------------------------------------------------------------------

    def looks_alive(self, loan: LeasedFTP | None = None) -> bool:
        """Look at the socket: an idle server has nothing to say, so any byte or EOF means dead."""
        return self._control.clean and not _readable(self._control.sock)

    def check(self, limit: float) -> bool:
        """Send NOOP; the borrower waits, so it must not take long."""
        ftp = self._new_handle()
        try:
            self._control.sock.settimeout(min(limit, self._timeouts.quit))
            ftp.voidcmd("NOOP")
            self._control.sock.settimeout(self._timeouts.io)
        except ftplib.all_errors:
            self._control.tainted = True
        finally:
            ftp._give_back()
        return self._control.clean

    def lend(self, limit: float) -> LeasedFTP:
        """Hand out a fresh object on the connection, in the login directory."""
        control = self._control
        ftp = self._new_handle()
        if control.moved:
            control.sock.settimeout(min(limit, self._timeouts.quit))
            ftp.voidcmd(f"CWD {control.home}")
            control.sock.settimeout(self._timeouts.io)
            control.moved = False
        return ftp

    def files(self, loan: LeasedFTP) -> FTPFiles:
        """The file calls, in binary type."""
        return FTPFiles(loan, str(self._address), self._timeouts.io)

    def take_back(self, loan: LeasedFTP, *, doom: bool = False) -> bool:
        """End a loan; the object is harmless from now on."""
        clean = self._control.clean and not (self._control.moved and not self._control.home)
        loan._give_back()
        with contextlib.suppress(OSError):
            self._control.sock.settimeout(self._timeouts.io)
        return clean and not doom

    # -- the end -----------------------------------------------------------------------------------

    def end(self) -> bool:
        """Close data connections, say QUIT where the server still listens, and close."""
        control = self._control
        control.leave()
        try:
            if not control.said_goodbye:
                control.said_goodbye = self._quit(time.monotonic() + self._timeouts.quit)
            if control.said_goodbye:
                self._read_to_eof()
        except (OSError, EOFError, ValueError, FTPPoolError):
            pass  # the peer is gone; what counts is that our end is closed
        finally:
            control.sock.close()
        return control.said_goodbye

    def cut(self) -> None:
        """Break control and data connections from any thread."""
        self._control.tainted = True
        self._control.leave()  # with RST: a FIN would tell the server that the file is whole
        shut_down([self._control.sock])

    def _quit(self, deadline: float) -> bool:
        """Send QUIT and read up to 221; replies that a borrower left unread come first."""
        control = self._control
        control.sock.settimeout(max(0.001, deadline - time.monotonic()))
        control.sock.sendall(b"QUIT\r\n")
        while (left := deadline - time.monotonic()) > 0:
            control.sock.settimeout(left)
            line = control.reader.readline()
            if line[:4] == "221 ":
                return True
            if not line or line[:4] == "421 ":
                return False
        return False

    def _read_to_eof(self) -> None:
        deadline = time.monotonic() + min(LINGER, self._timeouts.quit)
        while (left := deadline - time.monotonic()) > 0:
            self._control.sock.settimeout(left)
            if not self._control.sock.recv(4096):
                return

    def _new_handle(self) -> LeasedFTP:
        ftp = leased_class(self._config.ftp_class)()
        ftp.encoding = self._config.encoding
        ftp.set_pasv(self._config.passive)
        ftp.trust_server_pasv_ipv4_address = self._config.trust_pasv_address
        ftp.source_address = self._config.source_address
        ftp._take(self._control, self._timeouts.io)
        return ftp


def _forget(password: str, error: BaseException) -> None:
    """Leave no password in an error: some servers repeat the command, and frames hold it."""
    error.__traceback__ = None
    if len(password) >= SECRET:
        error.args = tuple(
            arg.replace(password, "***") if isinstance(arg, str) else arg for arg in error.args
        )


def _reply(phase: Phase, error: BaseException) -> Reply:
    """What the server said, or what the system said where the server said nothing."""
    text = str(error)
    if isinstance(error, TimeoutError) and phase is Phase.GREETING:
        # Whoever refuses closes; a server that accepts and says nothing is not reached.
        return Reply(Phase.CONNECT, None, "connected, but no greeting came in time")
    if isinstance(error, ftplib.Error) and text[:3].isascii() and text[:3].isdigit():
        return Reply(phase, int(text[:3]), text)
    return Reply(phase, None, text or type(error).__name__)


def _readable(sock: socket.socket) -> bool:
    try:
        if sys.platform == "win32":
            return bool(select.select([sock], [], [], 0)[0])
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        return bool(poller.poll(0))
    except (OSError, ValueError):
        return True  # closed: as good as an EOF
