"""A small layered layout: states in columns, labels in columns of their own between them, the final state below all.

Every label and every bend of a long edge has a place in a column as if it were a state, so nothing can overlap: lines
curve only in the gaps between columns. What leads back is routed like what leads on, with its arrow at the other end.
Whatever ends a flow drops straight down to the final state; states above each other step aside for that.

All this is said for a drawing that runs to the right. One that runs down is the same with the two axes exchanged, which
is for who draws it: sizes go in, and places come out, the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import attrs

Size: TypeAlias = tuple[float, float]
Pair: TypeAlias = tuple[str, str]

GAP = 24.0  # between two columns, and more where lines have to curve
ROW_GAP = 22.0  # between two things above each other
DROP_GAP = 24.0  # above and below the labels of the drops
SIDE_GAP = 18.0  # between the labels of two drops


@attrs.define(eq=False)
class Node:
    """Something that takes room in a column: a state, a label, or a bend."""

    column: int
    """Even for states, odd for labels."""
    width: float
    """Its width."""
    height: float
    """Its height."""
    x: float = 0.0
    """Its left side."""
    y: float = 0.0
    """Its middle."""
    before: list[Node] = attrs.field(factory=list, repr=False)
    """What lines lead to it from the left."""
    after: list[Node] = attrs.field(factory=list, repr=False)
    """What lines lead from it to the right."""

    @property
    def right(self) -> float:
        """Its right side."""
        return self.x + self.width

    @property
    def middle(self) -> float:
        """Halfway between its sides."""
        return self.x + self.width / 2


@attrs.define(eq=False)
class Route:
    """How one edge runs: from left to right through its nodes."""

    chain: list[Node]
    """The first and the last are states; one in between is the label."""
    label: Node
    """Where the label stands."""
    back: bool
    """Whether the edge runs from right to left."""


@attrs.define(eq=False)
class Drop:
    """How a state leads to the final one: straight down."""

    source: Node
    """The state."""
    label: Node
    """Where the label stands."""


@attrs.define(eq=False)
class Layout:
    """Where everything stands."""

    states: dict[str, Node] = attrs.field(factory=dict)
    """Every state but the final one."""
    routes: dict[Pair, Route] = attrs.field(factory=dict)
    """Every edge between two of them."""
    drops: dict[str, Drop] = attrs.field(factory=dict)
    """By state: every edge to the final one."""
    columns: list[list[Node]] = attrs.field(factory=list)
    """From left to right; the nodes of each from top to bottom."""
    spans: list[tuple[float, float]] = attrs.field(factory=list)
    """The left and the right side of each column."""
    final: Node = attrs.field(factory=lambda: Node(0, 0.0, 0.0))
    """The final state."""

    @property
    def size(self) -> Size:
        """Width and height of it all; the upper left corner is (0, 0)."""
        nodes = [node for column in self.columns for node in column] + [drop.label for drop in self.drops.values()]
        return max(node.right for node in [*nodes, self.final]), self.final.y + self.final.height / 2


def arrange(states: Mapping[str, Size], labels: Mapping[Pair, Size], drops: Mapping[str, Size], final: Size) -> Layout:
    """Places states (the initial one first), the labels of the edges between them, and those of the drops."""
    layout = Layout()
    reverse = _leading_back(states, labels)
    layer = _layers(states, {(b, a) if (a, b) in reverse else (a, b) for a, b in labels})
    layout.columns = [[] for _ in range(2 * max(layer.values()) + 1)]
    for name, (width, height) in states.items():
        layout.states[name] = _put(layout, Node(2 * layer[name], width, height))
    for pair, size in labels.items():
        layout.routes[pair] = _route(layout, pair, size, back=pair in reverse)
    for name, (width, height) in drops.items():
        layout.drops[name] = Drop(layout.states[name], Node(-1, width, height))
    _order(layout.columns)
    _heights(layout.columns)
    _widths(layout)
    _bottom(layout, final)
    return layout


def _put(layout: Layout, node: Node) -> Node:
    layout.columns[node.column].append(node)
    return node


def _route(layout: Layout, pair: Pair, size: Size, *, back: bool) -> Route:
    source, target = (layout.states[name] for name in (reversed(pair) if back else pair))
    places = range(source.column + 1, target.column)
    spot = places[len(places) // 2] | 1  # the label column nearest to the middle
    between = [_put(layout, Node(place, *(size if place == spot else (0.0, 4.0)))) for place in places]
    chain = [source, *between, target]
    for left, right in pairwise(chain):
        left.after.append(right)
        right.before.append(left)
    return Route(chain, between[spot - places.start], back)


# --- which column -----------------------------------------------------------------------------------------------------


def _leading_back(states: Iterable[str], pairs: Iterable[Pair]) -> set[Pair]:
    """The edges that a walk finds to lead back into its own path: without them there is no circle."""
    after: dict[str, list[str]] = {name: [] for name in states}
    for source, to in pairs:
        after[source].append(to)
    back: set[Pair] = set()
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        for to in after[name]:
            if to in above:
                back.add((name, to))
            elif to not in done:
                walk(to, (*above, to))
        done.add(name)

    for name in after:
        if name not in done:
            walk(name, (name,))
    return back


def _layers(states: Iterable[str], pairs: set[Pair]) -> dict[str, int]:
    """Each state as far right as the longest way to it."""
    layer = dict.fromkeys(states, 0)
    for _ in layer:
        for name in layer:
            layer[name] = max([layer[a] + 1 for a, b in pairs if b == name], default=0)
    return layer


# --- what stands above what -------------------------------------------------------------------------------------------


def _order(columns: list[list[Node]]) -> None:
    """Each column by the mean place of its neighbours, back and forth: few lines cross then. The best order is kept."""
    _number(columns)
    best = _crossings(columns), [list(column) for column in columns]
    for sweep in range(12):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            column.sort(
                key=lambda node: _mean([n.y for n in (node.before if sweep % 2 == 0 else node.after)] or [node.y])
            )
            _number([column])
        if (crossings := _crossings(columns)) < best[0]:
            best = crossings, [list(column) for column in columns]
    columns[:] = best[1]
    _number(columns)


def _number(columns: Iterable[list[Node]]) -> None:
    for column in columns:
        for place, node in enumerate(column):
            node.y = place - (len(column) - 1) / 2


def _crossings(columns: Iterable[list[Node]]) -> int:
    found = 0
    for column in columns:
        lines = [(node.y, other.y) for node in column for other in node.after]
        found += sum((a < c) != (b < d) for i, (a, b) in enumerate(lines) for c, d in lines[:i] if a != c and b != d)
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# --- how high ---------------------------------------------------------------------------------------------------------


def _heights(columns: Sequence[list[Node]]) -> None:
    """Every node as near to the middle of its neighbours as the others of its column allow."""
    for column in columns:
        _settle(column, [0.0] * len(column))
    for turn in range(120):
        for column in columns if turn % 2 else reversed(columns):
            _settle(column, [_mean([n.y for n in (*node.before, *node.after)] or [node.y]) for node in column])
    top = min(node.y - node.height / 2 for column in columns for node in column)
    for column in columns:
        for node in column:
            node.y -= top


def _settle(column: Sequence[Node], wanted: Sequence[float]) -> None:
    """The places nearest to the wanted ones (least squares) that keep the order and the distances."""
    blocks: list[tuple[float, list[Node]]] = []  # how far a run of touching nodes is shifted, and its nodes
    offset, offsets = 0.0, []
    for above, node in zip([None, *column], column, strict=False):
        offset += (above.height + node.height) / 2 + ROW_GAP if above else 0.0
        offsets.append(offset)
    for node, want, start in zip(column, wanted, offsets, strict=True):
        shift, nodes = want - start, [node]
        while blocks and blocks[-1][0] > shift:
            before, touching = blocks.pop()
            shift = (before * len(touching) + shift * len(nodes)) / (len(touching) + len(nodes))
            nodes = touching + nodes
        blocks.append((shift, nodes))
    shifts = [shift for shift, nodes in blocks for _ in nodes]
    for node, shift, start in zip(column, shifts, offsets, strict=True):
        node.y = shift + start


# --- how far right ----------------------------------------------------------------------------------------------------


def _widths(layout: Layout) -> None:
    drop_of = {id(drop.source): drop.label for drop in layout.drops.values()}
    left, taken = 0.0, 0.0  # the column's left side; how far the labels of the drops so far reach
    for column in layout.columns:
        right = left
        for node in reversed(column):  # from the lowest up: a drop passes right of what stands below it
            label = drop_of.get(id(node))
            node.x = left
            if label:
                clear = max(right + 14.0 if right > left else left, taken + label.width / 2)
                node.x = max(left, clear - node.width / 2)
                label.x = node.middle - label.width / 2
                taken = label.right + SIDE_GAP
            if node.width:
                right = max(right, node.right)
        for node in column:
            if node.column % 2:
                node.x += (right - left - node.width) / 2
        layout.spans.append((left, right))
        steepest = max((abs(node.y - other.y) for node in column for other in node.after), default=0.0)
        left = right + GAP + min(36.0, steepest / 3)


def _bottom(layout: Layout, final: Size) -> None:
    floor = max(node.y + node.height / 2 for column in layout.columns for node in column) + DROP_GAP
    tallest = max(drop.label.height for drop in layout.drops.values())
    for drop in layout.drops.values():
        drop.label.y = floor + tallest / 2
    middles = [drop.label.middle for drop in layout.drops.values()]
    left, right = min(middles) - final[0] / 2, max(middles) + final[0] / 2
    layout.final = Node(0, right - left, final[1], left, floor + tallest + DROP_GAP + final[1] / 2)
    shift = max(0.0, -min(left, *(drop.label.x for drop in layout.drops.values())))
    labels = [drop.label for drop in layout.drops.values()]
    for node in [layout.final, *labels, *(node for column in layout.columns for node in column)]:
        node.x += shift
    layout.spans = [(left + shift, right + shift) for left, right in layout.spans]
