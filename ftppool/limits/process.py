"""The limiter of one process: the gate of an address, shared by all pools, is limit enough."""

from __future__ import annotations

__all__ = ["ProcessLimiter"]


class _Permit:
    def release(self) -> None:
        """Nothing was taken."""


class ProcessLimiter:
    """Grants every permit, since all pools of this process share one ledger for an address."""

    def take(self, address: str, cap: int) -> _Permit:
        """Grant."""
        return _Permit()

    def forgo(self, address: str) -> None:
        """There is no line."""

    def pressure(self, address: str, cap: int) -> None:
        """No other process is known."""

    def others(self, address: str) -> int:
        """No other process is known."""
        return 0

    def elsewhere(self, address: str) -> str:
        """No other process is known."""
        return ""
