"""Uploads: ftppool beside ftplib in threads and ``curl --parallel``, in alternating runs.

``python -m benchmarks.uploads --rtt 0.020 --files 200 --size 10000 --connections 4``

With ``--rtt`` the servers are at the far end of a slow link (``benchmarks/link.py``; needs root);
without it they are on loopback. ftppool sends to a part name, compares sizes and renames; the
others do none of it. What counts is the ratio within one run: wall seconds, and CPU seconds of the
client's process, start of the interpreter included.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ftppool
from benchmarks import link

CLIENTS = {
    "ftplib": """
import ftplib, os, sys, threading
host, port, user, password, folder, workers = sys.argv[1:]
names, lock = iter(sorted(os.listdir(folder))), threading.Lock()
def work():
    with ftplib.FTP() as ftp:
        ftp.connect(host, int(port))
        ftp.login(user, password)
        while True:
            with lock:
                name = next(names, None)
            if name is None:
                return
            with open(os.path.join(folder, name), "rb") as file:
                ftp.storbinary("STOR hand-" + name, file)
threads = [threading.Thread(target=work) for _ in range(int(workers))]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
    "ftppool": """
import sys
from ftppool import upload_batch
host, port, user, password, folder, workers = sys.argv[1:]
report = upload_batch([folder + "/"], f"ftp://{user}:{password}@{host}:{port}",
                      max_per_ip=int(workers), limiter="process")
assert all(outcome.verified for outcome in report.outcomes)
""",
}


QUIET: dict[str, dict[str, object]] = {
    "vsftpd": {"log_ftp_protocol": "NO", "xferlog_enable": "NO"},
    "proftpd": {"quiet": True},
}
"""Logs that only the tests need; writing them costs more for those who send more commands."""


def command(client: str, server: list[str], folder: str, workers: int) -> list[str]:
    if client != "curl":
        return [sys.executable, "-c", CLIENTS[client], *server, folder, str(workers)]
    host, port, user, password = server
    parallel = ["--parallel", "--parallel-max", str(workers)] if workers > 1 else []
    names = ",".join(sorted(os.listdir(folder)))
    return [
        "curl", "--silent", "--show-error", *parallel, "-u", f"{user}:{password}",
        "-T", f"{{{names}}}", f"ftp://{host}:{port}/",
    ]  # fmt: skip


def run(client: str, server: list[str], folder: str, workers: int) -> tuple[float, float]:
    """Wall and CPU seconds of one client."""
    words = command(client, server, folder, workers)
    cwd = folder if client == "curl" else "."
    before, began = os.times(), time.perf_counter()
    ran = subprocess.run(words, check=False, cwd=cwd, capture_output=True)
    wall, after = time.perf_counter() - began, os.times()
    if ran.returncode != 0:
        sys.exit(f"{client} failed:\n{ran.stderr.decode()}")
    cpu = after.children_user - before.children_user
    return wall, cpu + after.children_system - before.children_system


def measure(kind: str, options: argparse.Namespace, host: str) -> None:
    from tests.support import servers

    clients = ["ftplib", "ftppool", *(["curl"] if shutil.which("curl") else [])]
    taken: dict[str, list[tuple[float, float]]] = {client: [] for client in clients}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        work.chmod(0o755)
        files = work / "files"
        files.mkdir()
        for number in range(options.files):
            (files / f"f{number:05}").write_bytes(os.urandom(options.size))
        server = servers.start(
            kind, max_per_ip=None, root=work / "home", workdir=work, options=QUIET.get(kind)
        )
        with server:
            port = getattr(server.backend, "direct", server.port)
            where = [host, str(port), server.user, server.password]
            for _ in range(options.runs):
                for client in clients:
                    taken[client].append(run(client, where, str(files), options.connections))
                    for path in server.home.iterdir():
                        path.unlink()
    walls = {client: statistics.median(wall for wall, _ in runs) for client, runs in taken.items()}
    cpus = {client: statistics.median(cpu for _, cpu in runs) for client, runs in taken.items()}
    for client in clients:
        trips = ""
        if options.rtt:
            each = walls[client] * options.connections / options.files / options.rtt
            trips = f"{each:>8.2f} RTT a file"
        print(
            f"{kind:<11}{client:<9}{walls[client]:>8.2f} s wall {cpus[client]:>7.2f} s CPU"
            f"   ftppool/{client}: {walls['ftppool'] / walls[client]:.2f} wall,"
            f" {cpus['ftppool'] / cpus[client]:.2f} CPU{trips}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rtt", type=float, default=0.0, help="seconds")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--servers", default="vsftpd,proftpd,pure-ftpd,pyftpdlib")
    options = parser.parse_args()
    # As pip does when it installs: the environment may tell Python to keep no bytecode, and the
    # peers' modules have theirs already.
    compileall.compile_dir(Path(ftppool.__file__).parent, quiet=1)
    with contextlib.ExitStack() as stack:
        host = "127.0.0.1"
        if options.rtt:
            link.enter()
            stack.enter_context(link.link(options.rtt))
            os.environ["FTPPOOL_TEST_HOST"] = link.SERVER
            host = link.FAR
        for kind in options.servers.split(","):
            measure(kind, options, host)


if __name__ == "__main__":
    main()
