"""The limiters that have a name; each is made once for a process."""

from __future__ import annotations

import sys

from ftppool.errors import ConfigError
from ftppool.limits.base import Limiter
from ftppool.limits.process import ProcessLimiter

__all__ = ["limiter_of"]

_PROCESS = ProcessLimiter()


def limiter_of(name: str) -> Limiter:
    """Return the limiter of that name.

    Raises:
        ConfigError: There is none.
    """
    if name == "process":
        return _PROCESS
    if name == "machine":
        return _machine()
    raise ConfigError(f"limiter={name!r}: this version knows 'machine' and 'process'")


def _machine() -> Limiter:
    if sys.platform == "win32":
        from ftppool.limits.state import warn_once

        warn_once("ftppool: limiter='machine' is not built for Windows: the cap is per process")
        return _PROCESS
    else:  # noqa: RET505 - so that type checkers see it for each platform
        from ftppool.limits.machine import MachineLimiter

        return MachineLimiter.shared()
