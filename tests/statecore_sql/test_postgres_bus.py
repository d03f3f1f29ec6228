"""The bus by PostgreSQL's notifications: the conformance suite, a server that restarts, and calls of two services."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import psycopg
import pytest

from statecore import Call, CallClient, CallService
from statecore.model import Line
from statecore.ports import Bus
from statecore.testing import BusConformance, FakeMedia, assert_fully_reaped
from statecore_sql import PostgresBus, PostgresStore
from statecore_web import AuthTokens, WebSocketSignaling


class TestPostgresBus(BusConformance):
    """By a real server."""

    @pytest.fixture(autouse=True)
    def _database(self, database: str) -> None:
        self.database = database

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Callable[[], Bus]]:
        """Each service has a way of its own to it."""
        yield lambda: PostgresBus(self.database)

    async def broken(self) -> bool:
        """The server ends every connection to this database."""
        async with await psycopg.AsyncConnection.connect(self.database) as db:
            await db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return True


async def _answer(call: Call) -> None:
    async with call.answer() as session:
        await session.wait_ended()


def test_calls_between_services_outlast_a_server_that_is_restarted(server: Any) -> None:
    """Store and bus are gone for a moment in the middle of a call: it goes on, and so does the next."""

    async def main() -> None:
        with closing(PostgresStore(url)) as one, closing(PostgresStore(url)) as two, ThreadPoolExecutor(1) as aside:
            async with (
                CallService(store=one, bus=PostgresBus(url)) as here,
                CallService(store=two, bus=PostgresBus(url)) as there,
                CallClient(here.signaling("alice"), FakeMedia()) as alice,
                CallClient(there.signaling("bob"), FakeMedia()) as bob,
            ):
                serving = asyncio.create_task(bob.serve(_answer))
                async with alice.call("bob", type="audio") as session:
                    await anext(session.audio("bob"))
                    lost, back = asyncio.Event(), asyncio.Event()
                    session.on("connection_lost", lambda *_: lost.set())
                    session.on("connection_restored", lambda *_: back.set())
                    await asyncio.get_running_loop().run_in_executor(aside, server.stop)
                    await asyncio.get_running_loop().run_in_executor(aside, server.start)
                    async with asyncio.timeout(20):
                        await lost.wait()  # the bus has told of the loss, so that devices come anew
                        await back.wait()
                    assert session.state == "active"
                async with asyncio.timeout(20), alice.call("bob", type="audio") as session:
                    await anext(session.audio("bob"))
                serving.cancel()
                await asyncio.wait([serving])
            assert [str(call.status) for call in await here.call_log()] == ["ended", "ended"]

    url = server.database()
    with assert_fully_reaped():
        asyncio.run(main())


@asynccontextmanager
async def _served(url: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "statecore.cli", "serve", "--port", "0", "--json", "--api-key", "key",
        "--store", url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line, (await process.communicate())[1].decode()
        yield json.loads(line)["url"]
        process.terminate()
        _, complaints = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, complaints.decode()) == (0, "")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def _revoke(url: str) -> None:
    request = urllib.request.Request(url, headers={"Authorization": "Bearer key"}, method="DELETE")  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        assert answer.status == 204


def test_two_processes_carry_the_same_calls(database: str) -> None:
    """Two of `statecore serve` on one database: who is connected to one calls who is connected to the other, a token
    that is revoked at one ends its connection to the other, and a call goes on when the service of the one is stopped
    and he connects to the other."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            first = AsyncExitStack()
            here = await first.enter_async_context(_served(database))
            there = await stack.enter_async_context(_served(database))
            store = stack.enter_context(closing(PostgresStore(database)))
            links = []
            for user, url in (("alice", here), ("bob", there)):
                await store.commit({("line", user): (0, Line(user))})
                links.append(WebSocketSignaling(url, (await AuthTokens(store).issue(user))[0]))
            alice, bob = [await stack.enter_async_context(CallClient(link, FakeMedia())) for link in links]
            text, made = await AuthTokens(store).issue("eve")
            failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            eve = await stack.enter_async_context(CallClient(WebSocketSignaling(there, text)))
            eve.on("connection_failed", lambda reason, _: failed.set_result(reason))
            await asyncio.to_thread(_revoke, f"{here}/v1/users/eve/auth-tokens/{made.id}")
            assert await asyncio.wait_for(failed, 20) == "token_revoked"
            serving = asyncio.create_task(bob.serve(_answer))
            async with asyncio.timeout(30), alice.call("bob", type="audio") as session:
                await anext(session.audio("bob"))
                links[0].url = links[1].url
                back = asyncio.Event()
                session.on("connection_restored", lambda *_: back.set())
                await first.aclose()
                await back.wait()
                assert session.state == "active"
                assert [call.state for call in bob.calls] == ["active"]
            serving.cancel()
            await asyncio.wait([serving])

    asyncio.run(main())


def test_a_server_that_cannot_be_reached_or_refuses(server: Any) -> None:
    """It says why, in one line and without the password; nothing is left open."""

    async def main() -> None:
        for url, why in (
            (server.url("nowhere"), "nowhere"),
            (server.url("postgres", password="wrong"), "password"),
            (server.url("postgres", port=1), "refused"),
        ):
            bus = PostgresBus(url)
            with pytest.raises(OSError, match=why) as raised:
                await bus.join(lambda _: None, lambda: None)
            shown = f"{raised.value} {bus!r} {raised.value.__context__}"
            assert "wrong" not in shown
            assert server.password not in shown

    asyncio.run(main())
