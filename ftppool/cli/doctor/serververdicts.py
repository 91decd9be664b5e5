"""What the server's half shows to be wrong, and the lines to paste."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ftppool.cli.doctor import advice
from ftppool.cli.doctor.findings import Finding, Weight, worst_first
from ftppool.cli.doctor.server import Daemon, ServerView
from ftppool.cli.doctor.settings import Configuration
from ftppool.cli.doctor.verdicts import NEARLY, system_files
from ftppool.screen import amount

__all__ = ["judge"]

FEW_FILES = 1024
"""Descriptors that are the usual limit, and little for a server."""
PER_IP, CLIENTS = 10, 100
"""What the article advises: realistic, and still a limit."""

_PER_ADDRESS = frozenset({
    "max_per_ip", "MaxConnectionsPerHost", "MaxClientsPerHost", "MaxClientsPerIP",
})  # fmt: skip
_SERVICES = {"vsftpd": "vsftpd", "proftpd": "proftpd", "pure-ftpd": "pure-ftpd"}


def judge(view: ServerView) -> list[Finding]:
    """List what is wrong, worst first."""
    found = [*_refusals(view), *_full(view), *_descriptors(view), *_passive(view)]
    hints = [hint for configuration in view.configurations for hint in configuration.hints]
    found += [Finding(code="setting", weight=Weight.NOTE, text=hint) for hint in hints]
    found += _unseen(view)
    return worst_first(found)


# -- refusals --------------------------------------------------------------------------------------


def _refusals(view: ServerView) -> Iterator[Finding]:
    for (limit,), count in view.log.by(2).most_common():
        addresses = {key[1]: n for key, n in view.log.by(2, 1).items() if key[0] == limit}
        worst = sorted(addresses.items(), key=lambda pair: -pair[1])[:3]
        who = ", ".join(f"{address} ({number:,})" for address, number in worst)
        more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
        yield Finding(
            code="refusals",
            weight=Weight.PROBLEM,
            text=f"{amount(count, 'refusal')} by {limit}, of {who}{more}",
            fix=_fix_of(limit, view),
            count=count,
        )


def _fix_of(limit: str, view: ServerView) -> tuple[str, ...]:
    if limit == "tcp_wrappers":
        return ("That is no limit but a rule: look into /etc/hosts.allow and /etc/hosts.deny.",)
    if limit == "ban":
        return (
            "mod_ban shuts out who keeps hitting a limit; see who is banned, and let him in again:",
            "    ftpdctl ban info -v",
            "    ftpdctl permit host ADDRESS",
        )
    configuration = _whose(limit, view)
    clients = configuration.clients if configuration else None
    per_ip = configuration.per_ip if configuration else None
    lines = _raise(limit, per_ip, clients)
    if not lines:
        return ("The server's log of replies names the limit: see its settings above.",)
    kind = _kind(limit)
    return (
        f"If these clients may have more, raise it in {_file(configuration, kind)}, and restart:",
        *(f"    {line}" for line in lines),
        f"    systemctl restart {_SERVICES[kind]}",
        "else they have to use fewer connections, and end them: ftppool doctor, on their side.",
    )


def _raise(limit: str, per_ip: int | None, clients: int | None) -> list[str]:
    """The lines to write, for more than now."""
    more = max(PER_IP, 2 * (per_ip or 0))
    total = max(CLIENTS, 2 * (clients or 0))
    lines = {
        "max_per_ip": [f"max_clients={max(CLIENTS, clients or 0)}", f"max_per_ip={more}"],
        "max_clients": [f"max_clients={total}", f"max_per_ip={per_ip or PER_IP}"],
        "MaxConnectionsPerHost": [f"MaxConnectionsPerHost {more}"],
        "MaxClientsPerHost": [f"MaxClientsPerHost {more}"],
        "MaxClientsPerUser": [f"MaxClientsPerUser {more}"],
        "MaxClients": [f"MaxClients {total}"],
        "MaxInstances": [f"MaxInstances {total}"],
        "MaxConnectionRate": ["MaxConnectionRate none"],
        "MaxClientsPerIP": [f"MaxClientsPerIP {more}"],
        "MaxClientsNumber": [f"MaxClientsNumber {total}"],
        "PerUserLimits": [f"PerUserLimits {more}:{more}"],
    }
    return lines.get(limit, [])


def _kind(limit: str) -> str:
    if limit.startswith("max_"):
        return "vsftpd"
    pure = {"MaxClientsPerIP", "MaxClientsNumber", "PerUserLimits"}
    return "pure-ftpd" if limit in pure else "proftpd"


def _whose(limit: str, view: ServerView) -> Configuration | None:
    kind = _kind(limit)
    return next((one for one in view.configurations if one.kind == kind), None)


def _file(configuration: Configuration | None, kind: str) -> str:
    if configuration is None:
        return f"the configuration of {kind}"
    path = configuration.files[0]
    if kind == "pure-ftpd" and os.path.isdir(path):
        return f"{path} (a file for each setting, named so, with the value in it)"
    return path


# -- now -------------------------------------------------------------------------------------------


def _full(view: ServerView) -> Iterator[Finding]:
    """An address that is at its limit at this moment."""
    for configuration in view.configurations:
        here = [guest for guest in view.guests if guest.port in configuration.ports]
        if configuration.per_ip is not None:
            for guest in here:
                if guest.open >= configuration.per_ip:
                    yield Finding(
                        code="at-limit",
                        weight=Weight.PROBLEM,
                        text=f"{guest.address} has {amount(guest.open, 'connection')} to port"
                        f" {guest.port}, and {configuration.per_ip} are allowed: the next one is"
                        " refused",
                        fix=_fix_of(_limit_of(configuration), view),
                        count=guest.open,
                    )
        total = sum(guest.open for guest in here)
        if configuration.clients is not None and total >= configuration.clients:
            yield Finding(
                code="full",
                weight=Weight.PROBLEM,
                text=f"{amount(total, 'connection')} are open, and {configuration.clients} are"
                " allowed to all clients together: the next one is refused",
                fix=_fix_of(_total_of(configuration), view),
                count=total,
            )


def _limit_of(configuration: Configuration) -> str:
    names = {"vsftpd": "max_per_ip", "pure-ftpd": "MaxClientsPerIP"}
    if configuration.kind in names:
        return names[configuration.kind]
    given = [s.name for s in configuration.settings if s.where and s.name in _PER_ADDRESS]
    return given[0] if given else "MaxConnectionsPerHost"


def _total_of(configuration: Configuration) -> str:
    names = {"vsftpd": "max_clients", "pure-ftpd": "MaxClientsNumber"}
    if configuration.kind in names:
        return names[configuration.kind]
    given = [s.name for s in configuration.settings if s.where and s.name == "MaxClients"]
    return given[0] if given else "MaxInstances"


def _passive(view: ServerView) -> Iterator[Finding]:
    for configuration in view.configurations:
        if configuration.passive is None:
            continue
        first, last = configuration.passive
        ports = last - first + 1
        if configuration.clients is not None and ports < min(configuration.clients, CLIENTS):
            yield Finding(
                code="few-passive-ports",
                weight=Weight.NOTE,
                text=f"{amount(ports, 'passive port')} for up to {configuration.clients} clients:"
                " a transfer that finds none fails, on vsftpd with '500 OOPS: vsf_sysutil_bind'",
                fix=("Widen the range, in the server's settings and in the firewall.",),
                count=ports,
            )


# -- descriptors -----------------------------------------------------------------------------------


def _descriptors(view: ServerView) -> Iterator[Finding]:
    for daemon in view.daemons:
        yield from _of_daemon(daemon, view.log.troubles["descriptors"])
    if view.log.troubles["passive ports"]:
        count = view.log.troubles["passive ports"]
        yield Finding(
            code="passive-ports-used-up",
            weight=Weight.PROBLEM,
            text=f"{amount(count, 'transfer')} found no free passive port",
            fix=("Widen the range, in the server's settings and in the firewall.",),
            count=count,
        )
    if view.files is not None and view.files.used >= NEARLY * view.files.limit:
        yield system_files(view.files.used, view.files.limit)


def _of_daemon(daemon: Daemon, complaints: int) -> Iterator[Finding]:
    process, limit = daemon.process, daemon.process.limit
    name = f"{process.command}[{process.pid}]"
    if limit is None:
        return
    used = daemon.most_files
    nearly = used is not None and used >= NEARLY * limit
    if nearly or complaints:
        seen = f"{used:,} in use" if used is not None else "their number in use cannot be seen"
        said = f"; its log says {complaints:,} times that there are too few" if complaints else ""
        yield Finding(
            code="descriptors",
            weight=Weight.PROBLEM,
            text=f"a process of {name} may have {limit:,} descriptors, {seen}{said}",
            fix=advice.descriptors(process.command, process.owner),
            pid=process.pid,
            count=used,
        )
    elif limit <= FEW_FILES:
        yield Finding(
            code="few-descriptors",
            weight=Weight.NOTE,
            text=f"a process of {name} may have {limit:,} descriptors, which is little for a busy"
            " server",
            fix=advice.descriptors(process.command, process.owner),
            pid=process.pid,
            count=limit,
        )


# -- what was not seen -----------------------------------------------------------------------------


def _unseen(view: ServerView) -> Iterator[Finding]:
    for note in view.notes:
        yield Finding(code="unseen", weight=Weight.UNSEEN, text=note)
    hidden = [one.process for one in view.daemons if one.process.files is None]
    if hidden:
        names = ", ".join(f"{process.command}[{process.pid}]" for process in hidden)
        yield Finding(
            code="hidden-descriptors",
            weight=Weight.UNSEEN,
            text=f"how many descriptors {names} uses is for its user and root to see",
            fix=("    sudo ftppool doctor --server",),
        )
    if not view.configurations and not view.notes:
        yield Finding(
            code="no-configuration",
            weight=Weight.UNSEEN,
            text="no configuration of vsftpd, ProFTPD or Pure-FTPd is in the usual places",
            fix=("    ftppool doctor --server --config FILE --log FILE",),
        )
    if not view.daemons:
        yield Finding(
            code="no-daemon",
            weight=Weight.UNSEEN,
            text="no vsftpd, proftpd or pure-ftpd runs here: their descriptor limit is not known",
        )
    yield from _unread_logs(view)


def _unread_logs(view: ServerView) -> Iterator[Finding]:
    for path, reason in view.log.missing.items():
        if reason != os.strerror(2):
            yield Finding(
                code="log-unread", weight=Weight.UNSEEN, text=f"{path} was not read: {reason}"
            )
    if not view.log.files and view.configurations:
        kind = view.configurations[0].kind
        yield Finding(
            code="no-log",
            weight=Weight.UNSEEN,
            text="no log was read, so nothing is known of refusals",
            fix=(
                "    ftppool doctor --server --log FILE",
                f"    journalctl -t {kind} --since -7d | ftppool doctor --server --log -",
            ),
        )
    if view.log.cut:
        yield Finding(
            code="log-cut",
            weight=Weight.UNSEEN,
            text=f"only a part was read of {', '.join(view.log.cut)}: the logs are big",
        )
