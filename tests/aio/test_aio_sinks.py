"""Sinks: each frame that arrives is handed to a function of the application's, which cannot harm the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from statecore.errors import InvalidArgument, MediaError, SessionInactive
from statecore.ports import AudioFrame
from statecore.testing import FakeMedia

Town, Run = Callable[..., Any], Callable[..., Any]


class Numbers:
    """Sound that counts: ten frames a second."""

    async def __aiter__(self) -> AsyncIterator[AudioFrame]:
        for number in range(10_000):
            yield AudioFrame(samples=np.full((8, 1), number, np.int16), rate=8000, time=number / 10)
            await asyncio.sleep(0.1)


def number(frame: AudioFrame) -> int:
    """What a frame says."""
    return int(frame.samples[0, 0])


def counting(run: Run, town: Town, main: Callable[..., Any]) -> None:
    """Alice has called Bob, and counts."""

    async def whole() -> None:
        async with town("bob") as t:
            await t.add("alice", media=FakeMedia(Numbers()))
            hers, his = await t.pair()
            told: list[Any] = []
            his.on("error", told.append)
            await main(t, hers, his, told)

    run(whole)


@pytest.mark.parametrize("slow", [False, True], ids=["function", "coroutine"])
def test_a_sink_gets_every_frame_in_order(town: Town, run: Run, slow: bool) -> None:
    """A function or a coroutine function is called with each frame of a participant, one after the other, until its
    handle removes it."""

    async def main(t: Any, hers: Any, his: Any, told: list[Any]) -> None:
        heard: list[int] = []

        async def take(frame: AudioFrame) -> None:
            await asyncio.sleep(0.05)
            heard.append(number(frame))

        with his.add_audio_sink("alice", take if slow else lambda frame: heard.append(number(frame))) as sink:
            await t.until(lambda: len(heard) == 20)
            assert sink.active
        assert not sink.active
        sink.remove()
        await asyncio.sleep(1)
        assert heard == list(range(heard[0], heard[0] + 20))
        assert told == []

    counting(run, town, main)


def test_pictures_go_to_a_sink(town: Town, run: Run) -> None:
    """A sink for pictures gets them as soon as there are any."""

    async def main(t: Any, hers: Any, his: Any, told: list[Any]) -> None:
        his.on("call_switch_to_video_requested", lambda *_: his.accept_video())
        seen: list[Any] = []
        his.add_video_sink("alice", seen.append)
        await hers.switch_to_video()
        await t.until(lambda: seen)
        assert seen[0].pixels.shape == (120, 160, 3)
        assert told == []

    counting(run, town, main)


def test_a_slow_sink_misses_the_oldest(town: Town, run: Run) -> None:
    """What a sink does not take in time is dropped, the oldest first, and counted; memory is bounded."""

    async def main(t: Any, hers: Any, his: Any, told: list[Any]) -> None:
        heard: list[int] = []

        async def take(frame: AudioFrame) -> None:
            heard.append(number(frame))
            await asyncio.sleep(20 if len(heard) == 1 else 0)

        his.add_audio_sink("alice", take)
        await t.until(lambda: len(heard) > 10)
        (dropped,) = [each.dropped_frames for each in await his.stats() if each.direction == "in"]
        assert heard[1] - heard[0] == dropped + 1 > 100
        assert heard[1:] == list(range(heard[1], heard[1] + len(heard) - 1))

    counting(run, town, main)


def test_a_sink_that_raises_harms_nobody(town: Town, run: Run) -> None:
    """What it raises is told, once until it works again; it gets the next frames, other sinks and the call go on."""

    async def main(t: Any, hers: Any, his: Any, told: list[Any]) -> None:
        heard: list[int] = []

        async def take(frame: AudioFrame) -> None:
            heard.append(number(frame))
            if len(heard) in (2, 3, 4):
                raise ValueError(len(heard))
            if len(heard) == 6:
                cancelled = asyncio.get_running_loop().create_future()
                cancelled.cancel()
                await cancelled

        other: list[AudioFrame] = []
        his.add_audio_sink("alice", take)
        his.add_audio_sink("alice", other.append)
        await t.until(lambda: len(heard) == 8)
        await t.until(lambda: len(told) == 2)
        assert [type(error) for error in told] == [ValueError, asyncio.CancelledError]
        assert told[0].args == (2,)
        assert len(other) >= 8
        assert hers.state == his.state == "active"

    counting(run, town, main)


def test_a_sink_may_end_the_call(town: Town, run: Run) -> None:
    """A sink that hangs up is called no more when the call is over, and nothing waits for it in vain."""

    async def main(t: Any, hers: Any, his: Any, told: list[Any]) -> None:
        heard: list[int] = []

        async def take(frame: AudioFrame) -> None:
            heard.append(number(frame))
            await his.leave()

        sink = his.add_audio_sink("alice", take)
        await hers.wait_ended()
        await his.wait_ended()
        await t.until(lambda: not sink.active)
        assert len(heard) == 1
        assert told == []
        with pytest.raises(SessionInactive):
            his.add_audio_sink("alice", print)

    counting(run, town, main)


def test_a_sink_of_nobody_or_that_is_none(town: Town, run: Run) -> None:
    """Who is not here has no sound, and what cannot be called is no sink: refused at once."""

    async def main(t: Any, hers: Any, his: Any, told: list[Any]) -> None:
        with pytest.raises(InvalidArgument, match="nobody here is called 'zoe'"):
            his.add_audio_sink("zoe", print)
        with pytest.raises(InvalidArgument, match="'speaker' cannot be called"):
            his.add_video_sink("alice", "speaker")

    counting(run, town, main)


def test_receiving_that_breaks_ends_the_sink(town: Town, run: Run, still: Any) -> None:
    """An adapter that fails while it is read is told once; the sink is not called any more, and the call goes on."""

    async def broken(_: str) -> AsyncIterator[AudioFrame]:
        yield AudioFrame(samples=np.zeros((8, 1), np.int16), rate=8000, time=0.0)
        raise OSError("out of order")

    class Broken(FakeMedia):
        async def open(self, *args: Any, **more: Any) -> Any:
            session = await super().open(*args, **more)
            session.audio = broken  # type: ignore[method-assign,assignment]
            return session

    async def main() -> None:
        async with town("alice") as t:
            await t.add("bob", media=Broken(still("audio")))
            hers, his = await t.pair()
            told: list[Any] = []
            his.on("error", told.append)
            heard: list[AudioFrame] = []
            sink = his.add_audio_sink("alice", heard.append)
            await t.until(lambda: not sink.active)
            assert len(heard) == len(told) == 1
            assert isinstance(told[0], MediaError)
            assert hers.state == "active"

    run(main)


def test_a_sink_that_is_busy_when_it_is_removed(town: Town, run: Run) -> None:
    """One that removes itself finishes what it is doing, one that is removed is stopped; neither is called any more."""

    async def main(t: Any, hers: Any, his: Any, told: list[Any]) -> None:
        heard: list[int] = []

        async def take(frame: AudioFrame) -> None:
            if number(frame) % 3 == 0:
                sink.remove()
                await asyncio.sleep(1)
                heard.append(number(frame))

        stopped: list[int] = []

        async def hang(frame: AudioFrame) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                stopped.append(number(frame))

        sink = his.add_audio_sink("alice", take)
        other = his.add_audio_sink("alice", hang)
        await t.until(lambda: heard)
        other.remove()
        await asyncio.sleep(5)
        assert len(heard) == len(stopped) == 1
        assert told == []

    counting(run, town, main)


def test_a_sink_that_is_removed_at_once(town: Town, run: Run, still: Any) -> None:
    """It is never called, and what it would have read is closed."""
    opened: list[Any] = []

    class Kept(FakeMedia):
        async def open(self, *args: Any, **more: Any) -> Any:
            session = await super().open(*args, **more)
            read = session.audio

            def audio(pid: str) -> AsyncIterator[AudioFrame]:
                opened.append(read(pid))
                return opened[-1]  # type: ignore[no-any-return]

            session.audio = audio  # type: ignore[method-assign]
            return session

    async def main() -> None:
        async with town() as t:
            await t.add("alice", media=FakeMedia(Numbers()))
            await t.add("bob", media=Kept(still("audio")))
            _, his = await t.pair()
            heard: list[AudioFrame] = []
            his.add_audio_sink("alice", heard.append).remove()
            for _ in range(3):
                await anext(his.audio("alice"))
            with pytest.raises(StopAsyncIteration):
                await anext(opened[0])
            assert heard == []

    run(main)
