"""The end of what is sent: told when the others have all of it, and how it came about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from statecore.errors import MediaDeviceError
from statecore.ports import AudioFrame, VideoFrame
from statecore.testing.signals import dominant_hz, tone
from statecore_aiortc import AiortcMedia, Samples, Stream


def test_the_last_syllable_is_heard_before_the_end_is_told(meet: Any) -> None:
    """Whoever hangs up when a sound has ended cuts nothing off: its last 60 ms, of another pitch, have arrived."""
    spoken = np.concatenate([tone(440, 48_000, 0.5), tone(1500, 48_000, 0.06)])

    async def main() -> None:
        async with meet() as (alice, bob):
            await alice.session.set_source("audio", Samples(spoken))
            frames = bob.session.audio(alice.pid)
            async with asyncio.timeout(5):
                assert await alice.session.played("audio") == "ended"
            frames.end()  # what waits can still be read
            heard = [dominant_hz(frame.samples, frame.rate) async for frame in frames]
            assert any(abs(hz - 1500) < 60 for hz in heard)

    asyncio.run(main())


def test_a_source_that_raises_has_failed(meet: Any) -> None:
    """Whoever waits hears so, and the fault is told; what has no source has ended at once."""

    async def broken() -> AsyncIterator[AudioFrame | VideoFrame]:
        yield AudioFrame(samples=tone(440, 48_000, 0.02), rate=48_000, time=0.0)
        raise ValueError("out of ink")

    async def main() -> None:
        async with meet(AiortcMedia()) as (alice, _):
            assert await alice.session.played("audio") == "ended"
            await alice.session.set_source("audio", Stream(broken()))
            async with asyncio.timeout(5):
                assert await alice.session.played("audio") == "failed"
            assert isinstance(alice.faults[0], MediaDeviceError)
            await alice.session.set_source("audio", None)
            assert await alice.session.played("audio") == "ended"

    asyncio.run(main())
