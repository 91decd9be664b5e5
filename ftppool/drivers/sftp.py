"""SFTP sessions: one SSH connection in a slot, one channel for each place that is in use."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import deque
from dataclasses import replace

import paramiko

from ftppool.bucket import Bucket
from ftppool.drivers.base import Address, OpenFailed, PlaceRefused, Timeouts, Watch, Wire
from ftppool.drivers.sftp_channel import REALPATH, Refused, SFTPChannel, open_channel, string
from ftppool.drivers.sftp_endpoint import endpoint_of, hops_of
from ftppool.drivers.sftp_files import SFTPFiles
from ftppool.drivers.sftp_lease import LeasedSFTP
from ftppool.drivers.sftp_login import Connection, Opening
from ftppool.drivers.sftp_stream import FAILURES
from ftppool.refusals import Phase, Reply
from ftppool.sshconfig import SSHConfig
from ftppool.target import Target

__all__ = ["SFTPDriver", "SFTPWire"]

PATIENCE = 5.0
"""Seconds that a channel may take to open at least, whatever the borrower's time-out."""
CLOSE_LAG = 0.5
"""Seconds for which the server may still count a channel that we have closed (10 ms measured)."""


class SFTPDriver:
    """Makes SFTP sessions of one target."""

    holds = False

    def __init__(
        self,
        target: Target,
        config: SSHConfig,
        timeouts: Timeouts,
        *,
        channels: int,
        bucket: Bucket | None = None,
    ) -> None:
        self._config = config
        self._timeouts = timeouts
        self._endpoint = endpoint_of(target, config)
        self.target: Target = replace(target, user=self._endpoint.user, port=self._endpoint.port)
        hops_of(self._endpoint, config)  # a typing error shows now, not at the first connect
        self.places: int = channels
        self._bucket = bucket
        proxied = self._endpoint.proxied or config.socket_factory is not None
        self.endpoint: tuple[str, int, bool] | None = (
            self._endpoint.host,
            self._endpoint.port,
            proxied,
        )

    def open(self, address: Address, watch: Watch) -> Wire:
        """Connect and log in; see :meth:`ftppool.drivers.base.Driver.open`."""
        opening = Opening(
            self._endpoint,
            self._config,
            self._timeouts,
            password=None if self.target.password is None else self.target.secret(),
            watch=watch,
        )
        connection = opening.connect(address)
        wire = SFTPWire(connection, self._config, self._timeouts, str(address), bucket=self._bucket)
        try:
            wire.open_first()
        except BaseException as error:
            connection.close()
            if isinstance(error, FAILURES):
                code = error.code if isinstance(error, paramiko.ChannelException) else None
                words = connection.transport.farewell or str(error) or "EOF"
                raise OpenFailed(Reply(Phase.CHANNEL, code, words)) from error
            raise
        return wire


class SFTPWire:
    """One SSH connection in a slot; its places are used by one thread each.

    ``_spare`` and ``_lent`` need no lock: each use is one atomic step.
    """

    def __init__(
        self,
        connection: Connection,
        config: SSHConfig,
        timeouts: Timeouts,
        address: str,
        *,
        bucket: Bucket | None,
    ) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._stream = connection.stream
        self._config = config
        self._timeouts = timeouts
        self._address = address
        self._bucket = bucket
        self._spare: deque[SFTPChannel] = deque()
        self._waste: deque[SFTPChannel] = deque()
        self._lent: set[LeasedSFTP] = set()
        self._all: weakref.WeakSet[SFTPChannel] = weakref.WeakSet()
        self._closed_one = float("-inf")
        self._dead = False
        self._disowned = False

    def open_first(self) -> None:
        """Open the channel without which the session is of no use."""
        self._spare.append(self._new_channel(self._timeouts.io))

    # -- one loan after another --------------------------------------------------------------------

    def looks_alive(self, loan: LeasedSFTP | None = None) -> bool:
        """Look at what paramiko's thread has noticed; with a loan, at its channel too."""
        if self._dead or not self._transport.is_active():
            return False
        return loan is None or (loan._place is not None and loan._place.alive)

    def check(self, limit: float) -> bool:
        """Ask the server for a path, unless something came from it a moment ago."""
        if time.monotonic() - self._stream.arrived < self._timeouts.quit:
            return True
        try:
            place = self._spare.pop()
        except IndexError:
            return True  # all channels are in use: they will notice
        try:
            place.channel.settimeout(min(limit, self._timeouts.quit))
            place.call(REALPATH, string(b"."))
            place.channel.settimeout(self._timeouts.io)
        except (*FAILURES, Refused):
            self._waste.append(place)
            self._dead = True
            return False
        self._spare.append(place)
        return True

    def lend(self, limit: float) -> LeasedSFTP:
        """Hand out a channel, a new one if none is spare.

        Raises:
            PlaceRefused: The server allows no more channels on this connection.
        """
        while True:
            try:
                place = self._spare.pop()
            except IndexError:
                place = self._open(limit)
            if place.clean:
                loan = LeasedSFTP(place)
                self._lent.add(loan)
                return loan
            self._waste.append(place)  # ended by the server while it was idle

    def _open(self, limit: float) -> SFTPChannel:
        # Others use the connection: a borrower in a hurry must not get it taken for dead.
        limit = min(self._timeouts.io, max(limit, PATIENCE))
        with contextlib.suppress(IndexError):  # it is empty, perhaps by another borrower
            while True:
                self._waste.popleft().close()
                self._closed_one = time.monotonic()
        while True:
            try:
                return self._new_channel(limit)
            except paramiko.SSHException as error:
                # Of several that are refused at once, paramiko gives its exception to one only.
                refused = isinstance(error, paramiko.ChannelException)
                if not (refused or str(error) == "Unable to open channel."):
                    raise
                if time.monotonic() - self._closed_one > CLOSE_LAG:
                    raise PlaceRefused(Reply(Phase.CHANNEL, None, str(error))) from error
                time.sleep(0.02)  # the server may still count the one that was closed just now

    def _new_channel(self, limit: float) -> SFTPChannel:
        place = open_channel(self._transport, self._stream, self._timeouts.io, limit)
        self._all.add(place)
        return place

    def files(self, loan: LeasedSFTP) -> SFTPFiles:
        """The file calls."""
        return SFTPFiles(loan._held(), self._address, fsync=self._config.fsync, bucket=self._bucket)

    def take_back(self, loan: LeasedSFTP, *, doom: bool = False) -> bool:
        """End a loan; a spoiled channel is replaced, the connection lives while it is alive."""
        place = loan._place
        loan._give_back()
        self._lent.discard(loan)
        if place is not None and not self._disowned:
            if place.clean and not doom:
                place.channel.settimeout(self._timeouts.io)
                self._spare.append(place)
            else:
                if place.outstanding and self._silent(self._timeouts.io):
                    self._dead = True  # nothing came on any channel: it is not only this one
                place.spoil()
                self._waste.append(place)
        return self.looks_alive()

    def _silent(self, seconds: float) -> bool:
        return time.monotonic() - self._stream.arrived >= 0.9 * seconds

    # -- the end -----------------------------------------------------------------------------------

    def goodbye(self, within: float) -> None:
        """Say that we disconnect, without waiting for an answer."""
        if self.looks_alive():
            self._connection.goodbye(min(within, self._timeouts.quit))

    def end(self) -> bool:
        """Say that we disconnect, wait for the server to hang up, close; all in bounded time."""
        if self._dead:
            self._connection.close()
            return False
        return self._connection.end(self._timeouts.quit)

    def disown(self) -> None:
        """In a forked child: let go of the parent's connection and all its channels."""
        self._dead = self._disowned = True
        for place in self._all:
            place.disown()
        self._connection.disown()

    def cut(self, loan: LeasedSFTP | None = None) -> None:
        """Break the connection now, from any thread; with a loan, only its channel if others live.

        The last one takes the connection with it: it may be stuck in a send to a dead peer.
        """
        if loan is not None:
            if (place := loan._place) is not None:
                place.cut()
            if any(other._place is not None and other._place.alive for other in list(self._lent)):
                return
        self._dead = True
        self._connection.cut()
