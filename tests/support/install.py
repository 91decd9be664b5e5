"""Get the server binaries (and promtool): Debian packages, unpacked into a cache, not installed.

Needs ``apt-get``, ``dpkg-deb`` and ``ldd`` and the machine's own package sources, but no root, no
package lists of the system and no free ports: nothing is configured, started or run by a package.
The shared libraries that the machine lacks are unpacked beside the programs and found by
``LD_LIBRARY_PATH`` (see `environment`).
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = {
    "vsftpd": ("vsftpd",),
    # One folder for both: ProFTPD takes all its modules from one ModulePath.
    "proftpd": ("proftpd-core", "proftpd-mod-crypto"),
    "pure-ftpd": ("pure-ftpd",),
    "openssh": ("openssh-server", "openssh-sftp-server"),
    "prometheus": ("prometheus",),
}
_PROGRAMS = {"openssh": "sshd", "prometheus": "promtool"}
_LAYOUT = "unpacked-2"  # raise the number when PACKAGES or the folder layout change
_PROGRAM_FOLDERS = ("usr/sbin", "usr/bin", "usr/lib/openssh", "sbin", "bin")
_TIMEOUT = 300.0


class InstallError(RuntimeError):
    """The server packages could not be had on this machine."""


def cache_folder() -> Path:
    """Return the folder that holds the unpacked servers of this Debian version."""
    override = os.environ.get("FTPPOOL_TEST_SERVERS")
    if override:
        return Path(override)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    release = platform.freedesktop_os_release()
    return Path(base, "ftppool-test-servers", f"{release['ID']}-{release.get('VERSION_ID', 'sid')}")


def find(name: str) -> Path | None:
    """Return the program `name` (``vsftpd``, ``pure-pw``, ``sshd`` …), None if it is not there.

    The unpacked packages come first, then programs installed on the machine.
    """
    roots = [_unpacked() / server for server in PACKAGES] + [Path("/")]
    candidates = (root / folder / name for root in roots for folder in _PROGRAM_FOLDERS)
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def environment() -> dict[str, str]:
    """Return this process's environment plus the path of the unpacked libraries."""
    paths = [str(folder) for folder in _library_folders(_unpacked())]
    paths += filter(None, [os.environ.get("LD_LIBRARY_PATH")])
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths), "LC_ALL": "C"}


def ensure() -> None:
    """Download and unpack the servers unless that is done already.

    Safe in overlapping runs: one works while the others wait, and the result appears in one
    rename.

    Raises:
        InstallError: no apt here, no network, or a package or library is missing.
    """
    if _unpacked().is_dir():
        return
    deadline = time.monotonic() + _TIMEOUT
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / ".lock", deadline):
        if _unpacked().is_dir():
            return
        with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as temporary:
            target = _unpack_all(Path(temporary), deadline)
            target.rename(_unpacked())


def _unpacked() -> Path:
    return cache_folder() / _LAYOUT


@contextmanager
def _lock(path: Path, deadline: float) -> Iterator[None]:
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InstallError(f"another run holds {path}") from None
                time.sleep(0.1)
        yield  # closing the file unlocks it


def _unpack_all(work: Path, deadline: float) -> Path:
    for command in ("apt-get", "dpkg-deb", "dpkg-query", "ldd"):
        if shutil.which(command) is None:
            raise InstallError(f"{command} not found: the test servers need a Debian machine")
    target = work / "target"
    target.mkdir()
    apt = _Apt(work, deadline)
    for server, packages in PACKAGES.items():
        debs = apt.download(packages)
        for deb in debs:
            _run(["dpkg-deb", "--extract", str(deb), str(target / server)], deadline)
        version = _field(debs[0], "Version", deadline)
        (target / f"{server}.version").write_text(version + "\n")
    _add_libraries(apt, target, deadline)
    return target


class _Apt:
    """``apt-get download`` with lists and caches of its own."""

    def __init__(self, work: Path, deadline: float) -> None:
        self.debs: list[Path] = []
        self._deadline = deadline
        self._folder = work / "debs"
        for folder in ("debs", "state/lists/partial", "cache/archives/partial"):
            (work / folder).mkdir(parents=True)
        options = {
            "Dir::State": work / "state",
            "Dir::State::status": "/var/lib/dpkg/status",
            "Dir::Cache": work / "cache",
            # Root's apt would drop to _apt, which may not enter our folder.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": 2,
            "Acquire::http::Timeout": 20,
            "Acquire::https::Timeout": 20,
        }
        self._command = ["apt-get", "-q"]
        for key, value in options.items():
            self._command += ["-o", f"{key}={value}"]
        # One broken third-party source must not matter: the download is the verdict.
        _run([*self._command, "update"], deadline, check=False)

    def download(self, packages: Iterable[str]) -> list[Path]:
        """Download `packages` and return their files, in that order."""
        before = set(self._folder.iterdir())
        names = list(packages)
        _run([*self._command, "download", *names], self._deadline, folder=self._folder)
        new = {path.name.split("_")[0]: path for path in set(self._folder.iterdir()) - before}
        missing = [name for name in names if name not in new]
        if missing:
            raise InstallError(f"apt-get downloaded no file for {', '.join(missing)}")
        self.debs += new.values()
        return [new[name] for name in names]


def _add_libraries(apt: _Apt, target: Path, deadline: float) -> None:
    """Unpack library packages, level by level, until ``ldd`` finds everything."""
    for _ in range(5):
        missing = _missing_libraries(target, deadline)
        if not missing:
            return
        wanted = _library_packages(apt.debs, deadline)
        if not wanted:
            break
        for deb in apt.download(sorted(wanted)):
            _run(["dpkg-deb", "--extract", str(deb), str(target / "libraries")], deadline)
    raise InstallError(f"no package found for {', '.join(sorted(missing))}")


def _missing_libraries(target: Path, deadline: float) -> set[str]:
    patterns = ("*/usr/*bin/*", "*/usr/lib/openssh/*", "*/usr/lib/**/*.so", "libraries/**/*.so.*")
    files = {str(path) for pattern in patterns for path in target.glob(pattern) if path.is_file()}
    found = [str(folder) for folder in _library_folders(target)]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(found), "LC_ALL": "C"}
    # Scripts among the files make ldd say "not a dynamic executable" and fail: of no interest.
    output = _run(["ldd", *sorted(files)], deadline, check=False, environment=environment)
    return {line.split()[0] for line in output.splitlines() if line.endswith("=> not found")}


def _library_packages(debs: list[Path], deadline: float) -> set[str]:
    """Return the ``lib…`` packages that `debs` depend on and that are not there yet."""
    have = {deb.name.split("_")[0] for deb in debs}
    depends = ",".join(_field(deb, "Depends", deadline) for deb in debs)
    names = {part.split("|")[0].split("(")[0].strip() for part in depends.split(",")}
    libraries = {name for name in names if name.startswith("lib")} - have
    return {name for name in libraries if not _installed(name, deadline)}


def _installed(package: str, deadline: float) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    return _run(query, deadline, check=False) == "installed"


def _field(deb: Path, field: str, deadline: float) -> str:
    return _run(["dpkg-deb", "--field", str(deb), field], deadline).strip()


def _library_folders(target: Path) -> list[Path]:
    return sorted({path.parent for path in (target / "libraries").glob("**/*.so.*")})


def _run(
    command: list[str],
    deadline: float,
    *,
    check: bool = True,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=max(1.0, deadline - time.monotonic()),
        )
    except subprocess.TimeoutExpired:
        raise InstallError(f"{command[0]} took too long") from None
    if check and done.returncode:
        raise InstallError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Get the servers and print one line for each."""
    try:
        ensure()
    except InstallError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    for server in PACKAGES:
        version = (_unpacked() / f"{server}.version").read_text().strip()
        print(f"{server} {version}: {find(_PROGRAMS.get(server, server))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
