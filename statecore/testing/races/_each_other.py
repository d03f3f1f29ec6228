"""Races of two who call each other, of busy lines, and of calling again."""

from __future__ import annotations

from typing import Any

from statecore.endpoint import Drive, Effect, Received
from statecore.settings import ServiceSettings
from statecore.testing.world import Plan, World
from statecore.wire import Relay, Relayed

from ._parts import (
    CALM,
    LIVE,
    ROUGH,
    RUNG,
    TWO,
    Race,
    Sweep,
    active,
    all_of,
    calls,
    connected,
    does,
    joins,
    one_call,
    only,
    races,
    reason,
    world,
)


def both(*more: Plan, devices: dict[str, str] = TWO, a: str = "video", b: str = "video", **budget: Any) -> World:
    """Both call each other, and what else they do."""
    first = (calls("a1", "A", "bob", type=a), calls("b1", "B", "alice", type=b))
    return world(devices, *first, *more, **budget)


class _Negotiating(World):
    """Media sends a candidate to whomever it is to exchange with, as early as can be; and what comes to a leg that
    lives finds its media open. So a device need not keep what comes before it knows of a merge: nothing does."""

    def give(self, device: str, given: Any) -> list[Effect]:
        """Look on, and send."""
        effects = super().give(device, given)
        message = given.message if isinstance(given, Received) else None
        if isinstance(message, Relayed) and message.kind == "candidate":
            leg = self.leg(device, message.session)
            over = self.places[device].endpoint.tomb(message.session) is not None if leg is None else leg.reason
            assert over or ("receive", message.session) in [
                (e.what, e.session) for e in effects if isinstance(e, Drive)
            ]
        for effect in effects:
            if isinstance(effect, Drive) and effect.what == "peers":
                for peer in effect.args[0]:
                    self.signal(device, effect.session, Relay(effect.session, peer.pid, "candidate", ""))
        return effects


def _video_only_if_both(made: World) -> None:
    one_call(made)
    assert {record.type for record in made.records() if not record.end.at} == {"audio"}


def _no_ring(made: World) -> None:
    """Whoever placed a call that was merged before he saw the other's ring was shown none."""
    one_call(made)
    merged = next(record for record in made.records() if record.merged_into)
    assert made.watch.told.get((merged.legs[0].device, "call_ended_message_received"), 0) == 0


def _all_over_or_ring(made: World) -> None:
    """B has ended his part: either the merged call is over, or his own never was and the other's rings him."""
    for record in made.records():
        if not record.end.at:
            mine = [leg for leg in record.legs if leg.user == "bob" and not leg.end.at]
            assert all(leg.control.state == "ringing" and not leg.via for leg in mine)


def _again(made: World) -> World:
    made.budget["crashes"] += 1
    made.act(("crash", "a1"))
    made.act(("mend", "a1"))
    made.settle()
    made.trail = ()
    return made


def _elsewhere(**budget: int) -> World:
    made = active(calls("a2", "N"), devices={**TWO, "a2": "alice"})
    made.cut("a1")
    made.act(("notice", 0))
    made.budget.update(budget)
    made.trail = ()
    return made


def _recalled(made: World) -> None:
    if made.watch.outcomes[5] == "already_in_call":
        assert reason(made) == ""
    else:
        all_of(only("lost"), only("", session="N"))(made)


def _rings_or_busy(made: World) -> None:
    assert getattr(made.store["call", "N"], "reason", "") in ("", "busy", "rejected", "cancelled", "lost")


def _busy_then_free(made: World) -> None:
    assert made.record("T").reason in ("busy", "")
    if ("call", "U") in made.store and made.record("T").reason == "busy":
        assert made.record("U").reason in ("", "busy", "lost")


RACES: list[Race | Sweep] = [*races({
    "both call each other": ("one call", both, [{}, {"duplicates": 2}, {"cuts": 1}], connected(one_call)),
    "both call, and ask for different things": (
        "video only if both asked", lambda **b: both(b="audio", **b), ROUGH, connected(_video_only_if_both),
    ),
    "no ring is shown": ("quiet", both, CALM, _no_ring),
    "both call, each has a second device": (
        "one call", lambda **b: both(devices={"a1": "alice", "b1": "bob", "b2": "bob"}, **b), CALM, one_call,
    ),
    "both call, one goes away for good": ("settles", both, [{"crashes": 1}, {"restarts": 1}, {"ticks": 1}], None),
    "he hangs up under the id that was merged away": (
        "the merged call ends, once",
        lambda **b: both(does("b1", "end", session="B", after=(1,)), **b), [{}, {"cuts": 1}, {"duplicates": 1}],
        _all_over_or_ring,
    ),
    "he cancels his own call while the other's rings": (
        "his yes is taken back: nothing opens",
        lambda **b: both(does("b1", "cancel", session="B", after=(1,)), joins("b1", "A"), joins("a1", "A"), **b),
        [{}, {"cuts": 1}], None,
    ),
    "he rejects the ring after he called himself": (
        "his last word counts",
        lambda **b: both(does("b1", "reject", *RUNG, session="A", after=(1,)), **b),
        [{}, {"cuts": 1}, {"duplicates": 1}], None,
    ),
    "he accepts the ring after he called himself": (
        "one call", lambda **b: both(does("b1", "accept", *RUNG, session="A", after=(1,)), **b),
        [{}, {"duplicates": 1}], one_call,
    ),
    "both join at once after the merge": (
        "both are in",
        lambda **b: both(joins("a1", "A"), joins("b1", "B"), joins("a1", "B"), joins("b1", "A"), **b), CALM, None,
    ),
    "media of the merged call negotiates as early as it can": (
        "nothing comes before its leg is joined",
        lambda **b: both(joins("a1", "A"), joins("b1", "A"), kind=_Negotiating, **b), ROUGH, None,
    ),
    "the caller's process died and he calls again": (
        "the old call ends lost, the new one rings",
        lambda **b: _again(active(calls("a1", "N", after=(3,)), **b)), ROUGH,
        connected(all_of(only("lost"), only("", session="N"))),
    ),
    "he calls again from another device while the old one is gone": (
        "recall, unless the old device is back first", _elsewhere, ROUGH,
        connected(_recalled),
    ),
    "the end of the old call and the offer of a new one cross": (
        "not busy once the end was first; the late end does not touch the new call",
        lambda **b: active(does("a1", "end"), calls("a1", "N", after=(4,)), does("b1", "end", *LIVE), **b), ROUGH,
        all_of(only("hangup"), _rings_or_busy),
    ),
    "a third one calls while it rings": (
        "busy; hanging up frees the line",
        lambda **b: world(
            {**TWO, "c1": "carol"}, calls(), calls("c1", "T", after=(0,)), does("a1", "cancel", *RUNG),
            calls("c1", "U", after=(1, 2)), start=1, **b),
        [{}, {"cuts": 1}], connected(_busy_then_free),
    ),
    "call waiting: a line that takes two": (
        "both ring",
        lambda **b: world(
            {**TWO, "c1": "carol"}, calls(), calls("c1", "T"), does("b1", "accept", *RUNG),
            does("b1", "reject", *RUNG, session="T"), settings=ServiceSettings(line_capacity=2), **b),
        CALM, all_of(only(""), only("rejected", session="T")),
    ),
})]  # fmt: skip
