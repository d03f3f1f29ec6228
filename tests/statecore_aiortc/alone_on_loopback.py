"""Run by test_aiortc_network in a network namespace: one call, whose network may go down, or change."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import Any

from statecore.settings import CallSettings
from statecore.testing._media_probe import hears
from statecore.testing.media import MeetingRoom
from statecore_aiortc import AiortcMedia, Tone, _peer


def _link(state: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", state], check=True)  # noqa: S607 - found by the path, as elsewhere


def _address(what: str, address: str) -> None:
    subprocess.run(["ip", "address", what, f"{address}/32", "dev", "lo"], check=True)  # noqa: S607 - likewise


def _addresses(offer: str) -> list[str]:
    return sorted(set(re.findall(r"a=candidate:\S+ \S+ \S+ \S+ (\S+)", json.loads(offer)["sdp"])))


async def main(mode: str) -> dict[str, Any]:
    """Make the call; what came of it."""
    loop = asyncio.get_running_loop()
    report: dict[str, Any] = {}
    if mode == "change":
        _address("add", "10.9.9.1")
    async with MeetingRoom() as room:
        settings = CallSettings(type="audio")
        alice, bob = room.host("alice", settings), room.host("bob", settings)
        await alice.open(AiortcMedia(Tone(440)), audio=True)
        await bob.open(AiortcMedia(Tone(880)), audio=True)
        await alice.wait_connected(bob.pid)
        await bob.wait_connected(alice.pid)
        await hears(alice.session, bob.pid, 880, 5)
        report["addresses"] = _addresses(alice.sent[0][2])
        if mode == "change":
            began = loop.time()
            _address("add", "10.9.9.2")
            _address("delete", "10.9.9.1")
            await alice.wait_lost(bob.pid)
            report["lost_after"] = loop.time() - began
            await alice.wait_connected(bob.pid, 15)
            offers = [body for _, kind, body in alice.sent + bob.sent if kind == "offer"]
            report["addresses"] += _addresses(offers[-1])
        elif mode != "call":
            _peer.REBUILD = 0.5 if mode == "long" else 60.0
            began = loop.time()
            _link("down")
            await alice.wait_lost(bob.pid)
            report["lost_after"] = loop.time() - began
            if mode == "long":
                # A new connection was tried meanwhile, and its offer is on the way.
                await alice.wait(lambda: len(alice.sent + bob.sent) > 2, "new offer")
            _link("up")
            await alice.wait_connected(bob.pid, 15)
        await hears(alice.session, bob.pid, 880, 15)
        report |= {"heard": True, "losses": alice.losses}
    return report


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))  # noqa: T201 - what the test reads
