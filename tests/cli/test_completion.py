"""Completion scripts: read by the shells themselves where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ftppool.cli.args import COMMANDS
from tests.cli.running import environment, run


def complete(words: str, tmp_path: Path) -> list[str]:
    """Let bash complete the last word of a line."""
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").out)
    code = (
        'source "$0" || exit 9\n'
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        "_ftppool ftppool && printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    done = subprocess.run(
        ["bash", "-c", code, str(script)], capture_output=True, text=True, check=False,
        cwd=tmp_path, env=environment(), timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return sorted(done.stdout.split())


def test_bash_completes_commands_flags_values_and_files(tmp_path: Path) -> None:
    (tmp_path / "report.csv").touch()
    assert complete("ftppool ''", tmp_path) == sorted([*COMMANDS, "--help", "--version"])
    assert complete("ftppool co", tmp_path) == ["completion", "config"]
    assert complete("ftppool put --max", tmp_path) == ["--max-failures", "--max-per-ip"]
    assert complete("ftppool put --verify ''", tmp_path) == ["hash", "none", "size"]
    assert complete("ftppool get --verify ''", tmp_path) == ["none", "size"]
    assert complete("ftppool put --report rep", tmp_path) == ["report.csv"]
    assert complete("ftppool put --max-per-ip ''", tmp_path) == []
    assert complete("ftppool put rep", tmp_path) == ["report.csv"]
    (tmp_path / "rep *x").touch()
    assert complete("ftppool put rep", tmp_path) == sorted(["rep", "*x", "report.csv"])
    assert complete("ftppool completion ''", tmp_path) == ["bash", "fish", "zsh"]
    assert complete("ftppool config ''", tmp_path) == ["path", "show"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_names_every_command_and_is_good_syntax(shell: str, tmp_path: Path) -> None:
    ran = run("completion", shell)
    assert ran.code == 0
    assert all(command in ran.out for command in COMMANDS)
    assert "on-conflict" in ran.out
    program = shutil.which(shell)
    if program is None:
        assert shell != "bash"
        pytest.skip(f"{shell} is not installed; its syntax is not checked")
    script = tmp_path / "script"
    script.write_text(ran.out)
    flag = "--no-execute" if shell == "fish" else "-n"
    subprocess.run([program, flag, str(script)], check=True, timeout=30)
