"""From what was asked for to a target and the options of its pool."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ftppool import passwords
from ftppool.cli import profiles
from ftppool.cli.args import Options
from ftppool.cli.credentials import Place, source_of
from ftppool.cli.exits import UsageError
from ftppool.cli.settings import Level
from ftppool.errors import ConfigError
from ftppool.options import PoolOptions
from ftppool.retry import RetryPolicy
from ftppool.sshconfig import SSHConfig
from ftppool.target import FTPConfig, Target, lacks_password
from ftppool.tlsconfig import TLSConfig

__all__ = ["place_of", "pool_options", "with_password"]

_ONLY_FOR = {
    "ca_file": ("ftps", "ftpsi"),
    "client_certificate": ("ftps", "ftpsi"),
    "client_key": ("ftps", "ftpsi"),
    "tls_minimum": ("ftps", "ftpsi"),
    "fingerprint": ("ftps", "ftpsi", "sftp"),
    "accept_new": ("sftp",),
    "known_hosts": ("sftp",),
    "identity": ("sftp",),
    "proxy_jump": ("sftp",),
    "encoding": ("ftp", "ftps", "ftpsi"),
    "passive": ("ftp", "ftps", "ftpsi"),
}


def place_of(options: Options, text: str) -> Place:
    """Read a URL or ``profile:path``; the password is only that of the URL.

    Raises:
        UsageError: It is neither.
        ConfigError: The profile's URL is wrong, or for another server.
    """
    parts = profiles.split(text)
    if parts is None:
        try:
            target = Target.parse(text)
        except ConfigError as error:
            raise UsageError(_meant(options, text) or str(error)) from None
        if options.url is not None:
            _check_same_server(options, target)
        return _with_user(options, target, text, Level.FLAG)
    if options.url is None:
        raise ConfigError(
            f"{options.profile_file}: profiles.{parts[0]} has no url: write one, or a URL as DEST"
        )
    base = _profile_target(options)
    directory = base.resolve(parts[1])
    target = dataclasses.replace(base, directory="" if directory == "." else directory)
    return _with_user(options, target, options.url, Level.PROFILE)


def _meant(options: Options, text: str) -> str:
    """Say what somebody may have meant by a word that is no URL; "" to say what is wrong with it.

    Only a plain path is repeated: anything else may have a password.
    """
    if not re.fullmatch(r"[\w.-]+(/[\w./-]*)?", text):
        return ""
    name, _, path = text.partition("/")
    if profiles.has(options.config, name):
        return f"{name!r} is a profile: write {name}:{path}, with a colon"
    if options.command == "get":
        return (
            f"{text!r} is on no server: write ftp://user@host/{text} or profile:{text} (or"
            f" ftp://{text}, if {name!r} is the server)"
        )
    return ""


def _profile_target(options: Options) -> Target:
    where = f"{options.profile_file}: profiles.{options.profile}.url"
    try:
        target = Target.parse(options.url or "")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if target.password is not None:
        raise ConfigError(
            f"{where} has a password: put it into a file of mode 600 and write password_file"
        )
    return target


def _check_same_server(options: Options, target: Target) -> None:
    """A profile's password must not go to another server because of a forgotten variable."""
    ours = _profile_target(options)
    theirs = (target.scheme, target.host.lower(), target.port)
    if (ours.scheme, ours.host.lower(), ours.port) != theirs:
        raise ConfigError(
            f"profile {options.profile!r} is for {ours.scheme}://{ours.host}:{ours.port}: write"
            f" {options.profile}:path, or leave the profile out"
        )


def _with_user(options: Options, target: Target, url: str, level: Level) -> Place:
    """Fill in ``--user``, which gives way to a URL that is closer to the user."""
    named = "@" in url.partition("://")[2].partition("/")[0]  # a path may have one too
    if options.user is None:
        return Place(target, named)
    theirs = options.origins["user"]
    if named and theirs.level == level:
        raise ConfigError(f"the user name is in the URL and in {theirs.words}: write it once")
    if named and theirs.level < level:
        return Place(target, named)
    return Place(dataclasses.replace(target, user=options.user, password=None), named=True)


def with_password(options: Options, place: Place) -> Target:
    """Fetch the password from where it is; ask for it if it is nowhere and there must be one.

    Raises:
        ConfigError: It cannot be had, or there is no user that it could be for.
    """
    source, target = source_of(options, place), place.target
    if source is None and lacks_password(target):
        from ftppool.cli.ask import ask

        return dataclasses.replace(target, password=ask(target))
    if source is None or target.password is not None:
        return target
    if not place.named and source.netrc is not None:
        user, secret = passwords.netrc_login(target.host, None, source.netrc)
        return dataclasses.replace(target, user=user or target.user, password=secret)
    if not place.named and target.scheme != "sftp":
        raise ConfigError(
            f"{source.words} is set, but the URL names no user: write {target.scheme}://"
            "user@host/directory, or leave it out for anonymous FTP."
        )
    return dataclasses.replace(target, password=source.read())


def pool_options(options: Options, target: Target) -> PoolOptions:
    """Gather what a pool takes but ``max_per_ip``.

    Raises:
        ConfigError: A setting has no meaning for this protocol, or contradicts another.
    """
    for dest, schemes in _ONLY_FOR.items():
        origin = options.origins[dest]
        if origin.level is not Level.DEFAULT and target.scheme not in schemes:
            *most, last = (f"{scheme}://" for scheme in schemes)
            words = f"{', '.join(most)} and {last}" if most else last
            name = origin.words if origin.level > Level.PROFILE else f"{dest} of {origin.words}"
            raise ConfigError(f"{name} is for {words}: this is {target.scheme}://")
    found = PoolOptions(
        acquire_timeout=options.acquire_timeout,
        connect_timeout=options.connect_timeout,
        io_timeout=options.io_timeout,
        retry=RetryPolicy(attempts=options.attempts, busy_total=options.retry_total),
        limiter=options.limiter,
    )
    if target.scheme == "sftp":
        found["ssh"] = _ssh(options)
    else:
        found["ftp"] = FTPConfig(encoding=options.encoding, passive=options.passive)
    if target.scheme in {"ftps", "ftpsi"}:
        found["tls"] = TLSConfig(
            ca_file=options.ca_file,
            fingerprint=options.fingerprint,
            client_certificate=options.client_certificate,
            client_key=options.client_key,
            minimum_version=options.tls_minimum,
        )
    return found


def _ssh(options: Options) -> SSHConfig:
    given: dict[str, Any] = {}
    if options.known_hosts:
        given["known_hosts"] = options.known_hosts
    if options.identity:
        given["keys"] = options.identity
    return SSHConfig(
        fingerprint=options.fingerprint,
        accept_new=options.accept_new,
        proxy_jump=options.proxy_jump,
        **given,
    )
