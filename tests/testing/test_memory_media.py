"""Media in memory passes the suite, moves frames bit for bit, and fails where it is told to."""

from __future__ import annotations

from typing import Any

from statecore.testing.media import ClockPicture, MediaConformance, MemoryMedia, Tone


class TestMemoryMedia(MediaConformance):
    """MemoryMedia is a media adapter like any other."""

    def adapter(self, *, audio: Any, video: Any) -> MemoryMedia:
        """Frames in memory."""
        return MemoryMedia(audio, video)

    def tone(self, hz: float) -> Tone:
        """A sine."""
        return Tone(hz)

    def picture(self) -> ClockPicture:
        """A clock."""
        return ClockPicture()
