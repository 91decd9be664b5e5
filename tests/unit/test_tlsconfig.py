"""TLSConfig: what is wrong is said when it is made, and no secret is shown."""

from __future__ import annotations

from typing import Any

import pytest

from ftppool import ConfigError, TLSConfig

DIGEST = "5f" * 32


@pytest.mark.parametrize(
    "written",
    [
        DIGEST,
        DIGEST.upper(),
        f"SHA256:{DIGEST}",
        f"sha-256={':'.join(['5F'] * 32)}",
        f" {':'.join(['5f'] * 32)}\n",
        f"sha256 Fingerprint={':'.join(['5F'] * 32)}",  # as openssl prints it
    ],
)
def test_a_fingerprint_may_be_written_as_tools_print_it(written: str) -> None:
    assert TLSConfig(fingerprint=written).fingerprint == DIGEST


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fingerprint": "abc"}, "64 hexadecimal digits"),
        ({"fingerprint": f"SHA1:{'5f' * 20}"}, "64 hexadecimal digits"),
        ({"minimum_version": "1.1"}, "write '1.2' or '1.3'"),
        ({"client_key": "k.pem"}, "needs its client_certificate"),
        ({"client_key_password": "x"}, "needs its client_certificate"),
        ({"trust_any": True, "ca_file": "ca.pem"}, "leave it out"),
        ({"trust_any": True, "fingerprint": DIGEST}, "leave it out"),
    ],
)
def test_a_wrong_value_is_named_with_what_to_write(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        TLSConfig(**options)
    assert "\n" not in str(caught.value)


def test_the_key_s_password_is_not_shown() -> None:
    config = TLSConfig(client_certificate="c.pem", client_key_password="very-secret")
    assert "very-secret" not in repr(config)
