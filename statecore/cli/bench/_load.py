"""Devices that call each other through a service, as fast as it takes them. The service is another process."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from statecore.endpoint import Do, Endpoint, EndpointMachine, Input, LinkUp, Media, OpenMedia, Received, Send, Tick
from statecore.errors import SignalingLost
from statecore.ports import Channel
from statecore.wire import Down, View, decode_down, encode
from statecore_web import WebSocketSignaling

_machine = EndpointMachine()


class Device:
    """A device of the shipped machine on a WebSocket, whose user accepts every call, joins it, and ends it once it is
    active if he made it. Media is up as soon as it is opened."""

    def __init__(self, user: str, url: str, token: str) -> None:
        self.endpoint = Endpoint(user, f"{user}-device", str(uuid4()))
        self.messages = 0
        """How many went up and came down."""
        self.rang: dict[str, float] = {}
        """When it rang for a session, in seconds."""
        self.over: dict[str, asyncio.Future[None]] = {}
        """Told when a session has ended here."""
        self._link = WebSocketSignaling(url, token)
        self._channel: Channel
        self._task: asyncio.Task[None]
        self._joined = ""

    async def connect(self) -> None:
        """Connect, and be welcomed."""
        self._channel = await self._link.connect()
        self.give(LinkUp())
        while not self.endpoint.online:
            self._heard(await self._channel.receive())
        self._task = asyncio.create_task(self._listen(self._channel))

    async def close(self) -> None:
        """Go, once connected."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._channel.close()

    async def call(self, other: Device) -> float:
        """Call another's user, through to the end on both sides; after how many seconds it rang there.

        Raises SignalingLost if a link breaks."""
        session = str(uuid4())
        over = [device.over.setdefault(session, asyncio.get_running_loop().create_future()) for device in (self, other)]
        start = time.perf_counter()
        self.give(Do(session, "initiate", flow="ringing", receiver=other.endpoint.user))
        try:
            await asyncio.gather(*over)
        finally:
            del self.over[session], other.over[session]
        return other.rang.pop(session) - start

    def beat_if_due(self) -> None:
        """Say that it is there, if it is time."""
        if time.monotonic() * 1000 >= self.endpoint.beat_due:
            self.give(Tick())  # pragma: no cover - a short run is over before

    def give(self, given: Input) -> None:
        """An input for the device. What comes of it is carried out."""
        self.endpoint, effects = _machine.step(self.endpoint, given, int(time.monotonic() * 1000))
        for effect in effects:
            if type(effect) is Send:
                self.messages += 1
                self._channel.send(encode(effect.message))
            elif type(effect) is OpenMedia:
                self.give(Media(effect.session, "up"))

    async def _listen(self, channel: Channel) -> None:
        try:
            while True:
                self._heard(await channel.receive())
        except SignalingLost as lost:
            for over in self.over.values():  # pragma: no cover - there would be nothing to measure
                if not over.done():
                    over.set_exception(lost)

    def _heard(self, data: bytes) -> None:
        self.messages += 1
        message = decode_down(data)
        self.give(Received(message))
        self._go_on(message)

    def _go_on(self, message: Down) -> None:
        """Do what the user does when he sees this."""
        if not isinstance(message, View):
            return
        session, state, calls = message.session, message.state, message.role == "caller"
        if state == "ringing" and not calls and session not in self.rang:
            self.rang[session] = time.perf_counter()
            self.give(Do(session, "accept"))
        elif state == "accepted" and self._joined != session:
            self._joined = session
            self.give(Do(session, "join", token=self.endpoint.legs[session].token))
        elif state == "active" and calls:
            self.give(Do(session, "end"))
        elif state == "ended" and (over := self.over.get(session)) is not None and not over.done():
            over.set_result(None)


__all__ = ["Device"]
