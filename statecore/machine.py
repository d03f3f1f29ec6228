"""From rows to something that runs: builds a `transitions.Machine` from a flow and compiles the look-up from it.

`transitions` defines what a table means: which row of a cell is taken, in which order conditions are asked. The look-up
is what runs, thirty times faster, and is made from the built machine's own events, never from the rows beside it. A
test holds both to one answer for every cell of state, trigger and conditions.

This is the only module that imports `transitions`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import product
from typing import TypeAlias, cast

from transitions import Machine, MachineError
from transitions.core import EventData, Transition

from .errors import IllegalTransition
from .flow import Deadline, Flow, Row, Trigger

Knows: TypeAlias = "Callable[[str, str], bool | None]"
"""Whether a condition, by its name, holds for a trigger; None if that cannot be told beforehand."""


class Cell:
    """One (state, trigger): which conditions matter, and the row for every combination of them."""

    __slots__ = ("distinct", "mask", "needs", "rows")

    def __init__(self, needs: tuple[str, ...], bits: dict[str, int], rows: dict[int, Row]) -> None:
        self.needs = needs
        """The names of the conditions that the rows of this cell mention."""
        self.mask = sum(bits[name] for name in needs)
        """Their bits."""
        self.rows = rows
        """By masked bits; a combination without a row is absent."""
        self.distinct = tuple({id(row): row for row in rows.values()}.values())
        """Every row of the cell."""


class FlowMachine:
    """The compiled form of one flow. Make it with `compiled(flow)`; it is shared by every call of that flow."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        names = dict.fromkeys(name for row in flow.rows for name in (*row.when, *row.unless))
        self.bits: dict[str, int] = {name: 1 << place for place, name in enumerate(names)}
        """The bit of each condition that a row mentions."""
        self.machine = build(flow)
        """The `transitions.Machine` that defines the table; it has no model of its own."""
        self.cells: dict[str, dict[str, Cell]] = {
            state: {trigger: self._cell(transitions) for trigger, transitions in self._events(state)}
            for state in flow.states
        }
        """The look-up: cells[state][trigger]."""
        self.triggers = {trigger.name: trigger for trigger in flow.triggers}
        """The flow's triggers by name."""
        self.ends = frozenset(trigger.name for trigger in flow.triggers if self._only_ends(trigger))
        """The words by which a user ends a call, or his part in it, and does nothing else."""
        self.deadlines = {
            state: tuple(deadline for deadline in flow.deadlines if deadline.state == state) for state in flow.states
        }
        """The deadlines a state may carry, of which flags pick one."""
        self.participating = flow.participating
        """The states of a participant."""
        self.answered = flow.participating - flow.roles.ringing
        """Those of one who has answered, or was."""
        self.active = flow.roles.media - flow.roles.ringing
        """Those in which media is up, and it is not early media."""
        self.flags = frozenset((*flow.flags, "joined", "connected"))
        """Every mark a leg may carry."""
        self.ring = flow.ring
        """The trigger that rings those who are invited, if the flow rings at all."""
        self.initial, self.final, self.media = flow.initial, flow.final, flow.roles.media

    def next(self, state: str, trigger: str, bits: int = 0) -> Row:
        """The row that is taken. Raises IllegalTransition, naming what is legal, where there is none."""
        try:
            cell = self.cells[state][trigger]
            return cell.rows[bits & cell.mask]
        except KeyError:
            legal = self.legal(state, lambda name, _: bool(bits & self.bits[name]))
            raise IllegalTransition(state=state, trigger=trigger, legal=legal) from None

    def possible(self, state: str, trigger: str, knows: Knows) -> list[Row]:
        """The rows of a cell that may be taken, as far as is known."""
        cell = self.cells.get(state, {}).get(trigger)
        return [
            row
            for row in (cell.distinct if cell is not None else ())
            if all(knows(name, trigger) is not False for name in row.when)
            and not any(knows(name, trigger) for name in row.unless)
        ]

    def legal(self, state: str, knows: Knows = lambda *_: None) -> list[str]:
        """The users' triggers that this state takes and does not refuse, as far as is known."""
        users = (trigger.name for trigger in self.flow.triggers if trigger.by == "user")
        return sorted(name for name in users if any(row.refuse is None for row in self.possible(state, name, knows)))

    def grants(self, trigger: str, grants: frozenset[str]) -> bool:
        """Whether these grants are enough for a trigger."""
        named = self.triggers.get(trigger)
        return named is None or named.grant is None or named.grant in grants

    def pack(self, true: frozenset[str] | set[str]) -> int:
        """The bits of the conditions that hold."""
        return sum(bit for name, bit in self.bits.items() if name in true)

    def deadline(self, state: str, flags: frozenset[str]) -> Deadline | None:
        """The deadline that a leg carries in this state with these flags."""
        return next((d for d in self.deadlines[state] if d.flag is None or d.flag in flags), None)

    def _only_ends(self, trigger: Trigger) -> bool:
        taken = (row.to for row in self.flow.rows if row.trigger == trigger.name and row.refuse is None)
        return trigger.by == "user" and all(to == self.flow.final for to in taken)

    def _events(self, state: str) -> Iterator[tuple[str, list[_RowTransition]]]:
        for name, event in self.machine.events.items():
            transitions = event.transitions.get(state)
            if transitions:
                yield name, cast("list[_RowTransition]", transitions)

    def _cell(self, transitions: list[_RowTransition]) -> Cell:
        needs = tuple(dict.fromkeys(name for t in transitions for name, _ in t.asks()))
        rows = {}
        for values in product((False, True), repeat=len(needs)):
            truth = dict(zip(needs, values, strict=True))
            taken = next((t for t in transitions if all(truth[name] == wanted for name, wanted in t.asks())), None)
            if taken is not None:
                rows[sum(self.bits[name] for name, value in truth.items() if value)] = taken.row
        return Cell(needs, self.bits, rows)


class _RowTransition(Transition):
    """A transition that remembers its row, and tells a probe that it was taken."""

    row: Row

    def asks(self) -> Iterator[tuple[str, bool]]:
        """Its conditions by name, in the order in which they are asked, and what each must be."""
        return ((cast("str", condition.func), condition.target) for condition in self.conditions)

    def execute(self, event_data: EventData) -> bool:
        taken: bool = super().execute(event_data)
        if taken and isinstance(event_data.model, _Probe):
            event_data.model.taken = self.row
        return taken


class _RowMachine(Machine):
    transition_cls = _RowTransition


def build(flow: Flow) -> Machine:
    """The flow as a `transitions.Machine` without a model: bind your own, with one attribute for each condition."""
    machine = _RowMachine(
        model=None, states=list(flow.states), initial=flow.initial, auto_transitions=False, send_event=True
    )
    for row in flow.rows:
        machine.add_transition(row.trigger, row.state, row.to, conditions=list(row.when), unless=list(row.unless))
        cast("_RowTransition", machine.events[row.trigger].transitions[row.state][-1]).row = row
    return machine


@functools.cache
def compiled(flow: Flow) -> FlowMachine:
    """The flow's machine, built once."""
    return FlowMachine(flow)


class _Probe:
    """A model for asking `transitions` itself about one cell: every condition is an attribute."""

    def __init__(self, state: str, truth: dict[str, bool]) -> None:
        self.state = state
        self.taken: Row | None = None
        vars(self).update({name: functools.partial(_answer, value) for name, value in truth.items()})


def _answer(value: bool, _event: EventData) -> bool:
    return value


def asked(machine: Machine, state: str, trigger: str, truth: dict[str, bool]) -> tuple[str, Row | None]:
    """What `transitions` does with one cell: the next state and the row; (state, None) where it refuses.

    The slow way, for the differential test and for people who want to see that both agree."""
    probe = _Probe(state, truth)
    try:
        moved = machine.events[trigger].trigger(probe)
    except (MachineError, KeyError):
        return state, None
    return (probe.state, probe.taken) if moved else (state, None)
