"""Where and as whom: a target's URL, its parts and the rules for remote names.

A URL may hold a password, so no message here repeats any of it but its scheme: a password with a
raw ``/`` or ``@`` can end up in every other part. What is shown of a target is ``Target.url``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

from ftppool.errors import ConfigError
from ftppool.typed import override

if TYPE_CHECKING:
    import ftplib

__all__ = ["FTPConfig", "Scheme", "Target", "check_remote_name", "join", "lacks_password"]

Scheme = Literal["ftp", "ftps", "ftpsi", "sftp"]

_PORTS: Final[dict[str, int]] = {"ftp": 21, "ftps": 21, "ftpsi": 990, "sftp": 22}
# Names that other tools give to the same protocols.
_OTHER_NAMES: Final = {"ftpes": "ftps", "ftp+tls": "ftps", "ssh": "sftp", "scp": "sftp"}
_SCHEMES: Final = "ftp://, ftps:// (explicit TLS), ftpsi:// (implicit TLS) or sftp://"
_HOST: Final = re.compile(r"""[^\x00-\x20\x7f%/\\@:\[\]<>"^`{|}?#]+""")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[^\x00-\x20\x7f%/\\@:\[\]]+)?")
_ANONYMOUS: Final = frozenset({"anonymous", "ftp"})
# They would end the command that carries them and start another one of the attacker's choice.
_LINE_BREAKS: Final = re.compile(r"[\r\n\x00]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FTPConfig:
    """How to speak FTP with a target.

    Attributes:
        encoding: Encoding of remote names; default "utf-8". Bytes that do not fit it are kept.
        passive: True (default): the client opens the data connections.
        trust_pasv_address: True: connect to the address that a PASV reply names; False (default):
            to the server's own, whatever the reply says.
        source_address: Local ``(host, port)`` of control connections; port 0 lets the system
            choose. Default: the system chooses both.
        socket_factory: Called as ``socket.create_connection``, for proxies. Default: that function.
        ftp_class: A subclass of ``ftplib.FTP`` or ``ftplib.FTP_TLS`` whose objects are lent.

    Raises:
        ConfigError: ``encoding`` is unknown or ``source_address`` is not a (host, port) pair.
    """

    encoding: str = "utf-8"
    passive: bool = True
    trust_pasv_address: bool = False
    source_address: tuple[str, int] | None = None
    socket_factory: Callable[..., Any] | None = None
    ftp_class: type[ftplib.FTP] | None = None

    def __post_init__(self) -> None:
        """Check the values that would fail only at the first connect."""
        try:
            plain = "".join(map(chr, range(128)))
            carried = plain.encode(self.encoding) == plain.encode("ascii")
        except (LookupError, TypeError, ValueError):
            raise ConfigError(f"FTPConfig: encoding {self.encoding!r} is unknown.") from None
        if not carried:
            raise ConfigError(
                f"FTPConfig: encoding {self.encoding!r} changes ASCII, in which FTP's commands are "
                "written: choose another."
            )
        match self.source_address:
            case None | (str(), int()):
                pass
            case _:
                raise ConfigError("FTPConfig: source_address must be a (host, port) pair.")


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """One server, one user, one base directory.

    Attributes:
        scheme: "ftp", "ftps" (explicit TLS), "ftpsi" (implicit TLS) or "sftp".
        host: Host name or IP address as written; an IPv6 address without brackets.
        port: TCP port.
        user: User name; "" with "sftp": the one that ``~/.ssh/config`` has for this host.
        password: The password, a function that returns it (called for each login), or None.
        directory: Base of relative paths: "" is the login directory, "a/b" is below it, "/a/b" is
            absolute.
        port_given: False: ``port`` is the scheme's, and what ``~/.ssh/config`` says goes before it.

    Raises:
        ConfigError: A part is empty, out of range or holds a line break.
    """

    scheme: Scheme
    host: str
    port: int
    user: str
    password: str | Callable[[], str] | None = field(default=None, repr=False)
    directory: str = ""
    port_given: bool = field(default=True, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        """Check all parts, wherever they come from."""
        if self.scheme not in _PORTS:
            raise ConfigError(_unknown_scheme(self.scheme))
        _check_text("host", self.host)
        if not (_HOST.fullmatch(self.host) or _IPV6.fullmatch(self.host)):
            raise ConfigError("Target: the host is missing or not a host name or IP address.")
        if type(self.port) is not int or not 1 <= self.port <= 65535:
            raise ConfigError("Target: the port must be a number from 1 to 65535.")
        if not self.user and self.scheme != "sftp":
            raise ConfigError("Target: the user name is empty.")
        _check_text("user name", self.user)
        _check_text("directory", self.directory)
        if not callable(self.password) and self.password is not None:
            _check_text("password", self.password)
        object.__setattr__(self, "directory", _tidy(self.directory))

    @classmethod
    def parse(
        cls, url: str, *, user: str | None = None, password: str | Callable[[], str] | None = None
    ) -> Self:
        """Make a target from a URL.

        Args:
            url: ``scheme://[user[:password]@]host[:port][/directory]``. User, password and
                directory are percent-decoded. FTP directories are relative to the login directory,
                ``//x`` or ``/%2Fx`` is absolute; SFTP directories are absolute, ``/~/x`` is
                relative. No path or a lone ``/`` is the login directory.
            user: User name, if not in the URL; without any, FTP logs in as "anonymous" and SFTP as
                ``~/.ssh/config`` says.
            password: Password, or a function that returns it, if not in the URL.

        Raises:
            ConfigError: The URL is wrong or ambiguous, or says the same thing as an argument.
        """
        scheme, rest = _split_scheme(url)
        _refuse_ambiguous(rest)
        authority, slash, path = rest.partition("/")
        login, at, place = authority.rpartition("@")
        host, port = _split_port(place)
        name, secret = _credentials(scheme, login if at else None, user, password)
        # The host is tested here, too, to say it in the words of a URL.
        if not host:
            raise ConfigError(f"The target URL names no host: write {scheme}://host/directory.")
        directory = _directory(scheme, slash + path)
        return cls(
            cast("Scheme", scheme),
            host,
            port or _PORTS[scheme],
            name,
            secret,
            directory,
            port_given=port is not None,
        )

    def secret(self) -> str:
        """Return the password; a function is asked each time.

        Returns:
            The password; without one "anonymous@" for anonymous FTP, and "" for SFTP.

        Raises:
            ConfigError: There is none, and FTP needs one for this user; or the function's answer
                is no string or holds a line break.
        """
        if self.password is None:
            if lacks_password(self):
                raise ConfigError(
                    "The target names a user and no password: pass password=, which may be a"
                    " function such as those of ftppool.passwords, or password='' if it is empty."
                )
            return "" if self.scheme == "sftp" else "anonymous@"
        found = self.password() if callable(self.password) else self.password
        return _check_text("password", found)

    @property
    def url(self) -> str:
        """The target as a URL without its password, as messages show it."""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        user = _encode(self.user, safe="")
        return f"{self.scheme}://{user}{'@' * bool(user)}{host}:{self.port}{self._url_path()}"

    def _url_path(self) -> str:
        path = _encode(self.directory, safe="/")
        if not path:
            return ""
        if self.scheme != "sftp":
            return f"/{path}"
        if not path.startswith("/"):
            return f"/~/{path}"
        # A second slash keeps the root from looking like no path, and a real "/~" like "home".
        return f"/{path}" if path == "/" or f"{path}/".startswith("/~/") else path

    @override
    def __str__(self) -> str:
        return self.url

    @override
    def __repr__(self) -> str:
        return f"<Target {self.url}>"

    def resolve(self, path: str) -> str:
        """Return the path to send for a remote path.

        Args:
            path: Relative to the target's directory, or absolute. "" is the directory itself.

        Returns:
            A path that is absolute or relative to the login directory, which itself is ".".

        Raises:
            ConfigError: The path holds a line break or cannot be encoded.
        """
        return join(self.directory, _check_text("remote path", path)) or "."


def lacks_password(target: Target) -> bool:
    """True if there is no password, and the login takes one that nobody can make up.

    An empty one is a guess, and guesses lock accounts. SFTP has other ways to log in.
    """
    named = target.scheme != "sftp" and target.user not in _ANONYMOUS
    return named and target.password is None


def join(directory: str, name: str) -> str:
    """Put a directory before a relative remote name; an absolute name stays as it is."""
    return posixpath.join(directory, name) if name else directory


def check_remote_name(path: str) -> str:
    """Return the remote path of a file if it can be one.

    Raises:
        ConfigError: It is empty, ends in a directory (``/``, ``.``, ``..``), holds a line break or
            cannot be encoded.
    """
    _check_text("remote path", path)
    if not path:
        raise ConfigError("The remote path is empty: write the name that the file shall get.")
    if path.rpartition("/")[2] in ("", ".", ".."):
        raise ConfigError(f"Remote path {path!r} is a directory: write a file name after it.")
    return path


def _check_text(what: str, text: object) -> str:
    """Return the text if a command can carry it; never show it, it may be the password."""
    if not isinstance(text, str):
        raise ConfigError(f"The {what} must be a string.")
    if _LINE_BREAKS.search(text):
        raise ConfigError(f"The {what} holds a line break (CR, LF) or NUL: remove it.")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        problem = f"The {what} holds a lone surrogate, which no encoding can carry: remove it."
    else:
        return text
    # Outside the handler: that exception quotes the text and would stay behind as the context.
    raise ConfigError(problem)


def _split_scheme(url: object) -> tuple[str, str]:
    url = _check_text("target URL", url)
    if url != url.strip():
        raise ConfigError("The target URL begins or ends with a space: remove it, or write %20.")
    scheme, colon, rest = url.partition("://")
    if not colon:
        # Only a plain host and path are safe to repeat: "user:password@host" looks like a host.
        plain = re.fullmatch(r"\w[\w.-]*(/[\w./-]*)?", url)
        raise ConfigError(
            f"The target has no scheme: write ftp://{url if plain else 'user@host/directory'},"
            f" or begin it with {_SCHEMES}."
        )
    if scheme.lower() not in _PORTS:
        raise ConfigError(_unknown_scheme(scheme))
    return scheme.lower(), rest


def _unknown_scheme(scheme: object) -> str:
    import difflib  # costs 5 ms and only mistakes need it

    name = str(scheme).lower()
    if not re.fullmatch(r"[a-z][a-z0-9+.-]{0,11}", name):
        return f"The target's scheme is unknown: write {_SCHEMES}."
    near = [_OTHER_NAMES[name]] if name in _OTHER_NAMES else difflib.get_close_matches(name, _PORTS)
    hint = f" (did you mean {near[0]}://?)" if near else ""
    return f"The target's scheme {name}:// is unknown{hint}: write {_SCHEMES}."


def _refuse_ambiguous(rest: str) -> None:
    """Refuse a URL in which a raw character of the password may have ended another part."""
    escape = "percent-encode it in user name, password and path ({}), or pass password= apart."
    for mark, code in (("?", "%3F"), ("#", "%23")):
        if mark in rest:
            raise ConfigError(f"The target URL holds a raw {mark!r}: {escape.format(code)}")
    before, at, _ = rest.rpartition("@")
    if at and "/" in before and ":" in before:
        raise ConfigError(
            "The target URL holds a raw '@' behind a '/', so its host is not certain:"
            " in the password write %2F for '/', in the path write %40 for '@',"
            " or pass password= apart."
        )


def _split_port(place: str) -> tuple[str, int | None]:
    """Split host and port. The port is not repeated: a password without host looks like one."""
    found = re.fullmatch(r"\[([^\]]*)\](:[^:]*)?|([^:]*)(:[^:]*)?", place)
    if not found:
        raise ConfigError(
            "The target URL has more than one ':' in its host and port: write an IPv6 address in"
            " brackets, as in ftp://[2001:db8::1]:21/, and an '@' behind user name and password."
        )
    host = found[3] if found[1] is None else _decode(found[1])
    digits = found[2] or found[4]
    if digits is None:
        return host, None
    if not re.fullmatch(r":0*[1-9][0-9]{0,4}", digits) or int(digits[1:]) > 65535:
        raise ConfigError(
            "The target URL's port is not a number from 1 to 65535: write scheme://host:21/,"
            " and where a user name and password come first, an '@' behind them."
        )
    return host, int(digits[1:])


def _credentials(
    scheme: str,
    login: str | None,
    user: str | None,
    password: str | Callable[[], str] | None,
) -> tuple[str, str | Callable[[], str] | None]:
    name, colon, secret = (login or "").partition(":")
    if login is not None and user is not None:
        raise ConfigError("The user name is in the target URL and in user=: write it once.")
    if colon and password is not None:
        raise ConfigError("The password is in the target URL and in password=: write it once.")
    if login is None and user is None:
        if scheme == "sftp":
            return "", password
        if password is not None:
            raise ConfigError("A password needs a user name: write user@host or pass user=.")
        return "anonymous", None
    name = _decode(name) if user is None else user
    if not name:
        raise ConfigError("The user name is empty: write it before the '@', or leave out the '@'.")
    return name, _decode(secret) if colon else password


def _directory(scheme: str, path: str) -> str:
    """Turn a URL's path, with its first slash, into a target's directory."""
    # curl's and RFC 1738's type code; taken as a name it would make such a directory.
    if re.search(r";type=[aid]$", path, re.IGNORECASE):
        raise ConfigError("The target URL ends in ';type=': leave it out, transfers are binary.")
    if path in ("", "/"):
        return ""
    if scheme != "sftp":
        return _decode(path[1:])
    if path == "/~" or path.startswith("/~/"):
        # Not absolute, however many slashes follow.
        return _decode(path[3:]).lstrip("/")
    return _decode(path)


# urllib.parse takes longer to import than all else that a plain URL needs.


def _encode(text: str, *, safe: str) -> str:
    if re.fullmatch(f"[A-Za-z0-9_.~{safe}-]*", text):
        return text
    from urllib.parse import quote

    return quote(text, safe=safe, errors="surrogateescape")


def _decode(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text, errors="surrogateescape")


def _tidy(directory: str) -> str:
    """Drop doubled and final slashes: some servers make nameless directories of them."""
    tidy = re.sub("/+", "/", directory)
    return tidy if tidy == "/" else tidy.removesuffix("/")
