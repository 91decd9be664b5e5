"""The blocks of a page that are to be executed, in order.

What a block is follows from how it is written:

* ``python``: a piece of the page's program; all pieces of a page share their variables. A ``text``
  block right behind it is what it prints.
* ``console``: lines with ``$`` are commands of one shell, the others what they print. What installs
  (``pip``) and what is for a checkout (``make``) is left alone.
* ``cron``: run as cron would, each line once.
* a ``{code-block}`` with a ``:caption:``: a file of that name.
* ``<!-- setup CODE -->`` and ``<!-- check CODE -->``: Python that readers need not see.
* ``<!-- background: PORT -->`` before a ``console`` block: its command goes on while the page is
  read, and listens on that port once it is there.
* ``<!-- not run: REASON -->`` before any other block.

In what is printed, ``...`` stands for anything; with ``<!-- numbers vary -->`` before the block any
number is as good as another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
]

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<info>.*)$")
_ORDER = re.compile(
    r"<!--\s*(?P<word>setup|check|background|not run|numbers vary)(?P<rest>.*?)-->", re.DOTALL
)
_OPTION = re.compile(r":(?P<name>[\w-]+):(?P<value>.*)\n")
_ELSEWHERE = re.compile(r"(\$ (pip install|make) .*\n)+")
# Directives of Sphinx that hold nothing to execute.
_DIRECTIVE = re.compile(r"\{(?!code-block)[\w-]+\}")


class PageError(AssertionError):
    """A page is not written as this module wants it."""


@dataclass(frozen=True, slots=True)
class Block:
    """Something to execute.

    Attributes:
        kind: ``python``, ``console``, ``cron``, ``file``, ``setup`` or ``check``.
        text: What is between the fences.
        line: Line of the page at which the text begins.
        path: For a ``file``: its name.
        output: For ``python``: what it prints; None if the page does not say.
        port: For a ``console`` block in the background: where it listens.
        numbers_vary: Any number is as good as another.
    """

    kind: str
    text: str
    line: int
    path: str = ""
    output: str | None = None
    port: int | None = None
    numbers_vary: bool = False


class _Part(NamedTuple):
    info: str
    text: str
    line: int
    adjoins: bool
    """Nothing but blank lines between the fence before and this one."""


def blocks(page: Path) -> list[Block]:
    """Read a page.

    Raises:
        PageError: There is a block that nobody can execute, and no reason beside it.
    """
    found: list[Block] = []
    orders: dict[str, str] = {}
    for part in _parts(page.read_text(encoding="utf-8")):
        order = _ORDER.match(part.text) if part.info == "<!--" else None
        if order is not None and order["word"] in ("setup", "check"):
            found.append(Block(order["word"], order["rest"].lstrip(" "), part.line))
        elif order is not None:
            orders[order["word"]] = order["rest"].strip(" :\n")
        else:
            try:
                _add(found, part, orders)
            except PageError as error:
                raise PageError(f"{os.path.relpath(page, ROOT)}:{part.line}: {error}") from None
            orders = {}
    return found


def _add(found: list[Block], part: _Part, orders: dict[str, str]) -> None:
    kind = part.info.removeprefix("{code-block}").strip()
    options, text = _options(part.text) if kind != part.info else ({}, part.text)
    line = part.line + part.text.count("\n") - text.count("\n")
    if "not run" in orders:
        if not orders["not run"]:
            raise PageError("'not run' without a reason")
    elif "caption" in options:
        found.append(Block("file", text, line, path=options["caption"].strip("`")))
    elif kind == "console" and _ELSEWHERE.fullmatch(text):
        pass
    elif kind in ("python", "console", "cron"):
        port = int(orders["background"]) if "background" in orders else None
        varies = "numbers vary" in orders
        found.append(Block(kind, text, line, port=port, numbers_vary=varies))
    elif kind == "text":
        if part.adjoins and found and found[-1].kind == "python":
            found[-1] = replace(found[-1], output=text)
    elif not _DIRECTIVE.match(kind):
        raise PageError(f"a block of {kind!r} is not run and does not say why")


def _options(text: str) -> tuple[dict[str, str], str]:
    options = {}
    while option := _OPTION.match(text):
        options[option["name"]] = option["value"].strip()
        text = text[option.end() :]
    return options, text.lstrip("\n")


def _parts(text: str) -> Iterator[_Part]:
    """Give the fenced blocks, and the comments that are orders."""
    lines = text.splitlines(keepends=True)
    number = 0
    adjoins = False
    while number < len(lines):
        line = lines[number]
        number += 1
        start = number + 1
        if line.startswith("<!--"):
            while "-->" not in line:
                line += lines[number]
                number += 1
            if _ORDER.match(line):
                yield _Part("<!--", line, start - 1, False)
        elif fence := _FENCE.match(line.rstrip("\n")):
            body = ""
            while lines[number].strip() != fence["ticks"]:
                body += lines[number].removeprefix(fence["indent"])
                number += 1
            number += 1
            yield _Part(fence["info"].strip(), body, start, adjoins)
            adjoins = True
            continue
        adjoins = adjoins and not line.strip()
