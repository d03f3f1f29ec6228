"""What a service is given and fails: stores, signers, users told of twice, commits whose news come late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from statecore import CallClient, CallService, MemoryLink, MemoryStore
from statecore.errors import SignalingLost, StoreUnusable
from statecore.ports import Key
from statecore.testing import FakeMedia, VirtualClock
from statecore.tokens import JwtSigner, Keys
from statecore.wire import Beat, Hello, Welcome, decode_down, encode

Town, Run = Callable[..., Any], Callable[..., Any]


class Moody(MemoryStore):
    """A store that raises while `broken` (from the commit of a key on, if wanted), and tells late of some commits."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error or OSError("the disk is full")
        self.broken = False
        self.late: list[tuple[Key, float]] = []
        self.breaks_after: Key | None = None

    async def load(self, keys: Any) -> Any:
        """Load, unless it is broken."""
        if self.broken:
            raise self.error
        return await super().load(keys)

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Commit; the answer to the next one that writes the key may come late."""
        done = await super().commit(writes)
        self.broken = self.broken or self.breaks_after in writes
        for place, (key, seconds) in enumerate(self.late):
            if key in writes:
                del self.late[place]
                await asyncio.sleep(seconds)
                break
        return done


def _overhear(link: MemoryLink) -> list[bytes]:
    """What goes over a link from now on, both ways."""
    heard = []
    passes = link.passes

    def noting(message: bytes) -> bool:
        heard.append(message)
        return passes(message)

    link.passes = noting  # type: ignore[method-assign]
    return heard


def test_a_store_that_fails_at_a_hello(town: Town, run: Run, caplog: Any) -> None:
    """A device whose hello could not be decided upon is dropped, so that it comes again, and is then let in."""

    async def main() -> None:
        store = Moody()
        async with town(store=store) as t:
            alice = t.make("alice")
            await t.add("bob")
            store.broken = True
            connecting = asyncio.create_task(alice.connect())
            await asyncio.sleep(1)
            assert not connecting.done()
            store.broken = False
            await connecting
            assert alice.connected
            await alice.close()

    run(main)
    assert "the disk is full" in caplog.text


def test_a_store_that_fails_when_a_token_is_asked_for(town: Town, run: Run, caplog: Any) -> None:
    """The token comes as soon as the store is there again, and the device is not told which store that is."""

    async def main() -> None:
        store = Moody(StoreUnusable(store="/srv/calls.db", why="the disk is full"))
        async with town("alice", store=store) as t:
            heard = _overhear(t.links["alice"])
            store.broken = True
            asking = asyncio.create_task(t.clients["alice"].generate_token("room"))
            await asyncio.sleep(0.5)
            store.broken = False
            assert await asking
            assert heard
            assert not any(b"calls.db" in message for message in heard)

    run(main)
    assert "calls.db" in caplog.text


def test_a_signer_that_fails(town: Town, run: Run, caplog: Any) -> None:
    """The acceptance is told although no token can be signed with it; one can be asked for when signing works again."""

    class Signer(JwtSigner):
        broken = False

        def sign(self, claims: Any) -> str:
            if self.broken:
                raise OSError("the key store is gone")
            return super().sign(claims)

    async def main() -> None:
        signer = Signer(Keys("k1", b"k" * 32))
        async with town("alice", "bob", key=None, signer=signer) as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            call = await alice.initiate_call("bob")
            await t.until(lambda: bob.calls)
            signer.broken = True
            await asyncio.gather(call.answered(), bob.accept_call(call.session_id))
            signer.broken = False
            assert alice.active_call.state == "accepted"
            assert await alice.generate_token(call.session_id)
            await alice.end_call(call.session_id)

    run(main)
    assert "no token could be signed" in caplog.text


def test_the_news_of_commits_come_in_the_wrong_order(town: Town, run: Run) -> None:
    """Of a record's deadlines, those of its newest version count: an accepted call is not ended by its ring."""

    async def main() -> None:
        store = Moody()
        async with town("alice", "bob", store=store) as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            call = await alice.initiate_call("bob", timeout=5)
            await t.until(lambda: bob.calls)
            key = ("call", call.session_id)
            # A second device makes a version that still rings; its news come after those of the acceptance.
            store.late = [(key, 2)]
            joining = asyncio.create_task(t.add("bob/tablet"))
            await asyncio.sleep(0.5)
            assert not store.late
            await asyncio.gather(call.answered(), bob.accept_call(call.session_id))
            await joining
            await asyncio.sleep(10)
            assert alice.active_call.state == "accepted"
            await alice.end_call(call.session_id)

    run(main)


def test_timers_that_could_not_be_served(town: Town, run: Run, caplog: Any) -> None:
    """A ring that runs out while the store is broken ends soon after the store works again, at whatever it takes."""

    async def main() -> None:
        store = Moody()
        async with town("alice", "bob", store=store) as t:
            call = await t.clients["alice"].initiate_call("bob", timeout=3)
            await asyncio.sleep(2.5)
            store.broken = True
            await asyncio.sleep(5)
            assert call.client.calls
            store.broken = False
            await t.until(lambda: not call.client.calls, 1)

    run(main)
    assert "could not be served" in caplog.text


def test_a_store_that_fails_when_the_timer_was_served(town: Town, run: Run, caplog: Any) -> None:
    """A lease that ran out was committed, and then the store broke: the user's other device keeps its own."""

    async def main() -> None:
        store = Moody()
        async with town("bob", store=store) as t:
            channel = await t.service.signaling("bob").connect()
            channel.send(encode(Hello("raw", "e1", 1)))
            await channel.receive()
            await asyncio.sleep(46)  # so that the next commit is the timer's
            store.breaks_after = ("line", "bob")
            await t.until(lambda: store.broken)
            await asyncio.sleep(1)
            store.breaks_after, store.broken = None, False
            await asyncio.sleep(60)
            assert t.clients["bob"].connected
            await channel.close()

    run(main)
    assert "could not be served" in caplog.text


def test_a_name_that_changes_while_it_is_written(town: Town, run: Run) -> None:
    """A user who is given two names at once ends up with the second, and is known all the while."""

    async def main() -> None:
        store = Moody()
        async with town("alice", store=store) as t:
            t.service.add_user("bob", "Bob")
            store.late = [(("line", "bob"), 1)]
            calling = asyncio.create_task(t.clients["alice"].initiate_call("bob", timeout=5))
            await asyncio.sleep(0.5)
            t.service.add_user("bob", "Robert")
            call = await calling
            bob = await t.add("bob", link=t.service.signaling("bob", "bob-phone", name="Robert"))
            await t.until(lambda: bob.calls)
            assert (await t.service.fetch(call.session_id)).receiver == "bob"
            (line,) = [line for key, line in await store.scan("line") if key[1] == "bob"]
            assert line.name == "Robert"
            await call.cancel()

    run(main)


def test_a_closed_service_serves_nobody(run: Run) -> None:
    """After `close` a link cannot connect."""

    async def main() -> None:
        async with CallService(clock=VirtualClock()) as service:
            link = service.signaling("alice")
        with pytest.raises(SignalingLost, match="closed"):
            await link.connect()

    run(main)


def test_a_closed_service_decides_nothing(run: Run) -> None:
    """What was being committed when a service closed is kept, and its timers are left to whoever opens the store next:
    this one does not end the call any more when its ring runs out."""

    async def main() -> None:
        store = Moody()
        service = CallService(store=store, clock=VirtualClock())
        async with CallClient(service.signaling("alice"), FakeMedia(), clock=VirtualClock()) as alice:
            service.add_user("bob")
            store.late.append((("line", "alice"), 1))
            calling = asyncio.create_task(alice.initiate_call("bob", timeout=5))
            await asyncio.sleep(0.5)
            assert not store.late  # it is in the middle of that commit
            await service.close()
            ((key, record),) = await store.scan("call")
            await asyncio.sleep(60)
            assert await store.scan("call") == [(key, record)]
            assert not record.end.at
            calling.cancel()
            await asyncio.wait([calling])

    run(main)


def test_a_beat_that_comes_too_late(town: Town, run: Run) -> None:
    """A device that was silent until its lease ran out is not answered any more: its connection ends, another of the
    same user stays."""

    async def main() -> None:
        async with town("bob") as t:
            bob, timers = t.clients["bob"], t.service.switchboard.timers
            channel = await t.service.signaling("bob").connect()
            channel.send(encode(Hello("raw", "e1", 1)))
            assert isinstance(decode_down(await channel.receive()), Welcome)
            channel.send(encode(Beat()))
            assert isinstance(decode_down(await channel.receive()), Beat)
            with pytest.raises(SignalingLost):
                await asyncio.wait_for(channel.receive(), timers.lease + 10)
            assert bob.connected

    run(main)


def test_a_lease_that_ran_out_unnoticed(town: Town, run: Run) -> None:
    """If the line forgot a device, its next beat ends the connection, and it is taken in anew."""

    async def main() -> None:
        store = Moody()
        async with town("alice", store=store) as t:
            alice = t.clients["alice"]
            channel = await t.service.signaling("alice").connect()
            channel.send(encode(Hello("raw", "e1", 1)))
            await channel.receive()
            version, line = (await store.load([("line", "alice")]))["line", "alice"]
            devices = tuple(device for device in line.devices if device.device != "raw")
            assert await store.commit({("line", "alice"): (version, replace(line, devices=devices))})
            channel.send(encode(Beat()))
            with pytest.raises(SignalingLost):
                await channel.receive()
            assert alice.connected

    run(main)


def test_a_service_takes_up_only_who_was_there(run: Run) -> None:
    """After a restart, lines of nobody who is connected are left alone, and a call that rang is rung out."""

    async def main() -> None:
        store, clock = MemoryStore(), VirtualClock()
        async with CallService(store=store, clock=clock) as first:
            first.add_user("carol")
            link = await first.signaling("alice").connect()
            link.send(encode(Hello("phone", "e1", 1)))
            await link.receive()
            first.add_user("dave")
            await first.generate_token("alice", "room")
        lines = await store.scan("line")
        assert {key[1]: bool(line.devices) for key, line in lines} == {"carol": False, "alice": True}
        async with CallService(store=store, clock=clock):
            after = dict(await store.scan("line"))
            assert after["line", "carol"] == dict(lines)["line", "carol"]

    run(main)


def test_a_token_by_the_second_name(town: Town, run: Run) -> None:
    """When both have called each other, a token for the merged call's own id is one for the call that lives."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            calls = await asyncio.gather(
                alice.initiate_call("bob", session_id="A"), bob.initiate_call("alice", session_id="B")
            )
            (own,) = {call.session_id for call in calls}
            other = ({"A", "B"} - {own}).pop()
            token = await t.service.generate_token("alice", other)
            started = asyncio.create_task(alice.start_session(token))
            his = await bob.start_session(await t.service.generate_token("bob", own))
            hers = await started
            assert hers.session_id == his.session_id == own
            await hers.end()

    run(main)


def test_a_store_that_fails_while_a_call_is_ended(town: Town, run: Run, caplog: Any) -> None:
    """Who hung up meanwhile is heard as soon as the store is there again: nobody is left in a call that is over."""

    async def main() -> float:
        store = Moody()
        async with town(store=store) as t:
            for name in ("alice", "bob"):
                await t.add(name)
            hers, his = await t.pair()
            store.broken = True
            leaving = asyncio.create_task(hers.leave())
            await asyncio.sleep(0.5)
            store.broken = False
            began = asyncio.get_running_loop().time()
            await leaving
            reason = await his.wait_ended()
            assert reason.what == "hangup"
            return asyncio.get_running_loop().time() - began

    assert run(main) < 1.5
    assert "the disk is full" in caplog.text
