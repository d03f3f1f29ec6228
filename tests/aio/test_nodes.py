"""Several services on one store: what they tell each other, and what holds when one is gone or the bus is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from statecore import CallService, MemoryBus, MemoryStore
from statecore.errors import CallUnanswered, StatecoreError, TokenRevoked, UnknownUser
from statecore.flow import Timers
from statecore.ports import Channel
from statecore.testing import VirtualClock

Town, Run = Callable[..., Any], Callable[..., Any]


class Deaf(MemoryBus):
    """A bus that loses what is told while it is deaf."""

    deaf = False

    async def join(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> Any:
        """Take part; what comes while it is deaf is not heard."""
        return await super().join(lambda message: None if self.deaf else heard(message), lost)

    async def unheard(self, work: Awaitable[Any]) -> Any:
        """Do something of which nobody hears, as if whoever decides it died at once."""
        self.deaf = True
        done = await work
        await asyncio.sleep(2 * self.delay)
        self.deaf = False
        return done


class Roaming:
    """A device's way to whichever of the services it is told to use. Implements the `Signaling` port."""

    def __init__(self, services: list[CallService], user: str, at: int) -> None:
        self.user, self.device, self.at = user, f"{user}-phone", at
        self.links = [service.signaling(user, self.device) for service in services]

    async def connect(self) -> Channel:
        """A new connection there."""
        return await self.links[self.at].connect()


async def _roaming(t: Any, user: str, at: int) -> Roaming:
    way = Roaming(t.services, user, at)
    await t.add(user, link=way)
    return way


def _connected(t: Any) -> list[int]:
    return [service.connections for service in t.services]


# --- one of them goes -------------------------------------------------------------------------------------------------


def test_the_others_serve_the_timers_of_one_that_is_gone(town: Town, run: Run) -> None:
    """The service that decided a call goes; another ends its ringing in time, and tells both."""

    async def main() -> None:
        async with town("bob", services=3) as t:
            way = await _roaming(t, "alice", 1)
            alice, bob = t.clients["alice"], t.clients["bob"]
            assert _connected(t) == [1, 1, 0]
            call = await alice.initiate_call("bob", timeout=30)
            began = asyncio.get_running_loop().time()
            await t.until(lambda: bob.calls)
            way.at = 2
            await t.services[1].close()
            with pytest.raises(CallUnanswered):
                await call.answered()
            assert 30 <= asyncio.get_running_loop().time() - began < 32
            await t.until(lambda: not bob.calls)

    run(main)


def test_a_device_whose_service_is_gone_loses_its_lease(town: Town, run: Run) -> None:
    """A device that does not come back from a service that is gone leaves its call, as the others see to it."""

    async def main() -> None:
        async with town("alice", "bob", services=2, timers=Timers(heartbeat=3, lease=10)) as t:
            hers, _ = await t.pair()
            t.links["bob"].cut()
            await t.services[1].close()
            began = asyncio.get_running_loop().time()
            ended = await hers.wait_ended()
            assert asyncio.get_running_loop().time() - began < 30
            assert ended.what == "lost"
            await asyncio.sleep(10)
            assert not await t.service.online("bob")

    run(main)


# --- a device at two of them ------------------------------------------------------------------------------------------


def test_a_device_that_comes_back_elsewhere_leaves_no_connection_behind(town: Town, run: Run) -> None:
    """Its older connection only seems to stand: the service that has it closes it when it hears of the newer one."""

    async def main() -> None:
        async with town("alice", services=2) as t:
            way = await _roaming(t, "bob", 1)
            hers, his = await t.pair()
            assert _connected(t) == [1, 1]
            way.links[1].silent = True
            way.at = 0
            await t.until(lambda: _connected(t)[0] == 2)
            await t.until(lambda: _connected(t)[1] == 0, seconds=1)
            await hers.raise_hand()
            await t.until(lambda: any("hand_raised" in one.flags for one in his.participants))
            await hers.end()
            await t.until(lambda: not t.clients["bob"].calls)

    run(main)


def test_another_process_as_the_same_device_at_another_service(town: Town, run: Run) -> None:
    """The first one is told so and stays away: two that drive each other out for ever would help nobody."""

    async def main() -> None:
        async with town("alice", services=2) as t:
            first = t.clients["alice"]
            second = await t.add("alice/alice-phone", at=1)
            await t.until(lambda: not first.connected)
            await asyncio.sleep(30)
            assert not first.connected
            assert second.connected
            assert _connected(t) == [0, 1]
            with pytest.raises(StatecoreError):
                await first.initiate_call("bob")

    run(main)


def test_a_lease_that_ran_out_closes_the_connection_wherever_it_is(town: Town, run: Run) -> None:
    """A device falls silent: whichever service notices first, the one that has its connection lets go of it."""

    async def main() -> None:
        async with town("alice", "bob", services=2, timers=Timers(heartbeat=3, lease=10)) as t:
            hers, _ = await t.pair()
            t.service._clock = VirtualClock(start=t.service._clock.wall() + 900)  # it is the first
            t.links["bob"].silent = True
            await hers.wait_ended()
            await t.until(lambda: _connected(t) == [1, 0], seconds=10)
            t.links["bob"].mend()
            await t.until(lambda: t.clients["bob"].connected)
            assert await t.service.online("bob")

    run(main)


# --- what the application does ----------------------------------------------------------------------------------------


def test_a_user_who_is_deleted_at_one_is_nowhere(town: Town, run: Run) -> None:
    """Devices at other services are refused, and whoever makes the user known again does."""

    async def main() -> None:
        async with town("alice", "bob", services=2) as t:
            await t.services[0].delete_user("bob")
            await t.until(lambda: not t.clients["bob"].connected)
            await t.until(lambda: _connected(t) == [1, 0], seconds=1)
            with pytest.raises(UnknownUser):
                await t.clients["alice"].initiate_call("bob")
            await t.services[1].register_user("bob")
            await (await t.clients["alice"].initiate_call("bob")).cancel()

    run(main)


def test_a_user_who_is_being_made_known_is_not_forgotten(town: Town, run: Run) -> None:
    """A user whom one service deletes while another is about to make him known again is known."""

    async def main() -> None:
        async with town("alice", "bob", services=2) as t:
            await t.clients["bob"].close()
            await t.services[0].delete_user("bob")
            t.services[1].add_user("bob", "Bob")  # before it has heard
            t.services[1].add_user("bob", "Robert")
            await asyncio.sleep(1)
            await t.services[1]._save_users()
            assert (await t.services[0].user("bob")).name == "Robert"

    run(main)


def test_a_token_that_one_voids_is_void_at_all(town: Town, run: Run) -> None:
    """A token that was revoked at one service joins nothing at another."""

    async def main() -> None:
        async with town("alice", "bob", services=2) as t:
            token = await t.services[0].generate_token("bob", "room")
            await t.services[0].revoke_token(token)
            await t.services[0].revoke_token(token)
            await asyncio.sleep(0.1)
            with pytest.raises(TokenRevoked):
                await t.clients["bob"].start_session(token)

    run(main)


# --- the bus ----------------------------------------------------------------------------------------------------------


def test_what_the_bus_lost_is_made_up_for(town: Town, run: Run) -> None:
    """While the bus is away, rings, tokens and timers of other services are not heard of; once it is back, they are."""

    async def main() -> None:
        bus = Deaf(delay=0.01)
        async with town("bob", "carol", bus=bus, services=3) as t:
            way = await _roaming(t, "alice", 2)
            alice, bob = t.clients["alice"], t.clients["bob"]
            token = await t.services[2].generate_token("bob", "room")
            bus.deaf = True
            call = await alice.initiate_call("bob", timeout=30)
            await t.services[2].revoke_token(token)
            await asyncio.sleep(5)
            assert not bob.calls
            bus.deaf = False
            bus.lose()
            await t.until(lambda: bob.calls, seconds=3)
            await t.until(lambda: alice.connected and bob.connected)
            with pytest.raises(TokenRevoked):
                await bob.start_session(token)
            way.at = 1
            await t.services[2].close()  # who else would have known when it is over?
            with pytest.raises(CallUnanswered):
                await call.answered()

    run(main)


def test_what_a_service_decided_and_never_told_is_told_at_the_next_beat(town: Town, run: Run) -> None:
    """A service that dies between a commit and the news of it leaves the other's devices in doubt for a heartbeat: a
    ring, its answer and the end all come, and a ring that nobody answers ends in time, whoever is to fire the timer."""

    async def main() -> None:
        bus = Deaf(delay=0.01)
        async with town("bob", bus=bus, services=2, timers=Timers(heartbeat=3, lease=10)) as t:
            await _roaming(t, "alice", 1)
            alice, bob = t.clients["alice"], t.clients["bob"]
            for first, second in ((alice, bob), (bob, alice)):
                call = await bus.unheard(first.initiate_call(second.user.uid, timeout=20))
                assert not second.calls
                await t.until(lambda second=second: second.calls, seconds=3)
                await bus.unheard(second.accept_call(call.session_id))
                assert call.state == "ringing"
                async with asyncio.timeout(3):
                    await call.answered()
                await bus.unheard(first.end_call(call.session_id))
                assert second.calls
                await t.until(lambda second=second: not second.calls, seconds=3)
            call = await bus.unheard(alice.initiate_call("bob", timeout=20))
            began = asyncio.get_running_loop().time()
            t.links["alice"].at = 0
            await t.services[1].close()
            with pytest.raises(CallUnanswered):
                await call.answered()
            assert 19 <= asyncio.get_running_loop().time() - began < 22

    run(main)


def test_what_the_bus_lost_is_looked_up_until_the_store_answers(
    town: Town, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that fails just then is asked again."""

    class Failing(MemoryStore):
        fails = 0

        async def scan(self, kind: str) -> Any:
            if self.fails:
                self.fails -= 1
                raise OSError("the disk")
            return await super().scan(kind)

    async def main() -> None:
        bus, store = Deaf(), Failing()
        async with town("alice", "bob", bus=bus, store=store, services=2) as t:
            bus.deaf = True
            token = await t.services[0].generate_token("bob", "room")
            await t.services[0].revoke_token(token)
            await asyncio.sleep(1)
            bus.deaf = False
            store.fails = 4
            bus.lose()
            await asyncio.sleep(2)
            assert store.fails == 0
            await t.until(lambda: t.clients["bob"].connected)
            with pytest.raises(TokenRevoked):
                await t.clients["bob"].start_session(token)

    run(main)
    assert [record.getMessage() for record in caplog.records].count("what the bus lost could not be looked up") == 4


def test_what_is_not_understood_harms_nobody(town: Town, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A message of another version is logged, and the next one heard."""

    async def main() -> None:
        bus = MemoryBus()
        async with town("alice", "bob", bus=bus, services=2) as t:
            member = await bus.join(lambda _: None, lambda: None)
            deep = b"\x93\xa7decided\x91" + b"\x91" * 100_000
            for said in (b"", b"\xff", b"\x92\xa5later\x01", b"\x91\xa4look", b"\x92\xa4look\xa1\xff", deep):
                member.tell(said)
            await t.pair()
            await member.leave()

    run(main)
    assert caplog.text.count("another service was not understood") == 2 * 6


def test_a_bus_that_cannot_be_reached(run: Run) -> None:
    """A service does not begin alone among others: it says why, and may be tried again."""

    class Away(MemoryBus):
        away = True

        async def join(self, heard: Any, lost: Any) -> Any:
            if self.away:
                raise OSError("nobody there")
            return await super().join(heard, lost)

    async def main() -> None:
        bus = Away()
        service = CallService(clock=VirtualClock(), bus=bus)
        with pytest.raises(OSError, match="nobody there"):
            await service.__aenter__()
        bus.away = False
        async with service:
            await service.register_user("alice")
        await service.close()

    run(main)


def test_a_bus_and_nobody_else_on_it(town: Town, run: Run) -> None:
    """One service alone on a bus is as one without."""

    async def main() -> None:
        async with town("alice", "bob", bus=None) as t:
            hers, _ = await t.pair()
            await hers.end()
            await t.service.delete_user("bob")

    run(main)
