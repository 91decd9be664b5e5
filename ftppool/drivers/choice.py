"""Which driver serves a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftppool.bucket import Bucket
from ftppool.drivers.base import Driver, Timeouts
from ftppool.errors import ConfigError
from ftppool.sshconfig import SSHConfig
from ftppool.target import FTPConfig, Target
from ftppool.tlsconfig import TLSConfig

if TYPE_CHECKING:
    import ssl

__all__ = ["driver_of"]


def driver_of(
    target: Target,
    timeouts: Timeouts,
    *,
    ftp: FTPConfig | None,
    ssh: SSHConfig | None,
    tls: TLSConfig | ssl.SSLContext | None,
    channels: int,
    bucket: Bucket | None,
) -> tuple[Target, Driver]:
    """Make what opens sessions; the target with what the OpenSSH configuration says of it.

    Raises:
        ConfigError: A setting is for another protocol, or wrong.
    """
    if ssh is not None and target.scheme != "sftp":
        raise ConfigError(f"ssh= is for sftp:// targets: this one is {target.scheme}://")
    if tls is not None and target.scheme in {"ftp", "sftp"}:
        raise ConfigError(f"tls= has no use with {target.scheme}://: write ftps:// (or ftpsi://)")
    if target.scheme == "sftp":
        if ftp is not None:
            raise ConfigError("ftp= is for ftp:// targets: this one is sftp://, write ssh=")
        from ftppool.drivers.sftp import SFTPDriver

        sftp = SFTPDriver(target, ssh or SSHConfig(), timeouts, channels=channels, bucket=bucket)
        return sftp.target, sftp
    from ftppool.drivers.ftp import FTPDriver
    from ftppool.drivers.tls import TLSPolicy

    policy = None if target.scheme == "ftp" else TLSPolicy(target, tls)
    return target, FTPDriver(target, ftp or FTPConfig(), timeouts, policy, bucket=bucket)
