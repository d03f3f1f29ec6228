"""The clocks and ids that are used unless the application gives its own."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

from ..ports import Clock


class LoopClock:
    """Wall time from the system, monotonic time from the running loop (so that a virtual-time loop moves both timers
    and calls)."""

    def wall(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> int:
        """The loop's time in milliseconds."""
        return round(asyncio.get_running_loop().time() * 1000)


def new_id() -> str:
    """A random UUID's 36 characters."""
    return str(uuid.uuid4())


class Alarm:
    """One timer that is moved about: calls back when a time of a clock has come."""

    def __init__(self, now: Callable[[], int], ring: Callable[[], object]) -> None:
        self._now = now
        self._ring = ring
        self._due = 0
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due: int) -> None:
        """Ring at this time, in milliseconds; 0 for never."""
        if due == self._due:
            return
        self.clear()
        if due:
            self._due = due
            delay = max(0, due - self._now()) / 1000
            self._handle = asyncio.get_running_loop().call_later(delay, self._rang)

    def clear(self) -> None:
        """Do not ring."""
        self._due = 0
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _rang(self) -> None:
        self._due, self._handle = 0, None
        self._ring()


__all__ = ["Alarm", "Clock", "LoopClock", "new_id"]
