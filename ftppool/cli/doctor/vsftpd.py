"""Reads vsftpd.conf."""

from __future__ import annotations

from collections.abc import Iterable

from ftppool.cli.doctor.settings import Configuration, Meaning, explain, read_text, syslogs

__all__ = ["PLACES", "read"]

PLACES = ("/etc/vsftpd.conf", "/etc/vsftpd/vsftpd.conf", "/usr/local/etc/vsftpd.conf")

_MEANINGS = {
    "max_per_ip": Meaning(
        "connections from one address; one more gets '421 There are too many connections from your"
        " internet address.' (0: no limit)",
        "50",
    ),
    "max_clients": Meaning(
        "connections of all clients; one more gets '421 There are too many connected users' (0: no"
        " limit)",
        "2000",
    ),
    "listen": Meaning("runs alone, on IPv4; both limits hold only then, not under inetd", "NO"),
    "listen_ipv6": Meaning("runs alone, on IPv6 and IPv4", "NO", always=False),
    "listen_port": Meaning("port of control connections", "21"),
    "idle_session_timeout": Meaning(
        "seconds until a silent session is ended and counts no more", "300"
    ),
    "data_connection_timeout": Meaning(
        "seconds of a stalled transfer; a client that vanished in one counts for twice that", "300"
    ),
    "accept_timeout": Meaning(
        "seconds for a client to open its data connection", "60", always=False
    ),
    "pasv_min_port": Meaning("first port of passive data connections (0: any)", "0"),
    "pasv_max_port": Meaning("last port of passive data connections (0: any)", "0"),
    "xferlog_enable": Meaning("writes a log at all", "NO"),
    "xferlog_std_format": Meaning("the log has transfers only, no refusals", "NO", always=False),
    "dual_log_enable": Meaning("writes both logs", "NO", always=False),
    "syslog_enable": Meaning("writes to syslog instead", "NO", always=False),
    "vsftpd_log_file": Meaning("the log that has refusals", "/var/log/vsftpd.log"),
    "log_ftp_protocol": Meaning("logs every command and reply", "NO", always=False),
    "tcp_wrappers": Meaning(
        "hosts.deny may refuse with '421 Service not available.'", "NO", always=False
    ),
    "require_ssl_reuse": Meaning(
        "data connections must resume the TLS session", "YES", always=False
    ),
}
_TRUE = frozenset({"YES", "TRUE", "1"})


def read(
    path: str,
    overrides: Iterable[str] = (),
    *,
    before: Iterable[str] = (),
    listens: bool = False,
) -> Configuration:
    """Read one file; the last of equal settings counts.

    Args:
        path: Of the file.
        overrides: ``name=value``, as a running vsftpd was started with behind the file
            (``-oname=value``).
        before: The same in front of it.
        listens: True if one is seen to listen by itself, whatever its build has as the default.

    Raises:
        ConfigError: It cannot be read.
    """
    found = _given(before)
    for number, line in enumerate(read_text(path).splitlines(), 1):
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name.strip()] = (name.strip(), value.rstrip(), f"{path}:{number}")
    found |= _given(overrides)
    configuration = Configuration(kind="vsftpd", files=[path])
    configuration.settings, values = explain(_MEANINGS, found.values())
    _limits(configuration, values, listens=listens)
    _logs(configuration, values)
    return configuration


def _given(settings: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    pairs = (text.partition("=") for text in settings)
    return {name: (name, value, "its command line") for name, _, value in pairs}


def _limits(configuration: Configuration, values: dict[str, str], *, listens: bool) -> None:
    configuration.per_ip = _number(values["max_per_ip"]) or None
    configuration.clients = _number(values["max_clients"]) or None
    port = _number(values["listen_port"])
    configuration.ports = {port} if port else {21}
    first, last = _number(values["pasv_min_port"]), _number(values["pasv_max_port"])
    if first and last and last >= first:
        configuration.passive = (first, last)
    if not (listens or _true(values["listen"]) or _true(values["listen_ipv6"])):
        configuration.per_ip = configuration.clients = None
        configuration.hints.append(
            "neither listen=YES nor listen_ipv6=YES: started by inetd, max_per_ip and max_clients"
            " do not hold; (x)inetd has limits of its own (per_source, instances)"
        )


def _logs(configuration: Configuration, values: dict[str, str]) -> None:
    if _true(values["syslog_enable"]):
        configuration.logs = syslogs()
    elif _true(values["dual_log_enable"]) or (
        _true(values["xferlog_enable"]) and not _true(values["xferlog_std_format"])
    ):
        configuration.logs = [values["vsftpd_log_file"]]
    else:
        configuration.hints.append(
            "it logs no refusals: set xferlog_enable=YES, and xferlog_std_format=NO or"
            " dual_log_enable=YES"
        )


def _true(value: str) -> bool:
    return value.strip().upper() in _TRUE


def _number(value: str) -> int:
    value = value.strip()
    return int(value) if value.isascii() and value.isdigit() else 0
