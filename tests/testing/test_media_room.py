"""The room keeps the rules of the switchboard, and notes who breaks them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from statecore.errors import MediaConnectionFailed
from statecore.testing.media import FakeMedia, MeetingRoom, RoomHost


def in_room(main: Callable[[MeetingRoom], Awaitable[None]], **options: float) -> None:
    """Run in a room that is closed afterwards, within 10 s."""

    async def whole() -> None:
        async with asyncio.timeout(10), MeetingRoom(**options) as room:  # type: ignore[arg-type]
            await main(room)

    asyncio.run(whole())


class Puppet(FakeMedia):
    """An adapter whose sessions do nothing by themselves: the test plays their part."""

    def __init__(self) -> None:
        super().__init__(hang_at="negotiate")
        self.grants: list[str] = []

    async def open(self, host: Any, *, audio: bool, video: bool) -> Any:
        """A session that notes its grants."""
        session = await super().open(host, audio=audio, video=video)
        setattr(session, "granted", self.grants.append)  # noqa: B010 - a part of this one object is replaced
        return session


async def puppets(room: MeetingRoom) -> tuple[RoomHost, RoomHost, Puppet, Puppet]:
    """Two who are told of each other; the first, who asked by himself, has the token."""
    one, other = Puppet(), Puppet()
    alice, bob = room.host("alice"), room.host("bob")
    await alice.open(one)
    await bob.open(other)
    await alice.wait(lambda: one.grants, "grant")
    return alice, bob, one, other


def test_room_passes_the_token_on() -> None:
    """Of two who ask, the second is granted the token when the first frees it; who asks again is granted again."""

    async def main(room: MeetingRoom) -> None:
        alice, bob, one, other = await puppets(room)
        bob.ask(alice.pid)
        alice.ask(bob.pid)
        await alice.wait(lambda: len(one.grants) == 2, "second grant")
        assert other.grants == []
        alice.free(bob.pid)
        await bob.wait(lambda: other.grants, "grant")
        assert other.grants == [alice.pid]
        assert room.held(bob.pid) == [alice.pid]
        alice.ask(bob.pid)
        alice.free(bob.pid)  # takes the wish back
        bob.free(alice.pid)
        assert room.held(alice.pid) == room.held(bob.pid) == []

    in_room(main)


def test_room_takes_the_token_back() -> None:
    """A token that is not freed in time goes to who waits; what its late holder then sends is dropped, not blamed."""

    async def main(room: MeetingRoom) -> None:
        alice, bob, _, other = await puppets(room)
        bob.ask(alice.pid)
        await bob.wait(lambda: other.grants, "grant")
        alice.send(bob.pid, "offer", "late")
        bob.send(alice.pid, "offer", "in time")
        await alice.wait(lambda: alice.received, "offer")
        assert bob.received == []
        assert room.violations == []

    in_room(main, token_seconds=0.05)


@pytest.mark.parametrize("kind", ["offer", "answer"])
def test_room_notes_violations(kind: Any) -> None:
    """An offer without the token, and an answer to nobody's offer, are dropped and noted."""

    async def main(room: MeetingRoom) -> None:
        alice, bob, *_ = await puppets(room)
        alice.free(bob.pid)
        alice.send(bob.pid, kind, "body")
        alice.send("nobody-7", kind, "body")
        await room.close()
        alice.send(bob.pid, "candidate", "body")
        assert len(room.violations) == 2
        assert "token" in room.violations[0]
        assert "after close" in room.violations[1]
        assert bob.received == []

    in_room(main)


def test_room_notes_what_a_session_raises() -> None:
    """A session that raises where it must not is noted, and still hears what comes next."""

    async def main(room: MeetingRoom) -> None:
        alice, bob, one, _ = await puppets(room)
        setattr(one.sessions[0], "receive", None)  # noqa: B010 - as above
        bob.send(alice.pid, "candidate", "body")
        alice.ask(bob.pid)
        await alice.wait(lambda: len(one.grants) == 2, "second grant")
        assert "TypeError" in room.violations[0]

    in_room(main)


def test_room_loses_what_is_said_over_a_cut_link() -> None:
    """What is asked, freed and sent while cut is lost. Then the session hears `resumed`, and whoever holds the token of
    a pair with it has another turn."""

    async def main(room: MeetingRoom) -> None:
        alice, bob, one, other = await puppets(room)
        resumed: list[str] = []
        for host, media in ((alice, one), (bob, other)):
            setattr(media.sessions[0], "resumed", partial(resumed.append, host.pid))  # noqa: B010 - as above
        bob.cut()
        alice.send(bob.pid, "candidate", "lost")
        bob.send(alice.pid, "candidate", "lost")
        bob.ask(alice.pid)
        alice.cut()
        alice.free(bob.pid)
        assert (room.held(alice.pid), room.held(bob.pid)) == ([bob.pid], [])
        alice.mend()
        bob.mend()
        await alice.wait(lambda: len(one.grants) == 3, "another turn")
        await bob.wait(lambda: len(resumed) == 2, "resuming")
        alice.free(bob.pid)
        assert (room.held(alice.pid), room.held(bob.pid)) == ([], []), "Bob asked in vain"
        assert alice.received == bob.received == []

    in_room(main)


def test_room_forgets_who_left() -> None:
    """Who left is asked and told nothing any more, and may leave again; his wishes while tokens were held are void."""

    async def main(room: MeetingRoom) -> None:
        alice, bob, one, other = await puppets(room)
        alice.free(bob.pid)
        room.hold_tokens()
        alice.ask(bob.pid)
        for _ in range(2):
            alice.abort()
        room.release_tokens()
        alice.ask(bob.pid)
        bob.ask(alice.pid)
        alice.mend()
        assert room.held(alice.pid) == room.held(bob.pid) == []
        assert one.sessions == []
        assert len(other.sessions) == 1

    in_room(main)


def test_waiting_says_what_is_missing() -> None:
    """A wait that takes too long fails with what it waited for; one that a failure makes vain raises the failure."""

    async def main(room: MeetingRoom) -> None:
        media = FakeMedia()
        alice = room.host("alice")
        with pytest.raises(AssertionError, match="not in the room"):
            _ = alice.session
        await alice.open(media)
        with pytest.raises(AssertionError, match=r"alice-1: no media with bob-2 within 0\.01 s"):
            await alice.wait_connected("bob-2", timeout=0.01)
        media.sessions[0].fail()
        with pytest.raises(MediaConnectionFailed):
            await alice.wait_connected("bob-2")

    in_room(main)
