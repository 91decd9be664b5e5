"""What was found out about the server at an address, for all sessions of this process."""

from __future__ import annotations

from collections.abc import Iterable

from ftppool.drivers.base import Address

__all__ = ["Known", "known_at"]

DISLIKES_GROUPS = ("icrosoft FTP Service", "MadGoat", "MikroTik")
"""In the greetings of servers that lose commands which come in one packet (lftp's list)."""
CLOSES_EARLY_DATA = "pyftpdlib"
"""In the greeting of one that closes a data connection on which bytes arrive before the STOR."""


class Known:
    """Facts about one server; each is changed by a single store, so threads need no lock.

    Attributes:
        grouping: False once the server has lost or mixed up commands that were sent together.
        patient: True where data must not come before the STOR, by whatever way either takes; it
            costs nothing there, as the preliminary reply does not wait for the connection.
        silences: Final replies in a row that did not come.
        epsv: False once the server has refused EPSV.
        mlst: False once the server has refused MLST as a command.
        features: Words of FEAT's answer, by command: ``{"HASH": "SHA-1*;MD5"}``; None: not asked.
        dates: The command that sets a file's time here, as a pattern; "" if there is none, None
            if nobody has tried yet.
    """

    grouping: bool = True
    patient: bool = False
    silences: int = 0
    epsv: bool = True
    mlst: bool = True
    features: dict[str, str] | None = None
    dates: str | None = None

    def greeted(self, greeting: str) -> None:
        """Look whether the server calls itself one that is known to be peculiar."""
        if any(name in greeting for name in DISLIKES_GROUPS):
            self.grouping = False
        self.patient = CLOSES_EARLY_DATA in greeting

    def learn_features(self, lines: Iterable[str]) -> None:
        """Take the lines of FEAT's answer."""
        pairs = (line.strip().partition(" ") for line in lines)
        self.features = {verb.upper(): rest for verb, _, rest in pairs if verb}


_known: dict[Address, Known] = {}


def known_at(address: Address) -> Known:
    """Return what all sessions at this address know together."""
    return _known.setdefault(address, Known())
