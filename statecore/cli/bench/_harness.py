"""How everything is measured: sides in alternating rounds, medians, the garbage collector treated alike for all."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Protocol, TypeAlias

import attrs

Loop: TypeAlias = Callable[[int], None]
"""Does the thing to be measured this many times."""


class Side(Protocol):
    """One of those that are compared."""

    def __call__(self, count: int) -> float:
        """Do it `count` times; the seconds that took."""


@attrs.frozen(kw_only=True)
class Effort:
    """How much to measure."""

    rounds: int = 15
    """How often each side has its turn."""
    seconds: float = 0.1
    """About how long a turn lasts."""
    quick: bool = False
    """Whether a rough answer will do."""


FULL = Effort()
QUICK = Effort(rounds=5, seconds=0.01, quick=True)


@attrs.frozen(kw_only=True)
class Figure:
    """A figure beside its peer, from the same run. A line of `out/bench.json`."""

    name: str
    """What was measured."""
    value: float | None
    """What statecore takes; None if it could not be measured here."""
    unit: str
    """The unit of both values."""
    peer: str = ""
    """Beside what."""
    peer_value: float | None = None
    """What the peer takes; None if it is not here."""
    ratio: float | None = None
    """How the two compare, in the way that the target says it."""
    target: str = ""
    """What is wanted; empty if the figure only informs."""
    met: bool | None = None
    """Whether that was reached; None if there is no target, or nothing to hold against it."""


def at_most(limit: float, value: float | None) -> bool | None:
    """Whether a target is met that a value must not exceed."""
    return None if value is None else value <= limit


def at_least(limit: float, value: float | None) -> bool | None:
    """Whether a target is met that a value must reach."""
    return None if value is None else value >= limit


def cpu(loop: Loop) -> Side:
    """A side that runs in this process, in seconds of its processor time: what others do on the machine counts less."""

    def run(count: int) -> float:
        with own_garbage():
            start = time.process_time()
            loop(count)
            return time.process_time() - start

    return run


@contextmanager
def own_garbage() -> Iterator[None]:
    """Each side pays for collecting what it makes itself, and for nothing that was there before."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def alternate(sides: Mapping[str, Side], effort: Effort) -> dict[str, float]:
    """The median seconds of one operation, for each side. In every round each has its turn: A B C, A B C ..."""
    counts = {name: _calibrated(side, effort.seconds) for name, side in sides.items()}
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(effort.rounds):
        for name, side in sides.items():
            turns[name].append(side(counts[name]) / counts[name])
    return {name: median(seconds) for name, seconds in turns.items()}


def _calibrated(side: Side, seconds: float) -> int:
    """How often a side must do it for a turn of about this length. Warms it up, too."""
    count = 1
    while (taken := side(count)) < seconds / 4:
        count *= 4
    return max(1, round(count * seconds / taken))
