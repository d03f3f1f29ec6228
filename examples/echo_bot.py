"""A bot that answers every call and says back what it hears. `serve` runs one task for each call."""

from __future__ import annotations

import asyncio

import numpy as np

from statecore import Call, CallClient, CallService, ServiceSettings
from statecore_aiortc import AiortcMedia, Tone


async def echo(call: Call) -> None:
    """One call: what arrives is played back, until the other side hangs up."""
    async with call.answer() as session:
        print(f"bot: {call.initiator} is here")
        await session.play(session.audio(call.initiator))
        await session.wait_ended()


async def loudness(client: CallClient) -> float:
    """Call the bot and listen until it is heard; the peak of a piece of sound, where 1 is full scale."""
    async with client.call("bot", type="audio") as session:
        async for frame in session.audio("bot"):
            peak = float(np.abs(frame.samples).max()) / 32768
            if peak > 0.1:
                return peak
    return 0.0


async def main() -> None:
    """Start the bot, and let two people call it at the same time."""
    # A user has one line: without this the second caller would hear busy.
    settings = ServiceSettings(line_capacity=10)
    async with (
        CallService(settings=settings) as service,
        CallClient(service.signaling("bot"), AiortcMedia()) as bot,
        CallClient(service.signaling("alice"), AiortcMedia(audio=Tone(440))) as alice,
        CallClient(service.signaling("carol"), AiortcMedia(audio=Tone(660))) as carol,
    ):
        serving = asyncio.create_task(bot.serve(echo, limit=10))
        peaks = await asyncio.gather(loudness(alice), loudness(carol))
        print("alice and carol hear themselves:", all(peak > 0.1 for peak in peaks))
        serving.cancel()


if __name__ == "__main__":
    asyncio.run(main())
