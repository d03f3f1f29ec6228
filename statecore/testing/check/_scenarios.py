"""The scenarios: who is there, what they may do in any order, and what may go wrong meanwhile."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from statecore.endpoint import Do
from statecore.settings import ServiceSettings
from statecore.switchboard import End, Forget
from statecore.testing._world_parts import Plan
from statecore.testing.check._scenario import Scenario

TWO = {"a1": "alice", "b1": "bob"}
THREE = {**TWO, "c1": "carol"}
DEVICES = {**TWO, "b2": "bob"}
LIVE = ("idle", "ringing", "accepted", "active")


def calls(device: str = "a1", receiver: str = "bob", session: str = "S", **more: Any) -> Plan:
    """Somebody calls."""
    states = more.pop("when", ())
    return Plan(device, Do(session, "initiate", flow="ringing", receiver=receiver, **more), when=states)


def does(device: str, trigger: str, *when: str, session: str = "S", again: bool = False, **more: Any) -> Plan:
    """Somebody does something, while the leg is in one of these states."""
    return Plan(device, Do(session, trigger, **more), when=when, again=again)


def joins(device: str, session: str = "S", token: str = "given") -> Plan:
    """Somebody joins the session of a call that was accepted."""
    return Plan(device, Do(session, "join", token=token), when=("accepted",))


def enters(device: str, token: str = "fresh", *when: str) -> Plan:
    """Somebody joins a session by a token alone."""
    return Plan(device, Do("S", "join", flow="session", token=token), when=when or ("", "ended"))


def ends(device: str, session: str = "S") -> Plan:
    """Somebody hangs up, whenever, as often as there is something to end."""
    return does(device, "end", *LIVE, session=session, again=True)


_BASIC = (calls(), does("b1", "accept", "ringing"), joins("a1"), joins("b1"))
_BOTH_END = (ends("a1"), ends("b1"))
_WAYS_OUT = (does("a1", "cancel", "idle", "ringing"), does("b1", "reject", "ringing"))
_UP = (*_BASIC, *_BOTH_END)
_ON_TWO = (
    calls(), *(does(d, "accept", "ringing") for d in ("b1", "b2")),
    *(does(d, "reject", "ringing") for d in ("b1", "b2")), *(joins(d) for d in DEVICES),
)  # fmt: skip
_GLARE = (
    calls(), calls("b1", "alice", "T"), joins("a1"), joins("b1"), joins("a1", "T"), joins("b1", "T"),
    ends("a1"), ends("b1", "T"),
)  # fmt: skip
_SENDING = ("mute_audio", "unmute_audio", "pause_video", "resume_video")
_SHOWING = ("start_screen_share", "stop_screen_share", "raise_hand", "lower_hand")
_GUESTS = {"g1": "S", "g2": "S"}
SHORT: dict[str, Any] = {"idle": (1000, 1000), "longest": 9000}
_GRANTED = ("unmute_audio", "resume_video", "start_screen_share", "switch_to_video", "accept_video", "end_for_all")
_IN_CALL = (*_BASIC[:3], joins("b1", token="viewer"))
_IN_SESSION = (enters("a1"), enters("b1", "viewer"))
_FORGED = Plan("a1", Do("S", "join", token="foreign"), when=("ringing", "accepted"))


def _one_by_one(place: int, device: str, triggers: tuple[str, ...]) -> list[Plan]:
    """Actions of a device, in this order, without waiting for what comes of one. `place` is that of the first."""
    plans = [does(device, trigger, "active") for trigger in triggers]
    return [replace(plan, after=(place + n - 1,) if n else ()) for n, plan in enumerate(plans)]


def _acts(begun: tuple[Plan, ...], *triggers: str) -> tuple[Plan, ...]:
    """Two have joined: one does this, the other all that he has no grants for, and what he needs none for. Not every
    action in one scenario: the timer of each that is under way may fire, which doubles the states."""
    acts = _one_by_one(len(begun), "a1", triggers)
    return (*begun, *acts, *_one_by_one(len(begun) + len(acts), "b1", ("raise_hand", *_GRANTED)), *_BOTH_END)


def _come_and_go(devices: dict[str, str]) -> tuple[Plan, ...]:
    """A session that each enters, and leaves whenever."""
    return (*(enters(device) for device in devices), *(does(d, "leave", *LIVE, again=True) for d in devices))


def _to_video(*asking: str) -> tuple[Plan, ...]:
    """A call with sound, in which some ask for video; the callee may say yes or no, and the caller think better."""
    return (
        calls(type="audio"), does("b1", "accept", "ringing"), joins("a1"), joins("b1"),
        *(does(device, "switch_to_video", "active") for device in asking),
        does("b1", "accept_video", "active"), does("b1", "decline_video", "active"),
        does("a1", "withdraw_video", "active"), does("a1", "end", "active"),
    )  # fmt: skip


STANDARD: tuple[Scenario, ...] = (
    Scenario(
        name="ringing", help="a call, and everything its two people may do", devices=TWO,
        plans=(*_BASIC, *_WAYS_OUT, *_BOTH_END), faults={"cuts": 1, "duplicates": 1},
    ),
    Scenario(
        name="cuts", help="a call whose links break three times", devices=TWO, plans=_UP, faults={"cuts": 3},
    ),
    Scenario(
        name="cuts-unanswered", help="a call that is taken back or refused, or nearly, while links break twice",
        devices=TWO, plans=(*_BASIC[:2], *_WAYS_OUT, *_BOTH_END), faults={"cuts": 2},
    ),
    Scenario(
        name="overtaking", help="a call whose messages overtake one another and come twice", devices=TWO,
        plans=(*_BASIC, *_WAYS_OUT, *_BOTH_END), faults={"duplicates": 2, "overtakings": 1},
    ),
    Scenario(
        name="crash", help="a call while a device's process dies and starts anew", devices=TWO,
        plans=(*_BASIC, *_WAYS_OUT, *_BOTH_END), faults={"crashes": 1, "cuts": 1},
    ),
    Scenario(
        name="death", help="a call while the service dies right after a commit", devices=TWO,
        plans=(*_BASIC, *_WAYS_OUT, *_BOTH_END), faults={"deaths": 2},
    ),
    Scenario(
        name="media", help="a call whose media fails, or drops and comes back", devices=TWO,
        plans=(*_BASIC, *_BOTH_END), faults={"failures": 1, "drops": 1, "cuts": 1},
    ),
    Scenario(
        name="session", help="a session without ringing, of three people who come and go", devices=THREE,
        plans=_come_and_go(THREE),
    ),
    Scenario(
        name="host", help="a session that one of two may end for all, with tokens good and bad", devices=TWO,
        plans=(
            enters("a1", "host"), enters("b1"), enters("b1", "foreign"), does("b1", "end_for_all", "active"),
            does("a1", "end_for_all", "active"), does("a1", "leave", *LIVE, again=True),
            does("b1", "end", *LIVE, again=True), enters("b1", "fresh", "accepted", "active"),
        ),
    ),
    Scenario(
        name="glare", help="both call each other, and a link breaks", devices=TWO, plans=_GLARE, faults={"cuts": 1},
    ),
    Scenario(
        name="glare-crash", help="both call each other, and a device's process starts anew", devices=TWO, plans=_GLARE,
        faults={"duplicates": 1, "crashes": 1},
    ),
    Scenario(
        name="devices", help="two devices of the callee", devices=DEVICES,
        plans=(*_ON_TWO, ends("a1"), does("b1", "end", *LIVE)), faults={"cuts": 1},
    ),
    Scenario(
        name="devices-end", help="the same, and either may hang up", devices=DEVICES,
        plans=(*_ON_TWO, ends("a1"), does("b1", "end", *LIVE), does("b2", "end", *LIVE)), faults={"duplicates": 1},
    ),
    Scenario(
        name="video", help="from audio to video, with consent, and one link breaks", devices=TWO, begun=4,
        plans=_to_video("a1"), faults={"cuts": 1},
    ),
    Scenario(
        name="video-both", help="the same, and both ask for it", devices=TWO, begun=4, plans=_to_video("a1", "b1"),
    ),
    Scenario(
        name="reconnect", help="a call in which links break again and again", devices=TWO, begun=4,
        plans=(*_BASIC, *_BOTH_END), faults={"cuts": 3, "duplicates": 2, "crashes": 1},
    ),
    Scenario(
        name="recall-elsewhere", help="a caller's device is gone, and another of his calls again",
        devices={"a1": "alice", "a2": "alice", "b1": "bob"}, begun=1,
        plans=(
            calls(), calls("a2", session="T"), does("b1", "accept", "ringing"),
            does("b1", "accept", "ringing", session="T"), ends("a1"), ends("a2", "T"), ends("b1"), ends("b1", "T"),
        ),
        faults={"cuts": 1},
    ),
    Scenario(
        name="recall", help="a caller's process dies, and calls again", devices=TWO, begun=1,
        plans=(
            calls(), calls(session="T"), does("b1", "accept", "ringing"), does("b1", "accept", "ringing", session="T"),
            joins("a1", "T"), joins("b1", "T"), ends("a1"), ends("b1", "T"),
        ),
        faults={"crashes": 1},
    ),
    Scenario(
        name="actions", help="what one does in a call with sound and camera, and what another may not", devices=TWO,
        begun=4, plans=_acts(_IN_CALL, *_SENDING),
    ),
    Scenario(
        name="actions-shown", help="the same with screen and hand", devices=TWO, begun=4,
        plans=_acts(_IN_CALL, *_SHOWING),
    ),
    Scenario(
        name="session-actions", help="what one does in a session with sound and camera, and what another may not",
        devices=TWO, begun=2, plans=_acts(_IN_SESSION, *_SENDING),
    ),
    Scenario(
        name="session-shown", help="the same with screen and hand", devices=TWO, begun=2,
        plans=_acts(_IN_SESSION, *_SHOWING),
    ),
    Scenario(
        name="session-video", help="a session becomes one with video", devices=TWO, begun=2,
        plans=(
            *(Plan(d, Do("S", "join", flow="session", token="fresh", type="audio")) for d in TWO),
            *(does(d, "switch_to_video", "active") for d in TWO),
            does("b1", "accept_video", "active"), does("b1", "decline_video", "active"),
            does("a1", "withdraw_video", "active"), *_BOTH_END,
        ),
    ),
    Scenario(
        name="for-all", help="a call that one of its people may end for all", devices=TWO,
        plans=(
            calls(), does("b1", "accept", "ringing"), joins("a1", token="host"), joins("b1"),
            does("a1", "end_for_all", "active"), *_BOTH_END,
        ),
    ),
    Scenario(
        name="alone", help="calls and sessions that last too long, or have one person in them", devices=TWO,
        plans=(
            calls(), does("b1", "accept", "ringing"),
            *(Plan(d, Do("S", "join", token="given", **SHORT), when=("accepted",)) for d in TWO),
            *_BOTH_END,
        ),
        faults={"cuts": 1},
    ),
    Scenario(
        name="session-alone", help="sessions that last too long, or have one person in them", devices=TWO,
        plans=(
            *(Plan(d, Do("S", "join", flow="session", token="fresh", **SHORT)) for d in TWO),
            *_BOTH_END,
        ),
        faults={"drops": 1, "failures": 1},
    ),
    Scenario(
        name="session-crash", help="a session whose people's processes die", devices=TWO, plans=_come_and_go(TWO),
        faults={"crashes": 1},
    ),
    Scenario(
        name="session-cuts", help="a session of two, one of whose links breaks", devices=TWO, plans=_come_and_go(TWO),
        faults={"cuts": 1},
    ),
    Scenario(
        name="session-third", help="a third comes to a session of two, and a link breaks", devices=THREE, begun=2,
        plans=_come_and_go(THREE), faults={"cuts": 1},
    ),
    Scenario(
        name="session-overtaking", help="a session whose messages overtake one another and come twice", devices=TWO,
        plans=_come_and_go(TWO), faults={"duplicates": 1, "overtakings": 1},
    ),
    Scenario(
        name="session-death", devices=TWO, begun=1,
        help="somebody comes to a session, goes and comes back while the service dies right after a commit",
        plans=(*_come_and_go(TWO), enters("b1", "fresh", "ended")), faults={"deaths": 1},
    ),
    Scenario(
        name="busy", help="a third person calls", devices=THREE,
        plans=(
            calls(), calls("c1", session="T"), does("b1", "accept", "ringing"), does("b1", "reject_busy", "ringing"),
            does("b1", "accept", "ringing", session="T"), ends("a1"), ends("b1"), ends("c1", "T"), ends("b1", "T"),
        ),
    ),
    Scenario(
        name="refused", help="what is wrong, too early, or not allowed", devices=TWO,
        plans=(
            calls(), calls(receiver="alice", session="T"), calls(session="V"), does("b1", "accept", "ringing"), _FORGED,
            *_BOTH_END, ends("a1", "V"),
        ),
    ),
    Scenario(
        name="refused-calls", help="a call to oneself, and one to nobody, beside one that is right", devices=TWO,
        plans=(
            calls(), calls(receiver="alice", session="T"), calls(receiver="zed", session="U"),
            does("b1", "accept", "ringing"), _FORGED, *_BOTH_END,
        ),
    ),
    Scenario(
        name="late", help="words that come a second time, or too late", devices=TWO,
        plans=(
            *_BASIC, does("b1", "accept", "accepted"), does("b1", "accept", "active"),
            does("b1", "accept", "ended"), does("b1", "reject", "ended"), calls(when=("ended",)),
            Plan("a1", Do("S", "join", token="given"), when=("active", "ended")), *_BOTH_END,
        ),
    ),
    Scenario(
        name="words", help="every word that ends a call, whenever", devices=TWO,
        plans=(
            *_BASIC, does("a1", "leave", *LIVE), does("b1", "leave", *LIVE), does("a1", "cancel", *LIVE),
            does("b1", "reject", *LIVE), does("b1", "reject_busy", *LIVE), *_BOTH_END,
        ),
    ),
    Scenario(
        name="session-words", help="the same in a session", devices=TWO,
        plans=(
            enters("a1", "host"), enters("b1"), does("a1", "leave", *LIVE), does("b1", "leave", *LIVE),
            enters("b1", "fresh", "accepted"), enters("b1", "fresh", "active"), enters("b1", "foreign", "", "ended"),
            does("a1", "end_for_all", "active"), *_BOTH_END,
        ),
    ),
    Scenario(
        name="guests", help="a session that a guest comes to, by one token on two devices", guests=_GUESTS,
        devices=dict.fromkeys(_GUESTS, "guest"),
        plans=(
            *(enters(d) for d in _GUESTS), enters("g2", "foreign"),
            *(does(d, "leave", *LIVE, again=True) for d in _GUESTS),
        ),
        faults={"duplicates": 1},
    ),
    Scenario(
        name="full", help="a session that takes one person", devices=TWO,
        plans=(*(enters(d) for d in TWO), *_BOTH_END), settings=ServiceSettings(session_capacity=1),
    ),
    Scenario(
        name="full-call", help="a call whose session takes one person", devices=TWO,
        plans=(*_BASIC, *_BOTH_END), settings=ServiceSettings(session_capacity=1),
    ),
    Scenario(
        name="dismissed", help="a call that the application ends, or whose callee it deletes", devices=TWO,
        plans=(*_BASIC, *_BOTH_END), asks=(End("S"), Forget("bob")), faults={"asks": 2, "cuts": 1},
    ),
    Scenario(
        name="session-dismissed", help="a session that the application ends, or one of whose people it deletes",
        devices=TWO, plans=(*(enters(d) for d in TWO), *_BOTH_END), asks=(End("S"), Forget("bob")),
        faults={"asks": 2},
    ),
    Scenario(
        name="glare-dismissed", help="both call each other, and the application ends one call or both", devices=TWO,
        plans=_GLARE, asks=(End("S"), End("T")), faults={"asks": 2},
    ),
)  # fmt: skip

UNREACHED: dict[tuple[str, str, str, str], str] = {
    ("ringing", "active", "peer_failed", "ended"): "both become active together; of three, one may fail before",
    ("ringing", "active", "idle_timeout", "ended"): "nobody is alone in a call of two; of three, two may leave",
    (
        "ringing",
        "active",
        "up",
        "active",
    ): "a device reports once; the row keeps a report that crosses harmless in flows of more",
    (
        "session",
        "idle",
        "join",
        "already_joined",
    ): "who is idle has not joined; the rows of joining are shared by both flows",
    (
        "session",
        "active",
        "up",
        "active",
    ): "a device reports once; the row keeps a report that crosses harmless in flows of more",
}
"""Rows, by flow, state, trigger, and state or refusal, that no call of that flow takes, and what they stand there for:
flows are extended."""

DEEP: tuple[Scenario, ...] = (
    Scenario(
        name="video-deep", help="from audio to video, both ask for it, and one link breaks", devices=TWO, begun=4,
        plans=_to_video("a1", "b1"), faults={"cuts": 1}, deep=True,
    ),
    Scenario(
        name="ringing-deep", help="a call, everything its two people may do, and two broken links", devices=TWO,
        plans=(*_BASIC, *_WAYS_OUT, *_BOTH_END), faults={"cuts": 2}, deep=True,
    ),
    Scenario(
        name="glare-deep", help="both call each other, a link breaks, and a process starts anew", devices=TWO,
        plans=_GLARE, faults={"cuts": 1, "crashes": 1}, deep=True,
    ),
    Scenario(
        name="glare-devices", help="both call each other, and each has two devices",
        devices={"a1": "alice", "a2": "alice", **DEVICES},
        plans=(
            calls(), calls("b1", "alice", "T"), does("a2", "accept", "ringing", session="T"),
            does("b2", "accept", "ringing"), *(joins(d, s) for d in ("a1", "a2", "b1", "b2") for s in ("S", "T")),
            ends("a1"), ends("b1", "T"),
        ),
        deep=True,
    ),
)  # fmt: skip
