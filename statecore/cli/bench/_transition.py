"""A guarded transition, beside other state machines; and one with the immutable record after it.

Every side has the same flow of six states and moves back and forth between two of them. In each transition it asks two
conditions, one true and one false, changes the state, and hands over the effects.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

import attrs
from msgspec.structs import fields, replace

from statecore.flow import Custom, Flow, Roles, Row, Trigger
from statecore.machine import compiled
from statecore.model import Control, Leg, Reason

from ._harness import Effort, Figure, Loop, Side, alternate, at_least, at_most, cpu
from ._peers import PEERS, Subject
from ._xstate import xstate

_NAMES = ("initiate", "accept", "up", "hold", "resume", "end", "failed", "lost")
_STATES = ("idle", "ringing", "accepted", "active", "held")

FLOW = Flow(
    name="bench",
    rows=(
        Row("idle", "initiate", "ringing"),
        Row("ringing", "accept", "accepted"),
        Row("accepted", "up", "active"),
        Row("active", "hold", "held", (Custom("quiet"),), when="allowed", unless="locked"),
        Row("held", "resume", "active", (Custom("loud"),), when="allowed", unless="locked"),
        *(Row(state, trigger, "ended", reason=Reason.HANGUP) for state in _STATES for trigger in ("end", "lost")),
        *(Row(state, "failed", "ended", reason=Reason.LOST) for state in _STATES),
    ),
    triggers=tuple(Trigger(name, "user") for name in _NAMES),
    roles=Roles(joinable=(), media=()),
    conditions=("allowed", "locked"),
    start="initiate",
    up="up",
    failed="failed",
    lost="lost",
)
"""What the peers are given in their own words."""

TARGETS = {"transitions": 30.0, "Automat": 4.0, "XState": 10.0, "python-statemachine": 200.0}
"""How many times faster than a peer a transition is to be."""
_US = 1e6 / 2
"""Sides count pairs of transitions, there and back."""
LIMIT = 0.25
"""How long it may take, in microseconds."""


def ours() -> Loop:
    """The compiled look-up, as the switchboard uses it: conditions first, then the row of the cell."""
    subject = Subject("active")
    find, allowed_bit, locked_bit = _machine()

    def step(subject: Subject, trigger: str) -> tuple[object, ...]:
        bits = (allowed_bit if subject.allowed() else 0) | (locked_bit if subject.locked() else 0)
        row = find(subject.state, trigger, bits)
        subject.state = row.to
        return row.effects

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            step(subject, "hold")
            step(subject, "resume")

    return loop


def _machine() -> tuple[Callable[[str, str, int], Row], int, int]:
    machine = compiled(FLOW)
    return machine.next, machine.bits["allowed"], machine.bits["locked"]


def transition(effort: Effort, xstate_install: bool = False) -> list[Figure]:
    """Figures of a guarded transition, one for each peer."""
    sides: dict[str, Side] = {"statecore": cpu(ours())}
    absent = {}
    for name, make in PEERS.items():
        try:
            sides[name] = cpu(make())
        except ImportError:
            absent[name] = "not installed: pip install 'statecore[bench]'"
    node = xstate(install=xstate_install)
    if isinstance(node, str):
        absent["XState"] = node
        taken = alternate(sides, effort)
    else:
        with node:
            taken = alternate(sides | {"XState": node}, effort)
    value = taken.pop("statecore") * _US
    figures = [_against(value, name, seconds * _US) for name, seconds in taken.items()]
    figures += [
        Figure(name="guarded transition", value=value, unit="us", peer=f"{name} ({why})")
        for name, why in absent.items()
    ]
    alone = Figure(
        name="guarded transition", value=value, unit="us", target=f"<= {LIMIT} us", met=at_most(LIMIT, value)
    )
    return [alone, *figures]


def _against(value: float, peer: str, peer_value: float) -> Figure:
    least = TARGETS.get(peer)
    ratio = peer_value / value
    return Figure(
        name="guarded transition", value=value, unit="us", peer=peer, peer_value=peer_value, ratio=ratio,
        target=f">= {least:g}x faster" if least else "", met=at_least(least, ratio) if least else None,
    )  # fmt: skip


# --- with its record --------------------------------------------------------------------------------------------------


def _leg() -> Leg:
    return Leg(
        "2", "8f14e45f-ceea-467f-9575-2f21f9f5a8f1", "c9f0f895-fb98-4b91-99d2-7a1b4f6c3e02",
        "45c48cce-2e2d-4fbd-8a6b-1c8b7a1d0f03", Control("active", "callee"), seq=3, heard=2, joined=1,
    )  # fmt: skip


def _ours_with_record() -> Loop:
    subject = Subject("active")
    find, allowed_bit, locked_bit = _machine()
    first = _leg()

    def step(leg: Leg, trigger: str, now: int) -> tuple[Leg, tuple[object, ...]]:
        control = leg.control
        bits = (allowed_bit if subject.allowed() else 0) | (locked_bit if subject.locked() else 0)
        row = find(control.state, trigger, bits)
        after = Control(row.to, control.role, control.flags, row.reason or "")
        return replace(leg, control=after, deadline=now), row.effects

    def loop(count: int) -> None:
        leg = first
        for now in range(count):
            leg, _ = step(leg, "hold", now)
            leg, _ = step(leg, "resume", now)

    return loop


def _evolve() -> Loop:
    """`attrs.evolve` of an equal record by attrs, alone: no transition."""
    first = _leg()
    names = [field.name for field in fields(Leg)]
    twin = attrs.make_class("Leg", names, frozen=True, slots=True)(**{name: getattr(first, name) for name in names})
    control = first.control
    evolve = attrs.evolve

    def loop(count: int) -> None:
        leg = twin
        for now in range(count):
            leg = evolve(leg, control=control, deadline=now)
            leg = evolve(leg, control=control, deadline=now)

    return loop


def record(effort: Effort) -> list[Figure]:
    """The figure of a guarded transition with the immutable leg after it."""
    taken = alternate({"ours": cpu(_ours_with_record()), "evolve": cpu(_evolve())}, effort)
    value, peer = taken["ours"] * _US, taken["evolve"] * _US
    return [
        Figure(
            name="guarded transition with its new record", value=value, unit="us", peer="attrs.evolve alone",
            peer_value=peer, ratio=peer / value, target="<= 1 us", met=at_most(1.0, value),
        )
    ]  # fmt: skip
