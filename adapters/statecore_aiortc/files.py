"""Sources that FFmpeg reads: files, microphones and cameras."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import av
from av.container import InputContainer

from statecore.errors import MediaDeviceError, SourceError
from statecore.ports import Kind

from ._devices import reach
from .sources import BLOCK, LATE, RATE, Frame, Generated, Reader, Resampler, planar

_AHEAD = 10
"""Frames of sound decoded at a time; pictures are decoded one by one."""
_SEEK = 2.0
"""Seconds of a file that are rather skipped by seeking than by decoding."""


def _track(container: InputContainer, kind: Kind) -> Any:
    streams: Any = container.streams.audio if kind == "audio" else container.streams.video
    return streams[0] if streams else None


async def _in_thread(opener: Callable[[], _Opened]) -> _Opened:
    """Open in a thread. If cancelled meanwhile, what comes out is closed at once."""
    opening = asyncio.get_running_loop().run_in_executor(None, opener)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_late)
        raise


def _close_late(opening: asyncio.Future[_Opened]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().release()


# --- files ------------------------------------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class File(Generated):
    """The sound or the pictures of a file: WAV, MP4, anything FFmpeg reads.

    Give the same File as audio and as video of a session and the two stay together. It begins when the first peer
    listens, and its time goes on while muted, unheard; whoever waits for its end hears of it once one is not muted. At
    its end nothing more is sent, or it begins again if `loop`."""

    path: str | os.PathLike[str]
    """Where it is."""
    loop: bool = False
    """Begin again at the end, without a pause."""

    async def open(self, kind: Kind) -> Reader:
        """Open it. Raises SourceError if it is missing, unreadable, or has no such track."""
        return _FileReader(await _in_thread(lambda: _Opened(self, kind)))


class _Opened:
    """A file being decoded. Every method blocks and runs in a thread; a lock keeps them apart."""

    def __init__(self, source: File, kind: Kind) -> None:
        path = os.fspath(source.path)
        try:
            self._container: InputContainer = av.open(path)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise SourceError(source=path, why="there is no such file" if missing else f"{error.strerror}") from None
        except ValueError as error:
            raise SourceError(source=path, why=f"{error}") from None
        self._stream = _track(self._container, kind)
        if self._stream is None:
            self._container.close()
            raise SourceError(source=path, why=f"it has no {kind}")
        self._stream.thread_type = "AUTO"
        self._lock = threading.Lock()
        self._closed = False
        self._start = (self._container.start_time or 0) / av.time_base
        self._length = _length(self._container) if source.loop else None
        if source.loop and not self._length:
            self._container.close()
            raise SourceError(source=path, why="it cannot be repeated: it does not tell its length")
        self._offset = 0.0
        self._skip = 0.0
        self._frames = self._decode()

    def take(self, at: float, position: float) -> list[tuple[float, Frame]]:
        """Some of the frames that come after `position`, or from `at` on if that is late; none at the end."""
        taken: list[tuple[float, Frame]] = []
        with self._lock:
            if at - position > LATE:
                self._skip = at
            if at - position > _SEEK:
                self._seek(at)
            for timed in self._frames:
                if self._closed:
                    break
                taken.append(timed)
                if len(taken) == (_AHEAD if isinstance(timed[1], av.AudioFrame) else 1):
                    break
        return taken

    def _decode(self) -> Iterator[tuple[float, Frame]]:
        while not self._closed:
            yield from self._sound() if self._stream.type == "audio" else self._pictures()
            if self._length is None:
                return
            self._offset += self._length
            self._container.seek(0)

    def _sound(self) -> Iterator[tuple[float, Frame]]:
        end = math.inf if self._length is None else self._offset + self._length
        time = None
        for at, frame in self._blocks():
            time = self._offset + at - self._start if time is None else time
            if time > end - BLOCK / RATE / 2:
                return  # padding of the codec, which would sound over the next round
            if time + BLOCK / RATE > self._skip:
                yield time, frame
            time += BLOCK / RATE

    def _blocks(self) -> Iterator[tuple[float, av.AudioFrame]]:
        """Frames of 20 ms; the time of the first one counts, as samples are more exact than a file's time stamps."""
        resampler, at = Resampler(self._stream.codec_context.channels), self._start
        for frame in self._decoded():
            at = self._start if frame.time is None else frame.time
            yield from ((at, made) for made in resampler(frame))
        yield from ((at, made) for made in resampler(None))

    def _pictures(self) -> Iterator[tuple[float, Frame]]:
        for frame in self._decoded():
            time = self._offset + (frame.time or 0.0) - self._start
            if time >= self._skip:
                yield time, planar(frame)

    def _decoded(self) -> Iterator[Any]:
        try:
            yield from self._container.decode(self._stream)
        except av.EOFError:
            return

    def _seek(self, at: float) -> None:
        if self._length:
            self._offset = at // self._length * self._length
        self._container.seek(int((at - self._offset + self._start) * av.time_base))
        self._frames = self._decode()

    def release(self) -> None:
        """Close the file. Idempotent."""
        self._closed = True
        with self._lock:
            self._frames = iter(())
            self._container.close()


def _length(container: InputContainer) -> float:
    """Seconds of one round; the same for every track, so that they begin again together."""
    streams = [stream for stream in container.streams if stream.duration and stream.time_base]
    ends = [float((stream.duration or 0) * (stream.time_base or 0)) for stream in streams]
    return max([(container.duration or 0) / av.time_base, *ends])


class _FileReader:
    def __init__(self, file: _Opened) -> None:
        self._file: _Opened | None = file
        self._ready: deque[tuple[float, Frame]] = deque()
        self._taking: asyncio.Future[list[tuple[float, Frame]]] | None = None
        self._position = 0.0

    async def read(self, at: float) -> tuple[float | None, Frame] | None:
        while self._ready and at - self._ready[0][0] > LATE:
            self._ready.popleft()
        while not self._ready:
            taken = await self._take(at)
            if not taken:
                return None
            self._ready.extend(taken)
            self._position = taken[-1][0]
        return self._ready.popleft()

    async def _take(self, at: float) -> list[tuple[float, Frame]]:
        if self._file is None:
            return []
        if self._taking is None:
            self._taking = asyncio.get_running_loop().run_in_executor(None, self._file.take, at, self._position)
        # A thread cannot be cancelled: what it was asked for is taken by the next read.
        await asyncio.wait((self._taking,))
        taking, self._taking = self._taking, None
        return taking.result()

    async def close(self) -> None:
        file, self._file = self._file, None
        self._ready.clear()
        if file is not None:
            await asyncio.get_running_loop().run_in_executor(None, file.release)

    def abort(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            asyncio.get_running_loop().run_in_executor(None, file.release)


# --- devices ----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Device:
    """A microphone, a camera or a screen, as FFmpeg reaches it. Opened when it is first on, closed while it is off.
    As the `speaker` of `AiortcMedia`: a loudspeaker. `devices()` lists those there are.

    Without a name: the device named in the session's settings, else the system's default."""

    name: str | None = None
    """FFmpeg's name of the device, for example "default", "hw:1", "/dev/video0", ":0.0"."""
    format: str | None = None
    """FFmpeg's name of the way to it, for example "alsa", "pulse", "v4l2", "x11grab"; None means the platform's."""
    options: dict[str, str] = attrs.field(factory=dict)
    """More options for FFmpeg, for example {"video_size": "640x480", "framerate": "30"}."""

    @property
    def captures(self) -> bool:
        """It is a device."""
        return True

    @property
    def flows(self) -> bool:
        """It is closed while it is off."""
        return False

    async def open(self, kind: Kind) -> Reader:
        """Open it. Raises MediaDeviceError if it is missing, in use, or this platform has no way to it."""
        way, name = reach("audio_input" if kind == "audio" else "video_input", self.name, self.format)
        # Reading a device blocks until it has something: a thread of its own keeps others from waiting.
        pool = ThreadPoolExecutor(1, thread_name_prefix=f"statecore {kind} device")
        opening = asyncio.get_running_loop().run_in_executor(pool, _open_device, way, name, kind, self.options)
        try:
            return _DeviceReader(await asyncio.shield(opening), kind, pool)
        except BaseException as error:
            # A thread that still opens something cannot be waited for; it closes what it opened.
            pool.shutdown(wait=not isinstance(error, asyncio.CancelledError))
            opening.add_done_callback(_close_device)
            raise


def _open_device(way: str, name: str, kind: Kind, options: dict[str, str]) -> InputContainer:
    try:
        container = av.open(name, format=way, options=options)
    except (OSError, ValueError) as error:
        raise MediaDeviceError(why=f"{kind} from {name!r} by {way}: {error}") from None
    if _track(container, kind) is None:
        container.close()
        raise MediaDeviceError(why=f"{name!r} has no {kind}")
    return container


def _close_device(opening: asyncio.Future[InputContainer]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class _DeviceReader:
    def __init__(self, container: InputContainer, kind: Kind, pool: ThreadPoolExecutor) -> None:
        self._container = container
        self._pool = pool
        self._stream = _track(container, kind)
        self._frames: Iterator[Any] = container.decode(self._stream)
        self._resampler = Resampler(self._stream.codec_context.channels) if kind == "audio" else None
        self._ready: deque[Frame] = deque()
        self._closed = False

    async def read(self, at: float) -> tuple[float | None, Frame] | None:
        del at  # what is live cannot be late
        while not self._ready:
            # The pool has one thread, so a read after a cancelled one waits its turn; frames are kept by the thread.
            if not await asyncio.get_running_loop().run_in_executor(self._pool, self._take):
                return None
        return None, self._ready.popleft()

    def _take(self) -> bool:
        frame = None if self._closed else next(self._frames, None)
        if frame is None:
            return bool(self._ready)
        self._ready.extend(self._resampler(frame) if self._resampler else [planar(frame)])
        return True

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._pool, self._container.close)
            self._pool.shutdown(wait=True)

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self._pool.submit(self._container.close)
            self._pool.shutdown(wait=False)


__all__ = ["Device", "File"]
