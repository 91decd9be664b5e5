"""Replies that are lost over TLS, together with their connection: there is no other way there."""

from __future__ import annotations

from pathlib import Path

import pytest

import ftppool
from ftppool import upload_batch
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import SECURE_KINDS

QUICK = ftppool.RetryPolicy(attempts=4, first_wait=0.01, max_wait=0.1)
MOST = 60
"""Records that a server sends in a session of two files, at most."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", SECURE_KINDS)
def test_whichever_reply_is_lost_both_files_are_there_and_nothing_else(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    files = [(b"a" * 3000, "one"), (b"b" * 70_000, "two")]
    for lost in range(1, MOST):
        for path in server.home.iterdir():
            path.unlink()
        with Relay(server.port, workdir=tmp_path, lose_record=lost) as relay:
            # Not even the files' last reply is worth a wait: the connection is gone, and says so.
            report = upload_batch(
                files, server.behind(relay.port), max_per_ip=1, retry=QUICK, io_timeout=20.0
            )
            struck = relay.look().census.connects > 1
        found = {path.name: path.read_bytes() for path in server.home.iterdir()}
        assert found == {"one": files[0][0], "two": files[1][0]}, f"record {lost} was lost"
        assert [outcome.attempts for outcome in report.outcomes] in ([1, 1], [1, 2], [2, 1], [2, 2])
        if not struck and lost > 10:
            break  # that was the goodbye, or there was none of this number
    else:
        pytest.fail(f"a session of more than {MOST} records")
