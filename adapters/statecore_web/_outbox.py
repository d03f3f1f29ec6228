"""What waits to be written to a socket: taken at once, written by a task, bounded."""

from __future__ import annotations

import asyncio
from collections import deque

from statecore.errors import SignalingLost


class Outbox:
    """A queue of messages between who sends without waiting and who writes as fast as the socket takes them."""

    def __init__(self, limit: int) -> None:
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._limit = limit
        self._reader: asyncio.Future[None] | None = None
        """Who waits in `get`."""
        self.closed = False
        """Whether nothing more is taken."""

    def put(self, message: bytes) -> None:
        """Queue a message. Raises SignalingLost when closed; a reader who is so slow that more than the limit waits is
        given up: its device will resume, and be told how things stand by then."""
        if not self.closed and self._size + len(message) > self._limit:
            self._messages.clear()
            self.close()
        if self.closed:
            raise SignalingLost
        self._messages.append(message)
        self._size += len(message)
        self._wake()

    def close(self) -> None:
        """Take nothing more; what was queued before is still given out. Idempotent."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> bytes | None:
        """The next message; None when closed and empty. Safe to cancel."""
        while not self._messages:
            if self.closed:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._messages.popleft()
        self._size -= len(message)
        return message
