"""The fixes, ready to paste: one for each cause of "421, connection limit reached"."""

from __future__ import annotations

from ftppool.target import Target

__all__ = [
    "close_them",
    "descriptors",
    "drop_in",
    "one_line",
    "reuse",
    "settings_for",
    "shell_limit",
]


def one_line() -> tuple[str, ...]:
    """For a script that nobody wants to touch."""
    return (
        "In a script written for ftplib, one line holds the cap and ends every connection:",
        "    from ftppool import ftplib  # instead of: import ftplib",
    )


def close_them() -> tuple[str, ...]:
    """For a script that forgets its connections."""
    return (
        "Close each connection, also after an error:",
        "    with ftplib.FTP(host) as ftp:  # QUIT at the end of the block",
        "        ...",
        *one_line(),
    )


def reuse(cap: int) -> tuple[str, ...]:
    """For a script that makes a connection for each file."""
    return (
        "Send many files over few connections:",
        "    from ftppool import upload_batch",
        f'    upload_batch(files, "ftp://user@host/directory", max_per_ip={cap})',
        *one_line(),
    )


def settings_for(target: Target, cap: int) -> tuple[str, ...]:
    """The cap for this server, in Python, as a flag and as a profile."""
    url = target.url
    name = target.host.partition(".")[0] or "server"
    if not name.replace("-", "").isalnum() or name.isdigit():
        name = "server"
    return (
        "In Python:",
        f'    FTPPool("{url}", max_per_ip={cap})',
        "On the command line:",
        f"    ftppool put --max-per-ip {cap} FILES... {url}",
        "As a profile in ~/.config/ftppool/config.toml:",
        f"    [profiles.{name}]",
        f'    url = "{url}"',
        f"    max_per_ip = {cap}",
    )


def shell_limit(user: str) -> tuple[str, ...]:
    """More descriptors for a program that a user starts."""
    who = user or "USER"
    return (
        "Find what it leaves open (lsof -p PID, or ls -l /proc/PID/fd); if it needs them all:",
        "    ulimit -n 65536  # in the shell or script that starts it",
        "for every login, in /etc/security/limits.conf:",
        f"    {who} soft nofile 65536",
        f"    {who} hard nofile 65536",
        "for a systemd service, as for a server:",
        *drop_in("NAME"),
    )


def drop_in(service: str) -> tuple[str, ...]:
    """More descriptors for a systemd service."""
    return (
        f"    systemctl edit {service}  # writes /etc/systemd/system/{service}.service.d/",
        "    [Service]",
        "    LimitNOFILE=65536",
        f"    systemctl restart {service}",
    )


def descriptors(service: str, user: str) -> tuple[str, ...]:
    """More descriptors for a server."""
    return (
        "Raise the descriptor limit of the service with a drop-in:",
        *drop_in(service),
        "or, where it is not started by systemd, in /etc/security/limits.conf:",
        f"    {user or 'root'} soft nofile 65536",
        f"    {user or 'root'} hard nofile 65536",
    )
