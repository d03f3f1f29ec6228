"""Data messages to the letter: each lane, each parcel that goes out and its order, each wait, and each moment."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import astuple, replace

from statecore.endpoint import Effect, Endpoint, EndpointMachine, LocalLeg, Received, Say, Settle, Tick
from statecore.endpoint._types import Lane, Mail
from statecore.errors import StatecoreError
from statecore.flow import Timers
from statecore.model import Reason
from statecore.wire import Peer, Relay, Relayed, View, Welcome

NOW = 1_000_000
FAR = 10**7
BOUND, RETRY = NOW + 10_000, NOW + 5_000
"""When a wait fails, and when what nobody answered goes out again."""
COST = 6_666
"""Microseconds between two messages in the long run, of 200 a second with a quarter kept for all else."""
BURST = 10_000_000
HERE = frozenset({"joined", "connected"})
BOB, CAROL = Peer("2", "bob", "b1", joined=2), Peer("3", "carol", "c1", joined=3)
DORA = Peer("4", "dora", "d1")
"""She has not joined."""


def leg(**more: Any) -> LocalLeg:
    """Alice is in a session with Bob."""
    plain: dict[str, Any] = {
        "flow": "session", "state": "active", "role": "member", "pid": "1", "initiator": "alice", "seq": 4,
        "flags": HERE, "joined": 1, "peers": (BOB,), "media": "open", "reported": True,
    }  # fmt: skip
    return LocalLeg("S", **{**plain, **more})


def device(of: LocalLeg, **more: Any) -> Endpoint:
    """Alice's device, with this leg."""
    plain: dict[str, Any] = {
        "online": True, "conn": 1, "n": 9, "confirmed": NOW, "beat_due": NOW + FAR, "heartbeat": FAR, "lease": FAR,
    }  # fmt: skip
    return Endpoint("alice", "a1", "a1-1", {"S": of}, **{**plain, **more})


def talk(*lanes: tuple[str, Lane], peers: tuple[Peer, ...] = (BOB, CAROL), **more: Any) -> Endpoint:
    """Alice's device, in a session in which that was said."""
    return device(leg(lanes=dict(lanes), peers=peers), **more)


def told(effects: list[Effect]) -> list[tuple[Any, ...]]:
    """Everything about each effect, so that they compare: an error by its code and data, a relay by its parcel."""
    return [_told(each) for each in effects]


def _told(effect: Effect) -> tuple[Any, ...]:
    message = getattr(effect, "message", None)
    if isinstance(message, Relay):
        assert (message.session, message.kind) == ("S", "data")
        return ("Relay", message.to, json.loads(message.body))
    return (type(effect).__name__, *(_plain(value) for value in astuple(effect)))


def _plain(value: Any) -> Any:
    return (value.code, dict(value.data)) if isinstance(value, StatecoreError) else value


def give(endpoint: Endpoint, given: Any, now: int = NOW) -> tuple[Endpoint, list[tuple[Any, ...]]]:
    """What becomes of it by this input, and everything that it does."""
    after, effects = EndpointMachine().step(endpoint, given, now)
    return after, told(effects)


def comes(endpoint: Endpoint, source: str = "2", **parcel: Any) -> tuple[Endpoint, list[tuple[Any, ...]]]:
    """The same by a parcel of a participant."""
    return give(endpoint, Received(Relayed("S", source, "data", json.dumps(parcel))))


def mails(first: int, last: int, ticket: int = 0, due: int = BOUND) -> tuple[Mail, ...]:
    """Messages that are not acknowledged."""
    return tuple(Mail(n, f"t{n}", ticket and ticket + n, due) for n in range(first, last + 1))


def paced(count: int) -> dict[str, int]:
    """What has gone out counts."""
    return {"paced": NOW * 1000 + count * COST}


# --- saying -----------------------------------------------------------------------------------------------------------


def test_a_message_goes_to_all_who_have_joined_or_to_one() -> None:
    """With the number that each receiver has got to, and word of what came from him; it counts, and is waited for."""
    before = talk(("3", Lane(said=4, got=7)), peers=(CAROL, DORA, BOB), names={"X": "S"})
    after, did = give(before, Say("X", "hi", ticket=5))
    assert did == [("Relay", "2", {"n": 1, "text": "hi"}), ("Relay", "3", {"n": 5, "got": 7, "text": "hi"})]
    lanes = (
        ("3", Lane(5, (Mail(5, "hi", 5, BOUND),), 5, RETRY, got=7)),
        ("2", Lane(1, (Mail(1, "hi", 5, BOUND),), 1, RETRY)),
    )
    assert after == talk(*lanes, peers=(CAROL, DORA, BOB), names={"X": "S"}, **paced(2))
    assert give(before, Say("S", "", "2"))[1] == [("Relay", "2", {"n": 1})], "what is empty is not spelt out"
    after, did = give(before, Say("S", "hi", "3"))
    assert did == [("Relay", "3", {"n": 5, "got": 7, "text": "hi"})]
    lane = ("3", Lane(5, (Mail(5, "hi", 0, BOUND),), 5, RETRY, got=7))
    assert after == talk(lane, peers=(CAROL, DORA, BOB), names={"X": "S"}, **paced(1))


@pytest.mark.parametrize(
    ("before", "to", "code", "data"),
    [
        (talk(peers=()), "", "", {}),
        (talk(peers=(DORA,)), "", "", {}),
        (talk(), "9", "invalid_argument", {"name": "to"}),
        (talk(peers=(BOB, DORA)), "4", "invalid_argument", {"name": "to"}),
        (talk(("2", Lane(256, mails(1, 256)))), "", "rate_limited", {"what": "data messages", "seconds": 1}),
        (talk(("3", Lane(256, mails(1, 256)))), "", "rate_limited", {"what": "data messages", "seconds": 1}),
        (device(leg(state="accepted")), "", "session_inactive",
         {"session_id": "S", "state": "accepted", "trigger": "send_message"}),
    ],
    ids=["alone", "nobody-joined", "nobody", "not-joined", "full", "one-is-full", "not-in"],
)  # fmt: skip
def test_what_cannot_be_said_settles_at_once(before: Endpoint, to: str, code: str, data: dict[str, Any]) -> None:
    """With the leg as it is; nothing goes out, and nothing is kept."""
    settled = ("Settle", 5, before.legs["S"], (code, data) if code else None)
    assert give(before, Say("S", "hi", to, 5)) == (before, [settled])


def test_one_who_is_full_holds_up_nobody_else() -> None:
    """What is not acknowledged is counted for whom it is addressed to, and one less is not too many."""
    before = talk(("2", Lane(256, mails(1, 256), posted=16)), ("3", Lane(255, mails(1, 255), posted=16)))
    after, did = give(before, Say("S", "hi", "3", 5))
    assert (len(after.legs["S"].lanes["3"].mails), did) == (256, []), "it waits for room in the window"


def test_a_message_that_is_too_long_names_what_is_wrong() -> None:
    """And how long it may be, as who is not there is named, too."""
    before = talk()
    settled = ("Settle", 5, before.legs["S"], ("invalid_argument", {"name": "data"}))
    assert give(before, Say("S", "x" * 33_000, ticket=5)) == (before, [settled])
    for say, named in ((Say("S", "x" * 33_000, ticket=5), "32768"), (Say("S", "x", "99", 5), "'99'")):
        [effect] = EndpointMachine().step(before, say, NOW)[1]
        assert isinstance(effect, Settle)
        assert named in str(effect.error)


# --- what comes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lane", "parcel", "then", "parcels"),
    [
        (Lane(), {"n": 1}, Lane(got=1), [{"got": 1}]),
        (Lane(got=3), {"n": 4}, Lane(got=4), [{"got": 4}]),
        (Lane(got=3, asks="said"), {"n": 4}, Lane(got=4), [{"got": 4}]),
        (Lane(got=3, asks="due"), {"n": 4}, Lane(got=4), [{"got": 4}]),
        (Lane(got=3), {"n": 5}, Lane(got=3, asks="said"), [{"got": 3, "again": True}]),
        (Lane(got=3, asks="said"), {"n": 6}, Lane(got=3, asks="said"), [{"got": 3}]),
        (Lane(got=3), {"n": 3}, Lane(got=3), [{"got": 3}]),
        (Lane(got=3, asks="said"), {"n": 2}, Lane(got=3, asks="said"), [{"got": 3}]),
        (Lane(got=3), {}, Lane(got=3), []),
        (Lane(got=3, asks="said"), {"got": 5}, Lane(got=3, asks="said"), []),
    ],
    ids=[
        "first",
        "next",
        "what-was-asked",
        "in-time",
        "gap",
        "another-gap",
        "again",
        "old",
        "empty",
        "word-of-nothing",
    ],
)
def test_what_comes_is_taken_in_its_order_and_acknowledged(
    lane: Lane, parcel: dict[str, Any], then: Lane, parcels: list[Any]
) -> None:
    """Only the next is delivered; of a gap the sender is told, once; to whatever else comes, what was got is said."""
    before = talk(("2", lane))
    after, did = comes(before, **parcel, text='{"a":1}')
    told = [each for each in did if each[0] == "Emit"]
    delivered = then.got > lane.got
    here = leg(lanes={"2": replace(then, owes=True)}, peers=(BOB, CAROL))
    assert told == ([("Emit", "message_received", here, BOB, {"a": 1})] if delivered else [])
    assert did[len(told) :] == [("Relay", "2", each) for each in parcels]
    assert after == talk(("2", then), **(paced(len(parcels)) if parcels else {}))


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("2", "{"), ("2", "[]"), ("2", '{"n":"1"}'), ("2", '{"n":1,"text":2}'), ("2", "[" * 100_000), ("2", "\ud800"),
        ("9", '{"n":1,"text":"1"}'),
    ],
    ids=["cut", "list", "text-for-number", "number-for-text", "deep", "no-unicode", "stranger"],
)  # fmt: skip
def test_what_is_malformed_or_of_a_stranger_changes_nothing(source: str, body: str) -> None:
    """It is not even acknowledged."""
    before = talk(("2", Lane()))
    assert give(before, Received(Relayed("S", source, "data", body))) == (before, [])


@pytest.mark.parametrize("text", ["no JSON", "", "[" * 100_000], ids=["no-json", "empty", "deep"])
def test_a_text_that_is_no_json_is_taken_but_not_told(text: str) -> None:
    """What comes after it is not held up."""
    after, did = comes(talk(), n=1, text=text)
    assert (after, did) == (talk(("2", Lane(got=1)), **paced(1)), [("Relay", "2", {"got": 1})])


# --- what was acknowledged --------------------------------------------------------------------------------------------


def test_what_was_acknowledged_makes_room_for_what_waits() -> None:
    """What has arrived is let go; the next ones go out, and an answer is waited for anew."""
    before = talk(("2", Lane(20, mails(1, 20), posted=16, due=NOW + 3, got=2)))
    after, did = comes(before, got=3)
    assert did == [("Relay", "2", {"n": n, "got": 2, "text": f"t{n}"}) for n in (17, 18, 19)]
    assert after == talk(("2", Lane(20, mails(4, 20), posted=19, due=RETRY, got=2)), **paced(3))
    after, did = comes(after, got=20)
    assert (after, did) == (talk(("2", Lane(20, (), posted=19, due=0, got=2)), **paced(3)), [])
    assert comes(after, got=19) == (after, []), "that is old"


def test_a_wait_ends_when_everybody_has_what_it_is_for() -> None:
    """Those that one word settles are settled in their order, with the leg as it is then."""
    waiting = (Mail(1, "a", 8, BOUND), Mail(2, "b", 7, BOUND), Mail(3, "c", 0, BOUND), Mail(4, "d", 6, BOUND))
    other = Lane(1, (Mail(1, "b", 7, BOUND),), posted=1, due=RETRY)
    before = talk(("2", Lane(4, waiting, posted=4, due=RETRY)), ("3", other))
    after, did = comes(before, got=3)
    now = after.legs["S"]
    assert now.lanes["2"] == Lane(4, waiting[3:], posted=4, due=RETRY)
    assert did == [("Settle", 8, now, None)]
    after, did = comes(after, "3", got=1)
    assert did == [("Settle", 7, after.legs["S"], None)]
    _, did = comes(before, got=4)
    assert [each[1] for each in did] == [6, 8]


@pytest.mark.parametrize("again", [False, True])
def test_who_asks_for_what_was_lost_gets_the_window_from_its_beginning(again: bool) -> None:
    """The oldest first, and no more than may be on the way; without being asked nothing goes out twice."""
    before = talk(("2", Lane(20, mails(1, 20), posted=16, due=NOW + 3)))
    after, did = comes(before, again=again)
    assert did == ([("Relay", "2", {"n": n, "text": f"t{n}"}) for n in range(1, 17)] if again else [])
    assert after == replace(before, **paced(16) if again else {}), "and an answer is not waited for any longer"


def test_nobody_waits_for_who_has_left() -> None:
    """What was for him alone is settled, in its order; what others have yet to get is waited for."""
    shared = Lane(1, (Mail(1, "a", 7, BOUND),), posted=1, due=RETRY)
    his = Lane(3, (Mail(1, "a", 7, BOUND), Mail(2, "b", 9, BOUND), Mail(3, "c", 8, BOUND)), posted=3, due=RETRY)
    fact = View("S", 5, "1", "active", "alice", "session", "member", joined=1, flags=HERE, peers=(CAROL,), heard=9)
    after, did = give(talk(("2", his), ("3", shared)), Received(fact))
    now = leg(seq=5, peers=(CAROL,), lanes={"3": shared})
    assert after == device(now)
    assert [each for each in did if each[0] == "Settle"] == [("Settle", 8, now, None), ("Settle", 9, now, None)]
    stays = replace(fact, peers=(CAROL, replace(BOB, joined=0)))
    after, did = give(talk(("2", his), ("3", shared)), Received(stays))
    assert after.legs["S"].lanes == {"2": his, "3": shared}, "he is there, but exchanges no media"


def test_the_end_of_the_session_is_the_end_of_each_wait() -> None:
    """Each wait once, whoever it was for, in order."""
    lane = Lane(2, (Mail(1, "a", 9, BOUND), Mail(2, "b", 7, BOUND)), posted=2)
    before = talk(("2", lane), ("3", replace(lane, mails=(Mail(1, "a", 9, BOUND), Mail(2, "c", 0, BOUND)))))
    gone = View("S", 5, "1", "ended", "alice", "session", "member", reason=Reason.HANGUP)
    _, did = give(before, Received(gone))
    why = ("call_ended", {"session_id": "S", "reason": Reason.HANGUP})
    assert [(each[1], each[3]) for each in did if each[0] == "Settle"] == [(7, why), (9, why)]


# --- a link that is back ----------------------------------------------------------------------------------------------


def test_after_a_cut_each_is_told_what_was_got_and_all_goes_out_again() -> None:
    """Word of what was got goes first, to everybody who has joined, and asks for what was missed; then the messages, by
    their age."""
    bobs = (Mail(1, "b1", 0, BOUND + 1), Mail(2, "b2", 0, BOUND + 3))
    carols = (Mail(8, "c8", 0, BOUND), Mail(9, "c9", 0, BOUND + 1))
    before = talk(
        ("2", Lane(2, bobs, posted=2, due=7, got=5)), ("3", Lane(9, carols, posted=9, got=6, asks="said")),
        peers=(BOB, DORA, CAROL), online=False,
    )  # fmt: skip
    _, did = give(before, Received(Welcome("alice", heartbeat=FAR, lease=FAR)))
    assert did[:1] == [("Drive", "S", "resumed", ())]
    assert did[1:-1] == [
        ("Relay", "2", {"got": 5, "again": True}),
        ("Relay", "3", {"got": 6, "again": True}),
        ("Relay", "3", {"n": 8, "got": 6, "text": "c8"}),
        ("Relay", "2", {"n": 1, "got": 5, "text": "b1"}),
        ("Relay", "3", {"n": 9, "got": 6, "text": "c9"}),
        ("Relay", "2", {"n": 2, "got": 5, "text": "b2"}),
    ]
    after, _ = give(before, Received(Welcome("alice", heartbeat=FAR, lease=FAR)))
    assert after.legs["S"].lanes == {
        "2": Lane(2, bobs, posted=2, due=7, got=5, asks="said"),
        "3": Lane(9, carols, posted=9, due=RETRY, got=6, asks="said"),
    }


def test_without_a_link_everything_waits() -> None:
    """Nothing goes out, and nothing counts as sent."""
    after, did = give(talk(online=False), Say("S", "hi", "2", 5))
    assert (after, did) == (talk(("2", Lane(1, (Mail(1, "hi", 5, BOUND),))), online=False), [])
    assert EndpointMachine().next_due(after) == BOUND
    late, did = give(after, Tick(), BOUND)
    lane = Lane(1, (Mail(1, "hi", 0, BOUND),))
    assert late == talk(("2", lane), online=False)
    assert did == [("Settle", 5, late.legs["S"], ("command_timeout", {"trigger": "send_message"}))]


# --- time -------------------------------------------------------------------------------------------------------------


def test_times_are_whole_milliseconds() -> None:
    """Also half of a bound of the application's own that is odd."""
    machine = EndpointMachine(timers=Timers(command=2.001))
    after, _ = machine.step(talk(), Say("S", "hi", "2", 5), NOW)
    assert repr(machine.next_due(after)) == repr(NOW + 1000)


@pytest.mark.parametrize("early", [0, 1])
def test_who_does_not_answer_is_sent_it_again(early: int) -> None:
    """At the time for that, and no sooner; an answer is waited for as long again."""
    lane = Lane(3, mails(1, 3), posted=3, due=NOW + 70)
    after, did = give(talk(("2", lane)), Tick(), NOW + 70 - early)
    now = NOW + 70
    assert did == ([] if early else [("Relay", "2", {"n": n, "text": f"t{n}"}) for n in (1, 2, 3)])
    again = {"paced": now * 1000 + 3 * COST}
    assert after == (talk(("2", lane)) if early else talk(("2", replace(lane, due=now + 5000)), **again))
    assert EndpointMachine().next_due(after) == (now if early else now + 5000)
    offline = talk(("2", lane), online=False)
    assert give(offline, Tick(), now) == (offline, []), "that waits for the link"
    again, _ = give(talk(("2", replace(lane, due=1))), Tick(), 1)
    assert again.legs["S"].lanes["2"].due == 5001, "in the first millisecond of all time, too"
    full = {"paced": (now + FAR) * 1000}
    waits, did = give(talk(("2", lane), **full), Tick(), now)
    assert (waits, did) == (talk(("2", replace(lane, posted=0, due=0)), **full), []), "and for room"


def test_what_was_not_acknowledged_in_time_has_failed_but_may_still_arrive() -> None:
    """Its wait is settled once, in order, whoever it was for; what was said later is waited for still."""
    late = (Mail(1, "a", 9, NOW + 70), Mail(2, "b", 6, NOW + 70), Mail(3, "c", 7, NOW + 71), Mail(4, "d", 0, NOW + 1))
    lane, other = Lane(4, late, posted=4, due=FAR * FAR), Lane(1, late[:1], posted=1, due=FAR * FAR)
    after, did = give(talk(("2", lane), ("3", other)), Tick(), NOW + 70)
    kept = replace(lane, mails=(replace(late[0], ticket=0), replace(late[1], ticket=0), *late[2:]))
    now = talk(("2", kept), ("3", replace(other, mails=(replace(late[0], ticket=0),))))
    assert after == now
    error = ("command_timeout", {"trigger": "send_message"})
    assert did == [("Settle", 6, now.legs["S"], error), ("Settle", 9, now.legs["S"], error)]
    assert EndpointMachine().next_due(now) == NOW + 71


def test_no_more_goes_out_at_once_than_services_take() -> None:
    """To the microsecond; what must wait goes at the first millisecond at which it may, and has a timer for that."""
    full = NOW * 1000 + BURST - COST
    for spent, goes in ((full, True), (full + 1, False)):
        after, did = give(talk(("2", Lane(got=1)), paced=spent), Say("S", "hi", "2", 5))
        assert [each[0] for each in did] == (["Relay"] if goes else [])
        assert after.paced == (spent + COST if goes else spent)
    waits = talk(("2", Lane(1, mails(1, 1))), paced=full + 1)
    for owes in (waits, talk(("2", Lane(owes=True)), paced=full + 1)):
        assert EndpointMachine().next_due(owes) == NOW + 1
        assert give(owes, Tick()) == (owes, [])
        after, did = give(owes, Tick(), NOW + 1)
        assert [each[0] for each in did] == ["Relay"]
        assert after.paced == full + 1 + COST
    later = talk(("2", Lane(1, mails(1, 1))), paced=full + 5_000_000)
    assert EndpointMachine().next_due(later) == NOW + 5_000
    assert EndpointMachine().next_due(replace(later, paced=full + 5_000_001)) == NOW + 5_001
    assert EndpointMachine().next_due(replace(later, online=False)) == NOW + FAR
    idle = talk(("2", Lane(1, mails(1, 1))), peers=(replace(BOB, joined=0),), paced=full + 1)
    assert EndpointMachine().next_due(idle) == NOW + FAR, "he is not written to"


def test_the_pace_is_that_of_the_service() -> None:
    """Three quarters of what it takes, from now on and not from before."""
    after, _ = give(talk(rate=3), Say("S", "hi", "2", 5))
    assert after.paced == NOW * 1000 + 444_444
    after, _ = give(talk(rate=3, paced=NOW * 1000 + 9), Say("S", "hi", "", 5))
    assert after.paced == NOW * 1000 + 9 + 2 * 444_444
    assert after.legs["S"].lanes["3"].posted == 1


def test_word_that_may_not_go_now_is_owed() -> None:
    """What was got is said when there is room, and the gap that was seen is asked for then."""
    full = {"paced": NOW * 1000 + BURST}
    after, did = comes(talk(("2", Lane(got=3)), **full), n=9)
    assert (after, did) == (talk(("2", Lane(got=3, owes=True, asks="due")), **full), [])
    after, did = give(after, Tick(), NOW + FAR // 2)
    assert did == [("Relay", "2", {"got": 3, "again": True})]
    assert after.legs["S"].lanes["2"] == Lane(got=3, asks="said")
