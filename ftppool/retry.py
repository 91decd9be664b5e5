"""How long to wait and how often to try: the only module that knows tenacity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftppool.errors import ConfigError

if TYPE_CHECKING:
    import tenacity

__all__ = ["RetryPolicy", "file_delay", "open_delay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When to try again. Wrong passwords and permanent errors are never tried again.

    Attributes:
        attempts: Tries of one connect that fails for another reason than a refusal, and of one
            file whose transfer fails for a passing reason (default 5).
        first_wait: Seconds; the longest first wait after a refusal (default 0.1). vsftpd counts a
            refused connection until it has reaped it, so trying at once makes things worse.
        max_wait: Seconds; the longest wait between two tries (default 30).
        busy_total: Seconds for which a batch goes on trying while the server refuses and no session
            of ours is open (default 600): left-overs of a crashed run count on the server for 5 to
            20 minutes.
        patterns: Regular expressions, case-insensitive: replies to a connect or login that mean
            "too many connections" on your server although ftppool does not know the words.
    """

    attempts: int = 5
    first_wait: float = 0.1
    max_wait: float = 30.0
    busy_total: float = 600.0
    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ConfigError(f"attempts={self.attempts}: write 1 for no second try, or more")
        for name in ("first_wait", "max_wait", "busy_total"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}={getattr(self, name)}: write seconds, 0 or more")
        if self.patterns:
            from ftppool.refusals import check_patterns

            check_patterns(self.patterns)


def open_delay(policy: RetryPolicy, failures: int) -> float:
    """Seconds before the next connect to an address after so many failures in a row.

    First 50-100 ms, for a slot that the server is just about to free; then 0.5 s; then exponential
    with full jitter, so that several clients do not come back at the same instant.
    """
    import tenacity  # here: most runs never have to wait

    steps = tenacity.wait_chain(
        tenacity.wait_random(policy.first_wait / 2, policy.first_wait),
        tenacity.wait_fixed(min(0.5, policy.max_wait)),
        tenacity.wait_random_exponential(multiplier=0.25, min=0.5, max=max(0.5, policy.max_wait)),
    )
    return min(steps(_state(failures)), policy.max_wait)


def file_delay(policy: RetryPolicy, failures: int) -> float:
    """Seconds before the next attempt at a file after so many that failed: full jitter."""
    import tenacity

    steps = tenacity.wait_random_exponential(multiplier=0.25, max=policy.max_wait)
    return steps(_state(failures))


def _state(attempt: int) -> tenacity.RetryCallState:
    import tenacity

    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    return state
