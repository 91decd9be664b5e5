"""``ftppool doctor --probe``: says what it will do, does it, and says what it found."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from ftppool.cli import connect
from ftppool.cli.args import PASSWORD_VARIABLE, Options
from ftppool.cli.credentials import Place
from ftppool.cli.doctor import advice
from ftppool.cli.doctor.abilities import Abilities, examine, sweep
from ftppool.cli.doctor.findings import Finding, Weight
from ftppool.cli.doctor.paper import Paper
from ftppool.cli.doctor.probe import AGAIN, CapResult, Prober, Unreachable
from ftppool.cli.exits import Exit, code_of, in_flags, one_line
from ftppool.cli.settings import Level
from ftppool.drivers.choice import driver_of
from ftppool.errors import AuthError, FTPPoolError, ServerBusy
from ftppool.limits.choice import limiter_of
from ftppool.screen import amount
from ftppool.target import Target

__all__ = ["run"]

CHANNELS = 8
"""SSH channels on one connection that ftppool uses by default."""
FAST_CLOCK = 120.0
"""Seconds that a server's clock may differ before times of files mislead."""


def run(
    options: Options, place: Place, paper: Paper, parts: dict[str, Any]
) -> tuple[Exit, list[Finding]]:
    """Probe the server; the exit code is 0 unless there was no session at all."""
    settings = connect.pool_options(options, place.target)
    target, make_driver = driver_of(
        connect.with_password(options, place),
        connect_timeout=options.connect_timeout,
        io_timeout=options.io_timeout,
        quit_timeout=3.0,
        ftp=settings.get("ftp"),
        ssh=settings.get("ssh"),
        tls=settings.get("tls"),
        channels=CHANNELS,
        bucket=None,
    )
    driver = make_driver()
    prober = Prober(target, driver, limiter_of(options.limiter), options.probe)
    _announce(target, prober.address, options.probe)
    abilities = None
    result = None
    try:
        with prober:
            wire = prober.first()
            abilities = examine(wire, target, driver.places)
            result = prober.climb()
            result = prober.time_again()
            if abilities.left_behind and (spare := prober.any_wire()) is not None:
                sweep(spare, abilities)
    except Unreachable as error:
        cause = error.__cause__
        assert isinstance(cause, FTPPoolError)
        parts["probe"] = {"address": prober.address, "error": in_flags(cause)}
        return code_of([cause]), [_no_session(target, cause)]
    parts["probe"] = {"cap": asdict(result), "server": asdict(abilities)}
    if not options.json:
        _write(paper, result, abilities)
    found = [*_of_cap(target, result), *_of_setting(options, result), *_of_abilities(abilities)]
    return Exit.OK, found


def _announce(target: Target, address: str, most: int) -> None:
    """Say before the first connect what it will cost the server."""
    if sys.stderr is None:
        return
    where = target.directory or "the login directory"
    files = "makes and removes a few files named ftppool-doctor-...-please-delete in " + where
    print(
        f"ftppool doctor: the probe logs in to {address} with at most {amount(most, 'connection')},"
        f" one after the other, {files}, and ends with the first refusal (at most"
        f" {1 + len(AGAIN)} in all); it takes a few seconds, Ctrl-C ends it",
        file=sys.stderr,
        flush=True,
    )


def _no_session(target: Target, error: FTPPoolError) -> Finding:
    fix: tuple[str, ...] = ()
    if isinstance(error, ServerBusy):
        fix = (
            "No connection of the probe was open, so others have the places: see above who on",
            "this machine, or they are left over from a run that was killed, which servers count",
            "for 5 to 20 minutes. Other machines behind the same address count, too.",
        )
    elif isinstance(error, AuthError) and target.password is None:
        fix = (f"No password was given: set {PASSWORD_VARIABLE}, or see ftppool doctor --help.",)
    return Finding(code="no-session", weight=Weight.PROBLEM, text=in_flags(error), fix=fix)


# -- findings --------------------------------------------------------------------------------------


def _of_cap(target: Target, result: CapResult) -> list[Finding]:
    if result.refused is None:
        return _unrefused(target, result)
    whose = {"address": "per address", "user": "per user", "server": "over all its clients"}
    said = one_line(result.refused)
    if result.cap is None:
        return [
            Finding(
                code="server-full",
                weight=Weight.NOTE,
                text=f"{result.address} refused a connection beside {result.opened}, for its limit"
                f" {whose.get(result.scope or '', 'of another kind')}: {said}",
                fix=("That is no limit of yours alone: ftppool waits and tries again.",),
                count=result.opened,
            )
        ]
    return [
        Finding(
            code="cap",
            weight=Weight.NOTE,
            text=f"{result.address} allows {amount(result.cap, 'connection')}"
            f" {whose.get(result.scope or '', '')}; it refused one more: {said}",
            fix=advice.settings_for(target, result.cap),
            count=result.cap,
        )
    ]


def _of_setting(options: Options, result: CapResult) -> list[Finding]:
    """Compare with what the user has set."""
    origin = options.origins["max_per_ip"]
    if result.cap is None or origin.level is Level.DEFAULT or options.max_per_ip <= result.cap:
        return []
    return [
        Finding(
            code="set-too-high",
            weight=Weight.PROBLEM,
            text=f"max_per_ip is {options.max_per_ip} ({origin.words}), and {result.address} allows"
            f" {result.cap}: each run is refused once or more before it has learned that",
            fix=(f"    max_per_ip = {result.cap}",),
            count=options.max_per_ip,
        )
    ]


def _unrefused(target: Target, result: CapResult) -> list[Finding]:
    total = result.opened + result.others
    text = f"{result.address} allows at least {amount(total, 'connection')}: it refused none"
    fix = advice.settings_for(target, max(1, total))
    if result.denied:
        text += f" ({result.denied})"
        fix = ("Probe again later, best while nothing else is connected: it may allow more.",)
    return [Finding(code="cap", weight=Weight.NOTE, text=text, fix=fix, count=total)]


def _of_abilities(found: Abilities) -> list[Finding]:
    findings = []
    if found.left_behind:
        names = ", ".join(map(one_line, found.left_behind))
        findings.append(
            Finding(
                code="left-behind",
                weight=Weight.PROBLEM,
                text=f"test files that the server did not let us remove: {names}",
                fix=("Delete them by hand; they hold one line of text.",),
                count=len(found.left_behind),
            )
        )
    if found.writable is False:
        findings.append(
            Finding(
                code="read-only",
                weight=Weight.NOTE,
                text="no files may be made there, so renaming, grouping and times were not tried: "
                + found.notes.get("writable", ""),
                fix=("Probe the directory that you upload to: ftp://user@host/directory",),
            )
        )
    if found.overwrites is False:
        findings.append(
            Finding(
                code="no-overwrite",
                weight=Weight.NOTE,
                text="the server does not rename over an existing file: "
                + found.notes.get("overwrites", ""),
                fix=(
                    "ftppool moves the old file aside first, so for a moment there is none; on",
                    "your own ProFTPD:",
                    "    AllowOverwrite on",
                ),
            )
        )
    if found.resumes is False:
        findings.append(
            Finding(
                code="no-tls-resumption",
                weight=Weight.NOTE,
                text="data connections do not resume the TLS session: each costs a full handshake",
            )
        )
    if found.clock is not None and abs(found.clock) > FAST_CLOCK:
        ahead = "ahead of" if found.clock > 0 else "behind"
        findings.append(
            Finding(
                code="clock",
                weight=Weight.NOTE,
                text=f"the server's clock is {abs(found.clock):,.0f} s {ahead} ours: 'same time'"
                " means little there",
                fix=("    on_conflict='overwrite'  # rather than 'skip_same'",),
            )
        )
    return findings


# -- for people ------------------------------------------------------------------------------------


def _write(paper: Paper, result: CapResult, found: Abilities) -> None:
    paper.heading(f"Probe of {result.address}")
    rows = [
        ("open at a time", f"{result.opened} of at most {result.asked}"),
        ("refusal", one_line(result.refused) if result.refused else "none"),
        ("ended by ftppool", result.denied),
        ("slot free after QUIT", _free(result)),
        ("greeting", found.greeting),
        ("round trip", "" if found.round_trip is None else f"{found.round_trip * 1000:.2f} ms"),
        ("features", ", ".join(found.features)),
        ("TLS", found.tls or ""),
        ("TLS session resumed", _yes(found.resumes, "")),
        ("writable", _yes(found.writable, found.notes.get("writable", ""))),
        ("rename over a file", _yes(found.overwrites, found.notes.get("overwrites", ""))),
        ("commands together", _yes(found.groups, found.notes.get("groups", ""))),
        ("server's clock", _clock(found.clock)),
        ("times of files", {None: "", "": "cannot be set"}.get(found.dates, found.dates or "")),
        ("channels", "" if found.channels is None else str(found.channels)),
    ]
    paper.table(("WHAT", "FOUND"), [row for row in rows if row[1]])


def _clock(ahead: float | None) -> str:
    if ahead is None:
        return ""
    if abs(ahead) < 2:  # servers tell whole seconds
        return "as ours, to the second"
    return f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"


def _yes(found: bool | None, words: str) -> str:
    if found is None:
        return words and f"not found out: {words}"
    return "yes" if found else f"no: {words}" if words else "no"


def _free(result: CapResult) -> str:
    if result.free_after is not None:
        return f"within {result.free_after:.2f} s"
    if result.free_tries:
        return f"not within {AGAIN[result.free_tries - 1]:g} s"
    return ""
