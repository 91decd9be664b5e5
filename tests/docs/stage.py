"""What the examples of a page find: servers behind names, files, a home, a shell, a cron.

``ftp.example.com`` is a ProFTPD that allows three connections, in clear text, with explicit TLS
and (port 990) with implicit TLS; ``sftp.example.com`` is an SFTP server. The user is ``me`` with
the password ``secret``. The paths in `PLACES` are folders of the stage, ``/home/me`` is where
everything runs. There are ``report.csv`` and ``photos`` with three files, and ``/srv/export`` with
four.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path

from tests.docs.blocks import ROOT, Block
from tests.support import certificates, servers
from tests.support.asyncsshd import AsyncSSH
from tests.support.processes import claim_ports
from tests.support.servers import Server

USER, PASSWORD = "me", "secret"
HASH = (  # crypt(3) of the password
    "$6$ftppool$qOOIazw7FddwnLRBbyqrnsiwNHZ3.NTwBNOsLRH4pg4LF3JjvS/GqHHD5fNTTwbGBUpYf5OfEQx6CS4cVwvkP1"
)
HOST, SSH_HOST = "ftp.example.com", "sftp.example.com"
PLACES = (
    "/srv/",
    "/opt/venv/",
    "/etc/ftppool/",
    "/etc/systemd/",
    "/var/lib/ftppool/",
    "/var/lib/node_exporter/",
    "/home/me/",
)
FILES = [
    *(f"home/me/{name}" for name in ("report.csv", "photos/1.jpg", "photos/2.jpg", "photos/3.jpg")),
    *(
        f"srv/export/{name}"
        for name in ("2026-11-27.csv", "2026-11-28.csv", "old/a.csv", "old/b.csv")
    ),
]
PRACTICE_PORT = 2121
TIMEOUT = 60.0
HERE = Path(__file__).parent


class Stage:
    """Where one page is played."""

    def __init__(self, folder: Path, stack: ExitStack, page: Path) -> None:
        """Set it up.

        Args:
            folder: An empty folder.
            stack: Takes everything down at its end.
            page: What is to be played: only the servers that it names are started.
        """
        self._stack = stack
        self._page = page
        self.root = folder / "root"
        self.work = self.root / "home/me"
        self.work.mkdir(parents=True)
        for place in PLACES:
            (self.root / place.strip("/")).mkdir(parents=True, exist_ok=True)
        (self.root / "state").mkdir(mode=0o700)
        (self.work / ".ssh").mkdir(mode=0o700)
        (self.work / "practice").symlink_to(".")
        (self.work / "venv").symlink_to(self.root / "opt/venv")
        for name in FILES:
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{name}\n" * 100)
        self.servers: dict[str, Server] = {}
        self._start_servers(folder, page.read_text(encoding="utf-8"))
        practice = claim_ports()
        stack.enter_context(practice.claim)
        self._practice = practice.listen
        self._programs()
        self.environment = self._environment()
        self._python: subprocess.Popen[str] | None = None
        self._shell: subprocess.Popen[str] | None = None
        self._background: subprocess.Popen[bytes] | None = None

    # -- what is there ----------------------------------------------------------------------------

    def _start_servers(self, folder: Path, text: str) -> None:
        passwords = folder / "passwd"
        passwords.touch(mode=0o600)
        home = self.root / "server"
        home.mkdir()
        entry = [USER, HASH, os.getuid(), os.getgid(), "", home, "/bin/sh"]
        passwords.write_text(":".join(map(str, entry)) + "\n")
        certificate = certificates.write_certificate(folder, [HOST])
        certificates.write_authority(folder)
        users = {"AuthUserFile": passwords}
        tls = {
            "TLSEngine": "on",
            "TLSRequired": "off",
            "TLSRSACertificateFile": certificate,
            "TLSRSACertificateKeyFile": certificate,
        }
        if HOST in re.sub(SSH_HOST, "", text):
            self._start(f"{HOST}:21", "proftpd", folder, home, users | tls)
        if "ftpsi://" in text:
            self._start(f"{HOST}:990", "proftpd+implicit", folder, home, users, certificate)
        if SSH_HOST in text:
            options = {"user": USER, "password": PASSWORD}
            server = self._start(f"{SSH_HOST}:22", "asyncssh", folder, home, options)
            assert isinstance(server.backend, AsyncSSH)
            known = (server.backend.user_home / ".ssh/known_hosts").read_text()
            key = known.partition(" ")[2]
            (self.work / ".ssh/known_hosts").write_text(f"{SSH_HOST} {key}")
        self.home = home

    def _start(
        self,
        name: str,
        kind: str,
        folder: Path,
        home: Path,
        options: Mapping[str, object],
        certificate: Path | None = None,
    ) -> Server:
        server = servers.start(
            kind, max_per_ip=None if "ssh" in kind else 3, root=home, workdir=folder,
            options=options, certificate=certificate,
        )  # fmt: skip
        self.servers[name] = self._stack.enter_context(server)
        return server

    def _programs(self) -> None:
        for folder in (self.root / "opt/venv/bin", self.root / "bin"):
            folder.mkdir()
            for name, module in (("ftppool", "-m ftppool"), ("python", ""), ("python3", "")):
                program = folder / name
                program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
                program.chmod(0o755)

    def _environment(self) -> dict[str, str]:
        """What any program of the stage finds, cron's too."""
        names = {name: server.port for name, server in self.servers.items()}
        return {
            "HOME": str(self.work),
            "LOGNAME": USER,
            "LANG": "C.UTF-8",
            "PATH": f"{self.root / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": f"{HERE / 'names'}:{ROOT}",
            "STAGE_NAMES": json.dumps(names),
            "SSL_CERT_FILE": str(self.root.parent / "authority.pem"),
            "FTPPOOL_STATE_DIR": str(self.root / "state"),
        }

    def put_in_place(self, text: str) -> str:
        """Turn the page's paths and ports into those of the stage."""
        for place in PLACES:
            text = text.replace(place, f"{self.root}{place}")
        return text.replace(str(PRACTICE_PORT), str(self._practice))

    def as_written(self, text: str) -> str:
        """Turn the stage's paths and ports into those of the page."""
        return text.replace(str(self.root), "").replace(str(self._practice), str(PRACTICE_PORT))

    # -- what is played ---------------------------------------------------------------------------

    def play(self, block: Block) -> None:
        """Execute one block.

        Raises:
            AssertionError: It does not do what the page says.
        """
        plays: dict[str, Callable[[Block], None]] = {
            "python": self._run_python,
            "setup": self._run_python,
            "check": self._run_python,
            "console": self._run_console,
            "cron": self._run_cron,
            "file": self._write_file,
        }
        try:
            plays[block.kind](block)
        except AssertionError as error:
            where = f"{os.path.relpath(self._page, ROOT)}:{block.line}"
            raise AssertionError(f"{where}: {error}") from None

    def _write_file(self, block: Block) -> None:
        path = Path(self.put_in_place(block.path.replace("~", "/home/me")))
        path = self.work / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.put_in_place(block.text))
        path.chmod(0o600)
        if path.name == "config.toml":  # it is looked for below the real home
            self.environment["FTPPOOL_CONFIG"] = str(path)

    def _run_python(self, block: Block) -> None:
        if self._python is None:
            self._python = self._begin(
                [sys.executable, "-Wd::ResourceWarning", str(HERE / "page.py"), str(self.work)]
            )
            self._ask_python(f"from pathlib import Path\nserver = Path({str(self.home)!r})", 1)
        out = self._ask_python(self.put_in_place(block.text), block.line)
        if block.output is not None:
            self._compare(block.output, out, vary=block.numbers_vary)

    def _ask_python(self, code: str, line: int) -> str:
        assert self._python is not None
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        piece = {"code": code, "file": str(self._page), "line": line}
        self._python.stdin.write(json.dumps(piece) + "\n")
        self._python.stdin.flush()
        answer = self._python.stdout.readline()
        assert answer, "the page's program died"
        result = json.loads(answer)
        assert not result["error"], result["error"]
        return str(result["out"])

    def _begin(self, command: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if command[0] == "/bin/bash" else subprocess.PIPE,
            encoding="utf-8",
            cwd=self.work,
            env=self.environment,
            start_new_session=True,
        )
        self._stack.callback(_kill, process)
        return process

    def _run_console(self, block: Block) -> None:
        if block.port is not None:
            self._go_on_with(block.text.removeprefix("$ "))
            return
        if self._shell is None:
            self._shell = self._begin(["/bin/bash", "--norc", "--noprofile"])
        for command, expected in _commands(block.text):
            out = self._ask_shell(self.put_in_place(command))
            self._compare(expected, out, vary=block.numbers_vary, command=command)

    def _ask_shell(self, command: str) -> str:
        assert self._shell is not None
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        # The status of the command is there for the next one, `echo $?`.
        self._shell.stdin.write(
            f"(exit ${{status:-0}})\n{{\n{command}\n}} </dev/null\nstatus=$?; echo; echo '<end>'\n"
        )
        self._shell.stdin.flush()
        out = ""
        while not out.endswith("\n<end>\n"):
            line = self._shell.stdout.readline()
            assert line, f"{command!r} ended the shell: {out}"
            out += line
        # An interactive shell says less of a job that was killed.
        out = re.sub(r"^/bin/bash: line \d+: +\d+ (Killed) .*$", r"\1", out, flags=re.MULTILINE)
        return out.removesuffix("\n<end>\n")

    def _go_on_with(self, command: str) -> None:
        """Start what is to go on while the page is read, in the place of what did before."""
        if self._background is not None:
            os.killpg(self._background.pid, signal.SIGINT)  # as Ctrl-C does
            self._background.wait(TIMEOUT)
        with (self.root / "background.log").open("ab") as log:
            self._background = subprocess.Popen(
                ["/bin/bash", "-c", f"exec {self.put_in_place(command)}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.work,
                env=self.environment, start_new_session=True,
            )  # fmt: skip
        self._stack.callback(_kill, self._background)
        _wait_for_listener(self._practice)

    def _run_cron(self, block: Block) -> None:
        environment = self.environment | {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
        for line in self.put_in_place(block.text).splitlines():
            if setting := re.fullmatch(r"(\w+)\s*=\s*(.*)", line):
                environment[setting[1]] = setting[2].strip("\"'")
            elif line.strip() and not line.startswith("#"):
                command = line.split(maxsplit=1 if line.startswith("@") else 5)[-1]
                done = subprocess.run(
                    ["/bin/sh", "-c", command], capture_output=True, encoding="utf-8", check=False,
                    cwd=self.work, env=environment, timeout=TIMEOUT, stdin=subprocess.DEVNULL,
                )  # fmt: skip
                said = (done.returncode, done.stdout + done.stderr)
                assert said == (0, ""), f"cron would send a mail: {said}"

    def _compare(self, expected: str, out: str, *, vary: bool, command: str = "") -> None:
        got = self.as_written(out)
        if vary:
            expected, got = (re.sub(r"\d+(\.\d+)?", "0", text) for text in (expected, got))
        flags = ELLIPSIS | NORMALIZE_WHITESPACE
        same = OutputChecker().check_output(expected.strip() + "\n", got.strip() + "\n", flags)
        assert same, f"{command or 'it'} prints\n{got}\nand not\n{expected}"

    def end(self) -> None:
        """End the page's program as a program ends, and ask the servers what they saw.

        Raises:
            AssertionError: It complains of something, or leaves something behind.
        """
        if self._python is not None:
            out, err = self._python.communicate(timeout=TIMEOUT)
            assert self._python.returncode == 0, out + err
            for word in ("LeakWarning", "Exception ignored", "Traceback"):
                assert word not in err, err
        if self._shell is not None:
            self._shell.communicate(timeout=TIMEOUT)
        for name, server in self.servers.items():
            census = server.wait_idle(15)
            if "ssh" not in server.kind:
                assert census.peak <= 3, (name, census)
                assert census.quits >= census.sessions, (name, census)


def _commands(text: str) -> list[tuple[str, str]]:
    """Split what a console shows into commands and what each prints."""
    found: list[tuple[str, str]] = []
    continued = False
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            assert found, f"the console begins with {line!r}, which is no command"
            command, output = found[-1]
            if continued:
                found[-1] = (f"{command}\n{line.removeprefix('> ')}", output)
            else:
                found[-1] = (command, f"{output}{line}\n")
        continued = (line.startswith("$ ") or continued) and line.endswith("\\")
    return found


def _wait_for_listener(port: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    row = f" 0100007F:{port:04X} 00000000:0000 0A "
    while row not in Path("/proc/net/tcp").read_text():
        assert time.monotonic() < deadline, f"nobody listens on port {port}"
        time.sleep(0.02)


def _kill(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
