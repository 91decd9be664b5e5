"""The leased object over TLS: a real ``ftplib.FTP_TLS`` whose data connections resume a session."""

from __future__ import annotations

import ftplib
import socket
import ssl
import time
from typing import Any

from typing_extensions import override

from ftppool.drivers.base import reset, wait_for
from ftppool.drivers.ftp_lease import Control, LeasedFTP
from ftppool.drivers.tls import TLSState
from ftppool.errors import ConfigError

__all__ = ["LeasedFTPTLS", "TLSDataSocket"]


class TLSDataSocket(ssl.SSLSocket):
    """A data connection over TLS that never ends a file by accident, nor waits for ever to end it.

    Without close_notify, servers take the file for cut off (vsftpd: 426), and closing over unread
    session tickets sends an RST that destroys what is still on its way.
    """

    _control: Control
    _state: TLSState
    _parted = False

    @classmethod
    def of(cls, sock: ssl.SSLSocket, control: Control, state: TLSState) -> TLSDataSocket:
        """Make one of a socket of the user's context, which may have a class of its own."""
        sock.__class__ = cls
        assert isinstance(sock, cls)
        sock._control, sock._state = control, state
        return sock

    @override
    def unwrap(self) -> socket.socket:
        """Send close_notify and wait a while for the server's.

        Its errors decide nothing, the reply on the control connection does: servers close without
        close_notify, or with an RST, or do not close at all, and have the file.
        """
        if self._parted or self.fileno() == -1:
            return self
        self._parted = True
        stall = self.gettimeout() or 0.0
        deadline: float | None = None
        try:
            self.settimeout(0)
            while True:
                try:
                    super().unwrap()
                    break
                except ssl.SSLWantWriteError:
                    if not wait_for(self, stall, to_write=True):
                        break
                except ssl.SSLWantReadError:
                    # Ours is on its way, behind all the data.
                    if deadline is None:
                        deadline = time.monotonic() + self._patience()
                    if not wait_for(self, max(0.0, deadline - time.monotonic())):
                        self._state.mute = True
                        socket.socket.shutdown(self, socket.SHUT_WR)
                        break
        except (OSError, ValueError):
            pass
        return self

    def _patience(self) -> float:
        return 0.0 if self._state.mute else self._control.quit_timeout

    @override
    def close(self) -> None:
        """Say close_notify, then close; a script may leave that to us."""
        self.unwrap()
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
        if reply[:3] == "226":
            self._state(control).worked = True
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
        data = TLSDataSocket.of(state.policy.wrap(sock, control.sock.session), control, state)
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
