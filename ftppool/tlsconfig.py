"""Whom to trust in TLS, and as whom to appear."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from ftppool.errors import ConfigError

__all__ = ["TLSConfig"]

_Version = Literal["1.2", "1.3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSConfig:
    """Whom to trust in TLS, and as whom to appear.

    Without any of it the server's certificate must be valid for the host name of the target and
    signed by an authority that the system trusts. For anything else make an ``ssl.SSLContext`` of
    your own and pass that as ``tls=``.

    Attributes:
        ca_file: PEM file of the authorities to trust instead of the system's; the server's own
            certificate will do.
        fingerprint: SHA-256 of the one certificate to trust, in hexadecimal with or without colons.
            It is then trusted whoever signed it and whatever name it has; with ``ca_file`` both
            must be right, name and authority as well.
        client_certificate: PEM file with the certificate by which the server knows this client.
        client_key: PEM file with its private key; default: it is in ``client_certificate``.
        client_key_password: The key's password, or a function that returns it.
        minimum_version: "1.2" (default) or "1.3".
        trust_any: True: check nothing, so that anybody in between can read and change everything;
            the log says so with a warning.

    Raises:
        ConfigError: A value is wrong or contradicts another.
    """

    ca_file: str | os.PathLike[str] | None = None
    fingerprint: str | None = None
    client_certificate: str | os.PathLike[str] | None = None
    client_key: str | os.PathLike[str] | None = None
    client_key_password: str | Callable[[], str] | None = field(default=None, repr=False)
    minimum_version: _Version = "1.2"
    trust_any: bool = False

    def __post_init__(self) -> None:
        """Check the values; files are read when the pool is made."""
        if self.fingerprint is not None:
            object.__setattr__(self, "fingerprint", _digest(self.fingerprint))
        if self.minimum_version not in get_args(_Version):
            raise ConfigError(
                f"TLSConfig: minimum_version={self.minimum_version!r}: write '1.2' or '1.3';"
                " for older servers pass an ssl.SSLContext as tls="
            )
        if self.client_certificate is None and (self.client_key or self.client_key_password):
            raise ConfigError("TLSConfig: a client_key needs its client_certificate.")
        if self.trust_any and (self.ca_file is not None or self.fingerprint is not None):
            raise ConfigError(
                "TLSConfig: trust_any=True trusts everybody: leave it out, or ca_file and"
                " fingerprint."
            )


def _digest(fingerprint: object) -> str:
    digits = re.sub(
        r"^sha-?256( fingerprint)?[:=/ ]", "", str(fingerprint).strip().lower()
    ).replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ConfigError(
            f"TLSConfig: fingerprint={fingerprint!r}: write the certificate's SHA-256 as 64"
            " hexadecimal digits; `openssl x509 -noout -sha256 -fingerprint` prints it."
        )
    return digits
