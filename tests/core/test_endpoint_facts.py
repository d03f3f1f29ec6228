"""What a word from the switchboard makes of a device, in full: the leg, and what is told, settled and said."""

from __future__ import annotations

from itertools import product
from typing import Any

import on_a_device as shared
import pytest
from msgspec.structs import replace
from on_a_device import BOB, CAROL, GRANTS, HERE, NOW, told

from statecore.endpoint import Endpoint, EndpointMachine, LocalLeg, Received, Wait
from statecore.endpoint._types import Lane, Mail
from statecore.model import Reason
from statecore.wire import Command, Peer, View

DORA = Peer("4", "dora", "d1")
"""She has not joined."""


def leg(session: str = "S", **more: Any) -> LocalLeg:
    """Alice is in a session with Bob; nothing that is known of it is empty."""
    plain: dict[str, Any] = {
        "flow": "session", "state": "active", "role": "member", "pid": "1", "type": "video", "initiator": "alice",
        "receiver": "bob", "seq": 4, "flags": HERE, "grants": GRANTS, "joined": 1, "peers": (BOB,), "offers": {"2": 1},
        "at": (500_000, 550_000, 600_000, 700_000, 0), "age": 8, "metadata": '"m"', "token": "t", "media": "open",
        "consent": frozenset({"audio", "video"}), "reported": True,
    }  # fmt: skip
    return LocalLeg(session, **{**plain, **more})


def view(session: str = "S", seq: int = 5, **more: Any) -> View:
    """The same as that leg, but for its number."""
    plain: dict[str, Any] = {
        "pid": "1", "state": "active", "initiator": "alice", "flow": "session", "role": "member", "type": "video",
        "receiver": "bob", "heard": 9, "joined": 1, "flags": HERE, "grants": GRANTS, "peers": (BOB,),
        "offers": {"2": 1}, "at": (500_000, 550_000, 600_000, 700_000, 0), "age": 8, "metadata": '"m"',
    }  # fmt: skip
    return View(session, seq, **{**plain, **more})


def device(*legs: LocalLeg, **more: Any) -> Endpoint:
    """Alice's device, which knows how far the service's clock is from its own."""
    return shared.device(*legs, **{"ahead": 500_008 - NOW, **more})


def hear(endpoint: Endpoint, message: Any) -> tuple[Endpoint, list[tuple[Any, ...]]]:
    """What becomes of it by this message, and everything that it does."""
    after, effects = EndpointMachine().step(endpoint, Received(message), NOW)
    return after, told(effects)


def emit(event: str, leg: LocalLeg, peer: Peer | None = None, value: Any = None) -> tuple[Any, ...]:
    """Listeners hear of it."""
    return ("Emit", event, leg, peer, value)


# --- a view of a leg that is known ------------------------------------------------------------------------------------

CAPTURED = [
    ("Drive", "S", "capture", ("audio", False)),
    ("Drive", "S", "capture", ("video", True)),
]
RAISED = frozenset({"hand_raised"})


@pytest.mark.parametrize(
    ("change", "effects"),
    [
        ({}, []),
        ({"pid": "7"}, []),
        ({"initiator": "carol"}, []),
        ({"receiver": "dora"}, []),
        ({"metadata": '"n"'}, []),
        ({"age": 900}, []),
        ({"joined": 3}, []),
        ({"joined_at": 3}, []),
        ({"by": "bob"}, []),
        ({"by_device": "b1"}, []),
        ({"at": (500_001, 0, 0, 0, 0)}, []),
        ({"at": (0, 0, 0, 0, 0)}, []),
        ({"offers": {"2": 1, "3": 4}}, [("Drive", "S", "granted", ("3",))]),
        ({"offers": {"2": 2}}, [("Drive", "S", "granted", ("2",))]),
        ({"offers": {}}, []),
        ({"grants": GRANTS - {"audio"}}, [("Drive", "S", "capture", ("audio", False))]),
        ({"flags": HERE | {"hand_raised"}}, ["hand_raised"]),
        ({"flags": HERE | {"camera", "audio_muted"}}, ["audio_muted", *CAPTURED]),
        ({"flags": HERE | {"own_mark"}}, [("flag_changed", ("own_mark", True))]),
        ({"flags": HERE | {"a_mark", "hand_raised"}}, ["hand_raised", ("flag_changed", ("a_mark", True))]),
        ({"token": "u"}, []),
    ],
)  # fmt: skip
def test_the_leg_is_what_the_view_says(change: dict[str, Any], effects: list[Any]) -> None:
    """Each thing that it says is taken over, alone, and what follows from it is told; everything else stays. It has
    another pid where two calls have become one; else a view with another is of another leg."""
    after, did = hear(device(leg()), view(**change, via="T" if "pid" in change else ""))
    now = leg(seq=5, **change)
    at, age = change.get("at", (500_000,))[0], change.get("age", 8)
    assert after == device(now, ahead=at + age - NOW if at else 500_008 - NOW)
    events = [each if isinstance(each, tuple) else (each, None) for each in effects]
    assert did == [each if len(each) == 4 else emit(each[0], now, None, each[1]) for each in events]


def test_several_things_at_once_are_told_in_their_order() -> None:
    """A switch to video, the own flags, then others; then media hears what to capture, of whom, and with whom to
    negotiate."""
    before = leg(type="audio", flags=HERE | {"wants_video"}, lost=(("2", 1, 0), ("3", 2, 0)), peers=(BOB, CAROL))
    flags, asks = HERE | {"camera", "hand_raised"}, replace(CAROL, flags=RAISED)
    after, did = hear(device(before), view(type="video", flags=flags, peers=(asks, DORA), offers={"3": 1}))
    now = leg(flags=flags, peers=(asks, DORA), offers={"3": 1}, seq=5, lost=(("2", 1, 0), ("3", 2, 0)))
    assert did == [
        emit("call_switched_to_video", now),
        emit("hand_raised", now),
        emit("user_left", now, BOB, "left"),
        emit("hand_raised", now, asks),
        emit("user_list_updated", now),
        ("Drive", "S", "capture", ("video", True)),
        ("Drive", "S", "peers", ((asks,),)),
        ("Drive", "S", "granted", ("3",)),
    ]
    assert after == device(replace(now, lost=(("3", 2, 0),)))


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_the_answer_to_ones_own_request_for_video_is_a_switch_or_a_refusal(kind: Any) -> None:
    """Of oneself and of others alike: once it is a video call, that is the answer."""
    asks = replace(BOB, flags=frozenset({"wants_video"}))
    before = leg(type="audio", flags=HERE | {"wants_video"}, peers=(asks,))
    _, did = hear(device(before), view(type=kind))
    now = leg(type=kind, seq=5)
    declined = [emit("call_switch_to_video_declined", now), emit("call_switch_to_video_declined", now, BOB)]
    assert did[: len(did) - 1] == ([emit("call_switched_to_video", now)] if kind == "video" else declined)
    _, did = hear(device(leg(type="audio")), view(type="audio", flags=HERE | {"wants_video"}))
    assert did == [], "who asks knows it"


def test_why_others_are_gone_is_told_with_who_it_was() -> None:
    """In the order in which they were there; who is not named has left; newcomers come by their place."""
    late, early = replace(DORA, joined=9), Peer("5", "eve", joined=4, flags=frozenset({"audio_muted"}))
    before = leg(peers=(CAROL, BOB, DORA))
    _, did = hear(device(before), view(peers=(late, early), gone={"2": Reason.KICKED, "9": Reason.LOST}))
    now = leg(peers=(late, early), seq=5)
    assert did == [
        emit("user_left", now, CAROL, "left"),
        emit("user_left", now, BOB, Reason.KICKED),
        emit("user_joined", now, early),
        emit("user_joined", now, late),
        emit("user_muted", now, early),
        emit("user_list_updated", now),
        ("Drive", "S", "peers", ((late, early),)),
    ]


def test_nothing_of_others_is_told_where_nothing_is_different() -> None:
    """Who waits outside may come and go; media hears only of those who have joined."""
    now = leg(peers=(BOB, DORA), seq=5)
    assert hear(device(leg()), view(peers=(BOB, DORA))) == (device(now), [("Drive", "S", "peers", ((BOB,),))])


def test_a_session_begins_with_who_is_there() -> None:
    """What was heard is settled, media opens with what is agreed and granted, then listeners hear of the session and of
    everybody in it, and last, whoever waited to be in has come in."""
    waits = (Wait(1, "media", 2, "join", NOW + 5), Wait(2, "heard", 3, "raise_hand", NOW + 5))
    before = leg(
        state="idle", flags=frozenset(), media="wanted", joined=0, grants=frozenset(), waits=waits, reported=False,
        idle=(70, 80), longest=900, peers=(BOB,), offers={}, owed=(Command("S", 2, "join", "1"),),
    )  # fmt: skip
    muted = replace(BOB, flags=frozenset({"audio_muted", "wants_video"}))
    after, did = hear(device(before), view(flags=HERE | RAISED, peers=(muted,)))
    now = leg(flags=HERE | RAISED, seq=5, reported=False, idle=(70, 80), longest=900, until=NOW + 900, peers=(muted,))
    assert after == device(now)
    assert did == [
        ("Settle", 2, now, None),
        ("OpenMedia", "S", frozenset({"audio"})),
        ("Drive", "S", "peers", ((muted,),)),
        emit("session_joined", now),
        emit("hand_raised", now),
        emit("user_joined", now, muted),
        emit("user_muted", now, muted),
        emit("call_switch_to_video_requested", now, muted),
        emit("user_list_updated", now),
        ("Drive", "S", "peers", ((muted,),)),
        ("Drive", "S", "granted", ("2",)),
        ("Settle", 1, now, None),
    ]


def test_media_opens_with_what_is_agreed_granted_and_on() -> None:
    """A camera of a video call, which a screen never is from the beginning; and nothing that was not agreed to."""
    for consent, grants, opened in (
        ({"audio", "video"}, {"audio", "video", "screen"}, {"audio", "video"}),
        ({"audio"}, {"audio", "video", "screen"}, {"audio"}),
        ({"audio", "video"}, {"video", "screen"}, {"video"}),
        ((), {"audio", "video", "screen"}, ()),
    ):
        before = leg(state="idle", flags=frozenset(), media="wanted", consent=frozenset(consent))
        flags = frozenset({"joined", "camera", "presenting"})
        after, did = hear(device(before), view(state="accepted", flags=flags, grants=frozenset(grants)))
        assert did[0] == ("OpenMedia", "S", frozenset(opened))
        assert after.legs["S"].media == "open"


def test_what_stood_before_the_session_began_is_told_when_it_begins() -> None:
    """Whoever came in with his sound off is told so, with everything else; until then nobody hears of it."""
    waiting = leg(state="accepted", flags=frozenset({"joined", "audio_muted"}))
    assert hear(device(waiting), view(state="accepted", flags=waiting.flags)) == (device(replace(waiting, seq=5)), [])
    _, did = hear(device(waiting), view(flags=HERE | {"audio_muted"}))
    events = ["session_joined", "audio_muted", "user_joined", "user_list_updated"]
    assert [each[1] for each in did if each[0] == "Emit"] == events


def test_media_that_was_only_wanted_neither_opens_nor_closes_at_the_end() -> None:
    """A view that says that the leg had joined, and has ended: nothing was open here."""
    wanted = leg(state="accepted", flags=frozenset({"joined"}), media="wanted")
    gone = view(state="ended", reason=Reason.HANGUP, flags=frozenset({"joined"}))
    _, did = hear(device(wanted), gone)
    assert [each[:2] for each in did] == [
        ("Emit", "call_ended_message_received"), ("Emit", "session_left"), ("Emit", "call_ended")
    ]  # fmt: skip
    assert {each[2].media for each in did} == {"wanted"}


def test_each_stage_of_a_way_is_told_as_it_was() -> None:
    """From ringing to the end in one view: who hears of the acceptance sees a leg that was accepted, and so on."""
    before = leg(
        flow="ringing", role="caller", state="ringing", media="none", flags=frozenset(), joined=0, waits=(), lost=()
    )  # fmt: skip
    gone = view(
        flow="ringing", role="caller", state="ended", reason=Reason.HANGUP, by="bob", flags=frozenset(), joined=0
    )
    after, did = hear(device(before), gone)
    ended = replace(before, seq=5, state="ended", reason=Reason.HANGUP, by="bob")
    accepted = replace(ended, state="accepted", reason=None)
    events = ("call_ended_message_received", "session_left", "call_ended")
    assert did == [emit("outgoing_call_accepted", accepted), *(emit(event, ended) for event in events)]
    assert after == device(tombs={"S": 5})


def test_an_end_settles_everybody_and_closes() -> None:
    """Media closes first, everybody hears, then whoever awaited anything is told why; and only the id is left."""
    lanes = {"2": Lane(2, (Mail(1, "x", 9, NOW + 5), Mail(2, "y", 8, NOW + 5), Mail(3, "z")))}
    waits = (Wait(2, "joinable", 0, ""), Wait(1, "media", 10, "join", NOW + 5))
    before = leg(
        state="accepted", waits=waits, lanes=lanes, lost=(("2", NOW, 0),), owed=(Command("S", 10, "join", "1"),)
    )
    gone = view(state="ended", reason=Reason.FAILED_MEDIA, by="bob", flags=frozenset(), joined=0, seq=7)
    after, did = hear(device(before, names={"X": "S", "Z": "T"}), gone)
    here: dict[str, Any] = {
        "seq": 7, "state": "ended", "reason": Reason.FAILED_MEDIA, "by": "bob", "flags": frozenset(), "joined": 0,
        "media": "closed", "owed": before.owed,
    }  # fmt: skip
    then = replace(before, **here)
    settled = replace(then, waits=(), lanes={}, lost=())
    why = {"session_id": "S", "reason": Reason.FAILED_MEDIA}
    events = ("call_ended_message_received", "session_left", "call_ended")
    assert did == [
        ("CloseMedia", "S"),
        *(emit(event, then) for event in events),
        ("Settle", 2, settled, ("call_gone", why)),
        ("Settle", 1, settled, ("media_connection_failed", {"why": "not connected in time, or the other side failed"})),
        ("Settle", 8, settled, ("call_ended", why)),
        ("Settle", 9, settled, ("call_ended", why)),
    ]
    assert after == device(names={"Z": "T"}, tombs={"X": 7, "S": 7})


# --- what was heard ---------------------------------------------------------------------------------------------------

GOALS = ("ringing", "joinable", "media", "heard")
WAITS = tuple(
    Wait(10 * n + place, goal, n, f"t{n}", NOW + 5 if n % 2 else 0, until)  # type: ignore[arg-type]
    for n in (1, 2, 3)
    for place, (goal, until) in enumerate((*((goal, "") for goal in GOALS), ("heard", "wants_video")))
)
OWED = tuple(Command("S", n, f"t{n}") for n in (1, 2, 3))


def heard(upto: int, reached: set[str], flags: frozenset[str]) -> tuple[list[Wait], list[Wait], list[Wait]]:
    """A plain model of what becomes of WAITS: who was heard, who has what he waited for, who waits on."""
    here = [wait for wait in WAITS if wait.goal in reached]
    taken = [w for w in WAITS if w not in here and w.n <= upto and w.goal == "heard" and w.until not in flags]
    left = [replace(w, due=0) if w.n <= upto else w for w in WAITS if w not in here and w not in taken]
    return taken, here, left


@pytest.mark.parametrize(
    ("upto", "asks", "state"), list(product(range(5), (False, True), ("idle", "ringing", "accepted", "active")))
)
def test_what_was_heard_is_owed_no_more_and_waits_are_settled(upto: int, asks: bool, state: str) -> None:
    """By its number; who waits for a state has it, or waits on, without a bound; and who asked others waits for the
    answer."""
    flags = (HERE if state == "active" else frozenset()) | ({"wants_video"} if asks else frozenset())
    common: dict[str, Any] = {"flow": "ringing", "role": "caller", "state": state, "flags": flags}
    before = leg(waits=WAITS, owed=OWED, media="none" if state != "active" else "open", **common)
    after, did = hear(device(before), view(heard=upto, **common))
    reached = {"idle": 0, "ringing": 1, "accepted": 2, "active": 3}[state]
    taken, done, left = heard(upto, set(GOALS[:reached]), flags)
    now = replace(before, seq=5, owed=OWED[upto:], waits=tuple(left))
    assert after == device(now)
    assert did == [("Settle", wait.ticket, now, None) for wait in (*taken, *done)]


@pytest.mark.parametrize(("upto", "asks"), list(product(range(5), (False, True))))
def test_an_older_view_tells_only_what_was_heard(upto: int, asks: bool) -> None:
    """The leg stays as it is, and nobody has come to where he is by it."""
    before = leg(waits=WAITS, owed=OWED, flags=HERE | ({"wants_video"} if asks else frozenset()), seq=9)
    after, did = hear(device(before), view(heard=upto, state="accepted", flags=frozenset(), peers=()))
    taken, _, left = heard(upto, set(), before.flags)
    now = replace(before, owed=OWED[upto:], waits=tuple(left))
    assert after == device(now)
    assert did == [("Settle", wait.ticket, now, None) for wait in taken]


@pytest.mark.parametrize(
    ("state", "seq", "upto", "first", "forgotten"),
    [
        ("ended", 4, 9, 0, True),
        ("ended", 5, 9, 9, True),
        ("ended", 5, 8, 9, False),
        ("ended", 3, 9, 0, False),
        ("active", 5, 9, 0, False),
    ],
    ids=["heard", "newer", "of-the-leg-before", "older", "not-ended-there"],
)
def test_what_ended_here_is_forgotten_once_it_has_ended_there(
    state: str, seq: int, upto: int, first: int, forgotten: bool
) -> None:
    """A view of the end that knows of this leg, and is not older: then only the number is left. Nothing is told."""
    owed = (Command("S", 9, "leave", "1"), Command("S", 10, "lost", "1"))
    before = leg(state="ended", reason=Reason.HANGUP, media="closed", owed=owed, first=first)
    after, did = hear(device(before), view(state=state, seq=seq, heard=upto))
    left = replace(before, owed=owed[1:] if upto == 9 else owed)
    assert (after, did) == (device(tombs={"S": seq}) if forgotten else device(left), [])


def test_a_view_that_does_not_know_of_a_new_leg_ends_nothing_of_it() -> None:
    """It is of the leg before: it tells what was heard of that one's end."""
    before = leg(state="idle", seq=0, pid="", media="wanted", first=8, owed=(Command("S", 6, "leave"),), waits=())
    after, did = hear(device(before), view(state="ended", reason=Reason.HANGUP, heard=7))
    assert (after, did) == (device(replace(before, owed=())), [])


def test_an_end_that_cannot_be_this_legs_is_of_another_and_ends_this_one() -> None:
    """A leg that is not this one has ended as no leg of this flow does from here: what the device had is lost."""
    after, effects = hear(device(leg()), view(pid="7", state="ended", reason=Reason.MERGED))
    assert (after.legs, after.tombs) == ({}, {"S": 5})
    assert ("CloseMedia", "S") in effects
    assert [(one[1], one[2].reason) for one in effects if one[1] == "call_ended"] == [("call_ended", Reason.LOST)]
    same, none = hear(device(leg()), view(state="ended", reason=Reason.MERGED))
    assert (same.legs["S"].state, none) == ("active", [])  # of this one it is not believed
