"""What a test configures ends with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest

from ftppool.standin import Settings, settings


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("FTPPOOL_MAX_PER_IP", raising=False)
    yield
    for field in fields(Settings):
        setattr(settings, field.name, field.default)
