"""What runs the examples notices those that are wrong."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import require
from tests.docs.blocks import PageError, blocks
from tests.docs.stage import Stage

GOOD = """\
# A page

<!-- setup
Path("in.txt").write_text("one\\ntwo\\n")
-->

```python
lines = Path("in.txt").read_text().split()
print(len(lines), "lines", 0.25)
```

<!-- numbers vary -->
```python
print("took 7 s")
```

```text
took 1.5 s
```

```{code-block} sh
:caption: say.sh

echo "$1 and more"
```

```console
$ sh say.sh this; exit_code=5
this ...
$ (exit 5)
$ echo $?
5
```

```cron
WORD=hello
15 2 * * *  test "$WORD" = hello
```
"""


def play(text: str, folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(text)
    (folder / "stage").mkdir()
    with ExitStack() as stack:
        stage = Stage(folder / "stage", stack, page)
        for block in blocks(page):
            stage.play(block)
        stage.end()


def test_a_page_that_is_right_runs(tmp_path: Path) -> None:
    play(GOOD, tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("print(len(lines)", "print(len(nothing)"),
        ("took 1.5 s", "takes 1.5 s"),
        ("this ...", "that ..."),
        ("\n5\n", "\n6\n"),
        ("= hello\n```", "= goodbye\n```"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(right: str, wrong: str, tmp_path: Path) -> None:
    assert right in GOOD
    with pytest.raises(AssertionError, match=r"page\.md:\d+: "):
        play(GOOD.replace(right, wrong), tmp_path)


def test_a_pool_that_is_not_closed_is_told(tmp_path: Path) -> None:
    require("proftpd")
    leak = (
        "```python\nfrom ftppool import FTPPool\n"
        'lease = FTPPool("ftp://me:secret@ftp.example.com").acquire()\n```\n'
    )
    with pytest.raises(AssertionError, match="LeakWarning"):
        play(leak, tmp_path)


def test_a_block_that_nobody_runs_needs_a_reason(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```toml\nx = 1\n```\n")
    with pytest.raises(PageError, match=r"page\.md:2: a block of 'toml'"):
        blocks(page)
    page.write_text("<!-- not run -->\n```toml\nx = 1\n```\n")
    with pytest.raises(PageError, match="without a reason"):
        blocks(page)
    page.write_text("<!-- not run: because -->\n```toml\nx = 1\n```\n")
    assert blocks(page) == []
