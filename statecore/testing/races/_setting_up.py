"""Races of setting up, cancelling and accepting."""

from __future__ import annotations

from statecore.model import Reason
from statecore.testing.world import World

from ._parts import (
    GONE,
    ROUGH,
    RUNG,
    THREE,
    TIMED,
    TWO,
    WILD,
    Race,
    Sweep,
    active,
    all_of,
    calls,
    connected,
    does,
    joins,
    on_wire_once,
    only,
    opens_nothing,
    outcome,
    races,
    reason,
    told,
    world,
)


def _answered_or_rejected(made: World) -> None:
    """What came first at the switchboard holds for both screens."""
    if made.watch.outcomes[2] == "ok":
        assert reason(made) == ""
    else:
        assert reason(made) == "rejected"


def _nobody_rings(made: World) -> None:
    assert not made.records()
    assert not any(event == "incoming_call_received" for _, event in made.watch.told)
    for ticket in (1, 2):
        assert made.watch.outcomes.get(ticket, "calling_self") in ("calling_self", "not_connected", "command_timeout")


def _one_in(made: World) -> None:
    states = {device: made.its_leg(device, "S") for device in ("b1", "b2")}
    live = [device for device, leg in states.items() if leg is not None and not leg.end.at]
    assert len(live) == 1
    other = states["b2" if live == ["b1"] else "b1"]
    assert other is None or other.control.reason in (Reason.ANSWERED_ELSEWHERE, "")


RACES: list[Race | Sweep] = [*races({
    "ringing only oneself": (
        "an error, and no call; the other screen does not ring", lambda **b: world(
            {"a1": "alice", "a2": "alice"}, calls(receiver="alice"), calls("a2", "T", receiver="alice"), **b),
        [{}, {"cuts": 2}, {"duplicates": 2}, {"ticks": 1}], _nobody_rings,
    ),
    "the same offer arrives again after the accept": (
        "told once", lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), **b),
        [{"duplicates": 3}, {"cuts": 1, "duplicates": 1}], connected(told("b1", "incoming_call_received", 1)),
    ),
    "cancel and accept cross": (
        "one wins for everybody",
        lambda **b: world(TWO, calls(), does("a1", "cancel", *RUNG), does("b1", "accept", *RUNG), start=1, **b),
        WILD, None,
    ),
    "cancel first: the accept raises gone, sends nothing, opens nothing": (
        "gone",
        lambda **b: world(TWO, calls(), does("a1", "cancel"), does("b1", "accept"), start=2, **b),
        ROUGH, all_of(outcome(3, "call_gone"), only("cancelled"), opens_nothing("b1")),
    ),
    "the caller ends while it rings, crossing the accept": (
        "both end once",
        lambda **b: world(
            TWO, calls(), does("a1", "end"), does("b1", "accept", *RUNG), joins("b1"), start=1, **b),
        TIMED, only("cancelled", "hangup", "lost", "failed_media", "unanswered"),
    ),
    "the caller hangs up before he knows that it rings": (
        "the intent is kept, nothing is resurrected",
        lambda **b: world(TWO, calls(), does("a1", "end", "idle", "ringing", after=(0,)), **b), WILD,
        lambda w: None if ("call", "S") not in w.store else only("cancelled", "lost", "unanswered")(w),
    ),
    "cancel is heard but no last word comes": (
        "bounded", lambda **b: world(TWO, calls(), does("a1", "cancel", *RUNG), start=1, **b),
        [{"cuts": 2}, {"cuts": 1, "ticks": 2}], None,
    ),
    "ringing arrives after the cancel": (
        "ignored", lambda **b: world(TWO, calls(), does("a1", "cancel", "idle", after=(0,)), **b),
        ROUGH, told("a1", "call_ended_message_received", 0, 1),
    ),
    "cancel is never busy, busy never rejected": (
        "its own reason",
        lambda **b: world(
            {**TWO, "c1": "carol"}, calls(), does("a1", "cancel", *RUNG), does("b1", "reject_busy", *RUNG),
            calls("c1", "T"), start=1, **b),
        ROUGH, only("cancelled", "busy"),
    ),
    "two accepts on one device": (
        "one on the wire, one result",
        lambda **b: world(
            TWO, calls(), does("b1", "accept", "ringing", "accepted"), does("b1", "accept", "ringing", "accepted"),
            start=1, **b),
        ROUGH, all_of(only(""), outcome(2, "ok"), outcome(3, "ok"), on_wire_once("accept", "b1")),
    ),
    "two devices accept": (
        "the first is in, the other ends elsewhere",
        lambda **b: world(THREE, calls(), does("b1", "accept", *RUNG), does("b2", "accept", *RUNG), start=1, **b),
        [{}, {"duplicates": 1}, {"cuts": 1}], all_of(
            only(""), outcome(2, "ok", "answered_elsewhere"), outcome(3, "ok", "answered_elsewhere"),
            _one_in),
    ),
    "a second screen declines after the first answered": (
        "the call survives",
        lambda **b: world(THREE, calls(), does("b1", "accept"), does("b2", "reject", *RUNG), start=1, **b),
        [{}, {"cuts": 1}, {"duplicates": 1}], _answered_or_rejected,
    ),
    "one device rejects, the other stops ringing": (
        "both end",
        lambda **b: world(THREE, calls(), does("b1", "reject", *RUNG), does("b2", "accept", *RUNG), start=1, **b),
        [{}, {"duplicates": 1}, {"cuts": 1}], only("", "rejected", "hangup"),
    ),
    "ring timer and accept in one tick": (
        "one winner",
        lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), start=1, **b),
        [{"ticks": 1}, {"ticks": 2, "duplicates": 1}, {"ticks": 1, "cuts": 1}], None,
    ),
    "ring timer and connect timer differ": (
        "each fires its own end",
        lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), joins("a1"), start=1, **b),
        [{"ticks": 2}], only("", "unanswered", "failed_media", "lost"),
    ),
    "end twice": (
        "one end", lambda **b: active(does("a1", "end"), does("a1", "end"), **b), WILD,
        all_of(only("hangup", "lost"), told("a1", "session_left", 0, 1), outcome(5, "ok", "gone", *GONE)),
    ),
    "answering a caller who has left": (
        "ended, never connecting",
        lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), start=1, **b),
        [{"crashes": 1}, {"crashes": 1, "cuts": 1}], None,
    ),
    "media cannot start": (
        "failed, the peer told, what was opened closed",
        lambda **b: world(TWO, calls(), does("b1", "accept"), joins("a1"), joins("b1"), start=2, **b),
        [{"failures": 1}, {"failures": 2}, {"ticks": 1}, {"failures": 1, "cuts": 1}], None,
    ),
    "media connects or fails after the end": (
        "ignored", lambda **b: world(
            TWO, calls(), does("b1", "accept"), joins("a1"), joins("b1"), does("a1", "end"), start=4, **b),
        [{"failures": 1}, {"failures": 2, "cuts": 1}], None,
    ),
})]  # fmt: skip
