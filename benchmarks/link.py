"""A link with a round-trip time, in a network namespace of its own: needs root and /dev/net/tun.

Everything in the namespace reaches the servers at ``SERVER`` by way of ``FAR``: packets go into a
TUN device, and a child process gives them back after half a round trip with source and destination
swapped (which leaves all checksums as they are). So client and server are in one namespace, on real
TCP, and see each other as two hosts.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SERVER = "10.77.0.1"
FAR = "10.77.0.2"

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def enter() -> None:
    """Put this process into a network namespace of its own, with a loopback."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace; this needs root")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextmanager
def link(rtt: float) -> Iterator[None]:
    """Have a link of `rtt` seconds between ``SERVER`` and ``FAR``, in this namespace."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"slow0", IFF_TUN | IFF_NO_PI))
    for command in (
        f"ip addr add {SERVER} peer {FAR} dev slow0",
        "ip link set slow0 up txqueuelen 10000",
    ):
        subprocess.run(command.split(), check=True)
    child = os.fork()
    if child == 0:
        try:
            carry(device, rtt / 2)
        finally:
            os._exit(0)
    os.close(device)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def carry(device: int, delay: float) -> None:
    """Give every packet back after `delay` seconds, to the other side."""
    os.set_blocking(device, False)
    waiting: list[tuple[float, int, bytes]] = []
    poller = select.poll()
    poller.register(device, select.POLLIN)
    count = 0
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
        if poller.poll(wait * 1000):
            try:
                while True:
                    packet = os.read(device, 65536)
                    if packet[0] >> 4 == 4:
                        swapped = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                        count += 1
                        heapq.heappush(waiting, (time.monotonic() + delay, count, swapped))
            except BlockingIOError:
                pass
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(device, heapq.heappop(waiting)[2])


if __name__ == "__main__":
    enter()
    with link(float(sys.argv[1])):
        sys.exit(subprocess.run(sys.argv[2:], check=False).returncode)
