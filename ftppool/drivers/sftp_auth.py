"""How to prove to an SSH server who we are: keys, the agent, a password; each tried once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, cast

import paramiko
from paramiko.auth_handler import AuthHandler

from ftppool.drivers.sftp_endpoint import DEFAULT_KEYS, Endpoint
from ftppool.drivers.sftp_stream import Transport
from ftppool.errors import AuthError, ConfigError
from ftppool.sshconfig import SSHConfig

__all__ = ["authenticate"]

AGENT = 30.0
"""Seconds for an answer of the agent, which may ask its user to touch a key."""
MOST_KEYS = 4
"""Keys tried in one login: OpenSSH hangs up after six, and counts each against us."""


class _Auth(AuthHandler):
    """paramiko's, but the service is asked for once and not before each attempt: some hang up."""

    def _request_auth(self) -> None:
        transport = cast("Transport", self.transport)
        if not transport.asked_for_auth:
            transport.asked_for_auth = True
            super()._request_auth()  # type: ignore[misc]  # not in its stubs
        else:
            accepted = paramiko.Message()
            accepted.add_string("ssh-userauth")
            accepted.rewind()
            self._parse_service_accept(accepted)  # type: ignore[attr-defined]  # not in its stubs


_Begin = Callable[[AuthHandler, threading.Event], None]


def _offer(user: str, key: paramiko.PKey) -> _Begin:
    return lambda auth, done: auth.auth_publickey(user, key, done)


def _try(transport: Transport, begin: _Begin) -> list[str]:
    """Make one attempt; what the server wants besides, mostly nothing."""
    done = threading.Event()
    handler = _Auth(transport)
    transport.auth_handler = handler
    begin(handler, done)
    return handler.wait_for_response(done)


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
                left = _try(transport, _offer(endpoint.user, key))
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
    left = _send_password(transport, endpoint, password)
    if left:
        raise AuthError(
            f"{endpoint.host} wants {' and '.join(left)} after the password: pass"
            " ssh=SSHConfig(keys=…)",
            phase="login",
        )


def _send_password(transport: Transport, endpoint: Endpoint, password: str) -> list[str]:
    """Send the password, by keyboard-interactive where that is how the server asks for it."""
    asked = 0

    def answer(_title: str, _text: str, prompts: list[tuple[str, bool]]) -> list[str]:
        # This runs in paramiko's thread. PAM asks again for a wrong one: that gets no second try.
        nonlocal asked
        asked += bool(prompts)
        return [password if asked == 1 and not echo else "" for _, echo in prompts]

    try:
        return _try(transport, lambda auth, done: auth.auth_password(endpoint.user, password, done))
    except paramiko.BadAuthenticationType as error:
        if "keyboard-interactive" not in error.allowed_types:
            raise _no_way(endpoint, error.allowed_types) from error
    return _try(transport, lambda auth, done: auth.auth_interactive(endpoint.user, answer, done))


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
            agent = _Agent()
            stack.callback(agent.close)
            yield from agent.get_keys()
    for path in map(os.path.expanduser, DEFAULT_KEYS):
        with suppress(ConfigError):  # nobody asked for this one
            yield _load(path, config)


class _Agent(paramiko.Agent):
    """An agent that may hang, as one whose forwarding is dead."""

    def _connect(self, conn: Any) -> None:
        try:
            if hasattr(conn, "settimeout"):  # PuTTY's on Windows is no socket
                conn.settimeout(AGENT)
            super()._connect(conn)  # type: ignore[misc]  # not in its stubs
        except BaseException:
            conn.close()
            raise


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
