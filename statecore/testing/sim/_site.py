"""What a script is carried out on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from statecore.model import Line, Record
from statecore.ports import Signaling

from ._parts import Mix


class Link(Signaling, Protocol):
    """A device's way to the services, which breaks when it is told to. `statecore.testing.FaultyLink` is one."""

    latency: float
    jitter: float
    """Seconds that a message takes, and how many more at most."""
    silent: bool
    """Whether messages vanish while the connections seem to stand."""
    unanswered: int
    """How many messages arrived without an answer: see `lose_answers`."""
    belated: int
    """How many of them arrived after their time."""

    @property
    def idle(self) -> bool:
        """Whether nothing is known to be on its way, either way."""

    def cut(self) -> None:
        """Break every connection, and let none be made until `mend`. Idempotent."""

    def half_open(self) -> None:
        """From now on messages vanish, both ways, while both sides take the connection for open; until `mend`, which
        breaks it. Idempotent."""

    def lose_answers(self, count: int = 1, *, late: float = 0.0) -> None:
        """Break the connection right behind each of the next `count` messages up, which arrive `late` seconds after
        their time. With 0, no more."""

    def mend(self) -> None:
        """Let connections be made again; one that was half-open breaks now. Idempotent."""


class Site(Protocol):
    """The services of a script, on one store, and the ways to them. Everybody is known to them from the beginning.

    Ours are services in this process over links in memory, in virtual time: `simulate_shells`. Whoever has another (a
    server in a process of its own, behind real sockets) gives it to `carry_out`. Times are those of the running loop,
    which may run fast."""

    mix: Mix
    """What the run meets."""
    problems: list[str]
    """What was seen to be wrong where nothing can be raised."""
    forgotten: set[str]
    """The calls of stores that were lost."""
    patience: int
    """For how many milliseconds a service and a device may know a call otherwise, though nothing is known to be on its
    way between them, and a timer that is due may stay unserved. Counted by looks of half a second, which `records` may
    have wait for a machine that is busy."""

    @property
    def running(self) -> Sequence[object | None]:
        """The services; None for one that is down."""

    def wall(self) -> int:
        """The services' Unix time in milliseconds."""

    def link(self, user: str, device: str) -> Link:
        """A device's way there; asked for once."""

    def place(self, device: str) -> int:
        """At which of the services a device is, or was last."""

    async def open(self, place: int) -> None:
        """Start the service of a place."""

    def take(self, place: int, *, dead: bool) -> Coroutine[Any, Any, object] | None:
        """A service is down from now on; None if it was before. `dead`, nothing of what it is about reaches anybody or
        the store; otherwise it is closed as it should be, which is to be awaited."""

    def at_next_commit(self, place: int, do: Callable[[], object] | None) -> None:
        """Do this as soon as the service has committed something, before anybody hears of it; None takes it back."""

    def turn_clock(self, milliseconds: int) -> None:
        """Somebody sets the services' clock, forward."""

    async def forget(self) -> None:
        """The store is lost, with all calls; the services are down."""

    async def records(self) -> list[Record]:
        """Every call in the store."""

    async def lines(self) -> list[Line]:
        """Every user's line in the store."""

    async def is_idle(self) -> bool:
        """Whether no call lives, and nothing waits to be told."""

    async def log(self) -> list[str]:
        """The session id of each row of the call log, as its readers get it."""

    def check_notices(self, records: Iterable[Record]) -> None:
        """Raises AssertionError unless each change of these calls was told to those who are told of changes."""

    async def close(self) -> None:
        """Close every service and every way. Nothing is left; raises AssertionError if there is."""


__all__ = ["Link", "Site"]
