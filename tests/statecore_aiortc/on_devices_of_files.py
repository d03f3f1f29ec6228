"""Run by test_aiortc_devices in a process of its own, as ALSA reads its configuration once: devices that are files."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import attrs

from statecore.settings import CallSettings
from statecore.testing.media import MeetingRoom
from statecore_aiortc import AiortcMedia, Device, Tone, devices
from statecore_aiortc._speaker import Loudspeaker, Output
from statecore_aiortc.sources import silence


async def main() -> dict[str, Any]:
    """List the devices, read one, and make a call that is heard on two others; what came of it."""
    listed = [attrs.asdict(device) for device in devices()]
    microphone = await Device().open("audio")
    read = await microphone.read(0.0)
    await microphone.close()
    async with MeetingRoom() as room:
        alice = room.host("alice", CallSettings(type="audio"))
        bob = room.host("bob", CallSettings(type="audio", audio_output="desk"))
        await alice.open(AiortcMedia(Tone(440), speaker=Device()), audio=True)
        await bob.open(AiortcMedia(Tone(880), speaker=Device()), audio=True)
        frames = [
            host.session.audio(other.pid) for host, other in ((alice, bob), (bob, alice)) if await joined(host, other)
        ]
        for each in frames:
            for _ in range(60):
                await anext(each)
        faults = [str(fault) for host in (alice, bob) for fault in host.faults]
    return {"devices": listed, "read": None if read is None else read[1].samples, "faults": faults}


async def joined(host: Any, other: Any) -> bool:
    """Wait until two are connected."""
    await host.wait_connected(other.pid)
    return True


async def play(path: str) -> None:
    """Play on a device until killed."""
    speaker = Loudspeaker(Output("s16le", path, {}), print)
    while True:
        speaker.add(silence(960))
        await asyncio.sleep(0.02)


if sys.argv[1:]:
    asyncio.run(play(sys.argv[1]))
else:
    print(json.dumps(asyncio.run(main())))  # noqa: T201 - the test reads it
