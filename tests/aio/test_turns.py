"""What concerns one call is decided in turn, so that a store that takes its time is not asked in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from statecore import MemoryStore
from statecore.errors import CallEnded
from statecore.ports import Key

Town, Run = Callable[..., Any], Callable[..., Any]


class Tardy(MemoryStore):
    """Takes a while to write, and for ever if that is the next one's lot; counts what it was asked in vain."""

    commits = in_vain = 0
    hangs = False

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Commit, later."""
        if self.hangs:
            self.hangs = False
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0.05)
        done = await super().commit(writes)
        self.commits += 1
        self.in_vain += not done
        return done


def test_those_in_a_call_do_not_get_in_each_others_way(town: Town, run: Run) -> None:
    """Two who act at once, again and again, and join and end at once: not one decision is taken in vain."""

    async def main() -> None:
        store = Tardy()
        async with town("alice", "bob", store=store) as t:
            sessions = await t.pair()
            for _ in range(10):
                await asyncio.gather(*(session.raise_hand() for session in sessions))
                await asyncio.gather(*(session.lower_hand() for session in sessions))
            await asyncio.gather(*(session.end() for session in sessions))
        assert store.commits > 40
        assert store.in_vain == 0

    run(main)


def test_a_commit_that_hangs_holds_nobody_up(town: Town, run: Run) -> None:
    """While what one wants hangs in the store, what the other in the call wants is done soon, what the application asks
    for at once, and another call's timer fires when it is due."""

    async def main() -> None:
        store, loop = Tardy(), asyncio.get_running_loop()
        async with town("alice", "bob", "carol", "dora", store=store) as t:
            session, other = await t.pair()
            await t.clients["carol"].initiate_call("dora", timeout=10)
            store.hangs = True
            hung = asyncio.create_task(session.raise_hand())
            await t.until(lambda: not store.hangs)
            began = loop.time()
            await other.raise_hand()
            assert loop.time() - began < 2
            began = loop.time()
            ended = await t.service.end_call(session.session_id)
            assert loop.time() - began < 0.2
            assert ended.end_reason.what == "kicked"
            await t.until(lambda: not t.clients["carol"].calls, 15)
            (missed,) = [call for call in await t.service.call_log() if call.receiver == "dora"]
            assert missed.end_reason is not None
            assert missed.end_reason.what == "unanswered"
            with pytest.raises(CallEnded):
                await hung

    run(main)
