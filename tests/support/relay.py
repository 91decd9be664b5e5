"""A TCP relay in a child process, before a server: it counts connections and hurts them on command.

Data connections (EPSV, or PASV on the same address) go from the client to the server directly,
unless it is told to relay those of EPSV too.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypedDict, Unpack

from .backend import HOST
from .census import Census, Visit, tally
from .processes import Child


class Chaos(TypedDict, total=False):
    """What a relay can be set to do, at its start or at any time after."""

    delay: float
    """Seconds that everything takes in each direction: half of a round trip."""
    fin_delay: float
    """Seconds that a FIN takes beyond `delay`, in either direction."""
    black_hole: bool
    """True: forward nothing, no FIN either, and close nothing; False: deliver what was kept."""
    refuse: int
    """How many of the next connections to refuse with `words`; they never reach the server."""
    words: str
    """What refused connections are told before the FIN; empty: nothing."""
    reset_at: int | None
    """Reset, once, the first connection that sends so many bytes; they are sent on before."""
    lose_record: int | None
    """Reset, once, the first connection on which the server sends this TLS record (the first is 1);
    the record is lost."""
    drop: str | None
    """Lose replies that start so, such as ``226``: `drop_times` of them, then no more."""
    data: bool
    """True: let the data connections that EPSV announces come through the relay as well."""
    data_reset_at: int | None
    """Reset, once, the first data connection that carries so many bytes."""
    data_resets: tuple[float, float] | None
    """Reset all data connections again and again, after so many seconds at least and at most;
    if there is none the first time, the next one as soon as it carries something."""
    drop_times: int
    """How many replies to lose; -1 for all."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a relay saw."""

    census: Census
    """Connections that came to the relay, held until the server (or the relay) closed them."""
    greetings: tuple[str, ...]
    """The server's first line to each connection that got any, in order of connecting."""
    completed: int
    """226 replies that came from the server."""
    talks: tuple[tuple[tuple[str, str], ...], ...]
    """What was said on each connection before TLS: ``("C", text)`` for each packet of the client,
    ``("S", text)`` for each of the server."""


class Relay:
    """A running relay; a context manager that stops it."""

    host = HOST

    def __init__(
        self, port: int, *, workdir: Path, host: str = HOST, **chaos: Unpack[Chaos]
    ) -> None:
        """Start a relay to a server and wait until it listens.

        Args:
            port: The server's.
            workdir: An existing folder for the relay's own log.
            host: The server's.
            chaos: See `Chaos`.
        """
        log = workdir / f"relay-{port}.log"
        self._child = Child("relay.py", [host, port, json.dumps(chaos)], log=log)
        self.port = int(self._child.ready()["port"])
        self._last: Seen | None = None

    def set(self, **chaos: Unpack[Chaos]) -> None:
        """Change the given settings from now on, for open connections too."""
        self._child.ask(do="set", **chaos)

    def reset(self) -> None:
        """Send an RST on all connections now, to both sides."""
        self._child.ask(do="reset")

    def half_close(self, side: Literal["client", "server"]) -> None:
        """Send a FIN to one side of all connections now; the other direction goes on."""
        self._child.ask(do="half_close", side=side)

    def look(self) -> Seen:
        """Return what the relay has seen up to now; after `stop`, up to then."""
        if self._last is not None:
            return self._last
        records = self._child.ask(do="look")["records"]
        fields = [field.name for field in dataclasses.fields(Visit)]
        visits = [Visit(**{name: record[name] for name in fields}) for record in records]
        greetings = [record["greeting"] for record in records]
        return Seen(
            census=tally(visits),
            greetings=tuple(greeting for greeting in greetings if greeting is not None),
            completed=sum(record["completed"] for record in records),
            talks=tuple(tuple((side, text) for side, text in record["talk"]) for record in records),
        )

    def stop(self) -> None:
        """Close all connections and end the relay; a second call does nothing."""
        if self._last is None:
            seen = self.look()
            self._last = dataclasses.replace(seen, census=dataclasses.replace(seen.census, held=0))
            self._child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
