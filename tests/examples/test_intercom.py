"""The intercom: whatever happens it holds together; the flat is heard after its answer, and opens by the right code."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from intercom import FLOW, FLOWS_HERE, scene

from statecore.endpoint import Do
from statecore.ports import AudioFrame
from statecore.testing import FakeMedia, Tone, World, assert_over, assert_settled, run_virtual
from statecore.testing.strategies import histories

FAR = (
    ("door", "initiate"), ("door", "join"), ("hall", "look"), ("phone", "look"), ("hall", "accept"), ("hall", "dtmf"),
)  # fmt: skip


def begun(steps: int) -> World:
    """A world in which somebody rings at a flat with two devices, and has come so far; much may fail."""
    who = {"door": "door", "hall": "flat", "phone": "flat"}
    budget = {"ticks": 3, "cuts": 1, "failures": 1, "crashes": 1}
    world = World(who, flows=FLOWS_HERE, given=["code_right"], **budget).settle()
    return world.said(*FAR[:steps], flow=FLOW.name, receiver="flat", token="fresh")


@pytest.mark.no_cover
@pytest.mark.parametrize("steps", [1, 2, 4, 5, 6])
def test_whatever_they_do(steps: int) -> None:
    """Whatever happens, media opens under a yes only, nobody is active alone, and in the end all is over."""

    @settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
    @given(histories(lambda: begun(steps)))
    def run(world: World) -> None:
        assert_over(world.settle().end_all().pass_time(120))

    run()


def test_who_looked_and_was_given_up_rings_anew() -> None:
    """A device whose link broke while it looked ends that, and closes what it saw, when it comes back to a call that
    rings yet: it took itself to look on, in a leg that the service had ended."""
    world = begun(3)
    world.cut("hall")
    world.fire(("due", "line", "flat"))
    assert world.state("hall", "S") == "looking"
    world.settle()
    assert_settled(world)
    assert (world.state("hall", "S"), world.watch.told["hall", "incoming_call_received"]) == ("ringing", 2)


def test_a_look_that_was_given_up_opens_nothing_on_the_ring_that_comes_after_it() -> None:
    """A device that was lost, and rings anew, does not know it yet when its user looks, and gives that up.
    What was said of the lost leg opens no media on the new one: the door rings on, until somebody looks again."""
    world = begun(2)
    world.cut("hall")
    world.fire(("due", "line", "flat"))
    for step in ("mend", "up", "down"):
        world.act((step, "hall"))
    ticket = world.user("hall", Do("S", "look", token="fresh"))
    while world.state("hall", "S") != "ended":
        world.fire(("tick", "hall"))
    assert world.watch.outcomes[ticket] == "command_timeout"
    world.settle()
    assert_settled(world)
    there = world.its_leg("hall", "S")
    assert there is not None
    assert (world.state("hall", "S"), there.control.state) == ("ringing", "ringing")
    assert world.said(("hall", "look"), token="fresh").state("hall", "S") == "looking"


class Microphone:
    """Says whether it was ever opened."""

    opened = False

    async def __aiter__(self) -> AsyncIterator[AudioFrame]:
        self.opened = True
        async for frame in Tone():
            yield frame


def test_the_flat_is_not_heard_before_it_answers() -> None:
    """Its microphone is closed while it looks, and the door opens by the right code only."""
    microphone = Microphone()
    media = {"door": FakeMedia(), "flat": FakeMedia(audio=microphone)}
    lines: dict[str, bool] = {}

    def say(line: str) -> None:
        lines[line] = microphone.opened

    run_virtual(scene(media.__getitem__, say))
    assert lines["flat: sees and hears the door, and is not heard; looking"] is False
    assert lines["door: somebody answered, and is heard"] is True
    said = list(lines)
    assert said.index("flat: a wrong code is refused") < said.index("door: the lock is open; unlocked")
    assert said[-1] == "door: over, hangup"
