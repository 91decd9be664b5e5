"""How to prove to an SSH server who we are: keys, the agent, a password; each tried once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, cast

import paramiko

from ftppool.drivers.sftp_endpoint import DEFAULT_KEYS, Endpoint
from ftppool.drivers.sftp_stream import Transport
from ftppool.errors import AuthError, ConfigError
from ftppool.sshconfig import SSHConfig

__all__ = ["authenticate"]

MOST_KEYS = 4
"""Keys tried in one login: OpenSSH hangs up after six, and counts each against us."""


def authenticate(
    transport: Transport, endpoint: Endpoint, password: str | None, config: SSHConfig
) -> None:
    """Log in; each key and the password are tried once.

    A password that was given is not preceded by keys that nobody asked for: OpenSSH counts each
    failure and locks the address out.
    """
    tried = 0
    with ExitStack() as stack:
        for key in _keys(endpoint, config, stack, wanted=password is None):
            tried += 1
            try:
                left = transport.auth_publickey(endpoint.user, key)
            except paramiko.BadAuthenticationType as error:
                if password is None:
                    raise _no_way(endpoint, error.allowed_types) from error
                break
            except paramiko.AuthenticationException as error:
                if not transport.is_active() or "timeout" in str(error).lower():
                    raise
                if tried >= MOST_KEYS:
                    break
                continue
            if not left:
                return
            if password is None:
                raise AuthError(
                    f"{endpoint.host} wants {' and '.join(left)} after the key: give a password",
                    phase="login",
                )
            break
    if password is None:
        raise AuthError(
            f"{endpoint.host} accepts none of {tried} keys of {endpoint.user!r}: pass"
            " ssh=SSHConfig(keys=…) or password="
            if tried
            else f"nothing to log in to {endpoint.host} with: pass password= or"
            " ssh=SSHConfig(keys=…), or start an agent",
            phase="login",
        )
    try:
        left = transport.auth_password(endpoint.user, password)
    except paramiko.BadAuthenticationType as error:
        raise _no_way(endpoint, error.allowed_types) from error
    if left:
        raise AuthError(
            f"{endpoint.host} wants {' and '.join(left)} after the password: pass"
            " ssh=SSHConfig(keys=…)",
            phase="login",
        )


def _no_way(endpoint: Endpoint, allowed: list[str]) -> AuthError:
    return AuthError(
        f"{endpoint.host} lets {endpoint.user!r} in by {' or '.join(allowed)} only: pass"
        f" {'ssh=SSHConfig(keys=…)' if 'publickey' in allowed else 'password='}",
        phase="login",
    )


def _keys(
    endpoint: Endpoint, config: SSHConfig, stack: ExitStack, *, wanted: bool
) -> Iterator[paramiko.PKey]:
    """The keys to try: those that were asked for, else (if `wanted`) what is usually there."""
    for path in endpoint.keys:
        yield _load(path, config)
    if endpoint.keys or not wanted:
        return
    if config.agent:
        with suppress(paramiko.SSHException, OSError):  # an agent that is gone has no keys
            agent = paramiko.Agent()
            stack.callback(agent.close)
            yield from agent.get_keys()
    for path in map(os.path.expanduser, DEFAULT_KEYS):
        with suppress(ConfigError):  # nobody asked for this one
            yield _load(path, config)


def _load(path: str, config: SSHConfig) -> paramiko.PKey:
    secret: str | None = None
    while True:
        try:
            return _read_key(path, secret)
        except FileNotFoundError:
            raise ConfigError(f"SSHConfig: the key file {path} does not exist.") from None
        except (paramiko.PasswordRequiredException, TypeError):
            if secret is not None or config.passphrase is None:
                raise ConfigError(
                    f"the private key {path} is encrypted: pass SSHConfig(passphrase=…), or load it"
                    " into an agent."
                ) from None
            secret = (
                config.passphrase if isinstance(config.passphrase, str) else config.passphrase()
            )
        except (paramiko.SSHException, ValueError, OSError) as error:
            why = "the passphrase is wrong" if secret is not None else str(error)
            raise ConfigError(f"the private key {path} cannot be used: {why}") from None


def _read_key(path: str, secret: str | None) -> paramiko.PKey:
    # paramiko wants bytes, whatever its stubs say.
    passphrase = cast("Any", None if secret is None else secret.encode())
    return paramiko.PKey.from_path(path, passphrase)
