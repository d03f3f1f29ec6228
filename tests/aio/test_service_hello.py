"""What a device says first: many sessions cost in proportion, too many are refused, and no memory grows with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from statecore import MemoryStore, ServiceSettings
from statecore.errors import SignalingLost, UnsupportedVersion
from statecore.flow import RINGING
from statecore.ports import Channel, Key
from statecore.wire import Beat, Bye, Command, Down, Hello, Refused, Unknown, View, Welcome, decode_down, encode

Town, Run = Callable[..., Any], Callable[..., Any]
MOST = 10 + 1_000
"""What a service with these settings lets a device name."""


class Counted(MemoryStore):
    """Notes what it is asked for, ask by ask. Every record that a decision lacks is one more."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[Key]] = []

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Answer, and note what was asked."""
        self.asked.append(list(keys))
        return await super().load(self.asked[-1])


async def _said(channel: Channel, message: Any, answers: int = 1) -> list[Down]:
    channel.send(encode(message))
    async with asyncio.timeout(5):
        return [decode_down(await channel.receive()) for _ in range(answers)]


def _named(count: int) -> dict[str, int]:
    return {f"{number:x}": 1 for number in range(count)}


@pytest.mark.parametrize("guest", [False, True])
def test_as_many_sessions_as_may_be_named_are_looked_up_at_once(town: Town, run: Run, guest: bool) -> None:
    """A device that names as many sessions as it may is answered for each, by one look into the store for them all,
    and each record is asked for once; so it is whenever its link is confirmed."""

    async def main() -> None:
        async with town(store=Counted(), settings=ServiceSettings(sessions_per_user=10)) as t:
            link = t.service.signaling("eve")
            if guest:
                link = t.service.guest(await t.service.generate_token("eve", "room"))
            channel, store = await link.connect(), t.service.store
            store.asked.clear()
            told = await _said(channel, Hello("phone", "e1", 1, sessions=_named(MOST)), 1 + MOST)
            assert isinstance(told[0], Welcome)
            assert told[1:] == [Unknown(session, 1) for session in _named(MOST)]
            assert [len(asked) for asked in store.asked] == [1, 1 + guest + MOST]  # the user is made known first
            store.asked.clear()
            assert await _said(channel, Beat()) == [Beat()]
            assert store.asked == [[("line", "eve")]], "what is unknown is not asked for again"

    run(main)


def test_sessions_that_are_are_looked_up_at_once(town: Town, run: Run) -> None:
    """What a user is in, and what a named call was merged into, is found by a few looks into the store, however much it
    is: when a device connects, when its link is confirmed, and when it says goodbye."""

    async def main() -> None:
        async with town("alice", "bob", store=Counted()) as t:
            store, alice, bob = t.service.store, t.clients["alice"], t.clients["bob"]
            named = {}
            for number in range(5):  # both call each other
                await asyncio.gather(
                    alice.initiate_call("bob", session_id=f"a{number}"),
                    bob.initiate_call("alice", session_id=f"b{number}"),
                )
                await alice.end_call(f"a{number}")
                named |= {f"a{number}": 1, f"b{number}": 1}
            merged = [r.session_id for _, r in await store.scan("call") if r.merged_into]
            assert len(merged) == 5
            for number in range(8):
                await t.meet("alice", room=f"room-{number}")
            channel = await t.service.signaling("alice").connect()
            store.asked.clear()
            channel.send(encode(Hello("tablet", "e1", 1, sessions=named)))
            assert isinstance(decode_down(await channel.receive()), Welcome)
            assert len(store.asked) <= 4
            assert sum(map(len, store.asked)) <= 1 + len(named) + 8 + 5
            for beat in range(2):
                store.asked.clear()
                channel.send(encode(Beat()))
                while decode_down(await channel.receive()) != Beat():
                    pass
                assert len(store.asked) <= 4, beat
            store.asked.clear()
            channel.send(encode(Bye()))
            with pytest.raises(SignalingLost):
                await channel.receive()
            assert len(store.asked) <= 3
            assert sum(map(len, store.asked)) == 1 + 8

    run(main)


def test_everybody_in_a_session_is_looked_up_at_once(town: Town, run: Run) -> None:
    """To end a session of many takes a few looks into the store, each record once."""

    async def main() -> None:
        names = [f"u{number}" for number in range(12)]
        async with town(*names, store=Counted()) as t:
            await t.meet(*names)
            t.service.store.asked.clear()
            await t.service.end_call("room")
            *decided, _ = t.service.store.asked  # it is read once more, to be returned
            assert len(decided) <= 3
            assert sorted(key for asked in decided for key in asked) == sorted(
                [("call", "room"), *(("line", name) for name in names)]
            )

    run(main)


def test_too_many_sessions_are_refused_before_anything_is_looked_up(town: Town, run: Run) -> None:
    """One session more than a device may name: it is told so, with how many it may, the connection is closed, and the
    store was not asked."""

    async def main() -> None:
        async with town(store=Counted(), settings=ServiceSettings(sessions_per_user=10)) as t:
            channel = await t.service.signaling("eve").connect()
            t.service.store.asked.clear()
            (told,) = await _said(channel, Hello("phone", "e1", 1, sessions=_named(MOST + 1)))
            assert told == Refused(
                "", 0, "signaling_refused", {"why": f"a hello names {MOST + 1} sessions, more than {MOST}"}
            )
            with pytest.raises(SignalingLost):
                await channel.receive()
            assert not t.service.store.asked

    run(main)


def test_what_a_connection_has_seen_does_not_grow(town: Town, run: Run) -> None:
    """A device that joins and leaves one session after the other, and never confirms its link, is remembered by what
    it is in alone."""

    async def main() -> None:
        async with town() as t:
            channel = await t.service.signaling("eve").connect()
            await _said(channel, Hello("phone", "e1", 1))
            (connection,) = t.service._connections.settled("eve")
            n = 0
            for number in range(50):
                token = await t.service.generate_token("eve", f"room-{number}")
                for trigger, more in (("join", {"flow": "session", "token": token}), ("end", {})):
                    n += 1
                    (told,) = await _said(channel, Command(f"room-{number}", n, trigger, **more))
                    assert isinstance(told, View)
            assert not connection.seen
            await channel.close()

    run(main)


def test_another_table_under_the_same_name(town: Town, run: Run) -> None:
    """Who holds another flow by a name that the service knows is told which, and how either begins."""

    async def main() -> None:
        async with town() as t:
            channel = await t.service.signaling("eve").connect()
            (told,) = await _said(channel, Hello("phone", "e1", 1, flows={"ringing": "0123456789abcdef"}))
            assert isinstance(told, Refused)
            error = UnsupportedVersion(**told.data)
            assert str(error) == f"the peer speaks 'ringing 01234567', this side 'ringing {RINGING.hash[:8]}'"

    run(main)
