"""What is left of a pool that nobody has any more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import ReferenceType

from ftppool.hooks import bring_in
from ftppool.leaks import Stack, tell_leak
from ftppool.logs import log

if TYPE_CHECKING:
    from ftppool.events import Event

__all__ = ["Estate"]


class Estate:
    """What outlives a pool that is lost: its sessions are still to be ended, and somebody told.

    Attributes:
        name: The pool's name.
        stack: Where it was made.
        close_timeout: Seconds for the end of all its sessions.
        leak_warn_after: Seconds after which a lease that is out is suspected, or None.
        on_event: The listener.
        pool: A weak reference to the pool.
        settled: True once the pool was closed, or its loss was told.
    """

    def __init__(
        self,
        *,
        name: str,
        stack: Stack,
        close_timeout: float,
        leak_warn_after: float | None,
        on_event: Callable[[Event], object] | None,
        pool: ReferenceType[object],
        settled: bool = False,
    ) -> None:
        self.name: str = name
        self.stack: Stack = stack
        self.close_timeout: float = close_timeout
        self.leak_warn_after: float | None = leak_warn_after
        self.on_event: Callable[[Event], object] | None = on_event
        self.pool: ReferenceType[object] = pool
        self.settled: bool = settled

    @property
    def listening(self) -> bool:
        """True if somebody wants to know of what happens all the time, at every lease and file."""
        logged = log.isEnabledFor(logging.DEBUG) and log.hasHandlers()
        return self.on_event is not None or logged

    @property
    def heard(self) -> bool:
        """True if anybody takes events at all; then they can be made in any thread.

        They are imported only now, in the thread of who uses the pool: a fork while another thread
        imports leaves the child with a module that it can never import.
        """
        heard = self.on_event is not None or log.hasHandlers()
        if heard:
            bring_in("ftppool.eventlog")
        return heard

    def emit(self, event: Event) -> None:
        """Tell the log and the listener, whose errors are logged and go no further."""
        from ftppool.eventlog import log_event

        log_event(event)
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception:  # noqa: BLE001 - whatever it is, it is the listener's
            log.exception("ftppool: on_event failed for %s", type(event).__name__, pool=self.name)

    def lost(self) -> bool:
        """True if nobody has the pool any more."""
        return self.pool() is None

    def tell_loss(self, how: str) -> None:
        """Say once that the pool was never closed."""
        if not self.settled:
            self.settled = True
            tell_leak(
                f"the pool {self.name} {how}, and its sessions were ended; use 'with', or close() "
                "it",
                self.stack,
                pool=self.name,
            )
