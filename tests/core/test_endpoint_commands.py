"""What a user's command makes of a device, in full: the leg, what is said, what is settled and with what."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from on_a_device import BOB, BOTH, CAROL, GRANTS, HERE, NOW, device, told

from statecore.endpoint import Await, Do, Endpoint, EndpointMachine, LocalLeg, Received, Wait
from statecore.endpoint._types import Lane, Mail
from statecore.flow import FLOWS, RINGING, Mark, Row, Trigger
from statecore.model import Reason
from statecore.wire import Command, View

BOUND = NOW + 10_000
ASKS = frozenset({"wants_video"})
KNOCK = Mark("hand_raised")


def leg(session: str = "S", **more: Any) -> LocalLeg:
    """Alice is in a session with Bob."""
    plain: dict[str, Any] = {
        "flow": "session", "state": "active", "role": "member", "pid": "1", "initiator": "alice", "seq": 4,
        "flags": HERE, "grants": GRANTS, "joined": 1, "peers": (BOB,), "media": "open", "reported": True,
    }  # fmt: skip
    return LocalLeg(session, **{**plain, **more})


def calls(**more: Any) -> LocalLeg:
    """Alice calls Bob, and it rings."""
    plain: dict[str, Any] = {
        "role": "caller", "pid": "1", "initiator": "alice", "receiver": "bob", "seq": 1, "state": "ringing",
    }  # fmt: skip
    return LocalLeg("S", "ringing", **{**plain, **more})


def rung(**more: Any) -> LocalLeg:
    """Bob calls Alice, and it rings here."""
    plain: dict[str, Any] = {"pid": "2", "initiator": "bob", "receiver": "alice", "seq": 1, "state": "ringing"}
    return LocalLeg("S", "ringing", **{**plain, **more})


def give(endpoint: Endpoint, given: Any, now: int = NOW, **flows: Any) -> tuple[Endpoint, list[tuple[Any, ...]]]:
    """What becomes of it by this input, and everything that it does."""
    after, effects = EndpointMachine(flows={**FLOWS, **flows}).step(endpoint, given, now)
    return after, told(effects)


def do(endpoint: Endpoint, trigger: str, ticket: int = 5, **more: Any) -> tuple[Endpoint, list[tuple[Any, ...]]]:
    """The same by a command."""
    return give(endpoint, Do(more.pop("session", "S"), trigger, ticket, **more))


# --- beginning --------------------------------------------------------------------------------------------------------


def test_a_call_is_begun_with_all_that_was_asked() -> None:
    """The leg knows what was asked, the command says it, and whoever waits has the bound of a command."""
    asked: dict[str, Any] = {
        "flow": "ringing", "receiver": "bob", "type": "audio", "timeout": 30, "metadata": '"m"', "token": "t",
        "flags": frozenset({"audio_muted"}), "data": {"n": 1},
    }  # fmt: skip
    after, did = do(device(), "initiate", consent=frozenset({"audio", "screen"}), **asked)
    said = Command("S", 10, "initiate", "", **asked)
    made = LocalLeg(
        "S", "ringing", "idle", "caller", "", "audio", "alice", "bob", metadata='"m"', owed=(said,), first=10,
        waits=(Wait(5, "ringing", 10, "initiate", BOUND),), consent=frozenset({"audio"}),
    )  # fmt: skip
    assert (after, did) == (device(made, n=10), [("Send", said)])
    after, did = do(device(), "initiate", 0, flow="ringing", receiver="bob")
    said = Command("S", 10, "initiate", flow="ringing", receiver="bob")
    made = LocalLeg("S", "ringing", "idle", "caller", "", "video", "alice", "bob", owed=(said,), first=10, consent=BOTH)
    assert (after, did) == (device(made, n=10), [("Send", said)])


def test_a_session_is_joined_with_all_that_was_asked() -> None:
    """Media is wanted; its own limits are kept here, and are not the service's concern."""
    after, did = do(device(), "join", flow="session", token="t", idle=(7, 8), longest=9)
    said = Command("S", 10, "join", flow="session", token="t")
    made = LocalLeg(
        "S", "session", "idle", "member", "", "video", "alice", "", owed=(said,), first=10, consent=BOTH,
        waits=(Wait(5, "media", 10, "join", BOUND),), media="wanted", idle=(7, 8), longest=9,
    )  # fmt: skip
    assert (after, did) == (device(made, n=10), [("Send", said)])


def test_who_comes_back_to_a_session_begins_anew() -> None:
    """What was owed of the leg before is owed still, before the new command; nothing else is left of it."""
    owed = (Command("S", 9, "leave", "1"),)
    before = leg(state="ended", reason=Reason.HANGUP, media="closed", owed=owed)
    after, did = do(device(before), "join", flow="session", token="t")
    said = Command("S", 10, "join", flow="session", token="t")
    made = LocalLeg(
        "S", "session", "idle", "member", "", "video", "alice", "", owed=(*owed, said), first=10, consent=BOTH,
        waits=(Wait(5, "media", 10, "join", BOUND),), media="wanted",
    )  # fmt: skip
    assert (after, did) == (device(made, n=10), [("Send", said)])
    gone = ("call_gone", {"session_id": "S", "reason": Reason.HANGUP})
    for trigger, flow, error in (("join", "ringing", gone), ("join", "", gone), ("leave", "session", None)):
        assert do(device(before), trigger, flow=flow) == (device(before), [("Settle", 5, before, error)])
    rang = calls(state="ended", reason=Reason.HANGUP)
    assert do(device(rang), "initiate", flow="ringing") == (device(rang), [("Settle", 5, rang, gone)])


@pytest.mark.parametrize(
    ("more", "want", "code", "data"),
    [
        ({}, {"flow": "ringing", "trigger": "join"}, "call_not_found", {"session_id": "X"}),
        ({}, {"flow": "other", "trigger": "initiate"}, "call_not_found", {"session_id": "X"}),
        ({}, {"trigger": "end"}, "call_not_found", {"session_id": "X"}),
        ({"tombs": {"S": 3}}, {"trigger": "end"}, "call_gone", {"session_id": "X", "reason": "ended"}),
        ({"older": {"S": 0}}, {"trigger": "end"}, "call_gone", {"session_id": "X", "reason": "ended"}),
        ({"tombs": {"T": 3}}, {"trigger": "end"}, "call_not_found", {"session_id": "X"}),
        ({"online": False}, {"flow": "ringing", "trigger": "initiate"}, "not_connected", {}),
    ],
    ids=["not-that-way", "no-such-flow", "no-such-call", "over", "long-over", "another-is-over", "offline"],
)
def test_what_cannot_begin_says_why(more: dict[str, Any], want: dict[str, Any], code: str, data: Any) -> None:
    """By the name that the user gave; nothing is said, kept or known of it."""
    before = device(names={"X": "S"}, **more)
    assert do(before, session="X", **want) == (before, [("Settle", 5, None, (code, data))])


# --- what a leg may do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "trigger", "goal"),
    [
        (leg(), "raise_hand", "heard"),
        (leg(grants=frozenset({"end_for_all"})), "end_for_all", "heard"),
        (rung(), "accept", "joinable"),
        (calls(state="accepted"), "join", "media"),
    ],
    ids=["heard", "ended", "joinable", "media"],
)
def test_a_command_of_a_leg_says_no_more_than_it_must(before: LocalLeg, trigger: str, goal: Any) -> None:
    """The leg that it is for, and its payload; of what makes a call nothing, whatever is given with it."""
    more: dict[str, Any] = {"until": "wants_video", "data": {"n": 1}, "flow": "other", "type": "audio"}
    after, did = do(device(before, names={"X": "S"}), trigger, session="X", **more)
    said = Command("X", 10, trigger, before.pid, data={"n": 1})
    now = after.legs["S"]
    assert did == [("Send", said)]
    assert (now.owed, now.waits) == ((said,), (Wait(5, goal, 10, trigger, BOUND, "wants_video"),))
    assert now.media == ("wanted" if goal == "media" else before.media)
    assert now.consent == (frozenset() if goal == "heard" else BOTH)


def test_without_a_link_it_is_owed_and_not_said() -> None:
    """It goes out with the next welcome."""
    after, did = do(device(leg(), online=False), "raise_hand")
    assert (after.legs["S"].owed, did) == ((Command("S", 10, "raise_hand", "1"),), [])


def test_the_same_again_is_not_said_twice() -> None:
    """Only what was said last counts, and only with the same payload; who joins twice is told so."""
    first = Command("S", 7, "raise_hand", "1", data={"n": 1})
    wait = Wait(4, "heard", 7, "raise_hand", NOW + 3)
    before = leg(owed=(first,), waits=(wait,))
    after, did = do(device(before), "raise_hand", data={"n": 1}, until="x")
    assert did == []
    assert after == device(replace(before, waits=(wait, Wait(5, "heard", 7, "raise_hand", BOUND, "x"))))
    assert do(device(before), "raise_hand", 0, data={"n": 1}) == (device(before), [])
    for other in ({"data": {"n": 2}}, {}):
        assert do(device(before), "raise_hand", **other)[1] == [("Send", Command("S", 10, "raise_hand", "1", **other))]
    behind = leg(owed=(first, Command("S", 8, "lower_hand", "1")))
    assert do(device(behind), "raise_hand", data={"n": 1})[1]
    joins = calls(state="accepted", media="wanted", owed=(Command("S", 7, "join", "1"),))
    already = ("already_joined", {"session_id": "S"})
    assert do(device(joins), "join") == (device(joins), [("Settle", 5, joins, already)])


def test_what_is_so_already_is_settled_with_the_leg_as_it_is() -> None:
    """Nothing is said."""
    for before, trigger in ((rung(state="accepted"), "accept"), (leg(), "switch_to_video"), (leg(), "up")):
        assert do(device(before), trigger) == (device(before), [("Settle", 5, before, None)])


@pytest.mark.parametrize(
    ("has", "trigger", "agreed", "then"),
    [
        ((), "unmute_audio", None, {"audio"}),
        ({"video"}, "unmute_audio", None, {"audio", "video"}),
        ({"video"}, "unmute_audio", (), {"video"}),
        ((), "resume_video", {"audio", "video"}, {"video"}),
        ({"audio", "video"}, "withdraw_video", None, {"audio"}),
        ({"audio"}, "raise_hand", {"video"}, {"audio"}),
    ],
)
def test_a_command_is_a_yes_or_a_no_to_capture(has: Any, trigger: str, agreed: Any, then: Any) -> None:
    """To what its trigger says, or to less if the user says so; what was agreed before stays."""
    before = leg(consent=frozenset(has), flags=HERE | {"camera"})
    after, _ = do(device(before), trigger, consent=None if agreed is None else frozenset(agreed))
    assert after.legs["S"].consent == frozenset(then)


LEGAL = [
    "end", "end_for_all", "leave", "lower_hand", "mute_audio", "pause_video", "raise_hand", "resume_video",
    "start_screen_share", "stop_screen_share", "switch_to_video", "unmute_audio",
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "trigger", "code", "data"),
    [
        (leg(grants=frozenset()), "unmute_audio", "token_lacks_grant", {"grant": "audio"}),
        (leg(), "end_for_all", "token_lacks_grant", {"grant": "end_for_all"}),
        (leg(), "join", "already_joined", {"session_id": "S", "reason": "active", "user": "alice"}),
        (calls(), "join", "not_accepted", {"session_id": "S", "reason": "ringing", "user": "alice"}),
        (calls(), "mute_audio", "session_inactive", {"session_id": "S", "state": "ringing", "trigger": "mute_audio"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_leg_may_not_do_says_why(before: LocalLeg, trigger: str, code: str, data: dict[str, Any]) -> None:
    """With everything that the error has to say, and the leg as it is; nothing else happens."""
    assert do(device(before), trigger) == (device(before), [("Settle", 5, before, (code, data))])


@pytest.mark.parametrize(
    ("before", "trigger", "legal"),
    [
        (calls(), "accept", ["cancel", "end", "leave"]),
        (calls(), "dance", ["cancel", "end", "leave"]),
        (rung(), "cancel", ["accept", "end", "leave", "reject", "reject_busy"]),
        (leg(), "dance", [name for name in LEGAL if name != "end_for_all"]),
        (leg(), "decline_video", [name for name in LEGAL if name != "end_for_all"]),
        (leg(grants=GRANTS | {"end_for_all"}), "dance", LEGAL),
    ],
)
def test_what_has_no_row_says_what_has(before: LocalLeg, trigger: str, legal: list[str]) -> None:
    """The state, what was wanted, and what this leg may do instead."""
    illegal = ("illegal_transition", {"state": before.state, "trigger": trigger, "legal": legal})
    assert do(device(before), trigger) == (device(before), [("Settle", 5, before, illegal)])


@pytest.mark.parametrize(
    ("of", "trigger", "code", "data"),
    [
        *((of, trigger, "", {}) for of in ("ringing", "session") for trigger in ("end", "leave", "lost", "expire")),
        ("ringing", "reject", "", {}),
        ("ringing", "cancel", "", {}),
        ("ringing", "initiate", "call_gone", {"session_id": "S", "reason": Reason.HANGUP}),
        ("ringing", "accept", "call_gone", {"session_id": "S", "reason": Reason.HANGUP}),
        ("ringing", "join", "call_gone", {"session_id": "S", "reason": Reason.HANGUP}),
        ("ringing", "mute_audio", "already_left", {"session_id": "S"}),
        ("ringing", "end_for_all", "already_left", {"session_id": "S"}),
        ("session", "join", "call_gone", {"session_id": "S", "reason": Reason.HANGUP}),
        ("session", "cancel", "already_left", {"session_id": "S"}),
        ("session", "dance", "already_left", {"session_id": "S"}),
    ],
)
def test_after_the_end_ending_again_is_done_and_anything_else_too_late(
    of: str, trigger: str, code: str, data: dict[str, Any]
) -> None:
    """Whoever is late is told what it was too late for, and sees the leg as it ended."""
    before = leg(flow=of, role="callee", state="ended", reason=Reason.HANGUP, media="closed")
    assert do(device(before), trigger) == (device(before), [("Settle", 5, before, (code, data) if code else None)])


def test_a_flow_of_ones_own_says_what_to_say_after_its_end() -> None:
    """By rows of its last state: who waits for one of those is told how it ended."""
    flow = RINGING.extend(
        "knock", triggers=(Trigger("knock", "user"),), rows=(Row("ended", "knock", "ended", refuse="call_gone"),)
    )
    before = replace(calls(state="ended", reason=Reason.REJECTED), flow="knock")
    _, did = give(device(before), Do("S", "knock", 5), knock=flow)
    assert did == [("Settle", 5, before, ("call_rejected", {"user": "bob", "session_id": "S"}))]


def test_what_does_not_make_the_call_says_nothing_of_it() -> None:
    """Before the service knows a call, too: only the command that makes it says of which kind it is."""
    flow = RINGING.extend("knock", triggers=(Trigger("knock", "user"),), rows=(Row("idle", "knock", "idle", (KNOCK,)),))
    made = replace(calls(state="idle", seq=0, pid=""), flow="knock")
    _, did = give(device(made), Do("S", "knock", 5, type="audio"), knock=flow)
    assert did == [("Send", Command("S", 10, "knock"))]


def test_who_asks_while_others_ask_is_told_what_they_may_do() -> None:
    """Whether any of the others wants video is known here; and what an owed command may change is not known."""
    asked = leg(type="audio", peers=(BOB, replace(CAROL, flags=ASKS), replace(BOB, pid="4")))
    assert do(device(asked), "decline_video")[1] == [("Send", Command("S", 10, "decline_video", "1"))]
    mine = leg(type="audio", owed=(Command("S", 9, "switch_to_video", "1"),))
    assert do(device(mine), "withdraw_video")[1] == [("Send", Command("S", 10, "withdraw_video", "1"))]
    both = replace(mine, owed=(*mine.owed, Command("S", 10, "raise_hand", "1")))
    assert do(device(both), "withdraw_video")[1] == [("Send", Command("S", 10, "withdraw_video", "1"))]
    assert do(device(leg(type="audio")), "withdraw_video")[1][0][0] == "Settle"


# --- ending -----------------------------------------------------------------------------------------------------------


def test_an_end_of_ones_own_is_taken_at_once() -> None:
    """It is said, media closes, everybody hears, whoever waited for anything is told, and last who asked for it. Of
    what was owed before, only an end of more than this leg still is; the time is as the service would have it."""
    owed = tuple(
        Command("S", n, trigger, "1") for n, trigger in ((6, "raise_hand"), (7, "end_for_all"), (8, "unmute_audio"))
    )
    at = (500_000, 550_000, 600_000, 700_000, 0)
    before = leg(owed=owed, waits=(Wait(4, "heard", 6, "raise_hand", NOW + 3),), consent=BOTH, at=at)
    after, did = do(device(before, ahead=70, names={"X": "S"}), "leave", session="X")
    said = Command("S", 10, "leave", "1")
    then = replace(
        before, state="ended", reason=Reason.HANGUP, media="closed", owed=(owed[1], said), consent=frozenset(),
        by="alice", by_device="a1", at=(*at[:4], NOW + 70),
    )  # fmt: skip
    ended = replace(then, waits=())
    events = ("call_ended_message_received", "session_left", "call_ended")
    assert did == [
        ("Send", said),
        ("CloseMedia", "S"),
        *(("Emit", event, then, None, None) for event in events),
        ("Settle", 4, ended, ("call_ended", {"session_id": "S", "reason": Reason.HANGUP})),
        ("Settle", 5, ended, None),
    ]
    assert after == device(ended, n=10, ahead=70, names={"X": "S"})


@pytest.mark.parametrize(
    ("ahead", "known", "ended"), [(0, 5, 0), (70, 5, NOW + 70), (-70, 5, NOW - 70), (70, NOW + 90, NOW + 90)]
)
def test_when_it_ended_is_known_as_far_as_the_services_time_is(ahead: int, known: int, ended: int) -> None:
    """Never before what is known to have happened before it; 0 if nothing is known."""
    after, _ = do(device(leg(at=(4, 2, known, 3, 0)), ahead=ahead), "leave")
    assert after.legs["S"].at == (4, 2, known, 3, ended)


@pytest.mark.parametrize(
    ("before", "trigger", "reason"),
    [
        (calls(), "cancel", Reason.CANCELLED),
        (calls(state="idle", seq=0, pid=""), "end", Reason.CANCELLED),
        (rung(), "reject", Reason.REJECTED),
        (rung(), "reject_busy", Reason.BUSY),
        (calls(state="accepted"), "end", Reason.HANGUP),
    ],
    ids=["cancel", "before-it-is-known", "reject", "busy", "hang-up"],
)
def test_each_end_has_its_reason_and_names_who_did_it(before: LocalLeg, trigger: str, reason: Reason) -> None:
    """Where no media is open none is closed."""
    after, did = do(device(before), trigger, 0)
    said = Command("S", 10, trigger, before.pid)
    now = replace(before, state="ended", reason=reason, owed=(said,), by="alice", by_device="a1")
    events = ["call_ended_message_received", *(["session_left", "call_ended"] if before.state == "accepted" else [])]
    assert did == [("Send", said), *(("Emit", event, now, None, None) for event in events)]
    assert after == device(now, n=10)


@pytest.mark.parametrize(
    "busy",
    [
        {"waits": (Wait(4, "heard", 6, "raise_hand"),)},
        {"lanes": {"2": Lane(1, (Mail(1, "x", 4),))}},
        {"lost": (("2", NOW, 0),)},
    ],
    ids=repr,
)
def test_an_end_leaves_nothing_of_what_was_going_on(busy: dict[str, Any]) -> None:
    """Nobody waits, nothing is on its way, and nobody is missed: each alone."""
    after, _ = do(device(leg(**busy)), "leave")
    ended = after.legs["S"]
    assert (ended.waits, ended.lanes, ended.lost) == ((), {}, ())


# --- how it ended, to who waits ---------------------------------------------------------------------------------------

DECLINED = {
    Reason.BUSY: "user_busy", Reason.REJECTED: "call_rejected", Reason.UNANSWERED: "call_unanswered",
    Reason.CANCELLED: "call_cancelled",
}  # fmt: skip


def outcome(role: str, reason: Reason, goal: str) -> tuple[str, dict[str, Any]]:
    """A plain model of what an end is to who awaited something."""
    if role == "caller" and reason in DECLINED:
        return DECLINED[reason], {"user": "bob", "session_id": "S"}
    if goal == "joinable" and reason in (Reason.ANSWERED_ELSEWHERE, Reason.REJECTED_ELSEWHERE):
        return "answered_elsewhere", {"session_id": "S"}
    if goal == "joinable" and role != "caller":
        return "call_gone", {"session_id": "S", "reason": reason}
    if goal == "media" and reason == Reason.FAILED_MEDIA:
        return "media_connection_failed", {"why": "not connected in time, or the other side failed"}
    return "call_ended", {"session_id": "S", "reason": reason}


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("role", ["caller", "callee", "member"])
def test_every_end_tells_whoever_waits_what_it_means_to_him(role: Any, reason: Reason) -> None:
    """Whatever he waits for, and whoever he is; with the leg as it ended, in the order of waiting."""
    goals = ("joinable", "media", "heard", "ringing")
    waits = tuple(Wait(n, goal, 7, "x") for n, goal in enumerate(goals, 1))  # type: ignore[arg-type]
    state, flow = ("ringing", "ringing") if role == "callee" else ("idle", "session" if role == "member" else "ringing")
    before = leg(flow=flow, role=role, state=state, receiver="bob", waits=waits, media="none", flags=frozenset())
    _, did = give(
        device(before), Received(View("S", 5, "1", "ended", "alice", flow, role, reason=reason, receiver="bob"))
    )
    settled = [(ticket, error) for kind, ticket, *_, error in did if kind == "Settle"]
    assert settled == ([(n, outcome(role, reason, goal)) for n, goal in enumerate(goals, 1)] if did else [])
    over = replace(before, state="ended", reason=reason, waits=())
    assert give(device(over), Await("S", 7)) == (
        device(over), [("Settle", 7, over, outcome(role, reason, "joinable"))]
    )  # fmt: skip


@pytest.mark.parametrize("state", ["idle", "ringing", "accepted", "active"])
def test_whoever_awaits_the_answer_has_it_or_waits(state: str) -> None:
    """Beside whoever waits already, without a bound of his own; of what is unknown he is told so."""
    waits = (Wait(4, "ringing", 9, "initiate", NOW + 3),)
    before = calls(state=state, waits=waits)
    answered = state in ("accepted", "active")
    waiting = device(replace(before, waits=(*waits, Wait(5, "joinable", 0, ""))), names={"X": "S"})
    assert give(device(before, names={"X": "S"}), Await("X", 5)) == (
        (device(before, names={"X": "S"}), [("Settle", 5, before, None)]) if answered else (waiting, [])
    )
    unknown = ("call_not_found", {"session_id": "T"})
    assert give(device(before), Await("T", 5)) == (device(before), [("Settle", 5, None, unknown)])
