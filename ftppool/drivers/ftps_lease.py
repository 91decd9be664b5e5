"""The leased object over TLS: a real ``ftplib.FTP_TLS`` whose data connections resume a session."""

from __future__ import annotations

import ftplib
import socket
import ssl
from typing import Any

from ftppool.drivers.base import reset, wait_for
from ftppool.drivers.control import Control
from ftppool.drivers.ftp_lease import LeasedFTP
from ftppool.drivers.tls import TLSState
from ftppool.errors import ConfigError
from ftppool.typed import override

__all__ = ["LeasedFTPTLS", "TLSDataSocket"]


class TLSDataSocket(ssl.SSLSocket):
    """A data connection over TLS that never ends a file by accident, nor waits for ever to end it.

    Without close_notify, servers take the file for cut off (vsftpd: 426). Closing while they may
    still send something (session tickets, their own close_notify) is answered with an RST, which
    destroys what is on its way to them. But some never send theirs (IIS). So it is closed for
    sending only, and in full when the server has said its last word on the control connection.
    """

    _state: TLSState
    _parted = False

    @classmethod
    def of(cls, sock: ssl.SSLSocket, state: TLSState) -> TLSDataSocket:
        """Make one of a socket of the user's context, which may have a class of its own."""
        sock.__class__ = cls
        assert isinstance(sock, cls)
        sock._state = state
        return sock

    @override
    def unwrap(self) -> socket.socket:
        """Send close_notify; what comes of it is for the reply on the control connection to say."""
        if self._parted or self.fileno() == -1:
            return self
        self._parted = True
        stall = self.gettimeout() or 0.0
        try:
            self.settimeout(0)
            while True:
                try:
                    super().unwrap()
                    break  # the server's was there: it knows
                except ssl.SSLWantWriteError:
                    if not wait_for(self, stall, to_write=True):
                        break
                except ssl.SSLWantReadError:
                    # Ours is on its way, behind all the data.
                    socket.socket.shutdown(self, socket.SHUT_WR)
                    self._state.lingering.append(self)
                    break
        except (OSError, ValueError):
            pass
        return self

    @override
    def close(self) -> None:
        """Say close_notify, which a script may leave to us; close if nothing more can come."""
        self.unwrap()
        if self not in self._state.lingering:
            super().close()

    @override
    def __exit__(self, *args: object) -> None:
        if args and args[0] is not None:
            reset(self)
        self.close()


class LeasedFTPTLS(LeasedFTP, ftplib.FTP_TLS):
    """``ftplib.FTP_TLS`` for the time of a lease; see :class:`LeasedFTP`.

    ``prot_p()`` has been done; nothing leads back to clear text.
    """

    context: ssl.SSLContext
    # ftplib's own wrapping of data connections resumes nothing: it stays switched off.
    _prot_p = False

    @override
    def _take(self, control: Control, timeout: float) -> None:
        super()._take(control, timeout)
        self.context = self._state(control).policy.context

    @staticmethod
    def _state(control: Control) -> TLSState:
        assert control.tls is not None
        return control.tls

    @override
    def _prepare(self, control: Control, verb: str, argument: str) -> None:
        if verb == "CCC" or (verb == "PROT" and argument.upper() != "P"):
            raise ConfigError(f"{verb} {argument}: nothing of this pool goes in clear text")
        super()._prepare(control, verb, argument)

    @override
    def _note_reply(self, control: Control, reply: str) -> None:
        super()._note_reply(control, reply)
        state = self._state(control)
        if not control.outstanding:
            state.let_go()
        if reply[:3] == "226":
            state.worked = True
        elif reply[:3] in {"425", "522"}:
            control.tainted = True  # most likely for a session that cannot be resumed any more

    # -- data connections --------------------------------------------------------------------------

    @override
    def _explain(self, error: OSError) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return
        control = self._held()
        control.sock.settimeout(control.quit_timeout)
        try:
            self.getresp()
        except ftplib.Error as reply:
            raise reply from error
        except (OSError, EOFError):
            pass  # it gave none
        finally:
            control.sock.settimeout(self.timeout)

    @override
    def _reuse_worked(self) -> bool:
        return self._state(self._held()).worked

    @override
    def _adopt_data(self, sock: socket.socket) -> socket.socket:
        control = self._held()
        state = self._state(control)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # 45 ms a file otherwise
        assert isinstance(control.sock, ssl.SSLSocket)
        # Asked each time: with TLS 1.3 tickets come late and are meant for one use.
        data = TLSDataSocket.of(state.policy.wrap(sock, control.sock.session), state)
        control.data.add(data)
        try:
            state.policy.shake_hands(data)
        except BaseException:
            control.tainted = True
            reset(data)
            raise
        return data

    # -- calls that scripts make, and that were made -----------------------------------------------

    @override
    def login(self, user: str = "", passwd: str = "", acct: str = "", secure: bool = True) -> str:
        """Return the reply to the login again; see :meth:`LeasedFTP.login`."""
        return super().login(user, passwd, acct)

    @override
    def prot_p(self) -> str:
        """Return the server's answer to PROT P again."""
        return self._state(self._held()).prot_reply

    @override
    def prot_c(self) -> str:
        """Refused: data connections stay encrypted.

        Raises:
            ConfigError: Always.
        """
        return self.voidcmd("PROT C")

    @override
    def ccc(self) -> Any:
        """Refused: the control connection stays encrypted.

        Raises:
            ConfigError: Always.
        """
        return self.voidcmd("CCC")
