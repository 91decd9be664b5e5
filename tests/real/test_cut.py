"""A transfer that is stuck can be cut off from another thread."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ftppool import ConnectionLost, FTPPool, Lease, Progress, batch
from ftppool.drivers import sftp_files
from tests.conftest import Start
from tests.support.pyftpd import Pyftpd
from tests.support.relay import Relay

SIZE = 100_000_000
"""More bytes than the kernel holds."""
STILL = 0.3
"""Seconds without a byte after which the sender is stuck."""
PATIENCE = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < patience:
        time.sleep(0.01)
    assert condition()


class Sender(threading.Thread):
    """Sends a file on a lease until it fails."""

    def __init__(
        self,
        pool: FTPPool,
        path: Path,
        freeze: Callable[[], object] = lambda: None,
        *,
        by_kernel: bool = True,
    ) -> None:
        super().__init__()
        self._freeze = freeze
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
            self._freeze()
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
        sender = Sender(pool, big, server.backend.freeze, by_kernel=by_kernel)
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


# -- one of several borrowers of an SSH connection -------------------------------------------------


class Talker(threading.Thread):
    """Uses a lease all the time until it is told to stop, or fails."""

    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.rounds = 0
        self._lease, self._over = lease, threading.Event()

    def run(self) -> None:
        try:
            while not self._over.wait(0.01):
                self._lease.files().scan(".")
                self.rounds += 1
        except Exception as error:
            self.error = error

    def stop(self) -> None:
        self._over.set()
        self.join(PATIENCE)


@pytest.mark.parametrize("stuck", ["in a read", "in a write"])
def test_a_cut_closes_one_channel_and_the_others_of_the_connection_live(
    start: Start, tmp_path: Path, stuck: str
) -> None:
    server = start("asyncssh", options={"silent_after": 100_000})
    source = tmp_path / "big"
    source.touch()
    os.truncate(source, 1_000_000)
    with FTPPool(server.url, max_per_ip=1) as pool, pool.acquire() as other:
        sender = Sender(pool, source)
        if stuck == "in a write":
            sender.lease.loan.get_channel().out_window_size = 0  # as if the server gave no more
        talker = Talker(other)
        talker.start()
        sender.start()
        try:
            sender.join(STILL)
            assert sender.is_alive()
            sender.lease.cut()
            sender.join(PATIENCE)
            assert not sender.is_alive(), "it went on waiting"
            wait_until(lambda: talker.rounds > 20 or talker.error is not None)
        finally:
            talker.stop()
            sender.lease.discard()
        assert isinstance(sender.error, ConnectionLost)
        assert talker.error is None
        with pool.acquire() as third:
            third.files().scan(".")
        assert pool.stats().opened == 1


def test_a_stopped_batch_leaves_other_borrowers_of_the_connection_alone(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "GRACE", 0.5)
    server = start("asyncssh", options={"silent_after": 100_000})
    source = tmp_path / "big"
    source.touch()
    os.truncate(source, 1_000_000)
    with FTPPool(server.url, max_per_ip=1, channels=3) as pool, pool.acquire() as other:
        talker = Talker(other)
        talker.start()
        interrupted: list[bool] = []

        def interrupt(progress: Progress) -> None:
            if progress.bytes_done > 100_000 and not interrupted:
                interrupted.append(True)
                raise KeyboardInterrupt

        try:
            with pytest.raises(KeyboardInterrupt) as caught:
                pool.upload_batch([(source, "a"), (source, "b")], progress=interrupt)
            report = caught.value.report  # type: ignore[attr-defined]  # of any exception
            assert len(report.interrupted) == 2
            seen = talker.rounds
            wait_until(lambda: talker.rounds > seen + 20 or talker.error is not None)
        finally:
            talker.stop()
        assert talker.error is None
        assert pool.stats().opened == 1


def test_the_only_borrower_of_a_connection_is_woken_where_the_peer_takes_no_bytes(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("openssh")
    big = tmp_path / "big"
    big.touch()
    os.truncate(big, SIZE)
    monkeypatch.setattr(sftp_files, "IN_FLIGHT", 1 << 30)
    with Relay(server.port, workdir=tmp_path) as relay, FTPPool(server.behind(relay.port)) as pool:
        sender = Sender(pool, big)
        # As if the server had given us one huge SSH window and then read no more.
        sender.lease.loan.get_channel().out_window_size = 1 << 30
        os.kill(relay._child.pid, signal.SIGSTOP)
        sender.start()
        try:
            sender.join(1.0)
            assert sender.is_alive()
            sender.lease.cut()
            sender.join(PATIENCE)
            woken = not sender.is_alive()
        finally:
            os.kill(relay._child.pid, signal.SIGCONT)
            sender.join(PATIENCE)
            sender.lease.discard()
    assert woken, "it went on waiting"
    assert isinstance(sender.error, ConnectionLost)
