"""Diagrams as SVG in the page itself, in the theme's own colours: they read on dark and on light.

``{diagram} name`` puts in ``diagrams/name.svg``. ``{sequence}`` draws what client and server say,
from one line for each message::

    > EPSV, STOR a       from the first column to the second
    < 226 Transfer ok    back
    => bytes of a        on a data connection
    <= bytes of a        back
    -- one round trip    a note over both

Text behind a tab or two spaces and a ``#`` stands beside the arrow, in the margin.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

WIDTH, LEFT, RIGHT, STEP, TOP = 680, 60, 470, 34, 52


class Diagram(SphinxDirective):
    """``{diagram} name``."""

    required_arguments = 1
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012 - docutils' way

    def run(self) -> list[nodes.Node]:
        """Put the picture into the page."""
        path = Path(self.env.srcdir) / "diagrams" / f"{self.arguments[0]}.svg"
        self.env.note_dependency(str(path))
        return [_figure(path.read_text(encoding="utf-8"), self.options["alt"])]


class Sequence(SphinxDirective):
    """``{sequence} client server``."""

    optional_arguments = 2
    has_content = True
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012 - docutils' way

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        left, right = self.arguments or ("client", "server")
        return [_figure(draw(list(self.content), left, right), self.options["alt"])]


def _figure(svg: str, alt: str) -> nodes.raw:
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
    return nodes.raw("", f'<figure class="diagram">{svg}</figure>', format="html")


def draw(lines: list[str], left: str = "client", right: str = "server") -> str:
    """Give the SVG of a sequence."""
    rows = [line for line in map(str.rstrip, lines) if line]
    height = TOP + STEP * len(rows) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
        '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="11"'
        ' markerHeight="11" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        '<path class="head" d="M0 0L10 5L0 10z"/>'
        "</marker></defs>",
    ]
    for x, name in ((LEFT, left), (RIGHT, right)):
        parts.append(f'<line class="life" x1="{x}" y1="34" x2="{x}" y2="{height - 6}"/>')
        parts.append(f'<rect class="box" x="{x - 50}" y="6" width="100" height="28" rx="5"/>')
        parts.append(
            f'<text class="name" x="{x}" y="25" text-anchor="middle">{escape(name)}</text>'
        )
    for number, row in enumerate(rows):
        parts += _row(row, TOP + STEP * number + 20)
    return "\n".join([*parts, "</svg>"])


def _row(row: str, y: int) -> list[str]:
    mark, _, words = row.partition(" ")
    words, _, aside = (part.strip() for part in words.partition("  #"))
    margin = f'<text class="aside" x="{RIGHT + 22}" y="{y + 4}">{escape(aside)}</text>'
    middle = (LEFT + RIGHT) // 2
    text = f'<text x="{middle}" y="{y - 6}" text-anchor="middle">{escape(words)}</text>'
    if mark == "--":
        place = f'x="{middle}" y="{y + 4}" text-anchor="middle"'
        note = f'<text class="note" {place}>{escape(words)}</text>'
        return [
            f'<line class="rule" x1="{LEFT + 8}" y1="{y - 14}" x2="{RIGHT - 8}" y2="{y - 14}"/>',
            note, margin,
        ]  # fmt: skip
    kind = "data" if "=" in mark else "say"
    start, end = (LEFT + 4, RIGHT - 4) if mark.endswith(">") else (RIGHT - 4, LEFT + 4)
    arrow = (
        f'<line class="{kind}" x1="{start}" y1="{y}" x2="{end}" y2="{y}" marker-end="url(#arrow)"/>'
    )
    return [arrow, text, *([margin] if aside else [])]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("diagram", Diagram)
    app.add_directive("sequence", Sequence)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
