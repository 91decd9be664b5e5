"""Names and ports of the examples, for programs started with this folder in PYTHONPATH.

``STAGE_NAMES`` says, as JSON, what ``ftp.example.com:21`` is on this machine. Such a name resolves
to an address that is reserved for documentation, and a connect to that goes to the test server on
loopback. Everything else is as without it.
"""

import json
import os
import socket
from typing import Any

_PORTS = {
    tuple(name.split(":")): port for name, port in json.loads(os.environ["STAGE_NAMES"]).items()
}
_ADDRESSES = {host: f"192.0.2.{n}" for n, host in enumerate(sorted({h for h, _ in _PORTS}), 10)}
_REAL = {(_ADDRESSES[host], int(port)): real for (host, port), real in _PORTS.items()}
_getaddrinfo = socket.getaddrinfo
_connect = socket.socket.connect


def _resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
    return _getaddrinfo(_ADDRESSES.get(host, host), port, *args, **options)


def _redirect(self: socket.socket, address: Any) -> None:
    if address in _REAL:
        address = ("127.0.0.1", _REAL[address])
    _connect(self, address)


socket.getaddrinfo = _resolve
setattr(socket.socket, "connect", _redirect)  # noqa: B010 - to the type checker it is a method
