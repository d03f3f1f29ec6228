"""The part of the media suite about trouble: cut links, offers out of turn, bad messages, leaving and closing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ._media_probe import reading
from ._media_room import MeetingRoom, RoomHost
from ._media_suite_base import TONES, MediaSuiteBase

MOMENTS = ["opened", "offered", "answered", "connected"]
"""How far two have come in getting connected."""


class MediaSuiteEnd(MediaSuiteBase):
    """Trouble, and the end."""

    # --- the link to the service

    def test_offer_lost_with_the_link(self) -> None:
        """An offer that is lost with the receiver's link does not keep the two apart once it is mended."""

        async def main(room: MeetingRoom) -> None:
            alice = await self.join(room, "alice")
            bob = await self.join(room, "bob", hz=TONES[1])
            bob.cut()
            await alice.wait(lambda: alice.sent, "offer", self.timeout)
            assert bob.received == []
            bob.mend()
            await self.connected(alice, bob)
            await self.talk(alice, bob)

        self.run(main)

    def test_answer_lost_with_the_link(self) -> None:
        """An answer that is lost does not keep the two apart either."""

        async def main(room: MeetingRoom) -> None:
            alice = await self.join(room, "alice")
            bob = await self.join(room, "bob", hz=TONES[1])
            await bob.wait(lambda: bob.received, "offer", self.timeout)
            alice.cut()
            await bob.wait(lambda: "answer" in _kinds(bob), "answer", self.timeout)
            alice.mend()
            await self.connected(alice, bob)
            await self.talk(alice, bob)

        self.run(main)

    def test_change_while_the_link_is_cut(self) -> None:
        """Media goes on while the link is cut; a camera turned on meanwhile is seen after it is mended."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            alice.cut()
            await alice.session.set_enabled("video", True)
            await self.talk(alice, bob)
            alice.mend()
            await self.sees(bob, alice)
            await self.talk(alice, bob)

        self.run(main)

    def test_mended_link_with_nothing_to_do(self) -> None:
        """A link that was cut and mended while all was well leaves all well."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room, video=True)
            for host in (alice, bob):
                host.cut()
                host.mend()
                await self.talk(alice, bob)
                await self.watch(alice, bob)

        self.run(main)

    def test_offers_wait_for_the_token(self) -> None:
        """Nobody offers before the token of the pair is granted."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            room.hold_tokens()
            before = _kinds(alice).count("offer"), _kinds(bob).count("offer")
            await asyncio.gather(*(host.session.set_enabled("video", True) for host in (alice, bob)))
            await self.talk(alice, bob)
            assert (_kinds(alice).count("offer"), _kinds(bob).count("offer")) == before
            room.release_tokens()
            await self.watch(alice, bob)

        self.run(main)

    # --- bad messages

    @pytest.mark.parametrize("kind", ["offer", "answer", "candidate", "nonsense"])
    def test_malformed_messages_are_survived(self, kind: str) -> None:
        """What is malformed changes nothing; a malformed offer is reported as a fault, each time."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            for body in self.malformed:
                bob.session.receive(alice.pid, kind, body)
            if kind == "offer":
                await bob.wait(lambda: len(bob.faults) >= len(self.malformed), "fault for each", self.timeout)
            await self._all_is_well(alice, bob)

        self.run(main)

    @pytest.mark.parametrize("kind", ["offer", "answer", "candidate"])
    def test_messages_of_strangers_are_survived(self, kind: str) -> None:
        """What comes from somebody who is not here changes nothing, and neither does a token of a pair with him."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            bodies = [body for _, _, body in alice.sent + bob.sent]
            for body in (*self.malformed, *bodies):
                bob.session.receive("stranger-99", kind, body)
            bob.session.granted("stranger-99")
            await self._all_is_well(alice, bob)
            assert not [pid for pid, _, _ in bob.sent if pid == "stranger-99"]

        self.run(main)

    async def _all_is_well(self, alice: RoomHost, bob: RoomHost) -> None:
        """They hear each other, and can still negotiate."""
        await self.talk(alice, bob)
        for host in (bob, alice):
            await host.session.set_enabled("video", True)
        await self.watch(alice, bob)
        assert alice.failures == bob.failures == []

    # --- leaving

    def test_readers_end_with_the_participant(self) -> None:
        """When one of three leaves, his readers end, and the other two go on."""

        async def main(room: MeetingRoom) -> None:
            alice, bob, carol = await self.meet(room, 3, video=True)
            await self.sees(alice, bob)
            session = alice.session
            readers = [
                asyncio.create_task(_exhaust(frames)) for frames in (session.audio(bob.pid), session.video(bob.pid))
            ]
            await bob.close()
            await self._ended(readers)
            await self.talk(alice, carol)
            await self.sees(carol, alice)
            assert alice.failures == carol.failures == []

        self.run(main)

    def test_readers_end_with_the_session(self) -> None:
        """Closing ends every reader of the session, also one of a stream that never began."""

        async def main(room: MeetingRoom) -> None:
            alice, bob = await self.meet(room)
            session = alice.session
            streams = (session.audio(bob.pid), session.video(bob.pid), session.video(bob.pid, "screen"))
            readers = [asyncio.create_task(_exhaust(frames)) for frames in streams]
            await self.hears(alice, bob, TONES[1])
            await alice.close()
            await self._ended(readers)

        self.run(main)

    async def _ended(self, readers: list[asyncio.Task[None]]) -> None:
        _, pending = await asyncio.wait(readers, timeout=self.timeout)
        for task in pending:
            task.cancel()
        assert not pending, "readers did not end"
        for task in readers:
            task.result()

    # --- the end

    def test_close_is_idempotent(self) -> None:
        """Closing twice at once and once more later does no harm, nor does aborting what is closed."""

        async def main(room: MeetingRoom) -> None:
            alice, _ = await self.meet(room, video=True)
            session = alice.session
            alice.leave()
            async with asyncio.timeout(self.timeout):
                await asyncio.gather(session.close(), session.close())
                await session.close()
            session.abort()

        self.run(main)

    @pytest.mark.parametrize("moment", MOMENTS)
    @pytest.mark.parametrize("force", [False, True], ids=["close", "abort"])
    def test_end_at_any_moment(self, moment: str, force: bool) -> None:
        """However far two have come, closing or aborting one leaves nothing of it; then the other, likewise."""

        async def main(room: MeetingRoom) -> None:
            alice = await self.join(room, "alice", video=True)
            bob = await self.join(room, "bob", video=True)
            await self._until(moment, alice, bob)
            for host in (bob, alice):
                if force:
                    host.abort()
                async with asyncio.timeout(self.timeout):
                    await host.close()

        self.run(main)

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_close_cancelled(self, moment: str) -> None:
        """Cancelling who closes, and closing again, leaves nothing."""

        async def main(room: MeetingRoom) -> None:
            alice = await self.join(room, "alice", video=True)
            bob = await self.join(room, "bob", video=True)
            await self._until(moment, alice, bob)
            for turns, host in enumerate((bob, alice)):
                session = host.session
                host.leave()
                await _cancelled_after(session.close(), turns)
                async with asyncio.timeout(self.timeout):
                    await session.close()

        self.run(main)

    def test_abort_while_closing(self) -> None:
        """Aborting takes over from a close that is under way."""

        async def main(room: MeetingRoom) -> None:
            alice, _ = await self.meet(room, video=True)
            session = alice.session
            alice.leave()
            closing = asyncio.create_task(session.close())
            await asyncio.sleep(0)
            session.abort()
            await asyncio.wait({closing}, timeout=self.timeout)
            assert closing.done()
            assert closing.cancelled() or closing.exception() is None

        self.run(main)

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13])
    def test_open_cancelled(self, turns: int) -> None:
        """Opening that is cancelled after some turns of the loop leaves nothing, or an open session that closes."""

        async def main(room: MeetingRoom) -> None:
            adapter = self.adapter(audio=self.tone(TONES[0]), video=self.picture())
            await _cancelled_after(room.host("alice").open(adapter, audio=True, video=True), turns)

        self.run(main)

    def test_nothing_is_sent_after_close(self) -> None:
        """Once closed, a session sends no more, while the others go on negotiating."""

        async def main(room: MeetingRoom) -> None:
            alice, bob, carol = await self.meet(room, 3)
            enabling = asyncio.create_task(alice.session.set_enabled("video", True))
            await asyncio.sleep(0)
            await alice.close()
            await asyncio.wait({enabling}, timeout=self.timeout)
            assert enabling.done()
            # Whatever became of it: the session was closed under it.
            enabling.cancelled() or enabling.exception()
            sent = len(alice.sent)
            for one, other in ((bob, carol), (carol, bob)):
                await one.session.set_enabled("video", True)
                await self.sees(other, one)
            assert len(alice.sent) == sent

        self.run(main)

    async def _until(self, moment: str, alice: RoomHost, bob: RoomHost) -> None:
        if moment == "offered":
            await alice.wait(lambda: alice.sent, "offer", self.timeout)
        elif moment == "answered":
            await alice.wait(lambda: alice.received, "answer", self.timeout)
        elif moment == "connected":
            await self.connected(alice, bob)


def _kinds(host: RoomHost) -> list[str]:
    return [kind for _, kind, _ in host.sent]


async def _exhaust(frames: AsyncIterator[Any]) -> None:
    async with reading(frames):
        async for _ in frames:
            pass


async def _cancelled_after(work: Any, turns: int) -> None:
    """Start it, cancel it after so many turns of the loop, and wait for it."""
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


__all__ = ["MediaSuiteEnd"]
