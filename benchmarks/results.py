"""The results file: parts that were measured at different times, merged."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).with_name("results")
_FILE = "results.json"
Records = dict[str, dict[str, Any]]


def machine() -> dict[str, Any]:
    """Describe the machine without naming it."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    release = platform.freedesktop_os_release()
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "system": f"{release['ID']} {release.get('VERSION_ID', '')}".strip(),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """Return what of ftppool is measured; None where git cannot tell."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        said = subprocess.run(asked, cwd=HERE.parent, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def load(folder: Path) -> Records:
    """Return the records of a folder by the names of their parts."""
    path = folder / _FILE
    if not path.exists():
        return {}
    records: Records = json.loads(path.read_text())
    return records


def merge(folder: Path, name: str, record: dict[str, Any]) -> None:
    """Put one part's record into the results file, in place of an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    today = dt.datetime.now(dt.UTC).date().isoformat()
    about = {"date": today, "commit": commit(), "machine": machine()}
    records = load(folder) | {name: about | record}
    text = json.dumps(_rounded(records), indent=1, sort_keys=True) + "\n"
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, folder / _FILE)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return value
