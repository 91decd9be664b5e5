"""The command-line peers: Debian packages, unpacked as those of the test servers are."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from tests.support import install

CLIENTS = install.Bundle(
    "clients-1",
    {
        "lftp": ("lftp",),
        "curl": ("curl",),
        "ncftpput": ("ncftp",),
        "rclone": ("rclone",),
        "sftp": ("openssh-client",),
    },
)


def get_all() -> None:
    """Download what is not there yet: servers and clients; say what cannot be had."""
    for bundle in (install.SERVERS, CLIENTS):
        try:
            bundle.ensure()
        except install.InstallError as error:
            print(f"not all programs could be had: {error}", file=sys.stderr)


def program(name: str) -> Path | None:
    """Return the path of a command-line peer."""
    return CLIENTS.find(name)


def module(name: str) -> bool:
    """Return whether a Python peer is installed."""
    return importlib.util.find_spec(name) is not None


@functools.cache
def version(name: str) -> str:
    """Return the version of a peer or a server, such as ``4.9.2``."""
    for bundle in (CLIENTS, install.SERVERS):
        debian = bundle.version(name) if name in bundle.packages else None
        if debian:
            return re.sub(r"^\d+:|[-+~].*$", "", debian)
    if name in sys.stdlib_module_names or name == "python":
        return sys.version.split()[0]
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
    path = program(name)
    if path is None or name == "sftp":  # which cannot be asked
        return "?"
    said = subprocess.run([path, "--version"], check=False, capture_output=True, text=True)
    found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return found[0] if found else "?"
