"""Configurations of the three servers, as their manuals write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftppool.cli.doctor import proftpd, pureftpd, vsftpd
from ftppool.cli.doctor.settings import Configuration
from ftppool.errors import ConfigError


def value(found: Configuration, name: str, context: str = "") -> tuple[str, str]:
    """The value of a setting and the line that it stands in."""
    [setting] = [s for s in found.settings if s.name == name and s.context == context]
    return setting.value, setting.where.rpartition(":")[2]


def test_the_last_line_of_a_vsftpd_conf_counts_and_the_rest_are_defaults(tmp_path: Path) -> None:
    path = tmp_path / "vsftpd.conf"
    path.write_text("# max_per_ip=9\nlisten=YES\nmax_per_ip=4\nmax_per_ip=5\nxferlog_enable=YES\n")
    found = vsftpd.read(str(path))
    assert value(found, "max_per_ip") == ("5", "4")
    assert value(found, "max_clients") == ("2000", "")
    assert (found.per_ip, found.clients, found.ports) == (5, 2000, {21})
    assert found.logs == ["/var/log/vsftpd.log"]
    assert found.hints == []


def test_what_vsftpd_was_started_with_goes_before_its_file(tmp_path: Path) -> None:
    path = tmp_path / "vsftpd.conf"
    path.write_text("listen=YES\nmax_per_ip=4\nlisten_port=2121\n")
    found = vsftpd.read(str(path), ["max_per_ip=7"])
    assert (found.per_ip, found.ports) == (7, {2121})


def test_what_stands_before_the_file_of_a_vsftpd_gives_way_to_it(tmp_path: Path) -> None:
    path = tmp_path / "vsftpd.conf"
    path.write_text("listen=YES\nmax_per_ip=4\n")
    found = vsftpd.read(str(path), before=["max_per_ip=7", "max_clients=9"])
    assert (found.per_ip, found.clients) == (4, 9)


def test_a_vsftpd_that_is_seen_to_listen_has_its_limits(tmp_path: Path) -> None:
    path = tmp_path / "vsftpd.conf"  # as one that was built with listen=YES as its default
    path.write_text("max_per_ip=4\n")
    found = vsftpd.read(str(path), listens=True)
    assert found.per_ip == 4
    assert not any("inetd" in hint for hint in found.hints)


def test_vsftpd_under_inetd_has_no_limits_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "vsftpd.conf"
    path.write_text("max_per_ip=4\n")
    found = vsftpd.read(str(path))
    assert found.per_ip is None
    assert "inetd" in found.hints[0]


@pytest.mark.parametrize(
    ("lines", "logs"),
    [
        ("xferlog_enable=NO", 0),
        ("xferlog_enable=YES\nxferlog_std_format=YES", 0),
        ("xferlog_enable=YES\nxferlog_std_format=YES\ndual_log_enable=YES", 1),
        ("xferlog_enable=YES", 1),
    ],
)
def test_a_vsftpd_that_logs_no_refusals_is_told_how(tmp_path: Path, lines: str, logs: int) -> None:
    path = tmp_path / "vsftpd.conf"
    path.write_text(f"listen=YES\nvsftpd_log_file=/srv/v.log\n{lines}\n")
    found = vsftpd.read(str(path))
    assert found.logs == ["/srv/v.log"] * logs
    assert any("logs no refusals" in hint for hint in found.hints) == (not logs)


PROFTPD = """
# MaxInstances 99
ServerName  "x"
Include conf.d/*.conf
MaxInstances 30
MaxInstances 40
TimeoutIdle\t1200
PassivePorts 49152 49200
SystemLog /srv/proftpd.log
<Global>
  MaxClientsPerUser 3 "no more than %m"
</Global>
<IfModule mod_ban.c>
  BanOnEvent MaxConnectionsPerHost 5/00:10:00 01:00:00
</IfModule>
<VirtualHost 192.0.2.1>
  Port 2121
  <Limit LOGIN>
    Order allow,deny
    DenyAll
  </Limit>
  MaxClients \\
    25
</VirtualHost>
"""


def test_a_proftpd_conf_is_read_with_its_includes_and_blocks(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "limits.conf").write_text("MaxConnectionsPerHost 8\n")
    path = tmp_path / "proftpd.conf"
    path.write_text(PROFTPD)
    found = proftpd.read(str(path))
    assert value(found, "MaxInstances") == ("30", "5")  # the first counts
    assert value(found, "MaxConnectionsPerHost") == ("8", "1")
    assert value(found, "TimeoutIdle")[0] == "1200"
    assert value(found, "TimeoutStalled") == ("3600", "")  # the default
    assert value(found, "MaxClientsPerUser", "Global")[0] == '3 "no more than %m"'
    assert value(found, "BanOnEvent", "IfModule mod_ban.c")[1] == "14"
    assert value(found, "MaxClients", "VirtualHost 192.0.2.1")[0] == "25"
    assert value(found, "DenyAll", "VirtualHost 192.0.2.1, Limit LOGIN")[1] == "20"
    assert (found.per_ip, found.clients, found.passive) == (8, 25, (49152, 49200))
    assert found.ports == {2121}
    assert found.logs == ["/srv/proftpd.log"]
    assert len(found.files) == 2
    assert any("IfModule" in hint for hint in found.hints)


def test_configurations_that_include_each_other_come_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "proftpd.conf"
    path.write_text(f"Include {path}\nMaxInstances 3\n")
    found = proftpd.read(str(path))
    assert found.clients == 3
    assert any("too many files" in hint for hint in found.hints)


def test_an_include_that_is_not_there_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "proftpd.conf"
    path.write_text("Include missing.conf\nMaxInstances 3\n")
    found = proftpd.read(str(path))
    assert found.clients == 3
    assert "missing.conf cannot be read" in found.hints[0]


def test_debian_keeps_each_setting_of_pure_ftpd_in_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    for name, text in {
        "MaxClientsPerIP": "8\n", "MaxClientsNumber": "50\n", "PassivePortRange": "30000 30009\n",
        "Bind": "192.0.2.1,2121\n", "NoAnonymous": "yes\n",
    }.items():  # fmt: skip
        (folder / name).write_text(text)
    found = pureftpd.read(str(folder))
    assert value(found, "MaxClientsPerIP")[0] == "8"
    assert value(found, "MaxIdleTime") == ("15", "")
    assert (found.per_ip, found.ports) == (8, {2121})
    assert found.clients == 5  # half of the ports
    assert "at most 5 clients" in found.hints[0]


def test_a_pure_ftpd_conf_and_a_command_line_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "pure-ftpd.conf"
    path.write_text(
        "# MaxClientsPerIP 99\nMaxClientsPerIP  4 # of one\nMaxClientsNumber 20\n"
        "PerUserLimits 3:20\nMaxIdleTime 5\n"
    )
    by_file = pureftpd.read(str(path))
    by_switches = pureftpd.read_switches(
        ["-C", "4", "-c20", "--peruserlimits=3:20", "-I", "5", "-H", "-E"]
    )
    for found in (by_file, by_switches):
        assert (found.per_ip, found.clients) == (4, 20)
        values = {s.name: s.value for s in found.settings}
        assert (values["PerUserLimits"], values["MaxIdleTime"]) == ("3:20", "5")


@pytest.mark.parametrize(
    ("bind", "port"), [("2121", 2121), ("192.0.2.1,2121", 2121), (",2121", 2121), ("192.0.2.1", 21)]
)
def test_the_port_of_a_pure_ftpd_stands_alone_or_behind_an_address(bind: str, port: int) -> None:
    assert pureftpd.read_switches(["-S", bind]).ports == {port}


@pytest.mark.parametrize("read", [vsftpd.read, proftpd.read, pureftpd.read])
def test_a_file_that_is_not_there_is_one_sentence(read: object, tmp_path: Path) -> None:
    assert callable(read)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(str(tmp_path / "missing"))
