"""What can be sent: every kind of source, read as a session reads it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from aiortc.mediastreams import AudioStreamTrack, MediaStreamTrack, VideoStreamTrack

from statecore.errors import MediaDeviceError, SourceError
from statecore.ports import AudioFrame, Kind, VideoFrame
from statecore.testing.signals import dominant_hz, draw_clock, read_clock, tone
from statecore_aiortc import Device, File, Frames, Picture, Samples, Source, Stream, Tone, Track
from statecore_aiortc.session import as_source


async def take(source: Source, kind: Kind, count: int = 10_000, at: float = 0.0) -> list[tuple[float | None, Any]]:
    """The source's first frames, read in time with themselves, from a time on."""
    reader = await source.open(kind)
    taken: list[tuple[float | None, Any]] = []
    try:
        while len(taken) < count and (item := await reader.read(at)) is not None:
            taken.append(item)
            at = item[0] or at
    finally:
        await reader.close()
    return taken


def heard(taken: list[tuple[float | None, Any]]) -> float:
    """The frequency of the sound that was read; it is also checked to be in frames of 20 ms at 48,000."""
    assert {(frame.samples, frame.sample_rate, frame.format.name) for _, frame in taken} == {(960, 48_000, "s16")}
    samples = [frame.to_ndarray().reshape(-1, len(frame.layout.channels)) for _, frame in taken]
    return dominant_hz(np.concatenate(samples), 48_000)


def clocks(taken: list[tuple[float | None, Any]]) -> list[int | None]:
    """The times that the pictures show."""
    return [read_clock(frame.to_ndarray(format="rgb24")) for _, frame in taken]


def test_file_of_sound(wav: Path) -> None:
    """A WAV file of another rate is read whole, at its pitch, with even times."""
    taken = asyncio.run(take(File(wav), "audio"))
    assert heard(taken) == pytest.approx(500, rel=0.01)
    assert [time for time, _ in taken] == pytest.approx([count * 0.02 for count in range(100)])


def test_file_of_both(mp4: Path) -> None:
    """An MP4 file gives its sound and its pictures, each picture at the time it shows."""

    async def main() -> None:
        assert heard((await take(File(mp4), "audio"))[:-1]) == pytest.approx(700, rel=0.01)
        pictures = await take(File(mp4), "video")
        assert clocks(pictures) == [round(count * 1000 / 15) for count in range(45)]
        assert clocks(pictures) == [round(1000 * (time or 0)) for time, _ in pictures]

    asyncio.run(main())


def test_file_begins_again(mp4: Path) -> None:
    """A repeated file goes on without a gap or an overlap, sound and pictures in rounds of one length."""

    async def main() -> None:
        sound = [time or 0 for time, _ in await take(File(mp4, loop=True), "audio", 400)]
        steps = np.diff(sound)
        assert steps.min() > 0.015
        assert steps.max() < 0.05
        shown = clocks(await take(File(mp4, loop=True), "video", 100))
        assert shown[45:90] == shown[:45]

    asyncio.run(main())


@pytest.mark.parametrize("at", [1.0, 2.5])
def test_file_skips_what_was_missed(mp4: Path, at: float) -> None:
    """Who reads late gets what is due now, whether near (decoded) or far (sought)."""

    async def main() -> None:
        (time, _), *_ = await take(File(mp4), "video", 1, at)
        assert time == pytest.approx(at, abs=1 / 14)
        (time, _), *_ = await take(File(mp4), "audio", 1, at)
        assert time == pytest.approx(at, abs=0.03)
        (time, picture), *_ = await take(File(mp4, loop=True), "video", 1, at + 6)
        assert time == pytest.approx(at + 6, abs=1 / 14)
        assert clocks([(time, picture)]) == [pytest.approx(at * 1000, abs=70)]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("source", "kind", "why"),
    [
        (File("/nowhere/nothing.wav"), "audio", "no such file"),
        (File(__file__), "audio", "Invalid data"),
        (File("/"), "audio", "directory"),
        (Tone(), "video", "no video"),
        (Samples(np.zeros(10, np.int16)), "screen", "no screen"),
        (Samples(np.zeros((2, 2, 2))), "audio", "neither mono nor stereo"),
        (Samples(np.zeros(10, np.int64)), "audio", "neither int16 nor float"),
        (Picture(), "audio", "no audio"),
        (Track(AudioStreamTrack()), "video", "no video"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_unfit_sources_are_refused(source: Source, kind: Kind, why: str) -> None:
    """A source that is missing, unreadable or of another kind raises SourceError when it is opened."""
    with pytest.raises(SourceError, match=why):
        asyncio.run(source.open(kind))


def test_file_without_the_track(wav: Path) -> None:
    """A file that has no pictures is refused as video."""
    with pytest.raises(SourceError, match="no video"):
        asyncio.run(File(wav).open("video"))


def test_open_cancelled(wav: Path) -> None:
    """Opening a file can be cancelled; the file is closed then."""

    async def main() -> None:
        opening = asyncio.create_task(File(wav).open("audio"))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()

    asyncio.run(main())
    assert not [link for link in Path("/proc/self/fd").iterdir() if link.exists() and link.resolve() == wav]


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_read_cancelled(mp4: Path, kind: Kind) -> None:
    """A cancelled read loses nothing, however far it came: the next one goes on where it was."""

    async def main(source: Source, step: float) -> None:
        reader = await source.open(kind)
        taken = 0
        for turns in range(12):
            reading = asyncio.ensure_future(reader.read(0.0))
            for _ in range(turns):
                await asyncio.sleep(0)
            time.sleep(0.003 * (turns % 3))  # noqa: ASYNC251 - lets the thread finish while the loop does not look
            reading.cancel()
            await asyncio.wait({reading})
            taken += not reading.cancelled()
        item = await reader.read(0.0)
        assert item is not None
        assert item[0] == pytest.approx(taken * step, abs=0.001)
        await reader.close()

    asyncio.run(main(File(mp4), 0.02 if kind == "audio" else 1 / 15))
    if kind == "video":
        asyncio.run(main(Frames(lambda at: draw_clock(64, 48, round(at * 1000)), fps=10), 0.1))


@pytest.mark.parametrize(
    "source",
    [
        Tone(500),
        Samples(tone(500, 48_000, 1.0), loop=True),
        Samples(tone(500, 8_000, 1.0)[:, 0], rate=8_000),
        Samples(np.repeat(tone(500, 48_000, 1.0), 2, axis=1) / 32768),
        Samples(lambda first, count: np.sin(2 * np.pi * np.arange(first, first + count) / 96)),
    ],
)
def test_generated_sound(source: Source) -> None:
    """Tones, arrays and functions of any rate and form are sound at their pitch."""
    assert heard(asyncio.run(take(source, "audio", 40))) == pytest.approx(500, rel=0.01)


def test_generated_sound_ends_and_skips() -> None:
    """An array ends with its last sample; who reads late gets what is due."""
    samples = Samples(tone(500, 48_000, 0.1))
    assert len(asyncio.run(take(samples, "audio"))) == 5
    assert asyncio.run(take(Tone(), "audio", 1, 7.0))[0][0] == pytest.approx(7.0, abs=0.02)


def test_pictures_drawn() -> None:
    """A function draws pictures for their times, at the rate asked for; the default picture moves."""

    async def main() -> None:
        drawn = Frames(lambda time: draw_clock(161, 121, round(time * 1000)), fps=10)
        taken = await take(drawn, "video", 5)
        assert clocks(taken) == [0, 100, 200, 300, 400]
        assert [round(1000 * (time or 0)) for time, _ in taken] == [0, 100, 200, 300, 400]
        assert (await take(drawn, "video", 1, 3.0))[0][0] == pytest.approx(3.0)
        (_, one), (_, other) = await take(Picture(160, 120), "screen", 2)
        assert (one.width, one.height, one.format.name) == (160, 120, "yuv420p")
        assert not np.array_equal(one.to_ndarray(), other.to_ndarray())

    asyncio.run(main())


def test_unfit_picture() -> None:
    """A function that draws no picture raises SourceError, which says what was drawn."""
    with pytest.raises(SourceError, match="float64"):
        asyncio.run(take(Frames(lambda _: np.zeros((4, 4, 3))), "video", 1))


def test_own_track() -> None:
    """An application's track is read, converted, and never stopped."""

    async def main() -> None:
        tracks: list[tuple[MediaStreamTrack, Kind]] = [(AudioStreamTrack(), "audio"), (VideoStreamTrack(), "video")]
        for track, kind in tracks:
            taken = await take(as_source(track), kind, 3)
            assert [time for time, _ in taken] == [None] * 3
            assert track.readyState == "live"
            track.stop()
            with pytest.raises(SourceError, match="ended"):
                await Track(track).open(kind)

    asyncio.run(main())


async def _sound(count: int) -> AsyncIterator[AudioFrame]:
    for each in range(count):
        yield AudioFrame(samples=tone(500, 24_000, 0.05, each * 0.05 * 500 * 2 * np.pi), rate=24_000, time=each * 0.05)


async def _pictures() -> AsyncIterator[VideoFrame]:
    yield VideoFrame(pixels=draw_clock(64, 48, 77), time=0.0)


def test_own_frames() -> None:
    """An async iterable of the port's frames is a source, and ends with it."""

    async def main() -> None:
        assert heard(await take(as_source(_sound(20)), "audio", 45)) == pytest.approx(500, rel=0.01)
        assert clocks(await take(Stream(_pictures()), "video")) == [77]
        with pytest.raises(SourceError, match="VideoFrame for audio"):
            await take(Stream(_pictures()), "audio")

    asyncio.run(main())


def test_own_frames_end_in_their_own_time() -> None:
    """A generator that takes a while to end when it is stopped is waited for, then closed; nothing is reported."""
    ended = []
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[AudioFrame]:
        begun.set()
        try:
            await asyncio.Event().wait()
            yield AudioFrame(samples=np.zeros((480, 1), np.int16), rate=48000, time=0.0)
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            ended.append(True)

    async def main() -> None:
        reader = await Stream(slow()).open("audio")
        reading = asyncio.create_task(reader.read(0.0))
        await asyncio.wait_for(begun.wait(), 5)
        reading.cancel()
        reader.abort()
        await reader.close()
        assert ended == [True]
        await asyncio.wait([reading])

    asyncio.run(main())


def test_devices() -> None:
    """A device is read by a thread of its own, which ends with it."""

    async def main() -> None:
        microphone = Device("sine=frequency=500:sample_rate=44100", format="lavfi")
        camera = Device("testsrc=size=160x120:rate=30", format="lavfi")
        assert microphone.captures
        assert heard(await take(microphone, "audio", 40)) == pytest.approx(500, rel=0.01)
        assert len(await take(camera, "video", 3)) == 3
        with pytest.raises(MediaDeviceError, match="no audio"):
            await camera.open("audio")

    asyncio.run(main())
    assert not [thread for thread in threading.enumerate() if "device" in thread.name]


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_missing_device(kind: Kind) -> None:
    """A device that is not there raises MediaDeviceError and names it."""
    with pytest.raises(MediaDeviceError, match="nothing-here"):
        asyncio.run(Device("/dev/nothing-here").open(kind))


def test_unknown_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system's way to its devices is unknown, the error says what to give."""
    monkeypatch.setattr("sys.platform", "elsewhere")
    with pytest.raises(MediaDeviceError, match="which device and format"):
        asyncio.run(Device().open("audio"))


def test_what_is_a_source() -> None:
    """Paths, tracks, iterables and sources are taken for what they are; anything else is refused."""
    assert as_source("a.wav").path == "a.wav"  # type: ignore[attr-defined]
    assert as_source(Path("a.wav")).path == Path("a.wav")  # type: ignore[attr-defined]
    made = attrs.evolve(Tone(), hz=3.0)
    assert as_source(made) is made
    with pytest.raises(SourceError, match="no source"):
        as_source(3)
