"""``ftppool doctor --probe``: what a server allows, found gently, at real servers."""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftppool import AuthError, FTPPool, Target
from ftppool.cli.doctor.probe import Prober
from ftppool.drivers.choice import driver_of
from ftppool.limits.machine import MachineLimiter
from tests.cli import running
from tests.cli.running import Ran, run
from tests.conftest import Start
from tests.support.servers import Server
from tests.support.tricky import Tricky, Visit

CAPPED = ("vsftpd", "proftpd", "pure-ftpd", "pyftpdlib", "vsftpd+tls", "proftpd+tls")


def probe(server: Server, most: int, *more: str, url: str | None = None) -> tuple[Ran, Any]:
    """Probe for JSON; returns the run and what it found."""
    ran = run("doctor", "--json", "--probe", str(most), *more, url or server.url)
    assert server.password not in ran.out + ran.err
    return ran, json.loads(ran.out)


def codes(document: Any) -> list[str]:
    return [finding["code"] for finding in document["findings"]]


@pytest.mark.parametrize("kind", CAPPED)
def test_the_cap_is_found_with_few_refusals_and_nothing_is_left(start: Start, kind: str) -> None:
    server = start(kind, max_per_ip=3)
    ran, document = probe(server, 6)
    assert ran.code == 0
    cap, found = document["probe"]["cap"], document["probe"]["server"]
    assert (cap["opened"], cap["cap"], cap["scope"]) == (3, 3, "address")
    assert cap["refused"][:3] in {"421", "530"}
    assert cap["free_tries"] >= 1
    [finding] = document["findings"]
    assert (finding["code"], finding["count"]) == ("cap", 3)
    assert any("max_per_ip=3" in line for line in finding["paste"])
    assert any("--max-per-ip 3" in line for line in finding["paste"])
    assert "max_per_ip = 3" in finding["paste"]
    assert (found["writable"], found["overwrites"], found["groups"]) == (True, True, True)
    assert found["features"]
    assert abs(found["clock"]) < 60
    assert found["dates"] == ("MDTM" if "vsftpd" in kind else "MFMT")
    assert found["left_behind"] == []
    assert found["resumes"] is (True if "+tls" in kind else None)
    assert list(server.home.iterdir()) == []
    census = server.wait_idle()
    assert census.peak <= 3
    assert 1 <= census.refusals <= 3
    assert census.quits == census.sessions
    # What was found is remembered for every pool of this user.
    lesson = MachineLimiter().lessons(cap["address"]).of_all
    assert lesson is not None
    assert lesson.limit == 3
    assert MachineLimiter().records(cap["address"]) == []


def test_it_says_what_it_will_do_before_it_connects(start: Start) -> None:
    server = start("vsftpd", max_per_ip=3)
    ran = run("doctor", "--probe", server.at("inbox"))
    assert f"logs in to 127.0.0.1:{server.port} with at most 3 connections" in ran.err
    assert "makes and removes a few files named ftppool-doctor" in ran.err
    assert " in inbox" in ran.err
    assert server.wait_idle().peak <= 3


def test_it_says_in_words_how_the_server_s_clock_is_set(start: Start) -> None:
    ran = run("doctor", "--probe", start("vsftpd", max_per_ip=3).url)
    assert ran.code == 0
    assert re.search(r"server's clock +(as ours, to the|\d+ s (ahead of|behind) ours)", ran.out)


def test_within_the_budget_nothing_is_refused(start: Start) -> None:
    server = start("proftpd", max_per_ip=3)
    ran, document = probe(server, 2)
    assert ran.code == 0
    cap = document["probe"]["cap"]
    assert (cap["opened"], cap["refused"], cap["cap"], cap["refusals"]) == (2, None, None, 0)
    assert "allows at least 2 connections" in document["findings"][0]["text"]
    assert server.wait_idle().refusals == 0


def test_an_ssh_server_tells_its_channels(start: Start) -> None:
    server = start("openssh", options={"MaxSessions": 4})
    ran, document = probe(server, 2)
    assert ran.code == 0
    found = document["probe"]["server"]
    assert found["channels"] == 4
    assert (found["writable"], found["overwrites"], found["dates"]) == (True, True, "SETSTAT")
    assert list(server.home.iterdir()) == []


def test_a_limit_of_a_user_is_told_from_that_of_an_address(start: Start) -> None:
    server = start("proftpd", max_per_ip=2, options={"limit": "MaxClientsPerUser"})
    ran, document = probe(server, 4)
    assert ran.code == 0
    cap = document["probe"]["cap"]
    assert (cap["cap"], cap["scope"]) == (2, "user")
    lessons = MachineLimiter().lessons(cap["address"])
    assert lessons.of_all is None
    assert lessons.of_user[server.user].limit == 2


def test_a_full_server_is_no_limit_of_ours(start: Start) -> None:
    server = start("vsftpd", options={"max_clients": 2})
    ran, document = probe(server, 4)
    assert ran.code == 0
    assert document["probe"]["cap"]["cap"] is None
    assert codes(document) == ["server-full"]


def test_it_takes_no_slot_of_another_process_and_lowers_nobodys_cap(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=3)
    with FTPPool(server.url, max_per_ip=3) as pool, pool.ftp() as one, pool.ftp() as two:
        ran, document = probe(server, 5)
        assert ran.code == 0
        cap = document["probe"]["cap"]
        # The others name a cap of 3: with their two, there was room for one.
        assert (cap["opened"], cap["others"], cap["refused"]) == (1, 2, None)
        assert "other processes of yours need the room" in cap["denied"]
        assert pool.stats().effective == 3
        assert one.voidcmd("NOOP")
        assert two.voidcmd("NOOP")
    assert server.wait_idle().refusals == 0


def test_with_all_slots_taken_by_others_it_does_not_connect(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=3)
    with FTPPool(server.url, max_per_ip=1) as pool, pool.ftp():
        ran, document = probe(server, 3)
        assert ran.code == 75
        assert codes(document) == ["no-session"]
        assert "other processes of yours have all slots" in document["probe"]["error"]
    assert server.wait_idle().connects == 1


def test_a_ban_is_obeyed(start: Start) -> None:
    server = start("pyftpdlib")
    limiter, now = MachineLimiter(), time.time()
    limiter.teach(f"127.0.0.1:{server.port}", lambda known: known.banned("530 banned", now))
    ran, document = probe(server, 3)
    assert ran.code == 75
    assert "nothing is tried before" in document["probe"]["error"]
    assert server.census().connects == 0


def test_a_lesson_is_not_put_to_the_test_before_its_time(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=3)
    limiter, now = MachineLimiter(), time.time()
    limiter.teach(f"127.0.0.1:{server.port}", lambda known: known.refused(2, "421 two", now))
    _, document = probe(server, 5)
    cap = document["probe"]["cap"]
    assert (cap["opened"], cap["refused"]) == (2, None)
    assert "it allows 2, and it is not time to try one more" in cap["denied"]
    [found] = [one for one in document["findings"] if one["code"] == "cap"]
    assert found["paste"] == []
    assert "Probe again later" in found["fix"][0]


def test_a_cap_that_is_set_too_high_is_a_problem(start: Start) -> None:
    server = start("vsftpd", max_per_ip=2)
    ran, document = probe(server, 4, "--max-per-ip", "5")
    assert ran.code == 1
    assert "set-too-high" in codes(document)


def test_a_profile_is_probed_with_its_password(start: Start, tmp_path: Path) -> None:
    server = start("proftpd", max_per_ip=2)
    secret, config = tmp_path / "secret", tmp_path / "config.toml"
    secret.write_text(server.password)
    secret.chmod(0o600)
    config.write_text(
        f'[profiles.backup]\nurl = "ftp://{server.user}@127.0.0.1:{server.port}"\n'
        f'max_per_ip = 4\npassword_file = "{secret}"\n'
    )
    ran, document = probe(server, 3, "--config", str(config), url="backup:")
    assert document["probe"]["cap"]["cap"] == 2
    assert ran.code == 1
    assert "max_per_ip is 4 (profile backup)" in str(document["findings"])


def test_a_read_only_directory_is_told_and_the_cap_found_all_the_same(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd", max_per_ip=2, options={"anon_upload_enable": "NO"})
    ran, document = probe(server, 3)
    assert ran.code == 0
    assert document["probe"]["cap"]["cap"] == 2
    assert document["probe"]["server"]["writable"] is False
    assert "read-only" in codes(document)


def test_a_server_that_does_not_rename_over_a_file_is_told(start: Start) -> None:
    server = start("proftpd", max_per_ip=2, options={"AllowOverwrite": "off"})
    _, document = probe(server, 1)
    found = document["probe"]["server"]
    assert found["overwrites"] is False
    assert "550" in found["notes"]["overwrites"]
    assert "no-overwrite" in codes(document)
    assert list(server.home.iterdir()) == []


def test_files_that_cannot_be_removed_are_named(start: Start) -> None:
    server = start("vsftpd", max_per_ip=2, options={"anon_other_write_enable": "NO"})
    ran, document = probe(server, 2)
    assert ran.code == 1
    left = sorted(path.name for path in server.home.iterdir())
    assert left
    assert all(name.startswith("ftppool-doctor-") for name in left)
    assert sorted(document["probe"]["server"]["left_behind"]) == left
    assert "left-behind" in codes(document)


def test_a_wrong_password_is_tried_once(start: Start) -> None:
    server = start("proftpd")
    url = f"ftp://{server.user}:wrong-42@127.0.0.1:{server.port}"
    ran, document = probe(server, 3, url=url)
    assert ran.code == 77
    assert "530 Login incorrect" in document["findings"][0]["text"]
    assert "wrong-42" not in ran.out + ran.err
    assert server.wait_idle().logins_failed == 1


def test_nobody_listens(start: Start) -> None:
    server = start("pyftpdlib")
    server.stop()
    ran, document = probe(server, 2)
    assert ran.code == 75
    assert codes(document) == ["no-session"]


@pytest.mark.parametrize(
    ("kind", "scheme", "code", "words"),
    [
        ("vsftpd", "ftps", 78, "has no TLS here; write ftpsi:// if"),
        ("pyftpdlib+tls", "ftps", 77, "--ca-file PEM"),
        ("openssh", "sftp", 77, "host key"),
    ],
)
def test_why_there_was_no_session_is_in_the_json_whatever_it_is(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    kind: str, scheme: str, code: int, words: str,
) -> None:  # fmt: skip
    server = start(kind)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    hosts = ("--known-hosts", str(tmp_path / "none")) if scheme == "sftp" else ()
    url = f"{scheme}://{server.user}:{server.password}@127.0.0.1:{server.port}"
    ran, document = probe(server, 3, *hosts, url=url)
    assert ran.code == code
    assert words in document["probe"]["error"]
    assert "Config(" not in document["probe"]["error"]
    assert document["findings"][0]["code"] == "no-session"
    assert document["client"]["connections"] is not None
    assert MachineLimiter().records(f"127.0.0.1:{server.port}") == []


@pytest.mark.parametrize("refused", [None, "530 Sorry, the maximum number of clients is 1"])
def test_what_was_found_is_told_though_a_later_login_cannot_even_be_tried(
    refused: str | None,
) -> None:
    # The password is gone after the first login, or after the first refusal.
    passwords = ["secret"] * (1 if refused is None else 2)
    logins = []

    def password() -> str:
        if not passwords:
            raise AuthError("the vault is locked")
        return passwords.pop()

    def trick(_: Visit, verb: str, argument: str) -> str | None:
        if verb == "PASS":
            logins.append(argument)
        return refused if verb == "PASS" and len(logins) == 2 else None

    with Tricky(trick) as server:
        target, make_driver = driver_of(
            replace(Target.parse(server.url), password=password),
            connect_timeout=10.0, io_timeout=10.0, quit_timeout=3.0,
            ftp=None, ssh=None, tls=None, channels=8, bucket=None,
        )  # fmt: skip
        with Prober(target, make_driver(), MachineLimiter(), 3) as prober:
            prober.first()
            climbed = prober.climb()
            result = prober.time_again()
    assert climbed.opened == 1
    assert climbed.refused == refused
    assert climbed.denied == ("one more failed: the vault is locked" if refused is None else "")
    assert (result.free_tries, result.free_after) == (0, None)
    assert len(logins) == (1 if refused is None else 2)
    assert MachineLimiter().records(climbed.address) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_signal_ends_its_sessions_politely(start: Start, number: int, code: int) -> None:
    server = start("vsftpd", max_per_ip=20)
    process = running.start("doctor", "--probe", "10", server.url)
    # Logged in, all three: one that is broken off in its login has no session to end politely.
    server.wait_for(lambda census: min(census.held, census.sessions) >= 3, timeout=30)
    process.send_signal(number)
    ran = running.end(process)
    assert ran.code == code
    assert "Traceback" not in ran.err
    census = server.wait_idle(timeout=20)
    assert census.quits == census.sessions
    assert list(server.home.iterdir()) == []
    assert MachineLimiter().records(f"127.0.0.1:{server.port}") == []
