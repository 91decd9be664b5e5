"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.limits.running import Run, programs


@pytest.fixture
def run() -> Iterator[Run]:
    """Start programs; they are ended after the test."""
    with programs() as start:
        yield start
