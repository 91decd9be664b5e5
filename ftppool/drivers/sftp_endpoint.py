"""Where an SFTP target really is: the user's OpenSSH configuration and the ways through proxies."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import paramiko

from ftppool.childprocess import kill
from ftppool.errors import ConfigError
from ftppool.sshconfig import SSHConfig
from ftppool.target import Target

__all__ = ["CommandSocket", "Endpoint", "endpoint_of", "hops_of"]

DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
ENDING = 0.5
"""Seconds for the end of a ProxyCommand whose connection is at its end."""
# What OpenSSH refuses in names since 9.6. Quoting is not enough: a ProxyCommand may hand them to a
# second shell, or take them for an option.
_BAD_HOST = re.compile(r"""^-|['`"$\\;&<>|(){}\s\x00-\x1f\x7f]""")
_BAD_USER = re.compile(r"""^-|['`";&<>|(){}\x00-\x1f\x7f]|\s-|\\\Z""")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One SSH server and how to get there and in.

    Attributes:
        keys: Private key files that were asked for; a missing one is an error.
        jump: Hosts to go through, as in ``ssh -J``, or "".
        command: The shell command that leads to it, or "".
    """

    host: str
    port: int
    user: str
    keys: tuple[str, ...]
    jump: str
    command: str

    @property
    def proxied(self) -> bool:
        """True if its address is not ours to resolve."""
        return bool(self.jump or self.command)


def endpoint_of(target: Target, config: SSHConfig) -> Endpoint:
    """Apply the OpenSSH configuration to a target; what the target says itself wins.

    Raises:
        ConfigError: The configuration file cannot be read, or nobody names a user.
    """
    port = target.port if target.port_given else None
    return _endpoint(target.host, port, target.user, config)


def hops_of(endpoint: Endpoint, config: SSHConfig) -> list[Endpoint]:
    """Return the hosts to go through, the nearest one first.

    Raises:
        ConfigError: One is not ``[user@]host[:port]``, or needs a user name.
    """
    hops = []
    for text in filter(None, endpoint.jump.split(",")):
        user, at, place = text.strip().removeprefix("ssh://").rpartition("@")
        host, colon, port = place.partition(":") if place.count(":") < 2 else (place, "", "")
        if not host or (colon and not port.isdigit()) or (at and not user):
            raise ConfigError(f"proxy_jump: {text!r} must look like [user@]host[:port].")
        number = int(port) if port else None
        hops.append(_endpoint(host, number, user, config, otherwise=endpoint.user))
    return hops


def _endpoint(
    host: str, port: int | None, user: str, config: SSHConfig, *, otherwise: str = ""
) -> Endpoint:
    # Before the look-up, whose Match exec gives it to a shell, too. Not repeated: it may be a piece
    # of a password.
    if _BAD_HOST.search(host):
        raise ConfigError(
            "The host name of an SFTP target begins with '-' or holds a character that means"
            " something to a shell, which OpenSSH refuses, too: write the server's name or address."
        )
    found = _look_up(host, config)
    name = str(found.get("hostname", host))
    configured = found.get("port", "22")
    if not str(configured).isdigit():
        raise ConfigError(f"{config.config_file}: Port of {host} is not a number: {configured!r}.")
    port = port or int(configured)
    user = user or str(found.get("user", otherwise))
    if not user:
        ways = ["write sftp://user@host/", "pass user="]
        if config.config_file is not None:
            ways.append(f"set User in {config.config_file}")
        *others, last = ways
        raise ConfigError(f"SFTP needs a user name: {', '.join(others)} or {last}.")
    jump, command = _way(found, config)
    files = cast("list[str]", found.get("identityfile", []))
    keys = config.key_files or tuple(
        path for path in map(os.path.expanduser, files) if os.path.exists(path)
    )
    if "%r" in command and _BAD_USER.search(user):
        raise ConfigError(
            "The ProxyCommand is to be filled with a user name (%r) that begins with '-' or holds a"
            " character that means something to a shell, which OpenSSH refuses, too: write the"
            " name into the command in place of %r."
        )
    fill = {"h": name, "n": host, "p": str(port), "r": user, "%": "%"}
    jump = _fill(jump, fill)
    command = _fill(command, {letter: shlex.quote(value) for letter, value in fill.items()})
    return Endpoint(name, port, user, keys, jump, command)


def _way(found: paramiko.SSHConfigDict, config: SSHConfig) -> tuple[str, str]:
    """Return the hosts to jump over and the proxy command, of which one at least is ""."""
    if config.proxy_jump or config.proxy_command or config.socket_factory:
        ways = {"proxyjump": config.proxy_jump or "", "proxycommand": config.proxy_command or ""}
    else:
        # In the order of the file: its first word on this counts, be it "none".
        first = next((key for key in found if key in ("proxyjump", "proxycommand")), "")
        ways = {first: str(found.get(first, ""))}  # paramiko makes None of some "none"
    jump, command = ways.get("proxyjump", ""), ways.get("proxycommand", "")
    return "" if jump.lower() == "none" else jump, "" if command.lower() == "none" else command


class _Configuration(paramiko.SSHConfig):
    """Leaves what leads to a server as it is written.

    paramiko would fill it in without quotes, and with the port and user of the file where the
    target names others.
    """

    def __init__(self) -> None:
        super().__init__()
        ours: dict[str, list[str]] = {"proxycommand": [], "proxyjump": []}
        self.TOKENS_BY_CONFIG_KEY = {**self.TOKENS_BY_CONFIG_KEY, **ours}


def _look_up(host: str, config: SSHConfig) -> paramiko.SSHConfigDict:
    if config.config_file is None:
        return paramiko.SSHConfigDict()
    path = os.path.expanduser(os.fspath(config.config_file))
    try:
        return _Configuration.from_path(path).lookup(host)
    except FileNotFoundError:
        return paramiko.SSHConfigDict()
    except (OSError, paramiko.SSHException, UnicodeError, ImportError) as error:
        raise ConfigError(
            f"SSHConfig: {path} cannot be used ({error}); mend it, or pass config_file=None."
        ) from error


def _fill(command: str, values: dict[str, str]) -> str:
    # In one pass, so that a name with a '%' in it is not filled in again.
    parts = []
    rest = command
    while "%" in rest:
        before, _, rest = rest.partition("%")
        letter = rest[:1]
        value = values.get(letter)
        parts += [before, f"%{letter}" if value is None else value]
        rest = rest[1:]
    return "".join([*parts, rest])


class CommandSocket(socket.socket):
    """Our end of the connection to a ProxyCommand, which ends with it."""

    _process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, command: str, connected: Callable[[socket.socket], None]) -> CommandSocket:
        """Run the command in a shell."""
        ours, theirs = socket.socketpair()
        sock = cls(ours.family, ours.type, ours.proto, fileno=ours.detach())
        with theirs:
            connected(sock)
            try:
                sock._process = subprocess.Popen(  # noqa: S602 - a shell command is what it is
                    f"exec {command}",
                    shell=True,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    start_new_session=True,  # our Ctrl-C must not cut a transfer that may end
                )
            except BaseException:
                sock.close()
                raise
        return sock

    def failure(self) -> str:
        """Say what the command failed of, once it says nothing more.

        Returns:
            "" if it ended well, or runs on.
        """
        if self._process is None:
            return ""
        try:
            status = self._process.wait(ENDING)  # its output may end a moment before it does
        except subprocess.TimeoutExpired:
            return ""
        if status in (126, 127):
            what = "was not found" if status == 127 else "may not be run"
            return f"the ProxyCommand ended with status {status}: a command in it {what}; mend it"
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        return f"the ProxyCommand {how}; what it writes to stderr says why" if status else ""

    def close(self) -> None:
        """Close, and end the command with all that it started."""
        process, self._process = self._process, None
        super().close()
        if process is None:
            return
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            kill(process)
