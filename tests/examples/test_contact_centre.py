"""The contact centre: whatever happens, who is held is held by somebody, and nobody is left in a call."""

from __future__ import annotations

import asyncio

import pytest
from contact_centre import FLOW, FLOWS_HERE, SETTINGS, cared_for, scene
from hypothesis import HealthCheck, given, settings

from statecore import Session
from statecore.testing import CallPair, FakeMedia, World, assert_always, assert_over, run_virtual
from statecore.testing.strategies import histories

GIVEN = ("accept", "join", "reject", "hold", "resume", "transfer", "hang_up", "done", "end")
FAR = (
    ("phone", "initiate"), ("anna", "accept"), ("anna", "join"), ("phone", "join"), ("anna", "hold"),
    ("anna", "transfer"), ("dora", "accept"), ("dora", "join"),
)  # fmt: skip


def begun(steps: int) -> World:
    """A world in which a customer calls a queue of two agents, and is so far on the way to the expert."""
    who = {"phone": "carol", "anna": "support", "ben": "support", "dora": "dora"}
    more = {"flow": FLOW.name, "receiver": "support", "token": "fresh", "data": {"user": "dora"}}
    world = World(who, flows=FLOWS_HERE, settings=SETTINGS, ticks=3, cuts=1, failures=1, crashes=1).settle()
    return world.said(*FAR[:steps], **more)


def looked_after(world: World) -> None:
    """The example's own rule, and what holds of every flow."""
    assert_always(world)
    cared_for(world)


@pytest.mark.parametrize("steps", [1, 4, 6, 8])
def test_whatever_they_do(steps: int) -> None:
    """However far it has come, whatever happens then, the rules above hold; and in the end all is over."""

    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(histories(lambda: begun(steps), triggers=GIVEN, data={"transfer": {"user": "dora"}}, always=looked_after))
    def run(world: World) -> None:
        assert_over(world.settle().end_all().pass_time(120))

    run()


async def sent(session: Session) -> int:
    """How many pieces of sound leave in a second."""
    before = await session.stats()
    await asyncio.sleep(1)
    after = await session.stats()
    return sum(s.packets for s in after if s.direction == "out") - sum(
        s.packets for s in before if s.direction == "out"
    )


def test_who_is_held_is_not_heard() -> None:
    """Nothing of a held customer's sound leaves the device, nor of the agent's; resumed, both are heard again."""

    async def main() -> list[int]:
        told: asyncio.Queue[bool] = asyncio.Queue()
        async with CallPair(flows=FLOWS_HERE, service={"settings": SETTINGS}) as pair:
            hers, his = await pair.talk(flow=FLOW.name)
            hers.on("flag_changed", lambda _, flag, on: told.put_nowait(on) if flag == "held" else None)
            counts = [await sent(hers), await sent(his)]
            for trigger in ("hold", "resume"):
                await his.trigger(trigger)
                await told.get()
                counts += [await sent(hers), await sent(his)]
            return counts

    *talking, held, holding, again, too = run_virtual(main())
    assert (held, holding) == (0, 0)
    assert min(*talking, again, too) > 10


def test_the_scene() -> None:
    """In the example the customer waits, is held, is handed over to the expert, and hears of nothing else."""
    lines: list[str] = []
    run_virtual(scene(lambda _: FakeMedia(), lines.append))
    assert [line for line in lines if line.startswith("carol")] == [
        "carol: calls", "carol: is held", "carol: meets dora", "carol: is heard again", "carol: hangs up",
    ]  # fmt: skip
    assert lines.index("anna: is free again") < lines.index("anna: talks with dave")
