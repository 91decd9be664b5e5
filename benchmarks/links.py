"""A link with a round-trip time between two network namespaces: needs root.

Servers run at one end, at ``SERVER``, clients at the other; both see each other as two hosts, on
real TCP, with a bandwidth that nothing limits. The delay is made by netem where the kernel has it,
otherwise by a child process that carries the packets between two TUN devices and holds each for
half a round trip.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import struct
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from typing import Self

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"

_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LIBC = ctypes.CDLL(None, use_errno=True)


class LinkError(RuntimeError):
    """There is no such link on this machine."""


def _run(command: str) -> None:
    try:
        subprocess.run(command.split(), check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise LinkError(f"{command.partition(' ')[0]} is not there (Debian's iproute2)") from None
    except subprocess.CalledProcessError as error:
        raise LinkError(f"{command}: {error.stderr.strip()}") from None


def _new_namespace() -> int:
    """Put this thread into a network namespace of its own, with a loopback; its descriptor."""
    if _LIBC.unshare(_NEWNET) != 0:
        raise LinkError("no network namespace can be made; this needs root")
    _run("ip link set lo up")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace of ours")


class Link:
    """Both ends of a link; a context manager that leaves this thread where it was."""

    def __init__(self) -> None:
        """Make the namespaces and the devices.

        Raises:
            LinkError: this needs root, iproute2, and netem or /dev/net/tun.
        """
        self._tuns: list[int] = []
        self._before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self._server = _new_namespace()
            self._client = _new_namespace()
            try:
                self._veth()
                self.how = "netem"
            except LinkError:
                self._tun(SERVER, CLIENT, self._server)
                self._tun(CLIENT, SERVER, self._client)
                self.how = "a delay line"
        except BaseException:
            _enter(self._before)
            raise

    def _veth(self) -> None:
        """A pair of devices that netem can delay."""
        _run("ip link add near type veth peer name far")
        try:
            self._delay_by_netem("near", 0.001)
            _run(f"ip link set far netns /proc/{os.getpid()}/fd/{self._server}")
        except LinkError:
            _run("ip link del near")
            raise
        self._up("near", CLIENT, SERVER)
        with self.at_server():
            self._up("far", SERVER, CLIENT)

    def _tun(self, own: str, peer: str, namespace: int) -> None:
        with self._in(namespace):
            try:
                device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            except OSError as error:
                raise LinkError(f"neither netem nor /dev/net/tun: {error.strerror}") from None
            request = struct.pack("16sH22x", b"near", _IFF_TUN | _IFF_NO_PI)
            fcntl.ioctl(device, _TUNSETIFF, request)
            self._up("near", own, peer)
        self._tuns.append(device)

    def _up(self, device: str, own: str, peer: str) -> None:
        _run(f"ip addr add {own} peer {peer} dev {device}")
        _run(f"ip link set {device} up txqueuelen 10000")

    def _delay_by_netem(self, device: str, delay: float) -> None:
        _run(f"tc qdisc replace dev {device} root netem delay {delay * 1e6:.0f}us limit 100000")

    @contextlib.contextmanager
    def _in(self, namespace: int) -> Iterator[None]:
        now = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _enter(namespace)
        try:
            yield
        finally:
            _enter(now)
            os.close(now)

    def at_server(self) -> contextlib.AbstractContextManager[None]:
        """What is started within runs at the servers' end."""
        return self._in(self._server)

    @contextlib.contextmanager
    def at_client(self, rtt: float) -> Iterator[None]:
        """What is started within is `rtt` seconds away from the servers, or on their loopback."""
        if not rtt:
            with self._in(self._server):
                yield
            return
        if self.how == "netem":
            self._delay_by_netem("near", rtt / 2)
            with self.at_server():
                self._delay_by_netem("far", rtt / 2)
            yield
            return
        carrier = os.fork()
        if carrier == 0:
            try:
                _carry(self._tuns[0], self._tuns[1], rtt / 2)
            finally:
                os._exit(1)
        try:
            yield
        finally:
            os.kill(carrier, signal.SIGKILL)
            os.waitpid(carrier, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        _enter(self._before)  # the kernel ends namespaces and devices that nobody holds
        for descriptor in [self._before, self._server, self._client, *self._tuns]:
            os.close(descriptor)


def _carry(one: int, other: int, delay: float) -> None:
    """Carry packets between two devices, each after `delay` seconds."""
    waiting: deque[tuple[float, int, bytes]] = deque()
    target = {one: other, other: one}
    with contextlib.suppress(OSError):  # a link does not wait for a processor
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
        # select() takes microseconds, poll() whole milliseconds.
        for device in select.select([one, other], [], [], wait)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(device, 65536)
                    waiting.append((time.monotonic() + delay, target[device], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, device, packet = waiting.popleft()
            with contextlib.suppress(OSError):  # a full queue drops it, as a router would
                os.write(device, packet)
