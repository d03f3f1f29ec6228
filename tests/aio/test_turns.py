"""What concerns one call is decided in turn, so that a store that takes its time is not asked in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from statecore import MemoryStore
from statecore.ports import Key

Town, Run = Callable[..., Any], Callable[..., Any]


class Tardy(MemoryStore):
    """Takes a while to write, for as long as the gate is closed; counts what it was asked in vain."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.commits = self.in_vain = 0

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Commit, later."""
        await asyncio.sleep(0.05)
        await self.gate.wait()
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


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "as its turn has come"])
def test_who_waits_for_a_turn_may_go(late: bool, town: Town, run: Run) -> None:
    """One that is cancelled while it waits, or as it need not wait any more, keeps nobody from his turn."""

    async def main() -> None:
        store = Tardy()
        async with town("alice", "bob", store=store) as t:
            session, _ = await t.pair()
            store.gate.clear()

            async def first() -> None:
                await t.service.end_call(session.session_id)
                second.cancel()

            one = asyncio.create_task(first() if late else t.service.end_call(session.session_id))
            second, third = (asyncio.create_task(t.service.end_call(session.session_id)) for _ in range(2))
            await asyncio.sleep(1)
            if not late:
                second.cancel()
            store.gate.set()
            await one
            assert (await third).end_reason.what == "kicked"
            with pytest.raises(asyncio.CancelledError):
                await second

    run(main)
