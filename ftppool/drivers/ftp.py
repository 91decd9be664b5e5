"""FTP sessions: connect, lend, and the polite end; the login is in ``ftp_login``."""

from __future__ import annotations

import contextlib
import ftplib
import socket
import ssl
import time

from ftppool.bucket import Bucket
from ftppool.drivers.base import (
    Address,
    OpenFailed,
    Timeouts,
    Watch,
    Wire,
    Withdrawn,
    drop,
    shut_down,
    tune,
    wait_for,
)
from ftppool.drivers.control import Control
from ftppool.drivers.ftp_files import FTPFiles
from ftppool.drivers.ftp_lease import LeasedFTP
from ftppool.drivers.ftp_login import Login, handle_on
from ftppool.drivers.known import known_at
from ftppool.drivers.replies import ReplyReader
from ftppool.drivers.tls import TLSPolicy, TLSState, is_verdict, says_nothing
from ftppool.errors import ConfigError, FTPPoolError
from ftppool.refusals import Phase, Reply
from ftppool.target import FTPConfig, Target

__all__ = ["FTPDriver", "FTPWire"]

SECRET = 5
"""Characters from which on a password is blotted out of replies; a shorter one is in any text."""

LINGER = 1.0
"""Seconds to wait for the server's FIN after its 221; Pure-FTPd frees the slot only then."""
FRESH = 0.1
"""Seconds for which an answer is a sign of life: a look at the socket would tell no more."""


class FTPDriver:
    """Makes FTP sessions of one target, over TLS if it has a `policy`."""

    places = 1
    holds: bool = True
    endpoint: tuple[str, int, bool] | None = None

    def __init__(
        self,
        target: Target,
        config: FTPConfig,
        timeouts: Timeouts,
        policy: TLSPolicy | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        self._target = target
        self._config = config
        self._timeouts = timeouts
        self._bucket = bucket
        self._policy = policy
        self._asks_password = False
        own = config.ftp_class
        if policy is None and own is not None and issubclass(own, ftplib.FTP_TLS):
            raise ConfigError(f"ftp_class={own.__name__} is for TLS: write ftps://, not ftp://")

    def open(self, address: Address, watch: Watch) -> Wire:
        """Connect and log in; see :meth:`ftppool.drivers.base.Driver.open`."""
        password = self._target.secret()  # the user's own code: its errors are not the server's
        self._check_encodable(password)
        phase = Phase.CONNECT
        sock: socket.socket | None = None
        wire: FTPWire | None = None
        try:
            sock = self._connect(address, watch)
            phase = Phase.GREETING
            wire = FTPWire(
                self._target,
                self._config,
                self._timeouts,
                sock,
                address,
                policy=self._policy,
                bucket=self._bucket,
            )
            login = Login(wire.control, self._target, self._config, self._timeouts, address)
            if self._policy is not None and self._policy.implicit:
                login.secure(watch)
            login.greet()
            watch.greeted()
            phase = Phase.LOGIN
            if self._policy is not None and not self._policy.implicit:
                login.ask_for_tls()
                login.secure(watch)
            watch.wait_to_log_in()
            self._asks_password = login.log_in(password, at_once=self._asks_password)
            if self._policy is not None:
                login.protect_data()
            return wire
        except Withdrawn:
            assert wire is not None
            wire.end()
            raise
        except BaseException as error:
            if isinstance(error, ftplib.all_errors):
                _forget(password, error)
            password = ""  # this frame goes along with the error
            failure = self._failure(phase, error, wire, address)
            if wire is not None:
                wire.drop()
            elif sock is not None:
                drop(sock)
            if failure is None:
                raise
            raise failure from error

    def _failure(
        self, phase: Phase, error: BaseException, wire: FTPWire | None, address: Address
    ) -> Exception | None:
        """Put it in words that the gate understands; None if they are well put already."""
        if self._policy is not None and isinstance(error, ssl.SSLError) and is_verdict(error):
            return self._policy.error(
                error, None if wire is None else wire.control.sock, str(address)
            )
        if isinstance(error, ftplib.all_errors):
            return OpenFailed(_reply(phase, error))
        return None

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
        factory = self._config.socket_factory
        limit = self._timeouts.connect
        if factory is not None:
            sock: socket.socket = factory((self._target.host, address.port), timeout=limit)
        else:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            watch.connecting(sock)
            sock.settimeout(limit)
            if factory is None:
                if self._config.source_address is not None:
                    sock.bind(self._config.source_address)
                sock.connect((address.ip, address.port))
                watch.connecting(sock)
            tune(sock)
        except BaseException:
            sock.close()
            raise
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
        *,
        policy: TLSPolicy | None,
        bucket: Bucket | None = None,
    ) -> None:
        self._target = target
        self._config = config
        self._timeouts = timeouts
        self._address = address
        self._bucket = bucket
        self._control = Control(
            sock,
            ReplyReader(sock, config.encoding),
            target.host,
            target.user,
            quit_timeout=timeouts.quit,
            known=known_at(address),
            tls=None if policy is None else TLSState(policy),
        )
        self._cut = False
        self._answer_due: float | None = None

    @property
    def control(self) -> Control:
        """The control connection."""
        return self._control

    def drop(self) -> None:
        """Close a connection of which no session came."""
        self._control.sock.close()

    # -- one loan after another --------------------------------------------------------------------

    def looks_alive(self, loan: LeasedFTP | None = None) -> bool:
        """Look at the socket: an idle server has nothing to say, so any byte or EOF means dead."""
        sock = self._control.sock
        if loan is not None and time.monotonic() < self._control.heard + FRESH:
            return self._control.clean  # who has just answered need not be looked at
        silent = says_nothing(sock) if isinstance(sock, ssl.SSLSocket) else not _readable(sock)
        return self._control.clean and silent

    def check(self, limit: float) -> bool:
        """Send NOOP; the borrower waits, so it must not take long."""
        ftp = handle_on(self._control, self._config, self._timeouts.io)
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
        ftp = handle_on(control, self._config, self._timeouts.io)
        if control.moved:
            control.sock.settimeout(min(limit, self._timeouts.quit))
            ftp.voidcmd(f"CWD {control.home}")
            control.sock.settimeout(self._timeouts.io)
            control.moved = False
        return ftp

    def files(self, loan: LeasedFTP) -> FTPFiles:
        """The file calls, in binary type."""
        return FTPFiles(
            loan,
            str(self._address),
            self._timeouts.io,
            bucket=self._bucket,
            # A class of the user's may do things its own way: nothing goes past its methods.
            chains=self._config.ftp_class is None and self._config.passive,
        )

    def take_back(self, loan: LeasedFTP, *, doom: bool = False) -> bool:
        """End a loan; the object is harmless from now on."""
        clean = self._control.clean and not (self._control.moved and not self._control.home)
        loan._give_back()
        sock = self._control.sock
        if sock.gettimeout() != self._timeouts.io:  # the borrower may have set one of his own
            with contextlib.suppress(OSError):
                sock.settimeout(self._timeouts.io)
        return clean and not doom

    # -- the end -----------------------------------------------------------------------------------

    def goodbye(self, within: float) -> None:
        """Close data connections and send QUIT; the time for the answer runs from now."""
        within = min(within, self._timeouts.quit)
        self._answer_due = time.monotonic() + within
        self._control.leave()
        if not self._control.said_goodbye and not self._cut:
            with contextlib.suppress(OSError):
                self._control.sock.settimeout(max(0.001, within))
                self._control.sock.sendall(b"QUIT\r\n")

    def end(self) -> bool:
        """Close data connections, say QUIT where the server still listens, and close."""
        control = self._control
        try:
            if self._answer_due is None:
                self.goodbye(self._timeouts.quit)
            assert self._answer_due is not None
            if not control.said_goodbye and not self._cut:
                control.said_goodbye = self._read_goodbye(self._answer_due)
            if control.said_goodbye:
                self._read_to_eof(min(time.monotonic() + LINGER, self._answer_due))
        except (OSError, EOFError, ValueError, FTPPoolError):
            pass  # the peer is gone; what counts is that our end is closed
        finally:
            control.sock.close()
        return control.said_goodbye

    def cut(self, loan: LeasedFTP | None = None) -> None:
        """Break control and data connections from any thread."""
        self._cut = self._control.tainted = True
        self._control.cut()
        shut_down([self._control.sock])

    def disown(self) -> None:
        """Close a forked child's copies of control and data connections."""
        control = self._control
        control.ended = True
        drop(control.sock)
        for sock in control.open_data:
            drop(sock)

    def _read_goodbye(self, deadline: float) -> bool:
        """Read up to 221; replies that a borrower left unread come first."""
        control = self._control
        while (left := deadline - time.monotonic()) > 0:
            control.sock.settimeout(left)
            line = control.reader.readline()
            if line[:4] == "221 ":
                return True
            if not line or line[:4] == "421 ":
                return False
        return False

    def _read_to_eof(self, deadline: float) -> None:
        sock = self._control.sock
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if isinstance(sock, ssl.SSLSocket) and sock.version() is not None:
                sock.unwrap()  # close_notify both ways; the FIN comes after it
            elif not sock.recv(4096):
                return


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
        words = "connected, but no greeting came in time; write ftpsi:// if it is for implicit TLS"
        return Reply(Phase.CONNECT, None, words)
    if isinstance(error, ftplib.Error) and text[:3].isascii() and text[:3].isdigit():
        return Reply(phase, int(text[:3]), text)
    return Reply(phase, None, text or type(error).__name__)


def _readable(sock: socket.socket) -> bool:
    try:
        return wait_for(sock, 0)
    except (OSError, ValueError):
        return True  # closed: as good as an EOF
