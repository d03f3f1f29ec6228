"""The intercom: whatever happens it holds together; the flat is heard after its answer, and opens by the right code."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypothesis import given, settings
from intercom import FLOW, FLOWS_HERE, scene

from statecore.ports import AudioFrame
from statecore.testing import MemoryMedia, Tone, World, assert_over, run_virtual
from statecore.testing.strategies import histories


def ringing() -> World:
    """Somebody rings at the door of a flat with two devices; timers may fire, a link and media may fail."""
    world = World(
        {"door": "door", "hall": "flat", "phone": "flat"},
        flows=FLOWS_HERE, given=["code_right"], ticks=3, cuts=1, failures=1,
    ).settle()  # fmt: skip
    world.say("door", "initiate", flow=FLOW.name, receiver="flat")
    return world


@settings(deadline=None, max_examples=60)
@given(histories(ringing))
def test_whatever_they_do(world: World) -> None:
    """Whatever happens, media opens under a yes only, nobody is active alone, and in the end all is over."""
    assert_over(world.settle().end_all().pass_time(120))


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
    media = {"door": MemoryMedia(), "flat": MemoryMedia(audio=microphone)}
    lines: dict[str, bool] = {}

    def say(line: str) -> None:
        lines[line] = microphone.opened

    run_virtual(scene(media.__getitem__, say))
    assert lines["flat: sees and hears the door, and is not heard; looking"] is False
    assert lines["door: somebody answered, and is heard"] is True
    said = list(lines)
    assert said.index("flat: a wrong code is refused") < said.index("door: the lock is open; unlocked")
    assert said[-1] == "door: over, hangup"
