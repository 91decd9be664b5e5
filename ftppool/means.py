"""What a pool opens sessions with, and where: made at its first use, as the imports take long."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ftppool.hooks import unbroken
from ftppool.limits.choice import limiter_of

if TYPE_CHECKING:
    from ftppool.drivers.base import Driver
    from ftppool.limits.base import Limiter
    from ftppool.route import Route
    from ftppool.target import Target

__all__ = ["Means", "bring_means"]


class Means(NamedTuple):
    """What sessions are opened with, and where."""

    driver: Driver
    limiter: Limiter
    route: Route


def bring_means(target: Target, make_driver: Callable[[], Driver], limiter: Limiter | str) -> Means:
    """Make them, and bring in all that the threads of a gate will run.

    It is called by who uses the pool, never by one of those: they import nothing, see
    :func:`ftppool.hooks.unbroken`.
    """

    def make() -> Means:
        import ftppool.gate  # noqa: F401 - with all that its threads run
        from ftppool.route import route_of

        driver = make_driver()
        chosen = limiter_of(limiter) if isinstance(limiter, str) else limiter
        return Means(driver, chosen, route_of(target, driver))

    return unbroken(make)
