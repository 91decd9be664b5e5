"""Runs doctor as another user, and on another system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.running import Ran, environment

NOBODY = 65534

# The interpreter may be where only root can read: what is needed is imported before.
_AS_NOBODY = """
import contextlib, io, os, sys
from ftppool.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    main(sys.argv[2:])
os.environ["FTPPOOL_STATE_DIR"] = sys.argv[1]
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main(sys.argv[2:]))
"""

_ON_DARWIN = """
import sys
import ftppool.cli, ftppool.cli.doctor.course, ftppool.cli.doctor.verdicts, ftppool.limits.machine
import ftppool.pool, psutil
if sys.argv[1] == "without":
    sys.modules["psutil"] = None
sys.platform = "darwin"
sys.exit(ftppool.cli.main(sys.argv[2:]))
"""


@contextmanager
def nobodys_folder() -> Iterator[Path]:
    """A private folder of nobody, reachable for him."""
    folder = Path(tempfile.mkdtemp(prefix="ftppool-nobody-"))
    try:
        os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        shutil.rmtree(folder)


def run_as_nobody(*args: object) -> Ran:
    """Run without any rights; needs root."""
    with nobodys_folder() as folder:
        return _run(_AS_NOBODY, folder, *args)


def run_on_darwin(*args: object, psutil: bool) -> Ran:
    """Run as if this were a system without ``/proc``, with or without psutil."""
    return _run(_ON_DARWIN, "with" if psutil else "without", *args)


def _run(code: str, *args: object) -> Ran:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
