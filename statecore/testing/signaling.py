"""The conformance suite for signaling adapters: how devices reach a call service, whatever lies between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from ..aio import Call, CallClient
from ..errors import SignalingLost
from ..ports import Channel, Signaling
from ..wire import Beat, Hello, Token, TokenRequest, Welcome, decode_down, encode
from .media import FakeMedia

_SECONDS = 10.0
"""How long anything may take that is to happen."""
_SHORT = 0.05
_MANY = 50

Reach = Callable[[str, str | None], Signaling]
"""Gives a user's device, by their ids, its way to the service; None lets the client name the device."""


class SignalingConformance:
    """What every `Signaling` must do, as tests. Inherit, and override `opened`, `cut` and `mend`.

    The other end is a real call service behind the adapter's own server. Every test uses one of its own, in a loop of
    its own, and the users alice, bob and carol, whom the service must let in."""

    def opened(self) -> AbstractAsyncContextManager[Reach]:
        """A new service that can be reached; leaving closes it and all that belongs to it."""
        raise NotImplementedError

    async def cut(self, link: Signaling) -> None:
        """Break the way of one device as a network does: what is on it is lost, and nothing comes through."""
        raise NotImplementedError

    async def mend(self, link: Signaling) -> None:
        """Let that device through again."""
        raise NotImplementedError

    def run(self, main: Callable[[Reach], Coroutine[Any, Any, None]]) -> None:
        """Run one test. Override to use another loop."""

        async def whole() -> None:
            async with self.opened() as reach:
                await main(reach)

        asyncio.run(whole())

    # --- messages

    def test_it_says_whose_device_it_is(self) -> None:
        """User and device are those it was made for; without a device the client makes one of its own."""

        async def main(reach: Reach) -> None:
            assert (reach("alice", "a1").user, reach("alice", "a1").device) == ("alice", "a1")
            assert reach("bob", None).device is None

        self.run(main)

    def test_the_service_answers_to_who_it_is(self) -> None:
        """The greeting is answered with the user for whom the way was made."""

        async def main(reach: Reach) -> None:
            for user in ("alice", "bob"):
                channel = await reach(user, "d").connect()
                assert (await _greet(channel)).user == user
                await channel.close()

        self.run(main)

    def test_messages_arrive_whole_once_and_in_order(self) -> None:
        """Many messages at once, long ones among them, are answered one by one, in the order in which they went."""

        async def main(reach: Reach) -> None:
            channel = await reach("alice", "a1").connect()
            await _greet(channel, name="\N{BLACK TELEPHONE} " + "x" * 200)
            for number in range(1, _MANY + 1):
                long = "s" * (1 + 120 * (number % 2))
                channel.send(encode(TokenRequest(f"{long}{number}", number)))
            for number in range(1, _MANY + 1):
                answer = await _next(channel)
                assert isinstance(answer, Token)
                assert answer.n == number
                assert answer.session.endswith(str(number))
            await channel.close()

        self.run(main)

    def test_receiving_can_be_given_up(self) -> None:
        """A receive that is cancelled takes no message with it."""

        async def main(reach: Reach) -> None:
            channel = await reach("alice", "a1").connect()
            await _greet(channel)
            for number in range(1, 6):
                with suppress(TimeoutError):
                    await asyncio.wait_for(channel.receive(), _SHORT)
                channel.send(encode(TokenRequest("s", number)))
                answer = await _next(channel)
                assert isinstance(answer, Token)
                assert answer.n == number
            await channel.close()

        self.run(main)

    def test_nonsense_harms_nobody_else(self) -> None:
        """What is no message of the protocol costs at most the connection it came by."""

        async def main(reach: Reach) -> None:
            other = await reach("bob", "b1").connect()
            await _greet(other)
            channel = await reach("alice", "a1").connect()
            await _greet(channel)
            channel.send(b"\x00\xff no message")
            other.send(encode(Beat()))
            assert isinstance(await _next(other), Beat)
            again = await reach("alice", "a1").connect()
            assert (await _greet(again, conn=2)).user == "alice"
            for each in (channel, again, other):
                await each.close()

        self.run(main)

    # --- the end of a connection

    def test_a_closed_channel_is_lost(self) -> None:
        """After closing, once or twice, sending and receiving raise SignalingLost."""

        async def main(reach: Reach) -> None:
            channel = await reach("alice", "a1").connect()
            await _greet(channel)
            await channel.close()
            await channel.close()
            await _is_lost(channel)

        self.run(main)

    def test_closing_wakes_who_waits(self) -> None:
        """A receive that waits while the channel is closed raises SignalingLost."""

        async def main(reach: Reach) -> None:
            channel = await reach("alice", "a1").connect()
            await _greet(channel)
            waiting = asyncio.ensure_future(_drained(channel))
            await asyncio.sleep(_SHORT)
            await channel.close()
            await asyncio.wait_for(waiting, _SECONDS)

        self.run(main)

    def test_a_newer_connection_replaces_the_older(self) -> None:
        """The same device connects again: the older channel is lost, the newer one works."""

        async def main(reach: Reach) -> None:
            link = reach("alice", "a1")
            older = await link.connect()
            await _greet(older, conn=1)
            newer = await link.connect()
            await _greet(newer, conn=2)
            await asyncio.wait_for(_drained(older), _SECONDS)
            newer.send(encode(Beat()))
            assert isinstance(await _next(newer), Beat)
            for channel in (older, newer):
                await channel.close()

        self.run(main)

    def test_connecting_can_be_given_up(self) -> None:
        """A connect that is cancelled at any moment leaves the next one to work."""

        async def main(reach: Reach) -> None:
            link = reach("alice", "a1")
            for turns in range(6):
                task = asyncio.ensure_future(link.connect())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with suppress(asyncio.CancelledError, SignalingLost):
                    await (await task).close()
            channel = await link.connect()
            await _greet(channel)
            await channel.close()

        self.run(main)

    # --- a network that breaks

    def test_a_cut_is_seen(self) -> None:
        """While the way is cut the channel is lost and no other can be made; once mended, a new one works."""

        async def main(reach: Reach) -> None:
            link = reach("alice", "a1")
            channel = await link.connect()
            await _greet(channel)
            await self.cut(link)
            await asyncio.wait_for(_drained(channel), _SECONDS)
            with suppress(SignalingLost):
                async with asyncio.timeout(_SECONDS):
                    refused = await link.connect()
                await _is_lost(refused)
            await self.mend(link)
            again = await self._again(link)
            await _greet(again, conn=2)
            for each in (channel, again):
                await each.close()

        self.run(main)

    async def _again(self, link: Signaling) -> Channel:
        """A network may need a moment until it is whole."""
        async with asyncio.timeout(_SECONDS):
            while True:
                with suppress(SignalingLost):
                    return await link.connect()
                await asyncio.sleep(_SHORT)

    # --- calls

    def test_a_call_goes_through(self) -> None:
        """Two people call each other over it, exchange a message, and both see the end."""

        async def main(reach: Reach) -> None:
            heard: list[Any] = []
            over = asyncio.Event()
            async with (
                CallClient(reach("alice", None), FakeMedia()) as alice,
                CallClient(reach("bob", None), FakeMedia()) as bob,
            ):
                bob.on("incoming_call_received", _answer(heard, over))
                async with alice.call("bob", type="audio") as session:
                    await session.send_message({"text": "hello"})
                await asyncio.wait_for(over.wait(), _SECONDS)
                assert heard == [{"text": "hello"}]
                assert (alice.calls, bob.calls) == ([], [])

        self.run(main)

    def test_a_call_survives_a_cut(self) -> None:
        """The caller's way is cut in the middle of the call and mended: the call goes on, and ends on both sides."""

        async def main(reach: Reach) -> None:
            heard: list[Any] = []
            over, back = asyncio.Event(), asyncio.Event()
            link = reach("alice", "a1")
            async with (
                CallClient(link, FakeMedia(), jitter=lambda: 0.0) as alice,
                CallClient(reach("bob", None), FakeMedia()) as bob,
            ):
                bob.on("incoming_call_received", _answer(heard, over))
                async with alice.call("bob", type="audio") as session:
                    session.on("connection_restored", lambda *_: back.set())
                    await self.cut(link)
                    await self.mend(link)
                    await asyncio.wait_for(back.wait(), _SECONDS)
                    assert session.state == "active"
                    await session.send_message({"text": "again"})
                await asyncio.wait_for(over.wait(), _SECONDS)
                assert heard == [{"text": "again"}]

        self.run(main)


def _answer(heard: list[Any], over: asyncio.Event) -> Callable[[Call], Coroutine[Any, Any, None]]:
    async def answer(call: Call) -> None:
        async with call.answer() as session:
            session.on("message_received", lambda _, data: heard.append(data))
            await session.wait_ended()
        over.set()

    return answer


async def _greet(channel: Channel, *, conn: int = 1, name: str = "") -> Welcome:
    channel.send(encode(Hello("a1", "e1", conn, name=name)))
    welcome = await _next(channel)
    assert isinstance(welcome, Welcome)
    return welcome


async def _next(channel: Channel) -> Any:
    return decode_down(await asyncio.wait_for(channel.receive(), _SECONDS))


async def _drained(channel: Channel) -> None:
    """Read until the channel is lost."""
    with suppress(SignalingLost):
        while True:
            await channel.receive()


async def _is_lost(channel: Channel) -> None:
    await asyncio.wait_for(_drained(channel), _SECONDS)
    lost = False
    try:
        channel.send(encode(Beat()))
    except SignalingLost:
        lost = True
    assert lost, "a lost channel took a message"


__all__ = ["Reach", "SignalingConformance"]
