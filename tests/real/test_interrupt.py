"""Ctrl-C in the middle of a batch: everything is ended politely and nothing half-done stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support.servers import ALL_KINDS

SCRIPT = """
import sys, ftppool

class Slow:
    # a source that never ends by itself
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def close(self): pass
    def read(self, size=-1):
        import time
        time.sleep(0.02)
        return b"x" * 1000

files = [(b"small", f"small-{n}") for n in range(5)]
files += [(Slow, f"endless-{n}") for n in range(10)]
try:
    ftppool.upload_batch(files, sys.argv[1], max_per_ip=3, workers=3)
except KeyboardInterrupt as error:
    report = error.report
    print(len(report.uploaded), len(report.interrupted), len(report.not_attempted))
    print([outcome.left_behind for outcome in report.outcomes if outcome.left_behind])
    sys.exit(130)
"""


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_ctrl_c_ends_the_batch_with_a_report_and_quits(start: Start, kind: str) -> None:
    server = start(kind, max_per_ip=3)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 20
    while len(list(Path(server.home).glob(".endless-*"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    output, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < 8
    assert process.returncode == 130
    assert output.splitlines() == ["5 3 7", "[]"]
    assert sorted(path.name for path in server.home.iterdir()) == [f"small-{n}" for n in range(5)]
    census = server.wait_idle()
    assert census.quits == census.sessions == (1 if kind == "openssh" else 3)
