"""What was measured, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import attrs

from ...errors import InvalidArgument
from .._types import output
from ._harness import Figure

_BEGIN, _END = "<!-- figures -->", "<!-- /figures -->"
_HEADS = ("what", "value", "beside", "takes", "ratio", "target", "met")


def as_json(figures: list[Figure]) -> str:
    """A JSON list of figures."""
    return json.dumps([attrs.asdict(figure, value_serializer=_rounded) for figure in figures], indent=2)


def _rounded(_: object, __: object, value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def write(figures: list[Figure], path: Path) -> None:
    """Write the figures to a file."""
    path.write_text(as_json(figures) + "\n", encoding="utf-8")


def check_page(page: Path) -> None:
    """Raises InvalidArgument for a page that cannot be rewritten, or has no marks to put figures between."""
    output(page, "page")
    try:
        _, begins, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    except (OSError, ValueError):
        begins = rest = ""
    if not begins or _END not in rest:
        raise InvalidArgument(f"--page {page} has no {_BEGIN} and {_END}", name="page")


def rewrite(figures: list[Figure], page: Path) -> None:
    """Put the figures of this run into a page, between its marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    lines = [f"| {' | '.join(row)} |" for row in (_HEADS, ("---",) * len(_HEADS), *map(_cells, figures))]
    page.write_text("\n".join([before + _BEGIN, *_machine(), "", *lines, _END + after]), encoding="utf-8")


def _machine() -> list[str]:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return [f"{python}, {platform.system()} on {platform.machine()}, {os.cpu_count()} cores."]


def show(figures: list[Figure]) -> None:
    """Print the figures: in colors on a terminal, plainly elsewhere."""
    rows = [_cells(figure) for figure in figures]
    if sys.stdout.isatty() and _rich(rows):
        return
    widths = [max(len(row[column]) for row in (_HEADS, *rows)) for column in range(len(_HEADS))]
    for row in (_HEADS, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cells(figure: Figure) -> tuple[str, ...]:
    met = {True: "yes", False: "NO", None: ""}[figure.met]
    ratio = _number(figure.ratio)
    return (
        figure.name, f"{_number(figure.value) or '-'} {figure.unit}", figure.peer, _number(figure.peer_value), ratio,
        figure.target, met,
    )  # fmt: skip


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rich(rows: list[tuple[str, ...]]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        return False
    table = Table(*_HEADS)
    for row in rows:
        table.add_row(*row, style={"yes": "green", "NO": "red"}.get(row[-1]))
    Console().print(table)
    return True
