"""A link within the process that carries encoded bytes, and that tests can cut, delay, silence and mend."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..errors import SignalingLost

Accept = Callable[["MemoryChannel", str], None]
"""Takes the service's end of a new connection and the user it speaks for."""


class MemoryChannel:
    """One end of a connection: whole messages, in order, until either end closes it."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link
        self._peer: MemoryChannel | None = None
        self._inbox: deque[bytes] = deque()
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
        if self.closed or self._peer is None:
            raise SignalingLost()
        self._link.carry(self._peer, message)

    def arrive(self, message: bytes) -> None:
        """A message is here; too late if the channel is closed."""
        if not self.closed:
            self._inbox.append(message)
            self._wake()

    async def receive(self) -> bytes:
        """The next message; raises SignalingLost once closed. What arrived before a close is read first, unless the
        link was cut."""
        while not self._inbox:
            if self.closed:
                raise SignalingLost()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._inbox.popleft()

    async def close(self) -> None:
        """Close both ends. Idempotent."""
        self.shut()

    def shut(self, *, lossy: bool = False) -> None:
        """Close both ends at once; `lossy` forgets what was not read."""
        for end in (self, self._peer):
            if end is not None and not end.closed:
                end.closed = True
                if lossy:
                    end._inbox.clear()
                end._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class MemoryLink:
    """How one user's device reaches a service in the same process. Implements the `Signaling` port."""

    def __init__(self, user: str, device: str | None, accept: Accept) -> None:
        self.user = user
        """The user's id."""
        self.device = device
        """The device's id, or None for one of the client's making."""
        self.delay = 0.0
        """Seconds that a message takes."""
        self.silent = False
        """Whether messages vanish while the connection seems to stand."""
        self._accept = accept
        self._down = False
        self._channel: MemoryChannel | None = None

    async def connect(self) -> MemoryChannel:
        """A new connection; raises SignalingLost while the link is cut."""
        if self._down:
            raise SignalingLost()
        mine, theirs = MemoryChannel.pair(self)
        self._channel = mine
        self._accept(theirs, self.user)
        return mine

    def cut(self) -> None:
        """Break the connection, lose what is on the way, and refuse new ones."""
        self._down = True
        self.drop()

    def drop(self) -> None:
        """Break the connection and lose what is on the way; a new one may be made at once."""
        if self._channel is not None:
            self._channel.shut(lossy=True)

    def mend(self) -> None:
        """Let connections stand again."""
        self._down = self.silent = False

    def carry(self, to: MemoryChannel, message: bytes) -> None:
        """Deliver a message to the end that it is for."""
        if self.silent:
            return
        loop = asyncio.get_running_loop()
        if self.delay > 0:
            loop.call_later(self.delay, to.arrive, message)
        else:
            to.arrive(message)
