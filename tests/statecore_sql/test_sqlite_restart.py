"""A service that starts on what a dead one left in its file: calls end there when their time has come."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack, closing
from pathlib import Path

from statecore import CallClient, CallService, ServiceSettings, Timers
from statecore.testing import FakeMedia
from statecore_sql import SqliteStore


async def _left_behind(path: Path, copy: Path) -> tuple[str, str]:
    """A call that is active and one that rings, and the files as they are at this moment, as a killed process leaves
    them."""
    with closing(SqliteStore(path)) as store:
        async with CallService(store=store) as service, AsyncExitStack() as stack:
            clients = {}
            for user in ("alice", "bob", "carol", "dave"):
                client = CallClient(service.signaling(user), FakeMedia())
                clients[user] = await stack.enter_async_context(client)
            ringing = await clients["carol"].initiate_call("dave", type="audio", timeout=1.5)
            active = await clients["alice"].initiate_call("bob", type="audio")
            await clients["bob"].accept_call(active.session_id)
            await asyncio.gather(
                *(stack.enter_async_context(clients[user].started(active.session_id)) for user in ("alice", "bob"))
            )
            for end in ("", "-wal"):
                shutil.copy(f"{path}{end}", f"{copy}{end}")
            return ringing.session_id, active.session_id


def test_calls_of_a_dead_service_end_in_time(tmp_path: Path) -> None:
    """Nobody comes back: what rings is unanswered at the time that was set before, what is active is lost when a lease
    is over, each once, and nobody's line stays busy."""

    async def main() -> None:
        copy = tmp_path / "copy.db"
        ringing, active = await _left_behind(tmp_path / "calls.db", copy)
        with closing(SqliteStore(copy)) as store:
            before = {key[1]: record for key, record in await store.scan("call")}
            settings = ServiceSettings(lease_grace=0.0)
            async with CallService(store=store, timers=Timers(heartbeat=1, lease=2.5), settings=settings) as service:
                assert {call.session_id for call in await service.calls()} == {ringing, active}
                async with asyncio.timeout(20):
                    while await service.calls():  # noqa: ASYNC110 - the records are what is waited for
                        await asyncio.sleep(0.01)
                log = await service.call_log()
            after = {key[1]: record for key, record in await store.scan("call")}
            assert [(call.session_id, call.end_reason.what) for call in log if call.end_reason] == [
                (ringing, "unanswered"),
                (active, "lost"),
            ]
            assert 0 <= after[ringing].end.at - before[ringing].ring_until < 900
            assert not any(line.holds or line.devices for _, line in await store.scan("line"))

    asyncio.run(main())
