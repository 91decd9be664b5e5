"""Flags, their twins in the environment, and profiles."""

from __future__ import annotations

import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest

from ftppool.cli.args import COMMANDS, parsers
from ftppool.cli.kinds import as_words
from ftppool.cli.settings import flags_of, twins
from tests.cli.running import Ran, run
from tests.cli.test_put import make, one_complaint, secret, url
from tests.conftest import Start
from tests.support.servers import Server


@pytest.fixture
def ftp(start: Start) -> Server:
    """A server that allows three connections."""
    return start("pyftpdlib", max_per_ip=3)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file for profiles; write into it."""
    file = tmp_path / "config.toml"
    file.touch(0o600)
    return file


def shown(*args: str | Path, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What ``config show`` says."""
    ran = run("config", "show", "--json", *args, env=env)
    assert ran.code == 0, ran
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_every_long_flag_of_every_command_has_a_twin_that_is_read() -> None:
    for command, parser in parsers(list(COMMANDS)).items():
        for action in flags_of(parser).values():
            for flag, twin in twins(action):
                assert twin == "FTPPOOL_" + flag[2:].replace("-", "_").upper(), command
    # Each value that is no value is complained of by the name of its variable.
    for name, text, words in (
        ("MAX_PER_IP", "many", "write a whole number, 1 or more"),
        ("DEADLINE", "-1", "write seconds"),
        ("RATE_LIMIT", "fast", "write bytes a second"),
        ("VERIFY", "maybe", "write one of size, hash, none"),
        ("ATOMIC", "maybe", "write 1 or 0"),
        ("QUIET", "", "write 1 or 0"),
        ("JOURNAL", "", "is set, and empty"),
        ("EXCLUDE", "'", "as in a shell"),
    ):
        said = one_complaint(run("put", "x", "ftp://h", env={f"FTPPOOL_{name}": text}), 78)
        assert f"FTPPOOL_{name}" in said
        assert words in said


def test_a_flag_goes_before_the_environment_and_that_before_the_profile(config: Path) -> None:
    config.write_text(
        "[profiles.site]\nurl = 'ftp://me@h/in'\nmax_per_ip = 3\ndeadline = '5m'\natomic = false\n"
        "exclude = ['*.tmp', '*.bak']\nworkers = 7\n"
    )
    env = {
        "FTPPOOL_CONFIG": str(config), "FTPPOOL_MAX_PER_IP": "4", "FTPPOOL_WORKERS": "8",
        "FTPPOOL_NO_RESUME": "0", "FTPPOOL_LAST": "'a b' c",
    }  # fmt: skip
    found = shown("site:sub", "--max-per-ip", "5", env=env)
    assert found["target"] == {"value": "ftp://me@h:21/in/sub", "origin": "profile site"}
    assert found["max_per_ip"] == {"value": 5, "origin": "--max-per-ip"}
    assert found["workers"] == {"value": 8, "origin": "FTPPOOL_WORKERS"}
    assert found["deadline"] == {"value": 300.0, "origin": "profile site"}
    assert found["atomic"] == {"value": False, "origin": "profile site"}
    assert found["exclude"] == {"value": ["*.tmp", "*.bak"], "origin": "profile site"}
    assert found["resume"] == {"value": True, "origin": "FTPPOOL_NO_RESUME"}
    assert found["last"] == {"value": ["a b", "c"], "origin": "FTPPOOL_LAST"}
    assert found["verify"] == {"value": "size", "origin": "default"}
    text = run("config", "show", "site:/abs", "-v", env=env | {"FTPPOOL_QUIET": "1"})
    rows = {line.split()[0]: line.split()[1:] for line in text.out.splitlines()}
    assert rows["target"][0] == "ftp://me@h:21//abs"
    assert rows["quiet"][0] == "false"
    assert rows["verbose"][0] == "true"


def test_the_place_of_profiles_does_not_depend_on_the_shell(tmp_path: Path) -> None:
    home = pwd.getpwuid(os.geteuid()).pw_dir
    expected = f"{home}/.config/ftppool/config.toml\n"
    env = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    assert run("config", "path", env=env) == Ran(0, expected, "")
    assert run("config", "path", "--config", "x.toml") == Ran(0, "x.toml\n", "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("max_per_ipp = 3", "max_per_ipp is not known; did you mean 'max_per_ip'?"),
        ("max-per-ip = 3", "max-per-ip is not known; did you mean 'max_per_ip'?"),
        ("max_connections = 3", "max_connections is not known; did you mean 'max_per_ip'?"),
        ("server = 'h'", "server is not known; did you mean 'url'?"),
        ("xyzzy = 3", "xyzzy is not known; known are "),
        ("max_per_ip = '3'", "max_per_ip = '3': write a whole number, 1 or more"),
        ("max_per_ip = 0", "write a whole number, 1 or more"),
        ("max_per_ip = true", "write a whole number, 1 or more"),
        ("atomic = 'yes'", "atomic = 'yes': write true or false"),
        ("ca_file = 3", "ca_file = 3: write a string, in quotes"),
        ("exclude = 3", "write a string, or a list of strings"),
        ("verify = 'maybe'", "write one of size, hash, none"),
        ("deadline = [1]", "write seconds"),
        ("password_command = []", "write a list of strings"),
        ("password = 'secret-42'", "write password_file"),
        ("url = 3", "write a URL such as"),
        ("config = 'x'", "config is not known"),
        ("url = 'ftp://u:secret-42@h/x'", "has a password"),
        ("url = 'nope://u:secret-42@h'", "scheme nope:// is unknown"),
    ],
)
def test_a_wrong_profile_gets_one_sentence_with_file_and_key(
    config: Path, line: str, words: str
) -> None:
    url = "" if line.startswith("url") else "url = 'ftp://h'\n"
    config.write_text(f"[profiles.site]\n{url}{line}\n")
    ran = run("put", "--config", config, "x", "site:")
    said = one_complaint(ran, 78)
    assert len(said.splitlines()) == 1
    assert words in said
    assert f"{config}: profiles.site.{line.split(maxsplit=1)[0]}" in said
    assert "secret-42" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profiles = 3", "write each profile as a table"),
        ("[profile.site]", "'profile' is not known at the top"),
        ("[profiles.s]\n", "two or more letters"),
        ("[profiles", "is no TOML"),
        ("[profiles.other]\n", "has no profile 'site'; "),
        ("[profiles.sites]\n", "did you mean 'sites'?"),
        ("", "has no profile 'site'; it has none"),
        ("[profiles.site]\n", "profiles.site has no url"),
    ],
)
def test_a_wrong_file_gets_one_sentence(config: Path, text: str, words: str) -> None:
    config.write_text(text)
    said = one_complaint(run("put", "--config", config, "x", "site:in"), 78)
    assert len(said.splitlines()) == 1
    assert words in said


def test_a_word_that_is_no_url_is_answered_with_what_was_meant(config: Path) -> None:
    config.write_text("[profiles.partner]\nurl = 'ftp://u:@h'\n")
    for args, words in (
        (("ls", "partner"), "'partner' is a profile: write partner:, with a colon"),
        (("put", "x", "partner/in/box"), "write partner:in/box, with a colon"),
        (("get", "partner/a.csv", "."), "write partner:a.csv, with a colon"),
        (("ls", "elsewhere/x"), "The target has no scheme: write ftp://elsewhere/x"),
        (("get", "ftp://h/x", "/y", "out"), "ftppool: SRC 2: The target has no scheme: write "),
        (("get", "/y", "out"), "ftppool: SRC: The target has no scheme: write "),
        (("get", "in/1.csv", "."), "'in/1.csv' is on no server: write ftp://user@host/in/1.csv or"
         " profile:in/1.csv (or ftp://in/1.csv, if 'in' is the server)"),
        (("get", "u:secret-42@h/1.csv", "."), "write ftp://user@host/directory"),
    ):  # fmt: skip
        said = one_complaint(run(args[0], "--config", config, *args[1:]), 2)
        assert words in said
        assert len(said.splitlines()) == 1
        assert "secret-42" not in said


def test_a_file_that_others_can_write_is_refused(config: Path) -> None:
    config.write_text("[profiles.site]\nurl = 'ftp://h'\n")
    config.chmod(0o666)
    said = one_complaint(run("put", "--config", config, "x", "site:"), 78)
    assert f"chmod go-w {config}" in said
    said = one_complaint(run("put", "--config", config.parent / "no.toml", "x", "ftp://h"), 78)
    assert "cannot be read: No such file" in said


def test_a_profile_sends_files(ftp: Server, config: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(f"{ftp.password}\nno part of it\n")
    password.chmod(0o600)
    config.write_text(
        f"[profiles.site]\nurl = '{url(ftp)}'\npassword_file = '{password}'\nmax_per_ip = 1\n"
    )
    files = make(tmp_path / "out", 5)
    ran = run("put", "--config", config, files, "site:in")
    assert ran == Ran(0, "", "")
    assert len(list((ftp.home / "in" / "out").iterdir())) == 5
    census = ftp.wait_idle()
    assert census.peak == 1
    # A profile's settings and password with a URL of its server, and never of another one.
    other = run("put", "--config", config, "--profile", "site", files, url(ftp, "there"))
    assert other == Ran(0, "", "")
    away = url(ftp).replace("127.0.0.1", "127.0.0.2")
    said = one_complaint(run("put", "--config", config, "--profile", "site", files, away), 78)
    assert "profile 'site' is for ftp://127.0.0.1" in said
    two = run("get", "--config", config, "--profile", "site", "other:x", tmp_path)
    assert "two profiles are named" in one_complaint(two, 2)


def test_a_drive_and_a_url_are_no_profiles(config: Path, tmp_path: Path) -> None:
    config.write_text("[profiles.ftp]\nurl = 'ftp://h'\n")
    for dest in ("C:\\data", "c:/data"):
        said = one_complaint(run("put", "--config", config, tmp_path, dest), 2)
        assert "no scheme" in said
    found = shown("ftp://elsewhere/x", "--config", config)
    assert found["target"]["value"] == "ftp://anonymous@elsewhere:21/x"


def test_a_user_may_stand_apart_and_gives_way_to_what_is_closer(config: Path) -> None:
    config.write_text("[profiles.site]\nurl = 'ftp://h/in'\nuser = 'me'\n")
    env = {"FTPPOOL_CONFIG": str(config)}
    assert shown("site:", env=env)["target"]["value"] == "ftp://me@h:21/in"
    assert shown("site:", "--user", "you", env=env)["target"]["value"] == "ftp://you@h:21/in"
    env |= {"FTPPOOL_USER": "them", "FTPPOOL_PROFILE": "site"}
    assert shown("ftp://us@h", env=env)["target"]["value"] == "ftp://us@h:21"
    said = one_complaint(run("put", "--user", "a", "x", "ftp://b@h"), 78)
    assert "write it once" in said


def test_a_variable_that_is_nearly_ours_is_told_and_others_are_not(
    ftp: Server, tmp_path: Path
) -> None:
    files = make(tmp_path / "out", 1)
    env = secret(ftp) | {"FTPPOOL_MAX_PERIP": "3", "FTPPOOL_INVENTED_HERE": "x"}
    ran = run("put", files, url(ftp), env=env)
    assert ran == Ran(
        0, "", "ftppool: FTPPOOL_MAX_PERIP is not known; did you mean FTPPOOL_MAX_PER_IP?\n"
    )
    assert run("put", "-q", files, url(ftp), env=env) == Ran(0, "", "")


def test_two_variables_that_contradict_each_other_are_78() -> None:
    env = {"FTPPOOL_QUIET": "1", "FTPPOOL_VERBOSE": "1"}
    assert "contradict each other" in one_complaint(run("put", "x", "ftp://h", env=env), 78)
    env = {"FTPPOOL_ATOMIC": "1", "FTPPOOL_NO_ATOMIC": "1"}
    assert "keep one" in one_complaint(run("put", "x", "ftp://h", env=env), 78)


def test_a_backslash_belongs_to_a_path_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    text = r"""C:\Users\me\id_ed25519 'D:\my keys\id' x#y"""
    monkeypatch.setattr(sys, "platform", "linux")
    assert as_words(text) == ["C:Usersmeid_ed25519", r"D:\my keys\id", "x#y"]
    monkeypatch.setattr(sys, "platform", "win32")
    assert as_words(text) == [r"C:\Users\me\id_ed25519", r"D:\my keys\id", "x#y"]
