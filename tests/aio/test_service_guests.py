"""Guests: a call token is enough to be in its session, without a login, and good for nothing else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from statecore import CallClient, MemoryBus, MemoryStore, join_session
from statecore.errors import (
    SignalingLost,
    StatecoreError,
    TokenExpired,
    TokenForeign,
    TokenForged,
    TokenLacksGrant,
    TokenMalformed,
    TokenMissing,
    TokenNotYetValid,
    TokenRevoked,
    UnknownUser,
)
from statecore.flow import FLOWS, SESSION, Flow, Row, Trigger
from statecore.model import Reason
from statecore.testing import FakeMedia, VirtualClock
from statecore.tokens import JwtSigner, Keys, Role, user_of
from statecore.wire import Beat, Hello, Welcome, decode_down, encode


def test_a_token_is_enough(town: Any, run: Any) -> None:
    """A guest joins by the token alone, is seen under its user's id, and leaves nothing behind: nobody was made known
    who could be rung, or is online."""

    async def main() -> None:
        async with town("alice") as t:
            hers = await t.clients["alice"].start_session(await t.service.generate_token("alice", "room"), type="audio")
            token = await t.service.generate_token("gast", "room", role=Role.VIEWER)
            async with join_session(t.service.guest(token), token, FakeMedia(), type="audio") as session:
                assert session.state == "active"
                await t.until(lambda: len(hers.participants) == 2)
                assert [one.uid for one in hers.participants if one.uid != "alice"] == ["gast"]
                with pytest.raises(TokenLacksGrant):
                    await session.unmute_audio()
                assert [user.uid for user in await t.service.users()] == ["alice"]
                assert not await t.service.online("gast")
                with pytest.raises(UnknownUser):
                    await t.service.user("gast")
                with pytest.raises(UnknownUser):
                    await t.clients["alice"].initiate_call("gast")
            await t.until(lambda: len(hers.participants) == 1)
            assert [key for key, _ in await t.service.store.scan("line")] == [("line", "alice")]
            await hers.leave()

    run(main)


def test_only_the_first_device_that_joins(town: Any, run: Any) -> None:
    """Once a guest has joined, another device is told at once that the token is another's: at this service, at another
    on the store, and after a restart; the first one comes and goes as it likes."""

    async def main() -> None:
        store, bus = MemoryStore(), MemoryBus()

        async def come_and_go(service: Any, device: str) -> None:
            async with join_session(service.guest(token, device), token, FakeMedia(), type="audio"):
                pass

        async with town(store=store, bus=bus, services=2) as t:
            token = await t.service.generate_token("gast", "room")
            early = await t.stack.enter_async_context(CallClient(t.service.guest(token, "early"), FakeMedia()))
            await come_and_go(t.services[1], "phone")
            with pytest.raises(TokenForeign, match="device"):
                await early.start_session(token)
            for service in t.services:
                with pytest.raises(TokenForeign, match="device"):
                    await come_and_go(service, "other")
        async with town(store=store, bus=bus) as t:
            with pytest.raises(TokenForeign, match="device"):
                await come_and_go(t.service, "other")
            await come_and_go(t.service, "phone")

    run(main)


def test_two_devices_at_once(town: Any, run: Any, outcome: Any) -> None:
    """Of two that join by one token in the same moment, at two services, one is in and the other is told why not."""

    async def main() -> None:
        async with town(services=2) as t:
            token = await t.service.generate_token("gast", "room")
            clients = [
                await t.stack.enter_async_context(CallClient(service.guest(token), FakeMedia()))
                for service in t.services
            ]
            found = await asyncio.gather(*(outcome(one.start_session(token, type="audio")) for one in clients))
            assert sorted(type(each).__name__ for each in found) == ["Session", "TokenForeign"]

    run(main)


def test_a_guest_gets_no_further(town: Any, run: Any) -> None:
    """A guest cannot call, join by another token, or ask for one: each is refused by its own error, and it stays in."""

    async def main() -> None:
        async with town("alice") as t:
            token, other, foreign = [
                await t.service.generate_token(user, room)
                for user, room in (("gast", "room"), ("gast", "elsewhere"), ("alice", "room"))
            ]
            guest = await t.stack.enter_async_context(CallClient(t.service.guest(token), FakeMedia()))
            session = await guest.start_session(token, type="audio")
            with pytest.raises(TokenForeign, match="session"):
                await guest.initiate_call("alice")
            with pytest.raises(TokenForeign, match="session"):
                await guest.start_session(other)
            with pytest.raises(TokenForeign, match="session"):
                await guest.generate_token("elsewhere")
            with pytest.raises(TokenLacksGrant, match="token"):
                await guest.generate_token("room")
            await session.leave()
            with pytest.raises(TokenForeign, match="user"):
                await guest.start_session(foreign)
            assert not t.seen

    run(main)


def test_a_token_that_is_not_good_admits_nobody(town: Any, run: Any) -> None:
    """Expired, not yet valid, revoked, forged, of another issuer, none at all: connecting raises each by its name."""

    async def main() -> None:
        async with town() as t:
            clock = VirtualClock()
            expired = await t.service.generate_token("gast", "room", lifetime=1)
            await asyncio.sleep(5)
            revoked = await t.service.generate_token("gast", "room")
            await t.service.revoke_token(revoked)
            claims = JwtSigner(Keys("1", b"k" * 32)).verify(revoked, clock.wall())
            early = await t.service.generate_token("gast", "room", not_before=clock.wall() + 60_000)
            signers = {name: JwtSigner(Keys("1", key), name) for name, key in (("x", b"k" * 32), ("y", b"f" * 32))}
            signed = {name: one.sign(replace(claims, issuer=name)) for name, one in signers.items()}
            bad: list[tuple[str, type[StatecoreError]]] = [
                (expired, TokenExpired),
                (early, TokenNotYetValid),
                (revoked, TokenRevoked),
                (signed["x"], TokenForeign),
                (signed["y"], TokenForged),
            ]
            for token, error in bad:
                with pytest.raises(error):
                    async with join_session(t.service.guest(token), token, FakeMedia()):
                        raise AssertionError("it is in")
            with pytest.raises(TokenMalformed):
                t.service.guest("nonsense")
            with pytest.raises(TokenMissing):
                await t.service.admit("")
            assert not await t.service.store.scan("line")

    run(main)


@pytest.mark.no_cover
def test_a_guest_whose_token_has_expired_meanwhile(town: Any, run: Any) -> None:
    """Who is in stays in; once the link is cut, the token admits nobody any more, and the session ends as expired, at
    once, and says so."""

    async def main() -> None:
        async with town() as t:
            token = await t.service.generate_token("gast", "room", lifetime=60)
            link = t.service.guest(token)
            guest = await t.stack.enter_async_context(CallClient(link, FakeMedia(), clock=VirtualClock()))
            session = await guest.start_session(token, type="audio", idle_timeout=None)
            failed: list[Any] = []
            session.on("connection_failed", lambda reason, again: failed.append((reason, again)))
            await asyncio.sleep(100)
            assert session.state == "active"
            link.drop()
            reason = await asyncio.wait_for(session.wait_ended(), 5)
            assert reason.what is Reason.EXPIRED
            assert failed == [("token_expired", False)]

    run(main)


def test_a_guest_drives_no_device_out(town: Any, run: Any) -> None:
    """A guest who takes the name of the user's own device is refused, and that one stays connected all the while."""

    async def main() -> None:
        async with town("alice") as t:
            token = await t.service.generate_token("alice", "room")
            lost: list[Any] = []
            session = await t.clients["alice"].start_session(token, type="audio", idle_timeout=None)
            session.on("connection_lost", lambda *_: lost.append(1))
            with pytest.raises(TokenForeign, match="device"):
                async with CallClient(t.service.guest(token, "alice-phone")):
                    raise AssertionError("it is connected")
            assert not lost
            assert t.clients["alice"].connected

    run(main)


async def _says_hello(service: Any, token: str, epoch: str, conn: int) -> list[Any]:
    """What a guest's connection that takes itself for `phone` hears until it is shut."""
    channel, heard = await service.guest(token, "phone").connect(), []
    channel.send(encode(Hello("phone", epoch, conn)))
    with suppress(SignalingLost):
        while True:
            heard.append(decode_down(await channel.receive()))
    return heard


@pytest.mark.no_cover
@pytest.mark.parametrize("at", [0, 1])
def test_who_is_refused_takes_nobody_s_place(town: Any, run: Any, at: int) -> None:
    """A token for another device, and one for another session, are refused without a trace to who comes as the device
    that stands, even as its very process and connection, at its own service and at another."""

    async def main() -> None:
        async with town("alice", store=MemoryStore(), bus=MemoryBus(), services=2) as t:
            token = await t.service.generate_token("gast", "room")
            foreign = [
                await t.service.generate_token("gast", "room", device="tablet"),
                await t.service.generate_token("gast", "other"),
            ]
            link, told = t.service.guest(token, "phone"), t.log("gast")
            async with join_session(link, token, FakeMedia(), type="audio", listener=told) as session:
                before = (await t.service.store.load((("line", "gast"),)))["line", "gast"]
                (stands,) = before[1].devices
                for other in foreign:
                    for epoch in (stands.epoch, "another"):
                        heard = await _says_hello(t.services[at], other, epoch, stands.conn)
                        assert [message.code for message in heard] == [TokenForeign.code]
                assert (await t.service.store.load((("line", "gast"),)))["line", "gast"] == before
                assert session.state == "active"
                assert "connection_lost" not in t.names("gast")
                await asyncio.sleep(100)
                assert session.state == "active"
                assert "connection_lost" not in t.names("gast")

    run(main)


class _Tardy(MemoryStore):
    """Holds back that it wrote the line with this connection in it, until it is let go on."""

    def __init__(self, conn: int) -> None:
        super().__init__()
        self.conn = conn
        self.holds, self.go_on = asyncio.Event(), asyncio.Event()

    async def commit(self, writes: Any) -> bool:
        done = await super().commit(writes)
        line = writes.get(("line", "gast"), (0, None))[1]
        if done and line is not None and line.devices[0].conn == self.conn and not self.holds.is_set():
            self.holds.set()
            await self.go_on.wait()
        return done


def test_the_newer_of_two_hellos_at_once_stands(town: Any, run: Any) -> None:
    """Of two connections of one device that say hello at once, the newer stands, also if the older hears later that it
    was committed: that one is shut, and says nothing more."""

    async def main() -> None:
        store = _Tardy(1)
        async with town(store=store) as t:
            token = await t.service.generate_token("gast", "room")
            older = asyncio.create_task(_says_hello(t.service, token, "epoch", 1))
            await store.holds.wait()
            newer = await t.service.guest(token, "phone").connect()
            newer.send(encode(Hello("phone", "epoch", 2)))
            assert isinstance(decode_down(await newer.receive()), Welcome)
            store.go_on.set()
            await older
            newer.send(encode(Beat()))
            async with asyncio.timeout(5):
                heard = decode_down(await newer.receive())
                while not isinstance(heard, Beat):
                    assert isinstance(heard, Welcome)
                    heard = decode_down(await newer.receive())
            (device,) = (await store.load((("line", "gast"),)))["line", "gast"][1].devices
            assert (device.conn, device.online) == (2, True)
            await newer.close()

    run(main)


def test_a_guest_who_fell_silent_may_come_back(town: Any, run: Any) -> None:
    """A guest's device that was asleep for a lease finds its connection closed, and is not told that it was deleted."""

    async def main() -> None:
        async with town() as t:
            link = t.service.guest(await t.service.generate_token("gast", "room"))
            heard: list[Any] = []
            for epoch in ("e1", "e2"):
                channel = await link.connect()
                channel.send(encode(Hello("phone", epoch, 1)))
                with suppress(SignalingLost):
                    while True:
                        heard.append(decode_down(await channel.receive()))
            assert heard == [Welcome("gast"), Welcome("gast")]

    run(main)


KNOCK = SESSION.extend(
    "knock",
    rows=(
        Row("idle", "knock", "accepted"),
        *[
            row
            for row in FLOWS["ringing"].rows
            if (row.state, row.trigger) == ("accepted", "join") and "full" in row.unless
        ],
    ),
    without=[row for row in SESSION.rows if (row.state, row.trigger) in (("idle", "join"), ("accepted", "join"))],
    triggers=(Trigger("knock", "user", "wait at the door"),),
    start="knock",
)


def test_no_view_brings_a_guest_a_token(town: Any, run: Any) -> None:
    """In a flow whose views bring a token along, a user gets one, and a guest none: it would say more than its own."""

    async def main() -> None:
        flows: dict[str, Flow] = {**FLOWS, "knock": KNOCK}
        async with town(flows=flows) as t:
            token = await t.service.generate_token("gast", "room", role=Role.VIEWER)
            for link, given in ((t.service.guest(token), False), (t.service.signaling("alice"), True)):
                client = await t.stack.enter_async_context(CallClient(link, FakeMedia(), flows=flows))
                leg = await client._driver.do("room", "knock", flow="knock")
                assert bool(leg.token) == given

    run(main)


def test_a_token_is_renewed(town: Any, run: Any) -> None:
    """A new token says what the old one says, for longer, and for the device that a guest has joined on by the old one;
    neither an expired nor a revoked one is renewed."""

    async def main() -> None:
        async with town(check=False) as t:
            token = await t.service.generate_token("gast", "room", role=Role.VIEWER, lifetime=60)
            free = await t.service.refresh_token(token, lifetime=120)
            async with join_session(t.service.guest(token, "phone"), token, FakeMedia(), type="audio"):
                pass
            bound = await t.service.refresh_token(token)
            signer, now = JwtSigner(Keys("1", b"k" * 32)), VirtualClock().wall()
            old, new, last = (signer.verify(each, now) for each in (token, free, bound))
            assert (new.user, new.session, new.role, new.grants) == (old.user, old.session, old.role, old.grants)
            assert new.token_id != old.token_id
            assert (new.expires - old.expires, new.device, last.device) == (60, None, "phone")
            await asyncio.sleep(70)
            with pytest.raises(TokenExpired):
                await t.service.refresh_token(token)
            await t.service.revoke_token(free)
            with pytest.raises(TokenRevoked):
                await t.service.refresh_token(free)
            with pytest.raises(TokenForeign, match="device"):
                async with join_session(t.service.guest(bound, "other"), bound, FakeMedia()):
                    raise AssertionError("it is in")

    run(main)


def test_a_link_for_nobody() -> None:
    """A token that names no user makes no link."""
    with pytest.raises(TokenMalformed, match="no user"):
        user_of("x.eyJzaWQiOiAicyJ9.x")  # {"sid": "s"}


def test_a_closed_service_admits_nobody(run: Any, town: Any) -> None:
    """A guest's link to a service that was closed is lost, as any."""

    async def main() -> None:
        async with town() as t:
            link = t.service.guest(await t.service.generate_token("gast", "room"))
            await t.service.close()
            with pytest.raises(SignalingLost):
                await link.connect()
            with suppress(SignalingLost):
                await link.connect()

    run(main)
