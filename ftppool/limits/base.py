"""What the gate asks of a limiter."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Limiter", "Permit"]


class Permit(Protocol):
    """The right to one connection; held from before its connect until it has settled."""

    def release(self) -> None:
        """Give the permit back; a second call does nothing."""


class Limiter(Protocol):
    """Counts connections over more than one gate: processes, machines."""

    def take(self, address: str, cap: int) -> Permit | None:
        """Take a permit for one connection to `address`, or return None if `cap` are out.

        Called by the gate's own threads, never under its lock; must not block for long.
        """
