"""The conformance suite of media adapters, passed over real WebRTC on this host."""

from __future__ import annotations

import asyncio
from typing import Any

from statecore.testing.media import MediaConformance
from statecore.testing.signals import draw_clock, tone
from statecore_aiortc import AiortcMedia, Frames, Samples, Tone


class TestAiortc(MediaConformance):
    """Every promise of the media port."""

    def adapter(self, *, audio: Any, video: Any) -> AiortcMedia:
        """An adapter that sends these."""
        return AiortcMedia(audio=audio, video=video)

    def tone(self, hz: float) -> Tone:
        """A sine."""
        return Tone(hz, amplitude=0.5)

    def ending(self, hz: float, seconds: float) -> Samples:
        """A sine with an end."""
        return Samples(tone(hz, 48_000, seconds))

    def picture(self) -> Frames:
        """Small pictures with a clock."""
        loop = asyncio.get_running_loop()
        return Frames(lambda _: draw_clock(160, 120, round(loop.time() * 1000)), fps=12)
