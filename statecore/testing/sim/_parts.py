"""What a simulation is made of: scheduled events, wrong clocks, connections, devices, and the count of what was met."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from statecore.endpoint import Endpoint
from statecore.model import Record


class Agenda:
    """What is going to happen, in the order of time; what is at the same time, in the order it was scheduled."""

    def __init__(self) -> None:
        self.now = 0
        """Milliseconds since the simulation began."""
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = itertools.count()

    def at(self, when: int, do: Callable[..., None], *args: Any) -> None:
        """Schedule something; not before now."""
        heapq.heappush(self._heap, (max(when, self.now), next(self._count), do, args))

    def after(self, milliseconds: int, do: Callable[..., None], *args: Any) -> None:
        """Schedule something for so much later."""
        self.at(self.now + milliseconds, do, *args)

    def step(self) -> None:
        """Let the next event happen."""
        self.now, _, do, args = heapq.heappop(self._heap)
        do(*args)


class Clock:
    """A device's monotonic clock, which may run fast or slow, and jump forward, as one that stood in sleep does."""

    def __init__(self, now: int, start: int) -> None:
        self._since, self._base, self.rate = now, start, 1.0

    def read(self, now: int) -> int:
        """What it shows."""
        if self.rate == 1.0:
            return self._base + now - self._since
        return self._base + int((now - self._since) * self.rate)

    def when(self, shown: int) -> int:
        """When it is going to show this, or more."""
        if self.rate == 1.0:
            return self._since + shown - self._base
        return self._since + math.ceil((shown - self._base) / self.rate)

    def set(self, now: int, *, rate: float | None = None, jump: int = 0) -> None:
        """Run at another rate from now on; jump forward."""
        self._base, self._since = self.read(now) + jump, now
        self.rate = self.rate if rate is None else rate


class Wire:
    """One connection: reliable and in order, until it is cut; each end learns of that by itself."""

    def __init__(self, device: str, user: str, number: int, chance: random.Random) -> None:
        self.device, self.user, self.number = device, user, number
        self.chance = chance
        """Its own, so that what one link draws changes nothing for another."""
        self.epoch = ""
        """The incarnation that greeted, once it did."""
        self.here = self.there = True
        """Whether the device's end is open, and the service's."""
        self.silent = False
        """Whether messages vanish while both ends take it for open."""
        self.pending = [0, 0]
        """Messages on the way: up, down."""
        self.due = [0, 0]
        """When the last of them arrives."""
        self.repeat = self.overtake = 0
        """How many of the next messages are carried twice, or may overtake others (down only)."""


class Place:
    """A device: its program, its clock, its connection."""

    def __init__(self, user: str, device: str, clock: Clock, chance: random.Random) -> None:
        self.clock = clock
        self.chance = chance
        self.number = 1
        """Which incarnation."""
        self.endpoint = Endpoint(user, device, f"{device}-1")
        self.wire: Wire | None = None
        self.running = True
        self.cut_until = 0
        """No connection can be made before."""
        self.slow = (0, 0)
        """More latency, and until when."""
        self.tick_at = 0
        """When its timer is set for; 0 for not at all."""
        self.fail_media = False
        """Whether the next media session fails."""

    @property
    def calm(self) -> bool:
        """Whether its link stands and nothing is on its way, as both ends see it."""
        wire = self.wire
        return (
            wire is not None and wire.here and wire.there and not wire.silent and bool(wire.epoch)
            and not wire.pending[0] and not wire.pending[1] and self.running and self.endpoint.online
        )  # fmt: skip


class Mix:
    """What a simulation met."""

    def __init__(self) -> None:
        self.calls: set[str] = set()
        """Every call that came to be, by id."""
        self.faults: Counter[str] = Counter()
        """The faults that took effect, by name."""
        self.met: dict[str, set[str]] = {"glare": set(), "crash": set(), "resume": set()}
        """The calls that met what makes calls hard."""
        self.reasons: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.agreements = 0
        """How often both sides of a call were compared while nothing was on its way."""
        self.events = 0
        self.seconds = 0

    def count(self, records: Iterable[Record]) -> None:
        """Calls that came to be, and why they ended, as a store has them before it is gone."""
        for record in records:
            self.calls.add(record.session_id)
            self.reasons[record.reason or "forgotten"] += 1
            if record.merged_into:
                self.met["glare"] |= {record.session_id, record.merged_into}

    def report(self) -> dict[str, Any]:
        """As plain data, ready to be added up."""
        met = set().union(*self.met.values()) & self.calls
        return {
            "calls": len(self.calls), "faults": dict(sorted(self.faults.items())), "events": self.events,
            "met": {name: len(calls & self.calls) for name, calls in self.met.items()}, "met_any": len(met),
            "reasons": dict(sorted(self.reasons.items())), "outcomes": dict(sorted(self.outcomes.items())),
            "agreements": self.agreements, "virtual_seconds": self.seconds,
        }  # fmt: skip


def latency(chance: random.Random) -> int:
    """How long a message takes, in milliseconds: mostly a little, sometimes much more."""
    roll = chance.random()
    if roll < 0.9:
        return 5 + int(roll * 60)
    return 60 + int((roll - 0.9) * 6000)
