"""Who is refused, whom the refusal is sent to, and what it says: the words that an application shows or acts on."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from statecore.errors import InvalidArgument, TokenMalformed
from statecore.flow import FLOWS, RINGING, Invite, Mark, Row, Timers, Trigger
from statecore.model import FORGOTTEN, Line
from statecore.settings import ServiceSettings
from statecore.switchboard import (
    Act,
    Confirm,
    Connect,
    Deliver,
    Disconnect,
    Done,
    Due,
    Forget,
    Goodbye,
    Need,
    Register,
    check_id,
)
from statecore.testing._world_parts import PICTURES, claims
from statecore.testing.world import NOON, World
from statecore.wire import Command, Hello, Refused, Unknown, View, Welcome

WHO = {"a1": "alice", "b1": "bob", "b2": "bob", "c1": "carol"}


def world(**more: Any) -> World:
    """Alice, Bob and Carol are there."""
    return World(WHO, **more).settle()


def ringing(**more: Any) -> World:
    """Alice rings Bob."""
    made = world(**more)
    assert made.say("a1", "initiate", flow="ringing", receiver="bob") == "ok"
    return made


def active(**more: Any) -> World:
    """Alice and Bob talk."""
    made = ringing(**more)
    made.say("b1", "accept")
    for device in ("a1", "b1"):
        made.say(device, "join", token="given")
    return made.settle(media=True)


def ask(made: World, device: str, trigger: str, n: int = 1000, session: str = "S", **more: Any) -> Done:
    """A command straight to the switchboard."""
    endpoint = made.places[device].endpoint
    return made.decide(Act(endpoint.user, device, endpoint.epoch, Command(session, n, trigger, **more)))


def refused(device: str, code: str, n: int = 1000, /, session: str = "S", **data: Any) -> tuple[Deliver, ...]:
    """What a device is told that is refused, and nothing else."""
    return (Deliver(WHO[device], device, f"{device}-1", Refused(session, n, code, data)),)


def call(receiver: str, flow: str = "ringing", **more: Any) -> dict[str, Any]:
    """What an initiate says."""
    return {"flow": flow, "receiver": receiver, **more}


def about(session: str, user: str, reason: str = "", grant: str | None = None) -> dict[str, Any]:
    """What a refusal by a row says: of which call, who, why the leg ended if it did, and which grant it lacks."""
    return {"session_id": session, "user": user, "reason": reason, "grant": grant}


def test_a_refused_initiate_says_whom_it_is_about() -> None:
    """Who is not known is the one who was called; who is in a call, or calls oneself, is who calls."""
    made = ringing()
    assert ask(made, "c1", "initiate", session="T", **call("nobody")).effects == refused(
        "c1", "unknown_user", session="T", **about("T", "nobody")
    )
    assert ask(made, "c1", "initiate", session="T", **call("carol")).effects == refused(
        "c1", "calling_self", session="T", **about("T", "carol")
    )
    assert ask(made, "b1", "initiate", session="T", **call("carol")).effects == refused(
        "b1", "already_in_call", session="T", **about("T", "bob")
    )
    assert ("call", "T") not in made.store


def test_whoever_comes_late_is_told_why_it_is_over() -> None:
    """An accept or a join of a leg that has ended says how it ended; of an id that was used, that it is over."""
    made = active()
    made.say("a1", "end")
    for n, trigger in enumerate(("accept", "join"), 1000):
        assert ask(made, "b1", trigger, n).effects == refused("b1", "call_gone", n, **about("S", "bob", "hangup"))
    assert ask(made, "b2", "accept").effects == refused("b2", "call_gone", **about("S", "bob", "answered_elsewhere"))
    assert ask(made, "c1", "initiate", **call("bob")).effects == refused(
        "c1", "call_gone", session_id="S", reason="hangup"
    )


def test_an_id_of_a_call_that_is_not_kept_is_used_up() -> None:
    """All that is known of it is that it has ended."""
    made = world()
    made.store["call", "S"] = FORGOTTEN
    assert ask(made, "a1", "initiate", **call("bob")).effects == refused(
        "a1", "call_gone", session_id="S", reason="ended"
    )


def test_a_grant_that_is_lacking_is_named() -> None:
    """With the call, and who lacks it."""
    made = ringing()
    made.say("b1", "accept")
    bare = made.token("alice", "S", grants=frozenset({"audio"}))
    made.say("a1", "join", token=bare)
    made.say("b1", "join", token="given")
    made.settle(media=True)
    for n, (trigger, grant) in enumerate((("start_screen_share", "screen"), ("end_for_all", "end_for_all")), 1000):
        assert ask(made, "a1", trigger, n).effects == refused(
            "a1", "token_lacks_grant", n, **about("S", "alice", "", grant)
        )


def test_an_id_that_is_none_is_named_with_what_it_is_to_be() -> None:
    """What is no text, blank, or not fit for an id."""
    for value, more in ((3, {}), (" ", {}), ("a b", {"value": "a b"})):
        with pytest.raises(InvalidArgument) as raised:
            check_id("user", value)
        assert {name: raised.value.data[name] for name in ("name", *more)} == {"name": "user", **more}


def test_a_refusal_that_is_asked_for_again_says_the_same() -> None:
    """Word by word, also those of a text with spaces; and the next one is none of it."""
    made = ringing()
    made.say("b1", "accept")
    why = TokenMalformed(why="a token of three parts has two")
    given = Act("bob", "b1", "b1-1", Command("S", 900, "join", token="x"), token_error=why)
    first = made.decide(given)
    assert first.effects == refused("b1", "token_malformed", 900, why="a token of three parts has two")
    again = made.decide(replace(given, token_error=None))
    assert (again.effects, again.writes) == (first.effects, {})
    for _ in range(2):  # there is nothing more to say of this one
        assert ask(made, "b1", "join", 901).effects == refused("b1", "token_missing", 901)


def test_what_is_wrong_with_an_id_or_metadata_is_named() -> None:
    """By the name of what is wrong; metadata of just the greatest length is taken."""
    made = world(settings=ServiceSettings(max_metadata_size=100))
    long = ask(made, "a1", "initiate", **call("bob", metadata="x" * 101))
    assert long.effects == refused("a1", "invalid_argument", name="metadata")
    blank = ask(made, "a1", "initiate", **call(" "))
    assert blank.effects == refused("a1", "blank_id", name="receiver")
    assert not long.writes
    assert not blank.writes
    assert ask(made, "a1", "initiate", **call("bob", metadata="x" * 100)).writes
    assert made.record("S").metadata == "x" * 100


def test_a_device_too_many_is_told_when_there_may_be_room() -> None:
    """When the lease of a device is over that is gone, a second at least; while all are there, after a heartbeat."""
    made = World({"b1": "bob", "b2": "bob"}, settings=ServiceSettings(devices_per_user=2), timers=Timers()).settle()
    lease = made.board.lease
    waits = [(0, None, 15), (0, "b1", lease // 1000), (1, "b1", lease // 1000), (lease - 1001, "b1", 2)]
    waits += [(lease - 1000, "b1", 1), (lease, "b1", 1), (lease + 5000, "b2", 1)]
    for later, gone, seconds in waits:
        made.now = NOON + later
        if gone is not None:
            made.decide(Disconnect("bob", gone, f"{gone}-1", 1))
        decision = made.decide(Connect("bob", Hello("b3", "b3-1", 1)))
        data = {"user": "bob", "limit": 2, "seconds": seconds}
        assert decision.effects == (Deliver("bob", "b3", "b3-1", Refused("", 0, "too_many_devices", data)),)
        assert not decision.writes
    assert made.decide(Connect("bob", Hello("b2", "b2-2", 1))).writes, "a device that is known takes its own place"


def test_a_person_in_too_many_calls_is_told_how_many_are_too_many() -> None:
    """Counting what takes the line and what does not; in what one is in already one may go on."""
    made = world(settings=ServiceSettings(sessions_per_user=10))
    for session in "ABCDEFGHIJ":
        made.said(("a1", "join"), session=session, flow="session", token="fresh")
    limit: dict[str, Any] = {"user": "alice", "limit": 10}
    assert ask(made, "a1", "initiate", **call("bob")).effects == refused("a1", "too_many_sessions", **limit)
    assert made.say("a1", "leave", "B") == "ok"
    assert ask(made, "a1", "initiate", 1001, **call("bob")).writes


def test_what_is_named_as_legal_does_not_meet_a_full_session() -> None:
    """To whoever may not join, for there is no room, joining is not named; once there is room, it is."""
    named = []
    for capacity in (1, 2):
        made = ringing(settings=ServiceSettings(session_capacity=capacity))
        made.say("b1", "accept")
        made.say("a1", "join", token="given")
        assert [leg.joined for leg in made.record("S").legs if leg.device in ("a1", "b1")] == [1, 0]
        (effect,) = ask(made, "b1", "mute_audio").effects
        assert isinstance(effect.message, Refused)
        assert effect.message.code == "illegal_transition"
        named.append("join" in effect.message.data["legal"])
    assert named == [False, True]


def test_what_is_refused_is_not_named_as_legal() -> None:
    """What the application would have to allow might be legal, as far as is known; it was tried, and is not."""
    rows = [
        Row("active", trigger, "active", (Mark("raised"),), when=("early", "joined")) for trigger in ("greet", "bow")
    ]
    polite = tuple(Trigger(trigger, "user") for trigger in ("greet", "bow"))
    flow = RINGING.extend("polite", rows=rows, triggers=polite, flags=("raised",), conditions=("early",))
    made = world(flows={**FLOWS, flow.name: flow})
    made.said(("a1", "initiate"), flow="polite", receiver="bob")
    made.said(("b1", "accept"))
    made.said(("a1", "join"), ("b1", "join"), token="given").settle(media=True)
    (effect,) = ask(made, "a1", "greet").effects
    assert isinstance(effect.message, Refused)
    assert effect.message.code == "illegal_transition"
    assert {"greet", "bow", "mute_audio"} & {*effect.message.data["legal"]} == {"bow", "mute_audio"}


@pytest.mark.parametrize("grants", [frozenset(), frozenset({"end_for_all"})], ids=["nothing", "the-end"])
def test_what_is_named_as_legal_is_granted(grants: frozenset[str]) -> None:
    """By the token that the leg has joined with: to end it for everybody is named to whoever may."""
    made = world()
    for device in ("a1", "b1"):
        token = claims(WHO[device], "S", made.now // 1000, grants=grants)
        made.decide(Act(WHO[device], device, f"{device}-1", Command("S", 1, "join", flow="session"), token))
    for device in ("a1", "b1"):
        ask(made, device, "up", 2)
    (effect,) = ask(made, "a1", "accept").effects
    assert isinstance(effect.message, Refused)
    assert ("end_for_all" in effect.message.data["legal"]) == bool(grants)


# --- what a device has missed -----------------------------------------------------------------------------------------


def kinds(decision: Done) -> list[str]:
    """The kinds of messages."""
    return [type(effect.message).__name__ for effect in decision.effects]


def test_a_device_that_comes_back_is_welcome_and_hears_what_it_lacks() -> None:
    """By the service's own times; what it names and has no part in is unknown, under the number that it named."""
    made = ringing(timers=Timers(heartbeat=7, lease=21), settings=ServiceSettings(messages_per_second=33))
    seen = made.record("S").legs[1].seq
    decision = made.decide(Connect("bob", Hello("b1", "b1-1", 9, sessions={"T": 4})))
    welcome, unknown, view = decision.effects
    assert welcome == Deliver(
        "bob", "b1", "b1-1", Welcome("bob", avatar=PICTURES + "bob", heartbeat=7_000, lease=21_000, rate=33)
    )
    assert isinstance(view.message, View) or isinstance(unknown.message, View)
    assert Deliver("bob", "b1", "b1-1", Unknown("T", 4)) in (unknown, view)
    assert seen == 1
    assert kinds(made.decide(Connect("bob", Hello("b1", "b1-1", 10, sessions={"S": seen})))) == ["Welcome"]
    assert kinds(made.decide(Connect("bob", Hello("b1", "b1-1", 11, sessions={"S": seen - 1})))) == ["Welcome", "View"]
    ahead = made.decide(Connect("bob", Hello("b1", "b1-1", 12, sessions={"S": seen + 1})))
    assert kinds(ahead) == ["Welcome", "Unknown", "View"]
    assert ahead.effects[1] == Deliver("bob", "b1", "b1-1", Unknown("S", seen + 1))


def test_a_device_that_says_what_it_has_hears_what_it_lacks() -> None:
    """With its sign of life, if it says so; a sign of life alone is answered with nothing."""
    made = ringing()
    made.now += 1000
    decision = made.decide(Confirm("bob", "b1", "b1-1", {"S": 0, "T": 3}))
    assert sorted(kinds(decision)) == ["Unknown", "View"]
    assert Deliver("bob", "b1", "b1-1", Unknown("T", 3)) in decision.effects
    line = decision.writes["line", "bob"]
    assert isinstance(line, Line)
    assert [device.lease for device in line.devices] == [made.now + made.board.lease, NOON + made.board.lease]
    assert not made.decide(Confirm("bob", "b1", "b1-1", {"S": 1})).effects
    assert kinds(made.decide(Confirm("bob", "b1", "b1-1", {}))) == ["View"]
    assert not made.decide(Confirm("bob", "b1", "b1-1")).effects
    assert not made.decide(Confirm("bob", "b1", "b1-0", {})).effects
    assert not made.decide(Confirm("bob", "b2", "b1-1", {})).effects


def test_only_the_device_that_is_meant_is_confirmed_or_put_down() -> None:
    """One of two devices of a user, by its incarnation and, of a link, its connection."""
    made = world()
    for given in (
        Disconnect("bob", "b1", "b1-1", 2),
        Disconnect("bob", "b1", "b1-0", 1),
        Disconnect("bob", "b9", "b1-1", 1),
    ):
        assert not made.decide(given).writes
    line = made.decide(Disconnect("bob", "b1", "b1-1", 1)).writes["line", "bob"]
    assert [(device.device, device.online) for device in line.devices] == [("b1", False), ("b2", True)]
    assert not made.decide(Disconnect("nobody", "b1", "b1-1", 1)).writes
    for late in (Goodbye("bob", "b1", "b1-0"), Goodbye("bob", "b9", "b1-1"), Goodbye("nobody", "b1", "b1-1")):
        assert not made.decide(late).writes
    line = made.decide(Goodbye("bob", "b1", "b1-1")).writes["line", "bob"]
    assert [device.device for device in line.devices] == ["b2"]


def test_a_call_that_has_had_its_legs_rings_on_no_further_device() -> None:
    """A device that connects while it rings gets a leg as long as there is room for one."""
    for joins, legs in ((3, ["a1", "b1", "b2"]), (2, ["a1", "b1"])):
        made = World({"a1": "alice", "b1": "bob"}, settings=ServiceSettings(session_capacity=2, session_joins=joins))
        made.settle().said(("a1", "initiate"), flow="ringing", receiver="bob")
        made.decide(Connect("bob", Hello("b2", "b2-1", 1)))
        assert [leg.device for leg in made.record("S").legs] == legs


# --- which records ----------------------------------------------------------------------------------------------------


def keys(made: World, given: Any) -> list[tuple[str, str]]:
    """The records that a decision asks for, one after the other."""
    view: dict[Any, Any] = {}
    while isinstance(decision := made.board.step(view, given, made.now), Need):
        view.update({key: made.store[key] for key in decision.keys})
    return list(view)


def test_a_decision_asks_for_no_record_that_it_can_do_without() -> None:
    """Each that it does need it names, in the order in which it comes to it."""
    made = active()
    a1, b1 = ("alice", "a1", "a1-1"), ("bob", "b1", "b1-1")
    s, t, alice, bob, carol = ("call", "S"), ("call", "T"), ("line", "alice"), ("line", "bob"), ("line", "carol")
    asked: list[tuple[Any, list[Any]]] = [
        (Act(*a1, Command("S", 900, "mute_audio")), [s]),
        (Act(*a1, Command("S", 900, "end")), [s, bob, alice]),
        (Act(*a1, Command("T", 900, "initiate", **call("carol"))), [t, alice, carol, s]),
        (Act("carol", "c1", "c1-1", Command("T", 900, "initiate", **call("bob"))), [t, carol, bob]),
        (Due(s), [s]),
        (Due(bob), [bob]),
        (Forget("alice"), [alice, s, bob]),
        (Register("dora"), [("line", "dora")]),
        (Confirm(*b1), [bob]),
        (Confirm(*b1, {"S": 1, "T": 1}), [bob, s, t]),
        (Disconnect(*b1, 1), [bob]),
        (Connect("bob", Hello("b1", "b1-1", 2, sessions={"T": 1})), [bob, s, t]),
    ]
    for given, expected in asked:
        assert sorted(keys(made, given)) == sorted(expected), given


def test_who_is_rung_into_a_call_is_looked_up_and_who_asks() -> None:
    """The line of the one who is named, and only if it is taken, the asker's own: it may hold a call that is stale."""
    adds = RINGING.extend(
        "adds",
        triggers=[Trigger("add", "user")],
        rows=[
            Row("active", "add", "active", [Invite()], when="known", unless="busy"),
            Row("active", "add", "active", when=("known", "busy"), refuse="user_busy"),
        ],
    )
    made = World({**WHO, "d1": "dora"}, flows={**FLOWS, "adds": adds}).settle()
    made.said(("a1", "initiate"), flow="adds", receiver="bob")
    made.said(("b1", "accept")).said(("a1", "join"), ("b1", "join"), token="given")
    asked = Act("alice", "a1", "a1-1", Command("S", 900, "add", data={"user": "carol"}))
    assert keys(made, asked) == [("call", "S"), ("line", "carol")]
    nobody = Act("alice", "a1", "a1-1", Command("S", 900, "add", data={"user": 17}))
    assert all(isinstance(name, str) for _, name in keys(made, nobody)), "what is no id is nobody's"
    assert made.say("d1", "initiate", "T", flow="ringing", receiver="carol") == "ok"
    assert keys(made, asked) == [("call", "S"), ("line", "carol"), ("line", "alice")]
    data = about("S", "carol")
    assert made.decide(asked).effects == refused("a1", "user_busy", 900, **data)
