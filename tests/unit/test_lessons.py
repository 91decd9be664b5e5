"""What refusals teach, and when it is put to the test."""

from __future__ import annotations

import json

import pytest

from ftppool.lessons import BURST, CLIMB, FIRST_BAN, FIRST_PAUSE, LONGEST_PAUSE, Lessons

NOW = 1_700_000_000.0


def known(limit: int = 3, now: float = NOW, user: str | None = None) -> Lessons:
    return Lessons().refused(limit, "421 too many", now, user=user)


def limits(lessons: Lessons, user: str = "me") -> dict[str | None, int]:
    return {who: lesson.limit for who, lesson in lessons.limits(user).items()}


def test_a_first_refusal_is_put_to_the_test_after_five_minutes() -> None:
    lesson = known().of_all
    assert lesson is not None
    assert (lesson.limit, lesson.words, lesson.since) == (3, "421 too many", NOW)
    assert not lesson.due(NOW + FIRST_PAUSE - 1)
    assert lesson.due(NOW + FIRST_PAUSE)


def test_a_lesson_about_a_user_is_for_him_alone() -> None:
    lessons = known(2, user="me").refused(4, "421", NOW)
    assert limits(lessons) == {None: 4, "me": 2}
    assert limits(lessons, "other") == {None: 4}


def test_a_failed_probe_doubles_the_pause_up_to_a_day() -> None:
    lessons, now, pauses = known(), NOW, []
    for _ in range(12):
        now += 10_000.0
        lessons = lessons.tried([None], now).refused(3, "421", now + 1)
        assert lessons.of_all is not None
        pauses.append(lessons.of_all.pause)
        assert lessons.of_all.probe_at == now + 1 + lessons.of_all.pause
    assert pauses[:3] == [2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_refusals_of_one_burst_count_once() -> None:
    lessons = known()
    for seconds in range(4):
        lessons = lessons.refused(2, "421", NOW + seconds)
    assert lessons.of_all is not None
    assert (lessons.of_all.limit, lessons.of_all.pause) == (2, FIRST_PAUSE)
    again = lessons.refused(2, "421", NOW + 3 + BURST).of_all
    assert again is not None
    assert again.pause == 2 * FIRST_PAUSE


def test_a_limit_only_falls_by_refusals_and_only_rises_by_probes() -> None:
    lessons = known(2).refused(3, "421", NOW + 1)
    assert limits(lessons) == {None: 2}
    lessons = lessons.refused(1, "421", NOW + 2).raised([None, "nobody"], NOW + 400)
    assert limits(lessons) == {None: 2}
    assert lessons.of_all is not None
    assert lessons.of_all.probe_at == NOW + 400 + CLIMB


def test_while_a_probe_is_under_way_nobody_makes_another() -> None:
    lessons = known(user="me").tried([None, "me"], NOW + 300)
    assert not lessons.limits("me")["me"].due(NOW + 301)


def test_a_clock_that_was_set_back_makes_nothing_eternal() -> None:
    lessons = known(now=NOW + 1e7).banned("banned", NOW + 1e7)
    assert lessons.of_all is not None
    assert lessons.ban is not None
    assert lessons.of_all.due(NOW)
    assert lessons.ban.over(NOW)


def test_a_ban_lasts_ten_minutes_and_another_one_within_a_day_twice_as_long() -> None:
    ban = Lessons().banned("530 banned", NOW).ban
    assert ban is not None
    assert ban.until == NOW + FIRST_BAN
    assert not ban.over(NOW + FIRST_BAN - 1)
    assert ban.over(NOW + FIRST_BAN)
    again = Lessons(ban=ban).banned("530 banned", NOW + 700).ban
    assert again is not None
    assert again.until == NOW + 700 + 2 * FIRST_BAN
    later = Lessons(ban=ban).banned("530 banned", NOW + 100_000).ban
    assert later is not None
    assert later.pause == FIRST_BAN


def test_a_ban_that_several_connects_are_told_of_is_one() -> None:
    lessons = Lessons()
    for seconds in range(3):
        lessons = lessons.banned("530 banned", NOW + seconds)
    assert lessons.ban is not None
    assert (lessons.ban.until, lessons.ban.pause) == (NOW + FIRST_BAN, FIRST_BAN)


def test_what_is_written_is_read_again() -> None:
    lessons = known().refused(1, "421 \u00e9\udcff", NOW, user="me").banned("530", NOW)
    assert Lessons.load(lessons.dump()) == lessons
    assert Lessons.load(Lessons().dump()) == Lessons()


def changed(**fields: object) -> str:
    found = json.loads(known().dump())
    found["of_all"].update(fields)
    return json.dumps(found)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "{}", "1", changed(limit=0), changed(limit=0.5), "[" * 90_000,
        changed(limit="3"), changed(words=3),
        changed(since=-1.0), changed(probe_at=float("nan")), changed(pause=float("inf")),
        changed(more=1), known().dump()[:-5], known().dump().replace("of_user", "of_users"),
    ],
)  # fmt: skip
def test_a_damaged_record_teaches_nothing(text: str) -> None:
    assert Lessons.load(text) == Lessons()


def test_no_more_is_kept_than_can_be_of_use() -> None:
    lessons = known()
    for number in range(100):
        lessons = lessons.refused(1, "421 " + "x" * 1000, NOW + number, user=f"user {number}")
    assert len(lessons.of_user) == 32
    assert "user 99" in lessons.of_user
    assert len(lessons.dump()) < 20_000
