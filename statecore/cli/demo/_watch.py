"""What each side sees and hears, measured as it arrives."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import CallClient, Session
from ...diagram import Message
from ...testing.signals import correlation, dominant_hz, mono, read_clock, resample, rms_dbfs
from ...wire import Command, Relayed, Up, View, decode_down, decode_up

RATE = 48_000
_QUIET = -50.0  # dBFS: a second with nothing but a pause in it says nothing
_READ_EVERY = 3  # reading the clock costs more than a picture in ten needs


class States:
    """The states one side's leg went through, as its listeners and its calls told."""

    def __init__(self) -> None:
        self.path: list[str] = []

    def saw(self, state: str) -> None:
        """A state was told."""
        if not self.path or self.path[-1] != state:
            self.path.append(state)


class Ears:
    """Takes the sound of a participant."""

    def __init__(self) -> None:
        self.parts: list[tuple[float, Any, int]] = []

    async def listen(self, session: Session, uid: str) -> None:
        """Until the session ends."""
        async for frame in session.audio(uid):
            self.parts.append((time.monotonic(), np.array(frame.samples), frame.rate))

    def since(self, start: float = 0.0, end: float = math.inf) -> Any:
        """What was heard between two moments: int16, mono column, 48 kHz."""
        heard = [samples.mean(axis=1) for at, samples, _ in self.parts if start <= at <= end]
        rate = self.parts[0][2] if self.parts else RATE
        sound = np.concatenate(heard) if heard else np.zeros(0)
        return resample(sound.astype(np.int16)[:, np.newaxis], rate, RATE)

    def loudness(self, start: float, end: float) -> float:
        """In dBFS over a stretch of time: what did not arrive counts as silence."""
        return rms_dbfs(self.since(start, end))

    def hz(self, start: float = 0.0, end: float = math.inf) -> float | None:
        """The strongest frequency."""
        sound = self.since(start, end)
        return round(dominant_hz(sound[: RATE * 2], RATE), 2) if len(sound) > RATE // 4 else None

    def likeness(self, sent: Any, start: float = 0.0, end: float = math.inf, *, seconds: float = 1.0) -> float | None:
        """How much of what was sent is in what was heard, 0 to 1, at the best alignment of each so many seconds."""
        heard, length = self.since(start, end), round(seconds * RATE)
        # Piece by piece: a sound card's, or a busy machine's, hiccup shifts all that comes after it.
        pieces = [heard[place : place + length] for place in range(0, len(heard) - length + 1, length)]
        found = [correlation(_looped(sent, length), piece)[0] for piece in pieces if rms_dbfs(piece) > _QUIET]
        return round(float(np.median(found)), 4) if found else None


def _looped(sent: Any, length: int) -> Any:
    """Something that was played in a loop, long enough to be aligned with what was heard of it."""
    sent = mono(sent)
    return np.resize(sent, max(len(sent), length + len(sent)))


class Eyes:
    """Takes the pictures of a participant, and reads the sender's clock off some."""

    def __init__(self) -> None:
        self.frames = 0
        self.clocks: list[int] = []
        self.came: list[float] = []
        self.size = (0, 0)
        self.first = self.last = 0.0

    async def look(self, session: Session, uid: str) -> None:
        """Until the session ends."""
        async for frame in session.video(uid):
            now = time.monotonic()
            self.first = self.first or now
            self.last = now
            self.frames += 1
            self.size = (frame.pixels.shape[1], frame.pixels.shape[0])
            if self.frames % _READ_EVERY == 1:
                clock = await asyncio.to_thread(read_clock, frame.pixels)
                if clock is not None:
                    self.clocks.append(clock)
                    self.came.append(now)

    @property
    def fps(self) -> float:
        """Pictures a second."""
        return round((self.frames - 1) / (self.last - self.first), 1) if self.last > self.first else 0.0

    def delay_ms(self, drawn: Mapping[int, float]) -> float | None:
        """From a picture's drawing to its arrival, coded, sent and decoded: the median of those that were read."""
        each = [at - drawn[clock] for clock, at in zip(self.clocks, self.came, strict=True) if clock in drawn]
        return round(float(np.median(each)) * 1000, 1) if each else None

    def advancing(self) -> int:
        """How many clocks were read that were later than the one before."""
        return sum(later > earlier for earlier, later in zip(self.clocks, self.clocks[1:], strict=False)) + 1


class Tap:
    """A link that writes down what goes over it, without what is secret."""

    def __init__(self, link: Any, name: str, log: list[Message], start: float) -> None:
        self._link, self._name, self._log, self._start = link, name, log, start
        self.user, self.device = link.user, link.device

    async def connect(self) -> Any:
        """The `Signaling` port."""
        return _TapChannel(self, await self._link.connect())

    def note(self, source: str, target: str, label: str, kind: Any) -> None:
        """One message."""
        self._log.append(Message(time.monotonic() - self._start, source, target, label, kind))

    def sent(self, message: Up) -> None:
        """Something this side says."""
        if isinstance(message, Command):
            self.note(self._name, "service", message.trigger, "command")

    def came(self, message: Any) -> None:
        """Something the service says."""
        if isinstance(message, View):
            reason = f" ({message.reason})" if message.reason else ""
            self.note("service", self._name, f"{message.state}{reason}", "fact")
        elif isinstance(message, Relayed) and message.kind in ("offer", "answer"):
            self.note("service", self._name, message.kind, "media")


class _TapChannel:
    def __init__(self, tap: Tap, channel: Any) -> None:
        self._tap, self._channel = tap, channel

    def send(self, message: bytes) -> None:
        self._tap.sent(decode_up(message))
        self._channel.send(message)

    async def receive(self) -> bytes:
        data: bytes = await self._channel.receive()
        self._tap.came(decode_down(data))
        return data

    async def close(self) -> None:
        await self._channel.close()


def state_of(client: CallClient, session_id: str) -> str | None:
    """The state of a client's call as it is now."""
    return next((call.state for call in client.calls if call.session_id == session_id), None)
