"""Where the command line takes passwords from, and that it never shows one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import Ran, run, run_on_terminal
from tests.cli.test_put import make, one_complaint, url
from tests.conftest import Start
from tests.support.servers import Server


@pytest.fixture
def ftp(start: Start) -> Server:
    """A server that allows three connections."""
    return start("pyftpdlib", max_per_ip=3)


def private(path: Path, text: str) -> Path:
    """Write a file that nobody else can read."""
    path.touch(0o600)
    path.write_text(text)
    return path


def check(server: Server, *args: str | Path, env: dict[str, str] | None = None) -> Ran:
    """Log in, with the user's name in the URL only."""
    return run("check", "--json", url(server), *args, env=env)


def test_each_source_logs_in_and_is_named_by_config_show(ftp: Server, tmp_path: Path) -> None:
    password = private(tmp_path / "password", f"{ftp.password}\r\nmore\n")
    netrc = private(
        tmp_path / "netrc",
        "machine other login x password y\n"
        f"machine {ftp.host} login {ftp.user} password {ftp.password}\n",
    )
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "ftppool-password").write_text(ftp.password)
    (credentials / "mine").write_text(ftp.password)
    folder = {"CREDENTIALS_DIRECTORY": str(credentials)}
    sources: list[tuple[list[str | Path], dict[str, str], str]] = [
        ([], {"FTPPOOL_PASSWORD": ftp.password}, "FTPPOOL_PASSWORD"),
        (["--password-file", password], {}, "password_file (--password-file)"),
        ([], {"FTPPOOL_PASSWORD_FILE": str(password)}, "password_file (FTPPOOL_PASSWORD_FILE)"),
        (["--password-command", f"cat {password}"], {}, "password_command (--password-command)"),
        (["--netrc-file", netrc], {}, "netrc_file (--netrc-file)"),
        ([], folder, "$CREDENTIALS_DIRECTORY/ftppool-password"),
        (["--credential", "mine"], folder, "credential (--credential)"),
        # The one that is closer to the user goes before.
        (["--password-file", password], {"FTPPOOL_PASSWORD": "wrong"},
         "password_file (--password-file)"),
        ([], folder | {"FTPPOOL_PASSWORD": ftp.password}, "FTPPOOL_PASSWORD"),
    ]  # fmt: skip
    for args, env, origin in sources:
        ran = check(ftp, *args, env=env)
        assert ran.code == 0, (origin, ran)
        assert json.loads(ran.out)["password_from"] == origin
        ran = run("config", "show", url(ftp), *args, env=env)
        assert ran.code == 0
        name, *value = ran.out.splitlines()[1].split()
        assert (name, " ".join(value)) == ("password", f"(not shown) {origin}")
        assert ftp.password not in ran.out + ran.err


def test_netrc_at_home_may_name_the_user_too(ftp: Server, tmp_path: Path) -> None:
    private(tmp_path / ".netrc", f"default login {ftp.user} password {ftp.password}\n")
    env = {"HOME": str(tmp_path), "FTPPOOL_NETRC": "1"}
    ran = run("check", "--json", f"ftp://{ftp.host}:{ftp.port}/", env=env)
    assert ran.code == 0, ran
    assert json.loads(ran.out)["user"] == ftp.user


def test_a_keyring_is_asked_and_its_absence_is_one_sentence(ftp: Server, tmp_path: Path) -> None:
    (tmp_path / "our_keyring.py").write_text(
        "import keyring.backend\n"
        "class Ours(keyring.backend.KeyringBackend):\n"
        "    priority = 1\n"
        "    def get_password(self, service, user):\n"
        f"        return {ftp.password!r} if (service, user) == ('ftp', {ftp.user!r}) else None\n"
        "    def set_password(self, *args): ...\n"
        "    def delete_password(self, *args): ...\n"
    )
    env = {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "our_keyring.Ours",
           "PYTHONWARNINGS": ""}  # fmt: skip
    assert check(ftp, "--keyring", "ftp", env=env).code == 0
    said = one_complaint(check(ftp, "--keyring", "other", env=env), 78)
    assert f"keyring set other {ftp.user}" in said
    nobody = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", "PYTHONWARNINGS": ""}
    said = one_complaint(check(ftp, "--keyring", "ftp", env=nobody), 78)
    assert "without a desktop session, as under cron" in said
    assert said.rstrip().endswith("for details.")  # keyring's own words, to their end


def test_what_is_open_to_others_is_refused(ftp: Server, tmp_path: Path) -> None:
    password = private(tmp_path / "password", "secret-42\n")
    netrc = private(tmp_path / "netrc", f"machine {ftp.host} login u password secret-42\n")
    for mode in (0o604, 0o640, 0o622):
        for flag, path in (("--password-file", password), ("--netrc-file", netrc)):
            path.chmod(mode)
            ran = check(ftp, flag, path)
            said = one_complaint(ran, 78)
            assert f"chmod 600 {path}" in said
            assert "secret-42" not in said
    if os.geteuid() == 0:
        password.chmod(0o600)
        os.chown(password, 12345, 12345)
        said = one_complaint(check(ftp, "--password-file", password), 78)
        assert "belongs to user 12345" in said
    assert ftp.wait_idle().connects == 0


@pytest.mark.parametrize(
    ("args", "env", "words"),
    [
        ([], {"FTPPOOL_PASSWORD": ""}, "FTPPOOL_PASSWORD is set, and empty"),
        (["--password-file", "/no/such"], {}, "cannot be read: No such file"),
        (["--password-file", os.devnull], {}, "open to others"),
        (["--password-command", "/no/such"], {}, "cannot be run: No such file"),
        (["--password-command", "sh -c 'echo at a loss >&2; echo secret-42; exit 3'"], {},
         "failed with 3: at a loss"),
        (["--password-command", "true"], {}, "nothing in its first line"),
        (["--credential", "x"], {}, "CREDENTIALS_DIRECTORY is not set"),
        (["--credential", "../x"], {"CREDENTIALS_DIRECTORY": "/tmp"}, "a name without '/'"),
        (["--netrc-file", "/no/such"], {}, "cannot be read: No such file"),
        (["--netrc", "--password-file", "x"], {}, "keep one"),
        ([], {"FTPPOOL_PASSWORD": "a", "FTPPOOL_PASSWORD_FILE": "b"}, "keep one"),
    ],
)  # fmt: skip
def test_a_password_that_cannot_be_had_is_one_sentence_and_78(
    tmp_path: Path, args: list[str], env: dict[str, str], words: str
) -> None:
    ran = run("put", *args, tmp_path, "ftp://u@h/", env=env)
    said = one_complaint(ran, 78)
    assert len(said.splitlines()) == 1
    assert words in said
    assert "secret-42" not in said


def test_a_netrc_that_is_none_is_told_without_its_words(tmp_path: Path) -> None:
    for text, words in (
        ("secret-42 machine x", "look at line 1"),
        ("machine other login u password secret-42", "has no entry for h"),
        ("machine h login you password secret-42", "has the login 'you' for h, not 'u'"),
    ):
        netrc = private(tmp_path / "netrc", text)
        said = one_complaint(run("put", "--netrc-file", netrc, tmp_path, "ftp://u@h/"), 78)
        assert words in said
        assert "secret-42" not in said


def test_no_password_at_all_is_78_without_a_terminal_and_names_the_places(
    ftp: Server, tmp_path: Path
) -> None:
    config = private(tmp_path / "config.toml", f'[profiles.some]\nurl = "{url(ftp)}"\n')
    bare = f"ftp://{ftp.host}:{ftp.port}/"
    for args in (
        ("put", tmp_path, url(ftp)), ("get", url(ftp, "x"), tmp_path), ("ls", url(ftp)),
        ("check", url(ftp)), ("ls", "--user", ftp.user, bare), ("ls", "--config", config, "some:"),
        ("doctor", "--probe", url(ftp)),
    ):  # fmt: skip
        ran = run(*args)
        assert ran.code == 78, ran
        assert "Traceback" not in ran.err
        said = ran.err.splitlines()[-1]
        assert f"there is no password for '{ftp.user}'" in said
        for place in ("FTPPOOL_PASSWORD,", "--password-file", "--netrc", "profile"):
            assert place in said
    assert ftp.wait_idle().connects == 0


def test_no_password_at_all_is_asked_for_on_a_terminal_and_not_shown(
    ftp: Server, tmp_path: Path
) -> None:
    files = make(tmp_path / "out", 3)
    asked = f"Password of {ftp.user} at {ftp.host}: "
    ran = run_on_terminal("put", files, url(ftp, "in"), answer=(asked, f"{ftp.password}\r"))
    assert ran.code == 0, ran
    assert len(list((ftp.home / "in" / "out").iterdir())) == 3
    assert ftp.password not in ran.out
    ran = run_on_terminal("check", url(ftp), answer=(asked, f"{ftp.password}\r"))
    assert (ran.code, "password from the terminal" in ran.out) == (0, True)
    ran = run_on_terminal("put", files, url(ftp), answer=(asked, "wrong-1234\r"))
    assert (ran.code, "no password was given" in ran.out) == (77, False)
    assert "wrong-1234" not in ran.out


def test_a_prompt_that_is_left_ends_the_run(ftp: Server, tmp_path: Path) -> None:
    for command in (("put", tmp_path, url(ftp)), ("ls", url(ftp))):
        ran = run_on_terminal(*command, interrupt_at="Password of")
        assert ran.code == 130, ran
        assert ran.out.splitlines()[-1].startswith("ftppool: interrupted")
    ran = run_on_terminal("ls", url(ftp), answer=("Password of", "\x04"))
    assert (ran.code, "there is no password for" in ran.out) == (78, True)
    assert ftp.wait_idle().connects == 0


def test_a_password_needs_a_user(tmp_path: Path) -> None:
    password = private(tmp_path / "password", "secret-42")
    said = one_complaint(run("put", "--password-file", password, tmp_path, "ftp://h/"), 78)
    assert "names no user" in said


def test_an_at_sign_in_a_path_names_no_user(tmp_path: Path) -> None:
    for dest in ("ftp://h/dir@2024", "ftp://h/dir%402024/x@y"):
        said = one_complaint(run("put", tmp_path, dest, env={"FTPPOOL_PASSWORD": "secret-42"}), 78)
        assert "names no user" in said
        shown = run("config", "show", "--user", "me", dest)
        assert (shown.code, "ftp://me@h" in shown.out) == (0, True)


def test_a_command_that_cannot_be_read_is_not_repeated(tmp_path: Path) -> None:
    config = private(
        tmp_path / "config.toml",
        '[profiles.some]\nurl = "ftp://u@h"\npassword_command = ["printf", 5, "secret-42"]\n',
    )
    broken = "printf 'secret-42"
    for ran, code in (
        (run("put", "--config", config, tmp_path, "some:"), 78),
        (run("put", tmp_path, "ftp://u@h", env={"FTPPOOL_PASSWORD_COMMAND": broken}), 78),
        (run("put", "--password-command", broken, tmp_path, "ftp://u@h"), 2),
    ):
        assert ran.code == code
        assert "(not shown)" in ran.err
        assert "secret-42" not in ran.err


def test_no_password_is_in_any_output(ftp: Server, tmp_path: Path) -> None:
    files = make(tmp_path / "out", 2)
    report = tmp_path / "report.json"
    whole = ftp.url
    for args in (
        ["put", "-v", "--json", "--report", report, "--log-level", "debug", files, whole],
        ["put", "-v", "--log-format", "json", "--log-level", "debug", files, whole],
        ["put", "--dry-run", files, whole],
        ["get", "-v", "--json", "--log-level", "debug", whole, tmp_path / "in"],
        ["get", "--dry-run", whole, tmp_path / "in"],
        ["ls", "-l", whole],
        ["check", whole],
        ["check", "--json", whole],
        ["config", "show", whole],
        ["config", "show", "--password-command", "echo secret-42", f"ftp://u@{ftp.host}"],
    ):
        ran = run(*args)
        assert ran.code == 0, ran
        assert ftp.password not in ran.out + ran.err
        assert "secret-42" not in ran.out + ran.err
        assert "Traceback" not in ran.err
    assert ftp.password not in report.read_text()


def test_a_command_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    code = (
        "from ftppool import passwords\n"
        "try: passwords.from_command(['sh', '-c', 'echo secret-42; sleep 60'], timeout=0.5)()\n"
        "except ValueError as error:\n"
        "    print(error, error.__context__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "password_command (sh) took longer than 0.5 s; it was ended None"
