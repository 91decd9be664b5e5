"""The pool's options and the one sentence for each that is wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypedDict, cast

from ftppool.errors import ConfigError
from ftppool.target import Target, lacks_password
from ftppool.words import nearest

if TYPE_CHECKING:
    import ssl

    from ftppool.limits.base import Limiter
    from ftppool.retry import RetryPolicy
    from ftppool.sshconfig import SSHConfig
    from ftppool.target import FTPConfig
    from ftppool.tlsconfig import TLSConfig

__all__ = [
    "PoolOptions",
    "check_cap",
    "check_known",
    "check_options",
    "check_positive",
    "check_rate",
    "check_seconds",
    "check_target",
]


class PoolOptions(TypedDict, total=False):
    """The keyword arguments of :class:`FTPPool` but ``max_per_ip``; see there."""

    user: str | None
    password: str | Callable[[], str] | None
    ftp: FTPConfig | None
    ssh: SSHConfig | None
    tls: TLSConfig | ssl.SSLContext | None
    channels: int
    acquire_timeout: float
    connect_timeout: float
    io_timeout: float
    quit_timeout: float
    close_timeout: float
    max_idle: float
    max_lifetime: float
    check_after_idle: float
    retry: RetryPolicy
    limiter: Limiter | str
    rate_limit: float | None
    leak_warn_after: float | None
    name: str | None


def check_options(options: PoolOptions) -> None:
    """Refuse options that do not exist, and name the nearest that does."""
    check_known(options, PoolOptions, "max_per_ip", "workers")


def check_known(options: Mapping[str, object], known: type, *others: str) -> None:
    """Refuse options that are not among the keys of a ``TypedDict``, nor among `others`."""
    names = set(known.__annotations__)
    for name in options:
        if name not in names:
            near = nearest(name, names.union(others))
            hint = f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(names))}"
            raise ConfigError(f"unknown option {name!r}; {hint}")


def check_target(target: object, user: str | None, password: object) -> Target:
    """Read the URL, or take the target as it is; a password that is missing is told now."""
    secret = cast("str | Callable[[], str] | None", password)
    if isinstance(target, str):
        target = Target.parse(target, user=user, password=secret)
    elif not isinstance(target, Target):
        raise ConfigError(f"target={target!r}: write a URL such as 'ftp://user@host/directory'")
    elif user is not None or password is not None:
        raise ConfigError("user and password belong into the Target, or use a URL")
    if lacks_password(target):
        target.secret()  # raises: not only at the first login
    return target


def check_cap(value: object) -> int:
    """Return max_per_ip if it is a number of connections."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(
            f"max_per_ip={value!r}: write how many connections the server may see, 1 or more"
        )
    return value


def check_positive(name: str, value: object) -> int:
    """Return a count that is at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r}: write a whole number, 1 or more")
    return value


def check_rate(value: object) -> float:
    """Return a rate in bytes per second."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and 1 <= cast("float", value) < float("inf"):
        return float(cast("float", value))
    raise ConfigError(f"rate_limit={value!r}: write bytes per second, 1 or more, or None")


def check_seconds(name: str, value: object, *, zero: bool) -> float:
    """Return a time that can be waited for: never infinite, 0 only where that has a meaning."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and (0 if zero else 1e-9) <= cast("float", value) <= threading.TIMEOUT_MAX:
        return float(cast("float", value))
    most = f", {threading.TIMEOUT_MAX:.0f} at most" if number and cast("float", value) > 1 else ""
    raise ConfigError(
        f"{name}={value!r}: write seconds, {'0 or more' if zero else 'more than 0'}{most}"
    )
