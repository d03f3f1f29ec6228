"""Decisions remembered by their shape, so that what was once worked out row by row is only filled in the next time.

The interpreter (`_work`, `_views`) looks at control states, at who is who, and at whether a thing is there; ids, names
and times it only copies, compares for being the same, and adds to. So two calls of one *shape* go the same way. A
*plan* is what comes of a shape: it is found by letting the interpreter decide about a call of that shape in which every
id and time is a placeholder, and by reading off where the placeholders went. Nothing is decided here, and no rule is
said twice.

What a shape does not show (a second call, another user's line, a fired trigger that asks for a token's grant) stops the
trial: such shapes have no plan, and the interpreter decides about every call of that kind itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NoReturn

from msgspec import Struct
from msgspec.structs import replace

from ..errors import StatecoreError
from ..machine import Cell, FlowMachine
from ..model import Control, Device, Ending, Invitation, Leg, Line, Record
from ..tokens import Claims
from ..wire import Command
from ._commands import Act, Deliver
from ._conditions import is_shown
from ._filling import Fill, fill
from ._lines import LineChange
from ._views import finish
from ._work import Draft, Work

if TYPE_CHECKING:
    from . import Switchboard

_SESSION = "session"
_STRIDE = 10**15
_MOST_LEGS = 8
"""Calls with more legs come in too many shapes to remember."""
_SOURCES = ("now", "joins", "n", "ring_until", "seq", "act", "none")
_NOW, _JOINS, _N, _RING, _SEQ, _LATEST = range(_STRIDE, 7 * _STRIDE, _STRIDE)
"""The placeholders: multiples of a number so large that what was added to one is the remainder."""


class Change(Struct, frozen=True):
    """What becomes of a leg or a record: fields with the same value for every call of the shape, and fields made from
    what differs, as (name, place in `_SOURCES`, what is added)."""

    fixed: dict[str, Any]
    moving: tuple[tuple[str, int, int], ...]


class Plan(Struct, frozen=True):
    """What is decided about every call of one shape."""

    record: Change
    legs: tuple[tuple[int, Change], ...]
    """The legs that change, by their places."""
    answers: tuple[tuple[int, str], ...]
    """Invitations that change, by their places, and what they become."""
    lines: tuple[tuple[LineChange, int], ...]
    """What happens to lines, and the numbers of their users."""
    made: int
    """How many legs are made, for as many of the devices that are connected."""
    told: tuple[tuple[int, bool], ...]
    """The legs that are told, and whether the view is to bring a token."""


class Shape(Struct, frozen=True):
    """What a decision looks at. Users are numbered in the order in which the call names them."""

    flow: str
    type: str
    trigger: str
    place: int
    bits: int
    """The conditions of the command that the rest of the shape does not show."""
    flags: frozenset[str]
    grants: frozenset[str] | None
    given: frozenset[str]
    ringing: bool
    answered: bool
    active: bool
    legs: tuple[tuple[int, Control], ...]
    invitations: tuple[tuple[int, str], ...]
    devices: tuple[tuple[int, int], ...] | None
    """For a new call: how many devices of each user who is invited are connected."""


class NoPlan(Exception):
    """The decision rests on more than the shape shows."""


class Plans:
    """The plans of one switchboard."""

    def __init__(self, board: Switchboard, limit: int) -> None:
        self.board = board
        self.limit = limit
        """How many are remembered; then all are forgotten."""
        self.known: dict[Any, Fill | Literal[False] | None] = {}
        """What carries out the plan of a shape; None if it was met only once, False if it has none."""
        self.hidden: dict[Cell, tuple[str, ...]] = {}

    def of(self, work: Work, record: Record, place: int, act: Act, devices: Any = None) -> Fill | None:
        """What carries out the plan for this command, if there is one. The first decision of a shape has none yet."""
        legs, command, claims = record.legs, act.command, act.claims
        machine, leg = self.board.machine(record.flow), legs[place]
        cell = machine.cells[leg.control.state].get(command.trigger)
        if cell is None or not self.limit or len(legs) > _MOST_LEGS:
            return None
        hidden = self.hidden.get(cell)
        if hidden is None:
            hidden = self.hidden[cell] = tuple(name for name in cell.needs if not is_shown(machine, name))
        bits = 0
        if hidden:
            draft = work.drafts.get(record.session_id) or Draft(record, machine, fresh=False)
            for name in hidden:
                if work.holds(name, draft, leg, act):
                    bits |= machine.bits[name]
        numbers: dict[str, int] = {}
        number = numbers.setdefault
        shape = (
            record.flow,
            record.type,
            command.trigger,
            place,
            bits,
            command.flags,
            claims.grants if claims is not None else None,
            act.given,
            record.ringing_at > 0,
            record.answered_at > 0,
            record.active_at > 0,
            tuple([(number(one.user, len(numbers)), one.control) for one in legs]),
            tuple([(number(one.user, len(numbers)), one.state) for one in record.invitations]),
            devices,
        )
        return self.known.get(shape) or self._meet(machine, shape)

    def _meet(self, machine: FlowMachine, shape: Any) -> Fill | None:
        """A shape without a function: seen for the first time, for the second time, or known to have no plan."""
        if shape not in self.known:
            if len(self.known) >= self.limit:
                self.known.clear()
            self.known[shape] = None
            return None
        if self.known[shape] is None:
            described = Shape(*shape)
            plan = make(self.board, described)
            self.known[shape] = fill(plan, described, machine) if plan is not None else False
        return self.known[shape] or None


# --- how a plan is made -----------------------------------------------------------------------------------------------


class _Nothing(dict[Any, Any]):
    """A view that shows nothing."""

    def __missing__(self, key: Any) -> NoReturn:
        raise NoPlan


class Trial(Work):
    """The interpreter, at work on placeholders."""

    def __init__(self, board: Switchboard, shape: Shape) -> None:
        super().__init__(board, _Nothing(), _NOW)
        self.shape = shape
        self.log: list[tuple[LineChange, int]] = []
        for user, count in shape.devices or ():
            line = Line(str(user), devices=tuple(Device(f"{user}/{n}", "") for n in range(count)))
            self.lines[line.user] = self.old_lines[line.user] = line

    def holds(self, name: str, draft: Draft, leg: Leg, act: Act | None) -> bool:
        if is_shown(draft.machine, name):
            return super().holds(name, draft, leg, act)
        if act is None:
            raise NoPlan
        return bool(self.shape.bits & draft.machine.bits[name])

    def on_line(self, change: LineChange, session: str, user: str) -> None:
        if session != _SESSION:
            raise AssertionError("the view shows this call only")
        self.log.append((change, int(user)))


def _placeholders(shape: Shape) -> Record:
    """A call of this shape."""
    legs = [
        Leg(
            str(place + 1), str(user), str(place), "", control,
            deadline=_LATEST, seq=_SEQ, refused="refused", joined=_JOINS, grants=frozenset({"something"}),
        )
        for place, (user, control) in enumerate(shape.legs)
    ]  # fmt: skip
    return Record(
        session_id=_SESSION,
        flow=shape.flow,
        type=shape.type,  # type: ignore[arg-type]
        initiator="0",
        legs=tuple(legs),
        invitations=tuple([Invitation(str(user), state) for user, state in shape.invitations]),  # type: ignore[arg-type]
        ringing_at=_LATEST if shape.ringing else 0,
        ring_until=_RING,
        answered_at=_LATEST if shape.answered else 0,
        active_at=_LATEST if shape.active else 0,
    )


def make(board: Switchboard, shape: Shape) -> Plan | None:
    """The plan of a shape; None if there is none."""
    base, trial = _placeholders(shape), Trial(board, shape)
    draft = trial.drafts[base.session_id] = Draft(base, board.machine(base.flow), fresh=shape.devices is not None)
    me = base.legs[shape.place]
    try:
        record, told = _try(trial, draft, shape, me)
    except (NoPlan, StatecoreError):
        return None
    legs = [(place, _change(_before(base, record, place), leg)) for place, leg in enumerate(record.legs)]
    return Plan(
        _change(replace(base, legs=record.legs, invitations=record.invitations), record),
        tuple([(place, change) for place, change in legs if change.fixed or change.moving]),
        tuple(
            [
                (place, after.state)
                for place, (before, after) in enumerate(zip(base.invitations, record.invitations, strict=True))
                if before != after
            ]
        ),
        tuple(dict.fromkeys(trial.log)),
        len(record.legs) - len(base.legs),
        tuple([(int(effect.message.pid) - 1, effect.wants_token) for effect in told]),  # type: ignore[union-attr]
    )


def _try(trial: Trial, draft: Draft, shape: Shape, me: Leg) -> tuple[Record, list[Deliver]]:
    command = Command(_SESSION, _N, shape.trigger, flags=shape.flags)
    claims = None
    if shape.grants is not None:
        claims = Claims(
            issuer="", user=me.user, session=_SESSION, token_id="", issued_at=0, not_before=0, expires=0,
            grants=shape.grants,
        )  # fmt: skip
    act = Act(me.user, me.device, me.epoch, command, claims, given=shape.given)
    trial.apply(draft, shape.place, shape.trigger, act)
    trial.heard(draft, shape.place, _N)
    return finish(trial, draft)


def _before(base: Record, record: Record, place: int) -> Leg:
    """A leg as it was; one that is new, as `carry_out` begins it."""
    if place < len(base.legs):
        return base.legs[place]
    leg = record.legs[place]
    initial = Control("", leg.control.role)
    return Leg(leg.pid, leg.user, leg.device, leg.epoch, initial, name=leg.name, avatar=leg.avatar)


def _change(before: Struct, after: Struct) -> Change:
    fixed, moving = {}, []
    for name in after.__struct_fields__:
        value = getattr(after, name)
        if value == getattr(before, name):
            continue
        if isinstance(value, Ending):
            moving.append((name, _SOURCES.index("act" if value.by else "none"), 0))
        elif isinstance(value, int) and value >= _STRIDE:
            moving.append((name, value // _STRIDE - 1, value % _STRIDE))
        else:
            fixed[name] = value
    return Change(fixed, tuple(moving))
