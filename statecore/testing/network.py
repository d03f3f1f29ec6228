"""A network that fails: put between clients and a service, whatever carries the messages between them otherwise."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self, TypeAlias

from statecore.errors import SignalingError, SignalingLost
from statecore.ports import Channel, Signaling


class FaultyNetwork:
    """Gives links latency, jitter and loss, and cuts, silences and parts them. By its seed it does the same each time.

    `latency` and `jitter` are seconds: a message takes the latency and a random part of the jitter, and arrives in its
    order. `loss` is the chance, from 0 to 1, that a message is lost; since a link is reliable until it breaks, that
    breaks it. Use it as an async context manager, outermost: leaving it waits until every connection is closed."""

    def __init__(self, seed: int = 0, *, latency: float = 0.0, jitter: float = 0.0, loss: float = 0.0) -> None:
        self.seed = seed
        self.latency, self.jitter, self.loss = latency, jitter, loss
        self.links: list[FaultyLink] = []
        """Every link, in the order they were made."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def link(self, signaling: Signaling) -> FaultyLink:
        """A way to the service over this network: give it to a `CallClient` in the place of `signaling`."""
        chance = random.Random(f"{self.seed} {len(self.links)} {signaling.user} {signaling.device}")
        made = FaultyLink(signaling, chance, self.latency, self.jitter, self.loss)
        self.links.append(made)
        return made

    def partition(self, *links: FaultyLink) -> None:
        """Cut these links off, all at once; `heal` ends it. Idempotent."""
        for link in links:
            link.cut()

    def heal(self) -> None:
        """Every link works again, and connections can be made. Idempotent."""
        for link in self.links:
            link.mend()

    async def close(self) -> None:
        """Heal, and wait until every connection that was broken is closed on the other side, too. Idempotent."""
        self.heal()
        for link in self.links:
            await link.reaped()


class FaultyLink:
    """One device's way over a `FaultyNetwork`. Implements the `Signaling` port; make it by `FaultyNetwork.link`."""

    def __init__(self, signaling: Signaling, chance: random.Random, latency: float, jitter: float, loss: float) -> None:
        self.user = signaling.user
        """The user's id."""
        self.device = signaling.device
        """The device's id, or None for one of the client's making."""
        self.latency, self.jitter, self.loss = latency, jitter, loss
        """As for the network; may be changed at any time."""
        self.broken = 0
        """How many connections broke so far."""
        self.passed = 0
        """How many messages were carried so far, both ways together."""
        self.unanswered = 0
        """How many messages arrived without an answer: see `lose_answers`."""
        self.belated = 0
        """How many of them arrived after their time."""
        self.silent = False
        """Whether messages vanish while the connections seem to stand."""
        self._answers, self._late = 0, 0.0
        self._signaling = signaling
        self._chance = chance
        self._down = False
        self._open: dict[_FaultyChannel, None] = {}
        self._parked: list[Channel] = []
        """Connections that the other side believes in."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = self._drops = 0

    async def connect(self) -> Channel:
        """A new connection; raises SignalingLost while the link is cut or silent, and what the real one raises."""
        self._check()
        inner = await self._signaling.connect()
        try:
            self._check()
        except SignalingLost:
            self._bury(inner)
            raise
        channel = _FaultyChannel(self, inner)
        self._open[channel] = None
        return channel

    def _check(self) -> None:
        if self._down or self.silent:
            raise SignalingLost

    def drop(self) -> None:
        """Break every connection and lose what is on the way, late or not; a new one may be made at once."""
        self._drops += 1
        for channel in list(self._open):
            self.broken += 1
            channel.shut(lost=True)

    def cut(self) -> None:
        """Break every connection, and let none be made until `mend`. Idempotent."""
        self._down = True
        self.drop()

    def half_open(self) -> None:
        """From now on messages vanish, both ways, while both sides take the connection for open; until `mend`, which
        breaks it. Idempotent."""
        self.silent = True

    def lose_answers(self, count: int = 1, *, late: float = 0.0) -> None:
        """Break the connection right behind each of the next `count` messages up. The message still arrives, `late`
        seconds after its time, and no answer comes back: whoever said it connects anew and says it again, so it comes
        twice, or after what was said over the next connection. A link that keeps its order repeats and reorders in no
        other way. With 0, no more."""
        self._answers, self._late = count, late

    def mend(self) -> None:
        """Let connections be made again; one that was half-open breaks now. Idempotent."""
        self._down = False
        if self.silent:
            self.drop()
            self.silent = False
            parked, self._parked = self._parked, []
            for inner in parked:
                self._bury(inner)

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way, either way."""
        return not self._leaving and not any(channel.carries for channel in self._open)

    async def reaped(self) -> None:
        """Wait until no connection of this link is open any more, on either side."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    # --- for its channels

    def when(self, after: float) -> float:
        """When a message sent now arrives, not before the one before it."""
        now = asyncio.get_running_loop().time()
        return max(now + self.latency + self._chance.random() * self.jitter, after)

    def loses(self) -> bool:
        """Whether this message is lost, and breaks the link."""
        return self.loss > 0 and self._chance.random() < self.loss

    def answerless(self) -> bool:
        """Whether this message breaks the connection behind it."""
        if self._answers == 0 or self.silent:
            return False
        self._answers -= 1
        self.broken += 1
        self.unanswered += 1
        self.belated += self._late > 0
        return True

    def forget(self, channel: _FaultyChannel, inner: Channel, coming: Coming = ()) -> None:
        """A connection is closed on the device's side. What is still coming arrives, late."""
        self._open.pop(channel, None)
        if self.silent:
            self._parked.append(inner)
        else:
            self._bury(inner, coming)

    def start(self, work: asyncio.Task[None]) -> asyncio.Task[None]:
        """Keep a task until it is done."""
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)
        return work

    def _bury(self, inner: Channel, coming: Coming = ()) -> None:
        self._leaving += len(coming)
        closing = self._close(inner, coming, self._drops)
        self.start(asyncio.get_running_loop().create_task(closing, name="faulty network: closing"))

    async def _close(self, inner: Channel, coming: Coming, drops: int) -> None:
        for due, message in coming:
            await asyncio.sleep(max(0.0, due + self._late - asyncio.get_running_loop().time()))
            if drops == self._drops:
                self.passed += 1
                with suppress(SignalingLost):
                    inner.send(message)
            self._leaving -= 1
        with suppress(SignalingError):
            await inner.close()


Coming: TypeAlias = Sequence[tuple[float, bytes]]
"""What is on its way, with when it arrives."""


class _Way:
    """One direction of a connection: messages arrive in their order. (A loop's timers of one time fire in any.)"""

    def __init__(self, link: FaultyLink, take: Callable[[bytes], None]) -> None:
        self._link, self._take = link, take
        self._coming: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.due = 0.0
        """When the last message arrives."""

    @property
    def carries(self) -> bool:
        """Whether something is on its way."""
        return bool(self._coming)

    def carry(self, message: bytes) -> None:
        """Send a message on its way."""
        self.due = self._link.when(self.due)
        self._coming.append((self.due, message))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self.due, self._arrive)

    def _arrive(self) -> None:
        _, message = self._coming.popleft()
        self._timer = None
        if self._coming:
            self._timer = asyncio.get_running_loop().call_at(self._coming[0][0], self._arrive)
        if not self._link.silent:
            self._link.passed += 1
            self._take(message)

    def hand_over(self) -> Coming:
        """Give up what is on the way to whoever sees to its arrival."""
        coming = tuple(self._coming)
        self.stop()
        return coming

    async def empty(self) -> None:
        """Wait until everything has arrived."""
        while self._coming:  # noqa: ASYNC110 - until a time, not an event
            await asyncio.sleep(max(0.0, self.due - asyncio.get_running_loop().time()))

    def stop(self) -> None:
        """Lose what is on the way."""
        self._coming.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _FaultyChannel:
    """One connection, as the device sees it."""

    def __init__(self, link: FaultyLink, inner: Channel) -> None:
        self._link, self._inner = link, inner
        self._up, self._down = _Way(link, self._sent), _Way(link, self._arrived)
        self._inbox: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._closed = False
        pump = asyncio.get_running_loop().create_task(self._pump(), name=f"faulty network: {link.user}")
        self._reading = link.start(pump)

    def send(self, message: bytes) -> None:
        """Send; raises SignalingLost when closed."""
        if self._closed:
            raise SignalingLost
        self._carry(self._up, message)
        if self._up.carries and self._link.answerless():
            self.shut(lost=True, coming=self._up.hand_over())

    async def receive(self) -> bytes:
        """The next message; raises SignalingLost once closed. What arrived before a close is read first."""
        while not self._inbox:
            if self._closed:
                raise SignalingLost
            self._news.clear()
            await self._news.wait()
        return self._inbox.popleft()

    async def close(self) -> None:
        """Close; what is on the way up still arrives, unless the link is cut before. Idempotent."""
        await self._up.empty()
        self.shut()
        await asyncio.wait([self._reading])

    @property
    def carries(self) -> bool:
        """Whether something is on its way, or was not read."""
        return self._up.carries or self._down.carries or bool(self._inbox)

    def shut(self, *, lost: bool = False, coming: Coming = ()) -> None:
        """Close at once; `lost`, with all that was not read. What is `coming` still arrives. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._up.stop()
        self._down.stop()
        if lost:
            self._inbox.clear()
        self._reading.cancel()
        self._link.forget(self, self._inner, coming)
        self._news.set()

    def _carry(self, way: _Way, message: bytes) -> None:
        if self._link.silent:
            return
        if self._link.loses():
            self._link.broken += 1
            self.shut(lost=True)
        else:
            way.carry(message)

    def _sent(self, message: bytes) -> None:
        with suppress(SignalingLost):  # the reading end notices
            self._inner.send(message)

    def _arrived(self, message: bytes) -> None:
        self._inbox.append(message)
        self._news.set()

    async def _pump(self) -> None:
        """Take what comes down, until the service or the network closes it."""
        try:
            while True:
                self._carry(self._down, await self._inner.receive())
        except SignalingError:
            if not self._link.silent:  # then nobody here learns of it
                await self._down.empty()
                self.shut()


__all__ = ["FaultyLink", "FaultyNetwork"]
