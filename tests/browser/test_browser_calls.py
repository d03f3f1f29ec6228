"""Calls between pages in real Chromium, with fake devices and real media."""

from __future__ import annotations

import asyncio
from typing import Any

from statecore import CallClient
from statecore.aio import Call
from statecore_aiortc import AiortcMedia, Picture, Tone


def test_a_page_calls_a_page(world: Any) -> None:
    """One page rings another, which accepts: both see moving pictures and hear sound, and an end shows at both."""

    async def main() -> None:
        async with world() as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.call("bob")
            await bob.click("#accept")
            await asyncio.gather(alice.in_call(), bob.in_call())
            await asyncio.gather(alice.sees("bob"), bob.sees("alice"), alice.hears(), bob.hears())
            await alice.click("#end")
            await asyncio.gather(alice.at_home(), bob.at_home())

    asyncio.run(main())


def test_a_call_is_declined_and_one_is_cancelled(world: Any) -> None:
    """A declined call and a cancelled one leave both pages as they were, and stand in the log as what they are."""

    async def main() -> None:
        async with world() as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.call("bob")
            await bob.click("#reject")
            await asyncio.gather(alice.at_home(), bob.at_home())
            await alice.call("bob")
            await bob.until("document.querySelector('#ring').open")
            await alice.click("#cancel")
            await asyncio.gather(alice.at_home(), bob.at_home())
            calls = (await all_.service.find_calls()).calls
            assert [str(call.status) for call in calls] == ["cancelled", "rejected"]

    asyncio.run(main())


def test_a_page_calls_a_python_bot(world: Any) -> None:
    """A bot on aiortc answers a page: the page sees and hears it, and the bot hears the sound of the page."""

    async def main() -> None:
        async with world() as all_:
            all_.service.add_user("bot", "Bot")
            heard = asyncio.Event()

            async def answer(call: Call) -> None:
                async with call.answer(type=call.type) as session:
                    async for frame in session.audio(call.initiator):
                        if abs(frame.samples.astype("int32")).max() > 500:
                            heard.set()
                            break
                    await session.wait_ended()

            media = AiortcMedia(Tone(440.0), Picture())
            async with CallClient(all_.service.signaling("bot"), media) as bot, asyncio.TaskGroup() as group:
                serving = group.create_task(bot.serve(answer))
                alice = await all_.person("alice")
                await alice.call("bot")
                await alice.in_call()
                await asyncio.gather(alice.sees("bot"), alice.hears(), asyncio.wait_for(heard.wait(), 15))
                await alice.click("#end")
                await alice.at_home()
                serving.cancel()

    asyncio.run(main())


def test_an_audio_call_becomes_video_by_consent(world: Any) -> None:
    """No camera is shown before the other side agrees; after it both see each other."""

    async def main() -> None:
        async with world() as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.call("bob", "audio")
            await bob.click("#accept")
            await asyncio.gather(alice.in_call(), bob.in_call())
            assert await alice.run("[...document.querySelectorAll('.tile video')].every((each) => each.hidden)")
            await alice.click("#to-video")
            await bob.click("#asked-yes")
            await asyncio.gather(alice.sees("bob"), bob.sees("alice"))

    asyncio.run(main())
