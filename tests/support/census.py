"""What a server saw: its visits (control connections) and their tally."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Visit:
    """One control connection as the server's side saw it.

    Times are `time.monotonic` seconds, which all processes of a machine share. A visit without
    `begin` is known from the server's log only: it was over before anybody could look.
    """

    begin: float | None = None
    end: float | None = None
    refused: bool = False
    logged_in: bool = False
    login_failures: int = 0
    quit: bool = False

    @property
    def held(self) -> bool:
        """Whether the server holds it now, as a session and not as a refusal on its way out."""
        return self.begin is not None and self.end is None and not self.refused


@dataclass(frozen=True, slots=True)
class Census:
    """Counts of control connections since the server started.

    What each number rests on is told by the module of the server's kind.
    """

    held: int
    """Connections the server holds now, refused ones apart."""
    peak: int
    """The most it ever held at once, connections that it refused (sooner or later) apart."""
    connects: int
    """Connections that reached the server, refused ones included."""
    sessions: int
    """Connections that logged in."""
    quits: int
    """Connections on which QUIT arrived."""
    refusals: int
    """Connections it turned away because of a limit, in the greeting or at the login."""
    logins_failed: int
    """Refused user names and passwords, limits apart."""


def tally(visits: Iterable[Visit]) -> Census:
    """Count `visits`."""
    seen = list(visits)
    return Census(
        held=sum(visit.held for visit in seen),
        peak=_peak(seen),
        connects=len(seen),
        sessions=sum(visit.logged_in and not visit.refused for visit in seen),
        quits=sum(visit.quit for visit in seen),
        refusals=sum(visit.refused for visit in seen),
        logins_failed=sum(visit.login_failures for visit in seen),
    )


def _peak(visits: list[Visit]) -> int:
    # At equal times the end sorts first: an end is noticed late, never early, so two visits
    # that touch in one sample did not overlap.
    steps = []
    for visit in visits:
        if visit.begin is not None and not visit.refused:
            steps.append((visit.begin, 1))
            if visit.end is not None:
                steps.append((visit.end, -1))
    held = peak = 0
    for _, step in sorted(steps):
        held += step
        peak = max(peak, held)
    return peak
