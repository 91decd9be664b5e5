"""TLS: whom the sessions of a target trust, the handshake, and what to say when it fails."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ftppool.drivers.base import reset, wait_for
from ftppool.errors import ConfigError, TLSError
from ftppool.logs import log
from ftppool.target import Target
from ftppool.words import legible

if TYPE_CHECKING:
    from ftppool.tlsconfig import TLSConfig

__all__ = [
    "TLSPolicy",
    "TLSState",
    "clear_text",
    "is_verdict",
    "says_nothing",
    "shown_certificate",
]

_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"})

LONGEST_NAMES = 200
"""Characters of a certificate's names that an error shows."""
FIRST_WORDS = 0.02
"""Seconds in which a server on an implicit port may say in clear text that it is full."""

_T = TypeVar("_T")
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class TLSState:
    """What the TLS of one session knows.

    Attributes:
        prot_reply: The server's answer to PROT P.
        worked: True once the server has said that a transfer over TLS is complete.
        lingering: Data connections that may not be closed before the server's last word.
    """

    def __init__(self, policy: TLSPolicy) -> None:
        self.policy: TLSPolicy = policy
        self.prot_reply: str = ""
        self.worked: bool = False
        self.lingering: list[ssl.SSLSocket] = []

    def let_go(self) -> None:
        """Close them: the server has said its last word."""
        while self.lingering:
            self.lingering.pop().close()


class TLSPolicy:
    """Whom the sessions of one target trust.

    There is one context for all of them, because a data connection can resume the TLS session of
    its control connection only within the same context.

    Attributes:
        implicit: True: TLS from the first byte; False: after AUTH TLS.
        name: The name that the certificate must be valid for.
        context: The context of all connections.

    Raises:
        ConfigError: A file cannot be used, or the context is none for clients.
    """

    def __init__(self, target: Target, tls: TLSConfig | ssl.SSLContext | None) -> None:
        # Now, as plain FTP needs neither, and the threads that shake hands must not import.
        import hashlib  # noqa: F401

        from ftppool.tlsconfig import TLSConfig

        self.implicit: bool = target.scheme == "ftpsi"
        self.name: str = target.host.partition("%")[0].rstrip(".")
        self._pin: str | None = None
        if isinstance(tls, ssl.SSLContext):
            if tls.protocol is ssl.PROTOCOL_TLS_SERVER:
                raise ConfigError(
                    "tls= is a context for servers: write ssl.create_default_context()"
                )
            self.context: ssl.SSLContext = tls
            return
        if tls is not None and not isinstance(tls, TLSConfig):
            raise ConfigError(f"tls={tls!r}: write a TLSConfig(…) or an ssl.SSLContext")
        config = tls or TLSConfig()
        self.context = _context(config)
        self._pin = config.fingerprint
        if config.trust_any:
            log.warning(
                "ftppool: %s: trust_any is set: anybody can pose as this server", target.url
            )

    def wrap(self, sock: socket.socket, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        """Put TLS on a connected socket, which is taken over; :meth:`shake_hands` must follow.

        Raises:
            OSError: The peer has gone; the socket is closed.
        """
        try:
            sock.getpeername()  # else the ssl module fails with a socket that nobody can close
        except OSError:
            reset(sock)
            raise
        try:
            return self.context.wrap_socket(
                sock, server_hostname=self.name, session=session, do_handshake_on_connect=False
            )
        except BaseException as error:
            _close_lost(error)
            raise

    def shake_hands(self, sock: ssl.SSLSocket) -> None:
        """Do the handshake, within the socket's time-out as a whole.

        Raises:
            ssl.SSLError: The certificate is not trusted, or there is no common ground.
            OSError: The connection broke, or time ran out.
        """
        sock.do_handshake()
        if self._pin is not None:
            digest = _sha256(sock.getpeercert(binary_form=True) or b"")
            if digest != self._pin:
                raise ssl.SSLCertVerificationError(1, "it is not the pinned one")

    def error(self, error: ssl.SSLError, sock: socket.socket | None, address: str) -> TLSError:
        """Say what is wrong, with which certificate, and what to do."""
        if isinstance(error, ssl.SSLCertVerificationError):
            what = getattr(error, "verify_message", "") or error.strerror or str(error)
            digest, shown = _certificate(sock)
            sentence = (
                f"the certificate of {self.name} is not trusted: {what.rstrip('.')}. {shown}"
                f" {_remedy(what, digest)}"
            )
        else:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            sentence = f"no TLS with {self.name}: {reason}. {self._advice(error, reason)}"
        told = TLSError(f"{address}: {sentence}", phase="tls", address=address)
        told.wrong_url = self.implicit and _says_no_tls(error)
        return told

    def _advice(self, error: ssl.SSLError, reason: str) -> str:
        if _says_no_tls(error):
            other = "ftps:// (explicit TLS)" if self.implicit else "ftpsi://…:990 (implicit TLS)"
            return f"What answers does not speak TLS: try {other}."
        if "certificate required" in reason or "handshake failure" in reason:
            return "It may want a client certificate: tls=TLSConfig(client_certificate=…)."
        if "protocol" in reason:
            return (
                "There is no TLS version in common; for one older than 1.2 pass an ssl.SSLContext"
                " of your own as tls=."
            )
        return "Ask the server's administrator, or pass an ssl.SSLContext of your own as tls=."


def _close_lost(error: BaseException) -> None:
    """Close what the ssl module had made of a socket when a Ctrl-C came: nobody else has it."""
    trace = error.__traceback__
    while trace is not None:
        made = trace.tb_frame.f_locals.get("self")
        if isinstance(made, ssl.SSLSocket):
            reset(made)
        trace = trace.tb_next


def _says_no_tls(error: ssl.SSLError) -> bool:
    return (error.reason or str(error)).upper().replace(" ", "_") in _NOT_TLS


def _context(config: TLSConfig) -> ssl.SSLContext:
    context = _reading(
        "ca_file", config.ca_file, lambda file: ssl.create_default_context(cafile=file)
    )
    # Whoever is named is trusted, even if another one has signed him; the default since 3.13.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.minimum_version = _VERSIONS[config.minimum_version]
    if config.trust_any or (config.fingerprint is not None and config.ca_file is None):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.client_certificate is not None:
        _load_client(context, config)
    return context


def _load_client(context: ssl.SSLContext, config: TLSConfig) -> None:
    def password() -> str:
        secret = config.client_key_password
        if secret is None:  # OpenSSL would ask on the terminal, and wait
            raise ConfigError("The client key is encrypted: write client_key_password=.")
        return secret() if callable(secret) else secret

    key = None if config.client_key is None else os.fspath(config.client_key)
    _reading(
        "client_certificate",
        config.client_certificate,
        lambda file: context.load_cert_chain(str(file), key, password=password),
    )


def _reading(
    what: str, path: str | os.PathLike[str] | None, load: Callable[[str | None], _T]
) -> _T:
    """Say in one sentence what is wrong with a file."""
    file = None if path is None else os.fspath(path)
    whose = f"TLSConfig: {what}: {file}" + " (or its key)" * (what != "ca_file")
    try:
        return load(file)
    except ssl.SSLError as error:
        why = (error.reason or str(error)).lower().replace("_", " ")
        raise ConfigError(f"{whose} cannot be used: {why}") from error
    except OSError as error:
        raise ConfigError(f"{whose} cannot be read: {error.strerror}") from error


def shown_certificate(sock: socket.socket | None) -> tuple[str, dict[str, Any]]:
    """SHA-256 and facts of the certificate that the peer showed, trusted or not; "" if unknown.

    The facts are as those of ``getpeercert()``, which tells none of a certificate that it has not
    verified, a pinned one among them, and refuses to tell any after a failed handshake.
    """
    try:
        # Public since 3.13, but without the parsed facts, and only messages depend on it.
        chain: list[Any] = getattr(sock, "_sslobj").get_unverified_chain()  # noqa: B009 - private
        digest = _sha256(ssl.PEM_cert_to_DER_cert(chain[0].public_bytes()))
        return digest, chain[0].get_info()
    except (AttributeError, TypeError, ValueError, IndexError, OSError):
        return "", {}


def _certificate(sock: socket.socket | None) -> tuple[str, str]:
    """Fingerprint and description of the certificate that the peer showed, trusted or not."""
    digest, facts = shown_certificate(sock)
    if not digest:
        return "…", "What the server showed is not known."
    names = ", ".join(str(value) for _, value in facts.get("subjectAltName", ())) or "no names"
    if len(names) > LONGEST_NAMES:
        names = f"{names[:LONGEST_NAMES]}…"
    names = " ".join(legible(names).split())
    return digest, (
        f"It is for {names} (subject {_name(facts.get('subject'))}), issued by"
        f" {_name(facts.get('issuer'))}, valid until {facts.get('notAfter')}, SHA-256 {digest}."
    )


def _name(parts: Any) -> str:
    """The common name of a subject or issuer; all of it where it has none."""
    pairs = [pair for part in parts or () for pair in part]
    common = [value for key, value in pairs if key == "commonName"]
    return repr(", ".join(common or [value for _, value in pairs])[:LONGEST_NAMES])


def _remedy(what: str, digest: str) -> str:
    pin = (
        f"once its administrator has confirmed that SHA-256, tls=TLSConfig(fingerprint={digest!r})"
    )
    if "mismatch" in what:
        return f"Write the host as its certificate does; or, {pin}."
    if "pinned" in what:
        return "Pin the new one if the server's administrator says that it is his."
    if "expired" in what or "not yet valid" in what:
        return f"Ask the server's administrator for a new one and look at the clock; or, {pin}."
    return f"Name its authority with tls=TLSConfig(ca_file=…); or, {pin}."


def _sha256(certificate: bytes) -> str:
    import hashlib

    return hashlib.sha256(certificate).hexdigest()


def is_verdict(error: BaseException) -> bool:
    """True if TLS itself says no; False for a connection that broke on the way."""
    return isinstance(error, ssl.SSLError) and not isinstance(
        error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError
    )


def clear_text(sock: ssl.SSLSocket, timeout: float) -> str | None:
    """Begin the handshake, and look if clear text comes for an answer.

    vsftpd refuses connections to its implicit port so; and an SSH server says what it is.

    Returns:
        That line, or None: :meth:`TLSPolicy.shake_hands` may go on then.

    Raises:
        OSError: The handshake failed, or the line came in its first instant and is lost.
    """
    sock.settimeout(0)
    # A line that comes in the first instant of the handshake is lost; most come at once.
    wait_for(sock, FIRST_WORDS)
    if (line := _clear_line(sock)) is not None:
        return line
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        wait_for(sock, timeout)
    except ssl.SSLError as error:
        if error.reason in _NOT_TLS:
            raise ConnectionAbortedError("said something in clear text, and no more") from error
        raise
    return _clear_line(sock)


def _clear_line(sock: ssl.SSLSocket) -> str | None:
    try:
        start = socket.socket.recv(sock, 512, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    known = start[:3].isdigit() or start.startswith(b"SSH-")
    return legible(start.decode("latin-1").strip()) if known else None


def says_nothing(sock: ssl.SSLSocket) -> bool:
    """True if a session is idle; its socket may be readable, for TLS has tickets to deliver."""
    timeout = sock.gettimeout()
    try:
        sock.settimeout(0)
        sock.recv(1)
        sock.settimeout(timeout)
    except ssl.SSLWantReadError:
        sock.settimeout(timeout)
        return True
    except (OSError, ValueError):
        pass  # closed, or an alert
    return False
