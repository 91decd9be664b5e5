"""The beginning of an FTP session: TLS, the greeting and the login."""

from __future__ import annotations

import ftplib
import time
from typing import Any

from ftppool.drivers.base import Address, OpenFailed, Timeouts, Watch
from ftppool.drivers.control import Control
from ftppool.drivers.ftp_lease import LeasedFTP, leased_class
from ftppool.drivers.ftps_lease import LeasedFTPTLS
from ftppool.drivers.replies import ReplyReader
from ftppool.drivers.tls import TLSPolicy, clear_text, is_verdict
from ftppool.errors import TLSError
from ftppool.refusals import Phase, Reply
from ftppool.target import FTPConfig, Target

__all__ = ["Login", "handle_on"]


class Login:
    """The steps from a connection to a session, in the order that the scheme asks for."""

    def __init__(
        self,
        control: Control,
        target: Target,
        config: FTPConfig,
        timeouts: Timeouts,
        address: Address,
    ) -> None:
        self._control = control
        self._target = target
        self._config = config
        self._timeouts = timeouts
        self._address = address

    def ask_for_tls(self) -> None:
        """Send AUTH TLS; without a yes there is no session, in clear text least of all."""
        try:
            self._handle().voidcmd("AUTH TLS")
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
        ftp = self._handle()
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
        ftp = self._handle()
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
        ftp = self._handle()
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

    def _handle(self) -> LeasedFTP:
        return handle_on(self._control, self._config, self._timeouts.io)


def handle_on(control: Control, config: FTPConfig, timeout: float) -> LeasedFTP:
    """Return a fresh object on a control connection; `timeout` is that of one reply, in seconds."""
    ftp = _new_object(control, config)
    ftp.encoding = config.encoding
    ftp.set_pasv(config.passive)
    ftp.trust_server_pasv_ipv4_address = config.trust_pasv_address
    ftp.source_address = config.source_address
    ftp._take(control, timeout)
    return ftp


def _new_object(control: Control, config: FTPConfig) -> LeasedFTP:
    tls, own = control.tls, config.ftp_class
    made: Any = leased_class(LeasedFTP if tls is None else LeasedFTPTLS, own)
    # Without a context, ftplib would make one: it costs more than all the rest.
    new: LeasedFTP = made() if tls is None or own else made(context=tls.policy.context)
    return new
