"""The clocks and ids that are used unless the application gives its own, and the timers that are moved about."""

from __future__ import annotations

import asyncio
import heapq
import time
import uuid
from array import array
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


class Timetable:
    """When to look at which record. A note is made each time a record is said to be due, and never taken back: when its
    time has come the record is looked at, and what it says then counts. So it does not matter how often one is told of
    a record, nor in which order; and a note costs a place in a list, and two bytes, that it shares with its second."""

    def __init__(self) -> None:
        self._soon: list[tuple[int, Key]] = []
        """What is due before `_until`, as a heap."""
        self._until = 0
        """Unix time in seconds."""
        self._later: dict[tuple[int, str], tuple[list[str], array[int]]] = {}
        """By second and kind of record: ids, and by how many milliseconds later than the second each is due."""
        self._seconds: list[tuple[int, str]] = []
        """The keys of those, as a heap."""

    def note(self, key: Key, due: int) -> None:
        """Look at this record then, in milliseconds; 0 for never."""
        if not due:
            return
        kind, name = key
        if due // 1000 < self._until:
            heapq.heappush(self._soon, (due, key))
            return
        place = (due // 1000, kind)
        notes = self._later.get(place)
        if notes is None:
            notes = self._later[place] = [], array("H")
            heapq.heappush(self._seconds, place)
        names, parts = notes
        names.append(name)
        parts.append(due % 1000)

    def take(self, now: int) -> list[Key]:
        """The records whose time has come, each once."""
        while self._seconds and self._seconds[0][0] * 1000 <= now:
            place = heapq.heappop(self._seconds)
            second, kind = place
            self._until = second + 1
            for name, part in zip(*self._later.pop(place), strict=True):
                heapq.heappush(self._soon, (second * 1000 + part, (kind, name)))
        keys: dict[Key, None] = {}
        while self._soon and self._soon[0][0] <= now:
            keys[heapq.heappop(self._soon)[1]] = None
        return list(keys)

    def next(self) -> int:
        """When to `take` next; 0 for never."""
        times = [self._soon[0][0]] if self._soon else []
        times += [self._seconds[0][0] * 1000] if self._seconds else []
        return min(times, default=0)


class Deadlines:
    """A timetable, and one alarm for all of it."""

    def __init__(self, now: Callable[[], int], ring: Callable[[], object]) -> None:
        self._now = now
        self._table = Timetable()
        self._alarm = Alarm(now, ring)
        self._stopped = False

    def watch(self, key: Key, due: int) -> None:
        """This record is due then, in milliseconds; 0 for never."""
        self._table.note(key, due)
        self._arm()

    def put_off(self, key: Key, milliseconds: int) -> None:
        """Look at a record whose timers could not be served again in a while."""
        self.watch(key, self._now() + milliseconds)

    def take(self) -> list[Key]:
        """The records whose time has come, each once. They may have changed since: look at them."""
        due = self._table.take(self._now())
        self._arm()
        return due

    def stop(self) -> None:
        """Ring no more, whatever is told from now on."""
        self._stopped = True
        self._alarm.clear()

    def _arm(self) -> None:
        if not self._stopped:
            self._alarm.set(self._table.next())


__all__ = ["Alarm", "Deadlines", "LoopClock", "Timetable", "new_id"]
