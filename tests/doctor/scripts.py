"""Programs that hold connections, started as processes of their own: what doctor is to find."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Opens connections as old scripts do, says "up", and leaves them open until stdin is closed.
LEAK = """
import ftplib, sys
host, port, user, password, number = sys.argv[1:6]
held = []
for _ in range(int(number)):
    ftp = ftplib.FTP()
    ftp.connect(host, int(port))
    ftp.login(user, password)
    held.append(ftp)
print("up", flush=True)
sys.stdin.read()
"""

# Three connections a round, of which it ends two; a round for each line that it reads.
DRIP = """
import ftplib, sys
host, port, user, password = sys.argv[1:5]
held = []
for _ in sys.stdin:
    three = []
    for _ in range(3):
        ftp = ftplib.FTP()
        ftp.connect(host, int(port))
        ftp.login(user, password)
        three.append(ftp)
    for ftp in three[:2]:
        ftp.quit()
    held.append(three[2])
    print("up", flush=True)
"""

# The same number each round, all of which it ends.
TIDY = DRIP.replace("three[:2]", "three").replace("held.append(three[2])", "pass")


@contextlib.contextmanager
def program(
    folder: Path, name: str, text: str, *arguments: object
) -> Iterator[subprocess.Popen[str]]:
    """Run a script; it ends with the block."""
    path = folder / name
    path.write_text(text)
    process = subprocess.Popen(
        [sys.executable, path, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        try:
            process.communicate(timeout=20)
        except BaseException:
            process.kill()
            process.communicate()
            raise


def wait_up(process: subprocess.Popen[str]) -> None:
    """Wait until the script has said that its connections are there."""
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"


def next_round(process: subprocess.Popen[str]) -> None:
    """Let the script do one more round, and wait for its end."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    wait_up(process)
