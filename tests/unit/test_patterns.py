"""Globs: what each matches and what it leaves alone."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given, strategies as st

from ftppool import ConfigError
from ftppool.patterns import Globs, patterns_of


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("*.csv", ["a.csv", "deep/er/a.csv", "x.csv/inside", ".csv"], ["a.csvx", "csv", "a.CSV"]),
        ("data", ["data", "data/a", "x/data", "x/data/y/z"], ["data2", "x/mydata"]),
        ("/data", ["data", "data/a"], ["x/data"]),
        ("a/*.txt", ["a/x.txt", "a/x.txt/y"], ["a/b/x.txt", "b/a/x.txt"]),
        ("a/**/x", ["a/x", "a/b/x", "a/b/c/x"], ["x", "b/a/x", "a/bx"]),
        ("**/x", ["x", "a/x", "a/b/x/y"], ["ax"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a"]),
        ("tmp/", ["tmp/a", "x/tmp/a/b"], ["tmp", "x/tmp"]),
        ("?", ["a", "x/b/c"], ["ab", "ab/cd"]),
        ("[ab].c", ["a.c", "b.c"], ["c.c", "[ab].c", "/.c"]),
        ("[!ab].c", ["c.c"], ["a.c", "b.c"]),
        ("[]x]", ["]", "x"], ["y"]),
        ("[a-c]", ["b"], ["d", "-"]),
        ("[", ["["], ["a"]),
        ("[[]x", ["[x"], ["x", "]x"]),
        ("[[:alpha:]]", ["a]", ":]", "[]"], ["b]", "a"]),
        ("[!a-c-]", ["d"], ["a", "b", "-"]),
        ("[--/]", ["[--/]", "[--/]/x"], ["-", "."]),
        ("[--a]", ["-", "A"], ["b", ","]),
        ("[a&&b||c~~d]", ["a", "&", "|", "~"], ["e"]),
        ("[\\d]", ["\\", "d"], ["1"]),
        ("a[^b]", ["a^", "ab"], ["ac"]),
        ("a.b+(c)|d", ["a.b+(c)|d"], ["axb+(c)|d", "d"]),
        ("line\nfeed*", ["line\nfeed\nx"], ["line"]),
    ],
)
def test_a_pattern_matches_these_files_and_not_those(
    pattern: str, matches: list[str], others: list[str]
) -> None:
    globs = Globs((pattern,))
    assert [path for path in [*matches, *others] if globs.match(path)] == matches


def test_a_pattern_with_a_slash_at_its_end_matches_directories_alone() -> None:
    globs = Globs(("tmp/",))
    assert globs.match_directory("x/tmp")
    assert not globs.match("x/tmp")
    assert Globs(("tmp",)).match_directory("tmp")


@pytest.mark.parametrize("bad", ["[z-a]*", "x/[a--]", "[!b-a]"])
def test_a_range_of_no_characters_is_refused_with_the_pattern(bad: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"exclude holds {bad!r}: no character is in")):
        patterns_of("exclude", ["*.csv", bad])


@given(st.text("[]!-^\\&|~:az*?/ \n", max_size=6), st.text("-&|~[", min_size=2, max_size=4))
def test_whatever_is_taken_as_a_pattern_can_be_used_without_a_warning(
    anything: str, inside: str
) -> None:
    try:
        patterns = patterns_of("include", [f"{anything}x", f"[{anything}]", f"[a{inside}]"])
    except ConfigError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Globs(patterns).match("a")


def test_several_patterns_match_what_any_of_them_does() -> None:
    globs = Globs(("*.a", "b/"))
    assert globs
    assert [globs.match(path) for path in ("x.a", "b/x", "c")] == [True, True, False]


def test_no_pattern_is_false_and_matches_nothing() -> None:
    assert not Globs(())
    assert not Globs(()).match("a")


def test_one_string_is_one_pattern() -> None:
    assert patterns_of("last", "done.ok") == ("done.ok",)
    assert patterns_of("last", ["a", "b"]) == ("a", "b")
    assert patterns_of("last", None) == ()


@pytest.mark.parametrize("bad", [3, [""], ["/"], [b"x"], [None]])
def test_what_is_no_pattern_is_named(bad: object) -> None:
    with pytest.raises(ConfigError, match=r"include.*write a pattern"):
        patterns_of("include", bad)  # type: ignore[arg-type]  # wrong on purpose
