"""Recording what arrives."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from statecore.errors import InvalidArgument, MediaDeviceError
from statecore.settings import CallSettings
from statecore.testing._media_probe import chunk, hears, sees
from statecore.testing.signals import dominant_hz, read_clock, rms_dbfs
from statecore_aiortc import AiortcMedia, Frames, Tone
from statecore_aiortc._record import Recorder
from statecore_aiortc.sources import BLOCK, silence

Media = Callable[..., AiortcMedia]


def sound(path: Path) -> tuple[Any, int]:
    """The sound of a file: (samples of one channel, rate)."""
    with av.open(str(path)) as file:
        frames = list(file.decode(audio=0))
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
        made = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
    return np.concatenate(made), 48_000


def pictures(path: Path) -> list[tuple[float, int | None]]:
    """The pictures of a file: (time in the file, time that is shown)."""
    with av.open(str(path)) as file:
        return [(frame.time or 0.0, read_clock(frame.to_ndarray(format="rgb24"))) for frame in file.decode(video=0)]


def test_sound_with_a_silence(media: Media, meet: Any, tmp_path: Path) -> None:
    """A WAV recording holds the tone, and the true length of the silence while the sender was muted."""
    path = tmp_path / "new" / "out.wav"
    muted = 0.0

    async def main() -> None:
        nonlocal muted
        time = asyncio.get_running_loop().time
        async with meet(media(500.0), media(record=path)) as (alice, bob):
            frames = bob.session.audio(alice.pid)
            await chunk(frames, 0.5)
            await alice.session.set_enabled("audio", False)
            muted = -time()
            await chunk(alice.session.audio(bob.pid), 0.7)
            await alice.session.set_enabled("audio", True)
            muted += time()
            await chunk(frames, 0.8)

    asyncio.run(main())
    samples, rate = sound(path)
    assert dominant_hz(samples[rate // 10 : rate // 2], rate) == pytest.approx(500, rel=0.01)
    assert dominant_hz(samples[-rate // 2 :], rate) == pytest.approx(500, rel=0.01)
    blocks = samples[: len(samples) // 480 * 480].reshape(-1, 480)
    silent = sum(rms_dbfs(block) < -60 for block in blocks) / 100
    assert muted >= 0.6
    assert silent == pytest.approx(muted, abs=0.15)


@pytest.mark.parametrize("suffix", ["webm", "mp4"])
def test_sound_and_pictures(media: Media, meet: Any, tmp_path: Path, suffix: str) -> None:
    """A recording of a video call plays: the tone, and pictures whose clock runs as the file's."""

    async def main() -> None:
        record = tmp_path / f"{{session}}-{{uid}}.{suffix}"
        async with meet(media(500.0), media(record=record), video=True) as (alice, bob):
            await sees(bob.session, alice.pid, 5, count=10)

    asyncio.run(main())
    path = tmp_path / f"room-alice.{suffix}"
    samples, rate = sound(path)
    assert dominant_hz(samples[rate // 5 :], rate) == pytest.approx(500, rel=0.01)
    shown = [(time, clock) for time, clock in pictures(path) if clock is not None]
    assert len(shown) >= 8
    ahead = [time - clock / 1000 for time, clock in shown]
    assert max(ahead) - min(ahead) < 0.05


def test_call_without_pictures(media: Media, meet: Any, tmp_path: Path) -> None:
    """A file for pictures of a call that has none holds a black one, so that it plays; a directory will do."""

    async def main() -> None:
        async with meet(media(500.0), media(record=tmp_path)) as (alice, bob):
            await hears(bob.session, alice.pid, 500, 5)

    asyncio.run(main())
    (path,) = tmp_path.iterdir()
    assert path.name == "room-alice-alice-1.webm"
    assert dominant_hz(*sound(path)) == pytest.approx(500, rel=0.01)
    assert len(pictures(path)) == 1


def test_screen_goes_beside(media: Media, meet: Any, tmp_path: Path) -> None:
    """A shared screen is recorded to a file of its own, with its own clock."""

    async def main() -> None:
        async with meet(media(), media(record=tmp_path / "out.webm"), video=True) as (alice, bob):
            await alice.session.set_source("screen", Frames(lambda time: _clock(time + 100), fps=12))
            await sees(bob.session, alice.pid, 5, "screen", count=5)

    asyncio.run(main())
    assert {path.name for path in tmp_path.iterdir()} == {"out.webm", "out-screen.webm"}
    assert all(clock is None or clock >= 100_000 for _, clock in pictures(tmp_path / "out-screen.webm"))
    assert any(clock is not None and clock < 100_000 for _, clock in pictures(tmp_path / "out.webm"))


def _clock(time: float) -> Any:
    from statecore.testing.signals import draw_clock

    return draw_clock(160, 120, round(time * 1000))


def test_audio_only_has_no_pictures(media: Media, meet: Any, tmp_path: Path) -> None:
    """The recording of a session that is audio only has no pictures at all."""

    async def main() -> None:
        settings = CallSettings(audio_only=True)
        async with meet(media(500.0), media(record=tmp_path / "a.webm"), settings=settings) as (alice, bob):
            await hears(bob.session, alice.pid, 500, 5)

    asyncio.run(main())
    with av.open(str(tmp_path / "a.webm")) as file:
        assert [stream.type for stream in file.streams] == ["audio"]


def test_two_recordings_of_one_name(media: Media, meet: Any, tmp_path: Path) -> None:
    """One adapter with a plain path that serves both sides writes two files, not one into the other."""

    async def main() -> None:
        both = media(500.0, record=tmp_path / "out.wav")
        async with meet(both, both) as (alice, bob):
            await hears(bob.session, alice.pid, 500, 5)
            await hears(alice.session, bob.pid, 500, 5)

    asyncio.run(main())
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    assert all(dominant_hz(*sound(path)) == pytest.approx(500, rel=0.01) for path in files)


def test_unwritable_recording(media: Media, meet: Any, tmp_path: Path) -> None:
    """A recording that cannot be written is one fault; the call goes on."""
    (tmp_path / "file").write_text("in the way")

    async def main() -> None:
        async with meet(media(500.0), media(record=tmp_path / "file" / "out.wav")) as (alice, bob):
            fault = await bob.wait_fault()
            assert isinstance(fault, MediaDeviceError)
            assert "out.wav" in str(fault)
            await hears(bob.session, alice.pid, 500, 5)
            assert len(bob.faults) == 1

    asyncio.run(main())


def test_unknown_placeholder() -> None:
    """A path with a placeholder that means nothing is refused when the adapter is made."""
    with pytest.raises(InvalidArgument, match="usr"):
        AiortcMedia(audio=Tone(), record="{usr}.wav")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
@pytest.mark.parametrize("suffix", [".foo", ".mp3", ".flac", ".WAV", ".h264"])
def test_a_form_that_cannot_be_written_is_refused_before_the_call(tmp_path: Path, suffix: str) -> None:
    """One that FFmpeg does not know, or that does not hold what is recorded; an unusual one that does is taken. Nothing
    is written for that where the recording would be."""
    with pytest.raises(InvalidArgument, match=f"nothing can be recorded as '{suffix}'"):
        AiortcMedia(record=tmp_path / f"heard{suffix}")
    AiortcMedia(record=tmp_path / "heard.ogg")
    AiortcMedia(record=tmp_path / "heard.mka")  # good for sound alone
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_holds_up_nobody(tmp_path: Path) -> None:
    """Closing can be given up, the program ends, and the file is finished if the disk goes on after that."""
    path = tmp_path / "stuck.wav"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    async def main() -> threading.Thread:
        before = set(threading.enumerate())
        faults: list[Exception] = []
        recorder = Recorder(path, audio=True, video=False, fault=faults.append)
        for number in range(50):
            recorder.add("audio", silence(BLOCK), number * 0.02)
        (thread,) = set(threading.enumerate()) - before
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(recorder.close(), 0.3)
        assert faults == []
        return thread

    thread = asyncio.run(main())
    assert thread.daemon
    os.set_blocking(reading, True)
    taken = 0
    while data := os.read(reading, 65_536):
        taken += len(data)
    os.close(reading)
    thread.join()
    assert taken > 50 * BLOCK * 4


def test_whatever_breaks_a_recording_is_told(tmp_path: Path) -> None:
    """An encoder that refuses the pictures' size is a fault, once; what comes after that is not recorded."""

    async def main() -> None:
        told: asyncio.Queue[Exception] = asyncio.Queue()
        recorder = Recorder(tmp_path / "odd.mp4", audio=False, video=True, fault=told.put_nowait)
        recorder.add("video", av.VideoFrame(161, 121, "rgb24"), 0.0)
        error = await asyncio.wait_for(told.get(), 20)
        assert isinstance(error, MediaDeviceError)
        assert f"recording to {str(tmp_path / 'odd.mp4')!r}" in str(error)
        recorder.add("video", av.VideoFrame(161, 121, "rgb24"), 0.1)
        await recorder.close()
        assert told.empty()

    asyncio.run(main())
