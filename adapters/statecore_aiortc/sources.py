"""What can be sent: files, devices, generated sound and pictures, an application's own tracks and frames.

A source is a description; nothing is open before it is sent. Any number of sessions and peers may share one, except
where it says otherwise. Sound is sent with 48,000 samples a second in frames of 20 ms, pictures as they come.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import attrs
import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from statecore.errors import SourceError
from statecore.ports import AudioFrame, Kind, VideoFrame

from . import _draw

Frame: TypeAlias = av.AudioFrame | av.VideoFrame

RATE = 48_000
BLOCK = 960
"""Samples in 20 ms."""
LATE = 0.2
"""Seconds by which a source may be late before it skips what it missed."""


class Reader(Protocol):
    """An open source of one kind of stream."""

    async def read(self, at: float) -> tuple[float | None, Frame] | None:
        """The next frame and its time, in seconds since the source began; None at the end.

        `at` is the time now: who is more than LATE behind it skips. A live source waits for its frame and gives no
        time. Safe to cancel. Sound: s16, mono or stereo, RATE. Pictures: yuv420p."""

    async def close(self) -> None:
        """Release everything. Idempotent."""

    def abort(self) -> None:
        """Begin to release everything, without waiting. Idempotent."""


@runtime_checkable
class Source(Protocol):
    """Something that can be sent. Write your own by these three names."""

    @property
    def captures(self) -> bool:
        """Whether this is a device: then it is not opened before it is on, and closed while it is off."""

    @property
    def flows(self) -> bool:
        """Whether it must be read on while it is off, as it would pile up otherwise."""

    async def open(self, kind: Kind) -> Reader:
        """Open it. Raises SourceError, or MediaDeviceError for a device; then nothing is left open. Safe to cancel."""


class Generated:
    """A source made by the program: never captures, never piles up."""

    @property
    def captures(self) -> bool:
        """It is no device."""
        return False

    @property
    def flows(self) -> bool:
        """It can wait."""
        return False


class NothingToClose:
    """A reader that holds nothing."""

    async def close(self) -> None:
        """Nothing to do."""

    def abort(self) -> None:
        """Nothing to do."""


# --- sound ------------------------------------------------------------------------------------------------------------


def audio_frame(samples: Any) -> av.AudioFrame:
    """A frame from int16 samples of shape (samples, channels), one or two channels, at RATE."""
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate = RATE
    return frame


def silence(samples: int) -> av.AudioFrame:
    """So many samples of nothing."""
    return audio_frame(np.zeros((samples, 2), np.int16))


def to_int16(samples: Any, source: object) -> Any:
    """Samples as int16 of shape (samples, channels). Raises SourceError for what is no sound."""
    samples = np.asarray(samples)
    if samples.ndim == 1:
        samples = samples[:, np.newaxis]
    if samples.ndim != 2 or samples.shape[1] not in (1, 2):
        raise SourceError(source=source, why=f"sound of shape {samples.shape} is neither mono nor stereo")
    if samples.dtype == np.int16:
        return samples
    if samples.dtype.kind != "f":
        raise SourceError(source=source, why=f"samples of type {samples.dtype} are neither int16 nor float")
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


class Resampler:
    """Turns sound of any form into frames of 20 ms, s16 at RATE."""

    def __init__(self, channels: int) -> None:
        layout = "mono" if channels == 1 else "stereo"
        self._resampler = av.AudioResampler(format="s16", layout=layout, rate=RATE, frame_size=BLOCK)

    def __call__(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        """Frames that are complete; None flushes."""
        if frame is not None:
            frame.pts = None
        return self._resampler.resample(frame)


@attrs.frozen
class Samples(Generated):
    """Sound made by the program: an array, or a function of (first sample, count) that gives one.

    Arrays are int16, or float from -1 to 1, of shape (samples,) or (samples, channels). The function is called on the
    event loop and must be quick; it ends the sound by giving fewer samples than asked for."""

    samples: Any = attrs.field(repr=False)
    """The array or the function."""
    rate: int = RATE
    """Samples a second."""
    loop: bool = False
    """Begin an array again at its end."""

    async def open(self, kind: Kind) -> Reader:
        """Begin. Raises SourceError for anything but sound."""
        if kind != "audio":
            raise SourceError(source=self, why=f"it has no {kind}")
        take = self.samples if callable(self.samples) else _Array(to_int16(self.samples, self), self.loop)
        return _SamplesReader(self, take)


class _Array:
    def __init__(self, samples: Any, loop: bool) -> None:
        self._samples = samples
        self._loop = loop and len(samples) > 0

    def __call__(self, first: int, count: int) -> Any:
        if not self._loop:
            return self._samples[first : first + count]
        return self._samples[np.arange(first, first + count) % len(self._samples)]


class _SamplesReader(NothingToClose):
    def __init__(self, source: Samples, take: Callable[[int, int], Any]) -> None:
        self._source = source
        self._take = take
        self._block = source.rate // 50
        self._count = 0
        self._resampler: Resampler | None = None
        self._ready: deque[tuple[float, av.AudioFrame]] = deque()

    async def read(self, at: float) -> tuple[float | None, Frame] | None:
        if self._ready and at - self._ready[0][0] > LATE:
            self._ready.clear()
        if at - self._count / self._source.rate > LATE:
            self._count = math.ceil(at * 50) * self._block
        while not self._ready:
            samples = to_int16(self._take(self._count, self._block), self._source)
            if not len(samples):
                return None
            time, self._count = self._count / self._source.rate, self._count + len(samples)
            self._ready.extend((time, frame) for frame in self._frames(samples))
        return self._ready.popleft()

    def _frames(self, samples: Any) -> list[av.AudioFrame]:
        frame = audio_frame(samples)
        if self._source.rate == RATE:
            return [frame]
        frame.sample_rate = self._source.rate
        self._resampler = self._resampler or Resampler(samples.shape[1])
        return self._resampler(frame)


@attrs.frozen
class Tone(Generated):
    """A sine that lasts."""

    hz: float = 440.0
    """The frequency."""
    amplitude: float = 0.3
    """1 is full scale."""

    async def open(self, kind: Kind) -> Reader:
        """Begin. Raises SourceError for anything but sound."""
        if kind != "audio":
            raise SourceError(source=self, why=f"it has no {kind}")
        return _SamplesReader(Samples(self._sine), self._sine)

    def _sine(self, first: int, count: int) -> Any:
        turns = np.arange(first, first + count) * (self.hz / RATE)
        return np.sin(2 * math.pi * np.mod(turns, 1.0)) * self.amplitude


# --- pictures ---------------------------------------------------------------------------------------------------------


def video_frame(pixels: Any, source: object) -> av.VideoFrame:
    """A frame from a uint8 array of shape (height, width, 3), RGB. Raises SourceError for what is no picture."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < 2:
        why = f"a {pixels.dtype} array of shape {pixels.shape} is no picture; uint8 (height, width, 3) is"
        raise SourceError(source=source, why=why)
    return planar(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"))


def planar(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame as encoders take it, converted once for all peers: yuv420p, width and height even."""
    return frame.reformat(width=frame.width & ~1, height=frame.height & ~1, format="yuv420p")


@attrs.frozen
class Frames(Generated):
    """Pictures made by the program: a function of the time in seconds that gives a uint8 array (height, width, 3), RGB.

    The function is called in a thread, one call at a time for each session."""

    draw: Callable[[float], Any]
    """The function."""
    fps: float = 15.0
    """Pictures a second."""

    async def open(self, kind: Kind) -> Reader:
        """Begin. Raises SourceError for sound."""
        if kind == "audio":
            raise SourceError(source=self, why="it has no audio")
        return _FramesReader(self)


@attrs.frozen
class Picture(Generated):
    """A moving test picture with a clock in seconds since the source began."""

    width: int = 640
    """Pixels."""
    height: int = 480
    """Pixels."""
    fps: float = 15.0
    """Pictures a second."""

    async def open(self, kind: Kind) -> Reader:
        """Begin. Raises SourceError for sound."""
        return await Frames(lambda time: _draw.clock(self.width, self.height, time), self.fps).open(kind)


class _FramesReader(NothingToClose):
    def __init__(self, source: Frames) -> None:
        self._source = source
        self._count = 0
        self._drawing: asyncio.Future[av.VideoFrame] | None = None

    async def read(self, at: float) -> tuple[float | None, Frame] | None:
        if self._drawing is None:
            if at - self._count / self._source.fps > LATE:
                self._count = math.ceil(at * self._source.fps)
            self._drawing = asyncio.get_running_loop().run_in_executor(None, self._draw, self._count / self._source.fps)
        # A thread cannot be cancelled: what was begun is taken by the next read, so that no two draw at once.
        await asyncio.wait((self._drawing,))
        drawing, self._drawing = self._drawing, None
        time, self._count = self._count / self._source.fps, self._count + 1
        return time, drawing.result()

    def _draw(self, time: float) -> av.VideoFrame:
        return video_frame(self._source.draw(time), self._source)


# --- what the application makes ---------------------------------------------------------------------------------------


@attrs.frozen
class Track:
    """An application's own aiortc track. It is read by one session at a time (aiortc's MediaRelay makes more of one),
    also while muted, and never stopped: it stays the application's."""

    track: MediaStreamTrack
    """The track."""

    @property
    def captures(self) -> bool:
        """The application opened whatever is behind it."""
        return False

    @property
    def flows(self) -> bool:
        """A track goes on."""
        return True

    async def open(self, kind: Kind) -> Reader:
        """Begin to read. Raises SourceError if the track has ended or is of another kind."""
        if self.track.kind != ("audio" if kind == "audio" else "video"):
            raise SourceError(source=self, why=f"it has no {kind}")
        if self.track.readyState != "live":
            raise SourceError(source=self, why="the track has ended")
        return _LiveReader(_track_frames(self.track), self)


async def _track_frames(track: MediaStreamTrack) -> AsyncIterator[Any]:
    while True:
        try:
            yield await track.recv()
        except MediaStreamError:
            return


@attrs.frozen
class Stream(Generated):
    """An async iterable of `statecore.ports` frames, which paces itself; for example what arrives elsewhere."""

    frames: AsyncIterable[AudioFrame | VideoFrame]
    """Where the frames come from. One that begins anew for each iteration serves any number of sessions."""

    async def open(self, kind: Kind) -> Reader:
        """Begin to iterate once it is read."""
        return _LiveReader(_stream_frames(self.frames, kind, self), self)


async def _stream_frames(
    frames: AsyncIterable[AudioFrame | VideoFrame], kind: Kind, source: object
) -> AsyncIterator[Any]:
    async for frame in frames:
        if isinstance(frame, VideoFrame) != (kind != "audio"):
            raise SourceError(source=source, why=f"it gave a {type(frame).__name__} for {kind}")
        if isinstance(frame, VideoFrame):
            yield video_frame(frame.pixels, source)
        else:
            made = audio_frame(to_int16(frame.samples, source))
            made.sample_rate = frame.rate
            yield made


class _LiveReader:
    """Frames that come when they come. One task pulls, so that a cancelled read loses nothing."""

    def __init__(self, frames: AsyncIterator[Any], source: object) -> None:
        self._frames = frames
        self._source = source
        self._resampler: Resampler | None = None
        self._ready: deque[Frame] = deque()
        self._pull: asyncio.Task[Any] | None = None

    async def read(self, at: float) -> tuple[float | None, Frame] | None:
        del at  # what is live cannot be late
        while not self._ready:
            if self._pull is None:
                self._pull = asyncio.get_running_loop().create_task(_next(self._frames), name="statecore live source")
            await asyncio.wait((self._pull,))
            pull, self._pull = self._pull, None
            frame = pull.result()
            if frame is None:
                return None
            self._ready.extend(self._converted(frame))
        return None, self._ready.popleft()

    def _converted(self, frame: Any) -> list[Any]:
        if isinstance(frame, av.VideoFrame):
            return [planar(frame)]
        if not isinstance(frame, av.AudioFrame):
            raise SourceError(source=self._source, why=f"it gave a {type(frame).__name__} instead of a frame")
        self._resampler = self._resampler or Resampler(len(frame.layout.channels))
        return list(self._resampler(frame))

    async def close(self) -> None:
        self.abort()
        if self._pull is not None:
            await asyncio.wait((self._pull,))  # as long as it runs, nobody else may end the generator
        if hasattr(self._frames, "aclose"):
            await self._frames.aclose()

    def abort(self) -> None:
        if self._pull is not None:
            self._pull.cancel()


async def _next(frames: AsyncIterator[Any]) -> Any:
    return await anext(frames, None)


__all__ = [
    "Frames",
    "Picture",
    "Reader",
    "Samples",
    "Source",
    "Stream",
    "Tone",
    "Track",
]
