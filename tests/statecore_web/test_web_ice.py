"""STUN and TURN servers over HTTP: who gets them, what is refused, and that devices have them by themselves."""

from __future__ import annotations

import asyncio
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from statecore import CallClient, CallService, IceServer, IceServers, TurnCredentials
from statecore.errors import SignalingLost, SignalingRefused
from statecore.testing import FakeMedia
from statecore_web import CallApp, WebSocketSignaling

SOURCE = TurnCredentials(turn="turn:127.0.0.1:3478", stun="stun:127.0.0.1:3478", secret="hunter2", ttl=600)


def _run(served: Any, main: Callable[[CallApp, str, str], Awaitable[None]], ice: Any = SOURCE, **more: Any) -> None:
    async def whole() -> None:
        app = CallApp(CallService(ice=ice), api_key="key", **more)
        await app.service.register_user("alice")
        token, _ = await app.tokens.issue("alice")
        async with served(app) as url:
            await main(app, url, token)

    asyncio.run(whole())


def test_a_user_gets_servers_for_the_auth_token(served: Any, ask: Any) -> None:
    """As a browser takes them, with a name of one's own; nobody else does, and no other method is taken."""

    async def main(_: CallApp, url: str, token: str) -> None:
        status, told = await ask(url, "GET", "/v1/ice", key=token)
        assert (status, told["ice_policy"], told["lifetime"]) == (200, "all", 600)
        stun, turn = told["ice_servers"]
        assert stun == {"urls": ["stun:127.0.0.1:3478"]}
        assert turn["urls"] == ["turn:127.0.0.1:3478"]
        assert re.fullmatch(r"\d+:alice", turn["username"])
        for wrong in (None, "key", "none.such", token[:-1]):
            assert (await ask(url, "GET", "/v1/ice", key=wrong))[0] == 401
        assert (await ask(url, "POST", "/v1/ice", {}, key=token))[0] == 405

    _run(served, main)


def test_pages_of_allowed_origins_may_ask(served: Any) -> None:
    """A page of such an origin is told that it may ask and read; one of another is not. Nothing is kept in between."""

    def headers(url: str, method: str, origin: str) -> Any:
        request = urllib.request.Request(url + "/v1/ice", headers={"Origin": origin}, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.headers

    async def main(_: CallApp, url: str, __: str) -> None:
        for method in ("OPTIONS", "GET"):
            good = await asyncio.to_thread(headers, url, method, "https://app.example.org")
            assert good["access-control-allow-origin"] == "https://app.example.org"
            assert good["access-control-allow-headers"] == "authorization"
            assert good["cache-control"] == "no-store"
            bad = await asyncio.to_thread(headers, url, method, "https://evil.example.org")
            assert bad["access-control-allow-origin"] is None

    _run(served, main, origins=["https://app.example.org"])


def test_a_device_has_them_by_itself(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A client with media asks when it connects; its media finds the servers. No secret is in any log."""

    async def main(app: CallApp, url: str, token: str) -> None:
        hosts: list[Any] = []

        class Sees(FakeMedia):
            async def open(self, host: Any, **more: Any) -> Any:
                hosts.append(host)
                return await super().open(host, **more)

        link = WebSocketSignaling(url, lambda: token, user="alice")
        async with CallClient(link, Sees()) as client:
            await client.start_session(await app.service.generate_token("alice", "room"))
            servers = hosts[0].ice.servers
            assert [server.urls for server in servers] == [("stun:127.0.0.1:3478",), ("turn:127.0.0.1:3478",)]
            told.append(servers[1].credential)

    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        _run(served, main)
    assert told[0] not in caplog.text
    assert "hunter2" not in caplog.text


def test_what_the_service_cannot_say(served: Any) -> None:
    """A service without servers says so; one whose source fails is to be asked again; a bad token is refused; an
    address where nobody answers is a lost link; and what is no list of servers is an error without its text."""

    async def none(_: CallApp, url: str, token: str) -> None:
        assert await WebSocketSignaling(url, token).ice_servers() == IceServers()
        with pytest.raises(SignalingRefused):
            await WebSocketSignaling(url, "no", user="alice").ice_servers()

    def fails(_: str) -> IceServers:
        raise RuntimeError("hunter2")

    async def failing(_: CallApp, url: str, token: str) -> None:
        with pytest.raises(SignalingLost) as caught:
            await WebSocketSignaling(url, token).ice_servers()
        assert "hunter2" not in str(caught.value)

    _run(served, none, None)
    _run(served, failing, fails)

    async def nobody() -> None:
        with pytest.raises(SignalingLost, match="cannot be asked"):
            await WebSocketSignaling("http://127.0.0.1:9", "t", user="alice").ice_servers()

    asyncio.run(nobody())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b""),
        (200, b"hunter2"),
        (200, b'{"ice_servers":[],"x":' + b"[" * 100_000),
        (200, b'{"ice_servers":[{"urls":["hunter2"]}],"ice_policy":"all"}'),
    ],
    ids=["older", "text", "deep", "wrong"],
)
def test_a_service_that_knows_nothing_of_it(served: Any, status: int, body: bytes) -> None:
    """An older service has no such address, which means no servers; a broken one is a lost link."""

    async def other(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def main() -> None:
        async with served(other) as url:
            link = WebSocketSignaling(url, "t", user="alice")
            if status == 404:
                assert await link.ice_servers() == IceServers()
                return
            with pytest.raises(SignalingLost) as caught:
                await link.ice_servers()
            assert "hunter2" not in str(caught.value)

    asyncio.run(main())


def test_a_source_of_ones_own(served: Any, ask: Any) -> None:
    """Any function of a user's id will do, also one that is awaited."""

    async def source(user: str) -> IceServers:
        return IceServers(servers=[IceServer(urls="turn:a.example.org", username=user, credential="x")], policy="relay")

    async def main(_: CallApp, url: str, token: str) -> None:
        server = {"urls": ["turn:a.example.org"], "username": "alice", "credential": "x"}
        expected = {"ice_servers": [server], "ice_policy": "relay", "lifetime": None}
        assert await ask(url, "GET", "/v1/ice", key=token) == (200, expected)

    _run(served, main, source)
