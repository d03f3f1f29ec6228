"""What closes microphone, camera or screen closes it here at once, with or without a link, and is said until heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from statecore import Session
from statecore.errors import CallEnded, CommandTimeout, SessionInactive
from statecore.testing import CallPair, FaultyNetwork, VirtualClock, run_virtual
from statecore.testing.media import ClockPicture

_LONG = 25
"""More seconds than a command waits for twice."""


async def _flows(session: Session, kind: str) -> bool:
    """Whether something of a kind is sent within a second, from a moment on."""
    await asyncio.sleep(0.1)

    async def sent() -> int:
        stats = await session.stats()
        return sum(one.packets for one in stats if one.direction == "out" and one.kind == kind)

    before = await sent()
    await asyncio.sleep(1)
    return await sent() > before


def _run(main: Callable[[CallPair, Session, Session], Coroutine[Any, Any, None]]) -> None:
    """In a video call in which a screen is shared."""

    async def begin() -> None:
        async with CallPair(clock=VirtualClock(), network=FaultyNetwork()) as pair:
            mine, theirs = await pair.talk("video")
            await mine.start_screen_share(ClockPicture())
            await main(pair, mine, theirs)
            await mine.end()

    run_virtual(begin())


@pytest.mark.parametrize(
    ("kind", "close", "again", "flag", "closed"),
    [
        ("audio", "mute_audio", "unmute_audio", "audio_muted", True),
        ("video", "pause_video", "resume_video", "video_paused", True),
        ("screen", "stop_screen_share", "", "presenting", False),
    ],
)
def test_nothing_is_sent_from_that_moment(kind: str, close: str, again: str, flag: str, closed: bool) -> None:
    """Without a link, and for longer than commands wait: nothing is sent, and the others are told when it is back."""

    async def main(pair: CallPair, mine: Session, theirs: Session) -> None:
        assert await _flows(mine, kind)
        pair.caller_link.half_open()
        closing = [asyncio.create_task(getattr(mine, close)())]
        for _ in range(_LONG):
            assert not await _flows(mine, kind)
            if len(closing) == 1:
                closing.append(asyncio.create_task(getattr(mine, close)()))  # pressed again
        assert not any(each.done() for each in closing)
        pair.caller_link.mend()
        await asyncio.wait_for(asyncio.gather(*closing), 30)
        assert (flag in mine.leg.flags) == (flag in theirs.leg.peers[0].flags) == closed
        assert not await _flows(mine, kind)
        if again:
            await getattr(mine, again)()
            assert await _flows(mine, kind)

    _run(main)


@pytest.mark.parametrize(("kind", "toggle"), [("audio", "toggle_audio"), ("video", "toggle_video")])
def test_who_takes_it_back_before_it_is_heard_is_heard(kind: str, toggle: str) -> None:
    """Toggling goes by what was wished last: twice without a link, and everything is as it was."""

    async def main(pair: CallPair, mine: Session, theirs: Session) -> None:
        pair.caller_link.half_open()
        first = asyncio.create_task(getattr(mine, toggle)())
        assert not await _flows(mine, kind)
        second = asyncio.create_task(getattr(mine, toggle)())
        assert await _flows(mine, kind)
        pair.caller_link.mend()
        await asyncio.wait_for(asyncio.gather(first, second), 30)
        assert {"audio_muted", "video_paused"}.isdisjoint(mine.leg.flags | theirs.leg.peers[0].flags)
        assert await _flows(mine, kind)

    _run(main)


def test_an_older_wish_is_not_said_again() -> None:
    """A mute that was not heard in time fails like any other command, if its user has unmuted since."""

    async def main(pair: CallPair, mine: Session, _: Session) -> None:
        pair.caller_link.half_open()
        wishes = [asyncio.create_task(mine.mute_audio()), asyncio.create_task(mine.unmute_audio())]
        for error in await asyncio.gather(*wishes, return_exceptions=True):
            assert isinstance(error, CommandTimeout)
        pair.caller_link.mend()
        await asyncio.sleep(10)
        assert "audio_muted" not in mine.leg.flags
        assert await _flows(mine, "audio")

    _run(main)


def test_who_gives_up_muting_is_not_muted() -> None:
    """A mute that is cancelled before the service confirmed it leaves the microphone as it was wished before."""

    async def main(pair: CallPair, mine: Session, _: Session) -> None:
        pair.caller_link.half_open()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(mine.mute_audio(), 1)
        assert await _flows(mine, "audio")
        muting = asyncio.create_task(mine.mute_audio())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(mine.mute_audio(), 1)
        assert not await _flows(mine, "audio")
        pair.caller_link.mend()
        await asyncio.wait_for(muting, 30)

    _run(main)


def test_a_screen_that_was_stopped_stays_so() -> None:
    """Who stops sharing without a link, and shares again, is not stopped by what was said first."""

    async def main(pair: CallPair, mine: Session, theirs: Session) -> None:
        pair.caller_link.half_open()
        stopping = asyncio.create_task(mine.stop_screen_share())
        assert not await _flows(mine, "screen")
        starting = asyncio.create_task(mine.start_screen_share(ClockPicture()))
        await asyncio.sleep(0)
        pair.caller_link.mend()
        await asyncio.wait_for(asyncio.gather(stopping, starting), 30)
        assert "presenting" in mine.leg.flags & theirs.leg.peers[0].flags
        assert await _flows(mine, "screen")

    _run(main)


def test_a_screen_that_is_stopped_while_it_begins_is_not_shown() -> None:
    """Who stops sharing before it has quite begun, and loses the link then, shows nothing meanwhile."""

    async def main(pair: CallPair, mine: Session, theirs: Session) -> None:
        await mine.stop_screen_share()
        pair.caller_link.latency = 0.1
        starting = asyncio.create_task(mine.start_screen_share(ClockPicture()))
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(mine.stop_screen_share())
        while "presenting" not in mine.leg.flags:  # noqa: ASYNC110 - of the two answers the first
            await asyncio.sleep(0.01)
        pair.caller_link.half_open()
        await starting
        assert not await _flows(mine, "screen")
        assert not stopping.done()
        pair.caller_link.mend()
        await asyncio.wait_for(stopping, 30)
        assert not await _flows(mine, "screen")
        assert "presenting" not in mine.leg.flags | theirs.leg.peers[0].flags

    _run(main)


def test_a_mute_ends_with_the_call() -> None:
    """Nobody waits for a mute of a call that is over."""

    async def main(pair: CallPair, mine: Session, _: Session) -> None:
        pair.caller_link.half_open()
        muting = asyncio.create_task(mine.mute_audio())
        await asyncio.sleep(15)
        await mine.end()
        with pytest.raises((CallEnded, SessionInactive)):
            await muting
        pair.caller_link.mend()

    _run(main)
