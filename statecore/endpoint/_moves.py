"""What a fact does to a leg, as far as their shapes tell: worked out once for each pair of shapes, then remembered.

A shape is everything that a decision looks at: states, flags, grants, consent; never an id, a number or a time. So the
shapes are few, and a decision about one is good for every call that comes into it. `_facts` fills in what differs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from ..flow import Row
from ..machine import FlowMachine
from ..model import NO_FLAGS, Reason
from ._intent import reached
from ._tell import capturing, flag_events
from ._types import MediaState
from ._walk import walk


class Stage(Struct, frozen=True):
    """One row of the way, taken: what the leg is then, and what is told."""

    state: str
    reason: Reason | None
    media: MediaState
    closes: bool
    """Whether media is closed here."""
    events: tuple[tuple[str, Any], ...]
    """What listeners are told, and the value told with it."""


class Move(Struct, frozen=True):
    """What a view does to a leg."""

    stages: tuple[Stage, ...]
    """The way, along the table's rows; empty if the leg stays where it is."""
    state: str
    reason: Reason | None
    media: MediaState
    flags: frozenset[str]
    ends: bool
    """Whether the leg is over with it."""
    opens: frozenset[str] | None
    """What to capture from the beginning, if media opens now."""
    tells: bool
    """Whether listeners hear of what is different."""
    begins: bool
    """Whether they hear of everything, for the session begins."""
    events: tuple[tuple[str, Any], ...]
    """What they hear of this leg's own type and flags, and the value told with it."""
    captures: tuple[tuple[str, bool], ...]
    """What capture goes on and off."""
    reached: frozenset[str]
    """The goals that are reached."""
    clocks: bool
    """Whether the session's own clocks run."""


@functools.lru_cache(maxsize=4096)
def move(
    machine: FlowMachine,
    state: str,
    caller: bool,
    kind: str,
    flags: frozenset[str],
    grants: frozenset[str],
    consent: frozenset[str],
    media: MediaState,
    to: str,
    to_kind: str,
    to_flags: frozenset[str],
    to_grants: frozenset[str],
    reason: Reason | None,
    own: bool,
) -> Move | None:
    """What a view (from `to` on) does to a leg (before that); None if the table knows no such way. What the user called
    for himself (`own`) does not ring on its way."""
    joined, final = "joined" in to_flags, machine.final
    rows = walk(machine, state, "joined" in flags, caller, to, joined, reason)
    if rows is None:
        return None
    opens = joined and media == "wanted" and to != final
    quiet = machine.flow.roles.ringing if own else NO_FLAGS
    way = stages(rows, state, "open" if opens else media, final, quiet)
    end = way[-1] if way else None
    now = end.media if end is not None else "open" if opens else media
    ends, tells = to == final, to in machine.media
    begins = tells and state not in machine.media
    before, after = capturing(machine, grants, consent, flags), capturing(machine, to_grants, consent, to_flags)
    changed = before ^ after if now == "open" and "joined" in flags else NO_FLAGS
    return Move(
        way,
        to,
        end.reason if end is not None else None,
        now,
        to_flags,
        ends,
        after - {"screen"} if opens else None,
        tells,
        begins,
        _events(kind, NO_FLAGS if begins else flags, to_kind, to_flags, begins) if tells else (),
        tuple([(what, what in after) for what in sorted(changed)]),
        NO_FLAGS if ends else reached(machine, to),
        now == "open" and tells,
    )


def stages(rows: Sequence[Row], state: str, media: MediaState, final: str, quiet: frozenset[str]) -> tuple[Stage, ...]:
    """What a leg becomes on its way along rows; those that lead into a `quiet` state are not told."""
    way, reason = [], None
    for row in rows:
        if row.to != state:
            state, reason = row.to, row.reason
        closes = media == "open" and (row.closes or state == final)
        media = "closed" if closes else media
        told = row.tells if row.to not in quiet else ()
        customs = [("custom", (custom.name, custom.data)) for custom in row.customs]
        way.append(Stage(state, reason, media, closes, (*[(event, None) for event in told], *customs)))
    return tuple(way)


@functools.lru_cache(maxsize=4096)
def stages_of(machine: FlowMachine, row: Row, state: str, media: MediaState) -> tuple[Stage, ...]:
    """What a leg becomes by a row that the device takes itself."""
    return stages((row,), state, media, machine.final, NO_FLAGS)


def _events(
    kind: str, flags: frozenset[str], to_kind: str, to_flags: frozenset[str], begins: bool
) -> tuple[tuple[str, Any], ...]:
    switched = kind != to_kind and not begins
    events = flag_events(flags, to_flags, own=True, switched=switched)
    return (("call_switched_to_video", None), *events) if switched else events
