"""A small writer of SVG: text, bars and lines on a card that follows the reader's light or dark."""

from __future__ import annotations

from html import escape

LIGHT = {
    "card": "#ffffff", "edge": "#d0d7de", "ink": "#1f2328", "soft": "#59636e", "grid": "#e4e8ec",
    "ours": "#c2410c", "peer": "#a8b1ba", "a": "#0969a8", "b": "#00795a", "c": "#a03a80",
    "d": "#8a6100", "e": "#59636e",
}  # fmt: skip
DARK = {
    "card": "#0d1117", "edge": "#30363d", "ink": "#e6edf3", "soft": "#9198a1", "grid": "#252b33",
    "ours": "#ff8a4c", "peer": "#5b6570", "a": "#58b4f0", "b": "#2fbf96", "c": "#e08fc8",
    "d": "#d9a83a", "e": "#9198a1",
}  # fmt: skip
FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
_CHARACTER = 0.57  # of the font's size, on average


def width_of(text: str, size: float = 13) -> float:
    """Guess how wide a text is, in pixels."""
    return len(text) * size * _CHARACTER


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


class Drawing:
    """A picture of `width` by `height` pixels."""

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        self.width, self.height = width, height
        self._title, self._description = title, description
        self._parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 13,
        color: str = "ink",
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """Write one line; `y` is its base line."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}" '
            f'class="{color}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
        )

    def bar(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """Fill a rectangle whose right corners are round."""
        radius = min(2.5, width / 2)
        self._parts.append(
            f'<path class="{color}" d="M{_number(x)} {_number(y)}h{_number(width - radius)}'
            f"q{_number(radius)} 0 {_number(radius)} {_number(radius)}"
            f"v{_number(height - 2 * radius)}q0 {_number(radius)} {_number(-radius)} "
            f'{_number(radius)}h{_number(radius - width)}z"/>'
        )

    def line(
        self, points: list[tuple[float, float]], color: str, *, width: float = 1, dash: str = ""
    ) -> None:
        """Draw through points."""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self._parts.append(
            f'<polyline class="s-{color}" fill="none" stroke-width="{_number(width)}" '
            f'stroke-linejoin="round"{dashes} points="{path}"/>'
        )

    def dot(self, x: float, y: float, color: str, radius: float = 3) -> None:
        """Mark a point."""
        self._parts.append(
            f'<circle class="{color}" cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"/>'
        )

    def render(self) -> str:
        """Return the file's text."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_number(self.width)}" '
            f'height="{_number(self.height)}" viewBox="0 0 {_number(self.width)} '
            f'{_number(self.height)}" role="img" font-family="{FONT}">\n'
            f"<title>{escape(self._title)}</title>\n<desc>{escape(self._description)}</desc>\n"
            f"<style>\n{_style(LIGHT)}\n"
            f"@media (prefers-color-scheme: dark) {{\n{_style(DARK)}\n}}\n</style>\n"
            f'<rect class="card s-edge" x="0.5" y="0.5" width="{_number(self.width - 1)}" '
            f'height="{_number(self.height - 1)}" rx="8"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )


def _style(colors: dict[str, str]) -> str:
    return "\n".join(
        f".{name}{{fill:{color}}}.s-{name}{{stroke:{color}}}" for name, color in colors.items()
    )
