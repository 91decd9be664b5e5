"""A bare control connection in a slot: whoever borrows it speaks FTP on it himself."""

from __future__ import annotations

import ftplib
import socket
from typing import Protocol

from ftppool.drivers.base import Address, OpenFailed, Timeouts, Watch, Wire, drop
from ftppool.drivers.control import Control
from ftppool.drivers.ftp import FTPDriver, FTPWire, _reply as reply_of
from ftppool.refusals import Phase
from ftppool.target import FTPConfig, Target
from ftppool.typed import override

__all__ = ["Caller", "RawDriver", "control_of", "reply_of"]


class Caller(Protocol):
    """Speaks with the server as far as a refusal can come."""

    def greet(self, control: Control) -> None:
        """Read the greeting."""

    def log_in(self, control: Control) -> None:
        """Log in, if that is wanted."""


class RawDriver(FTPDriver):
    """Connects for one caller, within the time-outs."""

    holds = False

    def __init__(
        self, target: Target, config: FTPConfig, timeouts: Timeouts, caller: Caller
    ) -> None:
        super().__init__(target, config, timeouts)
        self.caller: Caller | None = caller

    @override
    def open(self, address: Address, watch: Watch) -> Wire:
        """Connect, and let the caller speak; see :meth:`ftppool.drivers.base.Driver.open`."""
        caller, phase = self.caller, Phase.CONNECT
        sock: socket.socket | None = None
        wire: RawWire | None = None
        assert caller is not None, "bug: opened after the caller was served"
        try:
            sock = self._connect(address, watch)
            phase = Phase.GREETING
            wire = RawWire(self._target, self._config, self._timeouts, sock, address, policy=None)
            caller.greet(wire.control)
            watch.connecting(wire.control.sock)  # there may be TLS on it now
            watch.greeted()
            phase = Phase.LOGIN
            caller.log_in(wire.control)
        except BaseException as error:
            if wire is not None:
                wire.drop()
            elif sock is not None:
                drop(sock)
            if isinstance(error, ftplib.all_errors):
                raise OpenFailed(reply_of(phase, error)) from error
            raise
        return wire


class RawWire(FTPWire):
    """One control connection of which only the borrower knows how far it is."""

    @override
    def looks_alive(self, loan: object = None) -> bool:
        """Whatever the server says after its greeting is for the borrower to read."""
        return not self._cut


def control_of(loan: object) -> Control:
    """Return the connection that a lease of a :class:`RawDriver`'s session gives."""
    control = getattr(loan, "_control", None)
    assert isinstance(control, Control)
    return control
