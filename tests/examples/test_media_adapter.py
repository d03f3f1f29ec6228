"""The media adapter among the examples keeps every promise of the media port."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from statecore.testing import ClockPicture, MediaConformance, Tone, VirtualLoop

PATH = Path(__file__).parents[2] / "examples" / "media_adapter.py"
_spec = importlib.util.spec_from_file_location("example_media_adapter", PATH)
assert _spec is not None
assert _spec.loader is not None
example: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = example  # its annotations are looked up there
_spec.loader.exec_module(example)


class TestUdpMedia(MediaConformance):
    """The conformance suite, over UDP."""

    def adapter(self, *, audio: Any, video: Any) -> Any:
        """An adapter that sends these."""
        return example.UdpMedia(audio=audio, video=video)

    def tone(self, hz: float) -> Tone:
        """A sine."""
        return Tone(hz)

    def picture(self) -> ClockPicture:
        """Pictures with a clock, small enough for a datagram."""
        return ClockPicture(160, 120, fps=12)

    def new_loop(self) -> VirtualLoop:
        """What is sent to this host is there at once, and all else goes by the loop's time."""
        return VirtualLoop()
