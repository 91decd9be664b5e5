"""The public names, their laziness, and the error tree."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import ftppool
from ftppool import errors


def test_every_public_name_is_there_and_nothing_else() -> None:
    for name in ftppool.__all__:
        assert getattr(ftppool, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ftppool.nonsense  # noqa: B018 - looked up for its error
    assert set(ftppool.__all__) == set(dir(ftppool))


def test_the_names_for_type_checkers_are_those_of_run_time() -> None:
    source = Path(str(ftppool.__file__)).read_text()
    for name in ftppool.__all__:
        if name != "__version__":
            assert f"{name} as {name}" in source


def test_importing_ftppool_loads_nothing_heavy() -> None:
    script = (
        "import sys, ftppool\n"
        "heavy = {'paramiko', 'asyncio', 'ssl', 'ftplib', 'tenacity', 'socket'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_making_a_pool_loads_nothing_that_opens_sessions() -> None:
    script = (
        "import sys, ftppool\n"
        "ftppool.FTPPool('ftp://u:p@h/d').close()\n"
        "heavy = {'paramiko', 'asyncio', 'ssl', 'ftplib', 'socket', 'ftppool.gate'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_all_errors_pickle_with_what_they_carry() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if not issubclass(kind, errors.FTPPoolError) or kind is errors.BatchError:
            continue
        error = kind("words", code=421, reply="421 x", phase="login", address="h:1", retryable=True)
        error.wrong_url = True
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert again.wrong_url
        assert (str(again), again.code, again.reply) == ("words", 421, "421 x")
        assert (again.phase, again.address, again.retryable) == ("login", "h:1", True)


def test_errors_are_the_natural_builtins_too() -> None:
    assert issubclass(errors.ConfigError, ValueError)
    assert issubclass(errors.PoolTimeout, TimeoutError)
    assert issubclass(errors.ConnectError, ConnectionError)
    assert issubclass(errors.ServerBusy, ConnectionError)
    assert issubclass(errors.AuthError, PermissionError)
    assert issubclass(errors.BatchError, ExceptionGroup)
    assert issubclass(errors.LeakWarning, ResourceWarning)


def test_the_drawn_tree_is_the_real_one() -> None:
    drawing = inspect.getdoc(errors) or ""
    for name in errors.__all__:
        assert name in drawing
