"""The conformance suite for media adapters: what every one must do, whatever it sends its frames over."""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import pytest

from statecore.errors import SourceError
from statecore.ports import MediaSession, Played, TellsPlayed
from statecore.settings import CallSettings

from ._media_probe import chunk, collecting, falls_silent, freezes, longest_gap, loud, reading, sees
from ._media_room import MeetingRoom, RoomHost
from ._media_suite_base import TONES, MediaSuiteBase, together
from ._media_suite_end import MediaSuiteEnd


class MediaConformance(MediaSuiteEnd):
    """Every adapter passes this. Inherit it, name the class Test..., and give it the hooks::

        class TestMine(MediaConformance):
            def adapter(self, *, audio, video): return MyMedia(audio=audio, video=video)
            def tone(self, hz): return MyTone(hz)
            def picture(self): return MyPicture()

    Further hooks: `ending`, `bad_source`, `malformed`, `timeout`, `settle`, `new_loop`. No plugin is needed.
    """

    # --- sound and pictures arrive

    def test_audio_is_exchanged(self) -> None:
        """The tone that each of two sends is the tone that the other hears."""

        async def main(room: MeetingRoom) -> None:
            await self.talk(*await self.meet(room))

        self.run(main)

    def test_video_is_exchanged(self) -> None:
        """Each of two sees the other's clock advance, and hears him."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room, video=True)
            await self.watch(alice, bob)
            await self.talk(alice, bob)

        self.run(main)

    def test_audio_call_sends_no_video(self) -> None:
        """In a call that was opened without video none is sent."""

        async def main(room: MeetingRoom) -> None:
            settings = CallSettings(type="audio", audio_only=True)
            hosts = [await self.join(room, uid, settings=settings, hz=hz) for uid, hz in zip("ab", TONES, strict=False)]
            await self.connected(*hosts)
            await self.talk(*hosts)
            for host in hosts:
                sent = [stats for stats in await host.session.stats() if stats.kind != "audio" and stats.packets]
                assert sent == []

        self.run(main)

    def test_three_in_a_full_mesh(self) -> None:
        """Each of three hears and sees both others, apart from each other."""

        async def main(room: MeetingRoom) -> None:
            hosts = await self.meet(room, 3, video=True)
            for pair in combinations(hosts, 2):
                await together(self.talk(*pair), self.watch(*pair))

        self.run(main)

    def test_one_adapter_serves_several_sessions(self) -> None:
        """Two sessions of one and the same adapter object exchange media."""

        async def main(room: MeetingRoom) -> None:
            adapter = self.adapter(audio=self.tone(TONES[0]), video=self.picture())
            alice, bob = room.host("alice"), room.host("bob")
            for host in (alice, bob):
                await host.open(adapter, audio=True, video=False)
            await self.connected(alice, bob)
            await self.hears(alice, bob, TONES[0])
            await self.hears(bob, alice, TONES[0])

        self.run(main)

    def test_alone_is_up_at_once(self) -> None:
        """Who is alone is up without anybody to exchange with."""

        async def main(room: MeetingRoom) -> None:
            alice = await self.join(room, "alice")
            await alice.wait_up(self.timeout)
            assert alice.sent == []

        self.run(main)

    def test_late_joiner(self) -> None:
        """Who comes while two are talking is connected with both, and they go on."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            await self.talk(alice, bob)
            carol = await self.join(room, "carol", hz=TONES[2])
            await self.connected(alice, bob, carol)
            await together(*(self.talk(*pair) for pair in combinations((alice, bob, carol), 2)))

        self.run(main)

    # --- what is sent changes

    def test_mute_and_unmute(self) -> None:
        """Muting leaves silence or nothing at all, unmuting brings the tone back; saying it twice changes nothing."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            for _ in range(2):
                await self.talk(alice, bob)
                await self._enable(alice, "audio", False)
                await falls_silent(bob.session, alice.pid, self.timeout)
                await self.hears(alice, bob, TONES[1])
                await self._enable(alice, "audio", True)
            await self.talk(alice, bob)

        self.run(main)

    def test_pause_and_resume_video(self) -> None:
        """Pausing stops the pictures, resuming brings them back, and the sound goes on."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room, video=True)
            for _ in range(2):
                await self.sees(bob, alice)
                await self._enable(alice, "video", False)
                await freezes(bob.session, alice.pid, self.timeout)
                await self.talk(alice, bob)
                await self._enable(alice, "video", True)
            await self.sees(bob, alice)

        self.run(main)

    def test_begin_without_capture(self) -> None:
        """Who came in muted and without a camera is heard and seen once he turns them on."""

        async def main(room: MeetingRoom) -> None:
            alice = await self.join(room, "alice", audio=False)
            bob = await self.join(room, "bob", hz=TONES[1])
            await self.connected(alice, bob)
            await self.hears(alice, bob, TONES[1])
            await self._enable(alice, "audio", True)
            await self._enable(alice, "video", True)
            await self.talk(alice, bob)
            await self.sees(bob, alice)

        self.run(main)

    @pytest.mark.parametrize("first", [0, 1])
    def test_switch_to_video(self, first: int) -> None:
        """An audio call becomes a video call, whoever begins; the sound goes on."""

        async def main(room: MeetingRoom) -> None:
            hosts = await self.meet(room)
            one, other = hosts[first], hosts[1 - first]
            await self.talk(one, other)
            for sender, viewer in ((one, other), (other, one)):
                await self._enable(sender, "video", True)
                await self.sees(viewer, sender)
            await self.sees(other, one)
            await self.talk(one, other)

        self.run(main)

    def test_both_switch_to_video_at_once(self) -> None:
        """Both turn their camera on at the same time, and both are seen in the end."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            await asyncio.gather(*(host.session.set_enabled("video", True) for host in (alice, bob)))
            await self.watch(alice, bob)
            await self.talk(alice, bob)

        self.run(main)

    def test_switch_to_video_while_connecting(self) -> None:
        """A camera turned on before the two are connected is seen all the same."""

        async def main(room: MeetingRoom) -> None:
            alice = await self.join(room, "alice")
            bob = await self.join(room, "bob", hz=TONES[1])
            await asyncio.gather(*(host.session.set_enabled("video", True) for host in (alice, bob)))
            await self.connected(alice, bob)
            await self.watch(alice, bob)

        self.run(main)

    def test_screen_share_twice(self) -> None:
        """A screen share is a second stream of pictures beside the camera's; it can be stopped and started again."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room, video=True)
            for _ in range(2):
                await alice.session.set_source("screen", self.picture())
                await sees(bob.session, alice.pid, self.timeout, "screen")
                await self.sees(bob, alice)
                await alice.session.set_source("screen", None)
                await freezes(bob.session, alice.pid, self.timeout, "screen")
                await self.sees(bob, alice)

        self.run(main)

    def test_source_is_replaced(self) -> None:
        """Another source takes over with no gap of more than 1 s, and without a new offer."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            await self.talk(alice, bob)
            offers = len(alice.sent)
            listening = asyncio.create_task(longest_gap(bob.session, alice.pid, 1500.0, self.timeout))
            await alice.session.set_source("audio", self.tone(1500.0))
            gap = await listening
            assert gap <= 1.0, f"a gap of {gap:.1f} s"
            assert len(alice.sent) == offers

        self.run(main)

    def test_bad_source_is_refused(self) -> None:
        """A source that cannot be opened raises SourceError, and what was sent before goes on."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room, video=True)
            for kind in ("audio", "video", "screen"):
                with pytest.raises(SourceError):
                    await alice.session.set_source(kind, self.bad_source)
            await self.talk(alice, bob)
            await self.sees(bob, alice)

        self.run(main)

    # --- the end of a source, of an adapter that tells it

    def test_source_that_ends(self) -> None:
        """A source that has ended is told when the other side has got all of it, and later at once."""

        async def main(room: MeetingRoom) -> None:
            alice = await self.join(room, "alice", audio=False)
            bob = await self.join(room, "bob", hz=TONES[1])
            await self.connected(alice, bob)
            session = _telling(alice)
            await session.set_source("audio", self.ending(1500.0, 0.7))
            async with collecting(bob.session, alice.pid) as heard, asyncio.timeout(self.timeout):
                await self._enable(alice, "audio", True)
                assert await session.played("audio") == "ended"
                assert loud(heard) >= 0.5, "the end is told before all of it arrived"
                assert await session.played("audio") == "ended"
            await session.set_source("audio", self.tone(TONES[0]))
            await self.talk(alice, bob)

        self.run(main)

    def test_source_that_does_not_end(self) -> None:
        """Whoever waits for the end of one that goes on hears that it was replaced, or closed; one that gives up
        waiting stops nothing."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            session = _telling(alice)

            async def waits() -> asyncio.Task[Played]:
                task = asyncio.create_task(session.played("audio"))
                await asyncio.sleep(0)
                return task

            first, second = await waits(), await waits()
            first.cancel()
            await self.talk(alice, bob)
            assert not second.done(), "an end is told of what goes on"
            await session.set_source("audio", self.tone(TONES[0]))
            third = await waits()
            await self.talk(alice, bob)
            assert not third.done(), "the end of another source is told"
            await alice.close()
            async with asyncio.timeout(self.timeout):
                assert (await second, await third) == ("replaced", "closed")

        self.run(main)

    # --- readers and counters

    def test_slow_reader_drops_the_oldest(self) -> None:
        """A reader that does not keep up loses the oldest frames, which are counted; another reader is not slowed."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            session = bob.session
            async with reading(session.audio(alice.pid)) as slow, reading(session.audio(alice.pid)) as fast:
                first = await anext(slow)
                end = asyncio.get_running_loop().time() + self.timeout
                while not await self._dropped(bob, alice):
                    assert asyncio.get_running_loop().time() < end, "nothing is dropped, or it is not counted"
                    await chunk(fast)
                second = await anext(slow)
                latest = await anext(fast)
            length = len(first.samples) / first.rate
            assert second.time - first.time > 1.5 * length, "nothing was dropped"
            assert latest.time - second.time < self.timeout, "too much is kept"

        self.run(main)

    def test_every_reader_gets_every_frame(self) -> None:
        """Two readers of one stream get the same frames."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            async with asyncio.timeout(self.timeout):
                both = await asyncio.gather(*(self._frames(bob, alice, 40) for _ in range(2)))
            times = [[frame.time for frame in frames] for frames in both]
            begin, end = max(seen[0] for seen in times), min(seen[-1] for seen in times)
            same = [[frame for frame in frames if begin <= frame.time <= end] for frames in both]
            assert len(same[0]) == len(same[1]) > 10
            for one, other in zip(*same, strict=True):
                assert np.array_equal(one.samples, other.samples)

        self.run(main)

    def test_statistics_advance(self) -> None:
        """Each stream has counters in each direction, under the other's pid, and they go up."""

        async def main(room: MeetingRoom) -> None:
            alice, bob, carol = await self.meet(room, 3, video=True)
            earlier: dict[Any, int] = {}
            for _ in range(2):
                for other in (bob, carol):
                    await together(self.talk(alice, other), self.watch(alice, other))
                counters = {(s.pid, s.kind, s.direction): s.packets for s in await alice.session.stats()}
                for pid in (bob.pid, carol.pid):
                    for stream in [(pid, kind, way) for kind in ("audio", "video") for way in ("in", "out")]:
                        assert counters.get(stream, 0) > earlier.get(stream, 0), f"no progress of {stream}"
                assert {pid for pid, _, _ in counters} == {bob.pid, carol.pid}
                assert all(s.bytes > 0 for s in await alice.session.stats() if s.packets)
                earlier = counters

        self.run(main)

    # --- helpers

    async def _enable(self, host: RoomHost, kind: Any, enabled: bool) -> None:
        """Twice, because it must be idempotent."""
        await host.session.set_enabled(kind, enabled)
        await host.session.set_enabled(kind, enabled)

    async def _dropped(self, host: RoomHost, other: RoomHost) -> int:
        found = [s for s in await host.session.stats() if (s.pid, s.kind, s.direction) == (other.pid, "audio", "in")]
        return sum(stats.dropped_frames or 0 for stats in found)

    async def _frames(self, host: RoomHost, other: RoomHost, count: int) -> list[Any]:
        async with reading(host.session.audio(other.pid)) as frames:
            return [await anext(frames) for _ in range(count)]


def _telling(host: RoomHost) -> TellingSession:
    session = host.session
    if not isinstance(session, TellsPlayed):
        pytest.skip("optional: its sessions do not tell when a source has ended")
    return session


class TellingSession(MediaSession, TellsPlayed, Protocol):
    """A media session that tells when a source has ended."""


__all__ = ["MediaConformance", "MediaSuiteBase"]
