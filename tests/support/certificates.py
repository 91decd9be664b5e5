"""Certificates of the test servers, from an authority that lives as long as the test process."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import trustme

NAMES = ("127.0.0.1", "localhost")


@functools.cache
def authority() -> trustme.CA:
    """Return the authority that the fixtures let OpenSSL trust."""
    return trustme.CA(key_type=trustme.KeyType.RSA)


def write_authority(folder: Path) -> Path:
    """Write the authority's certificate and return the file."""
    path = folder / "authority.pem"
    authority().cert_pem.write_to_path(path)
    return path


def write_certificate(
    folder: Path, names: Sequence[str] = NAMES, ca: trustme.CA | None = None
) -> Path:
    """Issue a server's certificate; return the file that has it, its chain and its key."""
    issued = (ca or authority()).issue_cert(*names, key_type=trustme.KeyType.RSA)
    path = folder / "certificate.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(path)
    return path
