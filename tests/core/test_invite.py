"""A third is rung into a call; deadlines and flags of a flow of one's own."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from statecore import RINGING
from statecore.errors import InvalidFlow
from statecore.flow import (
    FLOWS,
    SESSION,
    Claim,
    CloseMedia,
    Deadline,
    Fire,
    Flow,
    Invite,
    Mark,
    Release,
    Row,
    Tell,
    Trigger,
    Withdraw,
)
from statecore.model import Line, Reason, Record
from statecore.settings import ServiceSettings
from statecore.switchboard import Act, Disconnect
from statecore.testing.oracle import assert_over, assert_settled
from statecore.testing.world import World
from statecore.wire import Command, Refused

WHO = {"a1": "alice", "b1": "bob", "c1": "carol", "c2": "carol"}
FREE = {"when": "known", "unless": ("to_self", "present", "busy")}
ADD = RINGING.extend(
    "add",
    triggers=[
        Trigger("add", "user", "ring one more: data `user`"),
        Trigger("stop_adding", "user", "let those ring no more"),
        Trigger("blink", "user", "be bright for a moment"),
        Trigger("blinked", "timer", "the moment is over"),
    ],
    flags=["bright"],
    deadlines=[Deadline("active", 2.5, "blinked", "bright")],
    rows=[
        Row("active", "add", "active", [Invite()], **FREE),  # type: ignore[arg-type]
        Row("active", "add", "active", unless="known", refuse="unknown_user"),
        Row("active", "add", "active", when=("known", "to_self"), refuse="calling_self"),
        Row("active", "add", "active", when=("known", "present"), unless="to_self", refuse="already_in_call"),
        Row("active", "add", "active", when=("known", "busy"), unless=("to_self", "present"), refuse="user_busy"),
        Row("active", "stop_adding", "active", [Withdraw(), Fire("cancelled", "others")]),
        Row("active", "blink", "active", [Mark("bright")]),
        Row("active", "blinked", "active", [Mark("bright", False)]),
    ],
)


def active(flow: Flow = ADD, **more: Any) -> World:
    """Alice and Bob talk, Carol has two devices."""
    world = World(WHO, flows={**FLOWS, flow.name: flow}, **more).settle()
    world.say("a1", "initiate", flow=flow.name, receiver="bob")
    world.say("b1", "accept")
    for device in ("a1", "b1"):
        world.say(device, "join", token="given")
    return world.settle(media=True)


def line(world: World, user: str) -> Line:
    """A user's line."""
    value = world.store["line", user]
    assert isinstance(value, Line)
    return value


def add(world: World, user: Any) -> str:
    """Alice rings somebody into the call: the outcome."""
    return world.say("a1", "add", data={"user": user})


def test_every_device_of_who_is_invited_rings() -> None:
    """An invitation takes the line, rings each device until the ring timer, and the first accept wins."""
    world = active().pass_time(100)
    assert add(world, "carol") == "ok"
    assert (world.state("c1", "S"), world.state("c2", "S")) == ("ringing", "ringing")
    assert line(world, "carol").holds == ("S",)
    record = world.store["call", "S"]
    assert isinstance(record, Record)
    assert [(each.user, each.state) for each in record.invitations] == [("bob", "joined"), ("carol", "ringing")]
    leg = world.its_leg("c1", "S")
    assert leg is not None
    assert leg.deadline == world.now + 45_000
    assert world.say("c1", "accept") == "ok"
    assert (world.state("c1", "S"), world.state("c2", "S")) == ("accepted", "")
    world.say("c1", "join", token="given")
    world.settle(media=True)
    assert {world.state(device, "S") for device in ("a1", "b1", "c1")} == {"active"}


def test_an_invitation_that_nobody_takes_frees_the_line() -> None:
    """Withdrawn, or timed out, it leaves the others where they are and the line free; so does one of who is offline."""
    for end in ("withdrawn", "timed out", "offline"):
        world = active()
        if end == "offline":
            for device in ("c1", "c2"):
                world.cut(device)
        world.user("a1", _do("add", data={"user": "carol"}))
        world.act(("up", "a1"))
        assert line(world, "carol").holds == ("S",)
        if end == "timed out":
            world.pass_time(46)
        else:
            world.user("a1", _do("stop_adding"))
            world.act(("up", "a1"))
        assert line(world, "carol").holds == line(world, "carol").sessions == ()
        world.settle()
        assert (world.state("a1", "S"), world.state("b1", "S"), world.state("c1", "S")) == ("active", "active", "")


def _do(trigger: str, **more: Any) -> Any:
    from statecore.endpoint import Do

    return Do("S", trigger, **more)


@pytest.mark.parametrize(
    ("user", "code"),
    [
        ("nobody", "unknown_user"),
        (17, "unknown_user"),
        ("alice", "calling_self"),
        ("bob", "already_in_call"),
        ("dave", "user_busy"),
    ],
)
def test_who_cannot_be_invited_is_refused(user: Any, code: str) -> None:
    """An invitation of who is not known, in the call already, or busy raises, and changes nothing."""
    who = {**WHO, "d1": "dave", "e1": "eve"}
    world = World(who, flows={**FLOWS, "add": ADD}).settle()
    world.say("d1", "initiate", "T", flow="ringing", receiver="eve")
    world.say("a1", "initiate", flow="add", receiver="bob")
    world.say("b1", "accept")
    for device in ("a1", "b1"):
        world.say(device, "join", token="given")
    world.settle(media=True)
    before = world.record("S")
    assert add(world, user) == code
    assert world.record("S").legs[1:] == before.legs[1:]
    assert world.record("S").invitations == before.invitations


def test_a_refusal_names_who_was_to_be_invited() -> None:
    """Not the receiver of the call, nor who asked."""
    world = active()
    asked = Act("alice", "a1", "a1-1", Command("S", 2**30, "add", data={"user": "nobody"}))
    (effect,) = world.decide(asked).effects
    assert isinstance(effect.message, Refused)
    assert (effect.message.code, effect.message.data["user"]) == ("unknown_user", "nobody")


def test_a_new_call_cannot_be_led_astray() -> None:
    """Data of a command that makes a call says nothing about who is called."""
    world = World(WHO).settle()
    assert world.say("a1", "initiate", flow="ringing", receiver="alice", data={"user": "bob"}) == "calling_self"
    assert world.say("a1", "initiate", "T", flow="ringing", receiver="zoe", data={"user": "bob"}) == "unknown_user"


def test_invitations_have_an_end() -> None:
    """A call takes so many legs and no more, however often somebody is rung into it."""
    world = active(settings=ServiceSettings(session_capacity=3, session_joins=6))
    outcomes = []
    for _ in range(4):
        outcomes.append(add(world, "carol"))
        world.say("a1", "stop_adding")
    assert outcomes == ["ok", "ok", "session_full", "session_full"]
    asked = Act("alice", "a1", "a1-1", Command("S", 2**30, "add", data={"user": "carol"}))
    refused = world.decide(asked).effects[0].message
    assert isinstance(refused, Refused)
    assert (refused.code, refused.data) == ("session_full", {"session_id": "S"})


def test_who_is_not_there_takes_no_room() -> None:
    """Of who is rung into a call, the devices count that ring: not one that is offline."""
    world = active(settings=ServiceSettings(session_capacity=3, session_joins=3))
    assert add(world, "carol") == "session_full"
    world.decide(Disconnect("carol", "c2", "c2-1", 1))
    assert [device.device for device in line(world, "carol").ringing] == ["c1"]
    assert add(world, "carol") == "ok"
    assert [leg.device for leg in world.record("S").legs] == ["a1", "b1", "c1"]


def test_a_deadline_of_its_own() -> None:
    """A deadline may be a number of seconds; it runs while its flag is on."""
    world = active()
    world.say("a1", "blink")
    flags = [world.leg("a1", "S").flags]  # type: ignore[union-attr]
    world.pass_time(2.4)
    flags.append(world.leg("a1", "S").flags)  # type: ignore[union-attr]
    world.pass_time(0.2)
    flags.append(world.leg("a1", "S").flags)  # type: ignore[union-attr]
    assert ["bright" in each for each in flags] == [True, True, False]
    assert world.watch.told["b1", "flag_changed"] == 2


@pytest.mark.parametrize("seconds", [0, -1.0, 86_401.0])
def test_seconds_have_bounds(seconds: float) -> None:
    """A deadline of no time, or of more than a day, is refused when the flow is built."""
    with pytest.raises(InvalidFlow, match="86400"):
        attrs.evolve(ADD, deadlines=[*RINGING.deadlines, Deadline("active", seconds, "blinked", "bright")])


def test_a_flow_that_does_not_ring_cannot_invite() -> None:
    """There is nothing that could ring whom it invites."""
    with pytest.raises(InvalidFlow, match="nothing in the flow rings"):
        SESSION.extend("adds", triggers=[Trigger("add", "user")], rows=[Row("active", "add", "active", [Invite()])])


REST = RINGING.extend(
    "rest",
    triggers=[Trigger("rest", "user", "stay without media"), Trigger("rested", "timer", "long enough")],
    deadlines=[Deadline("resting", 5.0, "rested")],
    rows=[
        Row("active", "rest", "resting", [CloseMedia(), Fire("hangup", "others")]),
        *(
            Row("resting", trigger, "ended", [Release(), Tell("call_ended_message_received")], reason=Reason.HANGUP)
            for trigger in ("rested", "end", "lost")
        ),
    ],
)


def test_a_leg_may_live_on_without_media() -> None:
    """Who leaves media behind has parted: devices and service agree on it, and the leg ends by its own deadline."""
    world = active(REST)
    assert world.say("a1", "rest") == "ok"
    assert (world.state("a1", "S"), world.state("b1", "S")) == ("resting", "")
    leg = world.leg("a1", "S")
    assert leg is not None
    assert (leg.media, leg.flags) == ("closed", frozenset())
    assert_settled(world)
    assert_over(world.pass_time(6))


def test_who_still_rings_keeps_nobody_waiting() -> None:
    """One who was rung and accepts is connected once the media works, though another rings on."""
    world = World({**WHO, "d1": "dave"}, flows={**FLOWS, "add": ADD}).settle()
    world.say("a1", "initiate", flow="add", receiver="bob")
    world.say("b1", "accept")
    for device in ("a1", "b1"):
        world.say(device, "join", token="given")
    world.settle(media=True)
    assert (add(world, "carol"), add(world, "dave")) == ("ok", "ok")
    world.say("d1", "accept")
    world.say("d1", "join", token="given")
    world.settle(media=True)
    assert (world.state("d1", "S"), world.state("c1", "S")) == ("active", "ringing")


BLIND = RINGING.extend(
    "blind",
    triggers=[Trigger("add", "user", "ring one more: data `user`")],
    without=[row for row in RINGING.rows if row.trigger == "initiate"],
    rows=[
        Row("idle", "initiate", "ringing", [Claim(), Fire("ring", "invited")], when="caller"),
        Row("active", "add", "active", [Invite()]),
    ],
)


def test_a_flow_that_asks_for_nobody_rings_nobody() -> None:
    """Without the condition `known`, a user of whom the service never heard rings in vain: no line is made of it."""
    world = World(WHO, flows={**FLOWS, "blind": BLIND}).settle()
    assert world.say("a1", "initiate", flow="blind", receiver="nobody") == "ok"
    assert [leg.user for leg in world.record("S").legs] == ["alice"]
    assert ("line", "nobody") not in world.store
    assert_over(world.pass_time(46))
    assert world.record("S").reason == "unanswered"


def test_who_is_not_known_is_not_invited() -> None:
    """Without the condition `known`, inviting a user of whom the service never heard is done, and changes nothing."""
    world = active(BLIND)
    before = world.record("S").invitations
    assert add(world, "nobody") == "ok"
    assert world.record("S").invitations == before
    assert ("line", "nobody") not in world.store
    assert_settled(world)
