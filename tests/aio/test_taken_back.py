"""A command whose caller was told that it failed opens nothing later, even if the service had heard it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statecore import Session
from statecore.errors import CommandTimeout, StatecoreError
from statecore.testing import CallPair, FaultyNetwork, VirtualClock, run_virtual


async def _failed(pair: CallPair, asking: Any) -> None:
    """The service hears a command, and the link is gone before its answer comes, for longer than anybody waits."""
    pair.caller_link.lose_answers(1)
    task = asyncio.create_task(asking)
    while pair.caller.connected:  # noqa: ASYNC110 - until the answer is lost
        await asyncio.sleep(0)
    pair.caller_link.half_open()  # it connects no more, and what is on the way still arrives
    with pytest.raises(CommandTimeout):
        await task


async def _back(pair: CallPair, session: Session) -> None:
    """The link stands again, and the service has heard what was owed."""
    pair.caller_link.mend()
    async with asyncio.timeout(60):
        while not pair.caller.connected or session.leg.owed:  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("before", "trigger", "flag", "stands"),
    [
        ("mute_audio", "unmute_audio", "audio_muted", True),
        ("pause_video", "resume_video", "video_paused", True),
        ("stop_screen_share", "start_screen_share", "presenting", False),
    ],
)
def test_what_failed_is_as_it_was(before: str, trigger: str, flag: str, stands: bool) -> None:
    """Microphone, camera and screen are as they were before, for this side and for the other."""

    async def main() -> None:
        async with CallPair(clock=VirtualClock(), network=FaultyNetwork()) as pair:
            mine, theirs = await pair.talk("video")
            await getattr(mine, before)()
            opened: list[str] = []
            for event in ("audio_unmuted", "video_resumed"):
                mine.on(event, lambda *_, event=event: opened.append(event))
            more = ("a screen",) if trigger == "start_screen_share" else ()
            await _failed(pair, getattr(mine, trigger)(*more))
            await _back(pair, mine)
            await asyncio.sleep(1)
            assert (flag in mine.leg.flags) == (flag in theirs.leg.peers[0].flags) == stands
            await mine.end()

    run_virtual(main())


@pytest.mark.parametrize("soon", [True, False], ids=["accepted meanwhile", "accepted after that"])
def test_a_request_for_video_that_failed_opens_no_camera(soon: bool) -> None:
    """Whenever the other side agrees: who asked was told that it failed, and his camera stays off."""

    async def main() -> None:
        async with CallPair(clock=VirtualClock(), network=FaultyNetwork()) as pair:
            mine, theirs = await pair.talk("audio")
            await _failed(pair, mine.switch_to_video())
            if soon:
                await theirs.accept_video()
            await _back(pair, mine)
            if not soon:
                with pytest.raises(StatecoreError):
                    await theirs.accept_video()
            await asyncio.sleep(1)
            assert "wants_video" not in mine.leg.flags
            assert "camera" not in mine.leg.flags
            sent = [one.kind for one in await mine.stats() if one.direction == "out" and one.packets]
            assert sent == ["audio"]
            await mine.end()

    run_virtual(main())


def test_a_share_that_is_given_up_before_the_service_answers_is_stopped() -> None:
    """Cancelled while the command is on its way, sharing is taken back: nobody is shown as sharing nothing."""

    async def main() -> None:
        async with CallPair(clock=VirtualClock(), network=FaultyNetwork(latency=0.1)) as pair:
            mine, theirs = await pair.talk("video")
            sharing = asyncio.create_task(mine.start_screen_share("a screen"))
            await asyncio.sleep(0.05)
            sharing.cancel()
            await asyncio.sleep(2)
            assert "presenting" not in mine.leg.flags
            assert "presenting" not in theirs.leg.peers[0].flags
            await mine.end()

    run_virtual(main())
