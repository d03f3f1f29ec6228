"""Writing what arrives from one peer to a file, in a thread of its own.

Time in the file is true: silence stands where nothing arrived. A `.wav` file holds the sound only; any other holds
sound and camera, as WebM (VP8 and Opus, for every browser), MP4 (H.264 and AAC) or what FFmpeg makes of the suffix. A
shared screen goes to a file beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import tempfile
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from statecore.errors import InvalidArgument, MediaDeviceError
from statecore.ports import Kind

from .sources import silence

_RATE = 48_000
_MS = Fraction(1, 1000)
_WAIT = 1.0
"""Seconds of sound to wait for the first picture, whose size is the recording's."""
_GAP = 0.06
"""Seconds between two frames of sound that are taken for jitter instead of silence."""
_BACKLOG = 500
"""Frames that may wait for the disk; more are dropped, and time stays true."""
_SURE = frozenset({".wav", ".webm", ".mkv", ".mp4", ".mov"})
"""Forms that hold what is written to them; another is tried first."""
_AUDIO = {".wav": "pcm_s16le", ".mp4": "aac", ".mov": "aac"}
_VIDEO = {".mp4": "libx264", ".mov": "libx264"}
_OPTIONS = {
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libx264": {"preset": "veryfast", "tune": "zerolatency"},
}


class Names:
    """Where recordings go: a directory, or a path which may hold {session}, {uid}, {pid} and {kind}.

    A path without placeholders is the first peer's; the next ones get their uid added to it."""

    def __init__(self, record: str | Path) -> None:
        self._template = str(record)
        if Path(record).is_dir() or not Path(record).suffix:
            self._template = str(Path(record) / "{session}-{uid}-{pid}.webm")
        self._taken: set[Path] = set()
        try:
            self._format("session", "uid", "pid", "audio")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            why = f"record path {self._template!r}: {error!r} is no placeholder"
            raise InvalidArgument(why, name="record") from None
        _check_form(self._format("session", "uid", "pid", "audio").suffix, video=self.video)

    @property
    def video(self) -> bool:
        """Whether recordings hold pictures."""
        return Path(self._template).suffix != ".wav"

    def take(self, session: str, uid: str, pid: str, kind: str) -> Path:
        """A path that no other recording is being written to."""
        session, uid, pid = (re.sub(r"[^\w.@+-]", "_", text) for text in (session, uid, pid))
        wanted = path = self._format(session, uid, pid, kind)
        if kind == "screen" and "{kind}" not in self._template:
            wanted = path = path.with_stem(f"{path.stem}-screen")
        number = 1
        while path in self._taken:
            path = wanted.with_stem(f"{wanted.stem}-{uid}" if number == 1 else f"{wanted.stem}-{uid}-{number}")
            number += 1
        self._taken.add(path)
        return path

    def give_back(self, path: Path) -> None:
        """The recording is complete."""
        self._taken.discard(path)

    def _format(self, session: str, uid: str, pid: str, kind: str) -> Path:
        return Path(self._template.format(session=session, uid=uid, pid=pid, kind=kind))


def _check_form(suffix: str, *, video: bool) -> None:
    """A call is over when it turns out that it cannot be recorded: of an unusual form one of silence is made before."""
    if suffix in _SURE:
        return
    why = ""
    for pictures in dict.fromkeys((video, False)):  # what takes sound alone is good for calls without video
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = _File(Path(folder) / f"form{suffix}", True, pictures)
                with contextlib.closing(file):
                    file.add("audio", silence(_RATE // 50), 0.0)
                    file.finish()
        except (OSError, ValueError) as error:  # of FFmpeg, whose own are both
            why = str(getattr(error, "strerror", None) or error)
        else:
            return
    raise InvalidArgument(f"nothing can be recorded as {suffix!r} ({why}): say .wav or .webm", name="record")


class Recorder:
    """Writes one file. Nothing is opened before the first frame. A fault ends it and is told once."""

    def __init__(self, path: Path, *, audio: bool, video: bool, fault: Callable[[Exception], None]) -> None:
        self.path = path
        self._wanted = (audio, video and path.suffix != ".wav")
        self._fault = fault
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[tuple[Kind, Any, float] | None] = queue.SimpleQueue()
        self._complete: asyncio.Future[None] | None = None
        self._stopped = False

    def add(self, kind: Kind, frame: Any, when: float) -> None:
        """Write a frame that is due at a time of the loop's clock. Returns at once."""
        if self._stopped:
            return
        if self._complete is None:
            self._complete = self._loop.create_future()
            # No program waits at its end for a disk that takes nothing any more.
            threading.Thread(target=self._run, args=(self._complete,), name="statecore recorder", daemon=True).start()
        if self._jobs.qsize() < _BACKLOG:
            self._jobs.put((kind, frame, when))

    def _run(self, complete: asyncio.Future[None]) -> None:
        error = None
        try:
            self._write()
        except Exception as raised:  # noqa: BLE001 - whatever it is, the call goes on
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
            self._loop.call_soon_threadsafe(self._ended, complete, error)

    def _write(self) -> None:
        file = _File(self.path, *self._wanted)
        try:
            while (job := self._jobs.get()) is not None:
                file.add(*job)
            file.finish()
        finally:
            file.close()

    def _ended(self, complete: asyncio.Future[None], error: Exception | None) -> None:
        self._stopped = True
        self._jobs = queue.SimpleQueue()
        complete.set_result(None)
        if error is not None:
            self._fault(MediaDeviceError(why=f"recording to {str(self.path)!r}: {str(error) or repr(error)}"))

    def abort(self) -> None:
        """Finish in the background. Idempotent."""
        if not self._stopped:
            self._stopped = True
            self._jobs.put(None)

    async def close(self) -> None:
        """Finish; the file is complete after this. Idempotent. Safe to cancel: it is finished in the background."""
        self.abort()
        if self._complete is not None:
            await asyncio.wait((self._complete,))


class _File:
    """The file itself."""

    def __init__(self, path: Path, audio: bool, video: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._suffix = path.suffix
        self._wanted = (audio, video)
        self._container = av.open(str(path), "w")
        self._audio: Any = None
        self._video: Any = None
        self._waiting: list[tuple[Kind, Any, float]] | None = []
        self._began: float | None = None
        self._samples = 0
        self._last = -1
        self._resampler: Any = None
        self._reformat = VideoReformatter().reformat

    def finish(self) -> None:
        """Write what is still under way."""
        self._begin()
        for stream in (self._audio, self._video):
            if stream is not None:
                self._container.mux(stream.encode(None))

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def add(self, kind: Kind, frame: Any, when: float) -> None:
        """Write a frame. The first ones wait until the size of the pictures is known."""
        self._began = when if self._began is None else self._began
        time = max(0.0, when - self._began)
        if self._waiting is not None:
            self._waiting.append((kind, frame, time))
            if self._wanted[1] and kind == "audio" and time < _WAIT:
                return
            self._begin()
        else:
            self._write(kind, frame, time)

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        pictures = [frame for kind, frame, _ in waiting if kind != "audio"]
        if self._wanted[0]:
            self._audio = self._container.add_stream(_AUDIO.get(self._suffix, "libopus"), rate=_RATE)
            self._audio.layout = "stereo"
        if self._wanted[1]:
            codec = _VIDEO.get(self._suffix, "libvpx")
            self._video = self._container.add_stream(codec, rate=30, options=_OPTIONS[codec])
            self._video.width, self._video.height = (pictures[0].width, pictures[0].height) if pictures else (640, 480)
            self._video.pix_fmt = "yuv420p"
            self._video.bit_rate = 1_000_000
            self._video.codec_context.time_base = _MS
            if not pictures:
                # A stream without a picture confuses players.
                black = av.VideoFrame(640, 480, "rgb24").reformat(format="yuv420p")
                self._write("video", black, 0.0)
        for job in waiting:
            self._write(*job)

    def _write(self, kind: Kind, frame: Any, time: float) -> None:
        if kind == "audio":
            self._sound(frame, time)
        elif self._video is not None:
            self._picture(frame, time)

    def _sound(self, frame: Any, time: float) -> None:
        if self._audio is None:
            return
        missing = time - self._samples / _RATE
        if missing < -_GAP:
            return  # it overlaps what was written
        left = round(missing * _RATE) if missing > _GAP else 0
        while left:
            # A second at a time: somebody may have been muted for hours.
            self._encode(silence(min(left, _RATE)))
            left -= min(left, _RATE)
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="s16", layout="stereo", rate=_RATE)
        frame.pts = None
        for made in self._resampler.resample(frame):
            self._encode(made)

    def _encode(self, frame: Any) -> None:
        frame.pts, frame.time_base = self._samples, Fraction(1, _RATE)
        self._samples += frame.samples
        self._container.mux(self._audio.encode(frame))

    def _picture(self, frame: Any, time: float) -> None:
        # Not the frame's own reformatter: readers use that on the event loop, and two threads in one lock up.
        made = self._reformat(frame, self._video.width, self._video.height, "yuv420p")
        self._last = max(self._last + 1, round(time * 1000))
        made.pts, made.time_base = self._last, _MS
        made.pict_type = 0
        self._container.mux(self._video.encode(made))


__all__ = ["Names", "Recorder"]
