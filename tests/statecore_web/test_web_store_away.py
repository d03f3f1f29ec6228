"""A store that is away for a while, over real sockets: devices wait, and nobody is told what is wrong with it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from statecore import CallClient, CallService, MemoryStore
from statecore.errors import SignalingLost, StoreConflict, StoreUnusable
from statecore.testing import FakeMedia
from statecore_web import CallApp, WebSocketSignaling


class _Away(MemoryStore):
    """A store that can be told to fail; notes that it was asked then."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.asked = asyncio.Event()

    def _look(self) -> None:
        if self.error is not None:
            self.asked.set()
            raise self.error

    async def load(self, keys: Any) -> Any:
        """Load, unless it is away."""
        self._look()
        return await super().load(keys)

    async def commit(self, writes: Any) -> bool:
        """Commit, unless it is away."""
        self._look()
        return await super().commit(writes)


_ERRORS = [
    StoreUnusable(store="postgresql://calls@db.internal/calls", why="db.internal does not answer"),
    StoreConflict(attempts=32),
    RuntimeError("db.internal does not answer"),
]


@pytest.mark.parametrize("error", _ERRORS, ids=lambda error: type(error).__name__)
def test_a_device_waits_for_a_store_that_is_away(served: Any, error: Exception) -> None:
    """Its link breaks while the store is away: it goes on trying, and is connected as soon as the store is back."""

    async def main() -> None:
        store = _Away()
        app = CallApp(CallService(store=store))
        async with served(app) as url:
            app.service.add_user("alice")
            link = WebSocketSignaling(url, (await app.tokens.issue("alice"))[0])
            async with CallClient(link, FakeMedia(), jitter=lambda: 0.0) as alice:
                store.error = error
                for _ in range(2):
                    store.asked.clear()
                    for socket in list(app._sockets.get("alice", ())):
                        socket.going_away()
                    await asyncio.wait_for(store.asked.wait(), 5)
                store.error = None
                async with asyncio.timeout(10):
                    while not alice.connected:  # noqa: ASYNC110 - there is no event of a client for that
                        await asyncio.sleep(0.01)

    asyncio.run(main())


@pytest.mark.parametrize("error", _ERRORS, ids=lambda error: type(error).__name__)
def test_what_is_wrong_with_a_store_is_not_for_everybody(
    served: Any, ask: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Who connects, and what a page or a device asks for, is answered with 503 and no reason; the log has it."""

    async def main() -> None:
        store = _Away()
        app = CallApp(CallService(store=store))
        async with served(app) as url:
            app.service.add_user("alice")
            token, _ = await app.tokens.issue("alice")
            store.error = error
            link = WebSocketSignaling(url, token)
            with pytest.raises(SignalingLost, match="503"):
                await link.connect()
            with pytest.raises(SignalingLost, match="503"):
                await link.ice_servers()
            for path in ("/page/me", "/page/people", "/page/calls", "/v1/ice"):
                status, told = await ask(url, "GET", path, None, token)
                assert (status, told["code"]) == (503, "signaling_lost")
                assert "db.internal" not in str(told)
                assert "32" not in str(told)

    with caplog.at_level(logging.WARNING, "statecore.web"):
        asyncio.run(main())
    logged = [record.getMessage() for record in caplog.records if record.name == "statecore.web"]
    assert len(logged) == 6
    assert all(str(error) in line for line in logged)
