"""Sources of sound and pictures for media in memory, paced by the loop's time, and the task that captures one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

import attrs

from statecore.errors import MediaDeviceError, SourceError
from statecore.ports import AudioFrame, Played, VideoFrame

from .signals import draw_clock, tone

_PATIENCE = 1.0  # seconds a source may be late and still make up for it


@attrs.frozen
class Tone:
    """A source of sound: a sine in frames of 20 ms, one channel. May be used by any number of sessions."""

    hz: float = 440.0
    """The frequency."""
    rate: int = 48_000
    """Samples a second."""
    amplitude: float = 0.5
    """1 is full scale."""

    async def __aiter__(self) -> AsyncIterator[AudioFrame]:
        size = self.rate // 50
        beat, count = Beat(0.02), 0
        while True:
            phase = 2 * math.pi * math.fmod(self.hz * size * count / self.rate, 1)
            samples = tone(self.hz, self.rate, 0.02, phase, self.amplitude)
            yield AudioFrame(samples=samples, rate=self.rate, time=count * 0.02)
            count = await beat.after(count)


@attrs.frozen
class ClockPicture:
    """A source of pictures that carry the loop's time in milliseconds, for `signals.read_clock`. Shareable."""

    width: int = 160
    """Pixels."""
    height: int = 120
    """Pixels."""
    fps: float = 10.0
    """Pictures a second."""

    async def __aiter__(self) -> AsyncIterator[VideoFrame]:
        loop, beat, count = asyncio.get_running_loop(), Beat(1 / self.fps), 0
        while True:
            pixels = draw_clock(self.width, self.height, round(loop.time() * 1000))
            yield VideoFrame(pixels=pixels, time=count / self.fps)
            count = await beat.after(count)


class Beat:
    """Counts in time with the loop. What is a little late catches up, so that no sound is lost; the rest is skipped."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = asyncio.get_running_loop().time()

    async def after(self, count: int) -> int:
        """Wait for the beat that follows this one, and say which it is."""
        loop = asyncio.get_running_loop()
        due = int((loop.time() - self._began) / self._seconds)
        count = count + 1 if (due - count) * self._seconds < _PATIENCE else due
        await asyncio.sleep(self._began + count * self._seconds - loop.time())
        return count


def checked(source: Any) -> AsyncIterable[Any]:
    """The source itself. Raises SourceError if it is none."""
    if not hasattr(source, "__aiter__"):
        raise SourceError(source=source, why="it is not an async iterable of frames")
    return source  # type: ignore[no-any-return]


class Capture:
    """A source being captured: pulled from the first time it is on, not pulled while it is off. `ended` hears how it
    ended, unless it was stopped."""

    def __init__(
        self,
        source: AsyncIterable[Any],
        on: bool,
        spread: Callable[[Any], None],
        fault: Callable[[Exception], None],
        ended: Callable[[Played], None],
    ) -> None:
        self._spread = spread
        self._fault = fault
        self._ended = ended
        self.on = asyncio.Event()
        if on:
            self.on.set()
        self.task = asyncio.get_running_loop().create_task(self._run(source), name="statecore fake media")

    async def _run(self, source: AsyncIterable[Any]) -> None:
        await self.on.wait()
        frames: Any = None
        try:
            frames = aiter(source)
            async for frame in frames:
                if self.on.is_set():
                    self._spread(frame)
                await self.on.wait()
            self._ended("ended")
        except Exception as error:  # noqa: BLE001 - a source is the application's code; the session survives it
            self._fault(MediaDeviceError(why=f"the source raised {error!r}"))
            self._ended("failed")
        finally:
            if hasattr(frames, "aclose"):
                await frames.aclose()


__all__ = ["Beat", "Capture", "ClockPicture", "Tone", "checked"]
