"""One call between two people in one process: Alice sends a tone, Bob answers and records what he hears."""

from __future__ import annotations

import asyncio

from statecore import Call, CallClient, CallService
from statecore_aiortc import AiortcMedia, Tone


async def answer(call: Call) -> None:
    """Take the call, and stay until it is over."""
    async with call.answer() as session:
        print(f"bob talks with {call.initiator}")
        print(f"bob: over, {(await session.wait_ended()).what}")


async def main() -> None:
    """Call Bob, talk for a second, hang up."""
    async with (
        CallService() as service,
        CallClient(service.signaling("alice"), AiortcMedia(audio=Tone(440))) as alice,
        CallClient(service.signaling("bob"), AiortcMedia(record="bob.wav")) as bob,
    ):
        bob.on("incoming_call_received", answer)
        async with alice.call("bob", type="audio"):
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
