"""Playing what arrives from one peer on a loudspeaker.

A sound card takes samples at its own pace, and falls silent when it has none. So it is kept a little ahead: by silence,
at the beginning and whenever nothing came for a while.
"""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import av

from statecore.ports import Kind

from .sources import RATE, Resampler, audio_frame, silence

LEAD = 0.1
"""Seconds of silence before a sound: by so much the next frames may be late."""
_MOST = 0.5
"""Seconds that may wait in the device. What comes beyond that is left out, as it would be heard later and later."""


class Loudspeaker:
    """An open device. Used in the thread of a `Writer`."""

    def __init__(self, way: str, name: str, options: dict[str, str]) -> None:
        self._container: Any = av.open(name, "w", format=way, options=options)
        try:
            self._stream: Any = self._container.add_stream("pcm_s16le", rate=RATE)
            self._stream.layout = "stereo"
            self._container.start_encoding()
        except BaseException:
            self._container.close()
            raise
        self._resampler = Resampler(2)
        self._until = 0.0
        """When the device will have played what it was given."""
        self._samples = 0

    def add(self, kind: Kind, frame: Any, when: float) -> None:
        """Play a frame of sound as soon as possible."""
        del kind, when
        # A copy: a recorder's thread and readers use the frame, too.
        copy = audio_frame(frame.to_ndarray().reshape(-1, len(frame.layout.channels)))
        copy.sample_rate = frame.sample_rate
        for made in self._resampler(copy):
            now = time.monotonic()
            if self._until < now:
                self._until = now
                self._write(silence(round(LEAD * RATE)))
            if self._until - now < _MOST:
                self._write(made)

    def _write(self, frame: Any) -> None:
        frame.pts, frame.time_base = self._samples, Fraction(1, RATE)
        self._samples += frame.samples
        self._until += frame.samples / RATE
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Close the device once it has played what it was given."""
        self._container.close()


__all__ = ["LEAD", "Loudspeaker"]
