"""The strict chain: what goes over the wire, and what becomes of files when things go wrong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from ftppool import upload_batch
from ftppool.report import Status
from tests.conftest import Start
from tests.support.relay import Relay
from tests.support.servers import KINDS, Server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of server, in clear text: the relay must understand what is said."""
    return str(request.param)


FILES = 20


def through(relay: Relay, server: Server) -> str:
    """The server's URL, by way of the relay."""
    return server.url.replace(str(server.port), str(relay.port))


def content(number: int) -> bytes:
    return f"{number}-".encode() * (number + 1)


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def verbs(text: str) -> list[str]:
    return [line.split(" ")[0] for line in text.splitlines()]


def commands_inside_transfers(talk: Iterable[tuple[str, str]]) -> list[str]:
    """What the client said between a STOR and its final reply."""
    found: list[str] = []
    storing, queue = False, 0
    for side, text in talk:
        for line in text.splitlines():
            if side == "C":
                if storing:
                    found.append(line)
                queue += 1
                storing = line.startswith("STOR")
            elif line[3:4] == " " and line[:1] != "1":
                queue -= 1
                if storing and queue <= 0:
                    storing = False
    return found


@pytest.mark.parametrize("kind", KINDS)  # over TLS the relay understands nothing
def test_a_small_file_takes_two_flights_of_commands_and_one_of_data(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    with Relay(server.port, workdir=tmp_path) as relay:
        report = upload_batch(
            [(content(number), f"f{number}") for number in range(FILES)],
            through(relay, server),
            max_per_ip=1,
        )
        (talk,) = relay.look().talks
    assert len(report.uploaded) == FILES
    assert all(outcome.verified and outcome.attempts == 1 for outcome in report.outcomes)
    assert tree_of(server.home) == {f"f{number}": content(number) for number in range(FILES)}
    flights = [verbs(text) for side, text in talk if side == "C"]
    stores = [number for number, flight in enumerate(flights) if "STOR" in flight]
    assert len(stores) == FILES
    assert flights[stores[1] : stores[-1] + 1] == [
        ["RNFR", "RNTO", "STOR"],
        ["SIZE", "EPSV"],
    ] * (FILES - 2) + [["RNFR", "RNTO", "STOR"]]
    # The last file has nobody to share its way with.
    assert flights[stores[-1] + 1 :] == [["SIZE"], ["RNFR", "RNTO"], ["QUIT"]]
    assert commands_inside_transfers(talk) == []


@pytest.mark.parametrize("kind", KINDS)  # over TLS the relay understands nothing
def test_a_missing_directory_is_made_in_the_same_flight_as_its_first_file(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    with Relay(server.port, workdir=tmp_path) as relay:
        report = upload_batch(
            [(content(number), f"a/{number // 3}/f{number}") for number in range(9)],
            through(relay, server),
            max_per_ip=1,
        )
        (talk,) = relay.look().talks
    assert len(report.uploaded) == 9
    flights = [verbs(text) for side, text in talk if side == "C"]
    assert sum(flight.count("MKD") for flight in flights) == 4
    assert ["SIZE", "MKD", "EPSV"] in flights
    assert sum(flight.count("STOR") for flight in flights) == 9
    assert commands_inside_transfers(talk) == []


@pytest.mark.parametrize("kind", KINDS)  # over TLS the relay understands nothing
def test_a_file_that_exists_is_found_in_the_same_flight(
    start: Start, kind: str, tmp_path: Path
) -> None:
    server = start(kind)
    files = [(content(number), f"f{number}") for number in range(8)]
    upload_batch(files[:4], server.url)
    with Relay(server.port, workdir=tmp_path) as relay:
        report = upload_batch(files, through(relay, server), max_per_ip=1, on_conflict="skip")
        (talk,) = relay.look().talks
    assert [outcome.status for outcome in report.outcomes] == [Status.SKIPPED] * 4 + [
        Status.UPLOADED
    ] * 4
    assert [outcome.attempts for outcome in report.outcomes] == [1] * 8
    flights = [verbs(text) for side, text in talk if side == "C"]
    assert ["SIZE", "SIZE", "EPSV"] in flights
    assert ["MLSD"] not in flights
