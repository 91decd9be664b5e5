"""Which counts are a leak, and which are work."""

from __future__ import annotations

import pytest

from ftppool.cli.doctor.growth import Growth, Sample, growth


def grown(*counts: int) -> Growth | None:
    return growth([Sample(float(at), count) for at, count in enumerate(counts)])


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param((1, 2, 3, 4, 5), id="none is ever closed"),
        pytest.param((0, 3, 1, 4, 2, 5, 3, 6, 4), id="some are closed after each batch"),
        pytest.param((0, 2, 2, 2, 4, 4, 4, 6, 6, 6, 8, 8), id="in steps"),
        pytest.param((5, 0, 3, 1, 4, 2, 5, 3, 6), id="after a batch that left none"),
    ],
)
def test_a_floor_that_rises_is_a_leak(counts: tuple[int, ...]) -> None:
    found = grown(*counts)
    assert found is not None
    assert found.last == counts[-1] > found.first
    assert found.rises >= 3


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param((), id="nothing"),
        pytest.param((3,), id="one look"),
        pytest.param((3, 3, 3, 3), id="steady"),
        pytest.param((0, 3, 0, 3, 0, 3, 0), id="each batch gives all back"),
        pytest.param((1, 4, 1, 4, 1, 4, 1), id="one stays"),
        pytest.param((0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0), id="batches seen while they begin"),
        pytest.param((0, 1, 2, 3, 4, *[4] * 12), id="a start-up that is over"),
        pytest.param((1, 2, 3, 4, 5, 1), id="all are given back in the end"),
        pytest.param((5, 4, 3, 2, 1), id="falling"),
        pytest.param((2, 3, 2, 4, 2, 5, 2), id="peaks that grow over the same floor"),
    ],
)
def test_work_is_no_leak(counts: tuple[int, ...]) -> None:
    assert grown(*counts) is None
