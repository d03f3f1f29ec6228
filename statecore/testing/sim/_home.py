"""A device in a simulation of the shells, and what is around it: its program, clock, link and media."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np

from statecore.aio import CallClient, Session
from statecore.errors import SignalingLost
from statecore.flow import Flow
from statecore.ports import AudioFrame, VideoFrame
from statecore.testing.invariants import OVER
from statecore.testing.loop import NOON
from statecore.testing.media import FakeMedia

from ._parts import Clock
from ._services import TIMERS
from ._site import Link, Site


class Town(Protocol):
    """Where a device lives."""

    site: Site
    flows: Mapping[str, Flow]


class WrongClock:
    """The `Clock` port: a device's own, which may run fast or slow, and jump forward."""

    def __init__(self) -> None:
        self.shows = Clock(0, 1000)

    def monotonic(self) -> int:
        """What it shows."""
        return self.shows.read(now())

    def wall(self) -> int:
        """Unix time in milliseconds, as wrong."""
        return NOON + self.monotonic()


def now() -> int:
    """Virtual milliseconds since the run began."""
    return round(asyncio.get_running_loop().time() * 1000)


class Still:
    """A source that costs next to nothing: a small frame every few seconds."""

    def __init__(self, frame: Callable[[float], Any]) -> None:
        self._frame = frame

    async def __aiter__(self) -> AsyncIterator[Any]:
        at = 0.0
        while True:
            yield self._frame(at)
            await asyncio.sleep(5)
            at += 5


_SOUND, _PICTURE = np.zeros((8, 1), np.int16), np.zeros((2, 2, 3), np.uint8)
AUDIO = Still(lambda at: AudioFrame(samples=_SOUND, rate=8000, time=at))
VIDEO = Still(lambda at: VideoFrame(pixels=_PICTURE, time=at))


class Home:
    """A device: its program, of which one runs at a time."""

    def __init__(self, town: Town, user: str, device: str) -> None:
        self.town, self.user, self.device = town, user, device
        self.link: Link = town.site.link(user, device)
        self.clock = WrongClock()
        self.number = 0
        self.epoch = ""
        self.client: CallClient | None = None
        self.traces: list[list[str]] = []
        self.heard: list[dict[str, int]] = []
        """For each incarnation, how often its listeners heard of the end of each call."""
        self.sessions: dict[str, Session] = {}
        self.media = FakeMedia(AUDIO, VIDEO)
        self.reported = 0
        """Errors that listeners were told of."""

    async def start(self) -> None:
        """Run the program, and connect; it tries until it can."""
        self.number += 1
        lines: list[str] = []
        heard: dict[str, int] = {}
        self.traces.append(lines)
        self.heard.append(heard)
        ids = (f"{self.device}-{self.number}-{n}" for n in itertools.count())
        self.epoch = f"{self.device}-{self.number}-0"
        client = CallClient(
            self.link, self.media, clock=self.clock, ids=lambda: next(ids), jitter=lambda: 0.5, timers=TIMERS,
            flows=self.town.flows, trace=lines.append,
        )  # fmt: skip
        for event in OVER:
            client.on(event, partial(self._heard, heard))
        while True:
            try:
                await client.connect()
            except SignalingLost:
                await asyncio.sleep(0.3)
            else:
                self.client = client
                return

    def _heard(self, heard: dict[str, int], call: Any) -> None:
        heard[call.session_id] = heard.get(call.session_id, 0) + 1

    def crash(self) -> None:
        """The program dies: nothing it says in dying reaches anybody."""
        self.client = None
        self.sessions.clear()
        self.link.cut()

    def is_calm(self, epoch: str) -> bool:
        """Whether this incarnation runs, is connected, and nothing is on its way to or from it."""
        client = self.client
        if client is None or not client.connected or self.link.silent or not self.link.idle:
            return False
        return epoch == self.epoch

    def state(self, session: str) -> str:
        """The state of this device's part in a call; empty for none."""
        calls = self.client.calls if self.client is not None else []
        return next((call.state for call in calls if call.session_id == session), "")
