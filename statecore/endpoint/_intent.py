"""What a command may come to, as far as the device can tell: worked out once for each situation, then remembered."""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias

from msgspec import Struct

from ..flow import OpenMedia, Row
from ..machine import FlowMachine
from ..model import NO_FLAGS
from ._tell import capturing
from ._types import LocalLeg

Goal: TypeAlias = Literal["ringing", "joinable", "media", "heard"]
Turn: TypeAlias = tuple[str, bool]
"""A flag, and whether it is set or cleared."""


class Intent(Struct, frozen=True):
    """The rows that a command may take."""

    rows: tuple[Row, ...]
    """Those that refuse nothing. None of them: the command is illegal."""
    refusing: tuple[Row, ...]
    """Those that refuse."""
    own: Row | None
    """The one that the device may take by itself."""
    moves: bool
    """Whether any of them changes anything."""
    goal: Goal
    """What is reached if one is taken."""
    agreed: frozenset[str]
    """What capture the user says yes to."""
    revoked: frozenset[str]
    """What capture the user takes his yes back from."""
    legal: tuple[str, ...]
    """What the user may say instead; only where there are no rows."""


def intent(machine: FlowMachine, leg: LocalLeg, trigger: str) -> Intent:
    """What a command may come to for this leg."""
    others = NO_FLAGS
    for peer in leg.peers:
        others |= peer.flags
    changing = _changing(machine, leg)
    return _intent(machine, trigger, leg.state, leg.role, leg.type, leg.flags, leg.grants, others, changing)


def _changing(machine: FlowMachine, leg: LocalLeg) -> frozenset[str]:
    """The flags that what is owed may change."""
    changing = NO_FLAGS
    for command in leg.owed:
        changing |= _marks(machine, leg.state, command.trigger)
    return changing


@functools.cache
def _marks(machine: FlowMachine, state: str, trigger: str) -> frozenset[str]:
    """The flags that a command may change."""
    return frozenset(flag for flag, _ in _turns(machine, state, trigger))


@functools.cache
def _turns(machine: FlowMachine, state: str, trigger: str) -> frozenset[Turn]:
    """What a command may do to flags."""
    cell = machine.cells[state].get(trigger)
    return frozenset(turn for row in (cell.distinct if cell is not None else ()) for turn in _turned(row))


def _turned(row: Row) -> list[Turn]:
    return [*((flag, True) for flag in row.sets), *((flag, False) for flag in row.clears)]


def undone(machine: FlowMachine, leg: LocalLeg, trigger: str, n: int) -> tuple[frozenset[str], str]:
    """How a command that failed is taken back, which may have been heard all the same: what capture it is not to open,
    and the user's command that turns back the flags it may have turned (of several the one that turns back most).
    Nothing, and none, if it opens no capture, or what was said after it opens the same."""
    rows, changing = intent(machine, leg, trigger).rows, _changing(machine, leg)
    turned = {(flag, on) for row in rows for flag, on in _turned(row) if flag in changing or on != (flag in leg.flags)}
    kinds = frozenset(machine.triggers[trigger].consent)
    later = [command.trigger for command in leg.owed if command.n > n]
    if not (kinds or turned & _switches(machine)) or any(turned & _turns(machine, leg.state, name) for name in later):
        return NO_FLAGS, ""
    back, best = {(flag, not on) for flag, on in turned}, ("", 0)
    for other in machine.flow.triggers:
        if other.by == "user" and other.grant is None and not other.consent:
            most = max((len(back & _turns(machine, row.to, other.name)) for row in rows), default=0)
            best = (other.name, most) if most > best[1] else best
    on_now = capturing(machine, leg.grants, leg.consent, leg.flags)
    return (kinds - on_now if turned else NO_FLAGS), best[0]


@functools.cache
def _switches(machine: FlowMachine) -> frozenset[Turn]:
    """What opens capture if it is done to a flag."""
    turns: list[Turn] = []
    for capture in machine.flow.captures:
        turns += [(capture.on, True)] if capture.on is not None else []
        turns += [(flag, False) for flag in capture.off]
    return frozenset(turns)


@functools.lru_cache(maxsize=4096)
def _intent(
    machine: FlowMachine,
    trigger: str,
    state: str,
    role: str,
    kind: str,
    flags: frozenset[str],
    grants: frozenset[str],
    others: frozenset[str],
    changing: frozenset[str],
) -> Intent:
    named = machine.triggers.get(trigger)

    def knows(name: str, trigger: str) -> bool | None:
        """Whether a condition holds; None if only the switchboard knows."""
        if name in machine.flags:  # what an owed command is about to change, nobody knows here
            return name in flags if name not in changing else None
        if name.startswith("other_"):
            return name[6:] in others
        if name == "granted":
            return machine.grants(trigger, grants)
        return {"caller": role == "caller", "video": kind == "video"}.get(name)

    possible = machine.possible(state, trigger, knows)
    rows = tuple(row for row in possible if row.refuse is None)
    return Intent(
        rows,
        tuple(row for row in possible if row.refuse is not None),
        next((row for row in rows if row.decider == "endpoint"), None),
        any(row.effects or row.to != state for row in rows),
        _goal(machine, state, rows),
        frozenset(named.consent if named is not None else ()),
        frozenset(named.revokes if named is not None else ()),
        () if rows else tuple(machine.legal(state, knows)),
    )


def _goal(machine: FlowMachine, state: str, rows: tuple[Row, ...]) -> Goal:
    roles = machine.flow.roles
    if any(OpenMedia() in row.effects for row in rows):
        return "media"
    if any(row.to in roles.ringing and row.to != state for row in rows):
        return "ringing"
    if any(row.to in roles.joinable and row.to != state for row in rows):
        return "joinable"
    return "heard"


@functools.cache
def reached(machine: FlowMachine, state: str) -> frozenset[str]:
    """The goals that a leg in this state has reached."""
    roles = machine.flow.roles
    goals = {
        "ringing": state != machine.initial,
        "joinable": state in machine.answered,
        "media": state in roles.media,
    }
    return frozenset(goal for goal, is_reached in goals.items() if is_reached)
