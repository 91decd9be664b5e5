"""The errors that a borrower gets when there is no session for him, in whole sentences."""

from __future__ import annotations

import copy
from datetime import datetime

from ftppool.drivers.base import Address
from ftppool.errors import (
    AuthError,
    ConnectError,
    FTPPoolError,
    PoolTimeout,
    RemoteRejected,
    ServerBusy,
    WouldDeadlock,
)
from ftppool.lessons import Ban
from ftppool.refusals import Kind, Reply, Verdict
from ftppool.stats import Holder
from ftppool.words import legible

__all__ = [
    "banned",
    "gave_up",
    "held_elsewhere",
    "no_answer",
    "open_error",
    "over_budget",
    "timed_out",
    "would_deadlock",
]

ANOTHER_SERVER = {
    "ssh-not-ftp": "is an SSH server, not FTP; write sftp://",
    "ftp-not-ssh": "is an FTP server, not SSH; write ftp://, or ftps:// for FTP with TLS",
    "not-ftp": "is no FTP server; check host and port",
    "not-ssh": "is no SSH server; check host and port",
    "not-text": "is no SSH server; check host and port",
    "tls-required": "lets nobody in without encryption; write ftps:// in place of ftp://",
}
"""What to say of a server that speaks something else, by the rule that has noticed it."""


def open_error(verdict: Verdict, reply: Reply, address: Address) -> FTPPoolError:
    """Say in our own words what an open failed of; the server's words come last."""
    kind: type[FTPPoolError]
    if verdict.kind is Kind.AUTH or (verdict.few_tries and reply.code == 530):
        kind, what = AuthError, "refuses the login; check user and password"
    elif verdict.kind is Kind.BUSY:
        kind, what = ServerBusy, "refuses more connections"
    elif verdict.kind is Kind.PERMANENT and reply.code is not None:
        kind, what = RemoteRejected, "refuses the session"
    else:
        kind, what = ConnectError, "cannot be reached"
    what = ANOTHER_SERVER.get(verdict.rule, what)
    words = legible(reply.text)
    error = kind(
        f"{address} {what}: {words.replace(chr(10), ' / ')}",
        code=reply.code,
        reply=words if reply.code is not None else None,
        phase=reply.phase.value,
        address=str(address),
        retryable=verdict.kind in {Kind.BUSY, Kind.TRANSIENT, Kind.STALE},
    )
    error.wrong_url = verdict.rule in ANOTHER_SERVER
    return error


def banned(address: Address, ban: Ban) -> ServerBusy:
    """The server has shut this client out: say until when nothing is tried."""
    until = datetime.fromtimestamp(ban.until).astimezone()
    return ServerBusy(
        f"{address} has banned this client; nothing is tried before {until:%Y-%m-%d %H:%M:%S}: "
        f"{ban.words}",
        reply=ban.words,
        phase="connect",
        address=str(address),
        retryable=True,
    )


def gave_up(failure: FTPPoolError, timeout: float) -> FTPPoolError:
    """No session of ours is open to wait for: what counts is why none could be opened."""
    error = copy.copy(failure)
    error.args = (f"no session within {timeout:.3g} s: {failure}",)
    error.__cause__ = failure
    return error


def no_answer(address: Address, timeout: float) -> ConnectError:
    """A connection is being made, and the server has not said a word yet."""
    return ConnectError(
        f"{address} has not answered within {timeout:.3g} s; check the address and the network, "
        "or allow more time",
        phase="connect",
        address=str(address),
        retryable=True,
    )


def timed_out(
    address: Address,
    timeout: float,
    holders: tuple[Holder, ...],
    effective: int,
    failure: FTPPoolError | None,
    *,
    others: str = "",
) -> PoolTimeout:
    """All sessions stayed in use: say by whom."""
    who = "; ".join(f"{held.thread} for {held.age:.1f} s ({held.where})" for held in holders)
    error = PoolTimeout(
        f"no session to {address} came free within {timeout:.3g} s: "
        f"{len(holders)} of {effective} are in use"
        + (f", by {who}" if who else "")
        + (f"; {others}" if others else ""),
        phase="acquire",
        address=str(address),
    )
    error.holders = holders
    error.__cause__ = failure
    return error


def held_elsewhere(
    address: Address, timeout: float, others: str, failure: FTPPoolError | None
) -> ServerBusy:
    """This process has no session at all, since others have them: say who."""
    error = ServerBusy(
        f"no session to {address} within {timeout:.3g} s: other processes of this machine have all "
        f"slots: {others}",
        phase="acquire",
        address=str(address),
    )
    error.__cause__ = failure
    return error


def over_budget(address: Address, error: FTPPoolError, seconds: float) -> FTPPoolError:
    """So many connects came to nothing that none is tried for a while: say what they failed of."""
    told = copy.copy(error)
    told.args = (
        f"too many connects to {address} came to nothing within a minute; the next one is tried in "
        f"{seconds:.0f} s: {error}",
    )
    told.__cause__ = error
    return told


def would_deadlock(
    address: Address, cap: int, effective: int, failure: FTPPoolError | None
) -> WouldDeadlock:
    """Every place is held by threads that wait for another one."""
    advice = "or raise max_per_ip if the server allows it"
    if effective < cap:
        advice = f"as the server does not allow the {cap} of max_per_ip"
    error = WouldDeadlock(
        f"this thread holds a session to {address} and asks for another, but all {effective} are "
        f"held by this thread or by others that wait as well: give one back first, {advice}",
        phase="acquire",
        address=str(address),
    )
    error.__cause__ = failure
    return error
