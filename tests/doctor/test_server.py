"""``ftppool doctor --server``: real servers, their real configurations and the logs they wrote."""

from __future__ import annotations

import contextlib
import ftplib
import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Ran, environment, run
from tests.conftest import Start, require
from tests.doctor.running import run_as_nobody
from tests.doctor.syslogging import pure_ftpd
from tests.support.backend import PASSWORD, USER
from tests.support.servers import Server

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


@contextlib.contextmanager
def full(port: int, user: str, held: int, refused: int) -> Iterator[None]:
    """Hold connections, after others were refused."""
    with contextlib.ExitStack() as stack:
        for _ in range(held):
            log_in(stack.enter_context(ftplib.FTP(timeout=20)), port, user)
        for _ in range(refused):
            ftp = ftplib.FTP(timeout=20)
            with contextlib.closing(ftp), pytest.raises((ftplib.Error, EOFError)):
                log_in(ftp, port, user)
        yield


def log_in(ftp: ftplib.FTP, port: int, user: str) -> None:
    ftp.connect("127.0.0.1", port)
    ftp.login(user, PASSWORD)


def folder_of(tmp_path: Path, kind: str) -> Path:
    """Where a server of the tests keeps its configuration and its logs."""
    [folder] = tmp_path.glob(f"{kind}-*")
    return folder


def look(*args: object) -> tuple[Ran, Any]:
    ran = run("doctor", "--server", "--json", *map(str, args))
    return ran, json.loads(ran.out)


def of_code(document: Any, code: str) -> list[dict[str, Any]]:
    return [finding for finding in document["findings"] if finding["code"] == code]


def daemon_of(document: Any, server_port: int) -> dict[str, Any]:
    [daemon] = [one for one in document["server"]["daemons"] if server_port in one["ports"]]
    found: dict[str, Any] = daemon
    return found


def test_a_real_vsftpd_at_its_cap_shows_limit_refusals_by_address_and_descriptors(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd", max_per_ip=3, options={"max_clients": 50})
    folder = folder_of(tmp_path, "vsftpd")
    with full(server.port, server.user, 3, 4):
        ran = run("doctor", "--server", "--config", folder / "vsftpd.conf")
        document = look("--config", folder / "vsftpd.conf")[1]
    assert ran.code == 1
    # The limit, where it stands and what it does; a default.
    [configuration] = document["server"]["configurations"]
    settings = {one["name"]: one for one in configuration["settings"]}
    assert (configuration["kind"], configuration["per_ip"]) == ("vsftpd", 3)
    assert settings["max_per_ip"]["value"] == "3"
    assert settings["max_per_ip"]["where"].startswith(str(folder / "vsftpd.conf"))
    assert settings["idle_session_timeout"]["where"] == ""
    # The refusals.
    log = document["server"]["log"]
    assert log["refusals"] == 4
    assert log["by_address"] == [{"address": "127.0.0.1", "limit": "max_per_ip", "count": 4}]
    assert sum(hour["count"] for hour in log["by_hour"]) == 4
    assert "4 refusals by max_per_ip, of 127.0.0.1 (4)" in ran.out
    # Who is connected.
    [guest] = [one for one in document["server"]["connections"] if one["port"] == server.port]
    assert (guest["address"], guest["open"]) == ("127.0.0.1", 3)
    assert of_code(document, "at-limit")[0]["count"] == 3
    # The descriptors of the daemon.
    daemon = daemon_of(document, server.port)
    assert daemon["descriptor_limit"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert daemon["children"] >= 3
    assert 3 <= daemon["most_descriptors"] < 50
    # The fix.
    [fix] = {tuple(one["paste"]) for one in of_code(document, "refusals")}
    assert fix == ("max_clients=100", "max_per_ip=10", "systemctl restart vsftpd")
    assert server.password not in ran.out + ran.err


def test_the_running_daemons_configuration_is_found_without_help(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd", max_per_ip=2)
    with full(server.port, server.user, 1, 0):
        document = look()[1]
    path = str(folder_of(tmp_path, "vsftpd") / "vsftpd.conf")
    assert path in [one["files"][0] for one in document["server"]["configurations"]]
    assert daemon_of(document, server.port)["command"] == "vsftpd"


@pytest.mark.parametrize(
    ("limit", "who"),
    [
        ("MaxConnectionsPerHost", "127.0.0.1"),
        ("MaxClientsPerHost", "127.0.0.1"),
        ("MaxClientsPerUser", "127.0.0.1"),
        ("MaxClients", "127.0.0.1"),
        ("MaxInstances", "not logged"),
    ],
)
def test_a_real_proftpd_names_each_of_its_limits(
    start: Start, tmp_path: Path, limit: str, who: str
) -> None:
    server = start("proftpd", max_per_ip=2, options={"limit": limit})
    path = folder_of(tmp_path, "proftpd") / "proftpd.conf"
    with full(server.port, server.user, 2, 2):
        ran, document = look("--config", path)
    assert ran.code == 1
    log = document["server"]["log"]
    assert log["by_address"] == [{"address": who, "limit": limit, "count": 2}]
    [finding] = [one for one in of_code(document, "refusals") if f"by {limit}" in one["text"]]
    assert any(line.startswith(f"{limit} ") for line in finding["paste"])
    assert "systemctl restart proftpd" in finding["paste"]
    settings = {one["name"]: one for one in document["server"]["configurations"][0]["settings"]}
    assert settings[limit]["value"] == "2"
    assert daemon_of(document, server.port)["command"] == "proftpd"


def test_a_ban_of_proftpd_is_told_from_its_limit(start: Start, tmp_path: Path) -> None:
    bans = {
        "BanEngine": "on",
        "BanTable": tmp_path / "bans",
        "BanOnEvent": 'MaxConnectionsPerHost 4/00:01:00 00:01:00 "you are banned"',
    }
    server = start("proftpd", max_per_ip=1, options=bans)
    config = folder_of(tmp_path, "proftpd") / "proftpd.conf"
    with full(server.port, server.user, 1, 6):
        document = look("--config", config)[1]
    counts = {one["limit"]: one["count"] for one in document["server"]["log"]["by_address"]}
    # Three refusals, one that brings the ban and is not logged as one, and two of the banned. On a
    # busy machine ProFTPD loses the line of a refusal now and then.
    assert counts.keys() == {"MaxConnectionsPerHost", "ban"}
    assert counts["ban"] == 2
    assert "ftpdctl permit host ADDRESS" in str(of_code(document, "refusals"))


def test_a_connection_rate_of_proftpd_is_a_limit_too(start: Start, tmp_path: Path) -> None:
    server = start("proftpd", options={"MaxConnectionRate": "1 60"})
    with full(server.port, server.user, 1, 3):
        document = look("--config", folder_of(tmp_path, "proftpd") / "proftpd.conf")[1]
    [found] = document["server"]["log"]["by_address"]
    assert found == {"address": "not logged", "limit": "MaxConnectionRate", "count": 3}


def test_a_real_pure_ftpd_is_read_from_its_settings_and_from_syslog(tmp_path: Path) -> None:
    require("pure-ftpd")
    with (
        pure_ftpd(tmp_path, {"MaxClientsPerIP": "2"}, "-C", "2") as server,
        full(server.port, USER, 2, 2),
    ):
        ran, document = look("--config", server.settings, "--log", server.syslog)
        assert daemon_of(document, server.port)["command"] == "pure-ftpd"
    assert ran.code == 1
    [found] = document["server"]["log"]["by_address"]
    assert (found["limit"], found["address"]) == ("MaxClientsPerIP", "127.0.0.1")
    assert found["count"] >= 1  # it does not log every one of a burst
    [finding] = of_code(document, "refusals")
    assert finding["paste"] == ["MaxClientsPerIP 10", "systemctl restart pure-ftpd"]
    [configuration] = document["server"]["configurations"]
    values = {one["name"]: one["value"] for one in configuration["settings"]}
    assert values["MaxClientsPerIP"] == "2"


def test_what_pure_ftpd_does_not_log_is_seen_while_it_is_full(tmp_path: Path) -> None:
    require("pure-ftpd")
    with (
        pure_ftpd(tmp_path, {"MaxClientsNumber": "2"}, "-c", "2") as server,
        full(server.port, USER, 2, 2),
    ):
        ran, document = look("--config", server.settings, "--log", server.syslog)
    assert ran.code == 1
    assert document["server"]["log"]["refusals"] == 0
    [finding] = of_code(document, "full")
    assert finding["count"] == 2
    assert finding["paste"][0] == "MaxClientsNumber 100"


def test_a_vsftpd_that_logs_nothing_is_told_what_to_switch_on(start: Start, tmp_path: Path) -> None:
    start("vsftpd", max_per_ip=3, options={"xferlog_enable": "NO"})
    ran, document = look("--config", folder_of(tmp_path, "vsftpd") / "vsftpd.conf")
    assert ran.code == 0
    assert any("xferlog_enable=YES" in one["text"] for one in of_code(document, "setting"))
    assert "journalctl -t vsftpd" in str(of_code(document, "no-log"))


def test_logs_come_rotated_packed_and_through_a_pipe(start: Start, tmp_path: Path) -> None:
    server = start("vsftpd", max_per_ip=1)
    folder = folder_of(tmp_path, "vsftpd")
    with full(server.port, server.user, 1, 3):
        pass
    data = (folder / "vsftpd.log").read_bytes()
    (folder / "vsftpd.log.1.gz").write_bytes(gzip.compress(data))
    document = look("--config", folder / "vsftpd.conf")[1]
    assert document["server"]["log"]["refusals"] == 6
    with (folder / "vsftpd.log").open("rb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "ftppool", "doctor", "--server", "--json", "--log", "-"],
            stdin=log,
            capture_output=True,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert json.loads(done.stdout)["server"]["log"]["refusals"] == 3


def test_a_daemon_with_few_descriptors_is_told_with_the_drop_in(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        server = start("vsftpd", max_per_ip=3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    document = look("--config", folder_of(tmp_path, "vsftpd") / "vsftpd.conf")[1]
    daemon = daemon_of(document, server.port)
    assert daemon["descriptor_limit"] == 512
    [finding] = [one for one in of_code(document, "few-descriptors") if one["pid"] == daemon["pid"]]
    assert "LimitNOFILE=65536" in finding["paste"]
    assert "systemctl edit vsftpd" in finding["paste"][0]
    assert any("soft nofile 65536" in line for line in finding["paste"])


@root_only
def test_without_rights_the_limits_are_shown_and_what_is_not_is_said(
    start: Start, tmp_path: Path
) -> None:
    server = start("vsftpd", max_per_ip=3)
    with full(server.port, server.user, 2, 0):
        ran = run_as_nobody("doctor", "--server", "--json")
    document = json.loads(ran.out)
    daemons = [one for one in document["server"]["daemons"] if one["command"] == "vsftpd"]
    assert daemons
    assert all(one["most_descriptors"] is None for one in daemons)
    assert all(one["descriptor_limit"] for one in daemons)
    assert of_code(document, "hidden-descriptors")
    # Its configuration is in a folder of root's.
    assert "cannot be read: Permission denied" in str(of_code(document, "unseen"))


def test_the_file_of_profiles_is_not_taken_for_that_of_a_server(
    start: Start, tmp_path: Path
) -> None:
    start("vsftpd", max_per_ip=3)
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('[profiles.backup]\nurl = "ftp://me@host"\n')
    ran = run("doctor", "--server", "--json", env={"FTPPOOL_CONFIG": str(profiles)})
    kinds = [one["kind"] for one in json.loads(ran.out)["server"]["configurations"]]
    assert "vsftpd" in kinds
    assert not ran.err


def test_people_get_tables_and_no_line_of_a_log(start: Start, tmp_path: Path) -> None:
    server: Server = start("vsftpd", max_per_ip=2)
    path = folder_of(tmp_path, "vsftpd") / "vsftpd.conf"
    with full(server.port, server.user, 2, 2):
        ran = run("doctor", "--server", "--config", path)
    for heading in (
        "FTP servers that run here", f"vsftpd: {path}", "Connections by address",
        "Refusals in the logs", "Findings",
    ):  # fmt: skip
        assert heading in ran.lines()
    assert "OK LOGIN" not in ran.out
    assert server.password not in ran.out
    assert "\x1b" not in ran.out
