"""Whether a server's host key is the right one, decided before any password is sent."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import paramiko

from ftppool.errors import HostKeyError
from ftppool.sshconfig import KNOWN_HOSTS, SSHConfig

__all__ = ["HostKeys", "fingerprint"]


@dataclass(frozen=True, slots=True)
class _Line:
    marker: str
    hosts: str
    kind: str
    key: bytes
    where: str
    file: str


def fingerprint(key: bytes) -> str:
    """Return the fingerprint as OpenSSH prints it."""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


class HostKeys:
    """What is known of one host's keys."""

    def __init__(self, config: SSHConfig, host: str, port: int) -> None:
        self._config = config
        self._name = host if port == 22 else f"[{host}]:{port}"
        self._scan = f"ssh-keyscan {f'-p {port} ' if port != 22 else ''}{host} >> {_first(config)}"
        self._lines = [
            line
            for file in config.known_hosts_files
            for line in _read(file)
            if _matches(line.hosts, self._name.lower())
        ]

    def algorithms(self, offered: tuple[str, ...]) -> list[str]:
        """Sort signature algorithms: those of known keys first, so that the server shows one."""
        known = {line.kind for line in self._lines if not line.marker}
        return sorted(offered, key=lambda name: _key_type(name) not in known)

    def check(self, key: paramiko.PKey) -> None:
        """Accept the server's key or refuse it.

        Raises:
            HostKeyError: It is unknown, revoked, or not the one that was there before.
        """
        shown, blob = f"{key.get_name()} key {fingerprint(key.asbytes())}", key.asbytes()
        if self._config.fingerprints:
            if fingerprint(blob) not in {
                pinned.rstrip("=") for pinned in self._config.fingerprints
            }:
                raise HostKeyError(
                    f"{self._name} shows the {shown}, which is not the pinned one: either somebody"
                    " is listening in, or the server got a new key; ask its owner, then pin it.",
                    phase="login",
                )
            return
        if any(line.marker == "@revoked" and line.key == blob for line in self._lines):
            raise HostKeyError(f"{self._name} shows the {shown}, which is revoked", phase="login")
        trusted = [line for line in self._lines if not line.marker]
        if any(line.key == blob for line in trusted):
            return
        if trusted:
            raise HostKeyError(
                f"the host key of {self._name} has changed: it shows the {shown}, but"
                f" {trusted[0].where} has another one. Either somebody is listening in, or the"
                " server got a new key: ask its owner; if it is right, remove the old one with"
                f" `ssh-keygen -R '{self._name}'{_in_file(trusted[0].file)}`.",
                phase="login",
            )
        if not self._config.accept_new:
            raise HostKeyError(
                f"the host key of {self._name} is not known: it shows the {shown}. Compare it with"
                f" what its owner says, then run `{self._scan}`, or pin it"
                f" with SSHConfig(fingerprint={fingerprint(blob)!r}).",
                phase="login",
            )
        self._add(key)

    def _add(self, key: paramiko.PKey) -> None:
        path = self._config.known_hosts_files[0]
        line = f"{self._name} {key.get_name()} {key.get_base64()}\n"
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            # One write of one line: two processes that learn the same host do not mix theirs.
            file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                end = os.lseek(file, 0, os.SEEK_END)
                if end:
                    os.lseek(file, end - 1, os.SEEK_SET)
                    if os.read(file, 1) != b"\n":
                        line = f"\n{line}"
                os.write(file, line.encode())
            finally:
                os.close(file)
        except OSError as error:
            raise HostKeyError(
                f"the new host key of {self._name} cannot be written to {path} ({error}), so it"
                " would not be known the next time",
                phase="login",
            ) from error


def _first(config: SSHConfig) -> str:
    """The file for new keys, as a shell takes it."""
    path = config.known_hosts_files[0]
    return KNOWN_HOSTS[0] if path == os.path.expanduser(KNOWN_HOSTS[0]) else shlex.quote(path)


def _in_file(path: str) -> str:
    usual = os.path.expanduser(KNOWN_HOSTS[0])
    return "" if path == usual else f" -f {shlex.quote(path)}"


def _key_type(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _read(path: str) -> Iterator[_Line]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostKeyError(f"{path} cannot be read: {error}", phase="login") from error
    for number, text in enumerate(lines, 1):
        fields = text.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#") or marker == "@cert-authority":
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except binascii.Error:
            continue
        yield _Line(marker, fields[0], fields[1], key, f"{path} line {number}", path)


def _matches(hosts: str, name: str) -> bool:
    """Tell whether a line is about this host: names, patterns, negations, or one hashed name."""
    if hosts.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part) for part in hosts.split("|")[2:4])
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
    found = False
    for pattern in hosts.lower().split(","):
        # [host]:port is no character class.
        plain = pattern.lstrip("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name, plain):
            if pattern.startswith("!"):
                return False
            found = True
    return found
