"""Start real FTP servers on loopback and count what they see.

Example::

    with servers.start("vsftpd", max_per_ip=2, root=tmp / "home", workdir=tmp) as server:
        ...  # use server.url
        census = server.wait_idle()
    assert census.peak <= 2 and census.refusals == 0
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import asyncsshd, certificates, openssh, proftpd, pureftpd, pyftpd, vsftpd
from .backend import HOST, PASSWORD, Backend, Spec
from .census import Census
from .processes import Ports, claim_ports, connections_to

_KINDS: dict[str, tuple[Callable[[], str | None], Callable[[Spec], Backend]]] = {
    "vsftpd": (vsftpd.available, vsftpd.Vsftpd),
    "proftpd": (proftpd.available, proftpd.Proftpd),
    "pure-ftpd": (pureftpd.available, pureftpd.PureFtpd),
    "pyftpdlib": (pyftpd.available, pyftpd.Pyftpd),
    "openssh": (openssh.available, openssh.OpenSSH),
    "asyncssh": (asyncsshd.available, asyncsshd.AsyncSSH),
}
KINDS = tuple(kind for kind in _KINDS if "ssh" not in kind)
"""The FTP servers."""
SECURE_KINDS = ("vsftpd+tls", "proftpd+tls", "pyftpdlib+tls")
"""They take nothing in clear text; the first two want data connections to resume a session."""
ALL_KINDS = (*KINDS, "vsftpd+tls", "openssh")
"""What transfers run on: each server in clear text, the strictest one over TLS, one over SSH.

That batches arrive on every other server over TLS is shown once, in ``tests/real/test_tls.py``.
"""
_SCHEMES = {"": "ftp", "tls": "ftps", "implicit": "ftpsi"}
_POLL = 0.003


@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """A running server; a context manager that stops it."""

    kind: str
    home: Path
    """Where uploaded files land."""
    backend: Backend
    ports: Ports
    scheme: str = "ftp"
    host: str = HOST
    password: str = PASSWORD

    @property
    def port(self) -> int:
        """The port of its control connections."""
        return self.backend.port

    @property
    def user(self) -> str:
        """The one user."""
        return self.backend.user

    @property
    def url(self) -> str:
        """Address and credentials as ``ftp://user:password@host:port``; sshd has a key instead."""
        if self.kind == "openssh":
            return f"sftp://{self.user}@{self.host}:{self.port}"
        return f"{self.scheme}://{self.user}:{self.password}@{self.host}:{self.port}"

    def at(self, directory: str) -> str:
        """Return the URL of a directory below the login directory."""
        return f"{self.url}/{'~/' if self.scheme == 'sftp' else ''}{directory}"

    def behind(self, port: int) -> str:
        """Return the URL of another port that leads here, such as a relay's; its key is known."""
        if isinstance(self.backend, openssh.OpenSSH | asyncsshd.AsyncSSH):
            known = self.backend.user_home / ".ssh" / "known_hosts"
            key = known.read_text().splitlines()[0].partition(" ")[2]
            with known.open("a") as file:
                file.write(f"[{self.host}]:{port} {key}\n")
        return self.url.replace(str(self.port), str(port))

    def census(self) -> Census:
        """Count what the server has seen, without connecting to it. Works after `stop` too."""
        return self.backend.census()

    def wait_for(self, condition: Callable[[Census], bool], timeout: float = 5.0) -> Census:
        """Wait until the census fulfils `condition`, at most `timeout` seconds, and return it.

        Raises:
            AssertionError: it did not in time.
        """
        deadline = time.monotonic() + timeout
        while not condition(census := self.census()):
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{self.kind}: not in {timeout:.1f} s: {census}, "
                    f"connections open: {connections_to(self.port)}"
                )
            time.sleep(_POLL)
        return census

    def wait_idle(self, timeout: float = 5.0) -> Census:
        """Wait until the server holds no connection; `timeout` in seconds.

        Connections that it has not accepted yet count as held here.

        Raises:
            AssertionError: it still holds some.
        """
        deadline = time.monotonic() + timeout
        # The kernel first: what it no longer has, the server has seen.
        self.wait_for(lambda census: not connections_to(self.port), timeout)
        return self.wait_for(lambda census: census.held == 0, deadline - time.monotonic())

    def stop(self, *, keep_ports: bool = False) -> None:
        """End the server and all its processes; a second call does nothing.

        Args:
            keep_ports: Let nobody else have its ports: they are for its successor.
        """
        try:
            self.backend.stop()
        finally:
            if not keep_ports:
                self.ports.claim.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def available(kind: str) -> str | None:
    """Return why a server of `kind` cannot be had here, None if it can."""
    return _KINDS[kind.partition("+")[0]][0]()


def start(
    kind: str,
    *,
    max_per_ip: int | None,
    root: Path,
    workdir: Path,
    idle_timeout: float | None = None,
    options: Mapping[str, Any] | None = None,
    certificate: Path | None = None,
    small_disk: str | None = None,
    ports: Ports | None = None,
    quiet: bool = False,
) -> Server:
    """Start a server and return it listening.

    Args:
        kind: One of `KINDS`, ``openssh`` or ``asyncssh``; an FTP server with ``+tls`` behind it for
            explicit TLS, ``+implicit`` for implicit TLS, both from the authority in `certificates`
            unless there is a `certificate`.
        max_per_ip: Its limit of connections from one address, None for no limit.
        root: The folder it serves; made if missing.
        workdir: Where its configuration and logs go, in a folder of its own.
        idle_timeout: Seconds after which it ends an idle session: whole seconds for vsftpd and
            ProFTPD, whole minutes for Pure-FTPd.
        options: What the kind's class says.
        certificate: PEM file with certificate and key.
        small_disk: For root: see `Spec`.
        ports: Those of a server which was stopped and has kept them; None for new ones.
        quiet: No logs and no sampling, for benchmarks; the census knows little then.

    Raises:
        ChildError: it did not start.
    """
    root.mkdir(parents=True, exist_ok=True)
    ports = ports or claim_ports()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=workdir.resolve()))
        kind, _, tls = kind.partition("+")
        if tls and certificate is None:
            certificate = certificates.write_certificate(folder)
        spec = Spec(
            ports, root.resolve(), folder, max_per_ip, idle_timeout, dict(options or {}),
            certificate, tls == "implicit", quiet, small_disk,
        )  # fmt: skip
        scheme = "sftp" if "ssh" in kind else _SCHEMES[tls]
        return Server(kind, root, _KINDS[kind][1](spec), ports, scheme)
    except BaseException:
        ports.claim.close()
        raise
