"""Which driver serves a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ftppool.bucket import Bucket
from ftppool.errors import ConfigError
from ftppool.target import FTPConfig, Target

if TYPE_CHECKING:
    import ssl

    from ftppool.drivers.base import Driver
    from ftppool.sshconfig import SSHConfig
    from ftppool.tlsconfig import TLSConfig

__all__ = ["driver_of"]


def driver_of(
    target: Target,
    *,
    connect_timeout: float,
    io_timeout: float,
    quit_timeout: float,
    ftp: FTPConfig | None,
    ssh: SSHConfig | None,
    tls: TLSConfig | ssl.SSLContext | None,
    channels: int,
    bucket: Bucket | None,
) -> tuple[Target, Callable[[], Driver]]:
    """Check the settings, and return what makes the one that opens sessions.

    Plain FTP's is made when it is called, as the imports for it take longer than all else that a
    pool needs before its first use. The others' is made now: it alone can tell what is wrong with
    certificates or with the OpenSSH configuration, and the latter's words go into the target.

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
        from ftppool.drivers.base import Timeouts
        from ftppool.drivers.sftp import SFTPDriver
        from ftppool.sshconfig import SSHConfig

        timeouts = Timeouts.of(connect_timeout, io_timeout, quit_timeout)
        sftp = SFTPDriver(target, ssh or SSHConfig(), timeouts, channels=channels, bucket=bucket)
        return sftp.target, lambda: sftp

    def make() -> Driver:
        from ftppool.drivers.base import Timeouts
        from ftppool.drivers.ftp import FTPDriver
        from ftppool.drivers.tls import TLSPolicy

        timeouts = Timeouts.of(connect_timeout, io_timeout, quit_timeout)
        policy = None if target.scheme == "ftp" else TLSPolicy(target, tls)
        return FTPDriver(target, ftp or FTPConfig(), timeouts, policy, bucket=bucket)

    if target.scheme == "ftp" and (ftp is None or ftp.ftp_class is None):
        return target, make
    driver = make()
    return target, lambda: driver
