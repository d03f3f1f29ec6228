"""The link within the process: what a cut, a delay, silence and a close do to what is on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import MemoryLink
from statecore.errors import SignalingLost

Run = Callable[..., Any]


async def connected(delay: float = 0.0) -> tuple[MemoryLink, Any, Any]:
    """A link and both ends of its connection: the device's, the service's."""
    ends: list[Any] = []
    link = MemoryLink("alice", None, lambda channel, _: ends.append(channel))
    link.delay = delay
    return link, await link.connect(), ends[0]


async def lost(channel: Any) -> bool:
    """Whether the other end is gone, and nothing is left to read."""
    try:
        await asyncio.wait_for(channel.receive(), 5)
    except SignalingLost:
        return True
    return False


def test_what_is_delayed_comes_in_order(run: Run) -> None:
    """Each message takes the link's delay, also the close; one sent later with less delay does not overtake."""

    async def main() -> None:
        link, mine, theirs = await connected(delay=2)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        mine.send(b"1")
        await asyncio.sleep(0.5)
        link.delay = 0
        mine.send(b"2")
        link.delay = 1
        mine.send(b"3")
        await mine.close()
        got = [(await theirs.receive(), round(loop.time() - begun, 3)) for _ in range(3)]
        assert got == [(b"1", 2.0), (b"2", 2.0), (b"3", 2.0)]
        assert await lost(theirs)

    run(main)


def test_a_cut_loses_what_is_on_the_way(run: Run) -> None:
    """What was sent or waits unread is gone, both ends are closed, and nothing connects until the link is mended."""

    async def main() -> None:
        link, mine, theirs = await connected()
        theirs.send(b"unread")
        link.delay = 1
        mine.send(b"on the way")
        link.cut()
        assert await lost(mine)
        assert await lost(theirs)
        for channel in (mine, theirs):
            with pytest.raises(SignalingLost):
                channel.send(b"more")
        with pytest.raises(SignalingLost):
            await link.connect()
        link.mend()
        await (await link.connect()).close()
        link.drop()

    run(main)


def test_who_waits_hears_of_a_drop(run: Run) -> None:
    """A `receive` that waits ends when the link breaks; a new connection may be made at once."""

    async def main() -> None:
        link, mine, _ = await connected()
        waiting = asyncio.create_task(mine.receive())
        await asyncio.sleep(0)
        link.drop()
        with pytest.raises(SignalingLost):
            await waiting
        await link.connect()

    run(main)


def test_a_close_lets_the_rest_arrive(run: Run) -> None:
    """What was sent before a close is read; closing again, from either end, does nothing."""

    async def main() -> None:
        _, mine, theirs = await connected()
        mine.send(b"last words")
        await mine.close()
        await mine.close()
        assert await theirs.receive() == b"last words"
        assert await lost(theirs)
        await theirs.close()

    run(main)


def test_silence_tells_nobody(run: Run) -> None:
    """On a silent link messages vanish, and a close is not noticed at the other end."""

    async def main() -> None:
        link, mine, theirs = await connected()
        link.silent = True
        mine.send(b"lost")
        await mine.close()
        assert not theirs.closed
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(theirs.receive(), 5)

    run(main)


def test_a_cut_after_so_many_messages(run: Run) -> None:
    """`cut_after` carries that many, both ways together, then cuts; the count goes on."""

    async def main() -> None:
        link, mine, theirs = await connected()
        link.cut_after = 2
        mine.send(b"1")
        theirs.send(b"2")
        assert (await theirs.receive(), await mine.receive()) == (b"1", b"2")
        mine.send(b"3")
        assert await lost(mine)
        assert await lost(theirs)
        assert link.passed == 2

    run(main)


def test_nothing_arrives_where_it_was_closed(run: Run) -> None:
    """A message that is on its way to an end that closes meanwhile is dropped, and disturbs nobody."""

    async def main() -> None:
        _, mine, theirs = await connected(delay=1)
        mine.send(b"late")
        await theirs.close()
        mine.send(b"later")
        assert await lost(theirs)
        await asyncio.sleep(3)
        assert mine.closed

    run(main)
