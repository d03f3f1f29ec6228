"""Media in memory passes the suite, moves frames bit for bit, and fails where it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from statecore.errors import (
    MediaConnectionFailed,
    MediaDeviceError,
    MediaError,
    MediaTimeout,
    NegotiationFailed,
    SourceError,
)
from statecore.ports import AudioFrame, MediaPeer, MediaSession, VideoFrame
from statecore.settings import CallSettings
from statecore.testing.loop import VirtualLoop, run_virtual
from statecore.testing.media import ClockPicture, FakeMedia, MediaConformance, MeetingRoom, RoomHost, Tone
from statecore.testing.signals import dominant_hz, read_clock


class TestFakeMedia(MediaConformance):
    """FakeMedia is a media adapter like any other."""

    def adapter(self, *, audio: Any, video: Any) -> FakeMedia:
        """Frames in memory."""
        return FakeMedia(audio, video)

    def tone(self, hz: float) -> Tone:
        """A sine."""
        return Tone(hz)

    def ending(self, hz: float, seconds: float) -> Any:
        """A sine with an end."""
        return self._first(Tone(hz), round(seconds / 0.02))

    async def _first(self, source: Tone, count: int) -> AsyncIterator[AudioFrame]:
        async for frame in source:
            yield frame
            if not (count := count - 1):
                return

    def picture(self) -> ClockPicture:
        """A clock."""
        return ClockPicture(fps=25)

    def new_loop(self) -> VirtualLoop:
        """Its time is the loop's."""
        return VirtualLoop()


def in_room(main: Callable[[MeetingRoom], Awaitable[None]]) -> None:
    """Run in a room that is closed afterwards, within 10 s; no rule may be broken."""

    async def whole() -> None:
        async with asyncio.timeout(10), MeetingRoom() as room:
            await main(room)
        assert room.violations == []

    run_virtual(whole())


async def pair(
    room: MeetingRoom, one: FakeMedia | None = None, other: FakeMedia | None = None, **kinds: bool
) -> tuple[RoomHost, RoomHost]:
    """Two who are connected."""
    alice, bob = room.host("alice"), room.host("bob")
    for host, media in ((alice, one), (bob, other)):
        await host.open(media or FakeMedia(), **kinds)
    await alice.wait_connected(bob.pid)
    await bob.wait_connected(alice.pid)
    return alice, bob


def noise(seed: int) -> AudioFrame:
    """A frame that is like no other."""
    samples = np.random.default_rng(seed).integers(-32768, 32768, (160, 2), np.int16)
    return AudioFrame(samples=samples, rate=8000, time=seed * 0.02)


# --- frames -----------------------------------------------------------------------------------------------------------


def test_what_is_sent_is_what_arrives() -> None:
    """Every frame of an application's own source arrives, in order, bit for bit, to two readers."""

    async def main(room: MeetingRoom) -> None:
        start, sent = asyncio.Event(), [noise(seed) for seed in range(20)]

        async def source() -> AsyncIterator[AudioFrame]:
            await start.wait()
            for frame in sent:
                yield frame

        _, bob = await pair(room, FakeMedia(source()))
        alice = room.hosts[0]
        readers = [bob.session.audio(alice.pid) for _ in range(2)]
        start.set()
        for reader in readers:
            for frame in sent:
                got = await anext(reader)
                assert np.array_equal(got.samples, frame.samples)
                assert (got.rate, got.time) == (frame.rate, frame.time)

    in_room(main)


def test_tone_is_continuous() -> None:
    """A tone is 20 ms a frame without a seam: a second of it has one frequency and no step."""

    async def main(room: MeetingRoom) -> None:
        _, bob = await pair(room, FakeMedia(Tone(441.7, rate=16_000, amplitude=0.25)))
        reader = bob.session.audio(room.hosts[0].pid)
        frames = [await anext(reader) for _ in range(25)]
        samples = np.concatenate([frame.samples for frame in frames])
        assert samples.shape == (25 * 320, 1)
        assert dominant_hz(samples, 16_000) == pytest.approx(441.7, rel=1e-3)
        # The steepest step of such a sine, and one of rounding.
        assert np.abs(np.diff(samples[:, 0].astype(int))).max() <= 0.25 * 32767 * 2 * np.pi * 441.7 / 16_000 + 1
        assert [round(frame.time - frames[0].time, 6) for frame in frames] == [round(n * 0.02, 6) for n in range(25)]

    in_room(main)


def test_clock_picture_carries_the_time_of_the_loop() -> None:
    """A clock picture shows the loop's milliseconds at the moment it was made."""

    async def main(room: MeetingRoom) -> None:
        _, bob = await pair(room, FakeMedia(video=ClockPicture(320, 240, fps=50)), video=True)
        reader = bob.session.video(room.hosts[0].pid)
        frame = await anext(reader)
        clock = read_clock(frame.pixels)
        assert frame.pixels.shape == (240, 320, 3)
        assert clock is not None
        assert (round(asyncio.get_running_loop().time() * 1000) - clock) % (1 << 24) < 5000

    in_room(main)


def test_late_sources_skip() -> None:
    """A source that was muted for long goes on where the time is now, instead of making up for it."""

    async def main(room: MeetingRoom) -> None:
        alice, bob = await pair(room)
        reader = bob.session.audio(alice.pid)
        before = await anext(reader)
        await alice.session.set_enabled("audio", False)
        pause = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.3, pause.set_result, None)
        await pause
        await alice.session.set_enabled("audio", True)
        count = 1
        while (await anext(reader)).time < before.time + 1.3:
            count += 1
        assert count < 30  # 65 without skipping

    in_room(main)


def test_times_go_on_with_another_source() -> None:
    """The times of a stream do not begin again when its source is replaced."""

    async def main(room: MeetingRoom) -> None:
        alice, bob = await pair(room, FakeMedia(Tone(440)))
        reader = bob.session.audio(alice.pid)
        times = [(await anext(reader)).time for _ in range(10)]
        await alice.session.set_source("audio", Tone(880))
        heard = 0.0
        while heard < 800:
            frame = await anext(reader)
            times.append(frame.time)
            heard = dominant_hz(frame.samples, frame.rate)
        assert times == sorted(times)

    in_room(main)


@pytest.mark.parametrize("video", [False, True])
def test_source_kept_for_later(video: bool) -> None:
    """A source that is set while its kind is off is what is sent once it is on."""

    async def main(room: MeetingRoom) -> None:
        alice, bob = await pair(room, video=video)
        if video:
            await alice.session.set_enabled("video", False)
        await alice.session.set_source("video", ClockPicture(64, 48))
        await alice.session.set_enabled("video", True)
        reader = bob.session.video(alice.pid)
        while (await anext(reader)).pixels.shape != (48, 64, 3):
            pass

    in_room(main)


def test_source_that_raises_is_a_fault() -> None:
    """A source that breaks is reported; the session goes on and takes another."""

    async def source() -> AsyncIterator[VideoFrame]:
        yield VideoFrame(pixels=np.zeros((2, 2, 3), np.uint8), time=0.0)
        raise OSError("unplugged")

    async def main(room: MeetingRoom) -> None:
        alice, bob = await pair(room, FakeMedia(video=source()), video=True)
        fault = await alice.wait_fault()
        assert isinstance(fault, MediaDeviceError)
        assert "unplugged" in str(fault)
        await alice.session.set_source("video", ClockPicture())
        await anext(bob.session.video(alice.pid))

    in_room(main)


def test_source_without_aclose() -> None:
    """A source may be a bare async iterator; when it is exhausted the session goes on."""

    class Three:
        left = 3

        def __aiter__(self) -> Three:
            return self

        async def __anext__(self) -> AudioFrame:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return noise(self.left)

    async def main(room: MeetingRoom) -> None:
        alice, bob = await pair(room)
        reader = bob.session.audio(alice.pid)
        await alice.session.set_source("audio", Three())
        while (await anext(reader)).samples.shape != (160, 2):
            pass
        assert [(await anext(reader)).rate for _ in range(2)] == [8000, 8000]
        await alice.session.set_source("audio", Tone())
        assert (await anext(reader)).rate == 48_000
        assert alice.faults == []

    in_room(main)


@pytest.mark.parametrize("source", ["a.wav", 440, [1, 2]])
def test_source_must_be_async_iterable(source: Any) -> None:
    """Something else is refused when the adapter is made."""
    with pytest.raises(SourceError, match="async iterable"):
        FakeMedia(source)
    with pytest.raises(SourceError):
        FakeMedia(video=source)


def test_capture_begins_when_it_is_turned_on() -> None:
    """Nothing is pulled from a source that never was on."""
    pulled: list[str] = []

    async def source() -> AsyncIterator[VideoFrame]:
        pulled.append("once")
        while True:
            yield VideoFrame(pixels=np.zeros((2, 2, 3), np.uint8), time=0.0)
            await asyncio.sleep(0.01)

    async def main(room: MeetingRoom) -> None:
        alice, bob = await pair(room, FakeMedia(video=source()))
        await anext(bob.session.audio(alice.pid))
        await alice.session.set_enabled("video", False)
        assert pulled == []
        await alice.session.set_enabled("video", True)
        await anext(bob.session.video(alice.pid))
        assert pulled == ["once"]

    in_room(main)


def test_audio_only_takes_no_video() -> None:
    """A session that is audio only gives no pictures, whatever the others send."""

    async def main(room: MeetingRoom) -> None:
        alice, bob = room.host("alice"), room.host("bob", CallSettings(type="audio", audio_only=True))
        await alice.open(FakeMedia(video=ClockPicture(fps=50)), video=True)
        await bob.open(FakeMedia())
        await bob.wait_connected(alice.pid)
        reader = bob.session.audio(alice.pid)
        for _ in range(10):
            await anext(reader)
        assert {stats.kind for stats in await bob.session.stats() if stats.direction == "in"} == {"audio"}

    in_room(main)


def test_reader_of_a_stranger_ends_at_once() -> None:
    """Of somebody who is not here there is no frame to wait for."""

    async def main(room: MeetingRoom) -> None:
        alice, _ = await pair(room)
        assert [frame async for frame in alice.session.audio("nobody-9")] == []

    in_room(main)


def test_closed_reader_yields_nothing() -> None:
    """After `aclose` a reader ends, also with frames unread, and is given no more."""

    async def main(room: MeetingRoom) -> None:
        alice, bob = await pair(room)
        closed, other = bob.session.audio(alice.pid), bob.session.audio(alice.pid)
        for _ in range(3):
            await anext(other)
        await closed.aclose()  # type: ignore[attr-defined]
        await anext(other)
        assert [frame async for frame in closed] == []

    in_room(main)


# --- trouble on purpose -----------------------------------------------------------------------------------------------


def test_lose_and_restore() -> None:
    """A lost link is reported on both sides once, no frame passes, and media goes on when it is restored."""

    async def main(room: MeetingRoom) -> None:
        media = FakeMedia()
        alice, bob = await pair(room, media)
        session = media.sessions[0]
        for _ in range(2):
            session.lose(bob.pid)
        assert (alice.losses, bob.losses) == ([bob.pid], [alice.pid])
        await alice.wait_lost(bob.pid)
        lost = [stats.packets for stats in await bob.session.stats() if stats.direction == "in"]
        carol = room.host("carol")
        await carol.open(FakeMedia())
        await carol.wait_connected(alice.pid)
        await anext(carol.session.audio(alice.pid))
        assert [s.packets for s in await bob.session.stats() if s.pid == alice.pid and s.direction == "in"] == lost
        session.restore(bob.pid)
        assert bob.pid in alice.connected
        assert alice.pid in bob.connected
        await anext(bob.session.audio(alice.pid))

    in_room(main)


def test_lose_before_connecting() -> None:
    """A link that is not up yet cannot be reported lost."""

    async def main(room: MeetingRoom) -> None:
        room.hold_tokens()
        media = FakeMedia()
        alice, bob = room.host("alice"), room.host("bob")
        await alice.open(media)
        await bob.open(FakeMedia())
        session = media.sessions[0]
        session.set_peers([MediaPeer(pid=bob.pid, uid=bob.uid, joined=bob.joined)])
        session.lose(bob.pid)
        assert alice.losses == bob.losses == []

    in_room(main)


@pytest.mark.parametrize("error", [None, MediaTimeout(step="test")])
def test_fail(error: MediaError | None) -> None:
    """A session made to fail says so, with the error given, and loses its links."""

    async def main(room: MeetingRoom) -> None:
        media = FakeMedia()
        alice, bob = await pair(room, media)
        media.sessions[0].fail(error)
        failed = await alice.wait_failed()
        assert failed is error or isinstance(failed, MediaConnectionFailed)
        assert bob.losses == [alice.pid]

    in_room(main)


@pytest.mark.parametrize("force", [False, True])
def test_sudden_end_is_noticed(force: bool) -> None:
    """The other side reports the loss when a session ends before anybody was told that its participant left."""

    async def main(room: MeetingRoom) -> None:
        media = FakeMedia()
        alice, bob = await pair(room, media)
        if force:
            alice.session.abort()
        await alice.session.close()
        await bob.wait_lost(alice.pid)
        assert media.sessions == []

    in_room(main)


def test_fail_at_open() -> None:
    """Opening fails with a MediaDeviceError, and nothing is open."""

    async def main(room: MeetingRoom) -> None:
        media = FakeMedia(fail_at="open")
        with pytest.raises(MediaDeviceError, match="open"):
            await room.host("alice").open(media)
        assert media.sessions == []
        media.fail_at = None
        await room.host("bob").open(media)
        assert len(media.sessions) == 1

    in_room(main)


def test_hang_at_open() -> None:
    """Opening hangs until it is cancelled, and nothing is open."""

    async def main(room: MeetingRoom) -> None:
        media = FakeMedia(hang_at="open")
        opening = asyncio.create_task(room.host("alice").open(media))
        bob = room.host("bob")
        await bob.open(FakeMedia())
        await bob.wait_up()
        assert not opening.done()
        opening.cancel()
        await asyncio.wait({opening})
        assert media.sessions == []

    in_room(main)


@pytest.mark.parametrize(
    ("step", "error"),
    [("set_peers", NegotiationFailed), ("negotiate", NegotiationFailed), ("connect", MediaConnectionFailed)],
)
@pytest.mark.parametrize("first", [False, True])
def test_fail_while_connecting(step: Any, error: type[MediaError], first: bool) -> None:
    """A session that fails on its way to being connected reports it, whichever side it is on."""

    async def main(room: MeetingRoom) -> None:
        media = [FakeMedia(fail_at=step), FakeMedia()]
        hosts = [room.host("alice"), room.host("bob")]
        for host, adapter in zip(hosts, media if first else media[::-1], strict=True):
            await host.open(adapter)
        failing = hosts[0 if first else 1]
        assert type(await failing.wait_failed()) is error
        assert failing.connected == set()

    in_room(main)


@pytest.mark.parametrize("step", ["set_peers", "negotiate", "connect"])
def test_hang_while_connecting(step: Any) -> None:
    """A session that hangs on its way to being connected reports nothing, while others get on with each other."""

    async def main(room: MeetingRoom) -> None:
        hanging = room.host("alice")
        await hanging.open(FakeMedia(hang_at=step))
        bob, carol = await pair(room)
        await anext(bob.session.audio(carol.pid))
        assert hanging.connected == set()
        assert hanging.failures == hanging.faults == []
        assert hanging.ups == (1 if step == "negotiate" else 0)  # alone, at first

    in_room(main)


async def _act(session: MediaSession, step: str) -> None:
    if step == "set_enabled":
        await session.set_enabled("video", True)
    elif step == "set_source":
        await session.set_source("audio", Tone())
    else:
        await session.close()


@pytest.mark.parametrize("step", ["set_enabled", "set_source", "close"])
def test_fail_at_a_step(step: Any) -> None:
    """The awaited step raises a MediaError and changes nothing; what it did before goes on."""

    async def main(room: MeetingRoom) -> None:
        media = FakeMedia()
        alice, bob = await pair(room, media)
        media.fail_at = step
        with pytest.raises(MediaError, match=step):
            await _act(alice.session, step)
        await anext(bob.session.audio(alice.pid))
        media.fail_at = None

    in_room(main)


@pytest.mark.parametrize("step", ["set_enabled", "set_source", "close"])
def test_hang_at_a_step(step: Any) -> None:
    """The awaited step hangs until the session is aborted."""

    async def main(room: MeetingRoom) -> None:
        media = FakeMedia()
        alice, bob = await pair(room, media)
        media.hang_at = step
        acting = asyncio.create_task(_act(alice.session, step))
        await anext(bob.session.audio(alice.pid))
        assert not acting.done()
        alice.abort()
        await acting
        assert media.sessions == []

    in_room(main)


def test_abandoned_answer_is_ignored() -> None:
    """An offer or an answer of a session that is closed by now, and an answer to an older offer, change nothing."""

    async def main(room: MeetingRoom) -> None:
        alice, bob = await pair(room)
        old_offer, old_answer = alice.sent[0][2], bob.sent[0][2]
        await alice.session.set_enabled("video", True)
        await anext(bob.session.video(alice.pid))
        alice.session.receive(bob.pid, "answer", old_answer)
        dead = old_offer.replace("room/alice-1/", "room/nobody/")
        for kind in ("offer", "answer"):
            bob.session.receive(alice.pid, kind, dead)
        sent = len(bob.sent)
        await anext(bob.session.video(alice.pid))
        assert len(bob.sent) == sent
        assert alice.faults == bob.faults == []

    in_room(main)
