"""The service alone: every record there is, as one value. One decision at a time, every decision looked at."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from statecore.flow import Deadline
from statecore.model import Leg, Line, Record
from statecore.ports import Key
from statecore.switchboard import Deliver, Done, Due, Input, Register, Restart
from statecore.testing._probes import assert_deaf
from statecore.testing._world_parts import NOON, Records, call_token
from statecore.testing.check._scenario import Core, Scenario
from statecore.testing.oracle import Watch, assert_always, assert_closed
from statecore.wire import View, encode

Store: TypeAlias = tuple[tuple[Key, Any], ...]
"""Every record by its key, in the keys' order."""
Post: TypeAlias = tuple[tuple[str, str, bytes], ...]
"""Messages in their order: the device and epoch they are for, and the bytes."""


class Ask(Struct, frozen=True):
    """Something the service has to decide about."""

    kind: str
    """`take` an input, `die` right after its commit, `leg`, `empty` or `lease` for a timer, `older` for numbering."""
    what: Any
    """The input, or what the timer is of."""


class Desk:
    """The service at one moment, as the oracle looks at it."""

    def __init__(self, core: Core, store: Store) -> None:
        self.board = core.board
        self.store: Records = Records(store)
        self.now = NOON

    def records(self) -> list[Record]:
        """Every call."""
        return [value for value in self.store.values() if isinstance(value, Record)]

    def record(self, session: str) -> Record:
        """A call."""
        record = self.store["call", session]
        assert isinstance(record, Record), f"no call {session}"
        return record


class OfficeRules:
    """How the service decides, under the eyes of the oracle."""

    def __init__(self, core: Core, scenario: Scenario) -> None:
        self.core = core
        self.users = sorted(set(scenario.devices.values()))
        self._known = sorted({user for device, user in scenario.devices.items() if device not in scenario.guests})
        self.always = scenario.always
        self._watch = Watch({})
        self._deaf: set[Any] = set()

    def begin(self) -> Store:
        """The service knows everybody, and there is no call."""
        store = Records()
        for user in self._known:
            self._decide(store, Register(user, user.title()))
        return _stored(store)

    def desk(self, store: Store) -> Desk:
        """For the oracle to look at."""
        return Desk(self.core, store)

    def decide(self, before: Store, ask: Ask) -> tuple[Store, Post]:
        """Decide, commit and be looked at: the records after it, and what is to be sent."""
        store = Records(before)
        post: Post = ()
        if ask.kind == "older":
            self._sink(store, *ask.what)
        else:
            post = self._decide(store, self._due(store, ask) if ask.kind in _AGED else ask.what)
        if ask.kind == "die":
            for user in self.users:
                self._decide(store, Restart(user))
            post = ()
        after = _stored(store)
        if after != before:
            self._look(after)
        return after, post

    def _sink(self, store: Records, user: str, name: str) -> None:
        """A device has a newer connection: the number of the one that is known sinks."""
        line = store["line", user]
        if line is not None:
            devices = tuple(replace(d, conn=d.conn - 1) if d.device == name else d for d in line.devices)
            store["line", user] = replace(line, devices=devices)

    def timers(self, store: Store) -> list[Ask]:
        """The timers of calls that are armed. Those of lines are the devices' leases: see `Stations`."""
        found = []
        for (kind, name), value in store:
            if kind == "call":
                found += [Ask("leg", (name, i)) for i, leg in enumerate(value.legs) if leg.deadline and not leg.end.at]
                found += [Ask("empty", name)] if value.empty_until else []
                assert not any(offer.until for offer in value.offers), "offers are not explored"
        return found

    def _due(self, store: Records, ask: Ask) -> Due:
        """Let one timer be due, and no other."""
        if ask.kind == "lease":
            user, name = ask.what
            line = store["line", user]
            if line is not None:
                devices = tuple(replace(d, lease=NOON) if d.device == name else d for d in line.devices)
                store["line", user] = replace(line, devices=devices)
            return Due(("line", user))
        session, place = ask.what if ask.kind == "leg" else (ask.what, -1)
        record = store["call", session]
        legs = tuple(replace(leg, deadline=NOON) if i == place else leg for i, leg in enumerate(record.legs))
        until = NOON if ask.kind == "empty" else record.empty_until
        store["call", session] = replace(record, legs=legs, empty_until=until)
        return Due(("call", session))

    def _decide(self, store: Records, given: Input) -> Post:
        board = self.core.board
        decision = board.step(store, given, NOON)
        assert isinstance(decision, Done), f"{given} needs {decision}"
        before = {key: store[key] for key in decision.writes}
        self._watch.decided(board, before, decision, NOON)
        for key, value in decision.writes.items():
            if isinstance(value, Record):
                self._check_deadlines(before[key], value)
                value = self._aged(value)
            store[key] = value
        return tuple(_posted(effect) for effect in decision.effects)

    # --- deadlines

    def _armed(self, record: Record, leg: Leg) -> Deadline | None:
        return self.core.board.machine(record.flow).deadline(leg.control.state, leg.control.flags)

    def _check_deadlines(self, old: Record | None, new: Record) -> None:
        """A deadline is set when a leg comes under it, to the table's duration, and never touched again."""
        ringing = self.core.board.machine(new.flow).flow.roles.ringing
        for place, leg in enumerate(new.legs):
            armed = self._armed(new, leg)
            before = old.legs[place] if old is not None and place < len(old.legs) else None
            if armed is None or leg.control.state in ringing:
                continue  # `Watch` has held those to zero, and to the call's one ring timer
            is_old = before is not None and old is not None and self._armed(old, before) == armed
            wanted = NOON + armed.length(self.core.board.milliseconds)
            # All that was armed before is one millisecond older, unless it fired just now: so it shows.
            assert leg.deadline == wanted - is_old or (is_old and leg.deadline == NOON), f"{leg} has a wrong deadline"

    def _aged(self, record: Record) -> Record:
        ringing = self.core.board.machine(record.flow).flow.roles.ringing
        legs = []
        for leg in record.legs:
            armed = self._armed(record, leg)
            if armed is not None and leg.control.state not in ringing:
                leg = replace(leg, deadline=NOON + armed.length(self.core.board.milliseconds) - 1)
            legs.append(leg)
        return replace(record, legs=tuple(legs))

    # --- the oracle

    def _look(self, store: Store) -> None:
        desk = self.desk(store)
        assert_always(desk)
        if is_over(store):
            assert_closed(desk)
        if self.always is not None and desk.records():
            self.always(desk)
        shape = tuple(
            (r.flow, r.end.at > 0, r.merged_into, tuple((leg.control, leg.heard > 0) for leg in r.legs))
            for r in desk.records()
        )
        if shape not in self._deaf:  # the probes are many; they depend on little
            self._deaf.add(shape)
            assert_deaf(desk)


def _posted(effect: Deliver) -> tuple[str, str, bytes]:
    """A message as it goes over the wire. How long a timer has still to run is checked, and left out."""
    message = effect.message
    if isinstance(message, View):
        token = call_token(effect.user, message.session, NOON // 1000) if effect.wants_token else ""
        message = replace(message, token=token, left=0)
    return effect.device, effect.epoch, encode(message)


_AGED = ("leg", "empty", "lease")


def _stored(store: Records) -> Store:
    return tuple(sorted(store.items(), key=_key))


def _key(item: tuple[Key, Any]) -> Key:
    return item[0]


def is_over(store: Store) -> bool:
    """Whether every call has ended."""
    return all(value.end.at for (kind, _), value in store if kind == "call")


def is_empty(store: Store) -> bool:
    """Whether nobody is in any call, though a session may yet wait for somebody to come back."""
    return all(value.end.at or value.empty_until for (kind, _), value in store if kind == "call")


def erased(store: Store, user: str) -> Store:
    """What concerns one user only."""
    return tuple((key, _erased(key, value, user)) for key, value in store)


def _erased(key: Key, value: Any, user: str) -> Any:
    kind, name = key
    if kind == "bound":
        return value
    if kind == "line":
        return value if name == user else Line(name)
    legs = tuple(leg if leg.user == user else replace(leg, seq=0, heard=0, refused="") for leg in value.legs)
    return replace(value, legs=legs)
