"""What arrives from one peer: every frame is taken, for aiortc keeps what nobody reads without bound.

Frames are converted only where somebody reads or records them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from statecore.ports import AudioFrame, Kind, VideoFrame

_Ported = TypeVar("_Ported", AudioFrame, VideoFrame)

_DEPTH = {"audio": 100, "video": 30, "screen": 30}
"""Frames kept for a reader: two seconds of sound, or pictures."""


class FrameReader(Generic[_Ported]):
    """One reader of a stream: an async iterator. Safe to cancel; goes on after that."""

    def __init__(self, depth: int, convert: Callable[[Any, float], _Ported], dropped: Callable[[], None]) -> None:
        self._frames: deque[tuple[Any, float]] = deque(maxlen=depth)
        self._convert: Callable[[Any, float], Any] = convert
        self._dropped = dropped
        self._news = asyncio.Event()
        self._ended = False

    def put(self, frame: Any, time: float) -> None:
        """Queue a frame; the oldest gives way and is counted."""
        if self._ended:
            return
        if len(self._frames) == self._frames.maxlen:
            self._dropped()
        self._frames.append((frame, time))
        self._news.set()

    def end(self) -> None:
        """Nothing more comes; what waits can still be read."""
        self._ended = True
        self._news.set()

    def __aiter__(self) -> FrameReader[_Ported]:
        return self

    async def __anext__(self) -> _Ported:
        while not self._frames:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        ported: _Ported = self._convert(*self._frames.popleft())
        return ported

    async def aclose(self) -> None:
        """Stop reading; what waits unread is dropped. Idempotent."""
        self._frames.clear()
        self.end()


def to_audio(frame: av.AudioFrame, time: float) -> AudioFrame:
    """Sound as the port has it."""
    samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
    return AudioFrame(samples=samples, rate=frame.sample_rate, time=time)


def to_video(frame: av.VideoFrame, time: float) -> VideoFrame:
    """A picture as the port has it."""
    return VideoFrame(pixels=frame.to_ndarray(format="rgb24"), time=time)


class Incoming:
    """One kind of stream from one peer. It outlasts connections: a new one is only another track of it."""

    def __init__(self, kind: Kind, record: Callable[[Kind, Any, float], None] | None) -> None:
        self.kind: Kind = kind
        self.dropped = 0
        """Frames that readers did not take in time."""
        self._record = record
        self._readers: WeakSet[FrameReader[Any]] = WeakSet()
        self._ended = False
        self._began: float | None = None

    def reader(self) -> FrameReader[Any]:
        """A new reader, of what arrives from now on."""
        convert: Callable[[Any, float], Any] = to_audio if self.kind == "audio" else to_video
        reader: FrameReader[Any] = FrameReader(_DEPTH[self.kind], convert, self._drop)
        if self._ended:
            reader.end()
        else:
            self._readers.add(reader)
        return reader

    def _drop(self) -> None:
        self.dropped += 1

    async def consume(self, track: MediaStreamTrack) -> None:
        """Take every frame of a track until it ends or this is cancelled."""
        loop = asyncio.get_running_loop()
        base = first = None
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                now = loop.time()
                seconds = frame.pts * frame.time_base
                if base is None or first is None:
                    self._began = now if self._began is None else self._began
                    base, first = now - self._began, seconds
                self._spread(frame, base + float(seconds - first))

    def _spread(self, frame: Any, time: float) -> None:
        for reader in self._readers:
            reader.put(frame, time)
        if self._record is not None and self._began is not None:
            self._record(self.kind, frame, self._began + time)

    def end(self) -> None:
        """The peer is gone: readers end. Idempotent."""
        self._ended = True
        for reader in self._readers:
            reader.end()


__all__ = ["FrameReader", "Incoming", "to_audio", "to_video"]
