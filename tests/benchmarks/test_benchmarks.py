"""The suite of benchmarks runs and writes what it should; what it measures is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import links, results, work
from tests.support import install

ROOT = Path(__file__).parents[2]


def link_works() -> bool:
    """Return whether this machine lets us have a link with a round-trip time."""
    try:
        with links.Link():
            return True
    except links.LinkError:
        return False


@pytest.mark.timeout(180)
def test_the_suite_measures_and_writes_json_a_table_and_plots(tmp_path: Path) -> None:
    if install.find("vsftpd") is None:
        pytest.skip("vsftpd is not there: python -m tests.support.install")
    parts = ["loopback-vsftpd", "large-vsftpd", "rtt-proftpd", "count-vsftpd", "startup"]
    command = [sys.executable, "-m", "benchmarks", *parts, "--quick", "--results", str(tmp_path)]
    ran = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=150
    )
    assert ran.returncode == 0, ran.stderr

    records = json.loads((tmp_path / "results.json").read_text())
    without_link = not link_works()
    assert records.keys() == set(parts) - ({"rtt-proftpd"} if without_link else set())
    for name in records.keys() - {"startup"}:
        for cell in records[name]["cells"]:
            for label, figure in cell["figures"].items():
                assert "failed" not in figure, f"{label} in {name}: {ran.stderr}"
                assert figure["wall"][0] > 0
                assert figure["peak"][0] > 0
            assert {"ftppool", "ftplib"} <= {one["tool"] for one in cell["figures"].values()}

    table = (tmp_path / "README.md").read_text()
    assert "they show that the suite runs, and mean nothing" in table
    assert "| **ftppool** |" in table
    plots = sorted(path.name for path in tmp_path.glob("*.svg"))
    wanted = ["count.svg", "large.svg", "loopback.svg", "scaling.svg"]
    assert plots == [name for name in wanted if not (without_link and name == "scaling.svg")]
    for name in plots:
        assert f"({name})" in table
        root = ET.parse(tmp_path / name).getroot()
        said = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
        assert any(text and text.startswith("ftppool") for text in said)


def test_a_client_that_left_a_file_out_is_found() -> None:
    wanted = {"a": 1, "b": 2, "c": 3}
    assert work.missing(wanted, dict(wanted)) is None
    found = {"a": 1, "b": 1, ".c.part": 3}
    said = work.missing(wanted, found)
    assert said == ("1 of 3 files missing, 1 of 3 files of another size, 1 other files left there")


def test_a_result_takes_the_place_of_the_older_one_of_its_part(tmp_path: Path) -> None:
    results.merge(tmp_path, "one", {"title": "old"})
    results.merge(tmp_path, "two", {"title": "other"})
    results.merge(tmp_path, "one", {"title": "new"})
    records = results.load(tmp_path)
    assert {name: record["title"] for name, record in records.items()} == {
        "one": "new",
        "two": "other",
    }
