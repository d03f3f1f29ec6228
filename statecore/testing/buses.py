"""The conformance suite for buses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial

from ..ports import Bus, BusMember

_PATIENCE = 20.0
"""Seconds after which a message that has not come never will."""


class Hearing:
    """A member of a bus, and what it heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.losses = 0
        self._more = asyncio.Event()

    async def join(self, bus: Bus) -> BusMember:
        """Take part."""
        return await bus.join(self._hear, self._lose)

    def _hear(self, message: bytes) -> None:
        self.heard.append(message)
        self._more.set()

    def _lose(self) -> None:
        self.losses += 1
        self._more.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was heard is as it should be."""
        async with asyncio.timeout(_PATIENCE):
            while not condition():
                self._more.clear()
                await self._more.wait()


class BusConformance:
    """What every `Bus` must do, as tests. Inherit, and override `opened`; and `broken` if yours can break.

    Every test uses buses of its own, in a loop of its own."""

    def opened(self) -> AbstractAsyncContextManager[Callable[[], Bus]]:
        """Gives a function that makes a service's way to one and the same new bus: each call as if in another process.
        Leaving releases it."""
        raise NotImplementedError

    async def broken(self) -> bool:
        """Lose what is on the way, and give every member reason to say so; False if this bus cannot lose anything."""
        return False

    def run(self, main: Coroutine[None, None, None]) -> None:
        """Run one test. Override to use another loop."""
        asyncio.run(main)

    def test_everybody_else_hears(self) -> None:
        """What one tells reaches each of the others once, and not itself."""

        async def main() -> None:
            async with self.opened() as way:
                all_three = [Hearing() for _ in range(3)]
                members = [await hearing.join(way()) for hearing in all_three]
                for number, member in enumerate(members):
                    member.tell(b"from %d" % number)
                for number, hearing in enumerate(all_three):
                    others = sorted(b"from %d" % other for other in range(3) if other != number)
                    await hearing.until(partial(_has, hearing, others))
                await _leave(members)

        self.run(main())

    def test_in_order_whatever_the_size(self) -> None:
        """What one tells arrives in order and as it was: empty, binary, large."""

        async def main() -> None:
            async with self.opened() as way:
                hearing, said = Hearing(), [b"", bytes(range(256)), b"x" * 300_000, *(b"%d" % n for n in range(500))]
                members = [await hearing.join(way()), await Hearing().join(way())]
                for message in said:
                    members[1].tell(message)
                await hearing.until(lambda: len(hearing.heard) >= len(said))
                assert hearing.heard == said
                await _leave(members)

        self.run(main())

    def test_not_within_the_call(self) -> None:
        """To tell returns before anybody hears it."""

        async def main() -> None:
            async with self.opened() as way:
                hearing = Hearing()
                members = [await hearing.join(way()), await Hearing().join(way())]
                members[1].tell(b"later")
                assert hearing.heard == []
                await hearing.until(lambda: hearing.heard == [b"later"])
                await _leave(members)

        self.run(main())

    def test_who_has_left(self) -> None:
        """Who has left hears nothing more and is not heard; what it told before goes out. Leaving twice is one."""

        async def main() -> None:
            async with self.opened() as way:
                gone, stays, third = Hearing(), Hearing(), Hearing()
                members = [await hearing.join(way()) for hearing in (gone, stays, third)]
                members[0].tell(b"goodbye")
                await members[0].leave()
                await members[0].leave()
                members[0].tell(b"never")
                members[2].tell(b"after")
                await stays.until(lambda: len(stays.heard) == 2)
                assert sorted(stays.heard) == [b"after", b"goodbye"]
                assert gone.heard == []
                await _leave(members[1:])

        self.run(main())

    def test_who_comes_later(self) -> None:
        """Who joins hears what is told from then on."""

        async def main() -> None:
            async with self.opened() as way:
                first = Hearing()
                member = await first.join(way())
                member.tell(b"to nobody")
                late = Hearing()
                second = await late.join(way())
                member.tell(b"welcome")
                second.tell(b"thanks")
                await first.until(lambda: first.heard == [b"thanks"])
                await late.until(lambda: b"welcome" in late.heard)
                await _leave([member, second])

        self.run(main())

    def test_a_loss_is_told(self) -> None:
        """When the bus breaks, its members are told that something may have been missed, and hear each other again."""

        async def main() -> None:
            async with self.opened() as way:
                one, other = Hearing(), Hearing()
                members = [await one.join(way()), await other.join(way())]
                if await self.broken():
                    await one.until(lambda: one.losses > 0)
                    await other.until(lambda: other.losses > 0)
                members[0].tell(b"again")
                await other.until(lambda: b"again" in other.heard)
                await _leave(members)

        self.run(main())


def _has(hearing: Hearing, messages: list[bytes]) -> bool:
    return sorted(hearing.heard) == messages


async def _leave(members: list[BusMember]) -> None:
    for member in members:
        await member.leave()


__all__ = ["BusConformance"]
