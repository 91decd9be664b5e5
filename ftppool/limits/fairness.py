"""Who may take the next slot, and who must give one up: pure decisions on what was seen.

Theory
------
The *limit* is the smallest cap that any process names which holds slots or waits, or what refusals
have taught if that is less. With ``n`` such
processes each has a *share* of ``limit / n``, rounded up. Who holds less than its share goes before
who does not, and else who came first. Idle sessions are given up as soon as another process waits;
sessions in use only by who has more than its share, after another has waited for ``PATIENCE``. If
nobody has more and somebody has none, the oldest slot changes hands every ``ROTATION``.

When a lesson is due for a probe, one slot more than it allows is given to whoever asks first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from ftppool.lessons import Lessons
from ftppool.limits.base import Allowance, Denied

__all__ = ["Claim", "Grant", "Seen", "allowance", "may_take", "shown_too_low"]

Grant = tuple[str | None, ...]
"""A yes, with the lessons that it puts to the test; see :class:`~ftppool.limits.base.Permit`."""

PATIENCE = 1.0
"""Seconds that a process waits before others end sessions in use for it."""
ROTATION = 10.0
"""Seconds that a process without a slot waits where nobody has more than its share."""
PROBE = 30.0
"""Seconds for which a slot beyond the lesson is a probe under way and no surplus."""


class Claim(NamedTuple):
    """A slot that a process holds, or its wish for one.

    Attributes:
        process: Which process; no two at a time have the same.
        cap: The cap that it names.
        since: When it began to hold or wait, in seconds of the wall clock.
        user: Who logs in.
        trying: True if it was taken as a probe.
    """

    process: str
    cap: int
    since: float
    user: str = ""
    trying: bool = False


class Seen(NamedTuple):
    """All claims at one address at one instant.

    Attributes:
        held: One claim for each slot that is taken.
        wanted: One claim for each process that waits and still asks.
        settling: Slots of processes that died so recently that the server may still count them.
        lessons: What refusals have taught.
    """

    held: tuple[Claim, ...]
    wanted: tuple[Claim, ...]
    settling: int = 0
    lessons: Lessons = Lessons()

    def cap(self, cap: int) -> int:
        """The smallest cap of all, and of the one who asks."""
        return min([cap, *(claim.cap for claim in (*self.held, *self.wanted))])

    def limit(self, cap: int) -> int:
        """The same, lowered by what was learned."""
        lesson = self.lessons.of_all
        return self.cap(cap) if lesson is None else min(self.cap(cap), lesson.limit)

    def taken(self, user: str | None) -> int:
        """How many slots a user has, or all users have."""
        if user is None:
            return len(self.held) + self.settling
        return sum(claim.user == user for claim in self.held)

    def share(self, me: str, limit: int) -> int:
        """How many slots each process may hold, with `me` among them."""
        processes = {claim.process for claim in (*self.held, *self.wanted)} | {me}
        return -(-limit // len(processes))


def may_take(seen: Seen, me: str, cap: int, user: str, now: float) -> Grant | Denied:
    """Tell whether a process may take a slot now, or must leave the room to others."""
    if seen.taken(None) >= seen.cap(cap):
        return Denied.FULL
    lessons = seen.lessons.limits(user)
    full = {who: known for who, known in lessons.items() if seen.taken(who) >= known.limit}
    if full:
        due = all(known.due(now) and seen.taken(who) == known.limit for who, known in full.items())
        if due:
            return tuple(full)
        return Denied.FULL if None in full else Denied.USER
    limit = seen.limit(cap)
    room = limit - seen.taken(None)
    share = seen.share(me, limit)
    held = _count(seen.held)
    mine = min([claim.since for claim in seen.wanted if claim.process == me], default=now)
    turn = (held[me] >= share, mine)
    before = {
        claim.process
        for claim in seen.wanted
        if claim.process != me and (held[claim.process] >= share, claim.since) < turn
    }
    return () if room > len(before) else Denied.FULL


def shown_too_low(seen: Seen, trying: Grant) -> list[str | None]:
    """The lessons put to the test that more connections than they allow have outlived."""
    low = []
    for who in trying:
        lesson = seen.lessons.of_all if who is None else seen.lessons.of_user.get(who)
        if lesson is not None and seen.taken(who) > lesson.limit:
            low.append(who)
    return low


def allowance(seen: Seen, me: str, cap: int, now: float) -> Allowance | None:
    """Say how many sessions a process may keep; None if it need not care."""
    limit = seen.limit(cap)
    if limit < seen.cap(cap):
        limit += any(claim.trying and 0 <= now - claim.since < PROBE for claim in seen.held)
    held = _count(seen.held)
    waiting = [claim for claim in seen.wanted if claim.process != me]
    surplus = len(seen.held) > limit
    if not held[me] or not (waiting or surplus):
        return None
    share = seen.share(me, limit)
    rest = limit - (len(seen.held) - held[me])  # what the others leave
    # Who has its share already gets what is idle, and nothing that is in use.
    poor = [claim for claim in waiting if held[claim.process] < share]
    urgent = [claim for claim in poor if now - claim.since > PATIENCE]
    in_use = held[me]
    if urgent or surplus:
        in_use = min(in_use, max(share, rest - len(urgent)))
    starving = any(now - claim.since > ROTATION and not held[claim.process] for claim in urgent)
    if starving and len(seen.held) >= limit and max(held.values()) <= share:
        oldest = min(seen.held, key=lambda claim: (claim.since, claim.process))
        in_use -= oldest.process == me
    return Allowance(max(0, rest - len(waiting)), in_use)


def _count(claims: Iterable[Claim]) -> Counter[str]:
    return Counter(claim.process for claim in claims)
