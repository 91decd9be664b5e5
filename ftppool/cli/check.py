"""``ftppool check``: one login, and all that it tells of the server."""

from __future__ import annotations

import base64
import ftplib
import hashlib
import json
import ssl
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ftppool.cli import connect
from ftppool.cli.args import Options
from ftppool.cli.credentials import Source, source_of
from ftppool.cli.exits import Exit, one_line
from ftppool.cli.voice import Voice, logged
from ftppool.drivers.tls import shown_certificate
from ftppool.errors import FTPPoolError, TransferError
from ftppool.events import Event, SessionOpened
from ftppool.pool import FTPPool
from ftppool.screen import Screen
from ftppool.target import Target
from ftppool.words import encodable

__all__ = ["run"]

_ROUNDS = 3
_WIDTH = 12

Facts = dict[str, Any]


def run(options: Options) -> int:
    """Print what was found; fails if the target's directory is not there.

    Raises:
        FTPPoolError: There was no login.
    """
    place = connect.place_of(options, options.dest)
    target = place.target
    pool_options = connect.pool_options(options, target)
    whole = connect.with_password(options, place)
    source = source_of(options, place)
    facts: Facts = {
        "target": target.url,
        "user": whole.user,
        "password_from": _origin(source, whole),
    }

    def note(event: Event) -> None:
        if isinstance(event, SessionOpened):
            facts["address"] = event.address
            facts["login_seconds"] = event.elapsed

    voice = Voice(Screen(sys.stderr, color=options.color, lenient=True), options)
    with logged(voice, options):
        # One connection more than there are could be the one that is refused.
        pool = FTPPool(whole, max_per_ip=options.max_per_ip, on_event=note, **pool_options)
        with pool:
            _look(pool, target, facts)
        end = pool.close()
        stats = pool.stats()
    facts["max_per_ip"] = options.max_per_ip
    facts["ended_politely"] = stats.quits == stats.opened and not end.still_running
    facts |= _taught(facts.get("address"), target.user)
    if options.json:
        print(json.dumps(_plain(facts)))
    else:
        _show(facts)
    return Exit.OK if facts["directory"] is not None else Exit.FAILED


def _origin(source: Source | None, whole: Target) -> str | None:
    if source is not None:
        return source.words
    return None if whole.password is None else "the terminal"


def _look(pool: FTPPool, target: Target, facts: Facts) -> None:
    broken: tuple[type[Exception], ...] = ftplib.all_errors
    try:
        if target.scheme == "sftp":
            from ftppool.drivers.sftp_stream import FAILURES

            broken = FAILURES
            with pool.sftp() as sftp:
                _look_by_sftp(sftp, target, facts)
            return
        with pool.ftp() as ftp:
            _look_by_ftp(ftp, target, facts)
    except FTPPoolError:
        raise
    except broken as error:
        # Both speak the protocol themselves, and raise what its module has.
        words = one_line(str(error) or "the server ended the connection")
        final = isinstance(error, ftplib.error_perm | ftplib.error_proto)
        raise TransferError(
            f"{target.host}: {words}", phase="check", retryable=not final
        ) from error


# -- FTP -------------------------------------------------------------------------------------------


def _look_by_ftp(ftp: ftplib.FTP, target: Target, facts: Facts) -> None:
    facts["greeting"] = ftp.welcome
    facts["system"] = _answer(ftp, "SYST")
    lines = (_answer(ftp, "FEAT") or "").splitlines()[1:-1]
    facts["features"] = sorted({line.strip() for line in lines})
    facts["round_trip_seconds"] = _fastest(lambda: ftp.sendcmd("NOOP"))
    facts["login_directory"] = ftp.pwd()
    try:
        if target.directory:
            ftp.cwd(target.directory)
        facts["directory"] = ftp.pwd()
    except ftplib.error_perm as error:
        facts["directory"] = None
        facts["problem"] = str(error)
    if isinstance(ftp.sock, ssl.SSLSocket):
        facts["tls"] = _tls(ftp.sock)


def _answer(ftp: ftplib.FTP, command: str) -> str | None:
    try:
        return ftp.sendcmd(command)
    except ftplib.error_perm:
        return None  # it does not know the command


def _tls(sock: ssl.SSLSocket) -> Facts:
    cipher = sock.cipher()
    found: Facts = {"version": sock.version(), "cipher": None if cipher is None else cipher[0]}
    certificate = sock.getpeercert(binary_form=True)
    if certificate is not None:
        found["fingerprint"] = hashlib.sha256(certificate).hexdigest()
    facts = sock.getpeercert() or shown_certificate(sock)[1]  # the first is empty if it is pinned
    until = facts.get("notAfter")
    if isinstance(until, str):
        end = ssl.cert_time_to_seconds(until)
        found["valid_until"] = datetime.fromtimestamp(end, UTC).isoformat()
        found["days_left"] = int((end - time.time()) // 86_400)
    return found


# -- SFTP ------------------------------------------------------------------------------------------


def _look_by_sftp(sftp: Any, target: Target, facts: Facts) -> None:
    transport = sftp.get_channel().get_transport()
    key = transport.get_remote_server_key()
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    facts["greeting"] = transport.remote_version
    facts["ssh"] = {
        "cipher": transport.remote_cipher,
        "host_key": key.get_name(),
        "fingerprint": f"SHA256:{digest}",
    }
    facts["round_trip_seconds"] = _fastest(lambda: sftp.stat("."))
    facts["login_directory"] = sftp.normalize(".")
    try:
        where = target.directory or "."
        sftp.stat(where)
        facts["directory"] = sftp.normalize(where)
    except OSError as error:
        facts["directory"] = None
        facts["problem"] = error.strerror or str(error)


def _fastest(ask: Callable[[], object]) -> float:
    """The time of one round trip: the fastest of a few, as others wait for more than the line."""
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return min(times)


# -- what is remembered ----------------------------------------------------------------------------


def _taught(address: str | None, user: str) -> Facts:
    """What refusals have taught about the address, and who holds sessions there now."""
    if address is None or sys.platform == "win32":
        return {"learned": [], "held_here": 0}
    else:  # noqa: RET505 - so that type checkers see it for each platform
        from ftppool.limits.machine import MachineLimiter

        limiter = MachineLimiter.shared()
        lessons = limiter.lessons(address)
        held = sum(record.state == "held" for record in limiter.records(address))
        learned = [
            {
                "who": "everybody" if who is None else who,
                "allows": lesson.limit,
                "words": lesson.words,
                "since": _time(lesson.since),
                "one_more_from": _time(lesson.probe_at),
            }
            for who, lesson in lessons.limits(user).items()
        ]
        return {"learned": learned, "held_here": held}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


# -- for people ------------------------------------------------------------------------------------


def _show(facts: Facts) -> None:
    password = facts["password_from"]
    _line("server", facts["greeting"])
    _line("system", facts.get("system"))
    _line("address", f"{facts['address']}, logged in after {facts['login_seconds']:.2f} s")
    secret = f"password from {password}" if password else "no password"
    _line("login", f"{facts['user'] or '(by ssh)'}, {secret}")
    _line("directory", _directory(facts))
    _line("round trip", f"{facts['round_trip_seconds'] * 1000:.1f} ms")
    _line("features", ", ".join(facts.get("features", ())))
    _show_tls(facts.get("tls", {}))
    ssh = facts.get("ssh")
    if ssh:
        _line("SSH", ssh["cipher"])
        _line("host key", f"{ssh['host_key']} {ssh['fingerprint']}")
    _line(
        "connections", f"at most {facts['max_per_ip']} (max_per_ip); {facts['held_here']} held now"
    )
    for lesson in facts["learned"]:
        _line(
            "learned",
            f"{lesson['who']}: {lesson['allows']}, since {lesson['since']}: {lesson['words']}",
        )
    polite = "ended in order" if ssh else "the server answered QUIT"  # SSH has no QUIT
    _line("end", polite if facts["ended_politely"] else "without an answer")


def _directory(facts: Facts) -> str:
    if facts["directory"] is not None:
        return str(facts["directory"])
    return f"not there: {facts['problem']} (the login directory is {facts['login_directory']})"


def _show_tls(tls: Facts) -> None:
    if not tls:
        return
    _line("TLS", f"{tls['version']}, {tls['cipher']}")
    if "valid_until" in tls:
        left = f"{tls['days_left']} days" if tls["days_left"] >= 0 else "it has expired"
        _line("certificate", f"valid until {tls['valid_until'][:10]} ({left})")
    _line("SHA-256", tls.get("fingerprint"))


def _line(name: str, words: str | None) -> None:
    if words:
        print(f"{name:{_WIDTH}} {one_line(words)}")


def _plain(value: Any) -> Any:
    """Make JSON of it that every reader takes, whatever bytes the server sent."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, str):
        return encodable(value)
    return value
