"""The service's side of a simulation: connections, the switchboard, a durable store, and its timers."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from statecore.errors import TokenMalformed
from statecore.flow import FLOWS
from statecore.model import Leg, Line, Record
from statecore.ports import Key
from statecore.switchboard import (
    Act,
    Confirm,
    Connect,
    Deliver,
    Disconnect,
    Done,
    Due,
    Input,
    Negotiate,
    Register,
    Restart,
    Route,
    Switchboard,
    next_due,
)
from statecore.testing._world_parts import NOON, Records
from statecore.testing.oracle import Watch
from statecore.tokens import ROLE_GRANTS, Claims, Role
from statecore.wire import Ask, Beat, Command, Free, Hello, Relay, View, decode_up, encode

from ._network import Network
from ._parts import Place, Wire

_read_claims = msgspec.json.Decoder(Claims).decode
_write = msgspec.json.Encoder(order="deterministic").encode


class Office(Network):
    """Decides and delivers. What it has committed survives its crashes; everything else is lost with it."""

    places: dict[str, Place]

    def __init__(self, board: Switchboard) -> None:
        super().__init__()
        self.board = board
        self.store: dict[Key, Any] = Records()
        self.watch = Watch({name: board.machine(name) for name in FLOWS})
        self.wires: dict[str, Wire] = {}
        """The connection that counts, for each device."""
        self.down = False
        """Whether the service is down."""
        self.skew = 0
        """How far its wall clock has jumped ahead."""
        self._dies: int | None = None
        """After the next commit it is down for so long."""
        self._armed: dict[Key, int] = {}

    @property
    def clock(self) -> int:
        """Unix time in milliseconds, as the service has it."""
        return NOON + self.agenda.now + self.skew

    def record(self, session: str) -> Record | None:
        """A call, by its id or a second name."""
        record: Record | None = self.store["call", session]
        return self.store["call", record.merged_into] if record is not None and record.merged_into else record

    def records(self) -> list[Record]:
        """Every call."""
        return [value for value in self.store.values() if isinstance(value, Record)]

    def leg_of(self, record: Record, device: str) -> Leg | None:
        """A device's newest leg in a call."""
        epoch = self.places[device].endpoint.epoch
        return next((leg for leg in reversed(record.legs) if (leg.device, leg.epoch) == (device, epoch)), None)

    # --- deciding

    def decide(self, given: Input) -> Done:
        """Decide, commit, deliver; or die between the commit and the delivery."""
        decision = self.board.step(self.store, given, self.clock)
        assert isinstance(decision, Done), f"{given} needs {decision}"
        before = {key: self.store[key] for key in decision.writes}
        self.store.update(decision.writes)
        self.watch.decided(self.board, before, decision, self.clock)
        self.note_decision(given, decision)
        for key, value in decision.writes.items():
            self._arm(key, value)
        if decision.writes and self._dies is not None:
            milliseconds, self._dies = self._dies, None
            self.mix.faults["stop_after_commit"] += 1
            self.stop(milliseconds)
            return decision
        for effect in decision.effects:
            self._post(effect)
        return decision

    def note_decision(self, given: Input, decision: Done) -> None:
        """For the trace."""

    def _post(self, effect: Deliver) -> None:
        wire = self.wires.get(effect.device)
        if wire is None or wire.epoch != effect.epoch or not wire.there:
            return
        message = effect.message
        if effect.wants_token and isinstance(message, View):
            message = replace(message, token=self.token(effect.user, message.session))
        self.carry(wire, 1, encode(message))

    # --- its timers

    def _arm(self, key: Key, value: Any) -> None:
        due = next_due(value)
        if due and due < self._armed.get(key, due + 1):
            self._armed[key] = due
            self.agenda.at(due - NOON - self.skew, self._fire, key, due)

    def _fire(self, key: Key, due: int) -> None:
        if self._armed.get(key) != due:
            return
        del self._armed[key]
        if self.down:
            return
        if 0 < next_due(self.store[key]) <= self.clock:
            self.decide(Due(key))
            if isinstance(self.store[key], Line):
                self._drop_unlisted(self.store[key])
        self._arm(key, self.store[key])

    def _drop_unlisted(self, line: Line) -> None:
        """A device whose lease ran out is to connect anew."""
        listed = {(device.device, device.epoch) for device in line.devices}
        for wire in list(self.wires.values()):
            if wire.user == line.user and (wire.device, wire.epoch) not in listed:
                self.hang_up(wire)

    # --- its life

    def stop(self, milliseconds: int) -> None:
        """The service dies, and comes back with what it has committed."""
        self.down = True
        self.note_crash()
        for wire in list(self.wires.values()):
            wire.there = False
            self.tell_cut(wire)
        self.wires.clear()
        self._armed.clear()
        self.agenda.after(milliseconds, self._start)

    def forget(self) -> None:
        """The store did not outlive the service: it comes back with an empty one, and knows the users alone."""
        self.mix.count(self.records())
        self.watch.forgotten |= {record.session_id for record in self.records()}
        users = [name for kind, name in self.store if kind == "line"]
        self.store.clear()
        for user in users:
            self.register(user)

    def note_crash(self, device: str = "") -> None:
        """The live calls of a device, or all, have met a crash."""
        for record in self.records():
            if not record.end.at and (not device or any(leg.device == device for leg in record.legs)):
                self.mix.met["crash"].add(record.session_id)

    def stop_after_commit(self, milliseconds: int) -> None:
        """The service dies as soon as it has committed something, before anybody hears of it."""
        self._dies = milliseconds

    def _start(self) -> None:
        if not self.down:
            return
        self.down = False
        for kind, name in list(self.store):
            if kind == "line":
                self.decide(Restart(name))
        for key, value in list(self.store.items()):
            self._arm(key, value)

    def turn_clock(self, milliseconds: int) -> None:
        """Somebody sets the service's clock forward."""
        self.skew += milliseconds
        armed, self._armed = self._armed, {}
        for key in armed:
            self._arm(key, self.store[key])

    # --- messages

    def serve(self, wire: Wire, data: bytes) -> None:
        """A message came up."""
        message = decode_up(data)
        if isinstance(message, Hello):
            self._greet(wire, message)
            return
        assert self.wires.get(wire.device) is wire, f"{message} of {wire.device} before its greeting was answered"
        who = (wire.user, wire.device, wire.epoch)
        if isinstance(message, Command):
            claims, error = self._verify(message.token)
            self.decide(Act(*who, message, claims, error))
        elif isinstance(message, Relay):
            self.decide(Route(*who, message))
        elif isinstance(message, Ask | Free):
            self.decide(Negotiate(*who, message))
        else:
            assert isinstance(message, Beat), message
            assert self.decide(Confirm(*who)).writes, f"{wire.device} is connected and not listed"
            if wire.there:
                self.carry(wire, 1, encode(Beat()))

    def _greet(self, wire: Wire, hello: Hello) -> None:
        older = self.wires.get(wire.device)
        wire.epoch = hello.epoch
        self.wires[wire.device] = wire
        if older is not None and older is not wire:
            self.hang_up(older)
        assert self.decide(Connect(wire.user, hello)).writes, f"{wire.device} is not let in"

    def hang_up(self, wire: Wire) -> None:
        """The service closes its end, or learns that the other is gone."""
        if not wire.there:
            return
        wire.there = False
        if self.wires.get(wire.device) is wire:
            del self.wires[wire.device]
        self.tell_cut(wire)
        if wire.epoch and not self.down:
            self.decide(Disconnect(wire.user, wire.device, wire.epoch, wire.number))

    def register(self, user: str) -> None:
        """A user exists."""
        self.decide(Register(user, user.title()))

    # --- tokens

    def token(self, user: str, session: str, *, grants: frozenset[str] | None = None, age: int = 0) -> str:
        """A call token as text, not signed."""
        second = self.clock // 1000 - age
        rights = ROLE_GRANTS[Role.PARTICIPANT] if grants is None else grants
        claims = Claims(
            issuer="statecore", user=user, session=session, token_id=str(second), issued_at=second,
            not_before=second, expires=second + 3600, grants=rights,
        )  # fmt: skip
        return _write(claims).decode()

    def _verify(self, token: str) -> tuple[Claims | None, TokenMalformed | None]:
        if not token:
            return None, None
        try:
            return _read_claims(token), None
        except msgspec.MsgspecError:
            return None, TokenMalformed(why="it is not one")
