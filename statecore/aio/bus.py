"""A bus within the process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class MemoryBus:
    """Joins services that share a store and run in one loop, as tests have them. Implements the `Bus` port.

    `delay` is how many seconds a message takes; it never arrives within the call that told it."""

    def __init__(self, *, delay: float = 0.0) -> None:
        self.delay = delay
        """Seconds that a message takes."""
        self._members: list[_Member] = []

    async def join(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> _Member:
        """Take part."""
        member = _Member(self._members, heard, lost, self)
        self._members.append(member)
        return member

    def lose(self) -> None:
        """Lose what is on the way, as if the bus had been away; every member is told."""
        for member in self._members:
            member.lose()


class _Member:
    def __init__(
        self, members: list[_Member], heard: Callable[[bytes], None], lost: Callable[[], None], bus: MemoryBus
    ) -> None:
        self._members = members
        self._heard = heard
        self._lost = lost
        self._bus = bus
        self._coming: deque[tuple[float, bytes]] = deque()
        """What is on the way here, with when it arrives."""
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, message: bytes) -> None:
        """Send to every other member."""
        if self in self._members:
            for member in self._members:
                if member is not self:
                    member.expect(message)

    def expect(self, message: bytes) -> None:
        """Hear this in a while, after what is on the way already."""
        due = asyncio.get_running_loop().time() + self._bus.delay
        self._coming.append((max(due, self._coming[-1][0]) if self._coming else due, message))
        self._arm()

    def _arm(self) -> None:
        if self._timer is None and self._coming:
            self._timer = asyncio.get_running_loop().call_at(self._coming[0][0], self._come)

    def _come(self) -> None:
        self._timer = None
        _, message = self._coming.popleft()
        self._arm()
        self._heard(message)

    def lose(self) -> None:
        """Lose what is on the way."""
        self._clear()
        self._lost()

    def _clear(self) -> None:
        self._coming.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def leave(self) -> None:
        """Hear nothing more, and tell nothing more."""
        if self in self._members:
            self._members.remove(self)
            self._clear()


__all__ = ["MemoryBus"]
