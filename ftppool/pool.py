"""The pool: what users import."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, Unpack, cast

from ftppool import hooks
from ftppool.bucket import Bucket
from ftppool.drivers.choice import driver_of
from ftppool.errors import ConfigError, ConnectError, PoolClosed
from ftppool.estate import Estate
from ftppool.leaks import stack_here
from ftppool.limits.choice import check_limiter
from ftppool.means import Means, bring_means
from ftppool.options import (
    check_cap,
    check_known,
    check_positive,
    check_rate,
    check_seconds,
    check_target,
)
from ftppool.retry import RetryPolicy
from ftppool.target import FTPConfig, Target
from ftppool.transfer.parts import PART_NAME
from ftppool.workers import this_thread

# What opens sessions and what moves files is imported at the first use: a pool is made in no time.
if TYPE_CHECKING:
    import ftplib
    import ssl

    import paramiko

    from ftppool.client import Cancel, Client
    from ftppool.downloads import DownloadBatchOptions, DownloadOptions, Wanted
    from ftppool.events import Event
    from ftppool.gate import Gate
    from ftppool.inputs import Input, Source
    from ftppool.lease import Lease
    from ftppool.limits.base import Limiter
    from ftppool.report import BatchReport, Outcome
    from ftppool.session import Session
    from ftppool.sshconfig import SSHConfig
    from ftppool.stats import CloseReport, PoolStats
    from ftppool.tlsconfig import TLSConfig
    from ftppool.transfer.options import Conflict, Verify
    from ftppool.uploads import UploadBatchOptions

__all__ = ["FTPPool"]

STAY = 1.0
"""Seconds for which an address that gave a lease is not called into question."""


class FTPPool:
    """A bounded pool of sessions to one server.

    Nothing connects before the first use. Sessions are reused, checked before they are lent, and
    ended with QUIT. All pools of the process that reach the same server address share its slots.

    Args:
        target: Where and as whom: ``"ftp://user@host:port/directory"`` or a :class:`Target`.
        max_per_ip: Connections that the server may see at any instant (default 2); a closed one
            counts until the server has had time to notice.
        user: Login name, if it is not in the URL.
        password: Password, or a callable that returns it (asked at each login), if it is not in
            the URL.
        ftp: Settings of the FTP protocol.
        ssh: Settings of SSH, for ``sftp://`` targets.
        tls: Whom to trust with ``ftps://`` and ``ftpsi://`` (default: certificates that the system
            trusts, valid for the host name). An ``ssl.SSLContext`` is used as it is.
        acquire_timeout: Seconds to wait for a session (default 60).
        connect_timeout: Seconds for the TCP connect, and for the greeting (default 15).
        io_timeout: Seconds for one whole reply, for the login, and of silence on a data connection,
            after which a connection counts as lost (default 60).
        quit_timeout: Seconds for the polite end of a session (default 3).
        close_timeout: Seconds for ``close()`` as a whole (default 10).
        max_idle: Seconds that an unused session is kept (default 30); 0: QUIT on every release.
        max_lifetime: Seconds after which a session is replaced (default 1800, less up to 10 %).
        check_after_idle: A session unused for longer than this many seconds is asked for a sign of
            life before it is lent (default 5); a younger one is only looked at, at no cost.
        channels: Borrowers that one SFTP connection serves at a time (default 8); fewer where the
            server allows fewer. FTP sessions serve one.
        retry: How often and after what waits failures are tried again.
        limiter: ``"machine"``: the cap holds over all processes of this user on this machine
            (default). ``"process"``: over all pools and threads of this process.
        rate_limit: Bytes per second that all uploads of the pool may send together (default: no
            limit).
        leak_warn_after: Seconds after which a session that was not given back is logged as a
            suspected leak, with the lines that took it (default 300); None: never.
        on_event: Called with each :class:`~ftppool.events.Event`.
        name: Name for logs, events and threads (default: the host).

    Raises:
        ConfigError: An argument is wrong; the message says what to write.
    """

    def __init__(
        self,
        target: str | Target,
        *,
        max_per_ip: int = 2,
        user: str | None = None,
        password: str | Callable[[], str] | None = None,
        ftp: FTPConfig | None = None,
        ssh: SSHConfig | None = None,
        tls: TLSConfig | ssl.SSLContext | None = None,
        acquire_timeout: float = 60.0,
        connect_timeout: float = 15.0,
        io_timeout: float = 60.0,
        quit_timeout: float = 3.0,
        close_timeout: float = 10.0,
        max_idle: float = 30.0,
        max_lifetime: float = 1800.0,
        check_after_idle: float = 5.0,
        channels: int = 8,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        limiter: Limiter | str = "machine",
        rate_limit: float | None = None,
        leak_warn_after: float | None = 300.0,
        on_event: Callable[[Event], object] | None = None,
        name: str | None = None,
    ) -> None:
        asked = check_target(target, user, password)
        self._max_per_ip = check_cap(max_per_ip)
        for what, seconds in (
            ("acquire_timeout", acquire_timeout),
            ("max_idle", max_idle),
            ("check_after_idle", check_after_idle),
        ):
            check_seconds(what, seconds, zero=True)
        for what, seconds in (
            ("connect_timeout", connect_timeout),
            ("io_timeout", io_timeout),
            ("quit_timeout", quit_timeout),
            ("close_timeout", close_timeout),
            ("max_lifetime", max_lifetime),
        ):
            check_seconds(what, seconds, zero=False)
        if leak_warn_after is not None:
            check_seconds("leak_warn_after", leak_warn_after, zero=False)
        check_positive("channels", channels)
        bucket = None if rate_limit is None else Bucket(check_rate(rate_limit))
        self._target, self._make_driver = driver_of(
            asked,
            connect_timeout=connect_timeout,
            io_timeout=io_timeout,
            quit_timeout=quit_timeout,
            ftp=ftp,
            ssh=ssh,
            tls=tls,
            channels=channels,
            bucket=bucket,
        )
        if isinstance(limiter, str):
            check_limiter(limiter)
        self._limiter = limiter
        self._acquire_timeout = acquire_timeout
        self._close_timeout = close_timeout
        self._resolve_timeout = connect_timeout
        self._max_idle = max_idle
        self._max_lifetime = max_lifetime
        self._check_after_idle = check_after_idle
        self.policy: RetryPolicy = retry
        self.name: str = name or self._target.host
        self._estate = Estate(
            name=self.name,
            stack=stack_here(),
            close_timeout=close_timeout,
            leak_warn_after=leak_warn_after,
            on_event=on_event,
            pool=weakref.ref(self),
        )
        # Guards _clients, _closed and the making of _means; taken before a gate's own.
        self._lock = threading.Lock()
        self._means: Means | None = None
        self._clients: dict[Gate, Client] = {}
        self._stay: _Stay | None = None
        self._closed = ""  # the reason why there are no sessions any more
        weakref.finalize(self, _lost, self._clients).atexit = False
        _pools.add(self)

    # -- borrowing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def session(self, timeout: float | None = None) -> Iterator[Session]:
        """Borrow a session with one file API for all protocols.

        Args:
            timeout: Seconds to wait for it (default: ``acquire_timeout``).

        Raises:
            PoolTimeout, ServerBusy, ConnectError, AuthError, TLSError, WouldDeadlock, PoolClosed:
                See :meth:`acquire`.
        """
        hooks.bring_in("ftppool.session")
        from ftppool.session import Session

        with self.acquire(timeout) as lease:
            yield Session(lease, self._target)

    @contextlib.contextmanager
    def ftp(self, timeout: float | None = None) -> Iterator[ftplib.FTP]:
        """Borrow a real ``ftplib.FTP``, for code that was written for ftplib.

        With ``ftps://`` it is an ``ftplib.FTP_TLS`` whose data connections are encrypted.

        It is connected, logged in, and in the login directory with the type as after login.
        ``quit()`` and ``close()`` may be called; after the block every command raises
        :class:`~ftppool.LeaseReturned`. A block that ends in an exception ends the session.

        Args:
            timeout: Seconds to wait for it (default: ``acquire_timeout``).

        Raises:
            PoolTimeout, ServerBusy, ConnectError, AuthError, TLSError, WouldDeadlock, PoolClosed:
                See :meth:`acquire`. Inside the block, ftplib's own errors.
        """
        if self._target.scheme == "sftp":
            raise ConfigError("this pool speaks SFTP: use pool.sftp() or pool.session()")
        with self.acquire(timeout) as lease:
            yield cast("ftplib.FTP", lease.loan)

    @contextlib.contextmanager
    def sftp(self, timeout: float | None = None) -> Iterator[paramiko.SFTPClient]:
        """Borrow a real ``paramiko.SFTPClient``, for code that was written for paramiko.

        It has an SSH channel of its own, in the login directory; up to `channels` of them share one
        connection. After the block every call raises :class:`~ftppool.LeaseReturned`. A block that
        ends in an exception, or leaves files open, ends the channel; others are not disturbed.

        Args:
            timeout: Seconds to wait for it (default: ``acquire_timeout``).

        Raises:
            PoolTimeout, ServerBusy, ConnectError, AuthError, HostKeyError, WouldDeadlock,
                PoolClosed: See :meth:`acquire`. Inside the block, paramiko's own errors.
        """
        if self._target.scheme != "sftp":
            raise ConfigError("this pool speaks FTP: use pool.ftp() or pool.session()")
        with self.acquire(timeout) as lease:
            yield cast("paramiko.SFTPClient", lease.loan)

    def acquire(self, timeout: float | None = None) -> Lease:
        """Borrow a session; give it back with ``lease.release()`` or ``lease.discard()``.

        Args:
            timeout: Seconds to wait for it (default: ``acquire_timeout``).

        Raises:
            PoolTimeout: All sessions stayed in use; the message says by whom.
            ServerBusy: The server refused, or other processes have all slots, and no session of
                this process was open to wait for.
            ConnectError: The server could not be reached.
            AuthError: User name or password is wrong.
            TLSError: The server's certificate is not trusted, or it has no TLS; no password was
                sent.
            WouldDeadlock: The wait could never end, as far as can be told: this thread has a lease,
                and every other one is held by a thread that waits as well. A lease counts as that
                of the thread that took it, though another may have it now.
            PoolClosed: The pool is closed.
        """
        if timeout is None:
            timeout = self._acquire_timeout
        else:
            check_seconds("timeout", timeout, zero=True)
        return self._acquire(timeout, (this_thread(),), None)

    # -- transfers ---------------------------------------------------------------------------------

    def upload(
        self,
        source: Source,
        remote: str,
        *,
        atomic: bool = True,
        verify: Verify = "size",
        on_conflict: Conflict = "overwrite",
        makedirs: bool = True,
        preserve_mtime: bool = False,
        resume: bool = False,
        part_name: str = PART_NAME,
    ) -> Outcome:
        """Send one file and return when it is whole under its name.

        Args:
            source: A path, bytes, or a callable that opens a binary file (anew for each attempt).
            remote: Remote path, relative to the target's directory.
            atomic: Send to a part name first, and rename.
            verify: ``"size"``, ``"hash"`` or ``"none"``.
            on_conflict: ``"overwrite"``, ``"skip"``, ``"skip_same"`` or ``"fail"``.
            makedirs: Make missing directories.
            preserve_mtime: Give the file the time of its source.
            resume: After a lost connection, go on where the server proves that its part ends.
            part_name: What the file is called until then; see :func:`ftppool.upload_batch`.

        Raises:
            FTPPoolError: It did not arrive.
        """
        hooks.bring_in("ftppool.uploads")
        hooks.bring_in("ftppool.single")
        from ftppool.single import job_of

        job_of(source, remote)  # a directory is refused
        report = self._batch(
            [(source, remote)],
            "",
            {
                "workers": 1, "atomic": atomic, "verify": verify, "on_conflict": on_conflict,
                "makedirs": makedirs, "preserve_mtime": preserve_mtime, "resume": resume,
                "part_name": part_name,
            },
        )  # fmt: skip
        for error in (*report.causes, *(outcome.error for outcome in report.outcomes)):
            if error is not None:
                raise error
        return report.outcomes[0]

    def upload_batch(
        self,
        files: Iterable[Input],
        remote_dir: str = "",
        **options: Unpack[UploadBatchOptions],
    ) -> BatchReport:
        """Send many files over the sessions of this pool.

        Args:
            files: Paths, or pairs of source and remote path.
            remote_dir: Where they go, relative to the target's directory.
            **options: As for :func:`ftppool.upload_batch`.

        Raises:
            BatchError: Files did not arrive and ``check`` is true; it has the report.
            ConfigError: An argument is wrong.
        """
        hooks.bring_in("ftppool.uploads")
        from ftppool.uploads import UploadBatchOptions

        check_known(options, UploadBatchOptions)
        report = self._batch(files, remote_dir, options)
        if options.get("check", True):
            report.raise_for_failures()
        return report

    def download(
        self, remote: str, destination: str | os.PathLike[str], **options: Unpack[DownloadOptions]
    ) -> Outcome:
        """Fetch one file and return when it is whole under its name.

        Args:
            remote: Remote path of a file, relative to the target's directory.
            destination: Local path; an existing directory gets the file under its own name.
            **options: ``verify``, ``on_conflict``, ``preserve_mtime`` and ``fsync`` as for
                :meth:`download_batch`.

        Raises:
            FTPPoolError: It did not arrive.
        """
        hooks.bring_in("ftppool.downloads")
        from ftppool.downloads import DownloadBatchOptions, DownloadOptions
        from ftppool.transfer.download import destination_of

        check_known(options, DownloadOptions)
        folder, name = destination_of(remote, destination)
        alone = DownloadBatchOptions(workers=1)
        alone.update(options)  # type: ignore[typeddict-item]  # every key of one is one of the other
        report = self._download([(remote, name)], folder, alone, single=True)
        for error in (*report.causes, *(outcome.error for outcome in report.outcomes)):
            if error is not None:
                raise error
        return report.outcomes[0]

    def download_batch(
        self,
        remote_paths: Iterable[Wanted],
        local_dir: str | os.PathLike[str],
        **options: Unpack[DownloadBatchOptions],
    ) -> BatchReport:
        """Fetch many files over the sessions of this pool.

        Each file is written to a part beside its place (mode 600), its size is compared with what
        the server says, and only then it takes its name. Nothing is ever written outside of
        `local_dir`: names with ``..`` and the like, and ways through symbolic links, fail.

        Args:
            remote_paths: Remote paths, or pairs of one and its path below `local_dir`. A directory
                comes with everything below it under its own name; ``dir/`` and ``.`` mean the
                contents. Symbolic links to directories below it are not followed where the server
                tells them apart.
            local_dir: The local directory; made if it is missing.
            **options: ``verify``: ``"size"`` (default) or ``"none"``. ``on_conflict``:
                ``"overwrite"`` (default), ``"skip"``, ``"skip_same"`` (same size and time) or
                ``"fail"``. ``preserve_mtime``: give files the server's modification time (default
                False). ``fsync``: wait for the disk before a file takes its name (default False).
                ``on_downloaded``: called with each file's outcome. ``workers``, ``include``,
                ``exclude``, ``last``, ``deadline``, ``max_failures``, ``progress`` and ``check`` as
                for :func:`ftppool.upload_batch`, with patterns for the path below `local_dir`.

        Raises:
            BatchError: Files did not arrive and ``check`` is true; it has the report.
            ConfigError: An argument is wrong.
        """
        hooks.bring_in("ftppool.downloads")
        from ftppool.downloads import DownloadBatchOptions

        check_known(options, DownloadBatchOptions)
        report = self._download(remote_paths, local_dir, options)
        if options.get("check", True):
            report.raise_for_failures()
        return report

    # -- the pool itself ---------------------------------------------------------------------------

    def stats(self) -> PoolStats:
        """Take a snapshot of what the pool has and did, at all addresses of its server."""
        found = [gate.stats(client) for gate, client in self._known()]
        if found:
            if len(found) == 1:
                return found[0]
            from ftppool.stats import total

            return total(found)
        hooks.bring_in("ftppool.stats")
        from ftppool.stats import PoolStats

        return PoolStats(
            cap=self._max_per_ip, learned=None, effective=self._max_per_ip, open=0, idle=0,
            leased=0, opening=0, closing=0, settling=0, waiting=0,
        )  # fmt: skip

    def resize(self, max_per_ip: int) -> None:
        """Change the cap; surplus sessions end as soon as nobody uses them.

        Raises:
            ConfigError: It is no number of connections.
        """
        self._max_per_ip = check_cap(max_per_ip)
        for gate, client in self._known():
            gate.resize(client, max_per_ip)

    def expire(self) -> None:
        """End all sessions that exist now as soon as nobody uses them."""
        for gate, client in self._known():
            gate.expire(client)

    @property
    def closed(self) -> bool:
        """True once ``close()`` was called."""
        return bool(self._closed)

    def close(self, timeout: float | None = None) -> CloseReport:
        """End all sessions politely, and those that do not end in time without politeness.

        Args:
            timeout: Seconds for everything together (default: ``close_timeout``).

        Returns:
            What was ended how; a second call has nothing to do and says so.
        """
        hooks.bring_in("ftppool.stats")
        from ftppool.stats import CloseReport

        limit = self._or_default(timeout, self._close_timeout)
        started = time.monotonic()
        with self._lock:
            self._closed = self._closed or "this pool is closed; make a new one"
        self._estate.settled = True
        reports = [
            gate.close(client, max(0.0, started + limit - time.monotonic()))
            for gate, client in self._known()
        ]
        return CloseReport(
            clean=all(report.clean for report in reports),
            quits=sum(report.quits for report in reports),
            cut=sum(report.cut for report in reports),
            still_running=sum(report.still_running for report in reports),
            elapsed=time.monotonic() - started,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        stats = self.stats()
        state = "closed" if self._closed else f"{stats.leased} leased, {stats.idle} idle"
        return f"<FTPPool {self._target} max_per_ip={self._max_per_ip}: {state}>"

    # -- insides -----------------------------------------------------------------------------------

    def _trouble(self) -> tuple[str, float]:
        """Why there is no (further) connection, at the address that was tried last."""
        known = self._known()
        return known[-1][0].trouble(known[-1][1]) if known else ("", 0.0)

    @staticmethod
    def _or_default(timeout: float | None, default: float) -> float:
        return default if timeout is None else check_seconds("timeout", timeout, zero=True)

    def _known(self) -> list[tuple[Gate, Client]]:
        with self._lock:
            return list(self._clients.items())

    def _acquire(
        self, timeout: float, threads: tuple[Hashable, ...], cancel: Cancel | None
    ) -> Lease:
        stay = self._stay
        if stay is None or time.monotonic() >= stay.until:
            return self._look_for_one(timeout, threads, cancel)
        try:
            return stay.gate.acquire(stay.client, timeout, threads, cancel)
        except ConnectError:
            self._stay = None
            if not self.stats().open:
                self._means_of_opening().route.forget()
            raise

    def _means_of_opening(self) -> Means:
        """Return what sessions are opened with, made at first use."""
        means = self._means
        if means is None:
            made = bring_means(self._target, self._make_driver, self._limiter)
            with self._lock:
                means = self._means = self._means or made  # those of who came first, for all
        return means

    def _look_for_one(
        self, timeout: float, threads: tuple[Hashable, ...], cancel: Cancel | None
    ) -> Lease:
        """Ask the route, which address it is; try one after the other if there are more."""
        deadline = time.monotonic() + timeout
        route = self._means_of_opening().route
        from ftppool.gate import gate_for

        addresses = route.addresses(
            min(timeout, self._resolve_timeout), settled=lambda: self.stats().open > 0
        )
        for number, address in enumerate(addresses, 1):
            gate = gate_for(address)
            client = self._client_at(gate)
            client.alternatives = number < len(addresses)
            try:
                left = max(0.0, deadline - time.monotonic())
                lease = gate.acquire(client, left, threads, cancel)
            except ConnectError as error:
                if not self.stats().open:
                    route.forget()
                if number == len(addresses) or error.phase != "connect":
                    raise
            else:
                route.current = address
                client.alternatives = False
                self._stay = _Stay(time.monotonic() + STAY, gate, client)
                return lease
        raise AssertionError("bug: no address was tried")

    def _client_at(self, gate: Gate) -> Client:
        from ftppool.client import Client

        means = self._means_of_opening()
        with self._lock:
            if self._closed:
                raise PoolClosed(self._closed)
            client = self._clients.get(gate)
            if client is None:
                client = self._clients[gate] = Client(
                    cap=self._max_per_ip,
                    places=means.driver.places,
                    holds=means.driver.holds,
                    max_idle=self._max_idle,
                    estate=self._estate,
                    user=self._target.user,
                    driver=means.driver,
                    limiter=means.limiter,
                    policy=self.policy,
                    max_lifetime=self._max_lifetime,
                    check_after_idle=self._check_after_idle,
                )
            gate.attach(client)  # under the lock: close() comes before this or sees the client
        return client

    def _lender(self) -> _Lender:
        if self._closed:
            raise PoolClosed(self._closed)
        return _Lender(self, this_thread())

    def _batch(
        self, files: Iterable[Input], remote_dir: str, options: UploadBatchOptions
    ) -> BatchReport:
        from ftppool.uploads import run_uploads

        return run_uploads(
            self._lender(),
            files,
            remote_dir,
            options,
            workers=self._most_places(),
            target=self._target.url,
        )

    def _download(
        self,
        remote_paths: Iterable[Wanted],
        local_dir: str | os.PathLike[str],
        options: DownloadBatchOptions,
        *,
        single: bool = False,
    ) -> BatchReport:
        from ftppool.downloads import run_downloads

        return run_downloads(
            self._lender(),
            remote_paths,
            local_dir,
            options,
            workers=self._most_places(),
            single=single,
        )

    def _most_places(self) -> int:
        """How many files can be under way at a time."""
        return self._max_per_ip * self._means_of_opening().driver.places


class _Stay(NamedTuple):
    """Where the last lease came from, and until when the next one comes from there unasked."""

    until: float
    gate: Gate
    client: Client


class _Lender:
    """The pool as a batch sees it: its workers wait on behalf of the thread that runs the batch."""

    def __init__(self, pool: FTPPool, caller: Hashable) -> None:
        self._pool = pool
        self._caller = caller
        self.name = pool.name
        self.policy = pool.policy
        self.resolve = pool._target.resolve
        self.emit = pool._estate.emit
        self.listening = pool._estate.listening
        self.heard = pool._estate.heard
        self.stats = pool.stats
        self.trouble = pool._trouble

    def lend(self, timeout: float, cancel: Cancel) -> Lease:
        """Wait for a session."""
        return self._pool._acquire(timeout, (this_thread(), self._caller), cancel)


_pools: weakref.WeakSet[FTPPool] = weakref.WeakSet()


def _lost(clients: dict[Gate, Client]) -> None:
    """Nobody has the pool any more: a finalizer, so it only leaves notes."""
    for gate, client in clients.items():
        gate.abandon(client)


def _after_fork() -> None:
    """A forked child has no sessions; it makes pools of its own."""
    for pool in list(_pools):
        pool._lock = threading.Lock()
        pool._clients.clear()  # for the finalizer, which has this very object
        pool._stay = None
        pool._closed = "this pool belongs to the process that made it; make a new one in this one"


hooks.in_child(_after_fork)
