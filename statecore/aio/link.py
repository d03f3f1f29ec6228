"""A link within the process that carries encoded bytes, and that tests can cut, delay, silence and mend."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from ..errors import SignalingLost
from ..settings import IceServers

Accept = Callable[["MemoryChannel", str], Awaitable[None] | None]
"""Takes the service's end of a new connection and the user it speaks for."""
Ice = Callable[[], Awaitable[IceServers]]
"""Gives what a user may use to reach others."""


class MemoryChannel:
    """One end of a connection: whole messages, in order, until either end closes it."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link
        self._peer: MemoryChannel
        self._inbox: deque[bytes] = deque()
        self._coming: deque[tuple[float, bytes | None]] = deque()
        """What is on the way here, with when it arrives; None closes."""
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False

    @staticmethod
    def pair(link: MemoryLink) -> tuple[MemoryChannel, MemoryChannel]:
        """Both ends."""
        one, other = MemoryChannel(link), MemoryChannel(link)
        one._peer, other._peer = other, one
        return one, other

    def send(self, message: bytes) -> None:
        """Queue a message for the other end; raises SignalingLost when closed."""
        if self.closed:
            raise SignalingLost
        if self._link.passes(message):
            self._peer.expect(message)

    def expect(self, message: bytes | None) -> None:
        """Take what the other end sent: at once, or after the link's delay and after what is on the way already."""
        loop = asyncio.get_running_loop()
        if not self._coming and self._link.delay <= 0:
            self._arrive(message)
            return
        due = max(loop.time() + self._link.delay, self._coming[-1][0] if self._coming else 0.0)
        self._coming.append((due, message))
        if self._timer is None:
            self._timer = loop.call_at(due, self._come)

    def _come(self) -> None:
        _, message = self._coming.popleft()
        self._timer = None
        if self._coming:
            self._timer = asyncio.get_running_loop().call_at(self._coming[0][0], self._come)
        self._arrive(message)

    def _arrive(self, message: bytes | None) -> None:
        if message is None:
            self.shut()
        elif not self.closed:
            self._inbox.append(message)
            self._wake()

    async def receive(self) -> bytes:
        """The next message; raises SignalingLost once closed. What arrived before a close is read first, unless the
        link was cut."""
        while not self._inbox:
            if self.closed:
                raise SignalingLost
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._inbox.popleft()

    async def close(self) -> None:
        """Close; the other end closes when it has got what was sent before. Idempotent."""
        if not self.closed:
            self.shut()
            if not self._peer.closed and not self._link.silent:
                self._peer.expect(None)

    def drop(self) -> None:
        """Break both ends at once, and lose what was not read."""
        self.shut(lossy=True)
        self._peer.shut(lossy=True)

    def shut(self, *, lossy: bool = False) -> None:
        """Close this end alone; `lossy` forgets what was not read. Idempotent."""
        self.closed = True
        if lossy:
            self._inbox.clear()
        self._coming.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._link.forget(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class MemoryLink:
    """How one user's device reaches a service in the same process. Implements the `Signaling` port."""

    def __init__(self, user: str, device: str | None, accept: Accept, ice: Ice | None = None) -> None:
        self.ice_servers = ice
        """Gives the STUN and TURN servers of the service; None if it has none."""
        self.user = user
        """The user's id."""
        self.device = device
        """The device's id, or None for one of the client's making."""
        self.delay = 0.0
        """Seconds that a message takes, either way."""
        self.silent = False
        """Whether messages vanish while the connection seems to stand."""
        self.passed = 0
        """How many messages were carried so far, both ways together."""
        self.cut_after: int | None = None
        """Cut the link instead of carrying the message after this many."""
        self._accept = accept
        self._down = False
        self._channels: set[MemoryChannel] = set()

    async def connect(self) -> MemoryChannel:
        """A new connection; raises SignalingLost while the link is cut, and a TokenError for a guest's token that is
        not good."""
        if self._down:
            raise SignalingLost
        mine, theirs = MemoryChannel.pair(self)
        accepting = self._accept(theirs, self.user)
        if accepting is not None:
            await accepting
        self._channels |= {mine, theirs}
        return mine

    def cut(self) -> None:
        """Break the connection, lose what is on the way, and refuse new ones."""
        self._down = True
        self.drop()

    def drop(self) -> None:
        """Break the connection and lose what is on the way; a new one may be made at once."""
        for channel in list(self._channels):
            channel.drop()

    def mend(self) -> None:
        """Let connections stand again."""
        self._down = self.silent = False

    def passes(self, message: bytes) -> bool:  # noqa: ARG002 - for who inherits this and picks messages
        """Whether a message gets through. Asked once for each message, in order."""
        if self.cut_after is not None and self.passed >= self.cut_after:
            self.cut_after = None
            self.cut()
        if self._down or self.silent:
            return False
        self.passed += 1
        return True

    def forget(self, channel: MemoryChannel) -> None:
        """An end was closed."""
        self._channels.discard(channel)
