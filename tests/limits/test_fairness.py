"""Who may take a slot and who must give one up."""

from __future__ import annotations

import pytest

from ftppool.lessons import Lesson, Lessons
from ftppool.limits.base import Allowance, Denied
from ftppool.limits.fairness import Claim, Seen, allowance, may_take

NOW = 1000.0


def seen(
    held: str, wanted: dict[str, float] | None = None, cap: int = 3, settling: int = 0
) -> Seen:
    """`held`: a letter for each slot, oldest first; `wanted`: for how long each has waited."""
    return Seen(
        tuple(Claim(who, cap, NOW - 100 + number) for number, who in enumerate(held)),
        tuple(Claim(who, cap, NOW - seconds) for who, seconds in (wanted or {}).items()),
        settling,
    )


@pytest.mark.parametrize(
    ("state", "may"),
    [
        (seen(""), True),
        (seen("bb"), True),
        (seen("bbb"), False),
        (seen("aa", settling=1), False),
        (seen("bb", {"c": 1}), False),  # c came first
        (seen("bb", {"c": 1, "a": 2}), True),
        (seen("b", {"c": 1}), True),  # there is room for both
        (seen("bb", {"b": 9, "a": 2}), True),  # b has its share
        (seen("aab"[:2], {"c": 1, "a": 9}), False),  # and here so has a
    ],
)
def test_who_has_less_than_its_share_goes_first_and_then_who_came_first(
    state: Seen, may: bool
) -> None:
    assert may_take(state, "a", 3, "", NOW) == (() if may else Denied.FULL)


@pytest.mark.parametrize(
    ("state", "keep"),
    [
        (seen("aaa"), None),
        (seen("aab"), None),
        (seen("", {"b": 5}), None),
        (seen("aaa", {"a": 5}), None),
        (seen("aaa", {"b": 0.1}), Allowance(2, 3)),  # what is idle, at once
        (seen("aaa", {"b": 1.1}), Allowance(2, 2)),
        (seen("aaa", {"b": 1.1, "c": 0.1}), Allowance(1, 2)),
        (seen("aaa", {"b": 1.1, "c": 1.1}), Allowance(1, 1)),
        (seen("aab", {"b": 5}), Allowance(1, 2)),  # 2 of 3 are a's share
        (seen("aab", {"b": 50}), Allowance(1, 2)),
        (seen("aac", {"b": 5}), Allowance(1, 1)),
        (seen("aa", {"b": 5}), Allowance(2, 2)),  # there is room already
        (seen("aaaaa", {"b": 0.0}), Allowance(2, 3)),  # a had a larger cap: the surplus
        (seen("aaaaa", {"b": 1.1}), Allowance(2, 2)),  # and then what b needs
        (seen("aaaab"), Allowance(2, 2)),
    ],
)
def test_who_must_give_up_how_many(state: Seen, keep: Allowance | None) -> None:
    assert allowance(state, "a", 3, NOW) == keep


def test_one_slot_changes_hands_after_ten_seconds() -> None:
    assert allowance(seen("a", {"b": 9}, cap=1), "a", 1, NOW) == Allowance(0, 1)
    assert allowance(seen("a", {"b": 11}, cap=1), "a", 1, NOW) == Allowance(0, 0)


def test_of_many_with_one_slot_each_the_oldest_yields() -> None:
    state = seen("cab", {"d": 11})
    assert allowance(state, "c", 3, NOW) == Allowance(0, 0)
    assert allowance(state, "a", 3, NOW) == Allowance(0, 1)
    assert allowance(seen("ab", {"d": 11}), "a", 3, NOW) == Allowance(1, 1)


# -- what refusals have taught ---------------------------------------------------------------------


def lesson(limit: int, due_in: float = 100.0) -> Lesson:
    return Lesson(limit=limit, words="421", since=NOW, probe_at=NOW + due_in)


def taught(held: str, of_all: Lesson | None, of_user: Lesson | None = None) -> Seen:
    """Small letters: processes of the user who asks. Capital ones: of another user."""
    claims = tuple(
        Claim(who.lower(), 5, NOW - 100, user="me" if who.islower() else "other") for who in held
    )
    users = {} if of_user is None else {"me": of_user}
    return Seen(claims, (), lessons=Lessons(of_all=of_all, of_user=users))


@pytest.mark.parametrize(
    ("state", "grant"),
    [
        (taught("a", lesson(2)), ()),
        (taught("ab", lesson(2)), Denied.FULL),
        (taught("ab", lesson(2, due_in=0)), (None,)),
        (taught("abb", lesson(2, due_in=0)), Denied.FULL),  # there are more than it says already
        (taught("aB", None, lesson(2)), ()),
        (taught("aab", None, lesson(2)), Denied.USER),
        (taught("aB", None, lesson(1, due_in=0)), ("me",)),
        (taught("ab", lesson(2, due_in=0), lesson(2)), Denied.FULL),
        (taught("ab", lesson(2, due_in=0), lesson(2, due_in=0)), (None, "me")),
        (taught("ab", lesson(3), lesson(2, due_in=0)), ("me",)),
        (taught("aabbb", lesson(5, due_in=0)), Denied.FULL),  # the configured cap
    ],
)
def test_one_more_than_the_lessons_allow_is_granted_when_they_are_due(
    state: Seen, grant: tuple[str | None, ...] | Denied
) -> None:
    assert may_take(state, "a", 5, "me", NOW) == grant


def test_sessions_beyond_a_lesson_are_given_up_but_not_for_a_probe_under_way() -> None:
    state = taught("aab", lesson(2))
    assert allowance(state, "a", 5, NOW) == Allowance(1, 1)
    probe = state.held[2]._replace(trying=True, since=NOW - 1)
    assert allowance(state._replace(held=(*state.held[:2], probe)), "a", 5, NOW) is None
