"""Connections whose credential is void: closed at every service, for good, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from statecore import CallService, MemoryBus, MemoryLink, MemoryStore
from statecore.aio.link import MemoryChannel
from statecore.errors import SignalingLost
from statecore.ports import Key

Town, Run = Callable[..., Any], Callable[..., Any]


def _link(service: CallService, user: str, device: str, credential: str) -> MemoryLink:
    """A link of a transport that has authenticated it."""
    return MemoryLink(user, device, lambda channel, whose: service.serve(channel, whose, credential=credential))


def test_what_a_void_credential_made_is_closed_wherever_it_is(town: Town, run: Run) -> None:
    """The device is told, does not come again, and its part in a call is lost at once; the user's other device goes on,
    until all are closed; a link within the process, and another user's by a credential of the same name, are no
    concern of it."""

    async def main() -> None:
        async with town(services=2) as t:
            phone = await t.add("alice", link=_link(t.services[1], "alice", "phone", "one"))
            laptop = await t.add("alice/laptop", link=_link(t.services[0], "alice", "laptop", "two"))
            inside = await t.add("alice/inside", at=0)
            bob = await t.add("bob", link=_link(t.services[1], "bob", "phone", "one"))
            told: list[tuple[str, Any]] = []
            for name in ("alice", "alice/laptop"):
                t.clients[name].on("connection_failed", lambda *args, name=name: told.append((name, args)))
            _, his = await t.pair()
            began = asyncio.get_running_loop().time()
            await t.service.disconnect("alice", "one")
            assert (await his.wait_ended()).what == "lost"
            assert asyncio.get_running_loop().time() - began < 1
            await t.until(lambda: told)
            passed = t.links["alice"].passed
            await asyncio.sleep(100)
            assert told == [("alice", ("token_revoked", False))]
            assert t.links["alice"].passed == passed
            assert (phone.connected, laptop.connected, inside.connected, bob.connected) == (False, True, True, True)
            await t.service.disconnect("alice")
            await t.until(lambda: len(told) == 2)
            await asyncio.sleep(100)
            assert (laptop.connected, inside.connected, bob.connected) == (False, True, True)
            await t.service.disconnect("alice")

    run(main)


def test_a_credential_that_becomes_void_while_it_is_looked_at_lets_nobody_in(run: Run) -> None:
    """Who was authenticated before something was cut off, or the bus may have lost word of that, is not served, here or
    at another service, and has to come again; who comes after is."""

    async def main() -> None:
        bus, store = MemoryBus(), MemoryStore()
        async with CallService(store=store, bus=bus) as here, CallService(store=store, bus=bus) as there:
            for happens in (here.disconnect("alice", "one"), there.disconnect("bob"), None):
                before = here.disconnects
                if happens is not None:
                    await happens
                    await asyncio.sleep(0.1)
                else:
                    bus.lose()
                channel, _ = MemoryChannel.pair(MemoryLink("alice", "phone", lambda *_: None))
                with pytest.raises(SignalingLost):
                    here.serve(channel, "alice", credential="one", since=before)
                assert here.connections == 0
            here.serve(channel, "alice", credential="two", since=here.disconnects)
            assert here.connections == 1

    run(main)


class _Slow(MemoryStore):
    """A store whose commits can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.free.set()
        self.waiting = 0

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """When it may."""
        self.waiting += 1
        await self.free.wait()
        self.waiting -= 1
        return await super().commit(writes)


def test_a_connection_that_is_let_in_as_its_credential_becomes_void_is_gone_for_good(town: Town, run: Run) -> None:
    """Its hello is being committed when the credential is revoked: its part in a call is lost at once all the same."""

    async def main() -> None:
        store = _Slow()
        async with town(store=store) as t:
            await t.add("alice", link=_link(t.service, "alice", "phone", "one"))
            await t.add("bob")
            _, his = await t.pair()
            t.links["alice"].drop()
            await t.until(lambda: t.service.connections == 1)
            store.free.clear()
            await t.until(lambda: t.service.connections == 2 and store.waiting)
            began = asyncio.get_running_loop().time()
            cut = asyncio.create_task(t.service.disconnect("alice", "one"))
            await asyncio.sleep(0)
            store.free.set()
            await cut
            assert (await his.wait_ended()).what == "lost"
            assert asyncio.get_running_loop().time() - began < 1
            assert not await t.service.online("alice")

    run(main)


def test_a_device_that_has_come_anew_elsewhere_is_not_said_to_go(town: Town, run: Run) -> None:
    """By another credential, while the connection by the void one still seems to stand at the first service: the call
    goes on."""

    async def main() -> None:
        async with town(services=2) as t:
            at = [(t.services[0], "old")]

            def accept(channel: MemoryChannel, user: str) -> None:
                service, credential = at[0]
                service.serve(channel, user, credential=credential)

            link = MemoryLink("alice", "phone", accept)
            alice = await t.add("alice", link=link)
            await t.add("bob", at=1)
            hers, his = await t.pair()
            at[0] = (t.services[1], "new")
            (old,) = t.services[0]._connections.made_by("alice", "old")
            t.services[0]._keep_listed = _nothing  # type: ignore[method-assign]  # it hears of that too late
            link._channels.discard(old.channel)  # nor does its end of the link notice that the other has gone
            for channel in list(link._channels):
                channel.shut()
            await t.until(lambda: t.services[1]._connections.settled("alice"))
            await t.services[0].disconnect("alice", "old")
            await asyncio.sleep(100)
            assert (alice.connected, hers.state, his.state) == (True, "active", "active")

    run(main)


async def _nothing(*_: object) -> None:
    """In the place of what comes too late."""
