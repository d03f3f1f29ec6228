"""The clocks and ids that are used unless the application gives its own, and the timers that are moved about."""

from __future__ import annotations

import asyncio
import heapq
import time
import uuid
from collections.abc import Callable

from ..ports import Key


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


class Deadlines:
    """When which record's next timer is due: one alarm for all of them. Of a record, the newest version counts, in
    whatever order versions are told of."""

    def __init__(self, now: Callable[[], int], ring: Callable[[], object]) -> None:
        self._now = now
        self._due: dict[Key, tuple[int, int]] = {}
        self._heap: list[tuple[int, Key]] = []
        self._alarm = Alarm(now, ring)
        self._stopped = False

    def watch(self, key: Key, version: int, due: int) -> None:
        """In this version the record is due then; 0 for never."""
        known, before = self._due.get(key, (0, 0))
        if version < known:
            return
        if due:
            self._due[key] = (version, due)
            if due != before:
                heapq.heappush(self._heap, (due, key))
        else:
            self._due.pop(key, None)
        self._arm()

    def put_off(self, key: Key, milliseconds: int) -> None:
        """Let a record whose timers could not be served be due again, unless it is due anyway."""
        if key not in self._due:
            self.watch(key, 0, self._now() + milliseconds)

    def take(self) -> list[Key]:
        """The records that are due, each once; they are not watched any more."""
        now, due = self._now(), []
        while self._heap and self._heap[0][0] <= now:
            when, key = heapq.heappop(self._heap)
            if self._due.get(key, (0, 0))[1] == when:
                del self._due[key]
                due.append(key)
        self._arm()
        return due

    def stop(self) -> None:
        """Ring no more, whatever is told from now on."""
        self._stopped = True
        self._alarm.clear()

    def _arm(self) -> None:
        while self._heap and self._due.get(self._heap[0][1], (0, 0))[1] != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._stopped:
            self._alarm.set(self._heap[0][0] if self._heap else 0)


__all__ = ["Alarm", "Deadlines", "LoopClock", "new_id"]
