"""How to speak SSH with a target, as plain values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftppool.errors import ConfigError

__all__ = ["KNOWN_HOSTS", "SSHConfig"]

KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SSHConfig:
    """How to speak SSH with a target.

    Attributes:
        known_hosts: Files with the host keys that are trusted (default: ``~/.ssh/known_hosts``,
            then ``/etc/ssh/ssh_known_hosts``). A host that is not in them is refused before any
            password is sent.
        fingerprint: ``"SHA256:…"`` as ``ssh-keygen -lf`` prints it, or several: only a host key
            with such a fingerprint is trusted, whatever ``known_hosts`` says.
        accept_new: True: the key of a host that is not in ``known_hosts`` yet is written there and
            trusted from then on. A changed key is refused all the same. Default: False.
        keys: Private key files to log in with. Without them, and without a password, the agent's
            keys and ``~/.ssh/id_ed25519``, ``id_ecdsa`` and ``id_rsa`` are tried.
        passphrase: Of encrypted private keys, or a function that returns it.
        agent: True (default): keys of a running agent may be used.
        config_file: OpenSSH client configuration (default ``~/.ssh/config``, used if it exists):
            HostName, IdentityFile, ProxyJump and ProxyCommand of the target's host count, and User
            and Port where the target names none. None for none.
        proxy_jump: ``"[user@]host[:port]"`` through which to connect, or several with commas.
        proxy_command: Shell command whose standard input and output lead to the server; ``%h``,
            ``%p``, ``%r``, ``%n`` and ``%%`` stand for host, port, user, the host as the target
            names it, and a percent sign, each as one quoted word.
        source_address: Local ``(host, port)`` of connections; port 0 lets the system choose.
        socket_factory: Called as ``socket.create_connection``, for proxies.
        fsync: True: ask the server to write each file to its disk before it takes its name, where
            it can (``fsync@openssh.com``). Default: False.

    Raises:
        ConfigError: A value is wrong, or two of them contradict each other.
    """

    known_hosts: PathLike | Sequence[PathLike] | None = None
    fingerprint: str | Sequence[str] | None = None
    accept_new: bool = False
    keys: PathLike | Sequence[PathLike] = ()
    passphrase: str | Callable[[], str] | None = field(default=None, repr=False)
    agent: bool = True
    config_file: PathLike | None = "~/.ssh/config"
    proxy_jump: str | None = None
    proxy_command: str | None = None
    source_address: tuple[str, int] | None = None
    socket_factory: Callable[..., Any] | None = None
    fsync: bool = False

    def __post_init__(self) -> None:
        """Check the values that would fail only at the first connect."""
        for pinned in self.fingerprints:
            if not FINGERPRINT.fullmatch(str(pinned)):
                raise ConfigError(
                    f"SSHConfig: fingerprint {pinned!r} must look like 'SHA256:' and 43 characters,"
                    " as `ssh-keygen -lf` prints it."
                )
        if self.fingerprint is not None and self.accept_new:
            raise ConfigError("SSHConfig: with a fingerprint nothing is accepted as new: drop one.")
        for name in ("known_hosts", "keys"):
            if any(not isinstance(path, str | os.PathLike) for path in _many(getattr(self, name))):
                raise ConfigError(f"SSHConfig: {name} must be a path or a list of paths.")
        if isinstance(self.passphrase, bytes):
            raise ConfigError("SSHConfig: the passphrase must be a str, or a function.")
        ways = [self.proxy_jump, self.proxy_command, self.socket_factory]
        if sum(way is not None for way in ways) > 1:
            raise ConfigError(
                "SSHConfig: proxy_jump, proxy_command and socket_factory are three ways to connect:"
                " write one of them."
            )
        match self.source_address:
            case None | (str(), int()):
                pass
            case _:
                raise ConfigError("SSHConfig: source_address must be a (host, port) pair.")

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The pinned fingerprints."""
        if self.fingerprint is None:
            return ()
        return (self.fingerprint,) if isinstance(self.fingerprint, str) else tuple(self.fingerprint)

    @property
    def known_hosts_files(self) -> tuple[str, ...]:
        """Where trusted host keys are, the first one for new ones."""
        return tuple(map(_expand, _many(self.known_hosts) or KNOWN_HOSTS))

    @property
    def key_files(self) -> tuple[str, ...]:
        """The private keys to log in with."""
        return tuple(map(_expand, _many(self.keys)))


def _many(paths: PathLike | Sequence[PathLike] | None) -> tuple[PathLike, ...]:
    if paths is None:
        return ()
    return (paths,) if isinstance(paths, str | os.PathLike) else tuple(paths)


def _expand(path: PathLike) -> str:
    return os.path.expanduser(os.fspath(path))
