"""The switchboard by its public `step`: every cell, and what each kind of decision leaves behind."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from statecore.endpoint import Do, Tick
from statecore.errors import BlankId, InvalidArgument, SpacedId, TokenMalformed
from statecore.flow import FLOWS, RINGING, SESSION, Mark, Row, Timers, Trigger
from statecore.model import FORGOTTEN, Line, Reason, Record
from statecore.settings import ServiceSettings
from statecore.switchboard import (
    Act,
    Confirm,
    Connect,
    Deliver,
    Disconnect,
    Done,
    Due,
    End,
    Goodbye,
    Need,
    Negotiate,
    Register,
    Restart,
    Route,
    Switchboard,
    check_id,
    next_due,
)
from statecore.testing._world_parts import PICTURES
from statecore.testing.oracle import assert_always, assert_deaf, assert_over, assert_settled
from statecore.testing.world import NOON, World
from statecore.tokens import ROLE_GRANTS, Claims, Role
from statecore.wire import Ask, Command, Free, Hello, Refused, Relay, Relayed, Unknown, View, Welcome

TWO = {"a1": "alice", "b1": "bob"}
MANY = {**TWO, "b2": "bob", "c1": "carol"}


def world(devices: dict[str, str] = TWO, **more: Any) -> World:
    """A world whose devices are connected."""
    return World(devices, **more).settle()


def ringing(devices: dict[str, str] = TWO, **more: Any) -> World:
    """Alice's call S rings at Bob's."""
    made = world(devices, **more.pop("world", {}))
    assert made.say("a1", "initiate", flow="ringing", receiver="bob", **more) == "ok"
    return made


def accepted(devices: dict[str, str] = TWO, **more: Any) -> World:
    """Bob has answered."""
    made = ringing(devices, **more)
    assert made.say("b1", "accept") == "ok"
    return made


def active(devices: dict[str, str] = TWO, **more: Any) -> World:
    """Both are in."""
    made = accepted(devices, **more)
    made.say("a1", "join", token="given", flags=frozenset({"camera"}))
    made.say("b1", "join", token="given", flags=frozenset({"camera"}))
    made.settle(media=True)
    assert made.state("a1", "S") == made.state("b1", "S") == "active"
    return made


def meeting(*devices: str, **more: Any) -> World:
    """A session that these devices have joined by token."""
    users = {device: {"a": "alice", "b": "bob", "c": "carol"}[device[0]] for device in ("a1", "b1", "c1", "a2")}
    made = world(users, **more.pop("world", {}))
    for device in devices:
        made.user(device, Do("S", "join", flow="session", token="fresh", **more))
        made.settle(media=True)
        assert made.state(device, "S") == "active"
    return made


def command(made: World, device: str, trigger: str, session: str = "S", n: int | None = None, **more: Any) -> Done:
    """A command straight to the switchboard."""
    endpoint = made.places[device].endpoint
    if n is None:
        n = 2**30 + made.tickets
        made.tickets += 1
    claims = more.pop("claims", None)
    error = more.pop("token_error", None)
    given = more.pop("given", frozenset())
    said = Command(session, n, trigger, **more)
    return made.decide(Act(endpoint.user, device, endpoint.epoch, said, claims, error, given))


def claims(made: World, user: str, session: str = "S", **more: Any) -> Claims:
    """What a token says."""
    second = made.now // 1000
    data: dict[str, Any] = {
        "issuer": "statecore", "user": user, "session": session, "token_id": "1", "issued_at": second,
        "not_before": second, "expires": second + 60, "grants": ROLE_GRANTS[Role.HOST], **more,
    }  # fmt: skip
    return Claims(**data)


def refusal(decision: Done) -> str:
    """The code of a refusal."""
    (effect,) = decision.effects
    assert isinstance(effect.message, Refused)
    return effect.message.code


# --- every cell -------------------------------------------------------------------------------------------------------

_MEDIA_ONLY = {
    "mute_audio", "unmute_audio", "pause_video", "resume_video", "start_screen_share", "stop_screen_share",
    "raise_hand", "lower_hand", "switch_to_video",
}  # fmt: skip
SPEC: dict[tuple[str, str], dict[str, str]] = {
    ("ringing", "a1"): {**dict.fromkeys(("cancel", "end", "leave"), "ended:cancelled"), "join": "not_accepted"},
    ("ringing", "b1"): {
        "accept": "accepted", **dict.fromkeys(("reject", "end", "leave"), "ended:rejected"),
        "reject_busy": "ended:busy", "join": "not_accepted",
    },
    ("accepted", "a1"): {
        **dict.fromkeys(("cancel", "end", "leave", "reject", "reject_busy"), "ended:hangup"), "accept": "accepted",
        "join": "token_missing",
    },
    ("active", "b1"): {
        **dict.fromkeys(("cancel", "end", "leave", "reject", "reject_busy"), "ended:hangup"), "accept": "active",
        **dict.fromkeys(_MEDIA_ONLY, "active"), "join": "already_joined", "end_for_all": "token_lacks_grant",
        "up": "active", "failed": "ended:lost", "lost": "ended:lost", "idle_timeout": "ended:idle",
        "expire": "ended:expired", "withdraw_video": "active",
    },
    ("ended", "b1"): dict.fromkeys(("initiate", "accept", "reject", "join"), "call_gone"),
}  # fmt: skip
SPEC["accepted", "b1"] = {**SPEC["accepted", "a1"], "failed": "ended:failed_media", "lost": "ended:lost"}
SPEC["accepted", "a1"] = SPEC["accepted", "b1"]
SPEC["active", "a1"] = SPEC["active", "b1"]
SPEC["ringing", "a1"]["lost"] = SPEC["ringing", "b1"]["lost"] = "ended:lost"
MEETING: dict[str, str] = {
    **dict.fromkeys(("end", "leave"), "ended:hangup"), **dict.fromkeys(_MEDIA_ONLY, "active"),
    "join": "already_joined", "end_for_all": "token_lacks_grant", "up": "active", "failed": "ended:lost",
    "lost": "ended:lost", "idle_timeout": "ended:idle", "expire": "ended:expired", "switch_to_video": "active",
}  # fmt: skip


def in_state(state: str) -> World:
    """A ringing call in this state."""
    if state == "ended":
        made = active()
        made.say("a1", "end")
        return made
    return {"ringing": ringing, "accepted": accepted, "active": active}[state]()


@pytest.mark.parametrize(("state", "device"), SPEC)
def test_each_trigger_in_each_state_does_what_the_specification_says(state: str, device: str) -> None:
    """A command moves its leg as said here, or is refused with the code said here; all others are illegal."""
    made = in_state(state)
    for trigger in RINGING.triggers:
        copy = made.copy()
        _hold(copy, command(copy, device, trigger.name), device, SPEC[state, device].get(trigger.name))


def test_each_trigger_in_a_session_does_what_the_specification_says() -> None:
    """The same for the session-only flow, in the state in which most is possible."""
    made = meeting("a1", "b1")
    for trigger in SESSION.triggers:
        copy = made.copy()
        _hold(copy, command(copy, "a1", trigger.name), "a1", MEETING.get(trigger.name))


def _hold(made: World, decision: Done, device: str, expected: str | None) -> None:
    leg = made.its_leg(device, "S")
    assert leg is not None
    if expected is None or expected.split(":", maxsplit=1)[0] not in RINGING.states:
        assert refusal(decision) == (expected or "illegal_transition")
        assert set(decision.writes) == {("call", "S")}
        return
    state, _, reason = expected.partition(":")
    assert (leg.control.state, leg.control.reason) == (state, reason)
    assert_always(made)


@pytest.mark.parametrize("state", ["ringing", "accepted", "active", "ended"])
def test_what_is_foreign_stale_or_illegal_changes_nothing(state: str) -> None:
    """In every state: strangers, old incarnations, repeated numbers and triggers without a row."""
    assert assert_deaf(in_state(state)) > 100


def test_a_refusal_names_the_state_and_what_is_legal() -> None:
    """An illegal command says where the leg is and which triggers it takes: this one, not one of another role."""
    made = ringing()
    (effect,) = command(made, "a1", "accept").effects
    assert isinstance(effect.message, Refused)
    assert effect.message.data == {"state": "ringing", "trigger": "accept", "legal": ["cancel", "end", "leave"]}
    (effect,) = command(made, "b1", "cancel").effects
    assert isinstance(effect.message, Refused)
    assert effect.message.data["legal"] == ["accept", "end", "leave", "reject", "reject_busy"]


@pytest.mark.parametrize("make", [ringing, active, lambda: active(MANY), lambda: in_state("accepted")])
def test_what_a_refusal_names_is_taken(make: Any) -> None:
    """In whatever a call has come to: the command that is refused is not among what is legal, each that is among it is
    taken, and what needs a grant that the leg has not is not among it."""
    made = make()
    refused = 0
    triggers = made.board.machine(made.record("S").flow).triggers
    for device, trigger in itertools.product(made.places, triggers):
        if made.state(device, "S") not in ("", "ended"):
            (*_, effect) = command(made.copy(), device, trigger).effects
            if not isinstance(effect.message, Refused) or effect.message.code != "illegal_transition":
                continue
            refused += 1
            assert trigger not in effect.message.data["legal"]
            assert effect.message.data["legal"]
            for other in effect.message.data["legal"]:
                token = claims(made, made.places[device].endpoint.user)
                (*_, effect) = command(made.copy(), device, other, claims=token).effects
                assert not isinstance(effect.message, Refused), other
    assert refused


def test_an_id_that_was_used_is_used_up() -> None:
    """A call that has ended is not made anew under its id, not even once nothing else is kept of it; for everything
    else a call that is not kept is none."""
    made = in_state("ended")
    assert refusal(command(made, "a1", "initiate", flow="ringing", receiver="bob")) == "call_gone"
    made.store["call", "S"] = FORGOTTEN
    for device, receiver in (("a1", "bob"), ("b1", "alice")):
        assert refusal(command(made, device, "initiate", flow="ringing", receiver=receiver)) == "call_gone"
        assert refusal(command(made, device, "join", flow="session")) == "call_gone"
        assert refusal(command(made, device, "accept")) == "call_not_found"
    assert not made.decide(End("S")).writes
    decision = made.decide(Connect("bob", Hello("b1", "b1-1", 9, sessions={"S": 1})))
    assert Unknown("S", 1) in [effect.message for effect in decision.effects]


# --- records that are needed, and ids ---------------------------------------------------------------------------------


def test_it_asks_for_what_it_needs_and_decides_the_same() -> None:
    """Given nothing, it names one record after the other, and then decides as if it had had them all."""
    made = active(MANY)
    board, store = made.board, dict(made.store)
    inputs = [
        Act("carol", "c1", "c1-1", Command("T", 1, "initiate", flow="ringing", receiver="bob")),
        Act("bob", "b1", "b1-1", Command("S", 90, "end")),
        Connect("bob", Hello("b2", "b2-2", 1, sessions={"S": 1, "gone": 4})),
        Due(("call", "S")), Due(("line", "bob")), Goodbye("alice", "a1", "a1-1"), Restart("bob"),
        Disconnect("bob", "b1", "b1-1", 1), Confirm("bob", "b1", "b1-1"), Register("bob"),
        Route("alice", "a1", "a1-1", Relay("S", "2", "candidate", "")),
        Negotiate("alice", "a1", "a1-1", Ask("S", "2")),
    ]  # fmt: skip
    for given in inputs:
        view: dict[Any, Any] = {}
        decision = board.step(view, given, made.now)
        while isinstance(decision, Need):
            assert not set(decision.keys) & set(view)
            view.update({key: store.get(key) for key in decision.keys})
            decision = board.step(view, given, made.now)
        assert decision == board.step({**view, **store}, given, made.now)
        assert set(decision.writes) <= set(decision.reads) <= set(view)


def test_lines_are_asked_for_in_the_order_of_the_legs() -> None:
    """What a decision asks for does not depend on how a process hashes text."""
    users = [f"u{n}" for n in range(12)]
    made = World({f"{user}-1": user for user in users}).settle()
    for user in users:
        made.user(f"{user}-1", Do("S", "join", flow="session", token="fresh"))
        made.settle(media=True)
    view = {key: value for key, value in made.store.items() if key[0] != "line"}
    asked: list[Any] = []
    while isinstance(decision := made.board.step(view, End("S"), made.now), Need):
        asked += decision.keys
        view.update({key: made.store[key] for key in decision.keys})
    assert asked == [("line", user) for user in users]


def test_ids_are_checked() -> None:
    """An id is text, not blank, without white space and of bounded length."""
    for good in ("alice", "x" * 128):
        assert check_id("user", good) == good
    spaced = [(value, SpacedId) for value in ("a b", "x" * 129, "a\x00")]
    for value, error in ((3, InvalidArgument), (" ", BlankId), *spaced):
        with pytest.raises(error):
            check_id("user", value)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"receiver": "alice"}, "calling_self"),
        ({"receiver": "nobody"}, "unknown_user"),
        ({"receiver": " "}, "blank_id"),
        ({"receiver": "a b"}, "spaced_id"),
        ({"receiver": "bob", "metadata": "x" * 5000}, "invalid_argument"),
        ({"receiver": "bob", "flow": "other"}, "unsupported_version"),
        ({"receiver": "bob", "flow": ""}, "call_not_found"),
        ({"receiver": "bob", "flow": "session"}, "call_not_found"),
    ],
)
def test_no_call_comes_of_a_wrong_initiate(more: dict[str, Any], code: str) -> None:
    """What is wrong with an initiate is said, and nothing is written."""
    made = world()
    decision = command(made, "a1", "initiate", **{"flow": "ringing", **more})
    assert refusal(decision) == code
    assert decision.effects[0].message.data.get("name", "receiver") in {"receiver", "metadata"}
    assert not decision.writes


def test_only_the_newest_incarnation_begins_something() -> None:
    """A device the service does not know of, or an older incarnation, begins no call."""
    made = world()
    stranger = Act("alice", "a1", "a1-0", Command("S", 1, "initiate", flow="ringing", receiver="bob"))
    assert refusal(made.decide(stranger)) == "not_connected"
    assert refusal(made.decide(replace(stranger, user="nobody"))) == "not_connected"
    spaced = made.decide(replace(stranger, epoch="a1-1", command=replace(stranger.command, session="a b")))
    assert refusal(spaced) == "spaced_id"
    assert spaced.effects[0].message.data["name"] == "session_id"


def test_a_refusal_names_whom_and_what_it_is_about() -> None:
    """Who has no part in a call, a call that is over and one that never was, a session that is full: each by its id."""
    made = ringing(MANY)
    told = [command(made, "c1", "end"), command(made, "c1", "end", session="T")]
    made.say("a1", "cancel")
    told.append(command(made, "c1", "end"))
    full = meeting("a1", "b1", world={"settings": ServiceSettings(session_capacity=2, session_joins=2)})
    told.append(command(full, "c1", "join", flow="session", claims=claims(full, "carol")))
    assert [(refusal(each), each.effects[0].message.data) for each in told] == [
        ("not_a_party", {"user": "carol", "session_id": "S"}),
        ("call_not_found", {"session_id": "T"}),
        ("call_gone", {"session_id": "S", "reason": "cancelled"}),
        ("session_full", {"session_id": "S"}),
    ]


# --- commands, again --------------------------------------------------------------------------------------------------


def test_a_command_is_taken_once() -> None:
    """A repeat gets the view again, or the same refusal, and changes nothing."""
    made = active()
    command(made, "a1", "raise_hand", n=50)
    before = made.record("S")
    again = command(made, "a1", "lower_hand", n=50)
    assert not again.writes
    (effect,) = again.effects
    assert isinstance(effect.message, View)
    assert "hand_raised" in effect.message.flags
    refused = command(made, "a1", "accept_video", n=51)
    assert refusal(refused) == "illegal_transition"
    assert command(made, "a1", "end", n=51).effects == refused.effects, "the same words, and what they say"
    plain = command(made, "a1", "join", n=52)
    assert refusal(plain) == "already_joined"
    assert command(made, "a1", "join", n=52).effects == plain.effects
    assert isinstance(command(made, "a1", "end", n=50).effects[0].message, View)
    assert [leg.control for leg in made.record("S").legs] == [leg.control for leg in before.legs]


def rung_anew() -> World:
    """Bob's device was lost as it rang, and rings again, on its second leg."""
    made = ringing()
    made.decide(Goodbye("bob", "b1", "b1-1"))
    made.decide(Connect("bob", Hello("b1", "b1-1", 2)))
    assert [leg.control.state for leg in made.record("S").legs] == ["ringing", "ended", "ringing"]
    return made


def test_a_machine_speaks_for_one_leg() -> None:
    """A lost leg's own word does not touch the leg that rings anew."""
    made = rung_anew()
    assert refusal(command(made, "b1", "lost", n=70, pid="2")) == "illegal_transition"
    assert refusal(command(made, "b1", "nonsense", n=71, pid="2")) == "illegal_transition"
    assert made.record("S").legs[2].control.state == "ringing"
    command(made, "b1", "lost", n=72, pid="9")
    assert made.record("S").legs[2].control.reason == "lost"
    assert made.record("S").reason == ""


@pytest.mark.parametrize(("word", "reason"), [("reject", "rejected"), ("reject_busy", "busy")])
def test_who_ends_a_call_means_the_call(word: str, reason: str) -> None:
    """A decline meant for a leg that was lost declines the ring that came after it."""
    made = rung_anew()
    command(made, "b1", word, n=70, pid="2")
    assert made.record("S").legs[2].control.state == "ended"
    assert made.record("S").reason == reason


def test_a_yes_is_for_the_leg_that_it_names() -> None:
    """An answer meant for a leg that was lost does not answer the ring that came after it; said again, it is refused in
    the same words; and an answer to that ring is taken."""
    made = rung_anew()
    before = made.record("S").legs[2]
    refused = command(made, "b1", "accept", n=70, pid="2")
    assert refusal(refused) == "call_gone"
    again = command(made, "b1", "accept", n=70, pid="2")
    assert (again.effects, again.writes) == (refused.effects, {})
    assert made.record("S").legs[2] == before
    assert_deaf(made)
    command(made, "b1", "accept", n=71, pid="3")
    assert made.record("S").legs[2].control.state == "accepted"


def lose(made: World, device: str, user: str) -> None:
    """The lease of a device runs out while its link is cut, and of no other."""
    made.cut(device)
    line = made.store["line", user]
    devices = tuple(replace(one, lease=made.now) if one.device == device else one for one in line.devices)
    made.store["line", user] = replace(line, devices=devices)
    made.decide(Due(("line", user)))


@pytest.mark.parametrize("word", ["", "accept"])
def test_a_ring_that_comes_after_a_lost_one_is_told(word: str) -> None:
    """Also if the device did not notice that the first was lost: what was said to that one has failed, and whoever is
    told of the new one can answer it."""
    made = ringing()
    made.cut("b1")
    ticket = made.user("b1", Do("S", word)) if word else 0
    lose(made, "b1", "bob")
    made.settle()
    assert {event: count for (device, event), count in made.watch.told.items() if device == "b1"} == {
        "incoming_call_received": 2, "call_ended_message_received": 1,
    }  # fmt: skip
    assert made.state("b1", "S") == "ringing"
    if word:
        assert made.watch.outcomes[ticket] == "call_gone"
    assert made.say("b1", "accept") == "ok"
    assert made.record("S").legs[-1].control.state == "accepted"


def test_a_ring_that_nobody_heard_of_ends_the_one_before() -> None:
    """Whoever missed it hears once that the call was called off, and by whom."""
    made = ringing()
    lose(made, "b1", "bob")
    made.act(("mend", "b1"))
    made.act(("up", "b1"))
    assert [leg.control.state for leg in made.record("S").legs] == ["ringing", "ended", "ringing"]
    made.cut("b1")
    made.say("a1", "cancel")
    made.settle()
    assert {event: count for (device, event), count in made.watch.told.items() if device == "b1"} == {
        "incoming_call_received": 1, "incoming_call_cancelled": 1,
    }  # fmt: skip


def test_one_who_is_back_in_a_session_does_not_come_back_twice() -> None:
    """A join that names the leg which was lost adds none to the one that came after it."""
    made = World({"a1": "alice"}).settle()
    join: dict[str, Any] = {"flow": "session", "claims": claims(made, "alice")}
    made.say("a1", "join", flow="session", token="fresh")
    made.decide(Goodbye("alice", "a1", "a1-1"))
    made.decide(Connect("alice", Hello("a1", "a1-1", 2)))
    command(made, "a1", "join", n=70, pid="1", **join)
    assert [leg.control.state for leg in made.record("S").legs] == ["ended", "accepted"]
    view = command(made, "a1", "join", n=70, pid="1", **join).effects[0].message
    assert isinstance(view, View)
    assert (view.pid, view.heard) == ("2", 70)
    assert refusal(command(made, "a1", "join", n=71, pid="1", **join)) == "already_joined"
    assert [leg.control.state for leg in made.record("S").legs] == ["ended", "accepted"]
    command(made, "a1", "leave", n=72, pid="2")
    for n, word in ((71, "join"), (72, "leave"), (70, "join")):
        assert command(made, "a1", word, n=n, pid="1", **join).writes == {}


# --- several devices --------------------------------------------------------------------------------------------------


def test_a_device_that_connects_while_it_rings_rings_too() -> None:
    """The invitation is open for every device of the user."""
    made = world(TWO)
    made.say("a1", "initiate", flow="ringing", receiver="bob")
    made.places["b9"] = replace(made.places["b1"], endpoint=type(made.places["b1"].endpoint)("bob", "b9", "b9-1"),
                                linked=False, greeted=False)  # fmt: skip
    made.settle()
    assert made.state("b9", "S") == "ringing"
    leg = made.its_leg("b9", "S")
    assert leg is not None
    assert leg.deadline == made.record("S").ring_until
    made.say("b9", "accept")
    assert made.state("b1", "S") == ""
    assert made.watch.told["b1", "incoming_call_cancelled"] == 1
    assert_settled(made)


def test_a_user_without_a_device_is_rung_until_unanswered() -> None:
    """Nobody is online: it rings all the same, and is missed."""
    made = world(TWO)
    made.decide(Register("dora"))
    assert made.say("a1", "initiate", flow="ringing", receiver="dora", timeout=5000) == "ok"
    assert_always(made)
    made.pass_time(5)
    record = made.record("S")
    assert (record.reason, record.end.by, record.invitations[0].state) == ("unanswered", "", "unanswered")
    assert record.end.at == NOON + 5000
    assert_over(made)


def test_a_device_lost_while_it_rings_loses_its_leg_not_the_invitation() -> None:
    """It is not a decline; coming back rings again."""
    made = ringing()
    made.decide(Goodbye("bob", "b1", "b1-1"))
    assert made.record("S").reason == ""
    assert made.record("S").invitations[0].state == "ringing"
    assert_always(made)


def test_a_device_that_was_given_up_while_it_rang_rings_again() -> None:
    """Both sides took it for lost; it comes back in time, and the new leg's views go on from the old one's numbers."""
    made = ringing()
    made.cut("b1")
    made.now += made.board.milliseconds["lease"]
    made.give("b1", Tick())
    assert made.state("b1", "S") == "ended"
    made.decide(Goodbye("bob", "b1", "b1-1"))
    made.settle()
    assert made.state("b1", "S") == "ringing"
    assert_settled(made)


def test_an_old_connection_and_its_notice_are_dropped() -> None:
    """A newer connection of the same incarnation replaces the older, whatever comes late."""
    made = world()
    made.decide(Connect("bob", Hello("b1", "b1-1", 5)))
    assert made.decide(Connect("bob", Hello("b1", "b1-1", 4))) == Done({}, (("line", "bob"),), ())
    assert not made.decide(Disconnect("bob", "b1", "b1-1", 4)).writes
    assert made.decide(Disconnect("bob", "b1", "b1-1", 5)).writes
    assert not made.decide(Disconnect("nobody", "b1", "b1-1", 5)).writes
    assert not made.decide(Confirm("nobody", "x", "y")).writes
    assert not made.decide(Confirm("bob", "b1", "older")).writes


def test_registering_again_is_idempotent_and_may_rename() -> None:
    """A user is known once; a new name counts, an empty one does not."""
    made = world()
    assert not made.decide(Register("bob", "Bob")).writes
    assert not made.decide(Register("bob")).writes
    line = made.decide(Register("bob", "Bobby")).writes["line", "bob"]
    assert line.name == "Bobby"
    assert made.decide(Register("eve")).writes["line", "eve"] == Line("eve")
    assert made.decide(Connect("eve", Hello("e1", "e1-1", 1, name="Eve"))).writes["line", "eve"].name == "Eve"


def test_a_resume_tells_what_was_missed_and_what_is_unknown() -> None:
    """Views for every session where the switchboard is ahead, by any of its names; unknown, with the number named."""
    made = active(MANY)
    hello = Hello("b1", "b1-1", 9, sessions={"S": 1, "never": 7})
    messages = [effect.message for effect in made.decide(Connect("bob", hello)).effects]
    assert [type(message).__name__ for message in messages] == ["Welcome", "View", "Unknown"]
    assert messages[2] == Unknown("never", 7)
    seen = made.record("S").legs[1].seq
    hello = Hello("b1", "b1-1", 10, sessions={"S": seen})
    assert len(made.decide(Connect("bob", hello)).effects) == 1


def test_a_device_that_is_ahead_of_the_store_hears_that_its_part_is_unknown() -> None:
    """A service on an empty store, to whom the caller has said his call again before the other came back, tells the
    other first that what he is in is over, and then that it rings, whether it rang at him already or rings as he
    connects."""
    for rings_already in (True, False):
        made = world()
        if not rings_already:
            made.decide(Goodbye("bob", "b1", "b1-1"))
        made.user("a1", Do("S", "initiate", flow="ringing", receiver="bob"))
        made.act(("up", "a1"))
        messages = [e.message for e in made.decide(Connect("bob", Hello("b1", "b1-1", 9, sessions={"S": 3}))).effects]
        assert [type(message).__name__ for message in messages] == ["Welcome", "Unknown", "View"]
        assert messages[1] == Unknown("S", 3)


def test_a_resume_of_an_accepted_leg_brings_a_token() -> None:
    """Whoever was accepted and has not joined gets a token with the view, also when he comes back."""
    made = accepted()
    (_, effect) = made.decide(Connect("bob", Hello("b1", "b1-1", 9))).effects
    assert effect.wants_token
    for device in ("a1", "b1"):  # no media yet, so both are still accepted, and the first hears of the second
        user = made.places[device].endpoint.user
        decision = command(made, device, "join", claims=claims(made, user))
        joined = {effect.device: effect for effect in decision.effects}
        assert joined[device].message.state == "accepted"
        assert not joined[device].wants_token
    assert joined["a1"].message.state == "accepted"
    assert not joined["a1"].wants_token
    made = active()
    (_, effect) = made.decide(Connect("bob", Hello("b1", "b1-1", 9))).effects
    assert not effect.wants_token


# --- lines ------------------------------------------------------------------------------------------------------------


def test_busy_is_a_call_with_one_row() -> None:
    """Created and ended in one commit, missed at the callee, and nothing is held."""
    made = ringing(MANY)
    assert made.say("c1", "initiate", session="T", flow="ringing", receiver="bob") == "user_busy"
    record = made.record("T")
    assert (record.reason, record.end.at, record.invitations[0].state) == ("busy", NOON, "unanswered")
    assert made.watch.told["c1", "outgoing_call_rejected"] == 1
    assert made.say("c1", "initiate", session="U", flow="ringing", receiver="alice") == "user_busy"
    assert made.say("a1", "initiate", session="V", flow="ringing", receiver="carol") == "already_in_call"
    assert ("call", "V") not in made.store
    made.say("b1", "reject_busy")
    assert made.record("S").reason == "busy"
    assert_over(made)


def test_a_line_of_two_calls_holds_both() -> None:
    """Each is added and let go of by itself."""
    made = world(MANY, settings=ServiceSettings(line_capacity=2))
    ring = {"flow": "ringing", "receiver": "bob"}
    held = []
    said = (("S", "a1", "initiate"), ("T", "c1", "initiate"), ("S", "a1", "end"), ("T", "c1", "end"))
    for session, device, trigger in said:
        assert made.say(device, trigger, session=session, **(ring if trigger == "initiate" else {})) == "ok"
        line = made.store["line", "bob"]
        assert isinstance(line, Line)
        held.append(line.holds)
    assert held == [("S",), ("S", "T"), ("T",), ()]


def test_a_call_that_is_replaced_takes_no_room_on_the_line() -> None:
    """Of two calls that Bob's line may take one is with Carol and one with Alice, whose device is gone: she recalls."""
    made = world({"a1": "alice", "a2": "alice", "b1": "bob", "c1": "carol"}, settings=ServiceSettings(line_capacity=2))
    for session, device in (("S", "a1"), ("T", "c1")):
        assert made.say(device, "initiate", session=session, flow="ringing", receiver="bob") == "ok"
    made.cut("a1")
    made.act(("notice", 0))
    command(made, "a2", "initiate", session="U", flow="ringing", receiver="bob")
    assert [leg.control.state for leg in made.record("U").legs] == ["ringing", "ringing"]
    assert [made.record(session).reason for session in "STU"] == ["lost", "", ""]


def test_a_device_that_is_gone_takes_nobody_else_along() -> None:
    """Another user's device may have the same name, or the same epoch: who chose them is not asked."""
    for name, epoch in (("a1", "b1-1"), ("b1", "a1-1"), ("a1", "a1-1")):
        made = meeting("a1", "b1", "c1")
        record, line = made.record("S"), made.store["line", "bob"]
        legs = tuple(replace(i, device=name, epoch=epoch) if i.user == "bob" else i for i in record.legs)
        devices = tuple(replace(one, device=name, epoch=epoch) for one in line.devices)
        made.store["call", "S"] = replace(record, legs=legs)
        made.store["line", "bob"] = replace(line, devices=devices)
        lose(made, "a1", "alice")
        assert [leg.control.state for leg in made.record("S").legs] == ["ended", "active", "active"]


def test_an_offer_is_granted_to_those_who_are_there_only() -> None:
    """Not beside somebody who has left, or has not joined yet."""
    made = meeting("a1", "b1")
    assert made.decide(Negotiate("alice", "a1", "a1-1", Ask("S", "2"))).writes
    made.say("b1", "leave")
    assert not made.decide(Negotiate("alice", "a1", "a1-1", Ask("S", "2"))).writes
    made = ringing(TWO)
    made.say("b1", "accept")
    made.say("a1", "join", token="given")
    assert [leg.control.state for leg in made.record("S").legs] == ["accepted", "accepted"]
    assert not made.decide(Negotiate("alice", "a1", "a1-1", Ask("S", "2"))).writes


@pytest.mark.parametrize("first", ["audio", "video"])
def test_who_call_each_other_see_each_other_if_both_asked_for_it(first: str) -> None:
    """Whoever was first: one of them wants to be heard only."""
    made = world(TWO)
    made.say("a1", "initiate", session="A", flow="ringing", receiver="bob", type=first)
    second = "video" if first == "audio" else "audio"
    made.say("b1", "initiate", session="B", flow="ringing", receiver="alice", type=second)
    assert (made.record("B").merged_into, made.record("A").type) == ("A", "audio")


@pytest.mark.parametrize("rung_first", [True, False])
def test_both_call_each_other_is_one_call(rung_first: bool) -> None:
    """The second initiate is the yes to the first, whether or not a leg rings on that device."""
    made = world(TWO)
    if not rung_first:
        made.cut("b1")
        made.act(("notice", 0))
    made.user("a1", Do("A", "initiate", flow="ringing", receiver="bob"))
    made.act(("up", "a1"))
    if rung_first:
        made.settle()
        made.say("b1", "initiate", session="B", flow="ringing", receiver="alice", type="audio")
    else:
        second = Act("bob", "b1", "b1-1", Command("B", 1, "initiate", flow="ringing", receiver="alice", type="audio"))
        made.decide(second)
    record = made.record("A")
    assert record.type == "audio"
    assert [(leg.control.state, leg.via) for leg in record.legs] == [("accepted", ""), ("accepted", "B")]
    assert [leg.control.role for leg in record.legs] == ["caller", "callee"]
    assert made.record("B").merged_into == "A"
    assert made.record("B").reason == Reason.MERGED
    assert_always(made)
    command(made, "b1", "end", session="B", n=9)
    assert (made.record("A").reason, made.record("A").end.by) == ("hangup", "bob")
    assert_always(made)
    messages = [e.message for e in made.decide(Connect("bob", Hello("b1", "b1-1", 7, sessions={"B": 1}))).effects]
    assert isinstance(messages[1], View)
    assert messages[1].session == "A"


def test_a_call_to_someone_else_is_no_yes() -> None:
    """Bob rings Carol while Alice rings Bob: that is busy with himself, not an answer."""
    made = ringing(MANY)
    assert made.say("b1", "initiate", session="T", flow="ringing", receiver="carol") == "already_in_call"


def test_recall_replaces_a_call_that_only_a_dead_device_holds() -> None:
    """The old call ends as lost, the new one rings, and the lines hold the new one alone."""
    made = active({**TWO, "a2": "alice"})
    made.cut("a1")
    made.act(("notice", 0))
    made.user("a2", Do("N", "initiate", flow="ringing", receiver="bob"))
    made.act(("up", "a2"))
    assert (made.record("S").reason, made.record("N").reason) == ("lost", "")
    for user in ("alice", "bob"):
        assert made.store["line", user].holds == ("N",)
    made.settle()
    assert made.state("b1", "N") == "ringing"
    assert_settled(made)


def test_a_call_with_somebody_else_is_not_replaced() -> None:
    """Recall is for the same two people only."""
    made = active({**TWO, "a2": "alice", "c1": "carol"})
    made.cut("a1")
    made.act(("notice", 0))
    made.user("a2", Do("N", "initiate", flow="ringing", receiver="carol"))
    made.act(("up", "a2"))
    assert ("call", "N") not in made.store


def test_each_time_is_taken_once() -> None:
    """When it was made, rang, was answered, active and over: it lasts from active, and each is the first moment."""
    made = ringing()
    times = [made.record("S").initiated_at] * 2
    for step in ("accept", "join", "end"):
        made.now += 1000
        if step == "join":
            for device in TWO:
                made.say(device, "join", token="given")
            made.settle(media=True)
        else:
            made.say("b1", step)
        times.append(made.now)
    record = made.record("S")
    assert [record.initiated_at, record.ringing_at, record.answered_at, record.active_at, record.end.at] == times


def test_a_call_rings_when_the_first_device_does() -> None:
    """Not while nobody's device is there, nor again as further devices come; a session never rings."""
    made = world()
    made.decide(Goodbye("bob", "b1", "b1-1"))
    made.user("a1", Do("S", "initiate", flow="ringing", receiver="bob"))
    made.settle()
    assert made.record("S").ringing_at == 0
    for device, rings in (("b1", 7), ("b2", 7)):
        made.now += 7
        made.decide(Connect("bob", Hello(device, "new", 1)))
        assert made.record("S").ringing_at == NOON + rings
    made.user("a1", Do("T", "join", flow="session", token="fresh"))
    made.settle()
    assert made.record("T").ringing_at == 0


def test_a_picture_is_seen_by_others_and_told_the_user() -> None:
    """As it was when the leg was made; one that is not given stays, and a guest has none."""
    made = world()
    made.decide(Register("alice", avatar="x:/alice"))
    made.decide(Register("alice", "Alice A."))
    line = made.store["line", "alice"]
    assert (line.name, line.avatar) == ("Alice A.", "x:/alice")
    guest = Claims(
        issuer="", user="alice", session="S", token_id="t", issued_at=0, not_before=0, expires=2**40, grants=frozenset()
    )
    for user, who, picture in (("alice", None, "x:/alice"), ("alice", guest, ""), ("bob", None, PICTURES + "bob")):
        told = made.board.step(made.store, Connect(user, Hello("new", "new", 1), who), made.now)
        assert isinstance(told, Done)
        welcome = told.effects[0].message
        assert isinstance(welcome, Welcome)
        assert welcome.avatar == picture
    made.user("a1", Do("S", "initiate", flow="ringing", receiver="bob"))
    made.settle()
    made.user("b1", Do("S", "accept"))
    made.settle()
    for device, pictures in (("a1", [PICTURES + "bob"]), ("b1", ["x:/alice"])):
        leg = made.leg(device, "S")
        assert leg is not None
        assert [peer.avatar for peer in leg.peers] == pictures


def test_who_joined_says_since_when() -> None:
    """To oneself and to others; a leg that comes later has a later time, and whoever has not joined has none."""
    made = ringing()
    made.say("b1", "accept")
    made.settle()
    times = []
    for device in TWO:
        made.now += 9
        made.say(device, "join", token="given")
        made.settle()
        times.append(made.now)
    seen = [made.leg(device, "S") for device in TWO]
    assert [leg.joined_at for leg in seen if leg] == times
    assert [peer.joined_at for leg in seen if leg for peer in leg.peers] == times[::-1]


# --- time -------------------------------------------------------------------------------------------------------------


def test_the_ring_timer_fires_exactly_at_its_time() -> None:
    """One millisecond early it does nothing; at the limit it ends the call for all."""
    made = ringing(timeout=7000)
    made.now = NOON + 6999
    assert not made.decide(Due(("call", "S"))).writes
    made.now += 1
    made.decide(Due(("call", "S")))
    assert made.record("S").reason == "unanswered"
    assert not made.decide(Due(("call", "S"))).writes
    assert not made.decide(Due(("call", "nothing"))).writes
    assert not made.decide(Due(("line", "nobody"))).writes


def test_accepted_but_not_joined_fails_by_the_connect_timer() -> None:
    """The connect timer runs from the acceptance; joining does not wind it up."""
    made = accepted()
    made.now += 20_000
    made.say("a1", "join", token="given")
    made.pass_time(10)
    assert made.record("S").reason == "failed_media"
    assert made.watch.told["a1", "call_ended_message_received"] == 1
    assert_over(made)


def test_a_silent_device_is_lost_after_its_lease() -> None:
    """The endpoint ends itself, the switchboard a little later; beats keep both."""
    made = active(world={"timers": Timers()})
    made.pass_time(200)
    assert made.state("a1", "S") == "active"
    made.places["b1"] = replace(made.places["b1"], linked=False, greeted=False)  # nobody notices
    dead = made.now
    while made.record("S").reason == "":
        due = [timer for timer in made.timers() if timer != ("tick", "b1")]
        if not due:
            made.fire(made.timers()[0])
            continue
        made.fire(due[0])
        for _ in range(9):
            for device in ("a1",):
                place = made.places[device]
                if place.up:
                    made.act(("up", device))
                if made.places[device].down:
                    made.act(("down", device))
    assert made.record("S").reason == "lost"
    assert dead + 35_000 <= made.now <= dead + 50_000
    assert_always(made)


def test_downtime_does_not_count_against_leases() -> None:
    """After a restart every device has a whole lease again, and counts as not online."""
    made = ringing()
    made.now += 10_000_000
    line = made.decide(Restart("bob")).writes["line", "bob"]
    assert isinstance(line, Line)
    assert (line.devices[0].online, line.devices[0].lease) == (False, made.now + made.board.lease)
    made.decide(Register("dora"))
    assert not made.decide(Restart("dora")).writes
    assert not made.decide(Goodbye("dora", "d1", "d1-1")).writes


def test_when_the_next_timer_fires() -> None:
    """A record tells its earliest timer, a line its earliest lease, and nothing tells 0."""
    made = ringing()
    assert next_due(made.record("S")) == made.record("S").ring_until
    assert next_due(made.store["line", "bob"]) == NOON + made.board.lease
    assert next_due(None) == next_due(Line("x")) == 0


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_everybody_in_a_session_hears_since_when_it_is_active() -> None:
    """Also who has joined and whose own media is not up yet."""
    made = world()
    for device in TWO:
        made.user(device, Do("S", "join", flow="session", token="fresh"))
        made.settle()
    made.now += 7
    assert made.say("a1", "up") == "ok"
    for device, state in (("a1", "active"), ("b1", "accepted")):
        leg = made.leg(device, "S")
        assert leg is not None
        assert (leg.state, leg.at[3]) == (state, made.now)


def test_a_session_waits_empty_for_somebody_to_come_back() -> None:
    """The last one out leaves it open for a minute; who comes back has a new leg; then it ends with the last reason."""
    made = meeting("a1", "b1")
    made.say("a1", "leave")
    made.say("b1", "leave")
    record = made.record("S")
    assert (record.end.at, record.empty_until) == (0, made.now + 60_000)
    made.user("b1", Do("S", "join", flow="session", token="fresh"))
    made.settle(media=True)
    assert made.record("S").empty_until == 0
    assert [leg.pid for leg in made.record("S").legs if not leg.end.at] == ["3"]
    made.say("b1", "leave")
    made.pass_time(60)
    assert (made.record("S").reason, made.record("S").end.by) == ("hangup", "bob")
    assert made.say("b1", "join", flow="session", token="fresh") == "call_gone"
    assert made.say("c1", "join", flow="session", token="fresh") == "call_gone"
    assert_over(made)


def test_a_session_takes_so_many_and_no_more() -> None:
    """Full is an error that changes nothing; a place that comes free is taken."""
    made = meeting("a1", "b1", world={"settings": ServiceSettings(session_capacity=2)})
    assert made.say("c1", "join", flow="session", token="fresh") == "session_full"
    assert len(made.record("S").legs) == 2
    made.say("a1", "leave")
    assert made.say("c1", "join", flow="session", token="fresh") in ("ok", "")


def test_ending_for_all_needs_its_grant_and_leaves_nothing_open() -> None:
    """With the grant everybody is out, and the session does not linger."""
    made = meeting("a1", "b1")
    assert made.say("b1", "end_for_all") == "token_lacks_grant"
    token = made.token("carol", "S", grants=frozenset({"end_for_all"}))
    made.user("c1", Do("S", "join", flow="session", token=token))
    made.settle(media=True)
    assert made.say("c1", "end_for_all") == "ok"
    assert (made.record("S").reason, made.record("S").end.by) == ("kicked", "carol")
    assert_over(made)


def test_a_join_needs_a_token_that_is_good_here_and_now() -> None:
    """Missing, malformed, foreign in any way, early or late: refused with its own code, nothing changes."""
    made = meeting("a1")
    cases = {
        "token_missing": {},
        "token_malformed": {"token_error": TokenMalformed(why="x")},
        "token_foreign": {"claims": claims(made, "alice")},
        "token_expired": {"claims": claims(made, "bob", expires=made.now // 1000)},
        "token_not_yet_valid": {"claims": claims(made, "bob", not_before=made.now // 1000 + 9)},
    }
    for code, more in cases.items():
        decision = command(made, "b1", "join", **more)
        assert refusal(decision) == code
        assert not decision.writes
    assert refusal(command(made, "b1", "join", claims=claims(made, "bob", "T"))) == "token_foreign"
    assert refusal(command(made, "b1", "join", claims=claims(made, "bob", device="b2"))) == "token_foreign"
    assert command(made, "b1", "join", claims=claims(made, "bob", device="b1")).writes


@pytest.mark.parametrize("seconds", [0, 30])
def test_a_join_forgives_clocks_that_differ_as_much_as_it_is_told(seconds: int) -> None:
    """The leeway that comes with a command counts, to the second, for a token that has run out."""
    made = meeting("a1")
    epoch = made.places["b1"].endpoint.epoch

    def join(n: int, late: int) -> Done:
        given = claims(made, "bob", expires=made.now // 1000 - late)
        return made.decide(Act("bob", "b1", epoch, Command("S", n, "join"), given, leeway=seconds))

    assert refusal(join(1, seconds)) == "token_expired"
    assert join(2, seconds - 1).writes


def test_whoever_left_needs_a_good_token_to_come_back() -> None:
    """A refused return changes nothing at all: the old leg stays as it ended."""
    made = meeting("a1", "b1")
    made.say("b1", "leave")
    decision = command(made, "b1", "join")
    assert refusal(decision) == "token_missing"
    assert not decision.writes


# --- in the call ------------------------------------------------------------------------------------------------------


def test_marks_are_seen_by_everyone() -> None:
    """A mute of mine is a flag of my leg, and a flag of the peer in the other's view."""
    made = active()
    assert made.say("a1", "mute_audio") == "ok"
    leg = made.leg("b1", "S")
    assert leg is not None
    assert "audio_muted" in leg.peers[0].flags
    assert leg.peers[0].name == "Alice"
    assert made.watch.told["a1", "audio_muted"] == made.watch.told["b1", "user_muted"] == 1
    assert made.say("a1", "unmute_audio") == "ok"
    assert made.watch.told["b1", "user_unmuted"] == 1


def test_grants_rule_what_one_may_send() -> None:
    """Without the grant: refused. Flags at joining count only as far as the token grants them."""
    made = accepted()
    bare = made.token("alice", "S", grants=frozenset({"audio"}))
    made.say("a1", "join", token=bare, flags=frozenset({"camera", "audio_muted", "presenting", "hand_raised"}))
    made.say("b1", "join", token="given")
    made.settle(media=True)
    leg = made.its_leg("a1", "S")
    assert leg is not None
    assert leg.control.flags == {"joined", "connected", "audio_muted"}
    for trigger in ("resume_video", "start_screen_share", "accept_video"):
        (effect,) = command(made, "a1", trigger).effects
        assert isinstance(effect.message, Refused)
        assert (effect.message.code, effect.message.data["grant"]) == (
            "token_lacks_grant", "screen" if trigger == "start_screen_share" else "video",
        )  # fmt: skip


def test_resuming_video_is_a_yes_to_the_camera() -> None:
    """Whoever joined without a camera and resumes video agrees to it: his device captures it from then on."""
    made = meeting("a1", flags=frozenset({"video_paused"}), consent=frozenset({"audio"}))
    before = made.leg("a1", "S")
    assert before is not None
    assert "video" not in before.consent
    assert made.say("a1", "resume_video") == "ok"
    after = made.leg("a1", "S")
    assert after is not None
    assert "video" in after.consent


def audio() -> World:
    """An active audio call."""
    made = world(TWO)
    made.say("a1", "initiate", flow="ringing", receiver="bob", type="audio")
    made.say("b1", "accept")
    made.say("a1", "join", token="given", flags=frozenset({"camera"}))
    made.say("b1", "join", token="given")
    return made.settle(media=True)


def flags(made: World, device: str) -> frozenset[str]:
    """The marks of a leg, less the core's own."""
    leg = made.its_leg(device, "S")
    assert leg is not None
    return leg.control.flags - {"joined", "connected"}


def test_switching_to_video_takes_both() -> None:
    """Asked, agreed: the call is a video call and both cameras are on."""
    made = audio()
    assert flags(made, "a1") == frozenset()
    assert made.say("a1", "switch_to_video") == "ok"
    assert flags(made, "a1") == {"wants_video"}
    leg = made.its_leg("a1", "S")
    assert leg is not None
    assert leg.deadline == made.now + 30_000
    assert made.watch.told["b1", "call_switch_to_video_requested"] == 1
    assert made.say("b1", "accept_video") == "ok"
    assert made.record("S").type == "video"
    assert flags(made, "a1") == flags(made, "b1") == {"camera"}
    assert made.watch.told["a1", "call_switched_to_video"] == made.watch.told["b1", "call_switched_to_video"] == 1
    assert made.say("a1", "switch_to_video") == "ok"
    assert refusal(command(made, "a1", "accept_video")) == "illegal_transition"


@pytest.mark.parametrize(("device", "trigger"), [("b1", "decline_video"), ("a1", "withdraw_video"), ("", "time")])
def test_no_camera_without_consent(device: str, trigger: str) -> None:
    """Declined, withdrawn or not answered: it stays an audio call, and a late yes is refused."""
    made = audio()
    made.say("a1", "switch_to_video")
    if device:
        assert made.say(device, trigger) == "ok"
    else:
        made.pass_time(30)
    assert flags(made, "a1") == flags(made, "b1") == frozenset()
    assert made.record("S").type == "audio"
    assert made.watch.told["a1", "call_switch_to_video_declined"] == 1
    assert refusal(command(made, "b1", "accept_video")) == "illegal_transition"


def test_a_third_persons_camera_stays_off() -> None:
    """Two agree on video; whoever was not asked keeps his camera off: the agreement has no row at his leg."""
    made = meeting("a1", "b1", "c1", type="audio")
    made.say("a1", "switch_to_video")
    made.say("b1", "accept_video")
    assert made.record("S").type == "video"
    assert [flags(made, device) for device in ("a1", "b1", "c1")] == [{"camera"}, {"camera"}, frozenset()]


def test_both_asking_is_one_switch() -> None:
    """The second request is the answer to the first."""
    made = audio()
    for device in ("a1", "b1"):
        made.user(device, Do("S", "switch_to_video"))
    made.settle()
    assert made.record("S").type == "video"
    assert flags(made, "a1") == flags(made, "b1") == {"camera"}


def test_a_withdrawal_that_comes_too_late_keeps_the_camera_off() -> None:
    """The agreement was first: a video call, but the asker's camera stays off and captures nothing."""
    made = audio()
    made.say("a1", "switch_to_video")
    made.user("b1", Do("S", "accept_video"))
    made.act(("up", "b1"))
    made.user("a1", Do("S", "withdraw_video"))
    made.settle()
    assert made.record("S").type == "video"
    assert flags(made, "a1") == frozenset()
    assert flags(made, "b1") == {"camera"}
    assert_settled(made)


# --- media signaling --------------------------------------------------------------------------------------------------


def offers(made: World) -> dict[str, dict[str, int]]:
    """Who believes to hold which offer token."""
    found = {}
    for device in ("a1", "b1"):
        leg = made.leg(device, "S")
        assert leg is not None
        found[device] = leg.offers
    return found


def ask(made: World, device: str, wish: type[Ask | Free], pid: str) -> dict[str, dict[str, int]]:
    """Ask for an offer token, or free it."""
    made.signal(device, "S", wish("S", pid))
    return offers(made.settle())


def test_the_offer_token_is_held_by_one_and_passed_on() -> None:
    """Ask, queue, free, ask again, wait no longer: one holder at a time, each grant with a new number."""
    made = active()
    assert ask(made, "a1", Ask, "2") == {"a1": {"2": 1}, "b1": {}}
    assert ask(made, "b1", Ask, "1") == {"a1": {"2": 1}, "b1": {}}
    assert ask(made, "a1", Free, "2") == {"a1": {}, "b1": {"1": 2}}
    assert ask(made, "a1", Free, "2") == {"a1": {}, "b1": {"1": 2}}
    assert ask(made, "a1", Ask, "2") == {"a1": {}, "b1": {"1": 2}}
    assert ask(made, "a1", Free, "2") == {"a1": {}, "b1": {"1": 2}}
    assert ask(made, "b1", Free, "1") == {"a1": {}, "b1": {}}
    assert next_due(made.record("S")) == 0


def test_the_offer_token_comes_back_after_its_time_or_its_holders_end() -> None:
    """Ten seconds, then who waits has it; whoever ends holds nothing."""
    made = active()
    ask(made, "a1", Ask, "2")
    ask(made, "b1", Ask, "1")
    assert next_due(made.record("S")) == made.now + 10_000
    made.pass_time(10)
    assert offers(made) == {"a1": {}, "b1": {"1": 2}}
    made.pass_time(10)
    assert offers(made) == {"a1": {}, "b1": {}}
    ask(made, "a1", Ask, "2")
    assert not made.decide(Due(("call", "S"))).writes
    made.say("a1", "end")
    assert made.record("S").offers == ()
    assert_over(made)


def test_a_link_that_is_back_gives_whoever_offers_another_turn() -> None:
    """The offer may be lost with either link, or its answer: the holder's turn gets a new number. A connection that is
    late or said twice is none that is back, and where nobody offers nothing is granted."""
    made = active()
    made.decide(Connect("bob", Hello("b1", "b1-1", 2)))
    assert offers(made) == {"a1": {}, "b1": {}}
    assert ask(made, "a1", Ask, "2") == {"a1": {"2": 1}, "b1": {}}
    made.decide(Connect("bob", Hello("b1", "b1-1", 3)))
    made.settle()
    assert offers(made) == {"a1": {"2": 2}, "b1": {}}
    made.decide(Connect("bob", Hello("b1", "b1-1", 3)))
    made.decide(Connect("bob", Hello("b1", "b1-1", 2)))
    made.settle()
    assert offers(made) == {"a1": {"2": 2}, "b1": {}}
    made.decide(Connect("alice", Hello("a1", "a1-1", 4)))
    made.settle()
    assert offers(made) == {"a1": {"2": 3}, "b1": {}}


def test_relays_go_between_joined_legs_and_offers_by_the_token() -> None:
    """Candidates pass; an offer only from the holder, an answer only to him; strangers and the absent get nothing."""
    made = active(MANY)

    def route(user: str, device: str, kind: Any, to: str, session: str = "S") -> list[Deliver]:
        return list(made.decide(Route(user, device, f"{device}-1", Relay(session, to, kind, "x"))).effects)

    (effect,) = route("alice", "a1", "candidate", "2")
    assert (effect.device, effect.message) == ("b1", Relayed("S", "1", "candidate", "x"))
    assert not route("alice", "a1", "offer", "2")
    ask(made, "a1", Ask, "2")
    assert route("alice", "a1", "offer", "2")
    assert not route("bob", "b1", "offer", "1")
    assert route("bob", "b1", "answer", "1")
    assert not route("alice", "a1", "answer", "2")
    assert not route("alice", "a1", "data", "1")
    assert not route("alice", "a1", "data", "3")
    assert not route("alice", "a1", "data", "99")
    assert not route("carol", "c1", "data", "1")
    assert not route("alice", "a1", "data", "2", "T")
    assert not made.decide(Negotiate("carol", "c1", "c1-1", Ask("S", "1"))).writes
    assert ask(accepted(), "a1", Ask, "2") == {"a1": {}, "b1": {}}


# --- a flow of one's own ----------------------------------------------------------------------------------------------

HELD = RINGING.extend(
    "held",
    triggers=(Trigger("hold", "user"), Trigger("resume", "user")),
    flags=("held",),
    conditions=("patient",),
    rows=(
        Row("active", "hold", "active", (Mark("held"),), when="patient"),
        Row("active", "resume", "active", (Mark("held", False),)),
    ),
)


def test_a_flow_of_ones_own_runs_with_conditions_of_ones_own() -> None:
    """The application says which of its conditions hold; a flow that is not held is refused."""
    made = World(TWO, flows={**FLOWS, "held": HELD}).settle()
    made.say("a1", "initiate", flow="held", receiver="bob")
    made.say("b1", "accept")
    for device in ("a1", "b1"):
        made.say(device, "join", token="given")
    made.settle(media=True)
    assert made.board.machine("held").flow is HELD
    assert refusal(command(made, "a1", "hold")) == "illegal_transition"
    decision = command(made, "a1", "hold", given=frozenset({"patient"}))
    assert isinstance(decision.effects[0].message, View)
    decision = command(world(), "a1", "initiate", flow="held", receiver="bob")
    assert refusal(decision) == "unsupported_version"
    assert decision.effects[0].message.data == {"theirs": "held", "ours": sorted(FLOWS)}


def test_nothing_is_kept_but_what_it_was_configured_with() -> None:
    """Two switchboards of one configuration decide alike: all state is in the records."""
    made = ringing()
    given = Act("bob", "b1", "b1-1", Command("S", 9, "accept"))
    one = made.board.step(made.store, given, made.now)
    assert one == Switchboard(timers=made.board.timers).step(made.store, given, made.now)
    assert isinstance(made.store["call", "S"], Record)
