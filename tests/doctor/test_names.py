"""What is shown of a process: never an argument."""

from __future__ import annotations

import pytest

from ftppool.cli.doctor.names import program_of


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["/usr/bin/lftp", "-u", "me,geheim", "ftp.example.com"], "lftp"),
        (["curl", "-T", "f", "ftp://me:geheim@ftp.example.com/"], "curl"),
        (["/usr/bin/python3", "/srv/nightly.py", "--password", "geheim"], "nightly.py (python3)"),
        (["python3.12", "-u", "-W", "error", "-m", "ftppool", "put"], "-m ftppool (python3.12)"),
        (["python3", "-X", "dev", "a b.py"], "a b.py (python3)"),
        (["python3", "-c", "login('geheim')"], "code (python3)"),
        (["python3", "-Sc", "login('geheim')"], "code (python3)"),
        (["perl", "-we", "login('geheim')"], "code (perl)"),
        (["bash", "-c", "curl ftp://me:geheim@h"], "code (bash)"),
        (["env", "PASSWORD=geheim", "lftp"], "env"),
        (["java", "-jar", "geheim@host.jar"], "java"),
        (["-bash"], "bash"),
        (["vsftpd: 192.0.2.1: connected"], "vsftpd"),
        (["pure-ftpd (SERVER)"], "pure-ftpd"),
        (["python3"], "python3"),
        ([], "kernel-says"),
        (["ftp://me:geheim@host"], "…"),
    ],
)
def test_only_what_cannot_be_a_secret_is_named(arguments: list[str], name: str) -> None:
    found = program_of(arguments, "kernel-says")
    assert found == name
    assert "geheim" not in found


def test_control_characters_and_long_names_do_not_reach_the_screen() -> None:
    assert program_of(["/bin/a\x1b[31mb"]) == "a?[31mb"
    assert len(program_of(["x" * 500])) == 40
