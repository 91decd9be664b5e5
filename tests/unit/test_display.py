"""The live block on a real pseudo-terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ftppool.display import Display, block, sentence, summary
from ftppool.progress import Meter, Progress, UnderWay
from ftppool.screen import Screen, cut
from ftppool.stats import PoolStats
from ftppool.words import printable
from tests.support.terminal import Terminal

REPLY = "421 There are too many connections from your internet address."
HALF = Progress(
    pool="host", files_done=200, files_total=400, files_failed=0, files_skipped=0,
    bytes_done=2_300_000, bytes_total=4_600_000, complete=True, rate=1_000_000.0,
    files_rate=90.0, eta=65.0, elapsed=3.0,
    under_way=(UnderWay("in/a.bin", 500_000, 2_000_000), UnderWay("in/b.txt", 10, 20)),
    sessions=2, max_per_ip=2, learned=None, cap=2, opened=2, refused=0, trouble="",
    waiting=False, next_try=0.0,
)  # fmt: skip
DONE = replace(
    HALF, files_done=400, bytes_done=4_600_000, eta=None, under_way=(), finished=True, sessions=0
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal() as terminal:
        yield terminal


def test_the_block_has_three_lines_and_ends_as_one(terminal: Terminal) -> None:
    display = Display(Screen(terminal.stream))
    display(HALF)
    assert terminal.lines() == [
        "██████████░░░░░░░░░░ 200 of 400 files  2.3 MB of 4.6 MB  1.0 MB/s  1:05 left",
        "2 of 2 sessions",
        "in/a.bin 25 %  in/b.txt",
    ]
    display(replace(HALF, under_way=()))
    assert len(terminal.lines()) == 2
    display(DONE)
    assert terminal.lines() == ["✓ 400 files, 4.6 MB in 3.0 s, 2 sessions"]


def test_it_is_redrawn_in_place_in_one_write_and_without_clearing_first(
    terminal: Terminal,
) -> None:
    display = Display(Screen(terminal.stream))
    display(HALF)
    terminal.lines()
    before = len(terminal.raw)
    display(HALF)
    assert len(terminal.lines()) == 3
    again = terminal.raw[before:]
    assert again.startswith(b"\r\x1b[2A")  # up, and over the old words with the new ones
    assert b"\x1b[2J" not in again
    assert again.count(b"\x1b[J") == 1
    assert again.endswith(b"\x1b[J")


@pytest.mark.parametrize("columns", [12, 20, 30, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    wide = replace(
        HALF, files_failed=3, files_skipped=12, refused=7, trouble=REPLY, learned=1, cap=1,
        under_way=tuple(UnderWay(f"写真/{'長い名前' * 20}{n}.jpg", 0, 9_000_000) for n in range(9)),
    )  # fmt: skip
    for progress in (HALF, wide, replace(wide, waiting=True, sessions=0, next_try=17.0)):
        with Terminal(columns) as terminal:
            display = Display(Screen(terminal.stream))
            for _ in range(3):
                display(progress)
                lines = terminal.lines()
                assert 2 <= len(lines) <= 3  # a line that wraps would be one more
            display(DONE)
            assert not any("files " in line for line in terminal.lines()[1:])


def test_a_terminal_that_is_resized_gets_lines_that_fit(terminal: Terminal) -> None:
    display = Display(Screen(terminal.stream))
    display(HALF)
    terminal.resize(40)
    display(HALF)
    lines = terminal.lines()
    assert len(lines) == 3
    assert all(len(line) < 40 for line in lines)
    terminal.resize(80)
    display(HALF)
    assert terminal.lines()[0].endswith("1:05 left")
    display(DONE)
    assert terminal.lines() == ["✓ 400 files, 4.6 MB in 3.0 s, 2 sessions"]


def test_a_terminal_of_four_rows_gets_one_line() -> None:
    with Terminal(80, 4) as terminal:
        display = Display(Screen(terminal.stream))
        for _ in range(6):
            display(HALF)
        (line,) = terminal.lines()
        assert "200 of 400 files" in line


def test_a_server_that_refuses_is_quoted(terminal: Terminal) -> None:
    display = Display(Screen(terminal.stream))
    display(replace(HALF, sessions=0, trouble=REPLY, waiting=True, next_try=4.2))
    assert terminal.lines()[1] == cut(f"waiting, next try in 4 s: {REPLY}", 79)
    display(replace(HALF, sessions=2, cap=2, learned=2, max_per_ip=5, refused=1))
    assert terminal.lines()[1] == "2 of 2 sessions (the server allows 2, not 5)  1 refused"


def test_unknown_totals_are_not_made_up(terminal: Terminal) -> None:
    display = Display(Screen(terminal.stream))
    display(replace(HALF, complete=False, eta=None))
    assert terminal.lines()[0].endswith("200 of 400+ files  2.3 MB  1.0 MB/s")


def test_control_characters_of_servers_and_names_do_nothing(terminal: Terminal) -> None:
    display = Display(Screen(terminal.stream))
    evil = "\x1b[2J\x1b]0;owned\x07\nnext\r\udcff"
    display(replace(HALF, trouble=evil, under_way=(UnderWay(evil, 1, 2),), refused=1))
    assert len(terminal.lines()) == 3
    assert b"\x1b[2J" not in terminal.raw
    assert b"\x1b]" not in terminal.raw


def test_what_others_write_appears_above(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    log = logging.getLogger("tests.display")
    handler = logging.StreamHandler()
    log.addHandler(handler)
    try:
        display = Display()
        display(HALF)
        log.warning("from a log handler")
        print("from print,", file=sys.stderr, end=" ")
        print("in two pieces", file=sys.stderr)
        lines = terminal.lines()
        assert lines[:2] == ["from a log handler", "from print, in two pieces"]
        assert lines[2].endswith("1:05 left")
        assert len(lines) == 5
        kept = sys.stderr
        print("half a line", file=sys.stderr, end="")
        display(DONE)
        assert sys.stderr is terminal.stream
        assert handler.stream is terminal.stream
        assert terminal.lines()[2] == "half a line✓ 400 files, 4.6 MB in 3.0 s, 2 sessions"
        print("\nlater", file=kept)
        log.warning("and later still")
        assert terminal.lines()[-2:] == ["later", "and later still"]
    finally:
        log.removeHandler(handler)


def test_a_screen_of_a_file_gets_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    display = Display(Screen(None), say=lambda words, _: said.append(words), every=0.0)
    before = sys.stderr
    display(HALF)
    display(DONE)
    assert sys.stderr is before
    assert said == ["200 of 400 files, 2.3 MB of 4.6 MB, 1.0 MB/s, 1:05 left, 2 of 2 sessions"]


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1")])
def test_dumb_terminals_and_no_color_get_no_escape_codes(
    name: str, value: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    display = Display(Screen(terminal.stream))
    for _ in range(3):
        display(HALF)
    display(replace(HALF, waiting=True, sessions=0, trouble=REPLY))
    shown = terminal.lines()
    display(DONE)
    assert b"\x1b" not in terminal.raw
    if name == "TERM":
        assert terminal.raw == b""
    else:
        assert shown == [f"waiting: {REPLY}"]
        assert terminal.lines() == ["✓ 400 files, 4.6 MB in 3.0 s, 2 sessions"]


def test_an_ascii_terminal_gets_ascii() -> None:
    with Terminal(encoding="ascii") as terminal:
        display = Display(Screen(terminal.stream))
        display(HALF)
        display(DONE)
        assert terminal.raw.isascii()
        assert terminal.lines() == ["+ 400 files, 4.6 MB in 3.0 s, 2 sessions"]


def test_a_terminal_that_goes_away_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    with Terminal() as terminal:
        monkeypatch.setattr(sys, "stderr", terminal.stream)
        display = Display()
        display(HALF)
        terminal.stream.close()
        display(HALF)
        display(DONE)


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (DONE, "✓ 400 files, 4.6 MB in 3.0 s, 2 sessions"),
        (
            replace(DONE, files_failed=2, refused=3),
            "✗ 398 of 400 files, 4.6 MB in 3.0 s, 2 failed, 2 sessions, 3 refused",
        ),
        (replace(DONE, files_skipped=399), "✓ 1 file, 4.6 MB in 3.0 s, 399 skipped, 2 sessions"),
        (replace(DONE, files_done=7, opened=1), "✗ 7 of 400 files, 4.6 MB in 3.0 s, 1 session"),
    ],
)
def test_the_summary_says_what_became_of_it(progress: Progress, words: str) -> None:
    assert summary(Screen(None), progress) == words


def test_a_line_for_the_log_names_the_trouble() -> None:
    waiting = replace(HALF, sessions=0, waiting=True, trouble=REPLY, files_failed=1)
    assert sentence(waiting).endswith(f"0 of 2 sessions, 1 failed, waiting: {REPLY}")
    lowered = replace(HALF, cap=1, sessions=1, learned=1, trouble=REPLY, eta=3700.0)
    assert "1:01:40 left" in sentence(lowered)
    assert sentence(lowered).endswith(f"1 of 1 session, {REPLY}")


def test_words_are_cut_by_the_columns_they_take() -> None:
    assert cut("写真写真", 8) == "写真写真"
    assert cut("写真写真", 7) == "写真..."
    assert cut("\x1b[31mred\x1b[0m", 3) == "\x1b[31mred\x1b[0m"
    assert printable("a\tb\nc\x1b\udc80") == "a b c \\udc80"


def test_the_block_of_many_files_names_the_biggest(terminal: Terminal) -> None:
    files = tuple(UnderWay(f"{n:030}.bin", 0, n) for n in range(16))
    lines = block(Screen(terminal.stream), replace(HALF, under_way=files))
    assert f"{15:030}.bin" in lines[2]
    assert f"{0:030}.bin" not in lines[2]


def test_a_display_that_was_kept_from_its_end_is_told_again() -> None:
    stats = PoolStats(
        cap=2, learned=None, effective=2, open=0, idle=0, leased=0, opening=0, closing=0,
        settling=0, waiting=0,
    )  # fmt: skip
    told: list[Progress] = []

    def show(progress: Progress) -> None:
        told.append(progress)
        if len(told) == 1:
            raise KeyboardInterrupt

    meter = Meter(show, "host", lambda: stats, lambda: ("", 0.0))
    with pytest.raises(KeyboardInterrupt):
        meter.end([])
    for _ in range(2):
        meter.end()  # as Batch.run() does whatever comes
    assert [progress.finished for progress in told] == [True, True]


def test_of_two_batches_at_a_time_the_second_says_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    said: list[str] = []

    def second() -> Display:
        return Display(say=lambda words, _: said.append(words), every=0.0)

    early = second()
    display = Display()
    display(HALF)
    late = second()  # its stream is the one that leads past the block
    before = terminal.lines()
    for other in (early, late):
        other(HALF)
        other(replace(HALF, files_done=300))
        assert terminal.lines() == before
    assert len(said) == 4
    early(DONE)
    assert terminal.lines() == before
    display(HALF)
    display(DONE)
    assert terminal.lines() == ["✓ 400 files, 4.6 MB in 3.0 s, 2 sessions"]
    late(HALF)  # the terminal is free
    assert len(terminal.lines()) == 4
    late(DONE)
    assert terminal.lines() == ["✓ 400 files, 4.6 MB in 3.0 s, 2 sessions"] * 2
    assert sys.stderr is terminal.stream


def test_a_display_that_nobody_has_any_more_keeps_no_terminal(terminal: Terminal) -> None:
    lost = Display(Screen(terminal.stream))
    lost(HALF)
    del lost
    display = Display(Screen(terminal.stream), say=lambda *_: None)
    display(HALF)
    assert "1:05 left" in terminal.lines()[-3]
