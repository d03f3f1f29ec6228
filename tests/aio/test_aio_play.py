"""Waiting until what is played has ended: a bot that speaks and then hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from statecore.errors import InvalidArgument, MediaDeviceError, MediaError
from statecore.ports import AudioFrame
from statecore.testing import FakeMedia

Town, Run = Callable[..., Any], Callable[..., Any]


class Spoken:
    """A sound of two seconds, which may break off."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks

    async def __aiter__(self) -> AsyncIterator[AudioFrame]:
        for second in range(2):
            yield AudioFrame(samples=np.zeros((8, 1), np.int16), rate=8000, time=float(second))
            await asyncio.sleep(1)
        if self.breaks:
            raise ValueError("out of breath")


def test_a_bot_hangs_up_when_it_has_spoken(town: Town, run: Run) -> None:
    """`play(wait=True)` resolves when the source has ended, and says whether it did by itself or broke; without `wait`
    it resolves as soon as the source is set."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            told: list[Any] = []
            hers.on("error", told.append)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            assert await hers.play(Spoken()) is None
            assert loop.time() == begun
            assert await hers.play(Spoken(), wait=True) == "ended"
            assert loop.time() - begun == pytest.approx(2.0)
            assert await hers.play(Spoken(breaks=True), wait=True) == "failed"
            await t.until(lambda: told)
            assert isinstance(told[0], MediaDeviceError)

    run(main)


def test_whoever_waits_hears_of_another_source_and_of_the_end(town: Town, run: Run, still: Any) -> None:
    """A source that is replaced or whose call ends settles whoever waits for it, each for his own; giving up waiting
    stops nothing."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            plays = [asyncio.create_task(hers.play(still("audio", mark), wait=True)) for mark in (2, 3, 4)]
            await asyncio.wait(plays[:2], timeout=5)
            assert [play.done() for play in plays] == [True, True, False]
            given_up = asyncio.create_task(hers.play(still("audio", 5), wait=True))
            await asyncio.wait(plays, timeout=5)
            await asyncio.sleep(1)
            given_up.cancel()
            await asyncio.wait((given_up,))
            frame = await anext(his.audio("alice"))
            assert frame.samples.max() == 5
            last = asyncio.create_task(hers.play(still("audio", 6), wait=True))
            await asyncio.sleep(1)
            await his.end()
            await hers.wait_ended()
            assert [await play for play in (*plays, last)] == ["replaced", "replaced", "replaced", "closed"]

    run(main)


def test_whoever_gives_up_waiting_leaves_nothing(town: Town, run: Run, still: Any) -> None:
    """Whenever one gives up, also as the source has just been set: nothing waits for the end of a source for nobody."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            for turns in range(12):
                given_up = asyncio.create_task(hers.play(still("audio", 2), wait=True))
                for _ in range(turns):
                    await asyncio.sleep(0)
                given_up.cancel()
                await asyncio.wait((given_up,))
                assert given_up.cancelled()
                await asyncio.sleep(1)
                left = [task for task in asyncio.all_tasks() if "played" in task.get_name()]
                assert left == [], turns

    run(main)


def test_an_adapter_that_cannot_tell_the_end(town: Town, run: Run, still: Any) -> None:
    """Whoever wants to wait is refused before anything changes, and plays without; what breaks in telling is a typed
    error."""

    class Plain:
        """A media session of a third party that has only what the port asks for."""

        def __init__(self, session: Any) -> None:
            for name in dir(session):
                if not name.startswith("_") and name != "played":
                    setattr(self, name, getattr(session, name))

    class PlainMedia(FakeMedia):
        async def open(self, *args: Any, **more: Any) -> Any:
            return Plain(await super().open(*args, **more))

    async def mumble(kind: str) -> None:
        raise ValueError(kind)

    class Mumbling(FakeMedia):
        async def open(self, *args: Any, **more: Any) -> Any:
            session = await super().open(*args, **more)
            session.played = mumble  # type: ignore[method-assign,assignment]
            return session

    async def main() -> None:
        async with town() as t:
            await t.add("alice", media=PlainMedia(still("audio"), still("video")))
            await t.add("bob", media=Mumbling(still("audio"), still("video")))
            hers, his = await t.pair()
            with pytest.raises(InvalidArgument, match="cannot tell when a source has ended"):
                await hers.play(still("audio", 2), wait=True)
            frames = his.audio("alice")
            assert (await anext(frames)).samples.max() == 1
            await hers.play(still("audio", 3))
            while (await anext(frames)).samples.max() != 3:
                pass
            with pytest.raises(MediaError, match="ValueError: audio"):
                await his.play(still("audio", 2), wait=True)

    run(main)
