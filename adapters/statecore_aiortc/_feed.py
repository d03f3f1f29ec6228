"""What this participant sends: one feed for each kind, read from its source once and handed to every peer.

aiortc's own ways do not fit: a track that is replaced restarts its timestamps, which a receiver takes for a wrap of
24 hours; closing one peer stops the track for all; MediaRelay keeps frames without bound for a peer that stalls. So
every peer gets an outlet that lives as long as its connection, and the feed behind it switches sources, mutes and
stamps all frames by one clock. While a feed is off its outlets simply give nothing, so nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from statecore.errors import MediaDeviceError, StatecoreError
from statecore.ports import Kind, Played

from .sources import BLOCK, Frame, Reader, Source, silence

AUDIO_RATE = 48_000
_VIDEO_RATE = 90_000
_DEPTH = {"audio": 10, "video": 2, "screen": 2}
_DRIFT = 0.2
"""Seconds by which a live source may run ahead or behind before its frames are stamped by their arrival again."""
_TAIL = 15
"""Frames of silence after a sound. A receiver holds frames back until the next ones come: without these, its last
syllable would be heard at the beginning of the next sound, or never."""


class Outlet(MediaStreamTrack):
    """A feed as one peer connection sees it: a bounded queue that drops the oldest frame."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.kind = "audio" if feed.kind == "audio" else "video"
        self._feed: Feed | None = feed
        self._frames: deque[Frame] = deque(maxlen=_DEPTH[feed.kind])
        self._news = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Queue a frame."""
        self._frames.append(frame)
        self._news.set()

    def clear(self) -> None:
        """Drop what was not sent yet: the feed was turned off."""
        self._frames.clear()

    async def recv(self) -> Frame:
        """The next frame; the first call tells the feed that somebody listens. Safe to cancel."""
        if self._feed is not None:
            self._feed.listen(self)
        while not self._frames:
            if self._feed is None:
                raise MediaStreamError
            self._news.clear()
            await self._news.wait()
        return self._frames.popleft()

    def stop(self) -> None:
        """End the outlet, not the feed. Idempotent."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.leave(self)
        self._frames.clear()
        self._news.set()
        super().stop()


class Feed:
    """One kind of stream that is sent. Off, and without a source, at first.

    `began` holds when each source of the session began, by its id(), so that sound and pictures of one file stay
    together."""

    def __init__(self, kind: Kind, epoch: float, began: dict[int, float], fault: Callable[[Exception], None]) -> None:
        self.kind: Kind = kind
        self._epoch = epoch
        self._began = began
        self._fault = fault
        self._rate = AUDIO_RATE if kind == "audio" else _VIDEO_RATE
        self._outlets: set[Outlet] = set()
        self._source: Source | None = None
        self._reader: Reader | None = None
        self._on = False
        self._pump: asyncio.Task[None] | None = None
        self._next = 0.0
        self._pts = -1
        self._change = asyncio.Lock()
        self._closed = False
        self._end: asyncio.Future[Played] = asyncio.get_running_loop().create_future()
        """How what is sent came to its end."""
        self._settle("ended")

    @property
    def on(self) -> bool:
        """Whether it may send."""
        return self._on

    @property
    def source(self) -> Source | None:
        """What is sent."""
        return self._source

    # --- what is sent

    async def use(self, source: Source | None) -> None:
        """Send another source from now on. Raises SourceError or MediaDeviceError; then nothing changed."""
        async with self._change:
            reader = await self._open(source) if source is not None and (self._on or not source.captures) else None
            pump, old = self._cancel(), self._reader
            self._source, self._reader = source, reader
            self._settle("replaced")
            self._end = asyncio.get_running_loop().create_future()
            if source is None:
                self._settle("ended")
            self._run()
            try:
                if pump is not None:
                    await asyncio.wait((pump,))
                if old is not None:
                    await old.close()
            except asyncio.CancelledError:
                if old is not None:
                    old.abort()
                raise

    async def enable(self, on: bool) -> None:
        """Send or do not send. Idempotent. Raises MediaDeviceError or SourceError if a source cannot be opened.

        A device is opened when its feed is first turned on, and closed while it is off: its light tells the truth."""
        if not on:
            # At once, also while a source is being opened.
            self._on = False
            self._silence()
        async with self._change:
            if on and self._reader is None and self._source is not None:
                self._reader = await self._open(self._source)
            self._on = on
            if on:
                self._run()
            elif self._source is not None and not self._source.flows:
                await self._halt()
                if self._source.captures and self._reader is not None:
                    reader, self._reader = self._reader, None
                    await reader.close()

    async def played(self) -> Played:
        """How what is sent now comes to its end, once it has. Safe to cancel."""
        return await asyncio.shield(self._end)

    def _settle(self, how: Played) -> None:
        if not self._end.done():
            self._end.set_result(how)

    async def _open(self, source: Source) -> Reader:
        reader = await source.open(self.kind)
        if self._closed:
            await reader.close()
            raise MediaDeviceError(why="the session was closed while the source opened")
        return reader

    # --- who listens

    def outlet(self) -> Outlet:
        """A new outlet for one connection."""
        return Outlet(self)

    def listen(self, outlet: Outlet) -> None:
        """An outlet asks for frames. Idempotent."""
        if outlet not in self._outlets:
            self._outlets.add(outlet)
            self._run()

    def leave(self, outlet: Outlet) -> None:
        """An outlet asks for no more. Idempotent."""
        self._outlets.discard(outlet)
        if not self._outlets:
            self._cancel()

    # --- pumping

    def _run(self) -> None:
        if not self._on or not self._outlets or self._closed or (self._pump is not None and not self._pump.done()):
            return
        if self._reader is not None and self._source is not None:
            work = self._work(self._reader, self._source)
            self._pump = asyncio.get_running_loop().create_task(work, name=f"statecore {self.kind} feed")

    async def _work(self, reader: Reader, source: Source) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = self._began.setdefault(id(source), loop.time())
                item = await reader.read(loop.time() - began)
                if item is None:
                    break
                time, frame = item
                if time is None:
                    self._put(frame, self._arrived(frame, loop.time()))
                else:
                    await self._put_in_time(frame, began + time)
            if self.kind == "audio":
                await self._fall_silent()
            self._settle("ended")
        except StatecoreError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a source may be the application's code; the call goes on without it
            self._failed(MediaDeviceError(why=f"the {self.kind} source raised {error!r}"))

    def _failed(self, error: StatecoreError) -> None:
        self._fault(error)
        self._settle("failed")

    async def _put_in_time(self, frame: Frame, due: float) -> None:
        if (wait := due - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(wait)
        self._put(frame, due)

    async def _fall_silent(self) -> None:
        begun = max(asyncio.get_running_loop().time(), self._epoch + (self._pts + BLOCK) / self._rate)
        for count in range(_TAIL):
            await self._put_in_time(silence(BLOCK), begun + count * BLOCK / self._rate)

    def _arrived(self, frame: Frame, now: float) -> float:
        """When a live frame is due: sound is continuous, however unevenly a device delivers it."""
        if not isinstance(frame, av.AudioFrame):
            return now
        due = self._next if abs(now - self._next) < _DRIFT else now
        self._next = due + frame.samples / frame.sample_rate
        return due

    def _put(self, frame: Frame, due: float) -> None:
        if isinstance(frame, av.AudioFrame):
            frame = _stereo(frame)
        self._pts = max(self._pts + 1, round((due - self._epoch) * self._rate))
        frame.pts = self._pts
        frame.time_base = Fraction(1, self._rate)
        if self._on:
            for outlet in self._outlets:
                outlet.put(frame)

    def _silence(self) -> None:
        for outlet in self._outlets:
            outlet.clear()

    # --- the end

    def _cancel(self) -> asyncio.Task[None] | None:
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
        return pump

    async def _halt(self) -> None:
        pump = self._cancel()
        if pump is not None:
            await asyncio.wait((pump,))

    async def close(self) -> None:
        """Stop reading and close the source. Idempotent."""
        self.abort()
        await self._halt()
        async with self._change:
            reader, self._reader, self._source = self._reader, None, None
            if reader is not None:
                await reader.close()

    def abort(self) -> None:
        """Stop reading at once. Idempotent."""
        self._closed, self._on = True, False
        self._settle("closed")
        self._silence()
        if self._pump is not None:
            self._pump.cancel()
        if self._reader is not None:
            self._reader.abort()


def _stereo(frame: av.AudioFrame) -> av.AudioFrame:
    """Sound on two channels, whatever the source has: an encoder ends for good when their number changes."""
    if len(frame.layout.channels) == 2:
        return frame
    samples: Any = np.repeat(frame.to_ndarray(), 2, axis=1)
    made = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
    made.sample_rate = frame.sample_rate
    return made


__all__ = ["AUDIO_RATE", "Feed", "Outlet"]
