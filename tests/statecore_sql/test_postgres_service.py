"""Services on a PostgreSQL database: several at once, and one whose server goes away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import psycopg
import pytest

from statecore import Call, CallClient, CallService, MemoryBus
from statecore.errors import SignalingLost, StoreUnusable, UserBusy
from statecore.testing import FakeMedia, assert_fully_reaped
from statecore_sql import PostgresStore
from statecore_web import AuthTokens, WebSocketSignaling

SERVE = [sys.executable, "-P", "-m", "statecore.cli", "serve", "--port", "0", "--json", "--api-key", "key"]


async def _answer(call: Call) -> None:
    async with call.answer() as session:
        await session.wait_ended()


def test_two_services_on_one_database_carry_the_same_calls(database: str) -> None:
    """Alice is at one, Bob at the other; whom a third calls at the same time at either is busy; both know the log."""

    async def main() -> None:
        bus = MemoryBus()
        with closing(PostgresStore(database)) as one, closing(PostgresStore(database)) as two, assert_fully_reaped():
            async with (
                CallService(store=one, bus=bus) as here,
                CallService(store=two, bus=bus) as there,
                CallClient(here.signaling("alice"), FakeMedia()) as alice,
                CallClient(there.signaling("bob"), FakeMedia()) as bob,
                CallClient(here.signaling("carol"), FakeMedia()) as carol,
                CallClient(there.signaling("dave"), FakeMedia()) as dave,
            ):
                serving = asyncio.create_task(bob.serve(_answer))
                async with alice.call("bob", type="audio") as session:
                    await anext(session.audio("bob"))
                    for other in (carol, dave):
                        with pytest.raises(UserBusy):
                            await other.initiate_call("bob", type="audio")
                serving.cancel()
                await asyncio.wait([serving])
                log = [(call.session_id, str(call.status)) for call in await here.call_log()]
                assert log == [(call.session_id, str(call.status)) for call in await there.call_log()]
                assert sorted(status for _, status in log) == ["busy", "busy", "ended"]

    asyncio.run(main())


def test_of_two_who_call_a_third_at_two_services_one_rings(database: str) -> None:
    """At the same moment, again and again: the line is given once, whichever service is faster."""

    async def main() -> None:
        bus = MemoryBus()
        with closing(PostgresStore(database)) as one, closing(PostgresStore(database)) as two:
            async with (
                CallService(store=one, bus=bus) as here,
                CallService(store=two, bus=bus) as there,
                CallClient(here.signaling("alice"), FakeMedia()) as alice,
                CallClient(there.signaling("bob"), FakeMedia()) as bob,
                CallClient(here.signaling("carol"), FakeMedia()) as carol,
            ):
                for _ in range(10):
                    calls = await asyncio.gather(
                        *(each.initiate_call("carol", type="audio") for each in (alice, bob)), return_exceptions=True
                    )
                    (rings,) = [call for call in calls if isinstance(call, Call)]
                    assert [type(call) for call in calls if call is not rings] == [UserBusy]
                    await rings.cancel()
                    for each in (alice, bob, carol):
                        await each.clear_active_call()

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_call_outlasts_the_server_of_its_store(database: str, server: Any, mode: str) -> None:
    """While it is away the application is told, and the call goes on; once it is back the call can be ended."""

    async def main() -> None:
        with closing(PostgresStore(database)) as store:
            async with (
                CallService(store=store) as service,
                CallClient(service.signaling("alice"), FakeMedia()) as alice,
                CallClient(service.signaling("bob"), FakeMedia()) as bob,
            ):
                serving = asyncio.create_task(bob.serve(_answer))
                async with alice.call("bob", type="audio") as session:
                    await anext(session.audio("bob"))
                    await asyncio.to_thread(server.stop, mode)
                    try:
                        with pytest.raises(StoreUnusable):
                            await service.calls()
                        await anext(session.audio("bob"))
                    finally:
                        await asyncio.to_thread(server.start)
                    assert [call.state for call in await service.calls()] == ["active"]
                serving.cancel()
                await asyncio.wait([serving])
                (call,) = await service.call_log()
                assert call.end_reason is not None
                assert call.end_reason.what == "hangup"

    asyncio.run(main())


def test_a_device_connects_once_the_server_of_the_store_is_back(database: str, server: Any) -> None:
    """Who comes while `serve` has lost its database is not refused for good, and is let in when that is there again."""

    async def main() -> None:
        with closing(PostgresStore(database)) as store:
            token, _ = await AuthTokens(store).issue("alice")
        words = [*SERVE, "--store", database]
        serving = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        try:
            assert serving.stdout is not None
            link = WebSocketSignaling(json.loads(await serving.stdout.readline())["url"], token)
            await asyncio.to_thread(server.stop)
            client = CallClient(link)
            try:
                with pytest.raises(SignalingLost, match="503"):
                    await link.connect()
                connecting = asyncio.create_task(client.connect())
            finally:
                await asyncio.to_thread(server.start)
            await connecting
            assert client.connected
            await client.close()
        finally:
            serving.send_signal(signal.SIGTERM)
            assert await serving.wait() == 0

    asyncio.run(main())


def test_serve_is_gone_within_its_grace_although_the_server_of_its_store_is_frozen(database: str) -> None:
    """A request waits in the store's thread for a server that neither answers nor goes away: `serve` that is told to
    stop does not wait for that thread."""
    words = [*SERVE, "--store", database, "--grace", "1"]
    with psycopg.connect(database, autocommit=True) as db, subprocess.Popen(words, stdout=-1) as serving:
        assert serving.stdout is not None
        port = int(json.loads(serving.stdout.readline())["url"].rpartition(":")[2])
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as asks:
            asks.request("GET", "/v1/users", headers={"Authorization": "Bearer key"})
            assert asks.getresponse().read() == b"[]"
            others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            frozen = [pid for (pid,) in db.execute(others)]
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            try:
                asks.request("GET", "/v1/users", headers={"Authorization": "Bearer key"})
                with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as lives:  # what was asked before is heard
                    lives.request("GET", "/healthz")
                    assert lives.getresponse().read() == b"ok"
                serving.send_signal(signal.SIGTERM)
                assert serving.wait(30) == 0
            finally:
                serving.kill()
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
