"""Auth tokens that are revoked while devices are connected by them, over real sockets: whose connection ends, and whose
does not."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from statecore import CallClient, CallService, MemoryBus, MemoryStore
from statecore.errors import TokenExpired, TokenRevoked
from statecore.testing import FakeMedia
from statecore_web import AuthTokens, CallApp, WebSocketSignaling


async def _client(stack: AsyncExitStack, link: WebSocketSignaling) -> tuple[CallClient, asyncio.Future[str]]:
    """A client that is connected, and what it will be told of the end of its link."""
    failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    client = await stack.enter_async_context(CallClient(link, FakeMedia()))
    client.on("connection_failed", lambda reason, _: failed.set_result(reason))
    return client, failed


def test_a_token_that_is_revoked_ends_the_connection_that_it_made(served: Any, ask: Any) -> None:
    """At whichever service on the store it is: the device is told, and tries no more; whom it calls hears of the end at
    once. The connection by another token stands until all are revoked, and other users' stand."""

    async def main() -> None:
        store, bus = MemoryStore(), MemoryBus()
        apps = [CallApp(CallService(store=store, bus=bus), api_key="key") for _ in range(2)]
        async with asyncio.timeout(30), AsyncExitStack() as stack:
            here, there = [await stack.enter_async_context(served(app)) for app in apps]
            made = {}
            for device in ("phone", "laptop"):
                await apps[0].service.register_user("alice")
                made[device] = (await ask(here, "POST", "/v1/users/alice/auth-tokens", {}))[1]
            bobs, _ = await apps[0].tokens.issue("bob")
            phone, phone_failed = await _client(stack, WebSocketSignaling(there, made["phone"]["token"], device="p"))
            laptop, laptop_failed = await _client(stack, WebSocketSignaling(there, made["laptop"]["token"], device="l"))
            bob, _ = await _client(stack, WebSocketSignaling(here, bobs))
            await phone.initiate_call("bob", type="audio")
            assert (await ask(here, "DELETE", f"/v1/users/alice/auth-tokens/{made['phone']['id']}"))[0] == 204
            assert await phone_failed == "token_revoked"
            while bob.calls:  # noqa: ASYNC110 - less than the lease of a device that only lost its link
                await asyncio.sleep(0.01)
            assert not phone.calls
            assert (phone.connected, laptop.connected, laptop_failed.done()) == (False, True, False)
            assert (await ask(here, "DELETE", "/v1/users/alice/auth-tokens"))[0] == 204
            assert await laptop_failed == "token_revoked"
            assert bob.connected
            with pytest.raises(TokenRevoked):
                await WebSocketSignaling(there, made["laptop"]["token"]).connect()

    asyncio.run(main())


def test_a_token_that_expires_ends_no_connection(served: Any) -> None:
    """It is good for coming in: who is in stays, also when another token of the user is revoked, and goes when all
    are."""

    async def main() -> None:
        service, passed = CallService(), [0]
        app = CallApp(service, tokens=AuthTokens(service.store, now=lambda: passed[0]))
        async with asyncio.timeout(30), served(app) as url, AsyncExitStack() as stack:
            short, _ = await app.tokens.issue("alice", lifetime=60)
            alice, failed = await _client(stack, WebSocketSignaling(url, short))
            passed[0] = 60_000
            with pytest.raises(TokenExpired):
                await app.tokens.verify(short)
            _, other = await app.tokens.issue("alice")
            assert await app.revoke("alice", other.id)
            assert not await app.revoke("alice", other.id)
            await alice.generate_token("room")
            assert not failed.done()
            assert not await app.revoke("alice")
            assert await failed == "token_revoked"

    asyncio.run(main())


def test_an_applications_own_tokens(served: Any) -> None:
    """Those are all that a connection may stand by: it is closed when the application says that all are void."""

    async def main() -> None:
        good = {"own": "alice"}

        async def authenticate(token: str) -> str:
            if token not in good:
                raise TokenRevoked
            return good[token]

        app = CallApp(CallService(), authenticate=authenticate)
        async with asyncio.timeout(30), served(app) as url, AsyncExitStack() as stack:
            _, failed = await _client(stack, WebSocketSignaling(url, "own", user="alice"))
            good.clear()
            await app.revoke("alice")
            assert await failed == "token_revoked"

    asyncio.run(main())


def test_a_token_that_is_revoked_while_it_is_looked_at(served: Any) -> None:
    """Whoever shows it is not served: the connection is closed, and the next is refused."""

    async def main() -> None:
        good, seen = {"own": "alice"}, list[str]()

        async def authenticate(token: str) -> str:
            seen.append(token)
            user = good.pop(token, None)
            if user is None:
                raise TokenRevoked
            await app.revoke(user)  # as if somebody did it just now
            return user

        app = CallApp(CallService(), authenticate=authenticate)
        async with asyncio.timeout(30), served(app) as url:
            client = CallClient(WebSocketSignaling(url, "own", user="alice"), FakeMedia())
            with pytest.raises(TokenRevoked):
                await client.connect()
            await client.close()
            assert seen == ["own", "own"]
            assert not await app.service.store.scan("line")

    asyncio.run(main())


class _Late(MemoryBus):
    """A way to another bus that takes its time to be joined."""

    def __init__(self, bus: MemoryBus) -> None:
        super().__init__()
        self._bus = bus
        self.joining = asyncio.Event()
        self.open = asyncio.Event()

    async def join(self, heard: Any, lost: Any) -> Any:
        """Once it may."""
        self.joining.set()
        await self.open.wait()
        return await self._bus.join(heard, lost)


def test_a_token_that_is_revoked_elsewhere_while_a_mounted_service_opens_for_who_shows_it() -> None:
    """It cannot hear of that yet, and so looks at the token once it can: nobody is let in."""

    async def main() -> None:
        store, bus, said = MemoryStore(), MemoryBus(), list[str]()
        late = _Late(bus)
        here, there = CallApp(CallService(store=store, bus=bus)), CallApp(CallService(store=store, bus=late))
        await here.open()
        token, _ = await here.tokens.issue("alice")
        headers = [(b"authorization", f"Bearer {token}".encode())]
        scope = {"type": "websocket", "path": "/v1/signaling", "headers": headers, "subprotocols": ["statecore.v1"]}

        async def receive() -> Any:
            return {"type": "websocket.disconnect" if said else "websocket.connect"}

        async def send(message: Any) -> None:
            said.append(message["type"])

        serving = asyncio.create_task(there(scope, receive, send))
        await late.joining.wait()
        await asyncio.sleep(0)
        assert await here.revoke("alice")
        late.open.set()
        await serving
        assert said == ["websocket.close"]
        await there.close()
        await here.close()

    asyncio.run(main())
