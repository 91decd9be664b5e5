"""Targets: what a URL means, what is refused, and that no password is ever shown."""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, strategies as st

from ftppool import FTPPool
from ftppool.errors import ConfigError
from ftppool.target import FTPConfig, Target, check_remote_name, join

SECRET = "hunter2-Zq9"


def refusal(url: Any, **arguments: Any) -> str:
    """Parse a bad URL and return the message, which is one sentence without the password."""
    with pytest.raises(ConfigError) as caught:
        Target.parse(url, **arguments)
    shown = "".join(traceback.format_exception(caught.value, chain=True))
    message = str(caught.value)
    assert SECRET not in message
    assert SECRET not in "".join(line for line in shown.splitlines() if "ConfigError" in line)
    assert caught.value.__context__ is None
    assert "\n" not in message
    assert message.endswith(".")
    return message


def attempt(url: str) -> Target | ConfigError:
    """Parse a URL that may be bad."""
    try:
        return Target.parse(url)
    except ConfigError as error:
        return error


@pytest.mark.parametrize(
    ("url", "directory", "sent"),
    [
        ("ftp://h", "", "f"),
        ("ftp://h/", "", "f"),
        ("ftp://h/in/box", "in/box", "in/box/f"),
        ("ftp://h/in/box/", "in/box", "in/box/f"),
        ("ftp://h//in/box", "/in/box", "/in/box/f"),
        ("ftp://h/%2Fin/box", "/in/box", "/in/box/f"),
        ("ftp://h/%2fin", "/in", "/in/f"),
        ("ftp://h//", "/", "/f"),
        ("ftp://h/%2F", "/", "/f"),
        ("ftp://h/~/in", "~/in", "~/in/f"),
        ("ftp://h/a%20b%23%3F%25", "a b#?%", "a b#?%/f"),
        ("ftp://h/a b", "a b", "a b/f"),
        ("ftp://h/caf%C3%A9", "café", "café/f"),
        ("ftp://h/caf%E9", "caf\udce9", "caf\udce9/f"),
        ("ftps://h//x", "/x", "/x/f"),
        ("ftpsi://h/x", "x", "x/f"),
        ("sftp://u@h", "", "f"),
        ("sftp://u@h/", "", "f"),
        ("sftp://u@h/in/box", "/in/box", "/in/box/f"),
        ("sftp://u@h/~/in/box", "in/box", "in/box/f"),
        ("sftp://u@h/~//in", "in", "in/f"),
        ("sftp://u@h/~", "", "f"),
        ("sftp://u@h/~/", "", "f"),
        ("sftp://u@h//", "/", "/f"),
        ("sftp://u@h//in", "/in", "/in/f"),
        ("sftp://u@h/%7E/x", "/~/x", "/~/x/f"),
        ("sftp://u@h/~bob", "/~bob", "/~bob/f"),
    ],
)
def test_the_path_says_where_relative_names_start(url: str, directory: str, sent: str) -> None:
    target = Target.parse(url)
    assert target.directory == directory
    assert target.resolve("f") == sent
    assert Target.parse(target.url) == target


@pytest.mark.parametrize(
    ("url", "scheme", "port"),
    [
        ("ftp://h", "ftp", 21),
        ("ftps://h", "ftps", 21),
        ("ftpsi://h", "ftpsi", 990),
        ("sftp://u@h", "sftp", 22),
        ("FTP://h", "ftp", 21),
        ("ftp://h:2121", "ftp", 2121),
        ("ftp://h:0021/", "ftp", 21),
        ("sftp://u@h:65535/x", "sftp", 65535),
    ],
)
def test_the_scheme_says_the_default_port(url: str, scheme: str, port: int) -> None:
    target = Target.parse(url)
    assert (target.scheme, target.host, target.port) == (scheme, "h", port)


@pytest.mark.parametrize(
    ("place", "host", "port"),
    [
        ("ftp.example.com", "ftp.example.com", 21),
        ("192.0.2.1:2121", "192.0.2.1", 2121),
        ("[2001:db8::1]", "2001:db8::1", 21),
        ("[2001:db8::1]:2121", "2001:db8::1", 2121),
        ("[fe80::1%25eth0]:2121", "fe80::1%eth0", 2121),
        ("bücher.example", "bücher.example", 21),
        ("my_nas", "my_nas", 21),
    ],
)
def test_hosts_are_names_or_addresses(place: str, host: str, port: int) -> None:
    target = Target.parse(f"ftp://{place}/x")
    assert (target.host, target.port) == (host, port)
    assert Target.parse(target.url) == target


@pytest.mark.parametrize(
    ("login", "user", "password"),
    [
        ("bob", "bob", None),
        ("bob:", "bob", ""),
        ("bob:pw", "bob", "pw"),
        ("bob:p@w", "bob", "p@w"),
        ("bob:p:w", "bob", "p:w"),
        ("me@example.com:p@:w", "me@example.com", "p@:w"),
        ("bob:%2F%23%3F%40%3A%25", "bob", "/#?@:%"),
        ("bob:100%", "bob", "100%"),
        ("DOM%5Cbob:p%C3%A4", "DOM\\bob", "pä"),
    ],
)
def test_user_and_password_are_decoded_and_the_last_at_sign_ends_them(
    login: str, user: str, password: str | None
) -> None:
    target = Target.parse(f"ftp://{login}@h/x")
    assert (target.user, target.password, target.host) == (user, password, "h")


def test_without_a_user_ftp_logs_in_as_anonymous() -> None:
    for scheme in ("ftp", "ftps", "ftpsi"):
        target = Target.parse(f"{scheme}://h")
        assert (target.user, target.password, target.secret()) == ("anonymous", None, "anonymous@")
    assert Target.parse("ftp://ftp@h").secret() == "anonymous@"
    assert Target.parse("ftp://ftp:me@h").secret() == "me"


def test_a_user_without_password_is_told_so_and_logs_in_with_no_empty_one() -> None:
    for scheme in ("ftp", "ftps", "ftpsi"):
        target = Target.parse(f"{scheme}://bob@h")
        with pytest.raises(ConfigError, match=r"names a user and no password: pass password="):
            target.secret()
        with pytest.raises(ConfigError, match=r"names a user and no password: pass password="):
            FTPPool(target)
    assert Target.parse("ftp://bob:@h").secret() == ""
    assert Target.parse("ftp://bob@h", password="").secret() == ""
    assert Target.parse("sftp://ftp@h").secret() == ""  # there are keys and agents


def test_user_and_password_may_be_arguments() -> None:
    target = Target.parse("ftp://h/x", user="bob@x", password="p/w")
    assert (target.user, target.secret()) == ("bob@x", "p/w")
    assert Target.parse("sftp://h", user="bob").user == "bob"
    assert Target.parse("ftp://bob@h", password="pw").secret() == "pw"


def test_a_password_function_is_asked_each_time() -> None:
    answers = iter(["one", "two"])
    target = Target.parse("ftp://bob@h", password=lambda: next(answers))
    assert [target.secret(), target.secret()] == ["one", "two"]


@pytest.mark.parametrize("answer", [None, b"pw", "pw\r\nDELE x", "pw\0", "pw\ud800"])
def test_a_password_function_must_return_one_line(answer: Any) -> None:
    with pytest.raises(ConfigError, match=r"^The password"):
        Target.parse("ftp://bob@h", password=lambda: answer).secret()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp.example.com/dir", "write ftp://ftp.example.com/dir,"),
        ("h", "write ftp://h,"),
        (f"bob:{SECRET}@h/dir", "write ftp://user@host/directory,"),
        (f"bob:{SECRET}", "write ftp://user@host/directory,"),
        ("ftp:/h/dir", "has no scheme"),
        ("", "has no scheme"),
        ("ftpp://h", "did you mean ftp://?"),
        ("ftpes://h", "did you mean ftps://?"),
        ("ssh://h", "did you mean sftp://?"),
        ("gopher://h", "gopher:// is unknown: write ftp://"),
        (f"bob:{SECRET}://x@h", "scheme is unknown"),
        (f"://bob:{SECRET}@h", "scheme is unknown"),
        ("ftp://", "names no host: write ftp://host/directory"),
        ("ftps:///dir", "names no host"),
        (f"ftp://bob:{SECRET}@/dir", "names no host"),
        ("ftp://:21/dir", "names no host"),
        ("ftp://[]/dir", "names no host"),
        ("ftp://a b/dir", "not a host name"),
        ("ftp://a%20b/dir", "not a host name"),
        ("ftp://[1.2.3.4]x/", "host"),
        ("ftp://2001:db8::1/dir", "in brackets"),
        ("ftp://[2001:db8::1]:21:22/dir", "in brackets"),
        (f"ftp://bob:{SECRET}", "port is not a number from 1 to 65535"),
        (f"ftp://bob:{SECRET}/dir", "port is not a number"),
        ("ftp://h:/", "port is not a number"),
        ("ftp://h:0/", "port is not a number"),
        ("ftp://h:65536/", "port is not a number"),
        ("ftp://h:123456/", "port is not a number"),
        ("ftp://h:-1/", "port is not a number"),
        ("ftp://h:²/", "port is not a number"),
        (f"ftp://bob:a/{SECRET}@h/dir", "%2F"),
        (f"ftp://bob:{SECRET}/a@h/dir", "%2F"),
        (f"ftp://bob:a@b/{SECRET}@h/dir", "%2F"),
        (f"ftp://bob:21/{SECRET}@h", "%2F"),
        (f"ftp://bob:{SECRET}#a@h/dir", "%23"),
        (f"ftp://bob:{SECRET}?@h/dir", "%3F"),
        ("ftp://h/what?", "%3F"),
        ("ftp://@h", "user name is empty"),
        (f"ftp://:{SECRET}@h", "user name is empty"),
        ("sftp://@h/dir", "user name is empty"),
        ("ftp://h/dir;type=i", "leave it out"),
        (f"ftp://bob:{SECRET}@h/a\r\nDELE b", "line break"),
        (f"ftp://bob:{SECRET}%0d%0aDELE@h/a", "password holds a line break"),
        (f"ftp://b%0Aob:{SECRET}@h/a", "user name holds a line break"),
        (f"ftp://bob:{SECRET}@h/a%00", "directory holds a line break"),
        (f"ftp://bob:{SECRET}\ud800@h/", "lone surrogate"),
        (f" ftp://bob:{SECRET}@h/", "begins or ends with a space"),
        (f"ftp://bob:{SECRET}@h/dir ", "begins or ends with a space"),
        (None, "must be a string"),
        (b"ftp://h", "must be a string"),
    ],
)
def test_a_bad_url_is_refused_in_one_sentence_without_the_password(url: Any, words: str) -> None:
    assert words in refusal(url)


@pytest.mark.parametrize(
    ("url", "arguments", "words"),
    [
        ("ftp://bob@h", {"user": "eve"}, "in user="),
        (f"ftp://bob:{SECRET}@h", {"user": "bob"}, "in user="),
        (f"ftp://bob:{SECRET}@h", {"password": "x"}, "in password="),
        ("ftp://bob:x@h", {"password": SECRET}, "in password="),
        ("ftp://h", {"password": SECRET}, "write user@host or pass user="),
        ("ftp://h", {"user": ""}, "user name is empty"),
        ("ftp://h", {"user": "bob\n"}, "user name holds a line break"),
        ("ftp://h", {"user": "bob", "password": f"{SECRET}\n"}, "password holds a line break"),
        ("ftp://h", {"user": "bob", "password": SECRET.encode()}, "password must be a string"),
        ("ftp://h", {"user": 7}, "user name must be a string"),
    ],
)
def test_bad_arguments_are_refused_without_the_password(
    url: str, arguments: dict[str, Any], words: str
) -> None:
    assert words in refusal(url, **arguments)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"scheme": "http"}, "scheme http:// is unknown"),
        ({"scheme": None}, "scheme none:// is unknown"),
        ({"host": ""}, "host is missing"),
        ({"host": "a/b"}, "host is missing or not"),
        ({"host": "h\r\n"}, "host holds a line break"),
        ({"host": None}, "host must be a string"),
        ({"port": 0}, "port must be a number"),
        ({"port": 65536}, "port must be a number"),
        ({"port": "21"}, "port must be a number"),
        ({"port": True}, "port must be a number"),
        ({"user": ""}, "user name is empty"),
        ({"directory": "a\nb"}, "directory holds a line break"),
    ],
)
def test_a_target_made_by_hand_is_checked_too(parts: dict[str, Any], words: str) -> None:
    whole: dict[str, Any] = {"scheme": "ftp", "host": "h", "port": 21, "user": "bob"}
    with pytest.raises(ConfigError, match=words):
        Target(**(whole | parts))


def test_sftp_may_leave_user_and_port_to_the_ssh_configuration() -> None:
    target = Target.parse("sftp://h/in", password=SECRET)
    assert (target.user, target.port, target.port_given) == ("", 22, False)
    assert target.url == "sftp://h:22/in"
    assert Target.parse("sftp://h:22").port_given
    assert Target("sftp", "h", 22, "u").port_given


def test_an_at_sign_in_the_path_is_fine_where_nothing_could_be_a_password() -> None:
    target = Target.parse("ftp://bob@h/releases@1.0", password=SECRET)
    assert (target.host, target.directory) == ("h/releases@1.0".partition("/")[0], "releases@1.0")
    assert Target.parse("ftp://h/@eaDir").directory == "@eaDir"
    assert Target.parse("ftp://bob:x@h:21/%40eaDir").directory == "@eaDir"


def test_everything_that_shows_a_target_shows_the_url_without_password() -> None:
    target = Target.parse(f"ftps://me@x.org:{SECRET}@h/in box")
    assert target.url == "ftps://me%40x.org@h:21/in%20box"
    assert str(target) == f"{target}" == target.url
    assert repr(target) == "<Target ftps://me%40x.org@h:21/in%20box>"
    assert SECRET not in repr([target, {"t": target}])


def test_a_target_is_a_value() -> None:
    target = Target.parse(f"ftp://bob:{SECRET}@h/x/")
    assert target == Target("ftp", "h", 21, "bob", SECRET, "x")
    assert hash(target) == hash(Target("ftp", "h", 21, "bob", SECRET, "x"))
    assert target != Target.parse("ftp://bob:other@h/x")
    assert pickle.loads(pickle.dumps(target)) == target
    with pytest.raises(AttributeError):
        target.host = "elsewhere"  # type: ignore[misc]  # wrong on purpose


@pytest.mark.parametrize(
    ("directory", "path", "sent"),
    [
        ("", "", "."),
        ("a", "", "a"),
        ("/", "", "/"),
        ("", "f", "f"),
        ("a", "f", "a/f"),
        ("/a", "f", "/a/f"),
        ("/", "f", "/f"),
        ("a", "/f", "/f"),
        ("/a", "/f", "/f"),
        ("a", "b/../f", "a/b/../f"),
        ("/a//b/", "f", "/a/b/f"),
    ],
)
def test_relative_paths_start_at_the_directory(directory: str, path: str, sent: str) -> None:
    assert Target("ftp", "h", 21, "bob", None, directory).resolve(path) == sent


@pytest.mark.parametrize("path", ["a\rb", "a\nDELE b", "a\0b", "a\ud800"])
def test_a_path_that_a_command_cannot_carry_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^The remote path holds"):
        Target.parse("ftp://h").resolve(path)
    with pytest.raises(ConfigError, match=r"^The remote path holds"):
        check_remote_name(path)


@pytest.mark.parametrize("path", ["a", "a/b", "/a", "../a", ".a", "...", "a b", "caf\udce9", " "])
def test_a_file_name_comes_back_as_it_is(path: str) -> None:
    assert check_remote_name(path) == path


@pytest.mark.parametrize("path", ["a/", "/", ".", "..", "a/.", "a/..", "./", "//"])
def test_a_directory_is_no_file_name(path: str) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        check_remote_name(path)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="is empty"):
        check_remote_name("")


@pytest.mark.parametrize(
    ("directory", "name", "joined"),
    [
        ("", "a", "a"),
        ("d", "a", "d/a"),
        ("d/", "a", "d/a"),
        ("/", "a", "/a"),
        ("d", "/a", "/a"),
        ("d", "", "d"),
        ("", "", ""),
    ],
)
def test_join_puts_one_slash_between(directory: str, name: str, joined: str) -> None:
    assert join(directory, name) == joined


def test_the_defaults_of_ftp_are_the_documented_ones() -> None:
    config = FTPConfig()
    assert (config.encoding, config.passive, config.trust_pasv_address) == ("utf-8", True, False)
    assert (config.source_address, config.socket_factory, config.ftp_class) == (None, None, None)
    assert FTPConfig(encoding="latin-1", source_address=("192.0.2.1", 0)) == FTPConfig(
        encoding="latin-1", source_address=("192.0.2.1", 0)
    )


@pytest.mark.parametrize("encoding", ["utf-99", "", "a\0b", None, "base64"])
def test_an_unknown_encoding_is_refused(encoding: Any) -> None:
    with pytest.raises(ConfigError, match=r"encoding .* is unknown"):
        FTPConfig(encoding=encoding)


@pytest.mark.parametrize("address", ["192.0.2.1", ("192.0.2.1",), ("192.0.2.1", "0"), 7])
def test_a_source_address_is_a_pair(address: Any) -> None:
    with pytest.raises(ConfigError, match="pair"):
        FTPConfig(source_address=address)


def test_importing_targets_does_not_import_ftplib() -> None:
    code = "import sys, ftppool.target; sys.exit(bool({'ftplib', 'socket'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


plain = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1)
hosts = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,6}){0,2}\Z")
segments = plain.filter(lambda text: "/" not in text)
directories = st.builds(
    lambda slash, parts: slash + "/".join(parts), st.sampled_from(["", "/"]), st.lists(segments)
)


@given(
    scheme=st.sampled_from(["ftp", "ftps", "ftpsi", "sftp"]),
    host=hosts,
    port=st.integers(1, 65535),
    user=plain,
    password=plain,
    directory=directories,
)
@example(scheme="sftp", host="h", port=1, user="a", password="b", directory="/~")
@example(scheme="sftp", host="h", port=1, user="a", password="b", directory="~")
def test_what_is_quoted_into_a_url_comes_out_again(
    scheme: Any, host: str, port: int, user: str, password: str, directory: str
) -> None:
    target = Target(scheme, host, port, user, password, directory)
    assert Target.parse(target.url, password=password) == target
    before, _, after = target.url.partition("@")
    assert Target.parse(f"{before}:{quote(password, safe='')}@{after}") == target


@given(st.text() | st.text("ftps:/@[]#?%0aA1;~", max_size=30).map("ftp://".__add__))
def test_any_text_is_a_target_or_a_config_error(url: str) -> None:
    outcome = attempt(url)
    if isinstance(outcome, Target):
        assert Target.parse(outcome.url, password=outcome.password) == outcome
    else:
        assert "\n" not in str(outcome)


@given(
    # Marked, so that it cannot be part of a message by chance.
    left=st.text("ab@:/#?%[]~ \r", max_size=4),
    right=st.text("ab@:/#?%[]~ \n", max_size=4),
    url=st.sampled_from(
        ["ftp://bob:{}@h/d", "bob:{}@h/d", "ftp://bob:{}", "sftp://b:{}@h", "xx://bob:{}@h/d"]
    ),
)
def test_no_message_repeats_a_password_however_it_is_written(
    left: str, right: str, url: str
) -> None:
    password = f"{left}{SECRET}{right}"
    # With an "@" before it and none behind, it is a host name to any reader of URLs.
    assume("@" not in left or "@" in right + url.partition("{}")[2])
    outcome = attempt(url.format(password))
    if isinstance(outcome, ConfigError):
        assert outcome.__context__ is None
    assert SECRET not in str(outcome)


def test_no_traceback_message_of_a_failing_secret_holds_the_password() -> None:
    target = Target.parse("ftp://bob@h", password=lambda: f"{SECRET}\ud800")
    with pytest.raises(ConfigError) as caught:
        target.secret()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
