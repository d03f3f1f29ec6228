"""A network that fails: it carries like any other until it is told to cut, silence, part, delay or lose."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from statecore import CallClient, CallService, MemoryLink
from statecore.aio.link import MemoryChannel
from statecore.errors import SignalingLost
from statecore.ports import Channel, Signaling
from statecore.testing import (
    FaultyLink,
    FaultyNetwork,
    SignalingConformance,
    VirtualClock,
    assert_fully_reaped,
    run_virtual,
)
from statecore.testing.signaling import Reach


class TestFaultyNetwork(SignalingConformance):
    """Between a device and a service, it is still what a client needs."""

    latency = 0.0

    def opened(self) -> AbstractAsyncContextManager[Reach]:
        """A service behind the network."""

        @asynccontextmanager
        async def open_() -> AsyncIterator[Reach]:
            async with FaultyNetwork(latency=self.latency, jitter=self.latency) as network, CallService() as service:
                yield lambda user, device: network.link(service.signaling(user, device))

        return open_()

    async def cut(self, link: Signaling) -> None:
        """Cut it."""
        assert isinstance(link, FaultyLink)
        link.cut()

    async def mend(self, link: Signaling) -> None:
        """Mend it."""
        assert isinstance(link, FaultyLink)
        link.mend()


class TestSlowNetwork(TestFaultyNetwork):
    """The same with latency and jitter."""

    latency = 0.002


def test_a_message_takes_its_time_and_keeps_its_order() -> None:
    """With latency each way, the way there and back takes twice that; jitter does not reorder."""

    async def main() -> None:
        async with FaultyNetwork(3, latency=0.5, jitter=0.2) as network, CallService(clock=VirtualClock()) as service:
            loop = asyncio.get_running_loop()
            began = loop.time()
            async with CallClient(network.link(service.signaling("a", "d")), clock=VirtualClock()) as client:
                assert 1.0 <= loop.time() - began < 1.5
                tokens = await asyncio.gather(*(client.generate_token(f"room{n}") for n in range(20)))
                assert len(set(tokens)) == 20

    with assert_fully_reaped():
        run_virtual(main())


async def _until(condition: object, client: CallClient) -> None:
    async with asyncio.timeout(300):
        while client.connected != condition:  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(0.05)


def test_a_half_open_link_seems_to_stand_until_its_device_gives_up() -> None:
    """Messages vanish; only its lease tells the device, and after mending it is connected anew."""

    async def main() -> None:
        async with FaultyNetwork() as network, CallService(clock=VirtualClock()) as service:
            link = network.link(service.signaling("a", "d"))
            async with CallClient(link, clock=VirtualClock()) as client:
                link.half_open()
                await asyncio.sleep(20)
                assert client.connected
                await _until(False, client)
                link.mend()
                await _until(True, client)
                assert link.passed > 2

    with assert_fully_reaped():
        run_virtual(main())


def test_a_partition_parts_and_heals() -> None:
    """Those who are cut off are, the others are not; none can connect before it is healed."""

    async def main() -> None:
        async with FaultyNetwork() as network, CallService(clock=VirtualClock()) as service:
            links = [network.link(service.signaling(user, "d")) for user in "abc"]
            async with (
                CallClient(links[0], clock=VirtualClock()) as one,
                CallClient(links[1], clock=VirtualClock()) as two,
                CallClient(links[2], clock=VirtualClock()) as three,
            ):
                network.partition(*links[:2])
                await _until(False, one)
                assert (two.connected, three.connected) == (False, True)
                with pytest.raises(SignalingLost):
                    await links[0].connect()
                network.heal()
                await _until(True, one)
                await _until(True, two)

    with assert_fully_reaped():
        run_virtual(main())


class _Hears:
    """The far end of a way: notes what arrives on which connection, and when each is closed."""

    def __init__(self) -> None:
        self.user, self.device = "a", "d"
        self.heard: list[tuple[int, bytes]] = []
        self.made = 0

    async def connect(self) -> Channel:
        """A new connection."""
        self.made += 1
        number = self.made
        mine, theirs = MemoryChannel.pair(MemoryLink("a", "d", lambda *_: None))

        async def listen() -> None:
            with suppress(SignalingLost):
                while True:
                    self.heard.append((number, await theirs.receive()))

        self.listening = asyncio.create_task(listen())
        return mine


@pytest.mark.parametrize(("late", "cut"), [(0.0, False), (5.0, False), (5.0, True)])
def test_what_is_heard_without_an_answer_may_come_late(late: float, cut: bool) -> None:
    """The connection breaks behind the message, which arrives in its time, or after what the next connection brings;
    one that is late is lost if the link breaks for another reason before."""

    async def main() -> None:
        async with FaultyNetwork(latency=0.1) as network:
            hears = _Hears()
            link = network.link(hears)
            link.lose_answers(1, late=late)
            first = await link.connect()
            first.send(b"one")
            assert not link.idle
            with pytest.raises(SignalingLost):
                await first.receive()
            with pytest.raises(SignalingLost):
                first.send(b"never")
            await asyncio.sleep(0.05)
            second = await link.connect()
            second.send(b"two")
            await asyncio.sleep(1)
            if cut:
                link.drop()
            await asyncio.sleep(5)
            late_one = [] if cut else [(1, b"one")]
            assert hears.heard == ([(2, b"two"), *late_one] if late else [(1, b"one"), (2, b"two")])
            assert (link.unanswered, link.belated, link.broken) == (1, int(late > 0), 1 + cut)
            assert link.idle
            await second.close()

    with assert_fully_reaped():
        run_virtual(main())


def test_answers_are_not_lost_twice_over() -> None:
    """What vanishes behind a half-open link breaks nothing, and one can think better of it."""

    async def main() -> None:
        async with FaultyNetwork() as network:
            link = network.link(_Hears())
            channel = await link.connect()
            link.lose_answers(5)
            link.half_open()
            channel.send(b"vanishes")
            assert link.unanswered == 0
            link.mend()
            channel = await link.connect()
            link.lose_answers(0)
            channel.send(b"heard")
            assert link.unanswered == 0
            await channel.close()

    with assert_fully_reaped():
        run_virtual(main())


def _broken(seed: int) -> tuple[int, int]:
    async def main() -> tuple[int, int]:
        async with FaultyNetwork(seed, loss=0.03) as network, CallService(clock=VirtualClock()) as service:
            link = network.link(service.signaling("a", "d"))
            async with CallClient(link, clock=VirtualClock(), jitter=lambda: 0.5) as client:
                for number in range(30):
                    assert await client.generate_token(f"room{number}")
                return link.broken, link.passed

    with assert_fully_reaped():
        return run_virtual(main())


def test_what_is_lost_breaks_the_link_and_is_made_good_the_same_each_time() -> None:
    """Lost messages cost connections, never a request; one seed loses the same ones again, another loses others."""
    runs = [_broken(seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][0] > 1


class _Counting:
    """A way to the service that counts how often it was gone."""

    def __init__(self, inner: Signaling) -> None:
        self.user, self.device, self.inner = inner.user, inner.device, inner
        self.made = 0
        self.connections: list[Channel] = []

    async def connect(self) -> Channel:
        """A new connection."""
        self.made += 1
        self.connections.append(await self.inner.connect())
        return self.connections[-1]


_REASONS = ("drop", "half_open", "cut", "close", "drop")


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(_REASONS))), ids=" ".join)
def test_several_reasons_to_reconnect_at_once_are_one_reconnect(order: tuple[str, ...]) -> None:
    """Drops, a cut, a half-open link and a service that closes its end, all in one moment and in any order, cost one
    new connection."""

    async def main() -> None:
        async with FaultyNetwork() as network, CallService(clock=VirtualClock()) as service:
            way = _Counting(service.signaling("a", "d"))
            link = network.link(way)
            async with CallClient(link, clock=VirtualClock()) as client:
                for reason in order:
                    if reason == "close":
                        await way.connections[-1].close()
                    else:
                        getattr(link, reason)()
                link.mend()
                await asyncio.sleep(0.001)
                await _until(True, client)
                await asyncio.sleep(100)
                assert way.made == 2
                assert client.connected

    with assert_fully_reaped():
        run_virtual(main())


class _Slow:
    """A way to the service that takes its time to connect, and keeps what it made."""

    def __init__(self, inner: Signaling) -> None:
        self.user, self.device, self.inner = inner.user, inner.device, inner
        self.made: list[Channel] = []

    async def connect(self) -> Channel:
        """A new connection, after a second."""
        await asyncio.sleep(1)
        self.made.append(await self.inner.connect())
        return self.made[-1]


def test_a_link_that_is_cut_while_it_connects_leaves_no_connection() -> None:
    """The attempt fails as any other, and what it had come by is closed on the other side."""

    async def main() -> None:
        async with FaultyNetwork() as network, CallService(clock=VirtualClock()) as service:
            slow = _Slow(service.signaling("a", "d"))
            link = network.link(slow)
            attempt = asyncio.create_task(link.connect())
            await asyncio.sleep(0.5)
            link.cut()
            with pytest.raises(SignalingLost):
                await attempt
            await link.reaped()
            with pytest.raises(SignalingLost):
                slow.made[0].send(b"{}")

    with assert_fully_reaped():
        run_virtual(main())


def test_what_is_on_its_way_when_a_link_falls_silent_vanishes() -> None:
    """Sent before, due after: it does not arrive, and nobody is told."""

    async def main() -> None:
        async with FaultyNetwork(latency=1.0) as network, CallService(clock=VirtualClock()) as service:
            link = network.link(service.signaling("a", "d"))
            async with CallClient(link, clock=VirtualClock()) as client:
                passed = link.passed
                asking = asyncio.create_task(client.generate_token("room"))
                await asyncio.sleep(0.5)
                assert not link.idle
                link.half_open()
                await asyncio.sleep(2)
                assert link.idle
                assert (link.passed, client.connected) == (passed, True)
                link.mend()
                assert await asking

    with assert_fully_reaped():
        run_virtual(main())


def test_a_service_that_goes_behind_a_silent_link_is_not_missed() -> None:
    """A device at the end of a half-open link learns that the service has closed it only once the link is mended."""

    async def main() -> None:
        async with FaultyNetwork() as network, CallService(clock=VirtualClock()) as service:
            link = network.link(service.signaling("a", "d"))
            async with CallClient(link, clock=VirtualClock()) as client:
                link.half_open()
                await service.close()
                await asyncio.sleep(1)
                assert client.connected
                link.mend()
                await _until(False, client)

    with assert_fully_reaped():
        run_virtual(main())
