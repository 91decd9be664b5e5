"""CPython's own tests of ftplib, with the stand-in in ftplib's place."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXCEPTIONS = {
    "test__all__": "the stand-in has a name more, configure, and its classes come from elsewhere",
}
"""Tests that do not apply, with the reason. None demands a missing time-out: timeout=None means it
here as well."""

RUNNER = """
import sys, unittest
from ftppool import ftplib
ftplib.configure(verify=False)  # the certificate of the tests is for localhost, their host an IP
sys.modules["ftplib"] = ftplib
import test.test_ftplib as suite

def names(suite):
    for test in suite:
        yield from names(test) if isinstance(test, unittest.TestSuite) else [test]

assert suite.ftplib is ftplib
every = list(names(unittest.defaultTestLoader.loadTestsFromModule(suite)))
wanted = [test for test in every if test._testMethodName not in sys.argv[1:]]
assert len(every) - len(wanted) == len(sys.argv[1:]), "an exception that is no test"
done = unittest.TextTestRunner(verbosity=0).run(unittest.TestSuite(wanted))
print("ran", done.testsRun, "failed", len(done.failures) + len(done.errors))
"""


def _candidates(version: str) -> list[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = [str(path) for path in pyenv.glob(f"versions/{version}.*/bin/python{version}")]
    on_path = shutil.which(f"python{version}")
    return [*([] if on_path is None else [on_path]), *found]


@functools.cache
def interpreter(version: str) -> str | None:
    """Find a Python of that version that has the ``test`` package."""
    if version == "current":
        return sys.executable if importlib.util.find_spec("test.test_ftplib") else None
    for python in _candidates(version):
        asked = subprocess.run(
            [python, "-c", "import test.test_ftplib"], capture_output=True, check=False
        )
        if asked.returncode == 0:
            return python
    return None


@pytest.mark.parametrize("version", ["current", "3.11", "3.12", "3.13"])
def test_cpythons_own_tests_of_ftplib_pass_with_the_stand_in(version: str, tmp_path: Path) -> None:
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip("it is the current one")
    python = interpreter(version)
    if python is None:
        reason = f"no Python {version} with its test package here (Debian: libpython3-testsuite)"
        if version == "current" and os.environ.get("CI"):
            pytest.fail(f"CI must have it: {reason}")
        pytest.skip(reason)
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "ftppool").symlink_to(Path(__file__).parents[2] / "ftppool")
    for name in ("tenacity", "typing_extensions"):  # pure Python: of use to every interpreter
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        origin = origin.parent if origin.stem == "__init__" else origin
        (packages / origin.name).symlink_to(origin)
    done = subprocess.run(
        [python, "-W", "ignore::DeprecationWarning", "-c", RUNNER, *EXCEPTIONS],
        env=os.environ | {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert " failed 0\n" in done.stdout, done.stderr[-5000:]
    assert int(done.stdout.split()[1]) > 80
