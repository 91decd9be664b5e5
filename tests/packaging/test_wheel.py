"""What is published: the wheel's contents, its requirements, and its types."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import ftplib
import sys
from pathlib import Path

from ftppool import BatchError, BatchReport, FTPPool, Outcome, PoolStats, Status, upload_batch


def send(folder: Path, url: str) -> BatchReport:
    try:
        return upload_batch(sorted(folder.glob("*.csv")), url, max_per_ip=3, io_timeout=30.0)
    except BatchError as error:
        failed: tuple[Outcome, ...] = error.report.failed
        for outcome in failed:
            print(outcome.remote, outcome.status is Status.FAILED, outcome.error, file=sys.stderr)
        raise


def names(url: str) -> list[str]:
    with FTPPool(url, password=lambda: "secret", on_event=print) as pool, pool.ftp() as ftp:
        raw: ftplib.FTP = ftp
        stats: PoolStats = pool.stats()
        print(stats.open, raw.pwd())
        with pool.session(timeout=5) as session:
            return session.listdir("inbox")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as it would be for publishing."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_the_core_wheel_requires_exactly_three_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = sorted(line.split(">")[0].strip() for line in required)
    assert names == ["paramiko", "tenacity", "typing-extensions"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"


def test_the_wheel_holds_the_package_and_its_type_marker_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "ftppool/py.typed" in names
    assert all(name.startswith(("ftppool/", "ftppool-")) for name in names)


def test_a_typed_user_script_passes_mypy_strict_against_the_wheel(
    wheel: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    site = next((tmp_path / "v").glob("lib/python3*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--no-incremental",
            "--python-executable", str(tmp_path / "v" / "bin" / "python"), "script.py",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "Success: no issues found in 1 source file\n"
