"""Who wants too much, over real sockets: what is told, and that it may be tried again."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from statecore import Call, CallClient, CallService, ServiceSettings, Timers
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


async def _flood(url: str, token: str, told: list[tuple[str, float]], over: asyncio.Event) -> int:
    """Connect again and again, say as much as is taken, and mind no refusal; gives how many beats were answered."""
    answered = conn = 0
    while not over.is_set():
        conn += 1
        try:
            async with await _raw(url, token) as socket:
                await socket.send(json.dumps({"m": "hello", "device": "phone", "epoch": "1", "conn": conn}))
                for _ in range(50):
                    await socket.send('{"m": "beat"}')
                async for text in socket:
                    message = json.loads(text)
                    answered += message["m"] == "beat"
                    if message["m"] == "refused":
                        told.append((message["code"], message["data"]["seconds"]))
        except InvalidStatus as refused:
            told.append((str(refused.response.status_code), float(refused.response.headers["Retry-After"])))
        except ConnectionClosed:
            pass
    return answered


def test_a_flood_that_connects_again_and_again_harms_nobody_else(served: Any) -> None:
    """Whoever floods the service, over new connections all the time, is answered no more than one device may say in
    that time, and told each time when to come again; meanwhile every call of others goes as it should."""

    async def main() -> None:
        rate, calls = 10, 8
        app = CallApp(CallService(settings=ServiceSettings(messages_per_second=rate)))
        told: list[tuple[str, float]] = []
        over = asyncio.Event()
        async with served(app, log_level="critical") as url, AsyncExitStack() as stack, asyncio.timeout(60):
            clients = []
            for user in ("alice", "bob"):
                link = WebSocketSignaling(url, (await app.tokens.issue(user))[0])
                clients.append(await stack.enter_async_context(CallClient(link, FakeMedia())))
            alice, bob = clients
            lost: list[object] = []
            for client in clients:
                client.on("connection_lost", lambda *_: lost.append(1))
            token, _ = await app.tokens.issue("eve")
            began = asyncio.get_running_loop().time()
            floods = [asyncio.create_task(_flood(url, token, told, over)) for _ in range(3)]
            while {code for code, _ in told} < {"rate_limited", "429"}:  # noqa: ASYNC110 - until it is in full swing
                await asyncio.sleep(0.01)
            async with asyncio.TaskGroup() as group:
                answering = group.create_task(bob.serve(_stay))
                for _ in range(calls):
                    async with alice.call("bob", type="audio") as session:
                        assert session.state == "active"
                answering.cancel()
            over.set()
            answered = sum(await asyncio.gather(*floods))
            lasted = asyncio.get_running_loop().time() - began
            log = [call.end_reason.what for call in await app.service.call_log() if call.end_reason]
        assert log == ["hangup"] * calls
        assert lost == []
        assert 0 < answered <= rate * (10 + lasted) + 1
        assert {code for code, _ in told} == {"rate_limited", "429"}
        assert {seconds for _, seconds in told} == {1}

    asyncio.run(main())


async def _stay(call: Call) -> None:
    async with call.answer(type="audio") as session:
        await session.wait_ended()
