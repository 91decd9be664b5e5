"""Bounded, leak-proof FTP and SFTP sessions for servers that allow few connections.

::

    from ftppool import upload_batch

    upload_batch(["report.csv", "photos"], "ftp://user:secret@host/inbox", max_per_ip=3)

What to read first::

    help(ftppool.upload_batch)     send files in one call
    help(ftppool.FTPPool)          sessions, uploads and downloads
    help(ftppool.Session)          one file API for FTP, FTPS and SFTP
    help(ftppool.BatchReport)      what became of each file
    help("ftppool.errors")         the tree of all exceptions
    help("ftppool.passwords")      passwords from files, commands, netrc, keyring
    help("ftppool.ftplib")         a stand-in for the standard module

What is not in ``ftppool`` itself or in those modules is an inside of it, and may change.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ftppool._version import __version__

if TYPE_CHECKING:
    from ftppool.errors import (
        AuthError as AuthError,
        BatchError as BatchError,
        ConfigError as ConfigError,
        ConnectError as ConnectError,
        ConnectionLost as ConnectionLost,
        FTPPoolError as FTPPoolError,
        HostKeyError as HostKeyError,
        LeakWarning as LeakWarning,
        LeaseReturned as LeaseReturned,
        PoolClosed as PoolClosed,
        PoolTimeout as PoolTimeout,
        RemoteRejected as RemoteRejected,
        ServerBusy as ServerBusy,
        TLSError as TLSError,
        TransferError as TransferError,
        VerifyError as VerifyError,
        WouldDeadlock as WouldDeadlock,
    )
    from ftppool.inputs import Keyed as Keyed
    from ftppool.lease import Lease as Lease
    from ftppool.oneshot import upload_batch as upload_batch
    from ftppool.pool import FTPPool as FTPPool
    from ftppool.progress import Progress as Progress, UnderWay as UnderWay
    from ftppool.report import BatchReport as BatchReport, Outcome as Outcome, Status as Status
    from ftppool.retry import RetryPolicy as RetryPolicy
    from ftppool.session import Session as Session
    from ftppool.signals import exit_on_sigterm as exit_on_sigterm
    from ftppool.sshconfig import SSHConfig as SSHConfig
    from ftppool.stats import (
        CloseReport as CloseReport,
        Holder as Holder,
        PoolStats as PoolStats,
    )
    from ftppool.target import FTPConfig as FTPConfig, Target as Target
    from ftppool.tlsconfig import TLSConfig as TLSConfig

_HOMES = {
    "ftppool.errors": (
        "AuthError BatchError ConfigError ConnectError ConnectionLost FTPPoolError HostKeyError"
        " LeakWarning LeaseReturned PoolClosed PoolTimeout RemoteRejected ServerBusy TLSError"
        " TransferError VerifyError WouldDeadlock"
    ),
    "ftppool.inputs": "Keyed",
    "ftppool.lease": "Lease",
    "ftppool.oneshot": "upload_batch",
    "ftppool.pool": "FTPPool",
    "ftppool.progress": "Progress UnderWay",
    "ftppool.report": "BatchReport Outcome Status",
    "ftppool.retry": "RetryPolicy",
    "ftppool.session": "Session",
    "ftppool.signals": "exit_on_sigterm",
    "ftppool.sshconfig": "SSHConfig",
    "ftppool.stats": "CloseReport Holder PoolStats",
    "ftppool.target": "FTPConfig Target",
    "ftppool.tlsconfig": "TLSConfig",
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AuthError",
    "BatchError",
    "BatchReport",
    "CloseReport",
    "ConfigError",
    "ConnectError",
    "ConnectionLost",
    "FTPConfig",
    "FTPPool",
    "FTPPoolError",
    "Holder",
    "HostKeyError",
    "LeakWarning",
    "Lease",
    "LeaseReturned",
    "Outcome",
    "PoolClosed",
    "PoolStats",
    "PoolTimeout",
    "Progress",
    "RemoteRejected",
    "RetryPolicy",
    "SSHConfig",
    "ServerBusy",
    "Session",
    "Status",
    "TLSConfig",
    "TLSError",
    "Target",
    "TransferError",
    "UnderWay",
    "VerifyError",
    "WouldDeadlock",
    "__version__",
    "exit_on_sigterm",
    "upload_batch",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: ftplib, ssl and tenacity cost most of the start."""
    home = _WHERE.get(name)
    if home is None:
        raise AttributeError(f"module 'ftppool' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
