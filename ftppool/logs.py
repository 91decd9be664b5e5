"""The one logger, and the fields that each of its records has.

All records go to the logger ``"ftppool"``. Beside its sentence each has these attributes, None
where they say nothing, so that a format such as ``%(ftppool_address)s`` never fails and a JSON
formatter needs no parsing. None of them ever holds a password.

===================  =============================================================
``ftppool_event``    what happened: the name of a class of :mod:`ftppool.events`
``ftppool_pool``     the name of the pool
``ftppool_address``  the server, as ``"ip:port"``
``ftppool_phase``    what was being done: ``"connect"``, ``"login"``, ``"transfer"`` …
``ftppool_code``     the server's reply code, an int
``ftppool_reply``    the server's words
``ftppool_remote``   the remote path of the file
``ftppool_status``   what became of the file: ``"uploaded"``, ``"failed"`` …
``ftppool_attempt``  which attempt, 1 for the first
``ftppool_seconds``  how long it took, or lasted so far
``ftppool_wait``     seconds until the next attempt
===================  =============================================================

Levels: DEBUG for each lease, transfer and slot; INFO for each session opened, refused and ended,
and for each batch; WARNING for each retry and each leak, and for what somebody should look at;
ERROR for each file that was given up, and for callbacks that fail. Records of events are only made
where logging has been set up, so that a script that has not done so prints none on stderr.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from typing_extensions import override

from ftppool.words import escaped

__all__ = ["FIELDS", "log"]

FIELDS = (
    "event", "pool", "address", "phase", "code", "reply", "remote", "status", "attempt", "seconds",
    "wait",
)  # fmt: skip
"""The fields, as keyword arguments of the methods of :data:`log`."""

_NAMES = {field: f"ftppool_{field}" for field in FIELDS}


class _Fielded(logging.LoggerAdapter[logging.Logger]):
    """Gives each record all the fields."""

    @override
    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {name: _fit(kwargs.pop(field, None)) for field, name in _NAMES.items()}
        # The caller is behind log(), below.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        return msg, kwargs

    @override
    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            super().log(level, msg, *map(_fit, args), **kwargs)


def _fit(value: object) -> object:
    """Names and a server's words may hold what no file of a log can, or what hides a line of it."""
    return escaped(str(value)) if isinstance(value, str | Exception) else value


log: logging.LoggerAdapter[logging.Logger] = _Fielded(logging.getLogger("ftppool"), {})
"""The logger of the library; its methods take the fields by name."""
