"""What both kinds of SVG share: colours for light and dark pages, text and its width, and a few shapes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from string import Template
from typing import TypeAlias

Span: TypeAlias = tuple[str, str]
"""Some text and its class."""

SMALL = 6.7  # the width of a character of the small, even-spaced text: 11 px
LINE = 15.0  # the height of its lines
_BIG = 8.9  # a generous mean width of a character of a heading: 15 px, bold

_LIGHT = {
    "ink": "#1c2333", "soft": "#5a6478", "line": "#a3acbd", "card": "#ffffff", "box": "#f7f8fb", "edge": "#c9d0dc",
    "plate": "#eff2f7", "lit": "#2563eb", "on": "#ffffff", "glow": "#dbe6ff",
    "wait": "#d97706", "join": "#7c3aed", "live": "#059669", "over": "#64748b",
}  # fmt: skip
_DARK = {
    "ink": "#e7eaf2", "soft": "#a2acc0", "line": "#5d687e", "card": "#12161f", "box": "#1a202c", "edge": "#3a4458",
    "plate": "#222a38", "lit": "#60a5fa", "on": "#0b1220", "glow": "#1d3358",
    "wait": "#fbbf24", "join": "#a78bfa", "live": "#34d399", "over": "#94a3b8",
}  # fmt: skip
_FONTS = Template("""\
.$name text{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.$name .name{font:600 15px ui-sans-serif,system-ui,"Segoe UI",Inter,Helvetica,Arial,sans-serif}
.$name .line{fill:none;stroke-width:1.4}
.$name .if{font-style:italic}
""")


def style(name: str, rules: str) -> str:
    """A style sheet that touches nothing outside the drawing: every rule of `rules`, for both kinds of page.

    No custom properties: programs that turn SVG into pictures do not know them.
    """
    scoped = "".join(f".{name} {rule}\n" for rule in rules.strip().splitlines())
    light, dark = Template(scoped).substitute(_LIGHT), Template(scoped).substitute(_DARK)
    fonts = _FONTS.substitute(name=name)
    return f"<style>\n{fonts}{light}@media (prefers-color-scheme:dark){{\n{dark}}}\n</style>"


def document(name: str, title: str, size: tuple[float, float], css: str, body: Sequence[str]) -> str:
    """A whole drawing: as wide as it needs to be, and shrinking with its page."""
    width, height = (f"{value:.0f}" for value in size)
    room = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" style="max-width:100%;height:auto"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="{name}" role="img" aria-label="{escape(title)}" {room}>',
            f"<title>{escape(title)}</title>",
            style(name, css),
            f'<rect class="card" width="{width}" height="{height}" rx="14"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def wide(text: str) -> float:
    """The width of a heading."""
    return len(text) * _BIG


def long(line: Sequence[Span]) -> float:
    """The width of a line of small text."""
    return sum(len(text) for text, _ in line) * SMALL


def wrap(text: str, most: int) -> list[str]:
    """Lines of at most `most` characters, broken at spaces only, and not behind a "not"."""
    return textwrap.wrap(text.replace("not ", "not\u00a0"), most, break_long_words=False, break_on_hyphens=False)


def written(x: float, y: float, line: Sequence[Span], anchor: str = "middle", more: str = "") -> str:
    """A line of text whose middle height is `y`."""
    spans = "".join(f'<tspan class="{kind}">{escape(text)}</tspan>' for text, kind in line)
    return f'<text x="{x:.1f}" y="{y + 3.8:.1f}" text-anchor="{anchor}" xml:space="preserve"{more}>{spans}</text>'


def box(kind: str, x: float, y: float, size: tuple[float, float], radius: float = 8.0) -> str:
    """A rounded box; `x` and `y` are its upper left corner."""
    width, height = size
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:g}"/>'


def stroke(path: str, kind: str = "line") -> str:
    """A line."""
    return f'<path class="{kind}" d="{path}"/>'


def arrow(x: float, y: float, to: str) -> str:
    """An arrow's head whose tip is here."""
    shape = {"right": "l-9,-4.5v9z", "left": "l9,-4.5v9z", "down": "l-4.5,-9h9z", "up": "l-4.5,9h9z"}[to]
    return f'<path class="head" d="M{x:.1f},{y:.1f}{shape}"/>'
