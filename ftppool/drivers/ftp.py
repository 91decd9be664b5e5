"""FTP sessions: connect, log in, lend, and the polite end."""

from __future__ import annotations

import contextlib
import ftplib
import socket
import ssl
import time
from typing import Any

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
from ftppool.drivers.ftp_lease import LeasedFTP, leased_class
from ftppool.drivers.ftps_lease import LeasedFTPTLS
from ftppool.drivers.known import known_at
from ftppool.drivers.replies import ReplyReader
from ftppool.drivers.tls import TLSPolicy, TLSState, clear_text, is_verdict, says_nothing
from ftppool.errors import ConfigError, FTPPoolError, TLSError
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
            if self._policy is not None and self._policy.implicit:
                wire.secure(watch)
            wire.greet()
            watch.greeted()
            phase = Phase.LOGIN
            if self._policy is not None and not self._policy.implicit:
                wire.ask_for_tls()
                wire.secure(watch)
            watch.wait_to_log_in()
            self._asks_password = wire.log_in(password, at_once=self._asks_password)
            if self._policy is not None:
                wire.protect_data()
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
            return self._policy.error(error, None if wire is None else wire.sock, str(address))
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

    # -- the beginning -----------------------------------------------------------------------------

    @property
    def sock(self) -> socket.socket:
        """The control connection, as it is now."""
        return self._control.sock

    def drop(self) -> None:
        """Close a connection of which no session came."""
        self._control.sock.close()

    def ask_for_tls(self) -> None:
        """Send AUTH TLS; without a yes there is no session, in clear text least of all."""
        try:
            self._new_handle().voidcmd("AUTH TLS")
        except ftplib.Error as error:
            told = self._no_tls(
                error,
                "has no TLS here",
                "write ftpsi:// if it has it on a port of its own (990), or ftp:// if password and"
                " files may go through the network for everybody to read",
            )
            if isinstance(told, TLSError):
                told.wrong_url = True
            raise told from error
        if self._control.reader.buffered:
            # Read later, they would pass for the server's answers to commands under TLS.
            raise TLSError(
                f"{self._address}: somebody has put words behind the answer to AUTH TLS; the"
                " connection is not safe",
                phase="tls",
                address=str(self._address),
            )

    def secure(self, watch: Watch) -> None:
        """Put TLS on the connection."""
        control, policy = self._control, self._policy()
        limit = self._timeouts.connect
        deadline = time.monotonic() + limit
        sock = control.sock = policy.wrap(control.sock)
        control.reader = ReplyReader(sock, self._config.encoding)
        watch.connecting(sock)
        try:
            said = clear_text(sock, limit) if policy.implicit else None
            if said is not None and (said[0] in "45" or said.startswith("SSH-")):
                raise ftplib.error_temp(said)
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            policy.shake_hands(sock)
            sock.settimeout(limit)
        except TimeoutError as error:
            words = f"connected, but the TLS handshake was not done within {limit:g} s"
            raise OpenFailed(Reply(Phase.CONNECT, None, words)) from error
        except OSError as error:
            # An implicit port that ends it before the greeting may be full; else it is trouble.
            if policy.implicit or is_verdict(error):
                raise
            words = f"the connection broke in the TLS handshake ({error})"
            raise OpenFailed(Reply(Phase.CONNECT, None, words)) from error

    def protect_data(self) -> None:
        """Have the data connections encrypted; without a yes there is no session."""
        ftp = self._new_handle()
        assert self._control.tls is not None
        try:
            if self._grouping:
                ftp.putcmd("PBSZ 0")
                ftp.putcmd("PROT P")
                ftp.voidresp()
            else:
                ftp.voidcmd("PBSZ 0")
                ftp.putcmd("PROT P")
            self._control.tls.prot_reply = ftp.voidresp()
        except ftplib.Error as error:
            raise self._no_tls(
                error, "does not encrypt data connections", "nothing goes in clear text"
            ) from error
        self._control.tainted = False  # by commands that are not for borrowers

    def _policy(self) -> TLSPolicy:
        assert self._control.tls is not None
        return self._control.tls.policy

    def _no_tls(self, error: ftplib.Error, what: str, advice: str) -> Exception:
        text = str(error)
        if text[:3] == "421":
            return error  # the end of the session, for whatever reason
        return TLSError(
            f"{self._address} {what}; {advice}: {text}",
            code=int(text[:3]) if text[:3].isdigit() else None,
            reply=text,
            phase="tls",
            address=str(self._address),
        )

    def greet(self) -> None:
        """Read the server's greeting."""
        ftp = self._new_handle()
        self._control.welcome = ftp.getresp()
        self._control.known.greeted(self._control.welcome)
        self._control.outstanding = 0  # nobody asked for the greeting

    def log_in(self, password: str, *, at_once: bool) -> bool:
        """Send user name and password; all replies together have the time of one.

        Args:
            at_once: Do not wait for the answer to the user name, where that can be done. Only for
                a password that was asked for before: a server that wants none without TLS says so
                in that answer.

        Returns:
            True if it asked for the password.
        """
        self._control.sock.settimeout(self._timeouts.io)
        self._control.reader.until = time.monotonic() + self._timeouts.io
        ftp = self._new_handle()
        try:
            user = self._target.user
            log_in = ftp._log_in_at_once if at_once and self._grouping else ftp._log_in
            self._control.login_reply = log_in(user, password)
        except (OSError, EOFError) as error:
            if self._unheard_after_handshake(ftp, error):
                words = (
                    f"the connection broke right after the TLS handshake ({str(error) or 'EOF'});"
                    " the server may want a client certificate: tls=TLSConfig(client_certificate=…)"
                )
                raise OpenFailed(Reply(Phase.CONNECT, None, words)) from error
            raise
        if self._control.reader.buffered:
            ftp._unasked(self._control)
        self._control.reader.until = None
        self._control.tainted = False  # by USER and PASS, which are not for borrowers
        return ftp._showed_password

    @property
    def _grouping(self) -> bool:
        """True if commands may be sent before the answers to those before them have come."""
        # A class of the user's may do things its own way: nothing goes past its methods.
        return self._config.ftp_class is None and self._control.known.grouping

    def _unheard_after_handshake(self, ftp: LeasedFTP, error: Exception) -> bool:
        """True if the server hung up before its first word under TLS.

        With TLS 1.3 a client's handshake is done before the server has judged it, and the alert
        that says why is lost if the server's RST overtakes it. So this is no sign of a limit.
        """
        tls = self._control.tls
        return (
            tls is not None
            and not tls.policy.implicit
            and getattr(ftp, "lastresp", None) is None
            and not isinstance(error, TimeoutError)
            and not is_verdict(error)
        )

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

    def cut(self) -> None:
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

    def _new_handle(self) -> LeasedFTP:
        ftp = self._new_object()
        ftp.encoding = self._config.encoding
        ftp.set_pasv(self._config.passive)
        ftp.trust_server_pasv_ipv4_address = self._config.trust_pasv_address
        ftp.source_address = self._config.source_address
        ftp._take(self._control, self._timeouts.io)
        return ftp

    def _new_object(self) -> LeasedFTP:
        tls, own = self._control.tls, self._config.ftp_class
        made: Any = leased_class(LeasedFTP if tls is None else LeasedFTPTLS, own)
        # Without a context, ftplib would make one: it costs more than all the rest.
        new: LeasedFTP = made() if tls is None or own else made(context=tls.policy.context)
        return new


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
