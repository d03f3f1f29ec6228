"""What a listener and a viewer would say: waits for sound and pictures of a participant to be as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from statecore.ports import AudioFrame, MediaSession, VideoFrame

from .signals import CLOCK_WRAP, dominant_hz, read_clock, rms_dbfs

TOLERANCE = 0.01
"""How far a frequency may be off, as a part of it."""
CHUNK = 0.25
"""Seconds of sound that are judged at a time."""
QUIET = 0.8
"""Seconds without a frame that count as nothing being sent."""


@asynccontextmanager
async def reading(frames: AsyncIterator[Any]) -> AsyncIterator[AsyncIterator[Any]]:
    """Close a reader at the end, if it can be closed."""
    try:
        yield frames
    finally:
        if hasattr(frames, "aclose"):
            await frames.aclose()


def check_audio(frame: AudioFrame) -> AudioFrame:
    """The frame, if it is as the port says."""
    samples = frame.samples
    shape = f"samples are {samples.dtype} of shape {samples.shape}, not int16 of (samples, channels)"
    assert samples.dtype == np.int16 and samples.ndim == 2, shape  # noqa: PT018 - one sentence says both
    assert frame.rate > 0 and frame.time >= 0, f"rate {frame.rate}, time {frame.time}"  # noqa: PT018
    return frame


def check_video(frame: VideoFrame) -> VideoFrame:
    """The frame, if it is as the port says."""
    pixels = frame.pixels
    shape = f"pixels are {pixels.dtype} of shape {pixels.shape}, not uint8 of (height, width, 3)"
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, shape  # noqa: PT018
    assert frame.time >= 0, f"time {frame.time}"
    return frame


async def chunk(frames: AsyncIterator[AudioFrame], seconds: float = CHUNK) -> tuple[Any, int]:
    """The next so many seconds of sound: (samples, rate)."""
    frame = check_audio(await anext(frames))
    pieces, rate = [frame.samples], frame.rate
    while sum(map(len, pieces)) < seconds * rate:
        frame = check_audio(await anext(frames))
        assert frame.rate == rate, "the rate changed within a stream"
        pieces.append(frame.samples)
    return np.concatenate(pieces), rate


async def hears(session: MediaSession, pid: str, hz: float, timeout: float) -> None:
    """Wait until the tone is what arrives from a participant. Raises AssertionError that says what was heard."""
    heard = 0.0
    try:
        async with asyncio.timeout(timeout), reading(session.audio(pid)) as frames:
            while abs(heard - hz) > TOLERANCE * hz:
                heard = dominant_hz(*await chunk(frames))
    except (TimeoutError, StopAsyncIteration) as error:
        raise AssertionError(f"no tone of {hz} Hz from {pid} ({error!r}); last heard {heard:.1f} Hz") from None


async def falls_silent(session: MediaSession, pid: str, timeout: float) -> None:
    """Wait until what arrives from a participant is below -60 dBFS, or nothing arrives."""
    quiet = 0
    try:
        async with asyncio.timeout(timeout), reading(session.audio(pid)) as frames:
            while quiet < 2:
                try:
                    async with asyncio.timeout(QUIET):
                        samples, _ = await chunk(frames)
                except TimeoutError:
                    return
                quiet = quiet + 1 if rms_dbfs(samples) < -60 else 0
    except TimeoutError:
        raise AssertionError(f"{pid} does not fall silent") from None


async def sees(
    session: MediaSession, pid: str, timeout: float, kind: Literal["video", "screen"] = "video", count: int = 5
) -> None:
    """Wait until so many different times of the sender's clock were read, each later than the one before."""
    clocks: list[int] = []
    arrived = 0
    try:
        async with asyncio.timeout(timeout), reading(session.video(pid, kind)) as frames:
            while len(clocks) < count:
                clock = read_clock(check_video(await anext(frames)).pixels)
                arrived += 1
                if clock is not None and clock not in clocks[-1:]:
                    clocks.append(clock)
    except (TimeoutError, StopAsyncIteration) as error:
        raise AssertionError(f"{kind} of {pid} does not move: {arrived} frames, {clocks} ({error!r})") from None
    # Half the range is more than any picture is late, also where the clock wraps.
    steps = [(later - sooner) % CLOCK_WRAP for sooner, later in pairwise(clocks)]
    assert all(step < CLOCK_WRAP // 2 for step in steps), f"the clock of {pid} runs back: {clocks}"


async def freezes(session: MediaSession, pid: str, timeout: float, kind: Literal["video", "screen"] = "video") -> None:
    """Wait until no picture arrives from a participant, or always the same one."""
    same, last = 0, None
    try:
        async with asyncio.timeout(timeout), reading(session.video(pid, kind)) as frames:
            while same < 20:
                try:
                    async with asyncio.timeout(QUIET):
                        clock = read_clock((await anext(frames)).pixels)
                except TimeoutError:
                    return
                same, last = (same + 1, last) if clock == last else (0, clock)
    except TimeoutError:
        raise AssertionError(f"{kind} of {pid} still moves") from None


async def longest_gap(session: MediaSession, pid: str, hz: float, timeout: float) -> float:
    """Listen until the tone is heard; the longest time, in seconds, during which nothing loud arrived till then."""
    loop, longest, heard = asyncio.get_running_loop(), 0.0, 0.0
    async with asyncio.timeout(timeout), reading(session.audio(pid)) as frames:
        loud = loop.time()
        while abs(heard - hz) > TOLERANCE * hz:
            samples, rate = await chunk(frames, 0.1)
            if rms_dbfs(samples) > -50:
                longest, loud = max(longest, loop.time() - loud), loop.time()
                heard = dominant_hz(samples, rate)
    return longest


@asynccontextmanager
async def collecting(session: MediaSession, pid: str) -> AsyncIterator[list[AudioFrame]]:
    """What has arrived of a participant's sound, as a list that grows."""
    heard: list[AudioFrame] = []

    async def listen() -> None:
        async with reading(session.audio(pid)) as frames:
            async for frame in frames:
                heard.append(check_audio(frame))  # noqa: PERF401 - it is read as it grows

    task = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait((task,))


def loud(heard: list[AudioFrame]) -> float:
    """Seconds from the first to the last sound above -40 dBFS."""
    frames = [frame for frame in heard if rms_dbfs(frame.samples) > -40]
    return frames[-1].time + len(frames[-1].samples) / frames[-1].rate - frames[0].time if frames else 0.0


__all__ = ["chunk", "collecting", "falls_silent", "freezes", "hears", "longest_gap", "loud", "reading", "sees"]
