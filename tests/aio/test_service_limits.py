"""Against whoever wants too much: each limit of the service has its error, and harms nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from statecore import CallClient, ServiceSettings
from statecore.aio.store import MemoryStore
from statecore.errors import (
    CallGone,
    RateLimited,
    SessionFull,
    SignalingLost,
    TokenExpired,
    TokenForeign,
    TooManyDevices,
    TooManySessions,
)
from statecore.model import Ending, Record
from statecore.ports import Key
from statecore.testing import FakeMedia
from statecore.tokens import JwtSigner, Keys
from statecore.wire import Beat, Bye, Hello, Refused, decode_down, encode

Town, Run = Callable[..., Any], Callable[..., Any]


def test_too_many_sessions_of_one_user(town: Town, run: Run) -> None:
    """Who is in as many sessions as one user may be can neither join nor call; others can, and room is made by
    leaving."""

    async def main() -> None:
        async with town("alice", "bob", settings=ServiceSettings(sessions_per_user=10)) as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            sessions = [s for n in range(10) for s in await t.meet("alice", room=f"room-{n}")]
            for attempt in (alice.initiate_call("bob"), alice.start_session(await alice.generate_token("room-10"))):
                with pytest.raises(TooManySessions) as raised:
                    await attempt
                assert (raised.value.user, raised.value.limit) == ("alice", 10)
            assert len(alice.calls) == len(await t.service.calls()) == 10
            called = await bob.initiate_call("alice")
            await t.until(lambda: len(alice.calls) == 11)
            await called.cancel()
            await sessions[0].leave()
            assert (await t.meet("alice", room="room-10"))[0].state == "active"

    run(main)


def test_a_session_is_joined_so_often_and_no_more(town: Town, run: Run) -> None:
    """Coming and going does not make a session's record grow for ever."""

    async def main() -> None:
        async with town("alice", "bob", settings=ServiceSettings(session_joins=3)) as t:
            for _ in range(3):
                (session,) = await t.meet("alice")
                await session.leave()
            for name in ("alice", "bob"):
                with pytest.raises(SessionFull):
                    await t.meet(name)

    run(main)


def test_ringing_devices_that_come_and_go(town: Town, run: Run) -> None:
    """A ringing call rings at so many incarnations of devices, and no further one makes it grow."""

    async def main() -> None:
        async with town("alice", settings=ServiceSettings(session_joins=3)) as t:
            t.service.add_user("bob")
            call = await t.clients["alice"].initiate_call("bob")
            for number in range(4):  # a phone whose program starts again and again
                channel = await t.service.signaling("bob").connect()
                channel.send(encode(Hello("phone", f"epoch-{number}", 1)))
                await channel.receive()
                await asyncio.sleep(1)
            (_, record), *_ = await t.service.store.scan("call")
            assert len(record.legs) == 3
            await call.cancel()

    run(main)


def test_too_many_devices_of_one_user(town: Town, run: Run) -> None:
    """One device too many is told so, with when there may be room; others connect."""

    async def main() -> None:
        async with town("alice/1", "alice/2", settings=ServiceSettings(devices_per_user=2)) as t:
            with pytest.raises(TooManyDevices, match="2 devices of user 'alice'") as told:
                await t.add("alice/3")
            assert (told.value.retryable, told.value.seconds) == (True, 15)  # both are there: nobody knows
            assert t.clients["alice/1"].connected
            await t.add("bob")
            await t.clients["alice/1"].close()
            assert (await t.add("alice/4")).connected

    run(main)


def test_a_device_whose_place_was_taken_comes_back_when_there_is_room(town: Town, run: Run) -> None:
    """Its link was away for longer than its lease, and another took its place: it does not give up, asks when it was
    told to, and is connected once the other has gone. Until its own lease was over the other had to wait as well."""

    async def main() -> None:
        async with town("alice/1", settings=ServiceSettings(devices_per_user=1)) as t:
            loop, link = asyncio.get_running_loop(), t.links["alice/1"]
            link.cut()
            await asyncio.sleep(20)  # of the 50 s that its lease lasts
            with pytest.raises(TooManyDevices) as told:
                await t.add("alice/2")
            assert told.value.seconds == 30
            await asyncio.sleep(told.value.seconds)
            other = await t.add("alice/2")
            passed = link.passed
            link.mend()
            await asyncio.sleep(60)
            assert not t.clients["alice/1"].connected
            assert (link.passed - passed) // 2 in (3, 4)  # every 15 s a hello and its refusal, and a pause
            await other.close()
            began = loop.time()
            await t.until(lambda: t.clients["alice/1"].connected)
            assert loop.time() - began <= 15 + 5

    run(main)


def test_a_connection_that_says_nothing(town: Town, run: Run) -> None:
    """Without a hello in time a connection is closed; with one, silence is the lease's business."""

    async def main() -> None:
        async with town() as t:
            loop = asyncio.get_running_loop()
            mute, polite = await t.service.signaling("eve").connect(), await t.service.signaling("bob").connect()
            polite.send(encode(Hello("phone", "epoch", 1)))
            await polite.receive()
            began = loop.time()
            with pytest.raises(SignalingLost):
                await mute.receive()
            assert loop.time() - began == pytest.approx(10)
            polite.send(encode(Beat()))
            assert await polite.receive()
            with pytest.raises(SignalingLost):
                await polite.receive()
            assert loop.time() - began == pytest.approx(10 + 45 + 5)

    run(main)


@pytest.mark.parametrize(("leeway", "good"), [(0.0, False), (5.0, True)])
def test_the_signer_s_leeway_holds_at_the_switchboard(town: Town, run: Run, leeway: float, good: bool) -> None:
    """What a signer takes that allows for clocks that differ, the service takes."""

    async def main() -> None:
        signer = JwtSigner(Keys("1", b"k" * 32), leeway=leeway)
        async with town("alice", signer=signer) as t:
            alice = t.clients["alice"]
            token = await t.service.generate_token("alice", "room", lifetime=2)
            await asyncio.sleep(4)
            if good:
                await (await alice.start_session(token)).leave()
            else:
                with pytest.raises(TokenExpired):
                    await alice.start_session(token)

    run(main)


def test_calls_that_one_user_begins_in_a_minute(town: Town, run: Run) -> None:
    """The one too many is refused, and says when it may be tried again; nobody else is refused, and nothing rings."""

    async def main() -> None:
        async with town("alice", "bob", settings=ServiceSettings(calls_per_minute=6)) as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            for _ in range(6):
                await (await alice.initiate_call("bob")).cancel()
            with pytest.raises(RateLimited) as raised:
                await alice.initiate_call("bob")
            assert raised.value.seconds == 10
            await (await bob.initiate_call("alice")).cancel()
            await asyncio.sleep(raised.value.seconds)
            await (await alice.initiate_call("bob")).cancel()
            assert len(await t.service.call_log()) == 8

    run(main)


def test_a_guest_uses_up_nobody_s_calls(town: Town, run: Run) -> None:
    """What the holder of a call token for a user tries is not counted as begun by the user."""

    async def main() -> None:
        async with town("alice", "bob", settings=ServiceSettings(calls_per_minute=1)) as t:
            token = await t.service.generate_token("alice", "room")
            guest = await t.stack.enter_async_context(CallClient(t.service.guest(token), FakeMedia()))
            for error in (TokenForeign, RateLimited):
                with pytest.raises(error):
                    await guest.initiate_call("bob")
            await (await t.clients["alice"].initiate_call("bob")).cancel()

    run(main)


def test_messages_that_one_connection_says_in_a_second(town: Town, run: Run) -> None:
    """Who floods the service is told so, and loses the connection; who says as much over a longer time keeps it."""

    async def main() -> None:
        async with town(settings=ServiceSettings(messages_per_second=2)) as t:
            channel = await t.service.signaling("eve").connect()
            channel.send(encode(Hello("phone", "e1", 1)))
            await channel.receive()
            for _ in range(60):
                await asyncio.sleep(0.5)
                channel.send(encode(Beat()))
                await channel.receive()
            for _ in range(100):
                channel.send(encode(Beat()))
            heard: list[Any] = []

            async def listen() -> None:
                while True:
                    heard.append(decode_down(await channel.receive()))

            with pytest.raises(SignalingLost):
                await listen()
            assert set(heard[:-1]) == {Beat()}
            assert 18 <= len(heard) <= 22, "ten seconds' worth"
            assert heard[-1] == Refused("", 0, "rate_limited", {"what": "messages", "seconds": 1})

    run(main)


async def _flood(link: Any, device: str, conn: int, most: int = 100) -> tuple[int, list[Refused]]:
    """Connect, and say as much as is taken: how many beats were answered, and what was told instead."""
    channel = await link.connect()
    answered, told = 0, list[Refused]()
    with suppress(SignalingLost):
        channel.send(encode(Hello(device, "e1", conn)))
        for _ in range(most):
            channel.send(encode(Beat()))
        while answered < most:
            message = decode_down(await channel.receive())
            answered += isinstance(message, Beat)
            told += [message] if isinstance(message, Refused) else []
    await channel.close()
    return answered, told


def test_a_new_connection_renews_no_allowance(town: Town, run: Run) -> None:
    """Who connects again and again says no more than who stays, and is told when to come again, also instead of being
    connected; another device of the same user says its own share, and in time there is more for the first."""

    async def main() -> None:
        async with town(settings=ServiceSettings(messages_per_second=2)) as t:
            link, answered = t.service.signaling("eve"), 0
            for conn in range(1, 11):
                count, told = await _flood(link, "phone", conn)
                answered += count
                assert told == [Refused("", 0, "rate_limited", {"what": "messages", "seconds": 1})]
            assert answered == 20, "ten seconds' worth"
            for _ in range(2):
                with pytest.raises(RateLimited, match="connections") as refused:
                    await link.connect()
                assert refused.value.seconds == 1
            assert (await _flood(t.service.signaling("bob"), "phone", 1))[0] == 20
            await asyncio.sleep(5)
            assert (await _flood(link, "laptop", 1))[0] == 20
            assert (await _flood(link, "phone", 11))[0] == 10

    run(main)


def test_new_names_of_devices_renew_no_allowance(town: Town, run: Run) -> None:
    """Who calls each connection another device, and takes its leave each time, says no more than as many devices say
    as the user may have."""

    async def main() -> None:
        limits = ServiceSettings(messages_per_second=10, devices_per_user=2)
        async with town(settings=limits) as t:
            link, answered = t.service.signaling("eve"), 0
            for number in range(10):
                with suppress(SignalingLost, RateLimited):
                    channel = await link.connect()
                    channel.send(encode(Hello(f"phone-{number}", "e1", 1)))
                    await channel.receive()
                    for _ in range(90):
                        channel.send(encode(Beat()))
                        await channel.receive()
                        answered += 1
                    channel.send(encode(Bye()))
                    await channel.receive()
            assert 150 < answered <= 200

    run(main)


def test_a_client_that_said_too_much_waits_as_it_is_told(town: Town, run: Run) -> None:
    """What it wants to say is said once the time is over that it was told, and the link broke only once for it."""

    async def main() -> None:
        async with town(settings=ServiceSettings(messages_per_second=1)) as t:
            t.service.add_user("bob")
            assert (await _flood(t.service.signaling("alice"), "alice-phone", 1))[0] == 10
            alice = await t.add("alice")
            lost, began = [], asyncio.get_running_loop().time()
            alice.on("connection_lost", lambda *_: lost.append(1))
            call = await alice.initiate_call("bob")
            assert asyncio.get_running_loop().time() - began >= 1
            assert len(lost) == 1
            await asyncio.sleep(5)
            await call.cancel()
            assert len(lost) == 1

    run(main)


def test_who_does_little_is_not_remembered(town: Town, run: Run) -> None:
    """Many users who called once, long ago, leave nothing behind."""

    async def main() -> None:
        async with town() as t:
            calls = t.service._calls
            now = 0
            for number in range(10_000):
                now += 1_000
                assert calls.take(f"user-{number}", now) == 0
            assert len(calls) <= 1_000
            said = t.service._said
            for number in range(10_000):
                now += 1_000
                assert said.take(f"user-{number}", f"device-{number}", now) == 0
            assert len(said) <= 2_000

    run(main)


def test_many_messages_at_once_cut_no_link(town: Town, run: Run) -> None:
    """A burst of data messages to many, beyond what the service takes from a connection at once, arrives whole: the
    client holds back what is too much, and no link is cut."""

    async def main() -> None:
        names = [f"u{n}" for n in range(6)]
        async with town(*names, settings=ServiceSettings(messages_per_second=20)) as t:
            sessions = await t.meet(*names)
            cuts: list[Any] = []
            heard: list[int] = []
            sessions[-1].on("message_received", lambda _, value: heard.append(value))
            for session in sessions:
                session.on("connection_lost", lambda *_: cuts.append(1))
            sent = [sessions[0].send_message(number) for number in range(40)]
            assert await asyncio.gather(*sent, return_exceptions=True) == [None] * 40
            assert heard == list(range(40))
            assert not cuts

    run(main)


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_an_id_is_used_once(town: Town, run: Run, kept: int) -> None:
    """A call that has ended is not made anew under its id by anybody, however few calls the store keeps."""

    async def main() -> None:
        async with town("alice", "bob", store=MemoryStore(kept)) as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            for session in ("one", "two"):
                await (await alice.initiate_call("bob", session_id=session)).cancel()
            for session in ("one", "two"):
                for client, other in ((alice, "bob"), (bob, "alice")):
                    with pytest.raises(CallGone):
                        await client.initiate_call(other, session_id=session)
            assert not await t.service.calls()
            assert len(await t.service.call_log()) == min(kept, 2)
            assert not alice.calls
            assert not bob.calls

    run(main)


def test_what_is_let_go_of_is_known_to_have_been(run: Run) -> None:
    """A store that lets go of a call answers for its key as for one that was deleted, and refuses what was decided on
    the call as it was."""

    async def main() -> None:
        store = MemoryStore(0)
        record = Record("S", "ringing", "audio", "a", "b", end=Ending(1))
        assert await store.commit({("call", "S"): (0, record)})
        ((version, value),) = (await store.load([("call", "S")])).values()
        assert version > 1
        assert value is None
        never: list[Key] = [("call", "T"), ("line", "S")]
        assert await store.load(never) == dict.fromkeys(never, (0, None))
        for stale in (0, 1):
            assert not await store.commit({("call", "S"): (stale, record)})
        assert await store.scan("call") == []
        assert await store.commit({("call", "S"): (version, record), ("call", "U"): (0, record)})

    run(main)


def test_ids_that_were_used_take_a_bounded_room(run: Run) -> None:
    """A store that lets go of calls knows the newest ids for certain, and forgets those that are very old."""

    async def main() -> None:
        store = MemoryStore(0, used_ids=10)
        keys: list[Key] = [("call", f"S{number}") for number in range(100)]
        for key in keys:
            assert await store.commit({key: (0, Record(key[1], "ringing", "audio", "a", "b", end=Ending(1)))})
        versions = [(await store.load([key]))[key][0] for key in keys]
        assert all(versions[-10:])
        assert sum(version > 0 for version in versions) <= 20

    run(main)
