"""What other words make of a device, in full: rings, two calls that are one, refusals, the link."""

from __future__ import annotations

from typing import Any

import on_a_device as shared
import pytest
from msgspec.structs import replace
from on_a_device import BOB, HERE, NOW, told

from statecore.endpoint import (
    Endpoint,
    EndpointMachine,
    LinkDown,
    LinkUp,
    LocalLeg,
    Media,
    Received,
    Signal,
    Wait,
)
from statecore.model import Reason
from statecore.wire import Ask, Command, Hello, Peer, Refused, Relayed, Token, Unknown, View, Welcome


def leg(session: str = "S", **more: Any) -> LocalLeg:
    """Alice is in a session with Bob."""
    plain: dict[str, Any] = {
        "flow": "session", "state": "active", "role": "member", "pid": "1", "initiator": "alice", "seq": 4,
        "flags": HERE, "joined": 1, "peers": (BOB,), "media": "open", "reported": True,
    }  # fmt: skip
    return LocalLeg(session, **{**plain, **more})


def device(*legs: LocalLeg, **more: Any) -> Endpoint:
    """Alice's device, which has said eleven commands."""
    return shared.device(*legs, **{"n": 11, **more})


def give(endpoint: Endpoint, given: Any) -> tuple[Endpoint, list[tuple[Any, ...]]]:
    """What becomes of it by this input, and everything that it does."""
    after, effects = EndpointMachine().step(endpoint, given, NOW)
    return after, told(effects)


def hear(endpoint: Endpoint, *messages: Any) -> tuple[Endpoint, list[tuple[Any, ...]]]:
    """What becomes of it by these messages, and everything that it does."""
    effects = []
    for message in messages:
        endpoint, did = give(endpoint, Received(message))
        effects += did
    return endpoint, effects


def emit(event: str, leg: LocalLeg | None = None, peer: Peer | None = None, value: Any = None) -> tuple[Any, ...]:
    """Listeners hear of it."""
    return ("Emit", event, leg, peer, value)


# --- rings ------------------------------------------------------------------------------------------------------------

RING = View("Y", 3, "2", "ringing", "bob", receiver="alice", type="audio", metadata='"m"', at=(5, 0, 0, 0, 0), age=7)
RINGS = LocalLeg(
    "Y", "ringing", "ringing", "callee", "2", "audio", "bob", "alice", 3, at=(5, 0, 0, 0, 0), age=7, metadata='"m"'
)
OWN = LocalLeg("X", "ringing", "idle", "caller", "", "audio", "alice", "bob", owed=(Command("X", 10, "initiate"),))
"""Alice's own call to Bob, of which nothing is decided."""
AHEAD = 12 - NOW


def test_a_ring_makes_a_leg_of_what_it_says() -> None:
    """Everything that it says is known of the leg, which is told as it is."""
    assert hear(device(), RING) == (device(RINGS, ahead=AHEAD), [emit("incoming_call_received", RINGS)])


def test_a_ring_of_whom_one_is_calling_oneself_is_held() -> None:
    """As it stood last, and nothing is told or made of it."""
    after, did = hear(device(OWN), RING)
    assert (after, did) == (device(OWN, held={"Y": RING}), [])
    newer = replace(RING, seq=4, metadata='"n"')
    assert hear(after, newer, RING, replace(newer, metadata='"o"')) == (device(OWN, held={"Y": newer}), [])


@pytest.mark.parametrize(
    "own",
    [
        replace(OWN, receiver="carol"),
        replace(OWN, seq=1),
        replace(OWN, role="member"),
        replace(OWN, role="callee"),
    ],
    ids=["of-another", "decided", "of-a-session", "not-ones-own"],
)
def test_a_ring_that_cannot_be_ones_own_call_is_shown(own: LocalLeg) -> None:
    """Only a call of one's own to that user, of which nothing is decided, may be the same."""
    assert hear(device(own), RING) == (device(own, RINGS, ahead=AHEAD), [emit("incoming_call_received", RINGS)])


@pytest.mark.parametrize(
    ("more", "event"),
    [
        ({"role": "caller"}, ""),
        ({"via": "Z"}, ""),
        ({"state": "accepted"}, "incoming_call_received"),
        ({"initiator": "carol"}, "incoming_call_received"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_ring_of_another_is_followed_at_once(more: dict[str, Any], event: str) -> None:
    """What I called myself, what is one with a call of mine, and what was answered, is not held."""
    after, did = hear(device(OWN), replace(RING, **more))
    assert (after.held, set(after.legs)) == ({}, {"X", "Y"})
    assert [effect[1] for effect in did] == ([event] if event else [])


@pytest.mark.parametrize("own", [OWN, replace(OWN, receiver="carol")], ids=["held", "shown"])
def test_what_is_unknown_or_past_neither_rings_nor_is_held(own: LocalLeg) -> None:
    """Of a flow that the device does not know; and what is no newer than the end of the call that it is about."""
    assert hear(device(own), replace(RING, flow="other")) == (device(own), [])
    for seq in (3, 4):
        assert hear(device(own, tombs={"Y": seq}), RING) == (device(own, tombs={"Y": seq}), [])
        assert hear(device(own, older={"Y": seq}), RING) == (device(own, older={"Y": seq}), [])
    after, _ = hear(device(own, tombs={"Y": 2}), RING)
    assert (after.held, "Y" in after.legs) == (({"Y": RING}, False) if own is OWN else ({}, True))
    gone = View("Y", 3, "2", "ended", "bob", receiver="alice", reason=Reason.CANCELLED)
    assert hear(device(own), gone) == (device(own, tombs={"Y": 3}), []), "its ring may still be on the way"


LOST = replace(RINGS, state="ended", reason=Reason.LOST, pid="1", owed=(Command("Y", 8, "lost", "1"),))
"""It rang here before, and was lost with the link."""


@pytest.mark.parametrize(
    ("before", "anew"),
    [
        (LOST, True),
        (replace(LOST, owed=()), True),
        (replace(LOST, seq=4), False),
        (replace(LOST, seq=3), True),
        (replace(LOST, seq=5), False),
        (replace(LOST, pid="2"), False),
        (replace(LOST, pid=""), False),
        (replace(LOST, owed=(Command("Y", 8, "reject", "1"),)), False),
        (replace(LOST, owed=(Command("Y", 7, "reject", "1"), Command("Y", 8, "lost", "1"))), False),
    ],
    ids=["lost", "heard", "same", "newer", "older", "the-same-leg", "unknown-leg", "declined", "declined-and-lost"],
)
@pytest.mark.parametrize("own", [OWN, replace(OWN, receiver="carol")], ids=["held", "shown"])
def test_a_call_rings_anew_only_if_its_leg_was_lost_without_the_users_doing(
    before: LocalLeg, anew: bool, own: LocalLeg
) -> None:
    """By a newer view of another leg; or else nothing comes of it."""
    ring = replace(RING, seq=4)
    after, did = hear(device(own, before), ring)
    if not anew:
        assert (after, did) == (device(own, before), [])
    elif own is OWN:
        assert (after, did) == (device(own, before, held={"Y": ring}), [])
    else:
        now = replace(RINGS, seq=4)
        assert (after, did) == (
            device(own, now, ahead=AHEAD, tombs={"Y": before.seq}), [emit("incoming_call_received", now)]
        )  # fmt: skip


def test_what_was_held_rings_in_order_once_it_is_decided() -> None:
    """Those of that user; whoever else is being called is still waited for."""
    other = replace(OWN, session="W", receiver="carol")
    second, third = replace(RING, session="Z"), replace(RING, session="V", initiator="carol")
    before = device(OWN, other, held={"Y": RING, "V": third, "Z": second})
    decided = View("X", 1, "1", "ringing", "alice", role="caller", receiver="bob", type="audio", heard=10)
    after, did = hear(before, decided)
    own = replace(OWN, state="ringing", seq=1, pid="1", owed=())
    rings = replace(RINGS, session="Z")
    assert did == [emit("incoming_call_received", RINGS), emit("incoming_call_received", rings)]
    assert after == device(own, other, RINGS, rings, held={"V": third}, ahead=AHEAD)


# --- two calls that are one -------------------------------------------------------------------------------------------

YES = View("Y", 4, "2", "accepted", "bob", receiver="alice", type="audio", via="X", heard=9, token="t")
WAITS = (Wait(1, "ringing", 10, "initiate", NOW + 5), Wait(2, "media", 10, "initiate", NOW + 5))
MINE = replace(OWN, waits=WAITS, consent=frozenset({"audio"}))
THERE = replace(RINGS, consent=frozenset({"video"}), at=(0, 0, 0, 0, 0), age=0, metadata="")
CANCELLED = replace(
    OWN,
    state="ended",
    reason=Reason.CANCELLED,
    owed=(Command("X", 11, "cancel"),),
    by="alice",
    by_device="a1",
)


def test_my_own_call_goes_on_as_the_others() -> None:
    """Under the other's id, as what that says I am; what was awaited and agreed goes with it, and nothing rings."""
    after, did = hear(device(MINE), YES)
    now = LocalLeg(
        "Y", "ringing", "accepted", "callee", "2", "audio", "bob", "alice", 4, token="t", owed=OWN.owed,
        waits=WAITS[1:], consent=frozenset({"audio"}),
    )  # fmt: skip
    assert after == device(now, names={"X": "Y"})
    assert did == [("Settle", 1, now, None)]


def test_my_own_call_and_the_ring_that_is_here_become_one() -> None:
    """What either owes is owed in the order in which it was said; what either awaited and agreed to, both."""
    owed = (Command("Y", 12, "up"),)
    there = replace(THERE, owed=owed, waits=(Wait(3, "heard", 12, "up", NOW + 5),))
    mine = replace(MINE, owed=(*OWN.owed, Command("X", 13, "failed")))
    after, did = hear(device(mine, there, names={"Q": "P"}), YES)
    now = replace(
        there, state="accepted", seq=4, token="t", owed=(mine.owed[0], *owed, mine.owed[1]),
        waits=(*there.waits, WAITS[1]), consent=frozenset({"audio", "video"}),
    )  # fmt: skip
    assert after == device(now, names={"Q": "P", "X": "Y"})
    assert did == [("Settle", 1, now, None)]


def test_my_own_call_that_i_took_back_ends_the_others() -> None:
    """What I said no to by its own name is said no to by the other: nothing of it rings, and it is owed."""
    after, did = hear(device(CANCELLED, THERE), replace(YES, heard=10))
    said = Command("Y", 12, "cancel", "2")
    now = replace(
        THERE, state="ended", reason=Reason.HANGUP, seq=4, token="t", owed=(said,), consent=frozenset(), by="alice",
        by_device="a1",
    )  # fmt: skip
    assert after == device(now, names={"X": "Y"}, n=12)
    events = ("call_ended_message_received", "session_left", "call_ended")
    assert did == [("Send", said), *(emit(event, now) for event in events)]


def test_of_a_call_that_i_took_back_nothing_is_reached() -> None:
    """Whoever waited for it hears that it has ended, not that it was answered."""
    waits = (Wait(5, "joinable", 9, "accept", NOW + 5),)
    _, did = hear(device(CANCELLED, replace(THERE, waits=waits)), YES)
    assert [effect[3] for effect in did if effect[0] == "Settle"] == [
        ("call_gone", {"session_id": "Y", "reason": Reason.HANGUP})
    ]


def test_what_i_took_back_before_the_other_was_known_stays_over() -> None:
    """It is kept under the other's name, with what is owed."""
    after, did = hear(device(CANCELLED), replace(YES, heard=10))
    assert (after, did) == (device(replace(CANCELLED, session="Y"), names={"X": "Y"}), [])


def test_what_i_declined_is_not_accepted_by_my_own_call() -> None:
    """Whoever awaited that hears how the other has ended, each in his way."""
    over = replace(THERE, state="ended", reason=Reason.REJECTED, owed=(Command("Y", 11, "reject", "2"),))
    after, did = hear(device(replace(MINE, waits=(*WAITS, Wait(3, "joinable", 0, ""))), over), YES)
    assert after == device(over, names={"X": "Y"})
    why = {"session_id": "Y", "reason": Reason.REJECTED}
    settled = [(1, ("call_ended", why)), (2, ("call_ended", why)), (3, ("call_gone", why))]
    assert did == [("Settle", ticket, over, error) for ticket, error in settled]


def test_a_view_says_by_its_own_name_that_it_is_one() -> None:
    """It names no other call, or one that is not here: then it is followed as it is, and who waits for it has it."""
    for via in ("Y", "Q"):
        after, did = hear(device(replace(THERE, waits=(Wait(3, "joinable", 9, "accept"),))), replace(YES, via=via))
        now = replace(THERE, state="accepted", seq=4, token="t")
        assert (after, did) == (device(now), [("Settle", 3, now, None)])


# --- a leg that is succeeded ------------------------------------------------------------------------------------------


def test_a_leg_that_is_not_what_is_told_is_succeeded_by_another() -> None:
    """It has ended there as lost: here it ends so, without owing that, and the other rings."""
    before = leg(flow="ringing", role="callee", initiator="bob", receiver="alice")
    ring = View("S", 5, "7", "ringing", "bob", receiver="alice")
    after, did = hear(device(before), ring)
    lost = replace(before, state="ended", reason=Reason.LOST, media="closed")
    now = LocalLeg("S", "ringing", "ringing", "callee", "7", "video", "bob", "alice", 5)
    events = ("call_ended_message_received", "session_left", "call_ended")
    assert did == [("CloseMedia", "S"), *(emit(event, lost) for event in events), emit("incoming_call_received", now)]
    assert after == device(now, tombs={"S": 4})
    for more, pid in (({}, "1"), ({"pid": ""}, "7")):
        before = leg(flow="ringing", role="callee", **more)
        assert hear(device(before), replace(ring, pid=pid)) == (device(before), []), "that is not believed"


# --- refusals ---------------------------------------------------------------------------------------------------------

OWED = tuple(Command("S", n, trigger, "1") for n, trigger in ((7, "raise_hand"), (8, "mute_audio"), (9, "lower_hand")))


def test_a_refusal_concerns_its_own_command() -> None:
    """Whoever waited for it is told, and what was said before it is owed no more; the rest goes on."""
    waits = tuple(Wait(ticket, "heard", n, "x") for ticket, n in ((1, 7), (2, 8), (3, 9), (4, 8)))
    before = leg(owed=OWED, waits=waits)
    refusal = Refused("X", 8, "rate_limited", {"what": "commands", "seconds": 3})
    after, did = hear(device(before, names={"X": "S"}), refusal)
    now = leg(owed=OWED[2:], waits=(waits[0], waits[2]))
    assert after == device(now, names={"X": "S"})
    assert did == [("Settle", n, now, ("rate_limited", {"what": "commands", "seconds": 3})) for n in (2, 4)]
    for foreign in (Refused("S", 10, "rate_limited"), Refused("T", 8, "rate_limited")):
        assert hear(device(before), foreign) == (device(before), [])


@pytest.mark.parametrize(("first", "heard"), [(0, True), (8, True), (9, False)])
def test_a_refusal_that_nobody_waits_for_is_told_to_listeners(first: int, heard: bool) -> None:
    """If it is of this leg, not of the one before it; and the leg goes on."""
    before = leg(owed=OWED, waits=(Wait(3, "heard", 9, "lower_hand"),), first=first)
    after, did = hear(device(before), Refused("S", 8, "token_lacks_grant", {"grant": "audio"}))
    now = replace(before, owed=OWED[2:])
    assert after == (device(now) if first != 8 else device(tombs={"S": 4}))
    emitted = [effect for effect in did if effect[0] == "Emit"]
    assert [(each[1], each[2], each[4]) for each in emitted] == (
        [("error", now, ("token_lacks_grant", {"grant": "audio"}))] if heard else []
    )


def test_what_the_service_made_no_call_of_never_was() -> None:
    """The command that began it was refused: whoever else waited hears that there is no such call, and only the id is
    left."""
    owed = (Command("X", 10, "initiate"), Command("X", 11, "up"))
    waits = (Wait(2, "joinable", 0, ""), Wait(1, "ringing", 10, "initiate", NOW + 5))
    before = replace(OWN, first=10, owed=owed, waits=waits)
    after, did = hear(device(before), Refused("X", 10, "unknown_user", {"user": "bob"}))
    now = replace(before, owed=owed[1:], waits=waits[:1])
    assert after == device(tombs={"X": 0})
    assert did == [
        ("Settle", 1, now, ("unknown_user", {"user": "bob"})),
        ("Settle", 2, now, ("call_not_found", {"session_id": "X"})),
    ]


@pytest.mark.parametrize("trigger", ["leave", "lost"])
@pytest.mark.parametrize("seq", [0, 4])
@pytest.mark.parametrize("code", ["call_gone", "call_not_found", "not_a_party", "illegal_transition", "store_conflict"])
def test_an_end_that_is_refused(trigger: str, seq: int, code: str) -> None:
    """Where no such leg is known, it is forgotten; else the surest word follows; and if that was refused, the leg is
    kept only if it is known to have ended there."""
    before = leg(state="ended", reason=Reason.HANGUP, seq=seq, media="closed", owed=(Command("S", 9, trigger, "1"),))
    after, did = hear(device(before), Refused("S", 9, code))
    surest = Command("S", 12, "lost", "1")
    if code in ("call_gone", "call_not_found", "not_a_party"):
        assert (after, did) == (device(tombs={"S": seq}), [])
    elif trigger == "leave":
        assert (after, did) == (device(replace(before, owed=(surest,)), n=12), [("Send", surest)])
    elif code == "illegal_transition" and seq:
        assert (after, did) == (device(replace(before, owed=())), [])
    else:
        assert (after, did) == (device(tombs={"S": seq}), [])
    two = replace(before, owed=(Command("S", 8, "end_for_all", "1"), *before.owed))
    assert hear(device(two), Refused("S", 8, code)) == (device(before), []), "the end itself is still to be heard"


def test_what_the_service_does_not_know_is_over_here() -> None:
    """What lives ends as lost; what has ended is forgotten; what is newer than its word, or was never told, stays."""
    known = leg()
    said = Command("S", 12, "lost", "1")
    lost = replace(known, state="ended", reason=Reason.LOST, media="closed", owed=(said,))
    events = ("call_ended_message_received", "session_left", "call_ended")
    after, did = hear(device(known, names={"X": "S"}), Unknown("X", 4))
    assert did == [("Send", said), ("CloseMedia", "S"), *(emit(event, lost) for event in events)]
    assert after == device(tombs={"X": 4, "S": 0}, n=12)
    assert hear(device(known), Unknown("S", 3), Unknown("T", 9)) == (device(known), [])
    ended = leg(state="ended", reason=Reason.HANGUP, media="closed")
    assert hear(device(ended), Unknown("S", 4)) == (device(tombs={"S": 4}), [])
    fresh = leg(seq=0)
    assert hear(device(fresh), Unknown("S", 0)) == (device(fresh), [])
    held = device(OWN, held={"Y": RING})
    assert hear(held, Unknown("Y", 3)) == (device(OWN, tombs={"Y": 3}), []), "and it never rings"


def test_what_has_ended_is_remembered_in_two_parts() -> None:
    """The last 128; when those are so many they are the older ones, and what was older is forgotten."""
    gone = View("T", 3, "2", "ended", "bob", receiver="alice", reason=Reason.CANCELLED)
    few, many = {f"S{n}": n for n in range(127)}, {f"S{n}": n for n in range(128)}
    after, _ = hear(device(tombs=few, older={"Q": 1}), gone)
    assert after == device(tombs={**few, "T": 3}, older={"Q": 1})
    assert hear(device(tombs=many, older={"Q": 1}), gone)[0] == device(tombs={"T": 3}, older=many)


# --- the link ---------------------------------------------------------------------------------------------------------


def test_a_connection_names_what_is_known() -> None:
    """The number of the last view of each leg and of each ring that is held, but nothing of what was never told; and it
    replaces the connection before."""
    named: dict[str, Any] = {"name": "Al", "flows": {"x": "y"}}
    before = device(leg(), OWN, LOST, held={"Z": replace(RING, session="Z")}, conn=6)
    after, did = give(before, LinkUp(**named, wall=NOW + 70))
    hello = Hello("a1", "a1-1", 7, **named, sessions={"Z": 3, "S": 4, "Y": 3})
    assert did == [emit("connection_lost"), ("Send", hello)]
    assert after == replace(before, online=False, conn=7, ahead=70)
    again, did = give(after, LinkUp(wall=NOW + 900))
    assert [kind for kind, *_ in did] == ["Send"], "it was lost already"
    assert again == replace(after, conn=8), "what the service says of its time is better"
    assert give(device(online=False), LinkUp())[0].ahead == 0
    assert give(before, LinkDown()) == (replace(before, online=False), [emit("connection_lost")])


@pytest.mark.parametrize("again", [False, True])
def test_a_welcome_says_again_what_is_owed_and_lets_media_go_on(again: bool) -> None:
    """In the order in which it was first said, across all calls; and where a link was lost before, open media makes
    good what it missed, and listeners hear that it is back."""
    first = leg("A", owed=(Command("A", 3, "raise_hand"), Command("A", 6, "lower_hand")), peers=())
    shut = leg("B", owed=(Command("B", 4, "leave"),), media="closed", state="ended", reason=Reason.HANGUP)
    last = leg("C", owed=(Command("C", 5, "mute_audio"),), peers=())
    before = device(first, shut, last, online=False, beat_due=NOW - 5 if again else 0)
    after, did = hear(before, Welcome("alice", avatar="x:/a", heartbeat=300, lease=900, rate=7))
    said = [("Send", command) for command in (first.owed[0], shut.owed[0], last.owed[0], first.owed[1])]
    resumed = [("Drive", "A", "resumed", ()), ("Drive", "C", "resumed", ()), emit("connection_restored")]
    assert did == [*said, *(resumed if again else [])]
    told = {"online": True, "avatar": "x:/a", "heartbeat": 300, "lease": 900, "rate": 7, "beat_due": NOW + 300}
    assert after == replace(before, **told)


def test_what_comes_for_open_media_is_handed_on() -> None:
    """By whichever name of the call; and nothing once it is closed, or of another."""
    before = device(leg(), names={"X": "S"})
    for session in ("S", "X"):
        assert hear(before, Relayed(session, "2", "offer", "sdp")) == (
            before, [("Drive", "S", "receive", ("2", "offer", "sdp"))]
        )  # fmt: skip
        assert give(before, Signal(session, Ask(session, "2"))) == (before, [("Send", Ask(session, "2"))])
        lost, _ = give(before, Media(session, "peer_lost", "2"))
        assert lost.legs["S"].lost == (("2", NOW, 0),)
    for shut in (device(leg(media="closed")), device(leg(media="wanted"))):
        assert hear(shut, Relayed("S", "2", "offer", "sdp")) == (shut, [])
        for given in (Signal("S", Ask("S", "2")), Media("S", "up"), Media("S", "failed"), Media("S", "peer_lost", "2")):
            assert give(shut, given) == (shut, [])
    for given in (Received(Relayed("T", "2", "offer", "sdp")), Signal("T", Ask("T", "2")), Media("T", "up")):
        assert give(before, given) == (before, [])
    offline = device(leg(), online=False)
    assert give(offline, Signal("S", Ask("S", "2"))) == (offline, [])


def test_media_that_is_up_is_reported_once_and_what_failed_each_time() -> None:
    """As commands of this leg that nobody waits for."""
    before = device(leg(state="accepted", reported=False))
    after, did = give(before, Media("S", "up"))
    up, failed = Command("S", 12, "up", "1"), Command("S", 12, "failed", "1")
    assert (after, did) == (device(leg(state="accepted", owed=(up,)), n=12), [("Send", up)])
    assert give(after, Media("S", "up")) == (after, [])
    assert give(device(leg()), Media("S", "failed")) == (device(leg(owed=(failed,)), n=12), [("Send", failed)])


def test_who_asked_for_a_token_has_an_answer() -> None:
    """By the number of the request: the token, or the error, which no leg hears of."""
    before = device(leg(owed=(Command("S", 5, "raise_hand"),)))
    assert hear(before, Token("S", 5, "secret")) == (before, [("Reply", 5, "secret", None)])
    refused = Refused("S", 5, "rate_limited", {"what": "tokens", "seconds": 2}, request=True)
    assert hear(before, refused) == (before, [("Reply", 5, "", ("rate_limited", {"what": "tokens", "seconds": 2}))])
