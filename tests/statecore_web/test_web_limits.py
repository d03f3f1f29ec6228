"""Who wants too much, over real sockets: what is told, and that it may be tried again."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from statecore import CallClient, CallService, ServiceSettings, Timers
from statecore.errors import RateLimited, TooManyDevices
from statecore.testing import FakeMedia
from statecore_web import CallApp, WebSocketSignaling


async def _raw(url: str, token: str) -> ClientConnection:
    more = {"Authorization": f"Bearer {token}"}
    return await connect(f"ws{url[4:]}/v1/signaling", subprotocols=["statecore.v1"], additional_headers=more)  # type: ignore[list-item]


def test_sockets_of_one_user_are_counted_before_they_say_who_they_are(served: Any) -> None:
    """Two for each device that the user may have: the next is told 429 and when to come again, which the client says as
    a typed error that may be tried again. Another user is not touched, and one that is closed makes room."""

    async def main() -> None:
        app = CallApp(CallService(settings=ServiceSettings(devices_per_user=2)))
        async with served(app) as url, AsyncExitStack() as stack:
            tokens = {user: (await app.tokens.issue(user))[0] for user in ("alice", "bob")}
            silent = [await _raw(url, tokens["alice"]) for _ in range(4)]
            for socket in silent:
                stack.push_async_callback(socket.close)
            with pytest.raises(InvalidStatus) as refused:
                await _raw(url, tokens["alice"])
            answer = refused.value.response
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
            assert json.loads(bytes(answer.body or b""))["code"] == "rate_limited"
            link = WebSocketSignaling(url, tokens["alice"])
            with pytest.raises(RateLimited, match="connections") as told:
                await link.connect()
            assert (told.value.retryable, told.value.seconds) == (True, 10)
            await (await WebSocketSignaling(url, tokens["bob"]).connect()).close()
            await silent.pop().close()
            async with asyncio.timeout(5):
                while len(app._sockets.get("alice", ())) == 4:  # noqa: ASYNC110 - until the server has seen it, too
                    await asyncio.sleep(0.01)
            await (await link.connect()).close()
        assert app._sockets == {}

    asyncio.run(main())


def test_a_server_between_says_when_to_come_again(served: Any) -> None:
    """A balancer that knows nothing of us answers 429 or 503 with `Retry-After`: seconds are minded."""

    async def main(status: int, after: bytes) -> float:
        async def balancer(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            headers = [(b"retry-after", after)]
            await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"busy"})

        async with served(balancer, lifespan="off") as url:
            client = CallClient(WebSocketSignaling(url, "YWxpY2U.x"), FakeMedia(), timers=Timers(command=1))
            with pytest.raises(ConnectionError, match=str(status)) as told:
                await client.connect()
            await client.close()
            return float(told.value.data.get("seconds", 0))  # type: ignore[attr-defined]

    assert [asyncio.run(main(*each)) for each in ((429, b"7"), (503, b"8"), (503, b"soon"))] == [7, 8, 0]


def test_one_device_too_many_comes_in_when_there_is_room(served: Any) -> None:
    """It is told so by a typed error over the network, too, and nothing is final."""

    async def main() -> None:
        app = CallApp(CallService(settings=ServiceSettings(devices_per_user=1)))
        async with served(app) as url:
            link = WebSocketSignaling(url, (await app.tokens.issue("alice"))[0])
            async with CallClient(link, FakeMedia()):
                other = CallClient(link, FakeMedia(), timers=Timers(command=0.5))
                with pytest.raises(TooManyDevices):
                    await other.connect()
            await other.connect()
            assert other.connected
            await other.close()

    asyncio.run(main())
