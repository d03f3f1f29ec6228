"""The simulated world and its oracle: what it counts, and that it sees a broken flow or a broken switchboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from statecore.endpoint import Do
from statecore.flow import FLOWS, RINGING, SESSION, Answer, Fire, Flow, Mark, Row, Tell, Trigger
from statecore.model import Reason
from statecore.switchboard import Due, Goodbye, next_due
from statecore.testing.explore import explore
from statecore.testing.oracle import assert_always, assert_deaf, assert_over, assert_settled
from statecore.testing.world import NOON, Plan, World
from statecore.wire import Beat, Bye, Command, TokenRequest

THREE = {"a1": "alice", "b1": "bob", "b2": "bob"}

MUTANTS = {
    "the siblings ring on after an accept": ("accept", "ringing", Fire, {"at": "siblings"}),
    "the caller does not hear of an accept": ("accept", "ringing", Fire, {"at": "peers"}),
    "the invitation stays open after an accept": ("accept", "ringing", Answer, {}),
    "the callee rings on after a cancel": ("cancel", "ringing", Fire, {}),
    "one is active alone": ("up", "accepted", Fire, {}),
    "the other stays in after an end": ("end", "active", Fire, {}),
    "an end is not told": ("end", "active", Tell, {"event": "call_ended_message_received"}),
    "the caller rings on after a reject": ("reject", "ringing", Fire, {"at": "peers"}),
}


def _plans(*triggers: tuple[str, str, str]) -> list[Plan]:
    return [Plan(device, Do("S", trigger), when=(state,)) for device, trigger, state in triggers]


def small(flow: Flow = RINGING, **budget: int) -> World:
    """A call that two devices may answer, that each side may end."""
    begin = Plan("a1", Do("S", "initiate", flow="ringing", receiver="bob"))
    plans = [begin, *_plans(("a1", "cancel", "ringing"), ("b1", "accept", "ringing"), ("b1", "reject", "ringing"))]
    plans += [Plan(d, Do("S", "join", token="given"), when=("accepted",)) for d in ("a1", "b1")]
    plans += _plans(("a1", "end", "active"))
    made = World(THREE, plans=plans, flows={**FLOWS, "ringing": flow}).settle()
    made.act(("plan", 0))
    made.settle()
    made.budget.update(budget)
    return made


def test_the_whole_flow_passes() -> None:
    """Unbroken, the same world keeps to the oracle, so that what the mutants break is theirs."""
    assert explore(small(), limit=1500, seed=3).states > 500


@pytest.mark.parametrize("name", MUTANTS)
def test_the_oracle_sees_a_broken_flow(name: str, without: Callable[..., Flow]) -> None:
    """Each way of breaking the table is found."""
    with pytest.raises((AssertionError, StopIteration)) as caught:
        explore(small(without(*MUTANTS[name])), limit=3000, seed=3)
    assert "after ((" in "".join(caught.value.__notes__)


def _bent_line(made: World) -> None:
    made.store["line", "bob"] = replace(made.store["line", "bob"], holds=("gone",))


def _bent_leg(made: World) -> None:
    record = made.record("S")
    legs = (replace(record.legs[0], seq=99), *record.legs[1:])
    made.store["call", "S"] = replace(record, legs=legs)


def _bent_heard(made: World) -> None:
    record = made.record("S")
    legs = (replace(record.legs[0], deadline=0), *record.legs[1:])
    made.store["call", "S"] = replace(record, legs=legs)
    made.decide(Goodbye("bob", "b1", "b1-1"))


@pytest.mark.parametrize(
    ("bend", "check"),
    [
        (_bent_line, assert_always),
        (_bent_leg, assert_settled),
        (_bent_heard, assert_always),
        (World.settle, assert_over),
    ],
)
def test_the_oracle_sees_a_broken_record(bend: Any, check: Any) -> None:
    """A line, a view, a deadline that does not fit, or a call that is not over is found."""
    made = small()

    def look() -> None:
        bend(made)
        check(made)

    with pytest.raises(AssertionError):
        look()


def test_equal_worlds_are_one_and_copies_are_apart() -> None:
    """What happens in a copy does not happen in the original; two ways to one world have one digest."""
    made = small()
    before = made.digest()
    one = made.after(("plan", 2)).after(("up", "b1"))
    assert made.digest() == before != one.digest()
    assert one.digest() == made.after(("plan", 2)).after(("up", "b1")).digest()
    assert [row[0] for row in one.trail[-2:]] == ["plan", "up"]


def test_everything_is_counted() -> None:
    """Two independent messages have two orders; three have six."""
    for devices, orders in ((("a", "b"), 2), (("a", "b", "c"), 6)):
        made = World({device: device for device in devices}).settle()
        for device in devices:
            made.places[device] = replace(made.places[device], up=(b'{"m":"bye"}',))
        found = explore(made)
        assert (found.interleavings, found.exhaustive) == (orders, True)


def test_what_is_too_much_is_sampled_and_repeatable() -> None:
    """Beyond the limit random walks go on, the same for the same seed."""
    one, other = (explore(small(cuts=1), limit=300, seed=5) for _ in range(2))
    assert one == other
    assert not one.exhaustive
    assert one.states > 300


def test_a_world_answers_what_devices_ask() -> None:
    """Beats are echoed, tokens given, and a device that goes for good loses its legs."""
    made = small()
    made._serve("a1", Beat())
    assert len(made.places["a1"].down) == 1
    made._serve("a1", TokenRequest("S", 1))
    assert len(made.places["a1"].down) == 2
    made._serve("b1", Command("S", 9, "join", token="nonsense"))
    made._serve("a1", Bye())
    assert made.record("S").reason == Reason.LOST
    assert assert_deaf(made)


def test_a_timer_that_is_due_is_not_premature() -> None:
    """What is due may change a call, and is no probe; a moment before, it is one, and changes nothing."""
    made = small()
    early = made.copy()
    made.now = next_due(made.record("S"))
    early.now = made.now - 1
    assert made.board.step(made.store, Due(("call", "S")), made.now).writes  # type: ignore[union-attr]
    assert not early.board.step(early.store, Due(("call", "S")), early.now).writes  # type: ignore[union-attr]
    assert assert_deaf(made) == assert_deaf(early)


OPEN = SESSION.extend("open", without=[row for row in SESSION.rows if row.state == SESSION.final])


def test_coming_back_is_no_illegal_input() -> None:
    """A session whose table says nothing of those who left lets them come back, and the probes know it."""
    made = World({"a1": "alice", "b1": "bob"}, flows={"open": OPEN}).settle()
    for device in ("a1", "b1"):
        made.say(device, "join", flow="open", token="fresh")
    made.settle(media=True)
    assert made.say("a1", "leave") == "ok"
    assert assert_deaf(made)
    assert made.say("a1", "join", flow="open", token="fresh") == ""
    assert [leg.user for leg in made.record("S").legs] == ["alice", "bob", "alice"]


KNOCK = RINGING.extend(
    "knock",
    triggers=[Trigger("knock", "user")],
    flags=["loud"],
    rows=[Row("ringing", "knock", "ringing", [Mark("loud")])],
)


def test_a_command_without_consent_agrees_to_nothing() -> None:
    """The oracle keeps no yes of a user who has given none, whatever else he says."""
    made = World({"a1": "alice", "b1": "bob"}, flows={"knock": KNOCK}).settle()
    made.say("a1", "initiate", flow="knock", receiver="bob")
    assert made.say("b1", "knock") == "ok"
    assert ("a1", "S") in made.watch.agreed
    assert ("b1", "S") not in made.watch.agreed


def test_time_passes_where_nothing_waits_for_it() -> None:
    """A world without devices has no timers, and its clock goes on."""
    assert World({}).pass_time(2.5).now == NOON + 2500


def test_what_else_must_hold_is_asked_in_every_world() -> None:
    """A check of one's own sees each world once, and what it raises tells the way there."""
    seen: list[bytes] = []
    found = explore(small(), limit=100_000, always=lambda world: seen.append(world.digest()))
    assert found.exhaustive
    assert len(seen) == len(set(seen)) == found.states

    def nobody_answers(world: World) -> None:
        assert world.state("b1", "S") != "accepted"

    with pytest.raises(AssertionError) as caught:
        explore(small(), always=nobody_answers)
    assert "('plan', 2)" in "".join(caught.value.__notes__)
