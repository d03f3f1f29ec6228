"""A flow as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from math import ceil
from typing import Literal, TypeAlias

import attrs

from statecore.flow import Flow

from ._layout import Drop, Layout, Node, Pair, Route, Size, arrange
from ._svg import LINE, Span, arrow, box, document, long, stroke, wide, wrap, written
from ._text import Edge, Group, Path, Step, edges, path, timer_text, words

_MARGIN = 30.0
_START = 34.0  # room for the dot before the initial state
_MOST = 34  # characters in a line of a label
_APART = 6.0  # between two paragraphs of a label
_FEW = 4  # what stays in a state is named up to this many triggers, and counted beyond

_CSS = """
.card{fill:$card}
.box{fill:$box;stroke:$edge;stroke-width:1.4}
.name{fill:$ink}
.t{fill:$ink}
.sep,.if,.small{fill:$soft}
.line{stroke:$line}
.head,.dot{fill:$line}
.plate{fill:$plate}
.role-initial .bar,.role-none .bar{fill:$line}
.role-ringing .bar{fill:$wait}
.role-joinable .bar{fill:$join}
.role-media .bar{fill:$live}
.role-final .box{stroke:$over}
.role-final .ring{fill:none;stroke:$over;stroke-width:1.6}
.role-final .pip{fill:$over}
.lit .box{fill:$glow;stroke:$lit;stroke-width:2.6}
.lit .ring{stroke:$lit}
.lit .pip,.lit .head,.lit .dot{fill:$lit}
.lit .line{stroke:$lit;stroke-width:3}
.lit .plate{fill:$glow}
.here{fill:$lit;font-weight:700}
"""


Direction: TypeAlias = Literal["down", "right"]


def svg(
    flow: Flow,
    *,
    guards: bool = True,
    effects: bool = False,
    highlight: Sequence[str | Step] = (),
    actions: bool = False,
    direction: Direction = "down",
    prefix: str = "state-",
) -> str:
    """The flow as one self-contained SVG element, for light and dark pages. Refusals are left out.

    `guards` and `effects` say whether labels carry conditions and what is done; `actions` whether the triggers that
    stay in a state are all named, or counted where they are many. `highlight` is a path taken, of state names or of
    (state, trigger, to) steps: its states and edges are lit; InvalidArgument if it names a state that is none.
    `direction` is where the drawing runs to: down is for pages, right for wide screens.

    Each state is a group with the id `prefix` + name and the attribute `data-state`; each edge has `data-from` and
    `data-to`. Adding the class `lit` to one lights it, so a page can follow a live call. Give every drawing of one page
    a prefix of its own.
    """
    drawing = _Drawing(flow, path(flow, highlight), prefix, actions, _Pen(direction == "down"))
    return drawing.drawn(edges(flow, guards=guards, effects=effects))


@attrs.frozen
class _Pen:
    """Draws what a layout says, which runs to the right, or down with its axes exchanged."""

    down: bool

    def turned(self, size: Size) -> Size:
        """A size, or a place, in the other of the two worlds."""
        return (size[1], size[0]) if self.down else size

    def move(self, x: float, y: float) -> str:
        return "M{:.1f},{:.1f}".format(*self.turned((x, y)))

    def line(self, x: float, y: float) -> str:
        return "L{:.1f},{:.1f}".format(*self.turned((x, y)))

    def curve(self, start: Size, stop: Size) -> str:
        half = (start[0] + stop[0]) / 2
        points = (self.turned(point) for point in ((half, start[1]), (half, stop[1]), stop))
        return "C" + " ".join(f"{x:.1f},{y:.1f}" for x, y in points)

    def arrow(self, x: float, y: float, to: str) -> str:
        turned = {"right": "down", "left": "up", "down": "right"}
        return arrow(*self.turned((x, y)), turned[to] if self.down else to)

    def frame(self, node: Node) -> tuple[float, float, float, float]:
        """Left, top, width and height of a node as drawn."""
        (x, y), (width, height) = (
            self.turned((node.x, node.y - node.height / 2)),
            self.turned((node.width, node.height)),
        )
        return x, y, width, height


@attrs.define
class _Drawing:
    flow: Flow
    taken: Path
    prefix: str
    actions: bool
    pen: _Pen
    labels: dict[Pair, Block] = attrs.field(factory=dict)
    layout: Layout = attrs.field(factory=Layout)

    def drawn(self, found: Sequence[Edge]) -> str:
        final, turned = self.flow.final, self.pen.turned
        stays = {edge.source: edge for edge in found if edge.source == edge.to}
        moves = {(edge.source, edge.to): edge for edge in found if edge.source != edge.to}
        inside = {name: self._inside(name, stays.get(name)) for name in self.flow.states}
        self.labels = {pair: _said(edge, self.taken) for pair, edge in moves.items()}
        self.layout = arrange(
            {name: turned(_room(name, inside[name])) for name in self.flow.states if name != final},
            {pair: turned(_plate(block)) for pair, block in self.labels.items() if pair[1] != final},
            {pair[0]: turned(_plate(block)) for pair, block in self.labels.items() if pair[1] == final},
            (60.0, wide(final) + 36.0) if self.pen.down else (wide(final) + 90.0, 46.0),
        )
        dx, dy = turned((_MARGIN + _START, _MARGIN))
        body = [f'<g transform="translate({dx:g},{dy:g})">', *self._start()]
        for pair, route in self.layout.routes.items():
            body += self._edge(moves[pair], [*self._curves(route), *self._words(pair, route.label)])
        for name, drop in self.layout.drops.items():
            body += self._edge(moves[name, final], [*self._fall(drop), *self._words((name, final), drop.label)])
        for name, node in self.layout.states.items():
            body += self._state(name, node, inside[name])
        body += [*self._end(), "</g>"]
        width, height = self.layout.size
        size = turned((width + 2 * _MARGIN + _START, height + 2 * _MARGIN))
        return document("statecore-flow", f"The flow {self.flow.name}", size, _CSS, body)

    # --- states -------------------------------------------------------------------------------------------------------

    def _inside(self, name: str, stays: Edge | None) -> Block:
        """The small lines under a state's name: its timers, and what happens without leaving it."""
        timers: list[list[Span]] = [
            [(timer_text(deadline), "small"), (f" while {deadline.flag}" if deadline.flag else "", "if")]
            for deadline in self.flow.deadlines
            if deadline.state == name
        ]
        found = [timers] if timers else []
        if stays is None:
            return found
        if self.actions or len(stays.triggers) <= _FEW:
            first, *rest = _said(stays, self.taken)
            return [*found, [[("stays on", "small")], *first], *rest]
        return [*found, [[(f"stays on {len(stays.triggers)} triggers", "small")]]]

    def _role(self, name: str) -> str:
        roles = self.flow.roles
        sets = {
            "ringing": roles.ringing,
            "joinable": roles.joinable,
            "media": roles.media,
            "initial": {self.flow.initial},
        }
        return next((role for role, names in sets.items() if name in names), "none")

    def _open(self, name: str, role: str) -> str:
        lit = " lit" if name in self.taken.states else ""
        return f'<g id="{escape(self.prefix + name)}" data-state="{escape(name)}" class="state role-{role}{lit}">'

    def _state(self, name: str, node: Node, inside: Block) -> Iterator[str]:
        x, y, width, height = self.pen.frame(node)
        middle = x + width / 2 + 3
        yield self._open(name, self._role(name))
        yield box("box", x, y, (width, height), 10)
        yield box("bar", x + 7, y + 9, (4, height - 18), 2)
        yield _heading(name, middle, y + 26)
        yield from _lines(inside, middle, y + 42)
        yield "</g>"

    def _start(self) -> list[str]:
        node = self.layout.states[self.flow.initial]
        x, y = self.pen.turned((node.x - 30, node.y))
        line = stroke(self.pen.move(node.x - 30, node.y) + self.pen.line(node.x - 6, node.y))
        dot = f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
        return ["<g>", dot, line, self.pen.arrow(node.x - 1, node.y, "right"), "</g>"]

    def _end(self) -> Iterator[str]:
        name = self.flow.final
        x, y, width, height = self.pen.frame(self.layout.final)
        middle, center = x + width / 2, y + height / 2
        ring = (middle, center - 15) if self.pen.down else (middle - wide(name) / 2 - 4, center)
        at = f'cx="{ring[0]:.1f}" cy="{ring[1]:.1f}"'
        yield self._open(name, "final")
        yield box("box", x, y, (width, height), 10)
        yield f'<circle class="ring" {at} r="8"/><circle class="pip" {at} r="4.5"/>'
        yield _heading(name, middle, center + 18) if self.pen.down else _heading(name, middle + 12, center + 5)
        yield "</g>"

    # --- edges --------------------------------------------------------------------------------------------------------

    def _edge(self, edge: Edge, body: list[str]) -> list[str]:
        lit = " lit" if (edge.source, edge.to) in self.taken.moves else ""
        attributes = f'class="edge{lit}" data-from="{escape(edge.source)}" data-to="{escape(edge.to)}"'
        tip = "\n".join(words(group) for group in edge.groups)
        return [f"<g {attributes}>", f"<title>{escape(tip)}</title>", *body, "</g>"]

    def _words(self, pair: Pair, label: Node) -> Iterator[str]:
        x, y, width, height = self.pen.frame(label)
        yield box("plate", x, y, (width, height), 7)
        yield from _lines(self.labels[pair], x + width / 2, y + 4.5)

    def _curves(self, route: Route) -> Iterator[str]:
        """A line that is straight within columns, curves between them, and makes room for its label."""
        pen, chain, spans = self.pen, route.chain, self.layout.spans
        first, last = _port(chain[0], chain[1], after=True), _port(chain[-1], chain[-2], after=False)
        heights = [first, *(node.y for node in chain[1:-1]), last]
        tail, tip = (6.0, 0.0) if route.back else (0.0, 6.0)
        parts = [pen.move(chain[0].right + tail, first)]
        for (node, y), (after, to) in pairwise(zip(chain, heights, strict=True)):
            if node is route.label:
                parts.append(pen.move(node.right, y))
            start, stop = (spans[node.column][1], y), (spans[after.column][0], to)
            parts += [pen.line(*start), pen.curve(start, stop)]
            if after is route.label:
                parts.append(pen.line(after.x, to))
        yield stroke("".join([*parts, pen.line(chain[-1].x - tip, last)]))
        yield pen.arrow(chain[0].right + 1, first, "left") if route.back else pen.arrow(chain[-1].x - 1, last, "right")

    def _fall(self, drop: Drop) -> Iterator[str]:
        pen, label, x = self.pen, drop.label, drop.source.middle
        top, bottom = drop.source.y + drop.source.height / 2, self.layout.final.y - self.layout.final.height / 2
        above = pen.move(x, top) + pen.line(x, label.y - label.height / 2)
        below = pen.move(x, label.y + label.height / 2) + pen.line(x, bottom - 6)
        yield stroke(above + below)
        yield pen.arrow(x, bottom - 1, "down")


def _port(state: Node, other: Node, *, after: bool) -> float:
    """Where a line leaves a state: all lines of one side share it, in the order of where they go."""
    lines = sorted(state.after if after else state.before, key=lambda node: node.y)
    space = min(16.0, (state.height - 16.0) / len(lines))
    return state.y + (lines.index(other) - (len(lines) - 1) / 2) * space


# --- text -------------------------------------------------------------------------------------------------------------

Block: TypeAlias = list[list[list[Span]]]
"""Paragraphs of lines of spans."""


def _said(edge: Edge, taken: Path) -> Block:
    return [_paragraph(edge, group, taken) for group in edge.groups]


def _paragraph(edge: Edge, group: Group, taken: Path) -> list[list[Span]]:
    """Up to three triggers a line, then the guard, then the effects."""
    lines: list[list[Span]] = [[]]
    most = ceil(len(group.triggers) / ceil(len(group.triggers) / 3))
    for trigger in group.triggers:
        full = len(lines[-1]) >= 2 * most or sum(len(text) for text, _ in lines[-1]) + len(trigger) > _MOST
        if full and lines[-1]:
            lines.append([])
        lines[-1] += [(trigger, "here" if taken.lights(edge, trigger) else "t"), (" · ", "sep")]
    lines = [line[:-1] for line in lines]
    lines += [[(text, "if")] for text in wrap(f"if {group.guard}" if group.guard else "", _MOST)]
    lines += [[(text, "small")] for text in wrap(f"/ {group.effects}" if group.effects else "", _MOST)]
    return lines


def _measure(block: Block) -> Size:
    lines = [line for paragraph in block for line in paragraph]
    return max((long(line) for line in lines), default=0.0), len(lines) * LINE + max(0, len(block) - 1) * _APART


def _plate(block: Block) -> Size:
    width, height = _measure(block)
    return width + 18.0, height + 9.0


def _room(name: str, inside: Block) -> Size:
    width, height = _measure(inside)
    return max(wide(name) + 40.0, width + 40.0, 112.0), 42.0 + (height + 8.0 if inside else 0.0)


def _lines(block: Block, x: float, top: float) -> Iterator[str]:
    y = top + LINE / 2
    for paragraph in block:
        for line in paragraph:
            yield written(x, y, line)
            y += LINE
        y += _APART


def _heading(name: str, x: float, y: float) -> str:
    return f'<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(name)}</text>'
