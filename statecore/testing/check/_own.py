"""Flows of one's own: what is explored of any flow, made from its own triggers."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec.structs import replace

from statecore.endpoint import Do
from statecore.flow import CONDITIONS, FLOWS, Flow, Invite, OpenMedia, Row
from statecore.switchboard import End
from statecore.testing._world_parts import Plan
from statecore.testing.check._scenario import Scenario
from statecore.testing.check._scenarios import DEVICES, SHORT, THREE, TWO, does

AT_ONCE = 3
"""So many actions that move nothing are tried in every order; more of them one after the other, in the flow's order."""
_OURS = frozenset(trigger.name for flow in FLOWS.values() for trigger in flow.triggers)
_OF_RECEIVER = {"known", "to_self", "present", "busy"} & CONDITIONS.keys()


def of_flow(flow: Flow) -> list[Scenario]:
    """What is explored of any flow: everything that two people may do, whenever, but for the actions that our flows
    have too; every word that ends it, the application's among them, and tokens that are no good; what fails, lasts too
    long, or dies; a broken link; two devices of who is called; and a third person, if the flow can ring one."""
    two, short = _sides(flow, TWO), _sides(flow, TWO, **SHORT)
    made = [
        _scenario(flow, "", "everything that its users may do", TWO, _moves(two), _ends(two), _stays(two)),
        _scenario(
            flow, "words", "every word that ends it, and tokens that are no good", TWO,
            _moves(_sides(flow, TWO, token="host")), _ends(two, "leave"), _forged(two),
            timers=False, asks=(End("S"),), faults={"asks": 1},
        ),
        _scenario(
            flow, "faults", "what fails, lasts too long, or dies", TWO, _moves(short),
            faults={"failures": 1, "crashes": 1},
        ),
        _scenario(flow, "cut", "a link that breaks", TWO, _moves(two), _stays(two), faults={"cuts": 1}),
    ]  # fmt: skip
    if flow.ring is not None:
        sides = _sides(flow, DEVICES)
        rung = [plan for plan in (*_moves(sides), *_ends(sides)) if not plan.when or flow.roles.ringing & {*plan.when}]
        made.append(_scenario(flow, "devices", "two devices of who is called", DEVICES, rung, timers=False))
    if any(Invite() in row.effects for row in flow.rows):
        three = _sides(flow, THREE)
        made.append(
            _scenario(flow, "third", "a third who is rung into it", THREE, _moves(three), _stays(three[:2], "carol"))
        )
    return made


def _scenario(flow: Flow, part: str, what: str, devices: dict[str, str], *plans: list[Plan], **more: Any) -> Scenario:
    """With a way out for everybody."""
    live = tuple(state for state in flow.states if state != flow.final)
    hangs_up = [does(device, "end", *live, again=True) for device in devices]
    every: list[Plan] = []
    for each in (*plans, hangs_up):
        every += [replace(plan, after=tuple(len(every) + place for place in plan.after)) for plan in each]
    name = f"{flow.name}, {part}" if part else flow.name
    return Scenario(name=name, help=what, devices=devices, plans=tuple(every), flows={**FLOWS, flow.name: flow}, **more)


class _Side(NamedTuple):
    """A device, and what its user may say."""

    flow: Flow
    device: str
    caller: bool
    joins: dict[str, Any]
    """What is more in a command that opens media."""

    def rows(self, trigger: str) -> list[Row]:
        """The rows that this side may take by a user's command."""
        other = "unless" if self.caller else "when"
        return [row for row in self.flow.rows if row.trigger == trigger and "caller" not in getattr(row, other)]

    def plan(self, trigger: str, **more: Any) -> Plan:
        """That it is said, once, wherever this side has a row that does not refuse it."""
        rows = [row for row in self.rows(trigger) if row.refuse is None]
        opening = [row for row in rows if OpenMedia() in row.effects]
        if opening:
            early = any(row.state in self.flow.roles.ringing for row in opening)
            more = {"token": "fresh" if early else "given", **self.joins, **more}
        return does(self.device, trigger, *dict.fromkeys(row.state for row in rows), **more)

    def of_kind(self, kind: str) -> list[str]:
        """The user's triggers that move this side's leg, that only end it, or that leave it where it is."""
        found = []
        for trigger in self.flow.triggers:
            rows = [row for row in self.rows(trigger.name) if row.refuse is None]
            if trigger.by == "user" and trigger.name != self.flow.start and rows and _kind(self.flow, rows) == kind:
                found.append(trigger.name)
        return found


def _kind(flow: Flow, rows: list[Row]) -> str:
    if any(row.to not in (row.state, flow.final) or OpenMedia() in row.effects for row in rows):
        return "moves"
    return "ends" if any(row.to == flow.final for row in rows) else "stays"


def _sides(flow: Flow, devices: dict[str, str], **joins: Any) -> list[_Side]:
    return [_Side(flow, device, flow.ring is not None and device == "a1", joins) for device in devices]


def _moves(sides: list[_Side]) -> list[Plan]:
    """How it begins, and goes on."""
    flow = sides[0].flow
    if flow.ring is not None:
        plans = [Plan("a1", Do("S", flow.start, flow=flow.name, receiver="bob"))]
    else:
        joins = {"token": "fresh", **sides[0].joins}
        plans = [Plan(side.device, Do("S", flow.start, flow=flow.name, **joins)) for side in sides]
    return [*plans, *(side.plan(trigger) for side in sides for trigger in side.of_kind("moves"))]


def _ends(sides: list[_Side], *also: str) -> list[Plan]:
    """The words that end it: `end` is everybody's way out, and `leave` is as good as that."""
    left = {"end", "leave"} - {*also}
    return [side.plan(word) for side in sides for word in side.of_kind("ends") if word not in left]


def _stays(sides: list[_Side], user: str = "nobody") -> list[Plan]:
    """The actions that move nothing, and that are the flow's own; `user` is whom they name, if they name somebody."""
    plans: list[Plan] = []
    for side in sides:
        first = len(plans)
        own = [trigger for trigger in side.of_kind("stays") if trigger not in _OURS]
        for trigger in own:
            names = any(_OF_RECEIVER & {*row.when, *row.unless} for row in side.rows(trigger))
            before = (len(plans) - 1,) if len(own) > AT_ONCE and len(plans) > first else ()
            plans.append(replace(side.plan(trigger, data={"user": user} if names else None), after=before))
    return plans


def _forged(sides: list[_Side]) -> list[Plan]:
    """A token that is another's, wherever one is asked for."""
    plans = []
    for side in sides:
        for trigger in side.of_kind("moves"):
            rows = [row for row in side.rows(trigger) if "authorized" in (*row.when, *row.unless)]
            if rows:
                states = dict.fromkeys(row.state for row in side.rows(trigger) if row.state != side.flow.final)
                plans.append(does(side.device, trigger, *states, token="foreign"))
    return plans
