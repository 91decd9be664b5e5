"""What refusals have taught about one address: pure values and rules.

Theory
------
A *lesson* says how many connections the server allows, to everybody at this address or to one user.
It never expires by itself. When its time for a *probe* has come, one connection more may be tried,
by one process; if that is accepted the lesson rises by one, if it is refused the next probe is
twice as far away. A *ban* keeps everybody from connecting until it is over.

All times are seconds of the wall clock, since other processes and later runs read them. A clock
that was set back must not make a lesson eternal: a time further ahead than its own pause counts as
past.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

__all__ = ["Ban", "Lesson", "Lessons"]

FIRST_PAUSE = 300.0
"""Seconds from a lesson to its first probe."""
CLIMB = 15.0
"""Seconds from a probe that went well to the next one: what filled the server has gone."""
LONGEST_PAUSE = 86_400.0
"""Seconds; the pause between probes doubles up to that."""
BURST = 5.0
"""Seconds in which several refusals count as one."""
FIRST_BAN = 600.0
"""Seconds that a first ban is obeyed; another one within a day doubles it."""
MOST_USERS = 32
LONGEST_WORDS = 200
FAR = 1e11
"""No time and no number that is read may be above."""

T = TypeVar("T")


class Lesson(NamedTuple):
    """A lower cap than the configured one.

    Attributes:
        limit: Connections that the server allows.
        words: What it said.
        since: When that was learned or last confirmed.
        probe_at: When one more may be tried.
        pause: Seconds until the next probe.
    """

    limit: int
    words: str
    since: float
    probe_at: float
    pause: float = FIRST_PAUSE

    def due(self, now: float) -> bool:
        """True if one more may be tried."""
        return now >= self.probe_at or self.probe_at - now > self.pause

    def refused(self, limit: int, words: str, now: float) -> Lesson:
        """Another refusal: the limit falls, or a probe has failed."""
        same_burst = 0 <= now - self.since < BURST
        pause = self.pause if same_burst else min(self.pause * 2, LONGEST_PAUSE)
        limit = min(self.limit, limit)
        return Lesson(limit=limit, words=words, since=now, probe_at=now + pause, pause=pause)

    def tried(self, now: float) -> Lesson:
        """A probe is under way, so that nobody else makes one."""
        return self._replace(probe_at=now + self.pause)

    def raised(self, now: float) -> Lesson:
        """A probe went well."""
        limit = self.limit + 1
        return self._replace(limit=limit, probe_at=now + CLIMB, pause=FIRST_PAUSE)


class Ban(NamedTuple):
    """The server has shut this client out.

    Attributes:
        words: What it said.
        until: When a connect may be tried again.
        pause: Seconds that the ban is obeyed.
    """

    words: str
    until: float
    pause: float = FIRST_BAN

    def over(self, now: float) -> bool:
        """True if a connect may be tried."""
        return now >= self.until or self.until - now > self.pause


class Lessons(NamedTuple):
    """All that is known of one address.

    Attributes:
        of_all: The lesson about everybody who connects from here, or None.
        of_user: Lessons about single users.
        ban: The last ban, or None.
    """

    of_all: Lesson | None = None
    of_user: Mapping[str, Lesson] = MappingProxyType({})
    ban: Ban | None = None

    def refused(self, limit: int, words: str, now: float, *, user: str | None = None) -> Lessons:
        """Learn a limit, of all or of one user."""
        words = words[:LONGEST_WORDS]
        before = self.of_all if user is None else self.of_user.get(user)
        if before is None:
            after = Lesson(limit=limit, words=words, since=now, probe_at=now + FIRST_PAUSE)
        else:
            after = before.refused(limit, words, now)
        return self._with(user, after)

    def limits(self, user: str) -> dict[str | None, Lesson]:
        """The lessons that bind a user; None stands for the one about all."""
        found = {None: self.of_all, user: self.of_user.get(user)}
        return {who: lesson for who, lesson in found.items() if lesson is not None}

    def tried(self, users: Iterable[str | None], now: float) -> Lessons:
        """Probes are under way, against the lessons about these users (None: all)."""
        return self._changed(users, lambda lesson: lesson.tried(now))

    def raised(self, users: Iterable[str | None], now: float) -> Lessons:
        """These probes went well."""
        return self._changed(users, lambda lesson: lesson.raised(now))

    def banned(self, words: str, now: float) -> Lessons:
        """Obey a ban; another one within a day of the last lasts twice as long."""
        if self.ban is not None and not self.ban.over(now):
            return self  # the same one, told to several connects
        pause = FIRST_BAN
        if self.ban is not None and abs(now - self.ban.until) < LONGEST_PAUSE:
            pause = min(self.ban.pause * 2, LONGEST_PAUSE)
        return self._replace(ban=Ban(words=words[:LONGEST_WORDS], until=now + pause, pause=pause))

    def _changed(self, users: Iterable[str | None], change: Callable[[Lesson], Lesson]) -> Lessons:
        lessons = self
        for user in users:
            lesson = self.of_all if user is None else self.of_user.get(user)
            if lesson is not None:
                lessons = lessons._with(user, change(lesson))
        return lessons

    def _with(self, user: str | None, lesson: Lesson) -> Lessons:
        if user is None:
            return self._replace(of_all=lesson)
        users = {who: known for who, known in self.of_user.items() if who != user}
        users[user] = lesson
        newest = sorted(users, key=lambda who: users[who].since)[-MOST_USERS:]
        return self._replace(of_user={who: users[who] for who in newest})

    # -- as text -----------------------------------------------------------------------------------

    def dump(self) -> str:
        """Write as JSON."""
        return json.dumps(
            {
                "of_all": self.of_all and self.of_all._asdict(),
                "of_user": {who: lesson._asdict() for who, lesson in self.of_user.items()},
                "ban": self.ban and self.ban._asdict(),
            }
        )

    @classmethod
    def load(cls, text: str) -> Lessons:
        """Read what :meth:`dump` wrote; anything else teaches nothing."""
        try:
            fields = json.loads(text)
            return cls(
                of_all=_read(Lesson, fields["of_all"]),
                of_user={
                    who: lesson
                    for who, found in fields["of_user"].items()
                    if (lesson := _read(Lesson, found)) is not None
                },
                ban=_read(Ban, fields["ban"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return cls()


def _read(kind: type[T], found: Mapping[str, Any] | None) -> T | None:
    if found is None:
        return None
    numbers = [number for name, number in found.items() if name != "words"]
    whole = isinstance(found.get("limit", 1), int)
    plain = whole and isinstance(found["words"], str)
    if not plain or not all(0 < number < FAR for number in numbers):
        raise ValueError(found)
    return kind(**found)
