"""A script as they were written twenty years ago, before and after its import line is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support.servers import KINDS, Server

FILES = 20
BEFORE = "import ftplib"
AFTER = "from ftppool import ftplib"
SCRIPT = """
import ftplib
import os, sys, threading

host, port, user, password, folder = sys.argv[1:]
problems = []

def send(name):
    try:
        ftp = ftplib.FTP()
        ftp.connect(host, int(port))
        ftp.login(user, password)
        with open(os.path.join(folder, name), "rb") as file:
            ftp.storbinary("STOR " + name, file)
    except ftplib.all_errors as error:
        problems.append(str(error))

threads = [threading.Thread(target=send, args=(name,)) for name in os.listdir(folder)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*problems, sep="\\n")
sys.exit(len(problems) > 0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    for number in range(FILES):
        (made / f"file-{number}").write_bytes(os.urandom(1000 * number))
    return made


def command(server: Server, folder: Path, import_line: str) -> list[str]:
    script = SCRIPT.replace(BEFORE, import_line, 1)
    where = [server.host, str(server.port), server.user, server.password]
    return [sys.executable, "-c", script, *where, str(folder)]


def environment(cap: int) -> dict[str, str]:
    return os.environ | {
        "FTPPOOL_MAX_PER_IP": str(cap),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


def arrived(server: Server, folder: Path) -> int:
    return sum(
        (server.home / path.name).exists()
        and (server.home / path.name).read_bytes() == path.read_bytes()
        for path in folder.iterdir()
    )


def test_before_it_fails_with_421(start: Start, folder: Path) -> None:
    server = start("vsftpd", max_per_ip=3)
    done = subprocess.run(
        command(server, folder, BEFORE), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "421 There are too many connections from your internet address." in done.stdout
    assert arrived(server, folder) < FILES
    census = server.wait_idle()
    assert census.refusals > 0
    assert census.quits == 0


@pytest.mark.parametrize("cap", [3, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_with_another_import_line_all_files_arrive(
    start: Start, folder: Path, kind: str, cap: int
) -> None:
    server = start(kind, max_per_ip=3)
    done = subprocess.run(
        command(server, folder, AFTER),
        env=environment(cap),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
    assert arrived(server, folder) == FILES
    census = server.wait_idle()
    assert census.quits == census.sessions == FILES
    if cap == 3:  # else the server has to refuse, and it is tried again
        assert census.peak <= 3
        assert census.refusals == 0


def test_two_of_them_at_once_share_the_connections(start: Start, folder: Path) -> None:
    server = start("vsftpd", max_per_ip=3)
    both = [
        subprocess.Popen(
            command(server, folder, AFTER),
            env=environment(3),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.communicate(timeout=100)[0].strip() == ""
        assert process.returncode == 0
    census = server.wait_idle()
    assert census.peak <= 3
    assert census.refusals == 0
    assert census.quits == 2 * FILES
