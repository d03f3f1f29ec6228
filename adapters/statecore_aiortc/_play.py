"""The program that plays sound on a loudspeaker: run by `_speaker` in a process of its own, so without its package.

FFmpeg holds all of Python while it opens a device, and waits for a device that takes nothing for as long as that lasts.
Here it holds up nobody. Frames come on the standard input, each with the time when it was there; the program ends with
them, so also when whoever started it was killed, and it is ended by an alarm if the device does not let it.

A sound card takes samples at its own pace, and falls silent when it has none. So it is kept a little ahead: by silence,
at the beginning and whenever nothing came for a while.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
import time
from fractions import Fraction
from typing import Any

import av

RATE = 48_000
BLOCK = 960
"""Samples of a frame, s16 on two channels."""
FRAME = struct.Struct(f"=d{4 * BLOCK}s")
"""A frame as it comes: the system's monotonic time, and the samples."""
LEAD = 0.1
"""Seconds of silence before a sound: by so much the next frames may be late."""
MOST = 0.5
"""Seconds that a frame may be old, or wait in the device. Others are left out: all would be heard later and later."""


class Player:
    """An open device."""

    def __init__(self, way: str, name: str, options: dict[str, str]) -> None:
        self._container: Any = av.open(name, "w", format=way, options=options)
        try:
            self._stream: Any = self._container.add_stream("pcm_s16le", rate=RATE)
            self._stream.layout = "stereo"
            self._container.start_encoding()
        except BaseException:
            self._container.close()
            raise
        self._until = 0.0
        """When the device will have played what it was given."""
        self._samples = 0

    def play(self, came: float, samples: bytes) -> None:
        """Play a frame as soon as possible."""
        now = time.monotonic()
        if max(now - came, self._until - now) > MOST:
            return
        if self._until < now:
            self._until = now
            self._write(bytes(round(LEAD * RATE) * 4))
        self._write(samples)

    def _write(self, samples: bytes) -> None:
        frame = av.AudioFrame(format="s16", layout="stereo", samples=len(samples) // 4)
        frame.planes[0].update(samples)
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), self._samples
        self._samples += frame.samples
        self._until += frame.samples / RATE
        began = time.monotonic()
        self._container.mux(self._stream.encode(frame))
        if (stalled := time.monotonic() - began) > MOST:
            self._until += stalled  # it stood still, and has yet to play what it had

    def close(self) -> None:
        """Close the device once it has played what it was given."""
        self._container.close()


def main() -> None:
    """Play until there is no more."""
    patience, *device = json.loads(sys.argv[1])
    player: Player | None = None
    while len(data := sys.stdin.buffer.read(FRAME.size)) == FRAME.size:
        # What the system does by itself: no handler would run while FFmpeg waits.
        _alarm(patience)
        player = player or Player(*device)
        player.play(*FRAME.unpack(data))
        _alarm(0)
    if player is not None:
        _alarm(patience)
        player.close()


def _alarm(seconds: int) -> None:
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - whatever it is, `_speaker` tells it
        sys.stdout.write(f"{error}" or repr(error))
        sys.exit(1)
