"""What doctor says in the end: one sentence for each thing it found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ftppool.cli.exits import Exit

__all__ = ["Finding", "Weight", "exit_code"]


class Weight(StrEnum):
    """How bad it is."""

    PROBLEM = "problem"
    """It causes refusals, or will: exit code 1."""
    NOTE = "note"
    """Good to know."""
    UNSEEN = "unseen"
    """What could not be looked at, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        code: A word for programs, such as ``"leak"``; documented in docs/doctor.md.
        weight: How bad it is.
        text: One sentence for people.
        fix: What to do, in lines; those that begin with four blanks are to be pasted.
        pid: The process that it is about, or None.
        count: The number that it is about (connections, refusals, descriptors), or None.
    """

    code: str
    weight: Weight
    text: str
    fix: tuple[str, ...] = ()
    pid: int | None = None
    count: int | None = None


def exit_code(findings: Iterable[Finding]) -> Exit:
    """0, or 1 if there is a problem."""
    problems = any(finding.weight is Weight.PROBLEM for finding in findings)
    return Exit.FAILED if problems else Exit.OK
