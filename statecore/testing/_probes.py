"""What must change nothing: foreign, stale, illegal and premature inputs, tried out on the service."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from statecore.machine import FlowMachine
from statecore.model import Leg, Line, Record
from statecore.ports import Key
from statecore.switchboard import Act, Connect, Disconnect, Done, Due, next_due
from statecore.testing._world_parts import Service, claims
from statecore.wire import Command, Hello, Refused


def assert_deaf(service: Service) -> int:
    """Foreign, stale, illegal and premature inputs change nothing but the number of the last command; answers with how
    many were tried."""
    tried = 0
    for record in service.records():
        machine = service.board.machine(record.flow)
        for trigger in sorted(machine.triggers):
            tried += _probe(service, record, trigger, ("mallory", "m", "m-1"))
            for leg in record.legs:
                tried += _probe(service, record, trigger, (leg.user, leg.device, "stale"))
                tried += _probe_own(service, machine, record, leg, trigger)
        if not 0 < next_due(record) <= service.now:
            assert not _writes(service, Due(("call", record.session_id)))
    for key, value in service.store.items():
        if key[0] == "bound":
            tried += _probe_bound(service, key[1])
        for device in value.devices if isinstance(value, Line) else ():
            assert not _writes(service, Disconnect(value.user, device.device, device.epoch, device.conn - 1))
    return tried


def _probe_bound(service: Service, token_id: str) -> int:
    """A token that a guest's device has joined by lets no other device in."""
    user, session = token_id.split("/")
    guest = claims(user, session, service.now // 1000, token_id=token_id)
    assert not _writes(service, Connect(user, Hello("m1", "m1-1", 1), guest)), "a bound token admits another device"
    return 1


def _writes(service: Service, given: Any) -> dict[Key, Any]:
    decision = service.board.step(service.store, given, service.now)
    assert isinstance(decision, Done)
    return decision.writes


def _probe(service: Service, record: Record, trigger: str, who: tuple[str, str, str]) -> int:
    command = Command(record.session_id, 2**40, trigger, flow=record.flow, receiver="bob")
    assert not _writes(service, Act(*who, command)), f"{trigger} of {who} was taken"
    return 1


def _probe_own(service: Service, machine: FlowMachine, record: Record, leg: Leg, trigger: str) -> int:
    """A number that was taken before changes nothing; a trigger without a row only counts."""
    newest = [g for g in record.legs if (g.user, g.device, g.epoch) == (leg.user, leg.device, leg.epoch)][-1]
    if record.merged_into:
        return 0
    if newest is not leg:
        return _probe_gone(service, machine, record, leg, trigger)
    old = Act(leg.user, leg.device, leg.epoch, Command(record.session_id, leg.heard, trigger))
    assert not _writes(service, old), f"{trigger} was taken twice"
    may_return = trigger == machine.flow.start and not record.receiver
    if trigger in machine.cells[leg.control.state] or may_return:
        return 1
    act = Act(leg.user, leg.device, leg.epoch, Command(record.session_id, leg.heard + 1, trigger))
    decision = service.board.step(service.store, act, service.now)
    assert isinstance(decision, Done)
    counted = tuple(replace(g, heard=g.heard + 1, refused=g.refused) if g is leg else g for g in record.legs)
    for key, value in decision.writes.items():
        assert key == ("call", record.session_id)
        legs = tuple(replace(g, refused="") for g in value.legs)
        assert replace(value, legs=legs) == replace(record, legs=tuple(replace(g, refused="") for g in counted))
    (effect,) = decision.effects
    assert isinstance(effect.message, Refused), f"{trigger} is legal in {leg.control.state}"
    assert effect.message.code == "illegal_transition"
    assert effect.message.data["state"] == leg.control.state
    assert set(effect.message.data["legal"]) <= set(machine.legal(leg.control.state)) - {trigger}
    return 2


def _probe_gone(service: Service, machine: FlowMachine, record: Record, leg: Leg, trigger: str) -> int:
    """What is said to a leg that another of its device succeeded only counts there, unless it ends the call."""
    if trigger in machine.ends or trigger == machine.flow.start:
        return 0
    act = Act(leg.user, leg.device, leg.epoch, Command(record.session_id, leg.heard + 1, trigger, leg.pid))
    for key, value in _writes(service, act).items():
        assert key == ("call", record.session_id)
        legs = tuple(replace(g, heard=leg.heard, refused=leg.refused) if g.pid == leg.pid else g for g in value.legs)
        assert replace(value, legs=legs) == record, f"{trigger} for a leg that is gone was taken"
    return 1
