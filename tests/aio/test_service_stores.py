"""Whatever the store does, and whenever the service dies: the calls are the same."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import settings

from statecore import Call, CallClient, CallService, MemoryBus, MemoryLink, MemoryStore
from statecore.errors import CallGone, CallRejected, CallUnanswered, StoreConflict, UserBusy
from statecore.ports import Key, Store
from statecore.settings import ServiceSettings
from statecore.testing import FakeMedia, RefusingStore, SlowStore, VirtualClock

Town, Run = Callable[..., Any], Callable[..., Any]

# --- whole calls, of every kind ---------------------------------------------------------------------------------------


async def talk(t: Any) -> None:
    """Alice calls Bob; they talk, mute, agree to video; Bob hangs up."""
    hers, his = await t.pair(listener=t.log("either"))
    await hers.mute_audio()
    hers.add_call_event_listener("x", t.log("x"))
    asking = asyncio.create_task(hers.switch_to_video())
    await t.until(lambda: his.call.participants[1].flags >= {"wants_video"})
    await his.accept_video()
    await asking
    await his.end()
    await hers.wait_ended()


async def two_devices(t: Any) -> None:
    """Bob answers on one of two devices; the other one comes too late."""
    alice, one, two = t.clients["alice"], t.clients["bob"], await t.add("bob/tablet")
    call = await alice.initiate_call("bob")
    await t.until(lambda: one.calls and two.calls)
    taken = await one.accept_call(call.session_id)
    with pytest.raises(CallGone):
        await two.accept_call(call.session_id)
    await taken.end()
    await t.until(lambda: not alice.calls)


async def declined(t: Any) -> None:
    """Bob's one device declines: his other stops ringing, and Alice hears it."""
    call = await t.clients["alice"].initiate_call("bob")
    tablet = await t.add("bob/tablet")
    await t.until(lambda: tablet.calls and t.clients["bob"].calls)
    await tablet.reject_call(call.session_id)
    with pytest.raises(CallRejected):
        await call.answered()
    await t.until(lambda: not t.clients["bob"].calls)


async def unanswered(t: Any) -> None:
    """Nobody answers, and another caller hears busy meanwhile."""
    call = await t.clients["alice"].initiate_call("bob", timeout=5)
    with pytest.raises(UserBusy):
        await t.clients["carol"].initiate_call("bob")
    with pytest.raises(CallUnanswered):
        await call.answered()
    await t.until(lambda: not t.clients["bob"].calls)


async def given_up(t: Any) -> None:
    """Alice gives up while it rings."""
    call = await t.clients["alice"].initiate_call("bob")
    await t.until(lambda: t.clients["bob"].calls)
    await call.cancel()
    await t.until(lambda: not t.clients["bob"].calls)


async def meeting(t: Any) -> None:
    """Three meet, two of them at once; one goes and comes back; they leave one by one."""
    await t.meet("alice")
    await asyncio.gather(t.meet("bob"), t.meet("carol"))
    sessions = {name: t.clients[name]._driver.parts["room"].session for name in ("alice", "bob", "carol")}
    await t.until(lambda: all(len(session.participants) == 3 for session in sessions.values()))
    await asyncio.gather(*(session.raise_hand() for session in sessions.values()))
    await sessions["bob"].leave()
    (again,) = await t.meet("bob")
    await t.until(lambda: len(again.participants) == 3)
    for session in (again, sessions["alice"], sessions["carol"]):
        await session.leave()
    await asyncio.sleep(61)  # an empty session waits a minute


SCENARIOS = (talk, two_devices, declined, unanswered, given_up, meeting)


def _outcome(t: Any, log: list[Call]) -> Any:
    """What is to be the same: what the log says, and what each device was told of each call, in order."""
    told: dict[tuple[str, str], list[Any]] = {}
    for name, event, call in t.seen:
        end = call.end_reason
        told.setdefault((name, call.session_id), []).append((event, call.state, end and (end.what, end.by)))
    rows = [
        (
            call.session_id, call.type, call.status, call.end_reason.what, call.initiator, call.receiver,
            sorted((p.uid, p.device) for p in call.participants),
        )
        for call in log if call.end_reason is not None
    ]  # fmt: skip
    return sorted(rows), told


async def _play(town: Town, store: Store, scenario: Any, **more: Any) -> tuple[Any, CallService]:
    async with town("alice", "bob", "carol", store=store, **more) as t:
        t.id = _ids()
        await scenario(t)
        log = await t.service.call_log()
        assert not await t.service.calls()
        lines = [line for _, line in await t.service.store.scan("line")]
        assert not any(line.holds or line.sessions for line in lines)
        return _outcome(t, log), t.service


def _ids() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"id-{next(numbers)}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_same_on_stores_that_refuse_or_are_slow(town: Town, run: Run, scenario: Any) -> None:
    """On a store that refuses every second commit, on a slow one, and on one that is both, everybody sees and the log
    says what they do on a plain one."""

    async def main() -> None:
        plain, _ = await _play(town, MemoryStore(), scenario)
        assert plain[0]
        slow, _ = await _play(town, SlowStore(MemoryStore()), scenario)
        assert slow == plain
        refusing = RefusingStore(MemoryStore())
        outcome, _ = await _play(town, refusing, scenario)
        assert outcome == plain
        assert refusing.refused == (refusing.commits + 1) // 2
        outcome, _ = await _play(town, SlowStore(RefusingStore(MemoryStore()), turns=3), scenario)
        assert outcome == plain

    run(main)


@pytest.mark.parametrize("services", [2, 3])
@pytest.mark.parametrize("delay", [0.0, 0.05])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_same_on_several_services(town: Town, run: Run, scenario: Any, delay: float, services: int) -> None:
    """With everybody connected to another service on the same store, all see what they see at one, and so says the log,
    also while the services decide between each other's steps, and hear of each other late."""

    async def main() -> None:
        plain, _ = await _play(town, MemoryStore(), scenario)
        bus = MemoryBus(delay=delay)
        assert (await _play(town, MemoryStore(), scenario, bus=bus, services=services))[0] == plain
        contrary = SlowStore(RefusingStore(MemoryStore()), turns=2)
        assert (await _play(town, contrary, scenario, bus=bus, services=services))[0] == plain

    run(main)


def test_both_call_each_other_on_a_slow_store_that_refuses(town: Town, run: Run) -> None:
    """Whoever of two is first by chance, it is one call for both, accepted, with one row."""

    async def main() -> None:
        for turns in range(6):
            async with town("alice", "bob", store=SlowStore(RefusingStore(MemoryStore()), turns=turns)) as t:
                alice, bob = t.clients["alice"], t.clients["bob"]
                first, second = await asyncio.gather(alice.initiate_call("bob"), bob.initiate_call("alice"))
                assert first.session_id == second.session_id
                await asyncio.gather(first.answered(), second.answered())
                await first.end()
                await t.until(lambda bob=bob: not bob.calls)
                (row,) = await t.service.call_log()
                assert row.end_reason.by == "alice"
                assert [event for _, event, _ in t.seen].count("call_ended_message_received") == 2

    run(main)


@pytest.mark.parametrize("ahead", [-0.02, -0.005, 0.0, 0.005, 0.02])
def test_both_call_each_other_at_two_services(town: Town, run: Run, ahead: float) -> None:
    """Each of two calls the other one, at two services that hear of each other late: it is one call for both."""

    async def main() -> None:
        store, bus = SlowStore(MemoryStore(), turns=1), MemoryBus(delay=0.01)
        async with town("alice", "bob", store=store, bus=bus, services=2) as t:
            alice, bob = t.clients["alice"], t.clients["bob"]

            async def call(client: CallClient, whom: str, after: float) -> Any:
                await asyncio.sleep(after)
                return await client.initiate_call(whom)

            first, second = await asyncio.gather(call(alice, "bob", max(0, -ahead)), call(bob, "alice", max(0, ahead)))
            assert first.session_id == second.session_id
            await asyncio.gather(first.answered(), second.answered())
            await second.end()
            await t.until(lambda: not alice.calls)
            (row,) = await t.services[0].call_log()
            assert row.end_reason.by == "bob"

    run(main)


def test_all_kinds_of_calls_at_once(town: Town, run: Run) -> None:
    """Calls of different people at the same time, on a slow store that refuses: each has its own outcome."""

    async def main() -> None:
        store = SlowStore(RefusingStore(MemoryStore()), turns=2)
        names = [f"{who}-{number}" for number in range(6) for who in ("a", "b")]
        async with town(*names, store=store) as t:

            async def one(number: int) -> None:
                caller, callee = t.clients[f"a-{number}"], t.clients[f"b-{number}"]
                call = await caller.initiate_call(f"b-{number}")
                await t.until(lambda: callee.calls)
                if number % 2:
                    await callee.reject_call(call.session_id)
                    with pytest.raises(CallRejected):
                        await call.answered()
                    return
                await callee.accept_call(call.session_id)
                await call.answered()
                await call.end()

            await asyncio.gather(*(one(number) for number in range(6)))
            await t.until(lambda: not any(client.calls for client in t.clients.values()))
            ends = [call.end_reason.what for call in await t.service.call_log()]
            assert sorted(ends) == ["hangup"] * 3 + ["rejected"] * 3

    run(main)


class Contrary(MemoryStore):
    """Refuses every commit while it is told to."""

    contrary = False
    asked = 0

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """False while contrary."""
        self.asked += 1
        return not self.contrary and await super().commit(writes)


def test_a_store_that_never_agrees(town: Town, run: Run) -> None:
    """A decision is tried as often as the settings say, the caller hears StoreConflict, and all goes on after that."""

    async def main() -> None:
        store = Contrary()
        async with town("alice", "bob", store=store, settings=ServiceSettings(attempts=7)) as t:
            store.contrary, store.asked = True, 0
            with pytest.raises(StoreConflict) as raised:
                await t.clients["alice"].initiate_call("bob")
            assert store.asked == raised.value.attempts == 7
            assert raised.value.retryable
            store.contrary = False
            assert not await t.service.calls()
            await (await t.clients["alice"].initiate_call("bob")).cancel()

    run(main)


def test_a_store_that_does_not_agree_to_a_connection(town: Town, run: Run) -> None:
    """Each try ends after as many attempts as the settings say, and costs the connection; the device comes again, and
    is heard as soon as the store agrees."""

    async def main() -> None:
        store = Contrary()
        async with town("alice", store=store, settings=ServiceSettings(attempts=7)) as t:
            store.contrary, store.asked = True, 0
            bob = asyncio.create_task(t.add("bob"))
            await t.until(lambda: store.asked >= 14)  # he came twice
            assert not bob.done()
            store.contrary = False
            await bob
            await (await t.clients["alice"].initiate_call("bob")).cancel()

    run(main)


# --- the service dies -------------------------------------------------------------------------------------------------


class Dead(RuntimeError):
    """What a dead service's store raises."""


class Fence:
    """A service's way to the store, until the service is dead."""

    def __init__(self, inner: Store, spot: Callable[[str], None]) -> None:
        self.inner = inner
        self.spot = spot
        self.dead = False

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """As the inner store says."""
        self._alive()
        return await self.inner.load(keys)

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """As the inner store says; the service may die before and after."""
        self.spot("before")
        self._alive()
        done = await self.inner.commit(writes)
        self.spot("after")
        self._alive()
        return done

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """As the inner store says."""
        self._alive()
        return await self.inner.scan(kind)

    def _alive(self) -> None:
        if self.dead:
            raise Dead


class Wire(MemoryLink):
    """A link to whichever service lives; every message is a spot at which that one may die."""

    def __init__(self, user: str, host: Host) -> None:
        super().__init__(user, f"{user}-phone", lambda channel, _: host.service.serve(channel, user))
        self.host = host

    def passes(self, message: bytes) -> bool:
        """Only if the service survives it."""
        self.host.spot("message")
        return super().passes(message)


class Host:
    """Where services run on one store; the one that runs dies at a given spot, and another takes its place at once."""

    def __init__(self, die_at: int | None = None) -> None:
        self.store = MemoryStore()
        self.die_at = die_at
        self.spots = 0
        self.links: list[Wire] = []
        self.dead: list[CallService] = []
        self.service = self.start()

    def start(self) -> CallService:
        """A service on the store."""
        self.fence = Fence(self.store, self.spot)
        return CallService(store=self.fence, clock=VirtualClock(), key=b"k" * 32)

    def spot(self, _: str) -> None:
        """A spot at which the service may die."""
        self.spots += 1
        if self.spots == self.die_at:
            self.die()

    def die(self) -> None:
        """The service is gone, with every connection; another one is there."""
        self.stop()
        self.service = self.start()

    def stop(self) -> None:
        """The service is gone, and no other is there yet."""
        self.fence.dead = True
        self.dead.append(self.service)
        for link in self.links:
            link.drop()

    def link(self, user: str) -> Wire:
        """A link of a user."""
        self.service.add_user(user)
        self.links.append(Wire(user, self))
        return self.links[-1]

    async def close(self) -> None:
        """Every service that ran."""
        for service in (*self.dead, self.service):
            await service.close()


async def _ringing(t: Any) -> list[tuple[str, list[str]]]:
    """A whole call, step by step; gives what the sessions' listeners heard."""
    alice, bob = t.clients["alice"], t.clients["bob"]
    call = await alice.initiate_call("bob", type="audio")
    await t.until(lambda: bob.calls)
    await asyncio.gather(bob.accept_call(call.session_id), call.answered())
    tokens = {name: await t.clients[name].generate_token(call.session_id) for name in ("alice", "bob")}
    hers, his = await asyncio.gather(
        *(t.clients[name].start_session(token, type="audio", listener=t.log(name)) for name, token in tokens.items())
    )
    await hers.mute_audio()
    await his.send_message("hello")
    await t.until(lambda: "message_received" in t.names("alice"))
    await hers.end()
    await his.wait_ended()
    return [(name, t.names(name)) for name in ("alice", "bob")]


async def _meeting(t: Any) -> list[tuple[str, list[str]]]:
    """Three meet and part."""
    sessions = await t.meet("alice", "bob", "carol")
    await t.until(lambda: all(len(session.participants) == 3 for session in sessions))
    await sessions[1].raise_hand()
    for number, session in enumerate(sessions, start=1):
        await session.leave()
        await t.until(lambda rest=sessions[number:]: all(len(each.participants) == len(rest) for each in rest))
    await asyncio.sleep(61)
    return [(name, t.names(name)) for name in ("alice", "bob", "carol")]


_VARIES = ("connection_lost", "connection_restored", "user_list_updated")
"""What tells of the link, or of several changes at once."""


async def _survive(town: Town, scenario: Any, die_at: int | None) -> tuple[Any, int]:
    """A scenario in which the service dies at a spot: what came of it, and how many spots there are."""
    host = Host()
    async with town(check=False) as t:
        for name in ("alice", "bob", "carol"):
            await t.add(name, link=host.link(name))
        t.service, begin = host.service, host.spots
        host.die_at = begin + die_at if die_at is not None else None
        told = await scenario(t)
        spots = host.spots - begin
        host.die_at = None
        t.service = host.service
        await t.until(lambda: not any(client.calls for client in t.clients.values()))
        assert not await host.service.calls()
        rows, seen = _outcome(t, await host.service.call_log())
        assert not any(line.holds or line.sessions for _, line in await host.store.scan("line"))
        await t.stack.aclose()
        await t.check()
        await host.close()
        plain = [(name, [event for event in events if event not in _VARIES]) for name, events in told]
        return (rows, seen, plain), spots


@pytest.mark.soak
@pytest.mark.timeout(600)  # whole calls, many of them: minutes on a machine that others use, too
@pytest.mark.parametrize("scenario", [_ringing, _meeting])
def test_the_service_dies_at_any_message_and_commit(
    town: Town, run: Run, scenario: Any, caplog: Any, request: pytest.FixtureRequest
) -> None:
    """Killed before or after any commit or with any message, and started again on the same store: every device sees the
    same call, and the log has the same row. `make test` draws every third of these spots."""
    every = 1 if settings.default is settings.get_profile("soak") else 3
    first = random.Random(str(request.config.getoption("--hypothesis-seed"))).randint(1, every)  # noqa: S311 - to be drawn again

    async def main() -> None:
        undisturbed, spots = await _survive(town, scenario, None)
        assert spots > 30
        for place in range(first, spots + 1, every):
            found, _ = await _survive(town, scenario, place)
            assert found == undisturbed, f"killed at {place} of {spots}"

    caplog.set_level("CRITICAL", logger="statecore")
    run(main, debug=False)


@pytest.mark.parametrize(("down", "ends"), [(0, 45), (10, 45), (30, 50)])
def test_the_ring_timer_outlives_the_service(town: Town, run: Run, down: int, ends: int) -> None:
    """A call rings; the service dies after 20 s and is back after a while: the call is unanswered when its 45 s are
    over, or as soon as there is a service again, for both, and once."""

    async def main() -> None:
        host, loop = Host(), asyncio.get_running_loop()
        async with town(check=False) as t:
            for name in ("alice", "bob"):
                await t.add(name, link=host.link(name))
            call = await t.clients["alice"].initiate_call("bob")
            began = loop.time()
            await asyncio.sleep(20)
            host.stop()
            for link in host.links:
                link.cut()
            await asyncio.sleep(down)
            host.service = t.service = host.start()
            for link in host.links:
                link.mend()
            with pytest.raises(CallUnanswered):
                await call.answered()
            # A device that waited for its service tries again every 5 s.
            assert ends <= loop.time() - began <= ends + (5.1 if down == 30 else 0.02)
            await t.until(lambda: not t.clients["bob"].calls)
            assert sorted((name, event) for name, event, _ in t.seen) == [
                ("alice", "outgoing_call_rejected"),
                ("bob", "incoming_call_cancelled"),
                ("bob", "incoming_call_received"),
            ]
            (row,) = await host.service.call_log()
            assert row.end_reason.what == "unanswered"
            await t.stack.aclose()
            await t.check()
            await host.close()

    run(main)


def test_timers_of_who_never_comes_back(run: Run) -> None:
    """A service that starts on the store of a dead one ends what nobody takes up: the ring, then the leases."""

    async def main() -> None:
        host, loop = Host(), asyncio.get_running_loop()
        alice, bob = (
            CallClient(host.link(user), clock=VirtualClock(), jitter=lambda: 1.0) for user in ("alice", "bob")
        )
        await alice.connect()
        await bob.connect()
        call = await alice.initiate_call("bob")
        assert alice.connected
        host.stop()
        for link in host.links:
            link.cut()
        await alice.close()
        await bob.close()
        began = loop.time()
        host.service = host.start()
        async with host.service:
            async with asyncio.timeout(60):
                while not await host.service.call_log():  # noqa: ASYNC110 - the record is what is waited for
                    await asyncio.sleep(0.01)
            assert loop.time() - began == pytest.approx(45, abs=0.1)
            assert (await host.service.fetch(call.session_id)).end_reason.what == "unanswered"
            assert all(line.devices for _, line in await host.store.scan("line"))
            await asyncio.sleep(10)
            assert not any(line.devices for _, line in await host.store.scan("line"))
        await host.close()

    run(main)


@pytest.mark.no_cover
def test_who_goes_while_the_service_is_down(run: Run) -> None:
    """A call is active when the service dies for longer than the devices believe in it: both ends are lost, and the
    new service says the same."""

    async def main() -> None:
        host = Host()
        reasons: list[Any] = []
        clients = {
            user: CallClient(host.link(user), FakeMedia(), clock=VirtualClock(), jitter=lambda: 1.0)
            for user in ("alice", "bob")
        }
        for client in clients.values():
            await client.connect()
            client.on("call_ended_message_received", lambda call: reasons.append(call.end_reason.what))
        call = await clients["alice"].initiate_call("bob", type="audio")
        await clients["bob"].accept_call(call.session_id)
        tokens = [await client.generate_token(call.session_id) for client in clients.values()]
        sessions = await asyncio.gather(
            *(c.start_session(token, type="audio") for c, token in zip(clients.values(), tokens, strict=True))
        )
        host.stop()
        for link in host.links:
            link.cut()
        await asyncio.gather(*(session.wait_ended() for session in sessions))
        assert reasons == ["lost", "lost"]
        host.service = host.start()
        for link in host.links:
            link.mend()
        async with asyncio.timeout(60):
            while not await host.service.call_log():  # noqa: ASYNC110 - the record is what is waited for
                await asyncio.sleep(0.01)
        assert (await host.service.fetch(call.session_id)).end_reason.what == "lost"
        for client in clients.values():
            await client.close()
        await host.close()

    run(main)
