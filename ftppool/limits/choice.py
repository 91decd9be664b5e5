"""The limiters that have a name; each is made once for a process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ftppool.errors import ConfigError

if TYPE_CHECKING:
    from ftppool.limits.base import Limiter

__all__ = ["check_limiter", "limiter_of"]


def check_limiter(name: str) -> None:
    """Refuse a name that no limiter has.

    Raises:
        ConfigError: There is none.
    """
    if name not in {"machine", "process"}:
        raise ConfigError(f"limiter={name!r}: this version knows 'machine' and 'process'")


def limiter_of(name: str) -> Limiter:
    """Bring the limiter of that name.

    Raises:
        ConfigError: There is none.
    """
    check_limiter(name)
    from ftppool.limits.process import SHARED

    return SHARED if name == "process" else _machine(SHARED)


def _machine(process: Limiter) -> Limiter:
    if sys.platform == "win32":
        from ftppool.limits.state import warn_once

        warn_once("ftppool: limiter='machine' is not built for Windows: the cap is per process")
        return process
    else:  # noqa: RET505 - so that type checkers see it for each platform
        from ftppool.limits.machine import MachineLimiter

        return MachineLimiter.shared()
