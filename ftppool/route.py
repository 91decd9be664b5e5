"""Where a target's name leads: resolved at first use, in a thread, within a time-out."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - not first in the resolver's thread, which a fork may cut off
import socket
import threading
import time
from collections.abc import Callable

from ftppool.bell import Bell
from ftppool.drivers.base import Address, Driver
from ftppool.errors import ConnectError
from ftppool.target import Target
from ftppool.workers import launch

__all__ = ["Route", "route_of"]

LIFETIME = 300.0
"""Seconds after which a pool without sessions asks again."""


class Route:
    """The addresses of one target, in the resolver's order, and the one that the pool stays on."""

    def __init__(self, host: str, port: int, *, fixed: bool = False) -> None:
        self._host = host
        self._port = port
        self._fixed = fixed
        self._addresses: tuple[Address, ...] = ()
        self._resolved_at = 0.0
        self.current: Address | None = None

    def addresses(self, timeout: float, *, settled: Callable[[], bool]) -> tuple[Address, ...]:
        """Return the addresses to try, the first one first.

        Args:
            timeout: Seconds that the resolver may take.
            settled: Tells if sessions are open: then there is only the address that they are at.

        Raises:
            ConnectError: The name does not resolve, or not in time.
        """
        current = self.current  # once: another thread may forget it
        if current is not None:
            young = time.monotonic() - self._resolved_at < LIFETIME
            if young or settled():
                return (current,)
        if self._fixed:  # a proxy resolves the name; here it is only what connections count for
            return (Address(socket.AF_UNSPEC, self._host, self._port),)
        self._addresses = _resolve(self._host, self._port, timeout)
        self._resolved_at = time.monotonic()
        return self._addresses

    def forget(self) -> None:
        """Ask again the next time: the address that worked does not work any more."""
        self.current = None


def _resolve(host: str, port: int, timeout: float) -> tuple[Address, ...]:
    """Ask the system's resolver in a thread of its own, as it knows no time-out."""
    found: list[tuple[Address, ...] | BaseException] = []
    bell = Bell()

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.append(
                tuple(
                    dict.fromkeys(
                        Address(family, str(address[0]), port)
                        for family, _, _, _, address in answers
                    )
                )
            )
        except BaseException as error:  # noqa: BLE001 - whatever it is: to who asked
            found.append(error)
        finally:
            bell.ring()

    launch(threading.Thread(target=ask, name=f"ftppool-resolve-{host}", daemon=True))
    bell.wait(max(0.0, timeout))
    answer = found[0] if found else TimeoutError(f"no answer within {timeout:g} s")
    if isinstance(answer, tuple) and answer:
        return answer
    why = answer if isinstance(answer, BaseException) else "it has no address"
    raise ConnectError(
        f"the host name {host!r} cannot be resolved ({why}); check the spelling and the network",
        phase="resolve",
        retryable=not isinstance(why, UnicodeError),
    ) from (answer if isinstance(answer, BaseException) else None)


def route_of(target: Target, driver: Driver) -> Route:
    """Return the way to a target: its own host, or what its driver goes through."""
    if driver.endpoint is None:
        return Route(target.host, target.port)
    host, port, proxied = driver.endpoint
    return Route(host, port, fixed=proxied)
