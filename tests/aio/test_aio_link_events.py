"""What client and sessions tell of the link, when a link is given up, and what becomes of calls then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from statecore import CallClient, CallListener, OngoingCallListener, Reason
from statecore.errors import InvalidArgument, NotConnected, SignalingLost, SignalingRefused, TooManyDevices
from statecore.listeners import events
from statecore.testing import VirtualClock

Town, Run = Callable[..., Any], Callable[..., Any]

EVENTS = [event for event in events(CallListener) if event.startswith("connection_")]
LOST, RESTORED = ("connection_lost", "signaling_lost", True), ("connection_restored", "signaling_lost", True)
CLOSED = ("connection_closed", "client_closed", False)


def _watch(told: list[Any], register: Callable[..., Any], kind: type[Any]) -> None:
    """Note what is told of the link: by a listener, and by handlers for one event each."""
    register("link", kind(**{f"on_{event}": partial(lambda *args: told.append(args), event) for event in EVENTS}))


def test_a_client_without_a_call_hears_of_its_link(town: Town, run: Run) -> None:
    """A client that is idle is told when the link breaks, stands again, and is closed; also by `on`."""

    async def main() -> None:
        async with town() as t:
            told: list[Any] = []
            lost: list[Any] = []
            alice = await t.add("alice")
            _watch(told, alice.add_call_listener, CallListener)
            alice.on("connection_lost", lambda *args: lost.append(args))
            t.links["alice"].drop()
            await t.until(lambda: len(told) == 2)
            await alice.close()
            await alice.close()
            assert told == [LOST, RESTORED, CLOSED]
            assert lost == [LOST[1:]]

    run(main)


def test_a_session_hears_the_same_as_its_client(town: Town, run: Run) -> None:
    """In a call both are told, the same; that the link is closed is told before the session ends by it."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            client: list[Any] = []
            session: list[Any] = []
            _watch(client, t.clients["alice"].add_call_listener, CallListener)
            _watch(session, hers.add_call_event_listener, OngoingCallListener)
            hers.on("session_left", lambda *_: session.append("left"))
            t.links["alice"].drop()
            await t.until(lambda: len(session) == 2)
            await t.clients["alice"].close()
            assert client == [LOST, RESTORED, CLOSED]
            assert session == [LOST, RESTORED, CLOSED, "left"]

    run(main)


def test_a_client_that_was_never_connected_has_no_link_to_close(town: Town, run: Run) -> None:
    """Closing a client that never had a link tells nothing of one."""

    async def main() -> None:
        async with town() as t:
            told: list[Any] = []
            alice = t.make("alice")
            _watch(told, alice.add_call_listener, CallListener)
            await alice.close()
            assert not told

    run(main)


def test_who_loses_his_device_stops_at_once(town: Town, run: Run) -> None:
    """When another process takes the device over, what the first one has ends there and then, and its media closes:
    nobody is listened to for a lease by a client that can never come back. Also what only rings."""

    async def main() -> None:
        async with town("alice", "bob", "carol", check=False) as t:
            hers, his = await t.pair()
            alice, told = t.clients["alice"], []
            _watch(told, alice.add_call_listener, CallListener)
            hers.on("session_left", lambda _, reason: told.append(reason.what))
            link = t.service.signaling("alice", "alice-phone")
            twin = await t.stack.enter_async_context(CallClient(link, clock=VirtualClock(), jitter=lambda: 1.0))
            async with asyncio.timeout(1):
                assert (await hers.wait_ended()).what == Reason.LOST
            assert not t.media["alice"].sessions
            assert told == [LOST, ("connection_failed", "signaling_refused", False), Reason.LOST]
            assert not alice.calls
            with pytest.raises(NotConnected):
                await alice.initiate_call("carol")
            assert twin.connected
            assert twin.failure is None
            assert str(alice.failure).endswith("another process connected as this device")
            assert (await his.wait_ended()).what == Reason.LOST
            await alice.close()
            assert len(told) == 3, "a link that was given up is not closed"

    run(main)


# --- for how long a service that is away is tried ---------------------------------------------------------------------


def test_a_link_is_given_up_after_its_time(town: Town, run: Run) -> None:
    """A service that is away for as long as the client was told to wait is given up: calls end, and that it failed is
    told once. Later it may be tried again, and what ended is made known then."""

    async def main() -> None:
        async with town("bob") as t:
            alice, told = await t.add("alice", give_up_after=20), []
            hers, his = await t.pair()
            _watch(told, alice.add_call_listener, CallListener)
            loop = asyncio.get_running_loop()
            t.links["alice"].cut()
            began = loop.time()
            assert (await hers.wait_ended()).what == Reason.LOST
            assert 20 <= loop.time() - began < 21
            assert told == [LOST, ("connection_failed", "signaling_lost", False)]
            assert his.state == "active"
            await asyncio.sleep(5)
            t.links["alice"].mend()
            await asyncio.sleep(5)
            assert not alice.connected
            await alice.connect()
            assert (await his.wait_ended()).what == Reason.LOST
            assert loop.time() - began < 40, "the service was told, and need not wait for the lease"
            await (await alice.initiate_call("bob")).cancel()

    run(main)


def test_each_loss_has_the_whole_time(town: Town, run: Run) -> None:
    """A link that comes back in time is not given up, however often it breaks; one that stands is never."""

    async def main() -> None:
        async with town("bob") as t:
            alice = await t.add("alice", give_up_after=20)
            hers, _ = await t.pair()
            for _ in range(3):
                t.links["alice"].cut()
                await asyncio.sleep(15)
                t.links["alice"].mend()
                await t.until(lambda: alice.connected, 10)
                await asyncio.sleep(60)
            assert hers.state == "active"
            await hers.end()

    run(main)


def test_a_service_that_was_never_there(town: Town, run: Run) -> None:
    """The first connection is bounded, too; the attempt raises what it came to."""

    async def main() -> None:
        async with town(check=False) as t:
            told: list[Any] = []
            alice = t.make("alice", give_up_after=3.5)
            _watch(told, alice.add_call_listener, CallListener)
            t.links["alice"].cut()
            began = asyncio.get_running_loop().time()
            with pytest.raises(SignalingLost):
                await alice.connect()
            assert asyncio.get_running_loop().time() - began == pytest.approx(3.5)
            assert told == [("connection_failed", "signaling_lost", False)]
            t.links["alice"].mend()
            await alice.connect()
            await alice.close()

    run(main)


@pytest.mark.parametrize("seconds", [0, -1, True, "10", float("nan")])
def test_a_bound_that_is_none(town: Town, run: Run, seconds: Any) -> None:
    """What cannot be a time to wait is refused when the client is made."""

    async def main() -> None:
        async with town() as t:
            with pytest.raises(InvalidArgument, match="give_up_after"):
                t.make("alice", give_up_after=seconds)

    run(main)


# --- whose link it is -------------------------------------------------------------------------------------------------


class Choosy:
    """A service that refuses a device so often, by something different each time, and then takes it."""

    def __init__(self, real: Any, *errors: Exception) -> None:
        self.user, self.device, self._real, self.errors = real.user, real.device, real, list(errors)

    async def connect(self) -> Any:
        """A connection, or the next error."""
        if self.errors:
            raise self.errors.pop(0)
        return Brittle(await self._real.connect(), self.errors)


def test_who_connects_again_at_once_keeps_that_link(town: Town, run: Run) -> None:
    """A handler that connects anew when it hears that the link failed has that link, whatever who failed cleans up."""

    async def main() -> None:
        async with town(check=False) as t:
            link = Choosy(t.service.signaling("alice", "d"), SignalingRefused(why="once"))
            alice, again = t.make("alice", link=link), []

            async def connect(*_: Any) -> None:
                await alice.connect()
                again.append(alice.connected)

            alice.on("connection_failed", connect)
            with pytest.raises(SignalingRefused):
                await alice.connect()
            await t.until(lambda: again, 10)
            await asyncio.sleep(5)
            assert again == [alice.connected] == [True]
            await alice.close()

    run(main)


def test_who_gives_up_takes_nobody_elses_link(town: Town, run: Run) -> None:
    """Of two who wait for the link one is cancelled: the other gets it. Once nobody waits, nothing is tried more."""

    async def main() -> None:
        async with town(check=False) as t:
            alice = t.make("alice")
            t.links["alice"].cut()
            first, second = (asyncio.create_task(alice.connect()) for _ in range(2))
            await asyncio.sleep(1)
            first.cancel()
            await asyncio.sleep(0.1)
            t.links["alice"].mend()
            await second
            assert alice.connected
            await alice.close()
            bob = t.make("bob")
            t.links["bob"].cut()
            waiting = [asyncio.create_task(bob.connect()) for _ in range(2)]
            await asyncio.sleep(1)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            t.links["bob"].mend()
            await asyncio.sleep(10)
            assert not bob.connected
            await bob.close()

    run(main)


class Brittle:
    """A connection that breaks as its link would, once something has come over it."""

    def __init__(self, real: Any, errors: list[Exception]) -> None:
        self.send, self.close, self._receive, self.errors = real.send, real.close, real.receive, errors

    async def receive(self) -> Any:
        """The next message, or the next error."""
        if self.errors:
            raise self.errors.pop(0)
        return await self._receive()


def test_a_link_fails_by_what_it_failed_by_last(town: Town, run: Run) -> None:
    """What kept a device waiting before it was welcomed is not named when its link is given up later."""

    async def main() -> None:
        async with town(check=False) as t:
            link = Choosy(t.service.signaling("alice", "d"), TooManyDevices(user="alice", limit=1, seconds=1))
            alice, told = t.make("alice", link=link, give_up_after=5), []
            alice.on("connection_failed", lambda *args: told.append(args))
            await alice.connect()
            link.errors += [OSError("no route") for _ in range(99)]
            await t.until(lambda: told, 60)
            assert told == [("signaling_lost", False)]
            await alice.close()

    run(main)
