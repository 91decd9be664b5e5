"""A transfer that is stuck can be cut off from another thread."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from ftppool import ConnectionLost, FTPPool
from tests.conftest import Start
from tests.support.pyftpd import Pyftpd

SIZE = 100_000_000
"""More bytes than the kernel holds."""
STILL = 0.3
"""Seconds without a byte after which the sender is stuck."""
PATIENCE = 20.0


class Sender(threading.Thread):
    """Sends a file on a lease until it fails."""

    def __init__(self, pool: FTPPool, path: Path, server: Pyftpd, *, by_kernel: bool) -> None:
        super().__init__()
        self._server = server
        self.lease = pool.acquire()
        self.error: Exception | None = None
        self.sent = 0
        self.moved = time.monotonic()
        self._path, self._buffering = path, 0 if by_kernel else 1 << 16

    def run(self) -> None:
        with self._path.open("rb", buffering=self._buffering) as source:
            try:
                self.lease.files().store("big", source, self._note)
            except Exception as error:
                self.error = error

    def _note(self, sent: int) -> None:
        if not self.sent:
            self._server.freeze()
        self.sent, self.moved = sent, time.monotonic()

    def wait_until_stuck(self) -> None:
        patience = time.monotonic() + PATIENCE
        while time.monotonic() < patience:
            if self.sent and time.monotonic() > self.moved + STILL:
                return
            time.sleep(0.01)
        raise AssertionError("the sender did not get stuck")


@pytest.mark.parametrize("by_kernel", [True, False])
@pytest.mark.parametrize("kind", ["pyftpdlib", "pyftpdlib+tls"])
def test_a_sender_that_is_blocked_in_send_is_woken_by_a_cut_from_another_thread(
    start: Start, kind: str, tmp_path: Path, by_kernel: bool
) -> None:
    server = start(kind)
    big = tmp_path / "big"
    big.touch()
    os.truncate(big, SIZE)
    assert isinstance(server.backend, Pyftpd)
    with FTPPool(server.url) as pool:
        sender = Sender(pool, big, server.backend, by_kernel=by_kernel)
        sender.start()
        try:
            sender.wait_until_stuck()
            sender.lease.cut()
            sender.join(1.5)
            woken = not sender.is_alive()
        finally:
            server.backend.thaw()
            sender.join(PATIENCE)
            sender.lease.discard()
    assert woken, "it went on waiting"
    assert 0 < sender.sent < SIZE
    assert isinstance(sender.error, ConnectionLost)
