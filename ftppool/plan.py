"""What a batch was asked to do, checked: the options that do not concern one file alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from ftppool.errors import ConfigError
from ftppool.options import check_positive, check_seconds
from ftppool.patterns import Globs, Patterns, patterns_of
from ftppool.report import Outcome

if TYPE_CHECKING:
    from ftppool.progress import Show

__all__ = ["BatchOptions", "Plan", "plan_of"]


class BatchOptions(TypedDict, total=False):
    """What uploads and downloads of many files have in common; see :func:`upload_batch`."""

    workers: int | None
    include: Patterns
    exclude: Patterns
    last: Patterns
    deadline: float | None
    max_failures: int | None
    progress: bool | Show | None
    check: bool


class Plan(NamedTuple):
    """The checked options of one batch.

    Attributes:
        workers: Files under way at a time.
        last: Groups of files that go after all others, in this order; one pattern each.
        on_arrived: Called in the caller's thread with the outcome of each file that has arrived.
        deadline: Seconds for the whole batch, or None.
        max_failures: So many failed files end the batch, or None.
        progress: Called with snapshots, or None.
        list_rest: The input has an end: it may be read on after the batch was given up.
    """

    workers: int
    last: tuple[tuple[str, Globs], ...] = ()
    on_arrived: Callable[[Outcome], object] | None = None
    deadline: float | None = None
    max_failures: int | None = None
    progress: Show | None = None
    list_rest: bool = True


def plan_of(
    options: BatchOptions,
    *,
    workers: int,
    on_arrived: Callable[[Outcome], object] | None,
    list_rest: bool,
) -> Plan:
    """Check the options of a batch.

    Args:
        workers: What counts if the options do not say.

    Raises:
        ConfigError: One of them is wrong.
    """
    if on_arrived is not None and not callable(on_arrived):
        raise ConfigError(f"{on_arrived!r} cannot be called; pass a function of one outcome")
    deadline, failures = options.get("deadline"), options.get("max_failures")
    asked = options.get("workers")
    return Plan(
        workers=workers if asked is None else check_positive("workers", asked),
        last=tuple(
            (pattern, Globs((pattern,))) for pattern in patterns_of("last", options.get("last"))
        ),
        on_arrived=on_arrived,
        deadline=None if deadline is None else check_seconds("deadline", deadline, zero=False),
        max_failures=None if failures is None else check_positive("max_failures", failures),
        progress=_shown(options.get("progress")),
        list_rest=list_rest,
    )


def _shown(progress: object) -> Show | None:
    """What shows the progress: what the user gave, or the display; None for nothing."""
    if progress is None or progress is False:
        return None
    if progress is True:
        from ftppool.display import Display  # only for those who look

        return Display()
    if not callable(progress):
        raise ConfigError(f"progress={progress!r}: write True, or a function of one Progress")
    return progress
