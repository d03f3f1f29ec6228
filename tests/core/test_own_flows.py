"""What the switchboard makes of flows of one's own: whom a `Fire` reaches, what opens, who is told and who rings."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from statecore.flow import FLOWS, RINGING, SESSION, Fire, Flow, Invite, Mark, OpenMedia, Retype, Row, Trigger
from statecore.model import Invitation, Line, Record
from statecore.switchboard import Act, End, Register
from statecore.testing.world import World
from statecore.wire import Command

WHO = {"a1": "alice", "a2": "alice", "b1": "bob", "b2": "bob", "c1": "carol"}


def world(flow: Flow, devices: dict[str, str] = WHO) -> World:
    """A world that knows the flow."""
    return World(devices, flows={**FLOWS, flow.name: flow}).settle()


def say(made: World, device: str, trigger: str, **more: Any) -> Record:
    """A command straight to the switchboard: the call as it stands then."""
    endpoint = made.places[device].endpoint
    made.decide(Act(endpoint.user, device, endpoint.epoch, Command("S", 900, trigger, **more)))
    return made.record("S")


def call(made: World, flow: str) -> World:
    """Alice and Bob talk."""
    made.said(("a1", "initiate"), flow=flow, receiver="bob")
    made.said(("b1", "accept"))
    return made.said(("a1", "join"), ("b1", "join"), token="given")


def line(made: World, user: str) -> Line:
    """A user's line."""
    value = made.store["line", user]
    assert isinstance(value, Line)
    return value


POKES = SESSION.extend(
    "pokes",
    triggers=[*(Trigger(f"poke_{whom}", "user") for whom in ("others", "peers", "siblings")), Trigger("poked", "leg")],
    flags=["bright"],
    rows=[
        *(Row("active", f"poke_{whom}", "active", [Fire("poked", whom)]) for whom in ("others", "peers", "siblings")),
        Row("active", "poked", "active", [Mark("bright")], unless="bright"),
        Row("active", "poked", "active", [Mark("bright", False)], when="bright"),
    ],
)


@pytest.mark.parametrize(("whom", "pids"), [("others", {"1", "3", "4"}), ("peers", {"1", "4"}), ("siblings", {"3"})])
def test_what_is_fired_reaches_whom_it_names(whom: Any, pids: set[str]) -> None:
    """Other legs, those of other people, or those of the same user's other devices: never who fired, each once, and
    nobody who is gone."""
    made = world(POKES, {**WHO, "c2": "carol"})
    order = ("a1", "b1", "b2", "c1", "c2", "a2")
    made.said(*((device, "join") for device in order), flow="pokes", token="fresh")
    made.said(("c2", "leave"), ("a2", "leave"))
    assert made.say("b1", f"poke_{whom}") == "ok"
    assert {leg.pid for leg in made.record("S").legs if "bright" in leg.control.flags} == pids


def test_a_flow_may_let_in_whoever_knows_its_name() -> None:
    """A join that asks for no token is taken, and gives no grant."""
    rows = [
        attrs.evolve(row, when=[name for name in row.when if name != "authorized"])
        for row in SESSION.rows
        if row.refuse != "token"
    ]
    made = world(attrs.evolve(SESSION, name="open", rows=rows))
    record = say(made, "a1", "join", flow="open", flags=frozenset({"camera", "audio_muted"}))
    (leg,) = record.legs
    assert (leg.control.state, leg.grants) == ("accepted", frozenset())
    assert leg.control.flags == {"joined", "audio_muted"}


def test_a_flow_may_open_the_media_of_another() -> None:
    """What is fired brings no flags and no grants along."""
    pulls = RINGING.extend(
        "pulls",
        triggers=[Trigger("pull", "user"), Trigger("pulled", "leg")],
        rows=[
            Row("accepted", "pull", "accepted", [OpenMedia(), Fire("pulled", "others")], unless="joined"),
            Row("accepted", "pulled", "accepted", [OpenMedia()], unless="joined"),
        ],
    )
    made = world(pulls)
    made.said(("a1", "initiate"), flow="pulls", receiver="bob")
    made.said(("b1", "accept"))
    record = say(made, "a1", "pull", flags=frozenset({"audio_muted"}))
    joined = [(leg.joined, sorted(leg.control.flags), leg.grants) for leg in record.legs if not leg.end.at]
    assert joined == [(1, ["audio_muted", "joined"], frozenset()), (2, ["joined"], frozenset())]


def test_an_open_invitation_is_over_with_the_room_that_it_was_to() -> None:
    """A call that waits for somebody to come back, in which one who has no device is rung still: its end settles it."""
    room = RINGING.extend("room", triggers=[Trigger("add", "user")], rows=[Row("active", "add", "active", [Invite()])])
    room = attrs.evolve(room, lingers=True)
    made = world(room, {"a1": "alice", "b1": "bob"})
    made.decide(Register("dora"))
    call(made, "room")
    assert made.say("a1", "add", data={"user": "dora"}) == "ok"
    made.say("a1", "end")
    assert made.record("S").empty_until == made.now + 60_000
    assert made.record("S").invitations == (Invitation("bob", "left"), Invitation("dora"))
    made.decide(End("S"))
    assert made.record("S").invitations == (Invitation("bob", "left"), Invitation("dora", "unanswered"))
    assert (made.record("S").end.at, line(made, "dora").holds) == (made.now, ())


def test_everybody_hears_of_what_kind_the_call_has_become() -> None:
    """Also where nobody's own part changes by it."""
    kinds = SESSION.extend(
        "kinds", triggers=[Trigger("see", "user")], rows=[Row("active", "see", "active", [Retype("video")])]
    )
    made = world(kinds)
    made.said(*((device, "join") for device in ("a1", "b1", "c1")), flow="kinds", token="fresh", type="audio")
    assert made.say("b1", "see") == "ok"
    legs = [made.leg(device, "S") for device in ("a1", "b1", "c1")]
    assert [leg and leg.type for leg in legs] == ["video", "video", "video"]
    assert made.record("S").type == "video"


def test_who_is_not_known_is_not_busy() -> None:
    """Nor rung: a flow may ask for the one and not for the other."""
    calls = RINGING.extend(
        "calls",
        triggers=[Trigger("add", "user")],
        rows=[
            Row("active", "add", "active", [Invite()], unless="busy"),
            Row("active", "add", "active", when="busy", refuse="user_busy"),
        ],
    )
    made = call(world(calls), "calls")
    before = made.record("S").invitations
    assert made.say("a1", "add", data={"user": "nobody"}) == "ok"
    assert made.record("S").invitations == before
