"""Slot files: counted over open descriptions, kept while held, found when their holder died."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftppool.limits import machine
from ftppool.limits.base import Allowance, Denied
from ftppool.limits.machine import MachineLimiter, SlotPermit
from ftppool.limits.slotfiles import program

ADDRESS = "[2001:db8::1]:21"
USER = "user"
FOLDER = "2001_db8__1_21"


def take(limiter: MachineLimiter, cap: int) -> SlotPermit:
    permit = limiter.take(ADDRESS, cap, USER)
    assert isinstance(permit, SlotPermit)
    return permit


def record(path: Path) -> dict[str, object]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def test_no_more_than_cap_are_out_and_one_given_back_is_used_again(state_directory: Path) -> None:
    limiter = MachineLimiter()
    permits = [take(limiter, 3) for _ in range(3)]
    assert limiter.take(ADDRESS, 3, USER) is Denied.FULL
    folder = state_directory / FOLDER
    assert sorted(path.name for path in folder.glob("slot-*")) == [
        "slot-000",
        "slot-001",
        "slot-002",
    ]
    permits[1].release()
    assert record(folder / "slot-001")["state"] == "closed"
    again = take(limiter, 3)
    assert record(folder / "slot-001") | {"since": 0, "process": ""} == {
        "pid": os.getpid(),
        "process": "",
        "cap": 3,
        "since": 0,
        "state": "held",
        "name": program(),
        "asked": 0,
        "user": USER,
        "trying": False,
        "settled_at": 0,
    }
    assert limiter.take(ADDRESS, 3, USER) is Denied.FULL
    limiter.forgo(ADDRESS)
    assert not list(folder.glob("wanted-*"))
    for permit in (permits[0], again, permits[2]):
        permit.release()


def test_the_smallest_cap_of_all_counts() -> None:
    one, two = MachineLimiter(), MachineLimiter()
    held = [take(one, 5)]
    held.append(take(two, 2))
    assert one.take(ADDRESS, 5, USER) is Denied.FULL
    assert two.take(ADDRESS, 2, USER) is Denied.FULL
    held.pop().release()
    assert one.take(ADDRESS, 5, USER) is Denied.FULL  # the second still waits
    two.forgo(ADDRESS)
    held += [take(one, 5), take(one, 5)]
    for permit in held:
        permit.release()


def test_a_cap_that_changes_is_told_to_the_others() -> None:
    one, two = MachineLimiter(), MachineLimiter()
    held = [take(one, 5), take(one, 5)]
    assert one.pressure(ADDRESS, 2) is None
    assert two.take(ADDRESS, 5, USER) is Denied.FULL
    assert one.pressure(ADDRESS, 5) == Allowance(with_idle=4, in_use=2)
    held.append(take(two, 5))
    for permit in held:
        permit.release()


def test_who_came_first_is_first() -> None:
    one, two, three = MachineLimiter(), MachineLimiter(), MachineLimiter()
    permit = take(one, 1)
    assert two.take(ADDRESS, 1, USER) is Denied.FULL
    assert three.take(ADDRESS, 1, USER) is Denied.FULL
    permit.release()
    assert one.take(ADDRESS, 1, USER) is Denied.FULL
    assert three.take(ADDRESS, 1, USER) is Denied.FULL
    permit = take(two, 1)
    permit.release()
    permit = take(three, 1)
    permit.release()
    permit = take(one, 1)
    permit.release()


def test_one_who_no_longer_asks_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = MachineLimiter(), MachineLimiter()
    permit = take(one, 1)
    assert two.take(ADDRESS, 1, USER) is Denied.FULL
    permit.release()
    assert one.take(ADDRESS, 1, USER) is Denied.FULL
    later = time.time() + 3
    monkeypatch.setattr(time, "time", lambda: later)
    permit = take(one, 1)
    permit.release()
    two.forgo(ADDRESS)


DIES = """
import os, sys
from ftppool.limits.machine import MachineLimiter
limiter = MachineLimiter()
held = [limiter.take(sys.argv[1], 2, "user") for _ in range(3)]
assert held[2] is None
print("ready", flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_slot_whose_holder_was_killed_settles_first(state_directory: Path) -> None:
    subprocess.run([sys.executable, "-c", DIES, ADDRESS], check=False, timeout=30)
    limiter = MachineLimiter()
    assert limiter.take(ADDRESS, 2, USER) is Denied.FULL
    found = time.monotonic()
    folder = state_directory / FOLDER
    assert record(folder / "slot-000")["state"] == record(folder / "slot-001")["state"] == "died"
    assert [path.name.split("-")[1] for path in folder.glob("wanted-*")] == [str(os.getpid())]
    while isinstance(permit := limiter.take(ADDRESS, 2, USER), Denied):
        assert time.monotonic() - found < 2
        time.sleep(0.01)
    assert time.monotonic() - found > 0.4
    permit.release()


def test_a_forked_child_has_none_of_its_parents_permits(state_directory: Path) -> None:
    limiter = MachineLimiter.shared()
    permit = take(limiter, 1)
    child = os.fork()
    if child == 0:
        # pytest must not run in the child: whatever happens, leave.
        try:
            code = 10 * len(limiter.permits) + (limiter.take(ADDRESS, 1, USER) is not Denied.FULL)
            permit.release()
        except BaseException:
            code = 99
        os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert limiter.take(ADDRESS, 1, USER) is Denied.FULL  # the child unlocked nothing
    assert record(state_directory / FOLDER / "slot-000")["state"] == "held"
    limiter.forgo(ADDRESS)
    permit.release()


def test_a_busy_mutex_denies_in_bounded_time(
    state_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(machine, "TAKE", 0.2)
    limiter = MachineLimiter()
    take(limiter, 2).release()
    with (state_directory / FOLDER / "mutex").open() as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        began = time.monotonic()
        assert limiter.take(ADDRESS, 2, USER) is Denied.FULL
        assert time.monotonic() - began < 1
    take(limiter, 2).release()


def test_words_that_nobody_understands_still_count(state_directory: Path) -> None:
    one, two = MachineLimiter(), MachineLimiter()
    permit = take(one, 1)
    (state_directory / FOLDER / "slot-000").write_text("what?\n")
    assert two.take(ADDRESS, 1, USER) is Denied.FULL
    permit.release()
    take(two, 1).release()


# -- lessons ---------------------------------------------------------------------------------------


def test_what_one_process_was_taught_binds_all_and_a_later_one(state_directory: Path) -> None:
    one, two = MachineLimiter(), MachineLimiter()
    now = time.time()
    taught = one.teach(ADDRESS, lambda known: known.refused(2, "421 at most 2", now))
    assert two.lessons(ADDRESS) == taught == MachineLimiter().lessons(ADDRESS)
    permits = [take(one, 5), take(two, 5)]
    assert one.take(ADDRESS, 5, USER) is Denied.FULL
    assert two.take(ADDRESS, 5, USER) is Denied.FULL
    mode = (state_directory / FOLDER / "lessons.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    for limiter in (one, two):
        limiter.forgo(ADDRESS)
    for permit in permits:
        permit.release()


def test_a_probe_is_made_by_one_process_and_what_it_shows_is_for_all(
    state_directory: Path,
) -> None:
    one, two = MachineLimiter(), MachineLimiter()
    long_ago = time.time() - 1000
    one.teach(ADDRESS, lambda known: known.refused(1, "421", long_ago))
    first = take(one, 3)
    assert first.trying == ()
    probe = take(two, 3)
    assert probe.trying == (None,)
    assert one.take(ADDRESS, 3, USER) is Denied.FULL
    assert two.take(ADDRESS, 3, USER) is Denied.FULL
    two.teach(ADDRESS, lambda known: known.raised(probe.trying, time.time()))
    known = one.lessons(ADDRESS).of_all
    assert known is not None
    assert known.limit == 2
    for limiter in (one, two):
        limiter.forgo(ADDRESS)
    for permit in (first, probe):
        permit.release()


def test_a_lesson_that_falls_while_slots_are_held_lets_nobody_take_more(
    state_directory: Path,
) -> None:
    one, two = MachineLimiter(), MachineLimiter()
    held = [take(one, 5) for _ in range(2)] + [take(two, 5) for _ in range(2)]
    two.teach(ADDRESS, lambda known: known.refused(1, "421", time.time()))
    assert two.take(ADDRESS, 5, USER) is Denied.FULL
    assert one.pressure(ADDRESS, 5) == Allowance(0, 1)
    held[0].release()
    held[2].release()
    assert one.take(ADDRESS, 5, USER) is Denied.FULL
    held[1].release()
    held[3].release()
    for limiter in (one, two):
        limiter.forgo(ADDRESS)
    take(one, 5).release()


def test_lessons_that_cannot_be_written_hold_in_this_process(state_directory: Path) -> None:
    limiter = MachineLimiter()
    take(limiter, 1).release()
    lessons = state_directory / FOLDER / "lessons.json.new"
    lessons.mkdir()
    limiter.teach(ADDRESS, lambda known: known.refused(1, "421", time.time()))
    permit = take(limiter, 3)
    assert limiter.take(ADDRESS, 3, USER) is Denied.FULL
    assert MachineLimiter().lessons(ADDRESS).of_all is None
    lessons.rmdir()
    limiter.teach(ADDRESS, lambda known: known.refused(1, "421", time.time()))
    assert MachineLimiter().lessons(ADDRESS).of_all is not None
    limiter.forgo(ADDRESS)
    permit.release()


def test_others_are_counted_for_all_and_for_one_user(state_directory: Path) -> None:
    one, two = MachineLimiter(), MachineLimiter()
    permits = [
        one.take(ADDRESS, 5, "me"),
        one.take(ADDRESS, 5, "other"),
        two.take(ADDRESS, 5, "me"),
    ]
    assert (two.others(ADDRESS), two.others(ADDRESS, "me"), two.others(ADDRESS, "x")) == (2, 1, 0)
    for permit in permits:
        assert not isinstance(permit, Denied)
        permit.release()


def test_a_probe_that_was_alone_in_the_end_has_shown_nothing(state_directory: Path) -> None:
    limiter = MachineLimiter()
    limiter.teach(ADDRESS, lambda known: known.refused(1, "421", time.time() - 1000))
    first, probe = take(limiter, 3), take(limiter, 3)
    first.release()
    lesson = limiter.proved(ADDRESS, probe).of_all
    assert lesson is not None
    assert lesson.limit == 1
    assert not lesson.due(time.time()), "the next probe is some time away"
    probe.release()


def test_who_has_no_place_for_his_user_only_does_not_stand_in_line(state_directory: Path) -> None:
    limiter = MachineLimiter()
    limiter.teach(ADDRESS, lambda known: known.refused(1, "530", time.time(), user=USER))
    permit = take(limiter, 3)
    assert limiter.take(ADDRESS, 3, USER) is Denied.USER
    assert not list((state_directory / FOLDER).glob("wanted-*"))
    other = limiter.take(ADDRESS, 3, "other")
    assert not isinstance(other, Denied)
    other.release()
    permit.release()


def test_others_that_cannot_be_counted_are_not_taken_for_none(
    state_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "TAKE", 0.05)
    limiter, busy = MachineLimiter(), MachineLimiter()
    take(limiter, 1).release()
    with busy._folder(ADDRESS, 1.0):
        assert limiter.others(ADDRESS) is None
    assert limiter.others(ADDRESS) == 0


def test_a_moment_without_descriptors_does_not_end_the_counting(state_directory: Path) -> None:
    limiter = MachineLimiter()
    permits = [take(limiter, 2), take(limiter, 2)]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        lowest = os.open("/dev/null", os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        assert limiter.take(ADDRESS, 2, USER) is Denied.FULL
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert limiter.take(ADDRESS, 2, USER) is Denied.FULL
    assert len(limiter.records(ADDRESS)) == 3
    limiter.forgo(ADDRESS)
    for permit in permits:
        permit.release()


def test_a_full_disk_grants_nothing_beyond_the_cap(
    state_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = MachineLimiter()
    permit = take(limiter, 1)

    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert limiter.take(ADDRESS, 1, USER) is Denied.FULL
    monkeypatch.undo()
    limiter.forgo(ADDRESS)
    permit.release()


def test_a_clock_that_was_set_back_does_not_make_a_newcomer_of_who_waits(
    state_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter, now = MachineLimiter(), time.time()
    permit = take(limiter, 1)
    monkeypatch.setattr(time, "time", lambda: now + 1000.0)
    assert limiter.take(ADDRESS, 1, USER) is Denied.FULL
    monkeypatch.setattr(time, "time", lambda: now)
    assert limiter.take(ADDRESS, 1, USER) is Denied.FULL
    (wish,) = [record for record in limiter.records(ADDRESS) if record.state == "wanted"]
    assert wish.since <= now
    limiter.forgo(ADDRESS)
    permit.release()
