"""Uploads on bad days of a server or a source: never a wrong file, never a lost one."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from ftppool import FTPConfig, FTPPool, RemoteRejected, RetryPolicy, upload_batch
from ftppool.events import Event, SlotWaitFailed
from ftppool.inputs import Input
from ftppool.report import BatchReport, Status
from tests.conftest import Start
from tests.support.tricky import HANG_UP, Tricky, Visit

QUICK = RetryPolicy(attempts=4, first_wait=0.02, max_wait=0.05, busy_total=2)
SOON = 30.0
"""Seconds: time enough for a few files on a busy machine; far less than HANG."""
HANG = 100.0


def send(server: Tricky, files: list[Any], **options: Any) -> BatchReport:
    return upload_batch(
        files, server.url, max_per_ip=1, retry=QUICK, acquire_timeout=5, check=False, **options
    )


def once(verb: str, reply: str) -> Callable[[Visit, str, str], str | None]:
    """Answer one command of this kind with something else, one time."""
    left = [reply]
    return lambda _visit, said, _argument: left.pop() if said == verb and left else None


# -- resume ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["openssh", "vsftpd", "proftpd", "pyftpdlib"])
def test_nothing_is_put_behind_a_file_that_was_there_before(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    (server.home / "f").write_bytes(b"OLD" * 1000)
    (server.home / "f").chmod(0o644)
    source = tmp_path / "f"
    source.write_bytes(os.urandom(50_000))
    report = upload_batch([source], server.url, resume=True, atomic=False, preserve_mtime=True)
    assert report.ok
    assert (server.home / "f").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "server",
    [
        # IIS loses commands that come in one packet, so it gets them one at a time.
        Tricky(greeting="220 Microsoft FTP Service", f=b"OLD" * 1000),
        # No free port for data, for a moment: the bytes are sent, and nobody has read them.
        Tricky(once("STOR", "425 no data connection"), f=b"OLD" * 1000),
    ],
    ids=["one-at-a-time", "refused-at-first"],
)
def test_a_resumed_file_without_a_part_is_ours_before_anything_is_put_behind_it(
    server: Tricky, tmp_path: Path
) -> None:
    source = tmp_path / "f"
    source.write_bytes(os.urandom(50_000))
    with server:
        report = send(server, [source], resume=True, atomic=False)
    assert report.ok
    assert server.files == {"/f": source.read_bytes()}


def test_what_was_found_to_be_wrong_is_not_gone_on_with(tmp_path: Path) -> None:
    source = tmp_path / "f"
    source.write_bytes(os.urandom(100_000))
    turns: list[int] = []

    def lose(sent: bytes) -> bytes:
        turns.append(len(sent))
        return sent[:40_000] + sent[50_000:] if len(turns) == 1 else sent

    # A network file system behind the server that loses a block.
    with Tricky(keep=lose) as server:
        report = send(server, [source], resume=True)
    assert turns == [100_000, 100_000]
    assert report.outcomes[0].verified
    assert server.files == {"/f": source.read_bytes()}


def test_a_source_that_may_be_another_each_time_is_not_gone_on_with() -> None:
    versions = [b"A" * 300_000, b"B" * 300_000]

    def rendered() -> io.BytesIO:
        return io.BytesIO(versions.pop(0))

    # A connection that breaks behind the last byte, before the server says 226.
    with Tricky(once("226", HANG_UP), keep=lambda sent: sent[:100_000] if versions else sent) as it:
        report = send(it, [(rendered, "f")], resume=True)
    assert report.ok
    assert it.files == {"/f": b"B" * 300_000}


@pytest.mark.parametrize("verify", ["size", "none"])
def test_nothing_is_put_behind_what_a_refused_transfer_has_left(
    verify: Literal["size", "none"], tmp_path: Path
) -> None:
    source = tmp_path / "f"
    source.write_bytes(os.urandom(1_000_000))
    refused: list[str] = []

    # A server that finds out late that it takes no file from its middle, as one with a quota may.
    def trick(visit: Visit, verb: str, argument: str) -> str | None:
        if verb == "226" and not refused and len(visit.server.files[argument]) == 300_000:
            return HANG_UP
        if verb == "REST":
            refused.append(argument)
        if verb == "226" and refused and len(refused) == 1:
            refused.append("told")
            return "550 Not from the middle."
        return None

    with Tricky(trick, keep=lambda sent: sent if refused else sent[:300_000]) as server:
        report = send(server, [source], resume=True, verify=verify)
    assert refused == ["300000", "told"]
    assert report.ok
    assert not report.outcomes[0].notes
    assert not any(command.startswith("APPE") for command in server.commands)
    assert server.files == {"/f": source.read_bytes()}


def test_a_digest_is_that_of_the_whole_file_though_its_rest_was_appended(tmp_path: Path) -> None:
    source = tmp_path / "f"
    source.write_bytes(os.urandom(500_000))
    cut: list[str] = []

    # A server that has REST for downloads only, and a connection that breaks once.
    def trick(visit: Visit, verb: str, argument: str) -> str | None:
        files = visit.server.files
        if verb == "FEAT":
            return "211-features\r\n HASH SHA-256*\r\n211 end"
        if verb == "HASH":
            content = files[f"/{argument}"]
            digest = hashlib.sha256(content).hexdigest()
            return f"213 SHA-256 0-{len(content)} {digest} {argument}"
        if verb == "226" and not cut:
            cut.append(argument)
            return HANG_UP
        if verb == "STOR" and visit.restart:
            return "550 Not from the middle."
        if verb == "APPE":
            before = files[f"/{argument}"]
            visit.restart = len(before)
            return visit.do_stor(argument)
        return None

    with Tricky(trick, keep=lambda sent: sent if cut else sent[:300_000]) as server:
        report = send(server, [source], resume=True, verify="hash")
    [outcome] = report.outcomes
    assert outcome.verified
    assert outcome.attempts == 2
    assert outcome.notes == ("went on at byte 300000 of a part that was there",)
    assert server.files == {"/f": source.read_bytes()}


def test_a_file_whose_digest_is_wrong_is_not_called_verified() -> None:
    # A disk that keeps the length and loses the bytes.
    answers = {
        "FEAT": "211-features\r\n HASH SHA-256*\r\n211 end",
        "HASH": f"213 SHA-256 0-4 {'ab' * 32} f",
    }
    with Tricky(lambda _visit, verb, _argument: answers.get(verb)) as server:
        report = send(server, [(b"data", "f")], verify="hash")
    [failed] = report.failed
    assert "digest" in str(failed.error)
    assert failed.verified is None
    assert server.files == {}


# -- sources ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="files of no known size: Linux")
@pytest.mark.parametrize("kind", ["vsftpd", "openssh"])
def test_a_file_whose_size_the_system_does_not_know_is_read_to_its_end(
    start: Start, kind: str
) -> None:
    server = start(kind)
    assert upload_batch(["/proc/version"], server.url).ok
    assert (server.home / "version").read_bytes() == Path("/proc/version").read_bytes()


# -- names -----------------------------------------------------------------------------------------


def test_two_names_of_one_file_never_share_a_part() -> None:
    # As with a link of the server from one directory to the other, or where capitals do not count.
    with Tricky() as server:
        report = send(server, [(b"a", "2024/x"), (b"b", "latest/x"), (b"c", "latest/X")])
    sent = [said.rpartition("/")[2] for said in server.commands if said.startswith("STOR ")]
    assert report.ok
    assert len({part.lower() for part in sent}) == len(sent) == 3


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_name_that_the_encoding_does_not_have_fails_its_own_file_only(position: int) -> None:
    # The part's name is cut before the snowman: only the final name has it.
    files = [(bytes([65 + n]) * 10, f"f{n}") for n in range(2)]
    files.insert(position, (b"snow", "a" * 245 + "\N{SNOWMAN}"))
    with Tricky() as server:
        report = send(server, files, ftp=FTPConfig(encoding="latin-1"))
    [failed] = report.failed
    assert failed.remote.startswith("aaa")
    assert "encoding" in str(failed.error)
    assert failed.left_behind is None
    assert server.files == {"/f0": b"A" * 10, "/f1": b"B" * 10}


# -- a file of the name ----------------------------------------------------------------------------


def no_size(visit: Visit, verb: str, argument: str) -> str | None:
    """As vsftpd with ``cmds_denied=SIZE``, or a small device."""
    return "502 no such command" if verb == "SIZE" else None


def test_a_rename_that_fails_once_is_tried_again_without_size() -> None:
    refusal = once("RNTO", "450 busy")
    with Tricky(lambda *said: no_size(*said) or refusal(*said)) as server:
        report = send(server, [(b"new", "f")])
    assert report.ok
    assert server.files == {"/f": b"new"}


def test_a_rename_whose_reply_is_lost_is_looked_up_without_size() -> None:
    left = [HANG_UP]

    def lose(visit: Visit, verb: str, argument: str) -> str | None:
        if verb == "RNTO" and left:
            visit.do_rnto(argument)
            return left.pop()
        return no_size(visit, verb, argument)

    with Tricky(lose) as server:
        report = send(server, [(b"new", "f")])
    assert [str(outcome.error) for outcome in report.failed] == []
    assert server.files == {"/f": b"new"}


def test_a_file_in_the_way_steps_aside_without_size() -> None:
    def refuse(visit: Visit, verb: str, argument: str) -> str | None:
        if verb == "RNTO" and f"/{argument}" in visit.server.files:
            return "550 a file of this name exists"
        return no_size(visit, verb, argument)

    with Tricky(refuse, f=b"old") as server:
        report = send(server, [(b"new", "f")])
    assert [str(outcome.error) for outcome in report.failed] == []
    assert server.files == {"/f": b"new"}


@pytest.mark.parametrize("conflict", ["skip", "fail"])
@pytest.mark.parametrize("answer", ["450 busy", "550 permission denied"])
def test_a_file_is_not_replaced_because_nobody_could_look(
    conflict: Literal["skip", "fail"], answer: str
) -> None:
    # A directory for writing only: neither sizes nor listings.
    def blind(_visit: Visit, verb: str, _argument: str) -> str | None:
        return {"SIZE": "550 not allowed", "MLSD": answer}.get(verb)

    with Tricky(blind, f=b"precious") as server:
        report = send(server, [(b"new", "f")], on_conflict=conflict, verify="none")
    assert [outcome.status for outcome in report.outcomes] == [Status.FAILED]
    assert server.files == {"/f": b"precious"}


def test_a_new_directory_has_no_file_that_could_be_in_the_way() -> None:
    def blind(visit: Visit, verb: str, argument: str) -> str | None:
        if verb == "MLSD" and visit.do_cwd(argument)[:1] == "5":
            return "550 no such directory"
        return None

    with Tricky(blind) as server:
        report = send(server, [(b"new", "d/f")], on_conflict="fail")
    assert report.ok


def test_an_outcome_says_where_the_old_file_is_if_it_cannot_be_brought_back() -> None:
    down: list[bool] = []

    # It does not rename over a file, and dies when the old one has stepped aside.
    def dies(visit: Visit, verb: str, argument: str) -> str | None:
        if down:
            return HANG_UP
        if verb == "RNTO":
            if f"/{argument}" in visit.server.files:
                return "550 a file of this name exists"
            if argument.endswith(".old"):
                visit.do_rnto(argument)
                down.append(True)
                return HANG_UP
        return None

    with Tricky(dies, f=b"old") as server:
        [outcome] = send(server, [(b"new", "f")]).outcomes
    [aside] = [name[1:] for name in server.files if name.endswith(".old")]
    assert not outcome.ok
    assert any(aside in note for note in outcome.notes), outcome.notes


def test_a_directory_for_writing_only_takes_files_that_may_replace() -> None:
    with Tricky(once("MLSD", "550 permission denied")) as server, FTPPool(server.url) as pool:
        assert pool.upload(b"new", "f").status is Status.UPLOADED
        with pytest.raises(RemoteRejected):
            pool.upload(b"new", "g", on_conflict="fail", verify="none")


# -- a server with room for one --------------------------------------------------------------------


class RoomForOne(Tricky):
    """Refuses all logins but the first, until it is `roomy`; no file is stored before it did."""

    def __init__(self) -> None:
        self.refused, self.roomy = threading.Event(), threading.Event()
        self._logins: list[str] = []
        super().__init__(self._answer)

    def _answer(self, _visit: Visit, verb: str, argument: str) -> str | None:
        if verb == "USER" and not self.roomy.is_set():
            self._logins.append(argument)
            if len(self._logins) > 1:
                self.refused.set()
                return "421 too many users"
        if verb == "226":
            assert self.refused.wait(20)
        return None


def send_by_two(
    server: RoomForOne, files: Any, *, busy_total: float, **options: Any
) -> BatchReport:
    """Without `max_idle`, no session is handed over by who has nothing more to do."""
    policy = RetryPolicy(first_wait=0.02, max_wait=0.05, busy_total=busy_total)
    return upload_batch(
        files, server.url, max_per_ip=2, max_idle=0, retry=policy, check=False, **options
    )


def test_who_waits_for_a_session_does_not_hold_up_the_end_when_all_has_arrived() -> None:
    with RoomForOne() as server:
        report = send_by_two(server, [(b"one", "a"), (b"two", "b")], busy_total=HANG)
    assert report.elapsed < SOON
    assert report.causes == ()
    assert report.ok
    assert server.files == {"/a": b"one", "/b": b"two"}


def test_who_waits_for_a_session_does_not_hold_up_the_end_when_the_input_fails() -> None:
    def broken() -> Iterator[Input]:
        yield b"one", "a"
        yield b"two", "b"
        assert server.refused.wait(20)
        raise KeyError("boom")

    with RoomForOne() as server, pytest.raises(KeyError, match="boom") as caught:
        send_by_two(server, broken(), busy_total=HANG)
    report = caught.value.report  # type: ignore[attr-defined]  # set at run time
    assert report.elapsed < SOON
    assert report.causes == ()
    assert report.outcomes[0].ok


def test_who_waits_in_vain_while_the_input_gives_nothing_does_not_end_the_batch() -> None:
    in_vain = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, SlotWaitFailed):
            in_vain.set()

    def slow() -> Iterator[Input]:
        yield b"one", "a"
        yield b"two", "b"
        assert in_vain.wait(20)
        server.roomy.set()
        yield b"three", "c"

    with RoomForOne() as server:
        report = send_by_two(server, slow(), busy_total=2, on_event=listen)
    assert report.causes == ()
    assert server.files == {"/a": b"one", "/b": b"two", "/c": b"three"}
