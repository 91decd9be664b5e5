"""What all threads of a gate share: the ledger of one address, under one lock."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from ftppool.bell import Bell
from ftppool.client import Client
from ftppool.drivers.base import Address
from ftppool.ledger import Ledger
from ftppool.limits.base import Permit
from ftppool.slots import Slot, State, Tenant, Waiter
from ftppool.typed import override

__all__ = ["BelledWaiter", "Board", "client_of"]


class BelledWaiter(Waiter):
    """A borrower who sleeps until his bell rings."""

    def __init__(self, tenant: Tenant, threads: tuple[Hashable, ...], since: float) -> None:
        super().__init__(tenant, threads, since)
        self.bell: Bell = Bell()

    @override
    def ring(self) -> None:
        self.bell.ring()


class Board:
    """The ledger and who has a part in it.

    ``lock`` guards ``ledger`` and every object in it, and ``clients``. Whoever holds it does no
    I/O, calls no driver, limiter or user code, and takes no other lock.

    Attributes:
        address: The server's address.
        clients: The pools that come here.
        permits: What the limiters gave, by slot. It needs no lock: each use is one atomic step.
        nudge: Wakes the dispatcher.
    """

    def __init__(self, address: Address) -> None:
        self.address: Address = address
        self.lock: threading.Lock = threading.Lock()
        self.ledger: Ledger = Ledger()
        self.clients: set[Client] = set()
        self.permits: dict[Slot, Permit] = {}
        self.nudge: Bell = Bell()

    @property
    def in_use(self) -> bool:
        """True if there is, or may soon be, something for the dispatcher to do. Needs the lock."""
        return bool(self.clients or self.unfinished())

    def unfinished(self, client: Client | None = None) -> list[Slot]:
        """The slots, of one pool or of all, with which something is still to be done.

        Not those that settle without a permit: whoever wants such a slot looks at the clock, here
        as in other processes. Needs the lock.
        """
        return [
            slot
            for slot in self.ledger.slots
            if (client is None or slot.tenant is client)
            and (slot.state is not State.SETTLING or slot in self.permits)
        ]

    def forget_closed(self) -> None:
        """Let pools go that are closed and have nothing here any more. Needs the lock."""
        busy = {slot.tenant for slot in self.unfinished()}
        for client in [client for client in self.clients if client.closed and client not in busy]:
            client.done.ring()
            self.clients.discard(client)


def client_of(slot: Slot) -> Client:
    """Return the pool for which a slot was taken."""
    assert isinstance(slot.tenant, Client)
    return slot.tenant
