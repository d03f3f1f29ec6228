"""Files to send, and two who meet over real WebRTC."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
import pytest

from statecore.settings import CallSettings
from statecore.testing.media import MeetingRoom, RoomHost
from statecore.testing.signals import draw_clock, tone
from statecore_aiortc import AiortcMedia, Frames, Tone

Meet: TypeAlias = Callable[..., AbstractAsyncContextManager[tuple[RoomHost, RoomHost]]]

FPS = 15
SECONDS = 3


@pytest.fixture(scope="session")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of 500 Hz, 16,000 samples a second, mono."""
    path = tmp_path_factory.mktemp("wav") / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(tone(500, 16_000, 2.0).tobytes())
    return path


@pytest.fixture(scope="session")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of pictures with a clock, and of 700 Hz."""
    path = tmp_path_factory.mktemp("mp4") / "clock.mp4"
    with av.open(str(path), "w") as file:
        video: Any = file.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio: Any = file.add_stream("aac", rate=44_100, layout="mono")
        for count in range(SECONDS * FPS):
            picture = av.VideoFrame.from_ndarray(draw_clock(320, 240, round(count * 1000 / FPS)), format="rgb24")
            picture.pts, picture.time_base = count, Fraction(1, FPS)
            file.mux(video.encode(picture))
        samples = tone(700, 44_100, SECONDS).reshape(1, -1)
        for first in range(0, samples.shape[1], 1024):
            part = np.ascontiguousarray(samples[:, first : first + 1024])
            sound = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            sound.sample_rate, sound.pts = 44_100, first
            file.mux(audio.encode(sound))
        file.mux(video.encode(None))
        file.mux(audio.encode(None))
    return path


def small_clock(time: float) -> Any:
    """A small picture that shows the source's time."""
    return draw_clock(160, 120, round(time * 1000))


@pytest.fixture
def media() -> Callable[..., AiortcMedia]:
    """Makes an adapter that sends a tone and a small picture unless told otherwise."""

    def make(hz: float = 440.0, **more: Any) -> AiortcMedia:
        given: dict[str, Any] = {"audio": Tone(hz), "video": Frames(small_clock, fps=12)}
        return AiortcMedia(**given | more)

    return make


@pytest.fixture
def meet(media: Callable[..., AiortcMedia]) -> Meet:
    """Two who come into a room, connect unless told otherwise, and leave nothing behind."""

    @asynccontextmanager
    async def meeting(
        one: AiortcMedia | None = None,
        other: AiortcMedia | None = None,
        *,
        video: bool | tuple[bool, bool] = False,
        settings: CallSettings | None = None,
        connect: bool = True,
        before: Callable[[RoomHost, RoomHost], None] | None = None,
    ) -> AsyncIterator[tuple[RoomHost, RoomHost]]:
        settings = settings or CallSettings(type="audio")
        video = video if isinstance(video, tuple) else (video, video)
        async with MeetingRoom() as room:
            alice, bob = room.host("alice", settings), room.host("bob", settings)
            if before is not None:
                before(alice, bob)
            await alice.open(one or media(440.0), audio=True, video=video[0])
            await bob.open(other or media(880.0), audio=True, video=video[1])
            if connect:
                await alice.wait_connected(bob.pid)
                await bob.wait_connected(alice.pid)
            yield alice, bob
        assert not room.violations
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=5)
        assert not left, f"tasks left: {left}"

    return meeting
