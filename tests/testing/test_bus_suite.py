"""The conformance suite for buses: the bus in memory passes it, and buses with a fault do not."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from statecore import MemoryBus
from statecore.ports import Bus
from statecore.testing import BusConformance, run_virtual


class _Suite(BusConformance):
    make: Callable[[], MemoryBus]
    bus: MemoryBus

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Callable[[], Bus]]:
        """One for everybody."""
        self.bus = type(self).make()
        yield lambda: self.bus

    async def broken(self) -> bool:
        """Lose what is on the way."""
        self.bus.lose()
        return True

    def run(self, main: Coroutine[None, None, None]) -> None:
        """In virtual time: to wait for what never comes takes none."""
        run_virtual(main)


class TestMemoryBus(_Suite):
    """The bus in memory."""

    make = MemoryBus


class TestSlowBus(_Suite):
    """The same, with messages that take a second."""

    make = staticmethod(lambda: MemoryBus(delay=1.0))  # type: ignore[assignment]


class TestBusThatNeverBreaks(TestMemoryBus):
    """One of which nothing can be lost says so."""

    async def broken(self) -> bool:
        """It cannot be."""
        return await BusConformance.broken(self)


class _Faulty(MemoryBus):
    """Does what it should; those below have one fault each."""

    def hear(self, heard: Callable[[bytes], None], message: bytes) -> None:
        """A message comes."""
        heard(message)

    async def join(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> Any:
        """Take part, with that fault."""
        return await super().join(lambda message: self.hear(heard, message), lost)


class _Stutters(_Faulty):
    def hear(self, heard: Callable[[bytes], None], message: bytes) -> None:
        heard(message)
        heard(message)


class _DropsTheEmpty(_Faulty):
    def hear(self, heard: Callable[[bytes], None], message: bytes) -> None:
        if message:
            heard(message)


class _CutsTheLong(_Faulty):
    def hear(self, heard: Callable[[bytes], None], message: bytes) -> None:
        heard(message[:8000])


class _Swaps(_Faulty):
    def __init__(self) -> None:
        super().__init__()
        self.held: list[bytes] = []

    def hear(self, heard: Callable[[bytes], None], message: bytes) -> None:
        self.held.append(message)
        if len(self.held) == 2:
            for each in reversed(self.held):
                heard(each)
            self.held.clear()


class _LosesSilently(_Faulty):
    async def join(self, heard: Callable[[bytes], None], _: Callable[[], None]) -> Any:
        return await super().join(heard, lambda: None)


class _Echoes(_Faulty):
    async def join(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> Any:
        member = await super().join(heard, lost)
        tell = member.tell

        def and_itself(message: bytes) -> None:
            tell(message)
            member.expect(message)

        member.tell = and_itself  # type: ignore[method-assign]
        return member


class _AtOnce(_Faulty):
    async def join(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> Any:
        member = await super().join(heard, lost)
        member.expect = heard  # type: ignore[method-assign]
        return member


class _NeverLets(_Faulty):
    async def join(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> Any:
        member = await super().join(heard, lost)

        async def leave() -> None:
            pass

        member.leave = leave  # type: ignore[method-assign]
        return member


def _failures(make: Callable[[], MemoryBus]) -> set[str]:
    failed = set()
    suite = type("Suite", (_Suite,), {"make": staticmethod(make)})()
    for name, test in inspect.getmembers(suite, inspect.ismethod):
        if name.startswith("test_"):
            try:
                test()
            except (AssertionError, TimeoutError):
                failed.add(name)
    return failed


@pytest.mark.parametrize(
    ("make", "test"),
    [
        (_Stutters, "test_everybody_else_hears"),
        (_Echoes, "test_everybody_else_hears"),
        (_DropsTheEmpty, "test_in_order_whatever_the_size"),
        (_CutsTheLong, "test_in_order_whatever_the_size"),
        (_Swaps, "test_in_order_whatever_the_size"),
        (_AtOnce, "test_not_within_the_call"),
        (_NeverLets, "test_who_has_left"),
        (_LosesSilently, "test_a_loss_is_told"),
    ],
)
def test_each_fault_is_found(make: Callable[[], MemoryBus], test: str) -> None:
    """A bus with one fault fails the test that is about it."""
    assert test in _failures(make)


def test_a_bus_without_fault_fails_nothing() -> None:
    """So that the ones above fail by their faults."""
    assert _failures(_Faulty) == set()


def test_the_base_wants_a_bus() -> None:
    """Who inherits the suite has to say which bus it is about."""
    with pytest.raises(NotImplementedError):
        BusConformance().test_everybody_else_hears()
