"""What is old, repeated, foreign, or out of order."""

from __future__ import annotations

import itertools

from statecore.endpoint import Do
from statecore.switchboard import Due
from statecore.testing.oracle import assert_over, assert_settled
from statecore.testing.world import Plan, World

from ._parts import (
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
    enters,
    only,
    races,
    reason,
    told,
    world,
)


def _flags(made: World) -> None:
    leg = made.its_leg("a1", "S")
    assert leg is not None
    assert {"hand_raised"} == leg.control.flags & {"hand_raised", "audio_muted"}


def _in_again(made: World) -> None:
    assert reason(made) == ""
    assert made.state("b1", "S") == "active"
    assert made.watch.outcomes[4] == "ok"
    assert made.state("a1", "S") == "active"


def _long_offline(**budget: int) -> World:
    made = world(TWO, calls())
    made.cut("b1")
    made.act(("notice", 0))
    made.act(("plan", 0))
    made.act(("up", "a1"))
    made.fire(("due", "call", "S"))
    made.budget.update(budget)
    made.trail = ()
    return made


def _wrong_clock(device: str, milliseconds: int, **budget: int) -> World:
    made = World(TWO, plans=[calls(), does("b1", "accept", *RUNG)])
    born = made.places[device]
    made.places[device] = type(born)(born.endpoint, born.born - milliseconds)
    made.settle()
    made.budget.update(budget)
    made.trail = ()
    return made


def _batch(**budget: int) -> World:
    made = world(TWO, calls(), does("a1", "cancel"))
    made.cut("b1")
    for action in (("plan", 0), ("up", "a1"), ("plan", 1), ("up", "a1")):
        made.act(action)
    made.budget.update(budget)
    made.trail = ()
    return made


def _for_all(**budget: int) -> World:
    made = world(TWO, enters("a1"), start=1)
    token = made.token("bob", "S", grants=frozenset({"audio", "end_for_all"}))
    made.plans = (*made.plans, Plan("b1", Do("S", "join", flow="session", token=token)))
    made.act(("plan", 1))
    made.settle(media=True)
    more = (does("b1", "end_for_all", "active"), does("a1", "leave", *LIVE), enters("a1", after=(2, 3)))
    made.plans = (*made.plans, *more)
    made.budget.update(budget)
    made.trail = ()
    return made


def _at_the_limit() -> int:
    """A device comes to a ring, or its user answers, some milliseconds around the end of the ring's lifetime, before
    the service's timer fires or after it."""
    count = 0
    for early, timer_first, answers in itertools.product((-1000, -1, 0, 1, 1000), (False, True), (False, True)):
        made = world(TWO, calls(), does("b1", "accept"))
        made.cut("b1")
        made.act(("notice", 0))
        made.act(("plan", 0))
        made.act(("up", "a1"))
        if answers:
            made.settle()
            assert made.state("b1", "S") == "ringing"
        made.now = made.record("S").ring_until + early
        over = timer_first and early >= 0
        if timer_first:
            made.decide(Due(("call", "S")))
        made.settle()
        if answers:
            made.act(("plan", 1))
            made.settle()
        assert reason(made) == ("unanswered" if over else ""), f"{early} ms after its lifetime"
        assert made.watch.told.get(("b1", "incoming_call_received"), 0) == (answers or not over)
        assert made.state("b1", "S") == ("" if over else "accepted" if answers else "ringing")
        assert_settled(made)
        assert_over(made.end_all().pass_time(100))
        count += 1
    return count


RACES: list[Race | Sweep] = [
    Sweep("a ring at the very limit of its lifetime", "good until its timer has fired, and never after", _at_the_limit),
    *races({
    "an offer older than its lifetime": (
        "no ring, a missed call", _long_offline, [{}, {"duplicates": 1}],
        all_of(only("unanswered"), told("b1", "incoming_call_received", 0)),
    ),
    **{
        f"the {who}'s clock is ahead by {much}": (
            "it rings and is answered all the same",
            lambda device=device, milliseconds=milliseconds, **b: _wrong_clock(device, milliseconds, **b),
            [{}, {"cuts": 1}], connected(all_of(only(""), told("b1", "incoming_call_received", 1))),
        )
        for who, device in (("caller", "a1"), ("callee", "b1"))  # which is the other's behind
        for much, milliseconds in (("five minutes", 300_000), ("a day", 86_400_000))
    },
    "offer and end in one catch-up batch": (
        "never rings", _batch, [{}, {"duplicates": 1}],
        all_of(only("cancelled"), told("b1", "incoming_call_received", 0)),
    ),
    "many sequenced facts": (
        "in order, each once, a gap heals",
        lambda **b: active(
            does("a1", "mute_audio", "active"), does("a1", "unmute_audio", "active", after=(4,)),
            does("a1", "raise_hand", "active", after=(5,)), **b),
        [{}, {"duplicates": 2}, {"cuts": 1}], _flags,
    ),
    "an end without a call, or for an old one": (
        "ends nothing else",
        lambda **b: active(does("b1", "end", session="X"), does("a1", "end", session="OLD"), **b), ROUGH, only(""),
    ),
    "a decline after the time-out, by a stranger, for another call": (
        "ignored",
        lambda **b: world(
            {**TWO, "c1": "carol"}, calls(), does("c1", "reject"), does("b1", "reject", *RUNG),
            does("b1", "reject", session="T"), start=1, **b),
        [{}, {"ticks": 1}, {"cuts": 1}], only("rejected", "unanswered"),
    ),
    "a restart with persisted calls, ringing": (
        "live ones resume, dead ones are lost, old timers do not fire",
        lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), start=1, **b),
        [{"restarts": 1}, {"restarts": 1, "ticks": 1}, {"restarts": 1, "crashes": 1}], None,
    ),
    "a restart with persisted calls, active": (
        "they resume", lambda **b: active(does("a1", "end", "active"), **b), [{"restarts": 1}], only("hangup"),
    ),
    "a session without ringing: join, leave, join again": (
        "views of the old leg are ignored",
        lambda **b: world(
            {"a1": "alice", "b1": "bob"}, enters("b1"), enters("a1"), does("a1", "leave", *LIVE, after=(1,)),
            enters("a1", after=(2,)), start=1, **b),
        [{}, {"cuts": 1}, {"duplicates": 1}], connected(_in_again),
    ),
    "two devices of one user in a session": (
        "two legs", lambda **b: world(
            {"a1": "alice", "a2": "alice"}, enters("a1"), enters("a2"), does("a1", "leave", "active"), **b),
        [{}, {"crashes": 1}], None,
    ),
    "somebody ends the session for all": (
        "everybody is out, nobody comes back",
        _for_all, [{}, {"cuts": 1}, {"duplicates": 1}], only("kicked", "hangup"),
    ),
})]  # fmt: skip
