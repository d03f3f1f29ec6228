"""What a flow is made of: rows, triggers, deadlines, roles; and `Flow`, which checks itself when built."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs
from msgspec.structs import asdict

from ._effects import Claim, CloseMedia, Custom, Effect, Fire, Invite, Mark, OpenMedia, Release, Tell
from ._timers import Timers
from .errors import CODES, InvalidFlow
from .model import Reason

# --- rows and the rest of the vocabulary ------------------------------------------------------------------------------


def names(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _set(value: str | Iterable[str]) -> frozenset[str]:
    return frozenset(names(value))


# Type checkers take a parameter's type from its converter, and know `tuple` itself only as a tuple of anything.
def _effects(value: Iterable[Effect]) -> tuple[Effect, ...]:
    return tuple(value)


def _rows(value: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(value)


def _triggers(value: Iterable[Trigger]) -> tuple[Trigger, ...]:
    return tuple(value)


def _timed(value: Iterable[Deadline]) -> tuple[Deadline, ...]:
    return tuple(value)


def _captures(value: Iterable[Capture]) -> tuple[Capture, ...]:
    return tuple(value)


@attrs.frozen
class Row:
    """One transition: in this state, on this trigger, under these conditions, go there and do this."""

    state: str
    """Where the leg is."""
    trigger: str
    """What happens."""
    to: str
    """Where it goes."""
    effects: tuple[Effect, ...] = attrs.field(default=(), converter=_effects)
    """What is done, in this order, after the state has changed."""
    when: tuple[str, ...] = attrs.field(default=(), converter=names, kw_only=True)
    """Conditions that must be true."""
    unless: tuple[str, ...] = attrs.field(default=(), converter=names, kw_only=True)
    """Conditions that must be false."""
    reason: Reason | None = attrs.field(default=None, kw_only=True)
    """Why the leg ended; given exactly where `to` is final."""
    refuse: str | None = attrs.field(default=None, kw_only=True)
    """The code of the error that this trigger raises here. Nothing changes."""
    decider: Literal["switchboard", "endpoint"] = attrs.field(default="switchboard", kw_only=True)
    """Who may take this row by itself; the endpoint only one that ends its leg."""
    sets: frozenset[str] = attrs.field(init=False, eq=False, repr=False)
    """The flags it sets, `joined` among them if it opens media: derived from the effects, for interpreters."""
    clears: frozenset[str] = attrs.field(init=False, eq=False, repr=False)
    """The flags it clears, likewise."""
    closes: bool = attrs.field(init=False, eq=False, repr=False)
    """Whether it closes media, likewise."""
    tells: tuple[str, ...] = attrs.field(init=False, eq=False, repr=False)
    """The events it tells, likewise."""
    customs: tuple[Custom, ...] = attrs.field(init=False, eq=False, repr=False)
    """The application's own effects, likewise."""

    def __attrs_post_init__(self) -> None:
        marks = [effect for effect in self.effects if isinstance(effect, Mark)]
        opens, closes = OpenMedia() in self.effects, CloseMedia() in self.effects
        sets = [mark.flag for mark in marks if mark.on] + ["joined"] * opens
        parts = ["joined", "connected"] * (closes and self.reason is None)  # it lives on without media
        object.__setattr__(self, "sets", frozenset(sets))
        object.__setattr__(self, "clears", frozenset([*parts, *(mark.flag for mark in marks if not mark.on)]))
        object.__setattr__(self, "closes", closes)
        object.__setattr__(self, "tells", tuple(e.event for e in self.effects if isinstance(e, Tell)))
        object.__setattr__(self, "customs", tuple(e for e in self.effects if isinstance(e, Custom)))


@attrs.frozen
class Trigger:
    """A name of something that can happen, and who may make it happen."""

    name: str
    """The name."""
    by: Literal["user", "media", "timer", "leg", "system"]
    """A user's command, a device's media, a timer, another leg's `Fire`, or the service itself."""
    help: str = ""
    """One line for the reference."""
    grant: str | None = attrs.field(default=None, kw_only=True)
    """The grant that the condition `granted` asks for."""
    consent: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=names)
    """What capture ("audio", "video") the user says yes to by this command."""
    revokes: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=names)
    """What capture the user takes his yes back from, at once."""


@attrs.frozen
class Deadline:
    """The timer that a state carries."""

    state: str
    """The state."""
    timer: str | float
    """A field of `Timers` (ring, connect, consent ...), or a number of seconds of its own."""
    trigger: str
    """What it fires at the leg."""
    flag: str | None = None
    """Only while this flag is on."""

    def length(self, milliseconds: Mapping[str, int]) -> int:
        """How long the timer runs, given those of `Timers`; in milliseconds."""
        return milliseconds[self.timer] if isinstance(self.timer, str) else round(self.timer * 1000)


@attrs.frozen(kw_only=True)
class Capture:
    """When a device captures and sends: its token grants it, the flag `on` is set and none of `off` is."""

    kind: Literal["audio", "video", "screen"]
    """What is captured; also the name of the grant."""
    on: str | None = None
    """A flag that must be set; None if joining is enough."""
    off: tuple[str, ...] = attrs.field(default=(), converter=names)
    """Flags that must not be set."""
    type: Literal["audio", "video"] | None = None
    """Only possible while the call is of this type."""
    at_join: bool = True
    """Whether the flags may be set by who joins, as settings say."""


@attrs.frozen(kw_only=True)
class Roles:
    """What the states mean to those who interpret a flow without knowing its names. A state that rings and is joinable
    or has media, too, is *early media*: nobody has answered, but who has joined may be seen and heard already."""

    ringing: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    """It rings: the caller waits, the receiver has not decided."""
    joinable: frozenset[str] = attrs.field(converter=_set)
    """It was accepted: media may open and connect."""
    media: frozenset[str] = attrs.field(converter=_set)
    """Media is up and in-call actions are legal."""


CONDITIONS: dict[str, str] = {
    "caller": "this leg placed the call",
    "joined": "this leg has joined: its media may be open",
    "connected": "this leg has reported that its media works",
    "ready": "every other participant has joined and reported that the media works, and there is one",
    "authorized": "the command carries a token that is good for this session, user and device",
    "granted": "the leg's token grants what the trigger asks for",
    "engaged": "the caller's own line is full, not counting calls that this one replaces",
    "busy": "the receiver's line is full, not counting calls that this one replaces",
    "known": "the receiver is a user the service knows",
    "to_self": "the receiver is the caller",
    "present": "the receiver has a part in the call",
    "glare": "a call of the receiver to this user is ringing",
    "stale": "an older call of this user to the receiver is held by a device that is gone",
    "full": "the session has as many participants as it may have",
    "video": "the call is a video call",
}
"""The conditions the switchboard can work out, besides the flow's flags (the leg's own), `other_` and a flag (some
other participant's), and the application's own. In a call that exists, the receiver is whom the command's data names as
`user` (see `Invite`), if anybody."""


# --- the flow ---------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class Flow:
    """A kind of call: its table, and what its names mean. Checked when it is built (InvalidFlow says which rule broke).

    Build your own, or extend one of ours with `extend`. A flow is plain data: it compares, hashes, and exports as JSON.
    """

    name: str
    """The flow's name; service and client hold flows of the same name and hash."""
    rows: tuple[Row, ...] = attrs.field(converter=_rows, repr=False)
    """The table."""
    triggers: tuple[Trigger, ...] = attrs.field(converter=_triggers, repr=False)
    """Every trigger that a row uses."""
    roles: Roles
    """What the states mean."""
    initial: str = "idle"
    """Where a leg begins: it does not exist yet."""
    final: str = "ended"
    """Where it ends, for good."""
    deadlines: tuple[Deadline, ...] = attrs.field(default=(), converter=_timed)
    """At most one a state (and flag)."""
    flags: tuple[str, ...] = attrs.field(default=(), converter=names)
    """The marks that rows may set."""
    captures: tuple[Capture, ...] = attrs.field(default=(), converter=_captures)
    """What devices capture, and which flags rule it."""
    conditions: tuple[str, ...] = attrs.field(default=(), converter=names)
    """The application's own conditions, beside those of `CONDITIONS`."""
    start: str
    """The trigger that makes a call and its first leg."""
    up: str
    """What a device reports when its media works."""
    failed: str
    """What a device reports when its media cannot go on."""
    lost: str
    """What the service fires when a leg's device is gone."""
    idle: str | None = None
    """What an endpoint fires at itself when it was alone for too long."""
    expire: str | None = None
    """What an endpoint fires at itself when the session lasted as long as its settings allow."""
    dismissed: str | None = None
    """What the service fires at every leg when the application ends the call. Where it has no row a leg is lost."""
    lingers: bool = False
    """Whether people may leave and come back: an empty call waits `Timers.empty` for somebody, and whoever cannot reach
    the only other one waits a lease more, until it is known which of the two is gone."""

    def __attrs_post_init__(self) -> None:
        _check(self)

    @property
    def states(self) -> tuple[str, ...]:
        """Every state, in the order in which the rows first lead to it; the final one last."""
        order = dict.fromkeys([self.initial, *(s for row in self.rows for s in (row.state, row.to))])
        order.pop(self.final, None)
        return (*order, self.final)

    @property
    def participating(self) -> frozenset[str]:
        """The states of a participant: a leg that was accepted and has not left."""
        return self.roles.joinable | self.roles.media

    @property
    def ring(self) -> str | None:
        """The trigger that rings those who are invited, if the flow rings at all."""
        fires = (e for row in self.rows for e in row.effects if isinstance(e, Fire) and e.at == "invited")
        return next((fire.trigger for fire in fires), None)

    def trigger(self, name: str) -> Trigger | None:
        """The trigger of this name."""
        return next((trigger for trigger in self.triggers if trigger.name == name), None)

    def extend(self, name: str, *, rows: Sequence[Row] = (), without: Sequence[Row] = (), **changes: Any) -> Flow:
        """A new flow: this one's rows less `without` plus `rows`; sequences in `changes` are added, others replace."""
        for key in ("triggers", "deadlines", "flags", "captures", "conditions"):
            changes[key] = (*getattr(self, key), *changes.get(key, ()))
        kept = tuple(row for row in self.rows if row not in without)
        return attrs.evolve(self, name=name, rows=(*kept, *rows), **changes)

    def reach(self, state: str) -> frozenset[str]:
        """The states that a leg can be in after this one, itself included."""
        return frozenset(_reach(state, {(row.state, row.to) for row in self.rows if row.refuse is None}))

    def export(self) -> dict[str, Any]:
        """The whole flow as JSON-ready data, for clients in other languages."""
        data: dict[str, Any] = attrs.asdict(self, filter=lambda field, _: field.init, value_serializer=_plain)
        data["states"] = list(self.states)
        for row, source in zip(data["rows"], self.rows, strict=True):
            row["effects"] = [{"do": type(e).__name__, **asdict(e)} for e in source.effects]
        return data

    @property
    def hash(self) -> str:
        """A short digest of the exported table: equal on both sides, or the two must not talk."""
        return _digest(self)


@functools.cache
def _digest(flow: Flow) -> str:
    import hashlib  # noqa: PLC0415 - brings OpenSSL along, and only who connects needs it
    import json  # noqa: PLC0415 - likewise

    return hashlib.sha256(json.dumps(flow.export(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def _plain(_: Any, __: Any, value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value


# --- the rules every flow keeps ---------------------------------------------------------------------------------------


def _check(flow: Flow) -> None:
    for rule in (_names_apart, _names_known, _rows_whole, _no_overlap, _ends, _media, _deadlines):
        if why := rule(flow):
            raise InvalidFlow(flow=flow.name, why=why)


def _known_conditions(flow: Flow) -> set[str]:
    return {*CONDITIONS, *flow.flags, *("other_" + flag for flag in flow.flags), *flow.conditions}


def _names_apart(flow: Flow) -> str:
    """No effect, condition or state may share a name with a trigger: `transitions` would not bind the trigger."""
    triggers = {trigger.name for trigger in flow.triggers}
    if len(triggers) != len(flow.triggers):
        return "a trigger is declared twice"
    named = {name for row in flow.rows for name in (*row.when, *row.unless)}
    tells = {effect.event for row in flow.rows for effect in row.effects if isinstance(effect, Tell)}
    for kind, names in (("state", set(flow.states)), ("condition", named), ("event", tells)):
        shared = triggers & names
        if shared:
            return f"{kind} and trigger share the name {min(shared)!r}"
    return ""


def _names_known(flow: Flow) -> str:
    declared = {trigger.name for trigger in flow.triggers}
    conditions = _known_conditions(flow)
    fired = {e.trigger for row in flow.rows for e in row.effects if isinstance(e, Fire)}
    used = {row.trigger for row in flow.rows} | fired | {deadline.trigger for deadline in flow.deadlines}
    used |= {flow.start, flow.up, flow.failed, flow.lost}
    used |= {role for role in (flow.idle, flow.expire, flow.dismissed) if role is not None}
    if used - declared:
        return f"trigger {min(used - declared)!r} is not declared"
    if declared - used:
        return f"trigger {min(declared - used)!r} is declared but never used"
    for row in flow.rows:
        for name in (*row.when, *row.unless):
            if name not in conditions:
                return f"condition {name!r} of {_name(row)} is not declared"
        for effect in row.effects:
            if isinstance(effect, Mark) and effect.flag not in (*flow.flags, "connected"):
                return f"flag {effect.flag!r} of {_name(row)} is not declared"
        if Invite() in row.effects and flow.ring is None:
            return f"{_name(row)} invites, but nothing in the flow rings"
    return ""


def _rows_whole(flow: Flow) -> str:
    for row in flow.rows:
        if row.refuse is not None:
            if row.to != row.state or row.effects or row.refuse not in CODES:
                return f"{_name(row)} refuses: it must stay, do nothing, and name an error code"
        elif (row.to == flow.final) != (row.reason is not None):
            return f"{_name(row)} must give a reason exactly if it ends the leg"
        elif row.decider == "endpoint" and row.to != flow.final:
            return f"{_name(row)} ends nothing: only the switchboard may take it"
        elif row.to == row.state and (row.tells or row.customs) and not (row.closes or "joined" in row.sets):
            # A device is told where its leg is, and not how it came there.
            return f"{_name(row)} leads nowhere, so nobody is told of it: mark a flag, or lead to a state of its own"
        if set(row.when) & set(row.unless):
            return f"{_name(row)} can never be taken"
    return ""


def _no_overlap(flow: Flow) -> str:
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in flow.rows:
        for other in cells.setdefault((row.state, row.trigger), []):
            if not (set(row.when) & set(other.unless) | set(other.when) & set(row.unless)):
                return f"two rows for one cell: {_name(row)} and {_name(other)}"
        cells[row.state, row.trigger].append(row)
    return ""


def _ends(flow: Flow) -> str:
    """Every state is reachable, the final one from everywhere, and nothing leads out of it."""
    moves = {(row.state, row.to) for row in flow.rows if row.refuse is None}
    if any(state == flow.final for state, _ in moves):
        return f"the final state {flow.final!r} has a row that leads on"
    for state in flow.states:
        if state not in _reach(flow.initial, moves):
            return f"state {state!r} cannot be reached"
        if flow.final not in _reach(state, moves):
            return f"no way from state {state!r} to {flow.final!r}"
    return ""


def _reach(start: str, moves: set[tuple[str, str]]) -> set[str]:
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        fresh = {to for state, to in moves if state == here} - seen
        seen |= fresh
        todo += fresh
    return seen


def _media(flow: Flow) -> str:
    """Media opens on the way to, and closes on the way from, the states that are joinable or carry media."""
    live = flow.roles.joinable | flow.roles.media
    for row in flow.rows:
        opens, closes = OpenMedia() in row.effects, CloseMedia() in row.effects
        if opens and row.to not in live:
            return f"{_name(row)} opens media in a state whose role has none"
        if row.refuse is None and closes != (row.state in live and row.to not in live):
            return f"{_name(row)} must close media exactly if it leaves the states that may have it"
        if row.to in flow.roles.media and row.state not in flow.roles.media and "joined" not in row.when and not opens:
            return f"{_name(row)} reaches a state with media without `joined`"
    claims = any(Claim() in row.effects or Invite() in row.effects for row in flow.rows)
    for row in flow.rows:
        ends = row.refuse is None and row.to == flow.final and row.state != flow.initial
        if claims and ends and Release() not in row.effects:
            return f"{_name(row)} ends a leg without releasing its line"
    return ""


def _deadlines(flow: Flow) -> str:
    timers = [field.name for field in attrs.fields(Timers)]
    seen: set[tuple[str, str | None]] = set()
    for deadline in flow.deadlines:
        if {(deadline.state, deadline.flag), (deadline.state, None)} & seen:
            return f"state {deadline.state!r} has two deadlines"
        if deadline.state not in flow.states:
            return f"deadline {deadline.timer!r} stands in {deadline.state!r}, which is no state"
        if isinstance(deadline.timer, str) and deadline.timer not in timers:
            return f"there is no timer {deadline.timer!r}, but {', '.join(timers)}"
        if not isinstance(deadline.timer, str) and not 0.001 <= deadline.timer <= 86_400:
            return f"the deadline of {deadline.state!r} must be from 0.001 to 86400 seconds"
        seen.add((deadline.state, deadline.flag))
    return ""


def _name(row: Row) -> str:
    conditions = ", ".join([*row.when, *("not " + name for name in row.unless)])
    return f"row ({row.state}, {row.trigger}{' [' + conditions + ']' if conditions else ''}) -> {row.to}"
