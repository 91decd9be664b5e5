"""The stand-in's ``FTP_TLS``: it verifies, and its data connections resume the session."""

from __future__ import annotations

import ftplib
import socket
import ssl
import sys
from ftplib import Error
from typing import Any, cast

from ftppool.drivers.ftps_lease import TLSDataSocket
from ftppool.drivers.tls import TLSPolicy, TLSState
from ftppool.held import Held
from ftppool.standin import FTP, GOODBYE, UNSET, secure, settings
from ftppool.target import Target
from ftppool.typed import override

__all__ = ["FTP_TLS"]


class TLSData(TLSDataSocket):
    """As :class:`~ftppool.standin.Data`, over TLS."""

    held: Held | None = None

    @override
    def close(self) -> None:
        super().close()
        self.held = None


class FTP_TLS(FTP, ftplib.FTP_TLS):  # noqa: N801 - the name that it stands in for
    """``ftplib.FTP_TLS`` that verifies, and whose data connections resume the session."""

    context: ssl.SSLContext
    _prot_p: bool

    if sys.version_info >= (3, 12):

        def __init__(
            self,
            host: str = "",
            user: str = "",
            passwd: str = "",
            acct: str = "",
            *,
            context: ssl.SSLContext | None = None,
            timeout: float | None = UNSET,
            source_address: tuple[str, int] | None = None,
            encoding: str = "utf-8",
        ) -> None:
            ftplib.FTP_TLS.__init__(
                self, host, user, passwd, acct, context=context or _context(),
                timeout=timeout, source_address=source_address, encoding=encoding,
            )  # fmt: skip

    else:

        def __init__(  # noqa: PLR0917 - as it was up to Python 3.11
            self,
            host: str = "",
            user: str = "",
            passwd: str = "",
            acct: str = "",
            keyfile: str | None = None,
            certfile: str | None = None,
            context: ssl.SSLContext | None = None,
            timeout: float | None = UNSET,
            source_address: tuple[str, int] | None = None,
            *,
            encoding: str = "utf-8",
        ) -> None:
            if context is None:
                context = _context()
                if context is not None and certfile is not None:
                    context.load_cert_chain(certfile, keyfile)
                    certfile = keyfile = None
                elif keyfile is not None or certfile is not None:
                    context = None  # ftplib makes it
            cast("Any", ftplib.FTP_TLS).__init__(
                self, host, user, passwd, acct, keyfile, certfile, context,
                timeout, source_address, encoding=encoding,
            )  # fmt: skip

    @override
    def login(self, user: str = "", passwd: str = "", acct: str = "", secure: bool = True) -> str:
        """Secure the control connection, and log in; see :meth:`FTP.login`."""
        if secure and not isinstance(self.sock, ssl.SSLSocket):
            self.auth()
        return FTP.login(self, user, passwd, acct)

    @override
    def auth(self) -> str:
        """Put TLS on the control connection.

        Raises:
            ssl.SSLCertVerificationError: The server is not whom it says; nothing was sent to it.
        """
        held = self._held
        if isinstance(self.sock, ssl.SSLSocket):
            raise ValueError("Already using TLS")
        try:
            reply = secure(self, None if held is None else held.control)
        except BaseException as error:
            if isinstance(error, ssl.SSLCertVerificationError):
                error.add_note(
                    "ftppool's ftplib verifies certificates: pass a context that trusts this one,"
                    " or ftplib.configure(verify=False)"
                )
            if not isinstance(error, Error):
                self.close()
            raise
        return reply

    @override
    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        """Open a data connection, with TLS on it after :meth:`prot_p`."""
        sock, size = FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            try:
                sock = self._wrap(sock)
            except OSError as error:
                self._explain(error)
                raise
        return sock, size

    def _wrap(self, sock: socket.socket) -> socket.socket:
        control, context = self.sock, self.context
        same = isinstance(control, ssl.SSLSocket) and control.context is context
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wrapped = context.wrap_socket(
            sock,
            server_hostname=self.host,
            # Asked each time: with TLS 1.3 tickets come late and are meant for one use.
            session=control.session if same and isinstance(control, ssl.SSLSocket) else None,
        )
        held = self._held
        if held is None:
            return wrapped
        if held.control.tls is None:
            target = Target("ftps", self.host or "localhost", self.port, "anonymous")
            held.control.tls = TLSState(TLSPolicy(target, context))
        data = TLSData.of(wrapped, held.control.tls)
        assert isinstance(data, TLSData)
        data.held = held
        held.control.data.add(data)
        return data

    def _explain(self, error: OSError) -> None:
        """Raise what the server said of a handshake that failed, if it says anything."""
        if self.sock is None or isinstance(error, ssl.SSLCertVerificationError):
            return
        timeout = self.sock.gettimeout()
        try:
            self.sock.settimeout(GOODBYE)
            self.getresp()
        except Error as reply:
            raise reply from error
        except (OSError, EOFError):
            pass  # nothing
        finally:
            self.sock.settimeout(timeout)


def _context() -> ssl.SSLContext | None:
    """Make the context of whoever names none; None: ftplib makes it."""
    return ssl.create_default_context() if settings.verify else None
