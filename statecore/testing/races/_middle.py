"""Races in the middle of a call: media renegotiated, muted, switched to video, ended, and messages, all at once."""

from __future__ import annotations

import itertools
import random
from typing import Any

from msgspec.structs import replace

from statecore.endpoint import Drive, Effect, Say, Signal
from statecore.model import Leg
from statecore.switchboard import Due
from statecore.testing.oracle import assert_over, assert_settled
from statecore.testing.world import Plan, World
from statecore.wire import Ask, Free, Relay

from ._parts import (
    LIVE,
    ROUGH,
    TWO,
    Race,
    Sweep,
    active,
    all_of,
    calls,
    connected,
    does,
    joins,
    only,
    races,
    told,
    world,
)

# --- media signaling


class Negotiating(World):
    """A world whose media sessions offer when they are granted the turn, answer, and give the turn back. Plans may be
    signals of the media, too."""

    def _on_plan(self, place: int) -> None:
        plan = self.plans[place]
        if isinstance(plan.given, Signal):
            self.done |= {place}
            self.give(plan.device, plan.given)
        else:
            super()._on_plan(place)

    def give(self, device: str, given: Any) -> list[Effect]:
        """Give an endpoint an input, and do what its media session does about its orders."""
        effects = super().give(device, given)
        for effect in effects:
            if isinstance(effect, Drive) and effect.what in ("granted", "receive"):
                self._negotiate(device, effect)
            elif isinstance(effect, Drive) and effect.what == "resumed":  # who knows what was lost
                for peer in self.places[device].endpoint.legs[effect.session].peers:
                    self.signal(device, effect.session, Ask(effect.session, peer.pid))
        return effects

    def _negotiate(self, device: str, effect: Drive) -> None:
        session, pid = effect.session, effect.args[0]
        kind = effect.args[1] if effect.what == "receive" else "turn"
        self._count(device, kind)
        if kind == "turn":
            self.signal(device, session, Relay(session, pid, "offer", "an offer"))
        elif kind == "offer":
            self.signal(device, session, Relay(session, pid, "answer", "an answer"))
        else:  # an answer
            self.signal(device, session, Free(session, pid))

    def _count(self, device: str, kind: str) -> None:
        self.watch.told = {**self.watch.told, (device, kind): self.watch.told.get((device, kind), 0) + 1}


def _negotiating(*plans: Plan, **budget: int) -> World:
    made = active(*plans)
    other = Negotiating.__new__(Negotiating)
    vars(other).update(vars(made))
    other.budget.update(budget)
    return other


def asks(device: str, pid: str, *, after: tuple[int, ...] = ()) -> Plan:
    """A media session wants to change something with another participant."""
    given: Any = Signal("S", Ask("S", pid))
    return Plan(device, given, when=("active",), after=after)


def _both_applied(made: World) -> None:
    """Each had its turn, and each offer was answered; nobody holds the token any more."""
    for device in TWO:
        assert made.watch.told.get((device, "answer"), 0) >= 1, f"{device} was never answered"
    assert not any(offer.holder for offer in made.record("S").offers), "somebody holds the turn"


def _one_turn_at_a_time(made: World) -> None:
    for record in made.records():
        for offer in record.offers:
            assert not offer.waiting or offer.holder, "somebody waits for nobody"


def _dead_holder() -> int:
    """Who holds the offer token never answers, or is cut off: it comes back in time, and the other has his turn."""
    count = 0
    for holder, cut in itertools.product(TWO, (False, True)):
        made = _negotiating()
        pids = {device: _leg(made, device).pid for device in TWO}
        other = "b1" if holder == "a1" else "a1"
        World.give(made, holder, Signal("S", Ask("S", pids[other])))
        made.act(("up", holder))
        if cut:
            made.cut(holder)
        World.give(made, other, Signal("S", Ask("S", pids[holder])))
        made.act(("up", other))
        made.places[holder] = replace(made.places[holder], down=())
        record = made.record("S")
        assert (record.offers[0].holder, record.offers[0].waiting) == (pids[holder], pids[other])
        made.decide(Due(("call", "S")))
        made.settle()
        assert cut or made.watch.told.get((other, "turn"), 0) == 0, "it came back before its time"
        made.pass_time(25)
        assert made.watch.told[other, "turn"] == 1
        assert made.watch.told.get(("a1", "answer"), 0) + made.watch.told.get(("b1", "answer"), 0) >= 1
        assert not any(offer.holder for offer in made.record("S").offers)
        assert_settled(made)
        assert_over(made.end_all().pass_time(100))
        count += 1
    return count


def _leg(made: World, device: str) -> Leg:
    leg = made.its_leg(device, "S")
    assert leg is not None
    return leg


# --- switching to video


def audio(*plans: Plan, **budget: Any) -> World:
    """An active call without video, and what comes then."""
    begun = (calls(type="audio"), does("b1", "accept"), joins("a1"), joins("b1"))
    return world(TWO, *begun, *plans, start=4, **budget)


def _one_outcome(made: World) -> None:
    """Both are in a call of one type, nobody is asked any more, and whoever has a camera on has agreed."""
    record = made.record("S")
    flags = {device: _leg(made, device).control.flags for device in TWO}
    wanting = [device for device, on in flags.items() if "wants_video" in on]
    assert len(wanting) <= 1, "both ask, which is agreeing"
    assert not (wanting and record.type == "video")


def _is(type_: str) -> Any:
    def check(made: World) -> None:
        _one_outcome(made)
        assert made.record("S").reason or made.record("S").type == type_

    return check


# --- data messages, in any order


def _messages() -> int:
    """Every way in which the parcels of four messages can be lost, with a cut before each loss is made good: all
    arrive, in order, once."""
    count = 0
    for lost in itertools.product((False, True), repeat=4):
        for order in ((0, 1), (1, 0)):
            _send(lost, order)
            count += 1
    return count


def _send(lost: tuple[bool, ...], order: tuple[int, int]) -> None:
    made = active()
    for number, gone in enumerate(lost):
        made.give("a1", Say("S", str(number), ticket=900 + number))
        made.act(("up", "a1"))
        if gone:
            made.places["b1"] = replace(made.places["b1"], down=())
        else:
            made.act(("down", "b1"))
    for place in order if any(lost) else ():
        made.cut(("a1", "b1")[place])
        made.settle()
    made.settle()
    assert made.watch.told.get(("b1", "message_received"), 0) == 4
    assert_settled(made)


def _permuted() -> int:
    """Every order in which the facts of five changes can arrive, some of them twice: the last one counts."""
    made = active()
    for trigger in ("mute_audio", "unmute_audio", "mute_audio", "raise_hand", "lower_hand"):
        made.user("a1", _do(trigger))
        made.act(("up", "a1"))
    facts = made.places["b1"].down
    assert len(facts) == 5
    chance, count = random.Random(5), 0
    for order in itertools.permutations(facts):
        twice = tuple(fact for each in order for fact in [each] * chance.choice((1, 1, 2)))
        other = made.copy()
        other.places["b1"] = replace(other.places["b1"], down=twice)
        other.settle()
        assert_settled(other)
        (peer,) = other.places["b1"].endpoint.legs["S"].peers
        assert peer.flags & {"audio_muted", "hand_raised"} == {"audio_muted"}
        count += 1
    return count


def _do(trigger: str) -> Any:
    return does("a1", trigger).given


RACES: list[Race | Sweep] = [
    *races(
        {
            "both want to change the media at once": (
                "one after the other, and both are applied",
                lambda **b: _negotiating(asks("a1", "2"), asks("b1", "1"), **b), [{}, {"duplicates": 1}],
                all_of(only(""), _both_applied),
            ),
            "both want to change the media, and the link breaks": (
                "nobody waits for ever",
                lambda **b: _negotiating(asks("a1", "2"), asks("b1", "1"), **b), [{"cuts": 1}, {"ticks": 1}],
                _one_turn_at_a_time,
            ),
            "one wants to change the media, the other hangs up": (
                "refused, ignored", lambda **b: _negotiating(asks("a1", "2"), does("b1", "end", *LIVE), **b), ROUGH,
                only("hangup"),
            ),
            "a change after the end, and a reply after the end": (
                "refused, ignored",
                lambda **b: active(does("a1", "mute_audio", "active"), does("b1", "end", *LIVE), **b),
                ROUGH, all_of(only("hangup"), told("b1", "call_ended_message_received", 1)),
            ),
            "both end at once": (
                "both succeed, one end each, one row",
                lambda **b: active(does("a1", "end", *LIVE), does("b1", "end", *LIVE), **b),
                [*ROUGH, {"crashes": 1}, {"restarts": 1}],
                all_of(only("hangup"), told("a1", "session_left", 1), told("b1", "session_left", 1)),
            ),
            "both ask to switch to video": (
                "that is agreeing",
                lambda **b: audio(
                    does("a1", "switch_to_video", "active"), does("b1", "switch_to_video", "active"), **b),
                ROUGH, connected(_is("video")),
            ),
            "one asks for video, the other agrees": (
                "one outcome, for both",
                lambda **b: audio(
                    does("a1", "switch_to_video", "active"), does("b1", "accept_video", "active", after=(4,)), **b),
                ROUGH, _one_outcome,
            ),
            "one asks for video, the other refuses, and hangs up": (
                "no camera",
                lambda **b: audio(
                    does("a1", "switch_to_video", "active"), does("b1", "decline_video", "active", after=(4,)),
                    does("b1", "end", *LIVE), **b),
                [{}, {"duplicates": 1}], only("hangup"),
            ),
            "one asks for video and takes it back, the other agrees": (
                "no camera without a standing yes",
                lambda **b: audio(
                    does("a1", "switch_to_video", "active"), does("a1", "withdraw_video", "active", after=(4,)),
                    does("b1", "accept_video", "active", after=(4,)), **b),
                [{}, {"cuts": 1}, {"duplicates": 1}], _one_outcome,
            ),
            "one asks for video, and the other never answers": (
                "the request lapses",
                lambda **b: audio(
                    does("a1", "switch_to_video", "active"), does("b1", "accept_video", "active", after=(4,)), **b),
                [{"ticks": 1}], _one_outcome,
            ),
        }
    ),
    Sweep("the holder of the offer token dies or never answers", "it comes back after its time", _dead_holder),
    Sweep("facts of rapid changes, in every order, repeated", "the highest number wins", _permuted),
    Sweep("data messages of which any are lost", "all arrive, in order, once", _messages),
]  # fmt: skip
