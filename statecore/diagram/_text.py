"""What a drawing of a flow says: rows gathered into edges, their labels, and the two drawings that are only text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from typing import TypeAlias

import attrs

from statecore.errors import InvalidArgument
from statecore.flow import (
    Answer,
    Claim,
    CloseMedia,
    Custom,
    Deadline,
    Effect,
    Fire,
    Flow,
    Invite,
    Mark,
    OpenMedia,
    Release,
    Retype,
    Row,
    Tell,
    Withdraw,
)

Step: TypeAlias = tuple[str, str, str]
Guard: TypeAlias = tuple[tuple[str, bool], ...]


@attrs.frozen
class Group:
    """Triggers of one edge that share a guard and effects, where these are shown."""

    triggers: tuple[str, ...]
    """In the order of the rows."""
    guard: str = ""
    """The conditions, or empty."""
    effects: str = ""
    """What is done, or empty."""


@attrs.frozen
class Edge:
    """All rows that lead from one state to another, refusals left out."""

    source: str
    """From."""
    to: str
    """To; equal to `source` for what stays."""
    groups: tuple[Group, ...]
    """What the label says."""

    @property
    def triggers(self) -> tuple[str, ...]:
        """Each trigger once."""
        return tuple(dict.fromkeys(name for group in self.groups for name in group.triggers))


# --- rows to edges ----------------------------------------------------------------------------------------------------


def guard_text(row: Row) -> str:
    """The conditions of a row as one line: `known, not busy`; empty if there are none."""
    return _spell(_guard(row))


def effect_text(effect: Effect) -> str:
    """An effect as a few words."""
    return _EFFECTS[type(effect)].format(e=effect, turn="set" if getattr(effect, "on", True) else "clear")


def timer_text(deadline: Deadline) -> str:
    """A deadline's timer as a few words."""
    return f"{deadline.timer} timer" if isinstance(deadline.timer, str) else f"after {deadline.timer:g} s"


_EFFECTS: dict[type[Effect], str] = {
    OpenMedia: "open media",
    CloseMedia: "close media",
    Claim: "claim the lines",
    Release: "release the line",
    Tell: "tell {e.event}",
    Fire: "fire {e.trigger} at {e.at}",
    Mark: "{turn} {e.flag}",
    Retype: "make it {e.type}",
    Answer: "invitation {e.state}",
    Custom: "custom {e.name}",
    Invite: "invite a user",
    Withdraw: "withdraw the invitations",
}


def edges(flow: Flow, *, guards: bool, effects: bool) -> list[Edge]:
    """One edge for each pair of states that a row connects, in the order of the rows."""
    cells: dict[tuple[str, str], dict[tuple[str, str], list[Guard]]] = {}
    for row in flow.rows:
        if row.refuse is None:
            done = ", ".join(effect_text(effect) for effect in row.effects) if effects else ""
            triggers = cells.setdefault((row.state, row.to), {})
            triggers.setdefault((row.trigger, done), []).append(_guard(row) if guards else ())
    return [Edge(source, to, _groups(triggers)) for (source, to), triggers in cells.items()]


def _groups(triggers: dict[tuple[str, str], list[Guard]]) -> tuple[Group, ...]:
    gathered: dict[tuple[str, str], list[str]] = {}
    for (trigger, done), found in triggers.items():
        for guard in _simplest(found):
            gathered.setdefault((_spell(guard), done), []).append(trigger)
    return tuple(Group(tuple(names), guard, done) for (guard, done), names in gathered.items())


def _guard(row: Row) -> Guard:
    return (*((name, True) for name in row.when), *((name, False) for name in row.unless))


def _spell(guard: Guard) -> str:
    return ", ".join(name if wanted else f"not {name}" for name, wanted in guard)


def _simplest(guards: Iterable[Guard]) -> list[Guard]:
    """Guards that lead to the same and differ only in whether one condition holds do not depend on it."""
    found = list(dict.fromkeys(guards))
    while True:
        for one, other in combinations(found, 2):
            apart = set(one) ^ set(other)
            if len({name for name, _ in apart}) == 1:
                found[found.index(one)] = tuple(part for part in one if part not in apart)
                found.remove(other)
                break
        else:
            return found


# --- a path taken -----------------------------------------------------------------------------------------------------


@attrs.frozen
class Path:
    """What `highlight` asks for."""

    states: frozenset[str] = frozenset()
    """States that are lit."""
    moves: frozenset[tuple[str, str]] = frozenset()
    """Edges that are lit."""
    triggers: frozenset[Step] = frozenset()
    """(from, trigger, to): the words that are lit on them."""

    def lights(self, edge: Edge, trigger: str) -> bool:
        """Whether this word of the edge's label was the step taken."""
        return (edge.source, trigger, edge.to) in self.triggers


def path(flow: Flow, highlight: Sequence[str | Step]) -> Path:
    """Reads a path of states, of (state, trigger, to) steps, or of both. InvalidArgument for a state that is none."""
    steps = [item for item in highlight if not isinstance(item, str)]
    visited = [name for item in highlight for name in ((item,) if isinstance(item, str) else (item[0], item[2]))]
    if unknown := [name for name in visited if name not in flow.states]:
        raise InvalidArgument(f"highlight: flow {flow.name!r} has no state {unknown[0]!r}", name="highlight")
    return Path(frozenset(visited), frozenset(pairwise(visited)), frozenset(steps))


# --- drawings that are text -------------------------------------------------------------------------------------------


def words(group: Group) -> str:
    """A group as one line, as UML writes it: triggers [guard] / effects."""
    guard = f" [{group.guard}]" if group.guard else ""
    effects = f" / {group.effects}" if group.effects else ""
    return ", ".join(group.triggers) + guard + effects


def mermaid(flow: Flow, *, guards: bool = True, effects: bool = False, highlight: Sequence[str | Step] = ()) -> str:
    """The flow as a Mermaid `stateDiagram-v2`, ending with a newline. Refusals are left out.

    `guards` and `effects` say whether labels carry conditions and what is done. `highlight` is a path, of states or of
    (state, trigger, to) steps, whose states are colored; InvalidArgument if it names a state that is none.
    """
    lit = path(flow, highlight).states
    ids = {name: _identifier(name, number) for number, name in enumerate(flow.states)}
    lines = ["stateDiagram-v2", "    direction LR"]
    lines += [f'    state "{_plain(name)}" as {alias}' for name, alias in ids.items() if alias != name]
    lines.append(f"    [*] --> {ids[flow.initial]}")
    for edge in edges(flow, guards=guards, effects=effects):
        label = "<br/>".join(line for group in edge.groups for line in _short(group))
        lines.append(f"    {ids[edge.source]} --> {ids[edge.to]}: {_plain(label)}")
    lines.append(f"    {ids[flow.final]} --> [*]")
    if lit:
        lines.append("    classDef lit fill:#2563eb,color:#ffffff,stroke:#1d4ed8")
        lines.append(f"    class {','.join(ids[name] for name in flow.states if name in lit)} lit")
    return "\n".join(lines) + "\n"


def _short(group: Group) -> list[str]:
    """Three triggers a line; what belongs to all of them stands behind the last."""
    rows = [group.triggers[i : i + 3] for i in range(0, len(group.triggers), 3)]
    head = [", ".join(names) + "," for names in rows[:-1]]
    return [*head, words(attrs.evolve(group, triggers=rows[-1]))]


_RESERVED = frozenset({"as", "class", "classdef", "click", "direction", "end", "note", "state", "style"})


def _identifier(name: str, number: int) -> str:
    return name if name.isidentifier() and name.isascii() and name.lower() not in _RESERVED else f"s{number}"


def _plain(text: str) -> str:
    """Mermaid ends a label at a colon, a semicolon or a quote."""
    return text.replace(":", " ").replace(";", " ").replace('"', "'")


def dot(flow: Flow, *, guards: bool = True, effects: bool = False, highlight: Sequence[str | Step] = ()) -> str:
    """The flow as a Graphviz digraph, ending with a newline; arguments and errors as for `mermaid`."""
    lit = path(flow, highlight)
    lines = [
        f"digraph {json.dumps(flow.name)} {{",
        '  rankdir=LR; node [shape=box, style=rounded, fontname="Helvetica"];',
    ]
    lines.append('  edge [fontname="Helvetica", fontsize=10]; "" [shape=point];')
    for name in flow.states:
        looks = (["peripheries=2"] if name == flow.final else []) + ([_BOLD] if name in lit.states else [])
        lines.append(f"  {json.dumps(name)} [{', '.join(looks)}];")
    lines.append(f'  "" -> {json.dumps(flow.initial)};')
    for edge in edges(flow, guards=guards, effects=effects):
        label = json.dumps("\n".join(line for group in edge.groups for line in _short(group)))
        bold = f", {_BOLD}" if (edge.source, edge.to) in lit.moves else ""
        lines.append(f"  {json.dumps(edge.source)} -> {json.dumps(edge.to)} [label={label}{bold}];")
    return "\n".join([*lines, "}"]) + "\n"


_BOLD = 'color="#2563eb", penwidth=2.5'
