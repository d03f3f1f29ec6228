"""A call as it is said on the wire: what the page of messages shows, and what a test says again to a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from typing import Any

from statecore import CallService
from statecore.errors import SignalingLost
from statecore.flow import FLOWS
from statecore.ports import Channel
from statecore.testing import VirtualClock, run_virtual

TOKEN = "<token>"  # noqa: S105 - what stands for one
"""Stands for the call token that the device was given last."""
USERS = {"alice-phone": "alice", "bob-phone": "bob"}
"""Who takes part: devices and their users."""
INTRO = f"""\
What two devices and the service say in a call from the first connection to the last. Every line is one message, `>`
from the device and `<` to it; `{TOKEN}` stands for the call token that the device was given last. It was written down
from a service, and a test says it again to a server."""


def _says(user: str, m: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return f"{user}-phone", {"m": m, **more}


def _hello(user: str, **more: Any) -> tuple[str, dict[str, Any]]:
    flows = {"ringing": FLOWS["ringing"].hash}
    return _says(user, "hello", device=f"{user}-phone", epoch=f"{user}-1", conn=1, flows=flows, **more)


def _command(user: str, n: int, trigger: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return _says(user, "command", session="call-1", n=n, trigger=trigger, **more)


def _relay(user: str, to: str, kind: str, body: str) -> tuple[str, dict[str, Any]]:
    return _says(user, "relay", session="call-1", to=to, kind=kind, body=body)


_SCRIPT: tuple[tuple[str, tuple[tuple[str, dict[str, Any]], ...]], ...] = (
    (
        "Both connect. Bob's device believes that it takes part in a call which is long over.",
        (_hello("alice", name="Alice"), _hello("bob", name="Bob", sessions={"call-0": 7})),
    ),
    (
        """Alice calls Bob: her device chooses the session's id, so that it may say the same again after a broken link.
It rings for 45 seconds.""",
        (_command("alice", 1, "initiate", flow="ringing", receiver="bob", type="audio"),),
    ),
    (
        "Whatever is not legal is refused, and changes nothing.",
        (_says("alice", "command", session="call-2", n=1, trigger="initiate", flow="ringing", receiver="alice"),),
    ),
    (
        "Bob accepts. The views that say that they may join bring a call token for each.",
        (_command("bob", 1, "accept"),),
    ),
    (
        "Both join with it, and open their media.",
        (_command("alice", 2, "join", token=TOKEN), _command("bob", 2, "join", token=TOKEN)),
    ),
    (
        """Before one device may offer media to the other, it asks for the pair's offer token: while a view shows
that it has that, in `offers`, the other makes no offer. It is given back when the answer is there. What a body
holds is the business of the two media adapters.""",
        (
            _says("alice", "ask", session="call-1", pid="2"),
            _relay("alice", "2", "offer", "an SDP offer"),
            _relay("bob", "1", "answer", "an SDP answer"),
            _relay("bob", "1", "candidate", "an ICE candidate"),
            _says("alice", "free", session="call-1", pid="2"),
        ),
    ),
    (
        "Both report that media flows: the call is active.",
        (_command("alice", 3, "up"), _command("bob", 3, "up")),
    ),
    (
        "Data for the other side; a sign of life, which the service echoes; and a fresh call token.",
        (
            _relay("alice", "2", "data", "hello"),
            _says("alice", "beat"),
            _says("bob", "token?", session="call-1", n=1),
        ),
    ),
    ("Bob hangs up.", (_command("bob", 4, "end"),)),
    ("Alice's device goes for good.", (_says("alice", "bye"),)),
)


def conversation() -> list[tuple[str, list[str]]]:
    """What happens, one thing after another, and the lines that are said then."""
    return run_virtual(_written_down())


def line(device: str, way: str, message: dict[str, Any]) -> str:
    """A message as the page shows it: what has no order of its own is sorted."""
    return f"{device} {way} {json.dumps(_shown(message), separators=(',', ':'))}"


def _shown(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _shown(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return sorted(value) if name in {"flags", "grants"} else [_shown(each) for each in value]
    return TOKEN if name == "token" else value


async def _written_down() -> list[tuple[str, list[str]]]:
    numbers = count(1)
    async with CallService(clock=VirtualClock(), ids=lambda: f"id-{next(numbers)}", key=bytes(32)) as service:
        channels = {device: await service.signaling(user, device).connect() for device, user in USERS.items()}
        tokens = dict.fromkeys(USERS, "")
        written = []
        for text, said in _SCRIPT:
            lines = []
            for device, message in said:
                lines.append(line(device, ">", message))
                token = {"token": tokens[device]} if "token" in message else {}
                channels[device].send(json.dumps(message | token).encode())
                for hearer, channel in channels.items():
                    async for heard in _heard(channel):
                        tokens[hearer] = heard.get("token", tokens[hearer])
                        lines.append(line(hearer, "<", heard))
            written.append((text, lines))
    return written


async def _heard(channel: Channel) -> AsyncIterator[dict[str, Any]]:
    """What there is to hear within a moment."""
    with suppress(TimeoutError, SignalingLost):
        while True:
            async with asyncio.timeout(0.25):
                message = await channel.receive()
            yield json.loads(message)
