"""What a borrower gets: a real ``paramiko.SFTPClient`` on a channel of a shared session."""

from __future__ import annotations

from typing import Any

import paramiko
from paramiko.sftp import CMD_CLOSE, CMD_HANDLE

from ftppool.drivers.sftp_channel import VERSION, SFTPChannel
from ftppool.errors import LeaseReturned
from ftppool.typed import override

__all__ = ["LeasedSFTP"]


class LeasedSFTP(paramiko.SFTPClient):
    """``paramiko.SFTPClient`` for the time of a lease.

    Everything works as in paramiko; what is different is what would hurt others:

    * after the lease every call raises :class:`~ftppool.LeaseReturned`; closing a file that was
      left open does nothing then;
    * each request has a time-out (the pool's ``io_timeout``), unless the channel is given another;
    * ``close()`` ends this channel, not the connection, which others may be using;
    * a channel with files left open, or replies unread, is not lent again.
    """

    _place: SFTPChannel | None = None

    def __init__(self, place: SFTPChannel) -> None:
        self._place = place
        super().__init__(place.channel)

    def _give_back(self) -> None:
        self._place = None

    def _held(self) -> SFTPChannel:
        place = self._place
        if place is None:
            raise LeaseReturned(
                "this SFTP session was given back to its pool or ended; take a new one"
            )
        return place

    @override
    def close(self) -> None:
        """End this channel; a second call does nothing."""
        place = self._place
        if place is not None:
            place.broken = True
            self._give_back()
            place.close()

    # -- what goes over the channel ----------------------------------------------------------------

    def _send_version(self) -> int:
        return VERSION  # the channel has exchanged versions already

    def _send_packet(self, t: int, packet: paramiko.Message) -> None:
        place = self._held()
        place.outstanding += 1
        if t == CMD_CLOSE:
            body = paramiko.Message(packet.asbytes())
            body.get_int()
            place.handles.discard(body.get_binary())
        try:
            with place.sending:
                super()._send_packet(t, packet)  # type: ignore[misc]  # not in its stubs
        except BaseException:
            place.broken = True
            raise

    def _read_packet(self) -> tuple[int, bytes]:
        place = self._held()
        try:
            kind, data = super()._read_packet()  # type: ignore[misc]  # not in its stubs
        except BaseException:
            place.broken = True  # half a reply may have been read
            raise
        place.outstanding -= 1
        if kind == CMD_HANDLE:
            body = paramiko.Message(data)
            body.get_int()
            place.handles.add(body.get_binary())
        return kind, data

    def _async_request(self, fileobj: Any, t: int, *args: Any) -> int:
        if self._place is None and (t == CMD_CLOSE or fileobj is not type(None)):
            # A file object that outlived the lease: its finalizer, or its thread that reads ahead.
            return 0
        try:
            # The type checker: not in its stubs.
            number: int = super()._async_request(fileobj, t, *args)  # type: ignore[misc]
        except (LeaseReturned, EOFError, OSError):
            if self._place is None and fileobj is not type(None):
                return 0  # given back while that thread was about to send
            raise
        return number

    def _read_response(self, waitfor: int | None = None) -> Any:
        if self._place is None and waitfor == 0:
            return None, None
        return super()._read_response(waitfor)  # type: ignore[misc]  # not in its stubs
