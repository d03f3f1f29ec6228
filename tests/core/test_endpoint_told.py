"""What listeners are told of a leg and of others, held to plain models; and what is said by what is left out."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from on_a_device import BOB, NOW, told

from statecore import endpoint as public
from statecore.endpoint import Endpoint, EndpointMachine, LocalLeg, Received
from statecore.endpoint._types import Lane, Mail
from statecore.flow import FLOWS, Custom, Row, Tell
from statecore.model import NO_FLAGS, Reason
from statecore.wire import View


def hear(leg: LocalLeg, view: View) -> tuple[LocalLeg | None, list[tuple[Any, ...]]]:
    """What becomes of this leg by this view, and everything that is done."""
    device = Endpoint("alice", "a1", "a1-1", {"S": leg}, online=True, confirmed=NOW)
    after, effects = EndpointMachine().step(device, Received(view), NOW)
    return after.legs.get("S"), told(effects)


# --- marks ------------------------------------------------------------------------------------------------------------

WORDS = {
    "audio_muted": ("audio_muted", "audio_unmuted", "user_muted", "user_unmuted"),
    "camera": ("", "", "", ""),
    "connected": ("", "", "", ""),
    "hand_raised": ("hand_raised", "hand_lowered", "hand_raised", "hand_lowered"),
    "presenting": ("screen_share_started", "screen_share_stopped") * 2,
    "video_paused": ("video_paused", "video_resumed", "user_video_paused", "user_video_resumed"),
    "wants_video": (
        "", "call_switch_to_video_declined", "call_switch_to_video_requested", "call_switch_to_video_declined",
    ),
}  # fmt: skip
"""What listeners hear of a mark of oneself, on and off, and of another."""
OWN = ("own_mark", "own_sign")
"""Of flows of the application's own."""


def words(flags: frozenset[str], then: frozenset[str], others: bool, switched: bool) -> list[tuple[str, Any]]:
    """A plain model of what is told, and with which value: by the names of the marks; those that are not ours last."""
    changed = sorted(flags ^ then)
    known = [WORDS[flag][2 * others + (flag not in then)] for flag in changed if flag in WORDS]
    if switched and "wants_video" in changed:
        known.pop([flag for flag in changed if flag in WORDS].index("wants_video"))
    return [
        *((event, None) for event in known if event),
        *(("flag_changed", (f, f in then)) for f in changed if f in OWN),
    ]


SETS = [frozenset(flags) for flags in ((), WORDS, OWN, OWN[:1], ("audio_muted", "own_mark"), ("wants_video", "camera"))]


@pytest.mark.parametrize("switched", [False, True])
@pytest.mark.parametrize(("flags", "then"), list(product(SETS, SETS)))
def test_marks_are_told_each_by_its_word(flags: frozenset[str], then: frozenset[str], switched: bool) -> None:
    """Of oneself and of another, on and off, in one order, once; what only the core needs is nobody's concern, and
    after a switch to video a request for it is over without a word."""
    joined = frozenset({"joined"})
    leg = LocalLeg(
        "S", "session", "active", "member", "1", "audio", "alice", flags=flags | joined, peers=(BOB,), media="none"
    )  # fmt: skip
    view = View("S", 5, "1", "active", "alice", "session", "member", "video" if switched else "audio")
    now, did = hear(leg, replace(view, flags=then | joined, peers=(BOB,)))
    switch = ["call_switched_to_video"] if switched else []
    mine = words(flags, then, others=False, switched=switched)
    assert did == [("Emit", event, now, None, value) for event, value in (*((each, None) for each in switch), *mine)]
    before, after = replace(BOB, flags=flags), replace(BOB, flags=then)
    now, did = hear(replace(leg, flags=joined, peers=(before,)), replace(view, flags=joined, peers=(after,)))
    theirs = words(flags, then, others=True, switched=switched)
    of_all = [("Emit", event, now, None, None) for event in switch]
    assert did == [*of_all, *(("Emit", event, now, after, value) for event, value in theirs)]


# --- ways -------------------------------------------------------------------------------------------------------------


def ways(flow: str, caller: bool, start: tuple[str, bool], goal: tuple[str, bool], reason: Any) -> list[list[Row]]:
    """A plain model: all shortest ways along the table, by trying every row; none if there is no way."""
    final, paths = FLOWS[flow].final, [(start, [])]
    for _ in range(6):
        here: list[list[Row]] = [rows for at, rows in paths if at == goal or at[0] == goal[0] == final]
        if here:
            return here
        paths = [
            (_moved(row, joined), [*rows, row])
            for (state, joined), rows in paths
            for row in FLOWS[flow].rows
            if row.state == state and row.refuse is None and (row.to != final or row.reason == reason)
            and not {name for name, holds in (("caller", caller), ("joined", joined)) if not holds} & {*row.when}
            and not {name for name, holds in (("caller", caller), ("joined", joined)) if holds} & {*row.unless}
            and _moved(row, joined) != (state, joined)
        ]  # fmt: skip
    return []


def _moved(row: Row, joined: bool) -> tuple[str, bool]:
    return row.to, "joined" not in row.clears and ("joined" in row.sets or joined)


def heard(rows: list[Row], leg: LocalLeg, quiet: bool) -> list[tuple[Any, ...]]:
    """What is told on this way, and when media closes: by the leg's state and the reason then."""
    done: list[tuple[Any, ...]] = []
    media, state, reason = leg.media, leg.state, None
    for row in rows:
        state, reason = row.to, row.reason if row.to != state else reason
        if media == "open" and (row.closes or row.to == "ended"):
            media = "closed"
            done.append(("CloseMedia",))
        tells = [effect.event for effect in row.effects if isinstance(effect, Tell)]
        done += [(event, state, reason, media) for event in tells if not (quiet and row.to == "ringing")]
        assert not any(isinstance(effect, Custom) for effect in row.effects)
    return done


STATES = ("idle", "ringing", "accepted", "active", "ended")


@pytest.mark.parametrize("via", ["", "X"])
@pytest.mark.parametrize(("state", "to"), [(one, other) for one, other in product(STATES, STATES) if one != "ended"])
@pytest.mark.parametrize("role", ["caller", "callee", "member"])
def test_a_leg_goes_the_shortest_way_and_each_stage_is_told(role: Any, state: str, to: str, via: str) -> None:
    """From wherever it is to wherever it is told, for whatever reason, or stays where there is no way: along the rows
    of the table that the device cannot rule out, with the words of each."""
    flow = "session" if role == "member" else "ringing"
    if {state, to} - set(FLOWS[flow].states):
        return
    for joined, then, reason in product((False, True), (False, True), Reason if to == "ended" else [None]):
        flags, marks = (frozenset({"joined"}) if each else NO_FLAGS for each in (joined, then))
        leg = LocalLeg(
            "S", flow, state, role, "1", "video", "alice", "bob", flags=flags, media="open" if joined else "none"
        )  # fmt: skip
        view = View("S", 5, "1", to, "alice", flow, role, receiver="bob", reason=reason, flags=marks, via=via)
        now, did = hear(leg, view)
        found = ways(flow, role == "caller", (state, joined), (to, then), reason)
        if not found:
            assert (now, did) == (leg, [])
            continue
        if to != "ended":
            assert now is not None
            assert (now.state, now.flags, now.seq) == (to, marks, 5)
        else:
            assert now is None
        on_the_way = [
            ("CloseMedia",) if kind == "CloseMedia" else (rest[0], rest[1].state, rest[1].reason, rest[1].media)
            for kind, *rest in did
            if kind == "CloseMedia" or (kind == "Emit" and rest[0] != "user_list_updated")
        ]
        assert on_the_way in [heard(rows, leg, bool(via)) for rows in found]


# --- what is left out -------------------------------------------------------------------------------------------------

EMPTY = ("", 0, None, False, (), frozenset(), {})
NOT_EMPTY = {
    "LocalLeg.role": "callee", "LocalLeg.type": "video", "LocalLeg.at": (0, 0, 0, 0, 0), "LocalLeg.media": "none",
    "LocalLeg.idle": (0, 0), "Do.type": "video", "Do.idle": (0, 0), "Endpoint.heartbeat": 15_000,
    "Endpoint.lease": 45_000, "Endpoint.rate": 200, "Lane.asks": "no",
}  # fmt: skip
"""A video call that rings here; and how often to beat, how long to believe and how fast to speak, until it is said."""


PUBLIC = [
    getattr(public, name) for name in public.__all__ if name not in ("EndpointMachine", "Effect", "Input", "refusal")
]


@pytest.mark.parametrize("kind", [*PUBLIC, Lane, Mail])
def test_what_is_left_out_says_nothing(kind: type[msgspec.Struct]) -> None:
    """Every field of an input, an effect or a leg that has a default is empty by it, but for a few, which are named."""
    for field in msgspec.structs.fields(kind):
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        if default is msgspec.NODEFAULT:
            continue
        name, of = f"{kind.__name__}.{field.name}", str(field.type)
        if name in NOT_EMPTY:
            assert repr(default) == repr(NOT_EMPTY[name]), name
        else:
            assert any(default == empty and type(default) is type(empty) for empty in EMPTY), name
            assert (default is None) == ("None" in of or of == "typing.Any"), name
            assert not isinstance(default, str) or "str" in of, name
    assert Endpoint("alice", "a1", "a1-1").tomb("S") is None, "and a new device remembers nothing"


def test_a_leg_shows_its_token_to_nobody() -> None:
    """What is written of it, for a log or an error, names the call, not what opens it."""
    shown = repr(LocalLeg("S", "session", "active", token="secret"))
    assert "'S'" in shown
    assert "secret" not in shown
