"""A loop whose time is virtual: when nothing is ready it is the time of the next timer, at once.

A test of a 45-second ring timer takes no 45 seconds, and two runs of one program are the same run. What comes from
outside the loop (sockets, threads) still takes the time it takes; the virtual time stands still meanwhile. Where that
will not do, as between two processes, a FastLoop lets real time pass, faster.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
MakeLoop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

NOON = 1_700_000_000_000
"""The wall time at which a VirtualClock begins: Unix time in milliseconds."""


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set, and nothing came from outside: everybody waits for ever."""


class _Jumping(selectors.DefaultSelector):
    """Where the loop would sleep until a timer is due, its time jumps there."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self.now = 0.0
        self._patience = patience

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self.now += timeout
            return []
        if not (ready := super().select(self._patience)):
            raise Deadlock("nothing is ready and no timer is set: everybody waits for ever")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, which begins at 0.

    `patience` is how many real seconds to wait for a thread or a socket when there is nothing else to do; then
    Deadlock is raised out of the run."""

    def __init__(self, patience: float = 5.0) -> None:
        self._jumping = _Jumping(patience)
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now


class _Hurried(selectors.DefaultSelector):
    """Sleeps for a part of the time that it is asked to."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout / self._speed if timeout is not None else None)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes `speed` times as fast as the real one: timers of seconds and minutes over real
    sockets take a part of that. What the machine itself takes seems so much longer.

    Its time is that of a clock all processes of a machine share (`time.monotonic`): it was 0 at `began`, by default
    when it was made."""

    def __init__(self, speed: float, began: float | None = None) -> None:
        self.speed = speed
        """How many of its seconds a real one has."""
        self.began = time.monotonic() if began is None else began
        """When its time was 0."""
        super().__init__(_Hurried(speed))

    def time(self) -> float:
        """Its seconds since it began."""
        return (time.monotonic() - self.began) * self.speed


class VirtualClock:
    """The `Clock` port by the running loop's time, for services and clients whose wall time is to move with it."""

    def __init__(self, start: int = NOON) -> None:
        self.start = start
        """The wall time at the loop's time 0. May be changed: somebody sets the clock."""

    def wall(self) -> int:
        """Unix time in milliseconds."""
        return self.start + self.monotonic()

    def monotonic(self) -> int:
        """The loop's time in milliseconds."""
        return round(asyncio.get_running_loop().time() * 1000)


def run_virtual(main: Coroutine[Any, Any, T], *, debug: bool | None = None, loop: MakeLoop | None = None) -> T:
    """Like `asyncio.run`, in virtual time. Raises Deadlock if everybody waits for ever.

    `loop` makes another loop than a VirtualLoop."""
    with asyncio.Runner(debug=debug, loop_factory=loop or VirtualLoop) as runner:
        return runner.run(main)


__all__ = ["NOON", "Deadlock", "FastLoop", "VirtualClock", "VirtualLoop", "run_virtual"]
