"""The order in which workers take what waits."""

from __future__ import annotations

from ftppool.backlog import BIG, Backlog, Task
from ftppool.inputs import Job, jobs
from ftppool.transfer.directories import Directories, MakeDirectory


def waiting(*sizes: int) -> tuple[Backlog, list[Job]]:
    """A backlog of files of these sizes."""
    files = []
    backlog = Backlog()
    for number, size in enumerate(sizes):
        (item,) = jobs([(b"", f"f{number}")])
        assert isinstance(item, Job)
        job = Job(number, item.label, item.remote, item.open, size=size, path=None, error=None)
        files.append(job)
        backlog.put(files[-1])
    return backlog, files


def task(item: Job) -> Task:
    return Task(item, MakeDirectory("x", Directories()), 0.0)


def test_one_worker_takes_big_files_first_while_the_others_take_small_ones_in_order() -> None:
    backlog, (small, big, other, bigger) = waiting(1, BIG, 2, BIG + 1)
    assert len(backlog) == 4
    assert backlog.take(big_first=True) is bigger
    assert backlog.take(big_first=False) is small
    assert backlog.take(big_first=True) is big
    assert backlog.take(big_first=True) is other
    assert backlog.take(big_first=False) is None


def test_big_files_are_shared_when_no_small_one_is_left() -> None:
    backlog, (_, bigger) = waiting(BIG, BIG + 1)
    assert backlog.take(big_first=False) is bigger


def test_a_task_that_is_put_back_waits_its_time_and_then_goes_first() -> None:
    backlog, (fresh,) = waiting(1)
    later, due = task(fresh), task(fresh)
    backlog.put_back(later, 60)
    backlog.put_back(due, 0)
    assert backlog.take(big_first=False) is due
    assert backlog.ready()
    assert backlog.take(big_first=False) is fresh
    assert not backlog.ready()
    assert backlog.take(big_first=False) is None
    assert len(backlog) == 1
    assert 59 < (backlog.seconds() or 0) <= 60
    assert backlog.take_begun() is later
    assert backlog.take_begun() is None
    assert backlog.seconds() is None


def test_what_nobody_has_begun_can_be_dropped() -> None:
    backlog, (fresh, _) = waiting(1, BIG)
    backlog.put_back(task(fresh), 60)
    assert backlog.drop_fresh() == 2
    assert len(backlog) == 1
