"""The fault matrix has no hole, and every fault in it is survived."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import require
from tests.faults.__main__ import in_parts
from tests.faults.matrix import ERRORS, Matrix


@pytest.mark.timeout(300)
def test_every_call_may_fail_with_every_exception(record_summary: Callable[[str], None]) -> None:
    require("pyftpdlib")
    matrix = in_parts(seconds=200)
    record_summary(matrix.table())
    assert not matrix.complaints()


@pytest.mark.timeout(300)
def test_over_ftps_every_call_of_openssl_may_fail_too(
    record_summary: Callable[[str], None],
) -> None:
    require("pyftpdlib")
    matrix = in_parts(tls=True, seconds=200)
    record_summary(matrix.table())
    assert not matrix.complaints()


def test_a_cell_that_was_not_tried_is_a_hole() -> None:
    matrix = Matrix(rows={"connect: connect"})
    matrix.tried = {("connect: connect", error.__name__): 1 for error in ERRORS[1:]}
    assert "connect: connect x OSError" in matrix.holes()
    assert "login" in matrix.holes()  # a step without any call
    assert "limiter: take()" in matrix.holes()
