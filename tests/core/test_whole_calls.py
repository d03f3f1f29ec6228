"""Calls from their first command to their row in the log, whole: every field of the record, at every step."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from statecore.model import Control, Device, Ending, Invitation, Leg, Line, Offer, Reason, Record
from statecore.settings import ServiceSettings
from statecore.switchboard import (
    Act,
    Connect,
    Deliver,
    Disconnect,
    Due,
    End,
    Forget,
    Goodbye,
    Negotiate,
    Register,
    Restart,
    Route,
    next_due,
)
from statecore.testing._world_parts import PICTURES, claims
from statecore.testing.oracle import assert_over
from statecore.testing.world import NOON, World
from statecore.wire import Ask, Command, Free, Hello, Relay, Relayed, View

WHO = {"a1": "alice", "a2": "alice", "b1": "bob", "b2": "bob", "c1": "carol"}


def world(*devices: str, **more: Any) -> World:
    """These devices are connected."""
    return World({device: WHO[device] for device in devices or ("a1", "b1")}, **more).settle()


def say(made: World, device: str, trigger: str, n: int, session: str = "S", **more: Any) -> Record:
    """A command straight to the switchboard, a second after what was before: the call as it stands then."""
    made.now += 1000
    endpoint, claims = made.places[device].endpoint, more.pop("claims", None)
    command = Command(session, n, trigger, **more)
    made.decide(Act(endpoint.user, device, endpoint.epoch, command, claims))
    return made.record(session)


def token(made: World, user: str, *grants: str, session: str = "S") -> Any:
    """What a token says."""
    return claims(user, session, made.now // 1000, grants=frozenset(grants))


def call(made: World, *, flow: str = "ringing") -> World:
    """Alice and Bob talk."""
    made.said(("a1", "initiate"), flow=flow, receiver="bob")
    made.said(("b1", "accept"))
    return made.said(("a1", "join"), ("b1", "join"), token="given", flags=frozenset({"camera"}))


def meeting(*devices: str, **more: Any) -> World:
    """A session that these devices are in."""
    made = world(*devices, **more)
    return made.said(*((device, "join") for device in devices), flow="session", token="fresh")


def line(made: World, user: str) -> Line:
    """A user's line."""
    value = made.store["line", user]
    assert isinstance(value, Line)
    return value


def ends(made: World, session: str = "S") -> list[tuple[str, str, str]]:
    """How each leg ended: who had it, why, and by whom."""
    return [(leg.user, leg.control.reason, leg.end.by) for leg in made.record(session).legs]


# --- a call of two ----------------------------------------------------------------------------------------------------


def test_a_call_of_two_changes_by_each_word_just_so() -> None:
    """Rings, is answered, joined, connected and ended: at each step what changes is what is said here, and no more."""
    made = world()
    rings = NOON + 1000 + 45_000
    caller = Leg(
        "1",
        "alice",
        "a1",
        "a1-1",
        Control("ringing", "caller"),
        rings,
        seq=1,
        heard=7,
        name="Alice",
        avatar=PICTURES + "alice",
    )
    callee = Leg(
        "2", "bob", "b1", "b1-1", Control("ringing", "callee"), rings, seq=1, name="Bob", avatar=PICTURES + "bob"
    )
    record = Record(
        "S", "ringing", "audio", "alice", "bob", (caller, callee), (Invitation("bob"),), metadata="m",
        initiated_at=NOON + 1000, ringing_at=NOON + 1000, ring_until=rings,
    )  # fmt: skip
    assert say(made, "a1", "initiate", 7, flow="ringing", receiver="bob", type="audio", metadata="m") == record
    for user, device in (("alice", "a1"), ("bob", "b1")):
        lease = NOON + made.board.lease
        here = Device(device, f"{device}-1", 1, online=True, lease=lease)
        assert line(made, user) == Line(user, user.title(), PICTURES + user, (here,), holds=("S",))

    due = NOON + 2000 + 30_000
    caller = replace(caller, control=Control("accepted", "caller"), deadline=due, seq=2)
    callee = replace(callee, control=Control("accepted", "callee"), deadline=due, seq=2, heard=8)
    record = replace(record, legs=(caller, callee), invitations=(Invitation("bob", "joined"),), answered_at=NOON + 2000)
    assert say(made, "b1", "accept", 8) == record

    audio = frozenset({"audio"})
    joined = frozenset({"joined", "audio_muted"})
    caller = replace(
        caller, control=Control("accepted", "caller", joined), seq=3, heard=9, joined=1, grants=audio,
        joined_at=NOON + 3000,
    )  # fmt: skip
    record = replace(record, legs=(caller, callee))
    flags = frozenset({"audio_muted", "camera"})  # a camera is on at joining in a video call only
    assert say(made, "a1", "join", 9, claims=token(made, "alice", "audio"), flags=flags) == record

    callee = replace(
        callee, control=Control("accepted", "callee", frozenset({"joined"})), seq=3, heard=10, joined=2, grants=audio,
        joined_at=NOON + 4000,
    )  # fmt: skip
    caller = replace(caller, seq=4)
    record = replace(record, legs=(caller, callee))
    assert say(made, "b1", "join", 10, claims=token(made, "bob", "audio")) == record

    up = frozenset({"connected"})
    caller = replace(caller, control=Control("accepted", "caller", joined | up), seq=5, heard=11)
    record = replace(record, legs=(caller, callee))
    assert say(made, "a1", "up", 11) == record

    caller = replace(caller, control=Control("active", "caller", joined | up), deadline=0, seq=6)
    callee = replace(
        callee, control=Control("active", "callee", frozenset({"joined"}) | up), deadline=0, seq=4, heard=12
    )
    record = replace(record, legs=(caller, callee), active_at=NOON + 6000)
    assert say(made, "b1", "up", 12) == record

    caller = replace(caller, control=Control("active", "caller", up | {"joined"}), seq=7, heard=13)
    record = replace(record, legs=(caller, replace(callee, seq=5)))
    assert say(made, "a1", "unmute_audio", 13) == record

    over = {"end": Ending(NOON + 8000, "bob", "b1")}
    caller, callee = (
        replace(leg, control=replace(leg.control, state="ended", reason="hangup"), seq=leg.seq + 1, **over)
        for leg in record.legs
    )
    callee = replace(callee, heard=14)
    record = replace(record, legs=(caller, callee), invitations=(Invitation("bob", "left"),), reason="hangup", **over)
    assert say(made, "b1", "end", 14) == record
    assert line(made, "alice").holds == line(made, "bob").holds == ()


@pytest.mark.parametrize(
    ("timeout", "rings"), [(0, 45_000), (1, 1), (3_599_999, 3_599_999), (3_600_000, 3_600_000), (3_600_001, 3_600_000)]
)
def test_it_rings_as_long_as_the_caller_says_within_an_hour(timeout: int, rings: int) -> None:
    """In milliseconds; by the service's own time if the caller says nothing."""
    record = say(world(), "a1", "initiate", 7, flow="ringing", receiver="bob", timeout=timeout)
    assert record.ring_until == record.initiated_at + rings
    assert {leg.deadline for leg in record.legs} == {record.ring_until}
    assert next_due(record) == record.ring_until


def test_nobody_is_active_alone() -> None:
    """The first whose media works waits for the other, in whatever order they join and report."""
    made = world()
    say(made, "a1", "initiate", 7, flow="ringing", receiver="bob")
    say(made, "b1", "accept", 8)
    states = []
    for n, (device, user) in enumerate((("b1", "bob"), ("a1", "alice")), 9):
        say(made, device, "join", n, claims=token(made, user))
        record = say(made, device, "up", n + 10)
        states.append([leg.control.state for leg in record.legs])
    assert states == [["accepted", "accepted"], ["active", "active"]]


def test_what_media_or_a_timer_ends_is_nobodys_act() -> None:
    """Whoever says `end` has ended it; whose media fails, or who is lost, has not."""
    for trigger, reason, by in (("end", "hangup", "bob"), ("failed", "lost", ""), ("lost", "lost", "")):
        made = call(world())
        record = say(made, "b1", trigger, 900)
        assert (record.reason, record.end.by) == (reason, by)
        assert ends(made) == [("alice", reason, by), ("bob", reason, by)]
    made = call(world())
    say(made, "a1", "raise_hand", 900)
    made.decide(Goodbye("alice", "a1", "a1-1"))
    assert (made.record("S").reason, made.record("S").end.by) == ("lost", "")


# --- whose line it is -------------------------------------------------------------------------------------------------


def test_both_calling_each_other_takes_the_second_command_of_both_names() -> None:
    """The number of the second initiate counts in the call that is, too, whatever participant it names."""
    made = world()
    say(made, "a1", "initiate", 7, "A", flow="ringing", receiver="bob")
    asked = Command("B", 9, "initiate", flow="ringing", receiver="alice", pid="9")
    effects = made.decide(Act("bob", "b1", "b1-1", asked)).effects
    told = [(effect.device, effect.message.session, effect.message.state) for effect in effects]
    assert told == [("a1", "A", "accepted"), ("b1", "A", "accepted")], "of B's own name nothing is told"
    second = made.record("B")
    assert (second.merged_into, second.reason, second.invitations) == ("A", "merged", ())
    assert [(leg.pid, leg.heard, leg.via) for leg in made.record("A").legs] == [("1", 7, ""), ("2", 9, "B")]
    assert line(made, "alice").holds == line(made, "bob").holds == ("A",)
    assert say(made, "b1", "end", 10, "B").end.at
    assert made.record("A").end.by == "bob"


def test_a_call_that_was_answered_is_no_call_to_answer() -> None:
    """Who calls the one with whom he talks is in a call already, on any device: it was a yes only while it rang."""
    made = call(world("a1", "b1", "b2"))
    for device in ("b1", "b2"):
        assert made.say(device, "initiate", "T", flow="ringing", receiver="alice") == "already_in_call"
    assert ("call", "T") not in made.store
    assert made.record("S").reason == ""


def test_a_recall_ends_all_that_dead_devices_hold() -> None:
    """Each old call with the same receiver, as it rings or in the call, as lost by who recalls; and with no other."""
    for answered in (True, False):
        made = world("a1", "a2", "b1", "c1", settings=ServiceSettings(line_capacity=3))
        for session, receiver, device in (("S", "bob", "b1"), ("T", "bob", "b1"), ("U", "carol", "c1")):
            assert made.say("a1", "initiate", session, flow="ringing", receiver=receiver) == "ok"
            if answered:
                assert made.say(device, "accept", session) == "ok"
        made.decide(Disconnect("alice", "a1", "a1-1", 1))
        say(made, "a2", "initiate", 900, "N", flow="ringing", receiver="bob")
        for session in ("S", "T"):
            assert ends(made, session) == [("alice", "lost", "alice"), ("bob", "lost", "alice")]
        assert made.record("N").reason == made.record("U").reason == ""
        assert line(made, "bob").holds == ("N",)
        assert line(made, "alice").holds == ("U", "N")


def test_a_user_keeps_what_was_set_until_it_is_set_anew() -> None:
    """The name and how many calls the line takes, each by itself."""
    made = world()
    for given, name, capacity in (
        (Register("bob", "", 2), "Bob", 2), (Register("bob", "Rob"), "Rob", 2), (Register("bob", "", 3), "Rob", 3),
        (Register("dora"), "", 0), (Register("dora", "D", 1), "D", 1),
    ):  # fmt: skip
        made.decide(given)
        assert (line(made, given.user).name, line(made, given.user).capacity) == (name, capacity)
    assert made.say("a1", "initiate", flow="ringing", receiver="dora") == "ok"


def test_a_line_takes_as_many_calls_as_its_user_may_have() -> None:
    """The user's own number before the service's."""
    made = world("a1", "b1", "c1", settings=ServiceSettings(line_capacity=1))
    made.decide(Register("bob", capacity=2))
    assert made.say("a1", "initiate", "S", flow="ringing", receiver="bob") == "ok"
    assert made.say("c1", "initiate", "T", flow="ringing", receiver="bob") == "ok"
    assert line(made, "bob").holds == ("S", "T")
    made.decide(Register("dora"))
    assert made.say("b1", "initiate", "U", flow="ringing", receiver="dora") == "already_in_call"


def test_who_is_deleted_ends_the_call_but_of_a_session_only_a_part() -> None:
    """The other one's leg ends with the call; whoever else is in the session stays; nothing of the user is kept."""
    made = meeting("a1", "b1", "c1")
    made.said(("a1", "initiate"), session="T", flow="ringing", receiver="bob")
    made.decide(Forget("alice"))
    assert made.store["line", "alice"] is None
    assert {leg.user: leg.control.reason for leg in made.record("S").legs} == {
        "alice": "kicked",
        "bob": "",
        "carol": "",
    }
    assert ends(made, "T") == [("alice", "cancelled", ""), ("bob", "cancelled", "")]
    assert (line(made, "bob").holds, line(made, "bob").sessions) == ((), ("S",))
    made.decide(Forget("carol"))
    assert [leg.control.reason for leg in made.record("S").legs] == ["kicked", "", "kicked"]


def test_a_restart_gives_every_device_a_whole_lease() -> None:
    """And takes none of them for connected."""
    made = world("b1", "b2")
    made.now += 5000
    made.decide(Restart("bob"))
    lease = made.now + made.board.lease
    assert [(d.device, d.online, d.lease) for d in line(made, "bob").devices] == [
        ("b1", False, lease),
        ("b2", False, lease),
    ]


def test_a_device_that_rings_anew_goes_on_from_its_old_numbers() -> None:
    """Of its views and of its commands: what it said before it was lost is not taken a second time."""
    made = world("a1", "b1", "b2")
    made.said(("a1", "initiate"), flow="ringing", receiver="bob")
    before = say(made, "b1", "join", 50).legs[1]
    assert before.refused
    made.decide(Goodbye("bob", "b1", "b1-1"))
    made.decide(Connect("bob", Hello("b1", "b1-1", 2)))
    leg = made.record("S").legs[3]
    assert (leg.pid, leg.control.state, leg.heard, leg.refused) == ("4", "ringing", 50, "")
    assert leg.seq == before.seq + 2, "its end, and the new ring"
    assert say(made, "b1", "accept", 50).legs[3] == leg
    assert say(made, "b1", "accept", 51).legs[3].control.state == "accepted"


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_begins_with_whoever_joins_it() -> None:
    """A member, by a token's grants, whose camera may be on at once; nobody is called, nothing rings."""
    made = world()
    record = say(
        made, "a1", "join", 7, flow="session", claims=token(made, "alice", "video"), flags=frozenset({"camera"})
    )
    leg = Leg(
        "1", "alice", "a1", "a1-1", Control("accepted", "member", frozenset({"joined", "camera"})), NOON + 31_000,
        seq=1, heard=7, joined=1, grants=frozenset({"video"}), joined_at=NOON + 1000, name="Alice",
        avatar=PICTURES + "alice",
    )  # fmt: skip
    assert record == Record(
        "S", "session", "video", "alice", legs=(leg,), initiated_at=NOON + 1000, answered_at=NOON + 1000
    )
    assert (line(made, "alice").holds, line(made, "alice").sessions) == ((), ("S",))


def test_who_is_gone_for_a_reason_is_named_to_those_who_stay() -> None:
    """Who was lost or sent away: not who just left, and not who never was in."""
    made = meeting("a1", "b1", "b2", "c1")
    made.say("c1", "leave")
    made.decide(Goodbye("bob", "b1", "b1-1"))
    made.settle()
    view = made.leg("a1", "S")
    assert view is not None
    assert [peer.pid for peer in view.peers] == ["3"]
    (effect,) = made.decide(Connect("alice", Hello("a1", "a1-1", 9, sessions={"S": 1}))).effects[1:]
    assert effect.message.gone == {"2": Reason.LOST}
    made = call(world("a1", "b1", "b2"))
    (effect,) = made.decide(Connect("alice", Hello("a1", "a1-1", 9, sessions={"S": 1}))).effects[1:]
    assert effect.message.gone is None, "the device on which nobody answered was never in"


@pytest.mark.parametrize("many", [31, 32, 33, 40])
def test_of_many_who_are_gone_the_last_are_named(many: int) -> None:
    """Why they went, of the thirty-two who went last, whatever their places are; of few, of all."""
    made = World({f"d{n}": f"u{n}" for n in range(many + 1)}).settle()
    for n in range(many + 1):
        say(made, f"d{n}", "join", 7, flow="session", claims=token(made, f"u{n}"))
    order = [*range(many, 0, -2), *range(many - 1, 0, -2)]
    for n in order:
        made.now += 10
        made.decide(Goodbye(f"u{n}", f"d{n}", f"d{n}-1"))
    (effect,) = made.decide(Connect("u0", Hello("d0", "d0-1", 9, sessions={"S": 1}))).effects[1:]
    assert effect.message.gone == {str(n + 1): Reason.LOST for n in order[-32:]}


def test_an_empty_session_waits_its_time_to_the_millisecond() -> None:
    """A timer that comes early does nothing; the application may end it before."""
    made = meeting("a1", "b1")
    for device in ("a1", "b1"):
        made.say(device, "leave")
    waits = made.record("S").empty_until
    assert next_due(made.record("S")) == waits == made.now + 60_000
    other = made.copy()
    other.decide(End("S"))
    record = other.record("S")
    assert (record.end.at, record.empty_until, record.reason, record.end.by) == (other.now, 0, "hangup", "bob")
    assert not other.decide(End("S")).writes
    made.now = waits - 1
    assert not made.decide(Due(("call", "S"))).writes
    made.now = waits
    made.decide(Due(("call", "S")))
    assert (made.record("S").end.at, made.record("S").empty_until) == (waits, 0)
    assert_over(made.settle())


def test_only_what_changes_is_written() -> None:
    """Of lines that a decision looks at, those of people who have nothing to lose stay as they are."""
    made = meeting("a1", "b1", "b2")
    wrote = []
    for device in ("b1", "b2", "a1"):
        endpoint = made.places[device].endpoint
        decision = made.decide(Act(endpoint.user, device, endpoint.epoch, Command("S", 900, "leave")))
        wrote.append(sorted(name for _, name in decision.writes))
    assert wrote == [["S"], ["S", "bob"], ["S", "alice"]]


def test_the_application_ends_a_call_for_all_whatever_it_has_come_to() -> None:
    """While it rings it is cancelled, in the call all are sent away, by nobody; a session does not wait for anybody."""
    made = world()
    made.say("a1", "initiate", flow="ringing", receiver="bob")
    made.decide(End("S"))
    assert ends(made) == [("alice", "cancelled", ""), ("bob", "cancelled", "")]
    assert made.record("S").invitations == (Invitation("bob", "unanswered"),)
    for made in (call(world()), meeting("a1", "b1")):
        made.decide(End("S"))
        assert ends(made) == [("alice", "kicked", ""), ("bob", "kicked", "")]
        record = made.record("S")
        assert (record.end.at, record.empty_until, record.reason, record.end.by) == (made.now, 0, "kicked", "")
        assert_over(made.settle())


# --- whose turn it is to offer ----------------------------------------------------------------------------------------


def test_an_offer_token_concerns_its_pair_alone() -> None:
    """A third one's link that is back gives nobody a new turn, and a token that was freed is not given again by one."""
    made = meeting("a1", "b1", "c1")
    alice, bob = ("alice", "a1", "a1-1"), ("bob", "b1", "b1-1")
    assert not made.decide(Negotiate(*alice, Free("S", "2"))).writes, "nobody has it"
    made.decide(Negotiate(*alice, Ask("S", "2")))
    until = made.now + 10_000
    assert made.record("S").offers == (Offer(("1", "2"), "1", "", until, 1),)
    made.decide(Connect("carol", Hello("c1", "c1-1", 8)))
    assert made.record("S").offers == (Offer(("1", "2"), "1", "", until, 1),)
    for wish, waiting in ((Ask, "2"), (Free, ""), (Ask, "2")):
        made.decide(Negotiate(*bob, wish("S", "1")))
        assert made.record("S").offers == (Offer(("1", "2"), "1", waiting, until, 1),)
    made.now += 4000
    made.decide(Negotiate(*alice, Free("S", "2")))
    assert made.record("S").offers == (Offer(("1", "2"), "2", "", made.now + 10_000, 2),)
    made.decide(Negotiate(*bob, Ask("S", "3")))
    made.decide(Negotiate(*bob, Free("S", "1")))
    freed = (Offer(("2", "3"), "2", "", made.now + 10_000, 1), Offer(("1", "2"), "", "", 0, 2))
    assert made.record("S").offers == freed
    made.decide(Connect("alice", Hello("a1", "a1-1", 8)))
    assert made.record("S").offers == freed
    made.say("c1", "leave")
    assert made.record("S").offers == freed[1:]


def test_everybody_who_offers_to_one_whose_link_is_back_has_a_new_turn() -> None:
    """And is told, each of the pair that is meant."""
    made = meeting("a1", "b1", "c1")
    made.decide(Negotiate("alice", "a1", "a1-1", Ask("S", "2")))
    made.decide(Negotiate("carol", "c1", "c1-1", Ask("S", "2")))
    effects = made.decide(Connect("bob", Hello("b1", "b1-1", 8, sessions={"S": 99}))).effects
    turns = {effect.device: effect.message.offers for effect in effects if isinstance(effect.message, View)}
    assert turns == {"a1": {"2": 2}, "c1": {"2": 2}, "b1": {}}


def test_what_two_say_to_each_other_goes_to_the_other_device() -> None:
    """Under the name of who says it, to the participant's own device and incarnation, and to nobody else."""
    made = meeting("a1", "b1", "b2")
    given = Route("alice", "a1", "a1-1", Relay("S", "3", "data", "x"))
    assert made.decide(given).effects == (Deliver("bob", "b2", "b2-1", Relayed("S", "1", "data", "x")),)
    given = Route("bob", "b2", "b2-1", Relay("S", "1", "candidate", "y"))
    assert made.decide(given).effects == (Deliver("alice", "a1", "a1-1", Relayed("S", "3", "candidate", "y")),)
