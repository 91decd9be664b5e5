"""SFTP beside paramiko, asyncssh, OpenSSH's own client, lftp and rclone, on a real sshd.

Run with ``python -m benchmarks.sftp`` in a checkout after ``make test``. Small files go over a
round trip of 20 ms (netem in a network namespace that this makes for itself, or where that cannot
be had a relay that delays), the large one over plain loopback. All runs take turns, so that what
counts, the ratio, is of one and the same machine; medians are printed. Ours are whole, verified and
renamed, the others' are not.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko

from benchmarks import sftp_peers as peers
from ftppool import SSHConfig, upload_batch
from tests.support import servers
from tests.support.openssh import OpenSSH
from tests.support.relay import Relay
from tests.support.servers import Server

CONTENT = os.urandom(10_000)
Cost = tuple[float, float]
"""Seconds of wall and of CPU, our process and those that it waited for."""


def user_home(server: Server) -> Path:
    assert isinstance(server.backend, OpenSSH)
    return server.backend.user_home / ".ssh"


def connect(server: Server, port: int) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.load_host_keys(str(user_home(server) / "known_hosts"))
    client.connect(
        server.host,
        port,
        server.user,
        key_filename=str(user_home(server) / "id_ed25519"),
        allow_agent=False,
        look_for_keys=False,
    )
    return client


def small_by_paramiko(server: Server, port: int, files: int, workers: int) -> None:
    """One connection a thread: what people write."""
    names: Iterator[int] = iter(range(files))
    lock = threading.Lock()

    def work() -> None:
        with connect(server, port) as client, client.open_sftp() as sftp:
            while True:
                with lock:
                    number = next(names, None)
                if number is None:
                    return
                sftp.putfo(io.BytesIO(CONTENT), f"paramiko-{number}")

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def small_by_ftppool(server: Server, port: int, files: int, connections: int) -> None:
    before = server.census().connects
    report = upload_batch(
        ((CONTENT, f"pool-{number}") for number in range(files)),
        f"sftp://{server.user}@{server.host}:{port}",
        max_per_ip=connections,
        ssh=config(server),
    )
    assert report.ok
    assert all(outcome.verified for outcome in report.outcomes)
    assert server.wait_idle().connects - before <= connections


def config(server: Server) -> SSHConfig:
    home = user_home(server)
    return SSHConfig(known_hosts=home / "known_hosts", keys=home / "id_ed25519", config_file=None)


def large_by_paramiko(server: Server, path: Path) -> None:
    with connect(server, server.port) as client, client.open_sftp() as sftp:
        sftp.put(str(path), "paramiko-large")


def large_by_ftppool(server: Server, path: Path) -> None:
    files = [(path, "pool-large")]
    upload_batch(files, server.url, max_per_ip=1, ssh=config(server))


def cost(call: Callable[[], None]) -> Cost:
    """Time one call."""

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    began, used = time.perf_counter(), cpu()
    call()
    return time.perf_counter() - began, cpu() - used


def compare(title: str, calls: dict[str, Callable[[], None]], runs: int) -> None:
    """Run all in turn; print medians and what they are of the first one's."""
    costs: dict[str, list[Cost]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            costs[name].append(cost(call))
    print(f"\n{title}; median of {runs} runs in turn")
    print(f"{'':<28}{'wall':>9}{'ratio':>8}{'CPU':>9}{'ratio':>8}")
    first = next(iter(calls))
    for name in calls:
        wall, cpu = (statistics.median(column) for column in zip(*costs[name], strict=True))
        walls, cpus = (statistics.median(column) for column in zip(*costs[first], strict=True))
        print(f"{name:<28}{wall:>8.2f}s{wall / walls:>8.2f}{cpu:>8.2f}s{cpu / cpus:>8.2f}")
    if "OpenSSH sftp" in calls:
        ours, theirs = (
            [statistics.median(column) for column in zip(*costs[name], strict=True)]
            for name in ("ftppool", "OpenSSH sftp")
        )
        print(f"ftppool is {ours[0] / theirs[0]:.2f} of OpenSSH sftp in wall,", end=" ")
        print(f"{ours[1] / theirs[1]:.2f} in CPU")


def small(server: Server, port: int, options: argparse.Namespace, folder: Path, how: str) -> None:
    folder.mkdir()
    paths = [folder / str(number) for number in range(options.files)]
    for path in paths:
        path.write_bytes(CONTENT)
    ours = functools.partial(small_by_ftppool, server, port, options.files)
    home = user_home(server)
    calls: dict[str, Callable[[], None]] = {
        "paramiko, 4 connections": lambda: small_by_paramiko(server, port, options.files, 4),
        "ftppool, 1 connection": lambda: ours(1),
        "ftppool, 4 connections": lambda: ours(4),
        "asyncssh, 4 connections": lambda: peers.by_asyncssh(server, port, home, paths, 4),
    }
    others = {"lftp": peers.by_lftp, "rclone": peers.by_rclone}
    for program in peers.installed(*others):
        call = functools.partial(others[program], server, port, home, folder, 4)
        calls[f"{program}, 4 at a time"] = call
    title = (
        f"{options.files} files of {len(CONTENT)} bytes, {options.delay:g} ms round trip by {how}"
    )
    compare(title, calls, options.runs)


def large(server: Server, options: argparse.Namespace, folder: Path) -> None:
    folder.mkdir()
    path = folder / "large"
    with path.open("wb") as file:
        for _ in range(options.megabytes):
            file.write(os.urandom(1_000_000))
    home, port = user_home(server), server.port
    calls: dict[str, Callable[[], None]] = {
        "paramiko put": lambda: large_by_paramiko(server, path),
        "ftppool": lambda: large_by_ftppool(server, path),
        "asyncssh": lambda: peers.by_asyncssh(server, port, home, [path], 1),
    }
    others: dict[str, Callable[[], None]] = {
        "sftp": lambda: peers.by_openssh(server, port, home, path),
        "lftp": lambda: peers.by_lftp(server, port, home, folder, 1),
        "rclone": lambda: peers.by_rclone(server, port, home, folder, 1),
    }
    for program in peers.installed(*others):
        calls["OpenSSH sftp" if program == "sftp" else program] = others[program]
    compare(f"one file of {options.megabytes} MB on loopback", calls, options.runs)


def small_by_relay(server: Server, options: argparse.Namespace, work: Path) -> None:
    """The same where the kernel has no netem."""
    with Relay(server.port, workdir=work, delay=options.delay / 2000) as relay:
        known = user_home(server) / "known_hosts"
        line = known.read_text().replace(f":{server.port}", f":{relay.port}")
        known.write_text(known.read_text() + line)
        small(server, relay.port, options, work / "small", "a relay")


def in_namespace(delay: float) -> bool:
    """Run this program again where loopback takes its time; False where that cannot be had."""
    slow = f"ip link set lo up && tc qdisc add dev lo root netem delay {delay / 2:g}ms"
    unshare = ["unshare", "-n", "/bin/sh", "-c"]
    if subprocess.run([*unshare, slow], check=False, stderr=subprocess.DEVNULL).returncode:
        return False
    again = f'{slow} && exec "$0" -m benchmarks.sftp --inside "$@"'
    subprocess.run([*unshare, again, sys.executable, *sys.argv[1:]], check=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--delay", type=float, default=20.0, help="round trip in ms")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    delayed = options.inside or in_namespace(options.delay)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ["FTPPOOL_STATE_DIR"] = folder
        with servers.start("openssh", max_per_ip=None, root=work / "home", workdir=work) as server:
            if options.inside:
                small(server, server.port, options, work / "small", "netem")
            else:
                if not delayed:
                    small_by_relay(server, options, work)
                large(server, options, work / "large")


if __name__ == "__main__":
    main()
