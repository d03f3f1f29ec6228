"""The way to a service over real sockets: the conformance suite for signaling, and real calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest

from statecore import Call, CallClient, CallService, MemoryStore
from statecore.errors import (
    InvalidArgument,
    SignalingLost,
    SignalingRefused,
    TokenExpired,
    TokenMalformed,
    TokenMissing,
    TokenRevoked,
)
from statecore.testing import FakeMedia, SignalingConformance
from statecore.testing.signaling import Reach
from statecore_web import CallApp, WebSocketSignaling


class _Link(WebSocketSignaling):
    """One that goes by a way which can be cut."""

    def __init__(self, way: Any, token: str, device: str | None) -> None:
        super().__init__(way.url, token, device=device)
        self.way = way

    async def connect(self) -> Any:
        await self.way.open()
        return await super().connect()


class TestWebSocketSignaling(SignalingConformance):
    """The service over the network."""

    @pytest.fixture(autouse=True)
    def _tools(self, served: Any, way: Any) -> None:
        self.served, self.way = served, way

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Reach]:
        """A service behind a server, each device with a way of its own to it."""
        app = CallApp(CallService())
        made: dict[tuple[str, str | None], _Link] = {}
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(self.served(app))
            tokens = {user: (await app.tokens.issue(user))[0] for user in ("alice", "bob", "carol")}
            for user in tokens:
                app.service.add_user(user)

            def reach(user: str, device: str | None) -> Any:
                if (user, device) not in made:
                    way = self.way(url)
                    stack.push_async_callback(way.close)
                    made[user, device] = _Link(way, tokens[user], device)
                return made[user, device]

            yield reach

    async def cut(self, link: Any) -> None:
        """Break its way."""
        link.way.cut()

    async def mend(self, link: Any) -> None:
        """Mend it."""
        link.way.mend()


@asynccontextmanager
async def _pair(served: Any, app: CallApp) -> AsyncIterator[tuple[CallClient, CallClient, str]]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(app))
        clients = []
        for user in ("alice", "bob"):
            app.service.add_user(user)
            token, _ = await app.tokens.issue(user)
            link = WebSocketSignaling(url, token)
            clients.append(await stack.enter_async_context(CallClient(link, FakeMedia())))
        yield clients[0], clients[1], url


def test_a_call_goes_over_the_network(served: Any) -> None:
    """Ring, accept, active on both sides, hang-up: the same as within a process, and one row in the log."""

    async def main() -> None:
        app = CallApp(CallService())
        async with _pair(served, app) as (alice, bob, _):
            rang: list[Any] = []
            bob.on("incoming_call_received", rang.append)
            serving = asyncio.create_task(bob.serve(_stay))
            async with alice.call("bob", type="audio") as session:
                assert [call.session_id for call in rang] == [session.session_id]
                assert [p.uid for p in session.participants if p.uid != "alice"] == ["bob"]
                assert session.state == "active"
            serving.cancel()
            await asyncio.wait([serving])
        (row,) = await app.service.call_log()
        assert (row.status, row.initiator, row.receiver) == ("ended", "alice", "bob")

    asyncio.run(main())


def test_a_cut_in_the_middle_of_a_call_is_not_noticed(served: Any, way: Any) -> None:
    """The connection is dropped while the call is active: the device resumes, and the call goes on until its end."""

    async def main() -> None:
        app = CallApp(CallService())
        async with _pair(served, app) as (alice, bob, url), AsyncExitStack() as stack:
            app.service.add_user("carol")
            cut = way(url)
            stack.push_async_callback(cut.close)
            link = _Link(cut, (await app.tokens.issue("carol"))[0], None)
            carol = await stack.enter_async_context(CallClient(link, FakeMedia()))
            serving = asyncio.create_task(bob.serve(_stay))
            async with carol.call("bob", type="audio") as session:
                lost, back = asyncio.Event(), asyncio.Event()
                session.on("connection_lost", lambda *_: lost.set())
                session.on("connection_restored", lambda *_: back.set())
                cut.drop()
                await asyncio.wait_for(lost.wait(), 5)
                await asyncio.wait_for(back.wait(), 5)
                await session.mute_audio()
                assert session.state == "active"
            serving.cancel()
            await asyncio.wait([serving])
            assert alice.connected
        assert [row.status for row in await app.service.call_log()] == ["ended"]

    asyncio.run(main())


async def _stay(call: Any) -> None:
    async with call.answer(type="audio") as session:
        await session.wait_ended()


@pytest.mark.parametrize(
    ("token", "error"),
    [("YWxpY2U.nonsense", TokenRevoked), ("no token", TokenMalformed), ("", TokenMissing)],
)
def test_a_token_that_is_not_good_is_refused(served: Any, token: str, error: type[Exception]) -> None:
    """The connection does not come to be, nothing is tried again, and the reason says why."""

    async def main() -> None:
        app = CallApp(CallService())
        async with served(app) as url:
            client = CallClient(WebSocketSignaling(url, token, user="alice"))
            with pytest.raises(error, match="token"):
                await client.connect()
            await client.close()

    asyncio.run(main())


def test_an_expired_token_is_replaced_once(served: Any) -> None:
    """A source of tokens is asked again when its token is refused, and only once."""

    async def main() -> None:
        app = CallApp(CallService())
        app.service.add_user("alice")
        good, _ = await app.tokens.issue("alice")
        given = iter(["YWxpY2U.expired", good])
        asked = []

        async def source() -> str:
            asked.append(1)
            return next(given)

        async with served(app) as url:
            async with CallClient(WebSocketSignaling(url, source, user="alice")) as client:
                assert client.connected
            assert len(asked) == 2
            bad = CallClient(WebSocketSignaling(url, lambda: "YWxpY2U.bad", user="alice"))
            with pytest.raises(TokenRevoked):
                await bad.connect()
            await bad.close()

    asyncio.run(main())


def test_a_source_of_tokens_that_fails_is_tried_again() -> None:
    """Its fault is the network's, which is worth another try; a token that is no text is the caller's."""

    async def broken() -> str:
        raise OSError

    async def main() -> None:
        with pytest.raises(SignalingLost):
            await WebSocketSignaling("ws://127.0.0.1:9", broken, user="alice").connect()
        with pytest.raises(InvalidArgument):
            await WebSocketSignaling("ws://127.0.0.1:9", lambda: 3, user="alice").connect()  # type: ignore[arg-type, return-value]

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "example.org", "ws://", "wss://x/?token=secret", "ws://u:p@x", "ws://x#f", "ws://x:99999", "ws://[::1"],
)
def test_an_address_that_cannot_be_one_is_refused(url: str) -> None:
    """At once, and a token in an address never leaves this machine."""
    with pytest.raises(InvalidArgument):
        WebSocketSignaling(url, "YWxpY2U.x")


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("https://x", "wss://x/v1/signaling"),
        ("http://x:1/calls/", "ws://x:1/calls/v1/signaling"),
        ("ws://x/v1/signaling", "ws://x/v1/signaling"),
    ],
)
def test_an_address_leads_to_where_devices_connect(url: str, whole: str) -> None:
    """The address of the service is enough, also below a path."""
    assert WebSocketSignaling(url, "YWxpY2U.x").url == whole


def test_a_token_names_its_user() -> None:
    """Ours does, and a JWT by its subject; anything else needs to be told."""
    jwt = "e30.eyJzdWIiOiJib2IifQ.sig"
    assert WebSocketSignaling("ws://x", "YWxpY2U.x").user == "alice"
    assert WebSocketSignaling("ws://x", jwt).user == "bob"
    assert WebSocketSignaling("ws://x", jwt, user="carol").user == "carol"
    for token in ("nonsense", "a.b.c", "e30.e30.sig", lambda: "x"):
        with pytest.raises(InvalidArgument):
            WebSocketSignaling("ws://x", token)


def test_a_link_shows_no_secret() -> None:
    """The token is in no repr."""
    assert "secret" not in repr(WebSocketSignaling("ws://x", "YWxpY2U.secret"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"subprotocols": ["statecore.v9"]}, 400),
        ({"path": "/v1/other"}, 403),
        ({"additional_headers": {}}, 401),
    ],
)
def test_what_may_not_connect_is_refused_with_a_reason(served: Any, change: dict[str, Any], why: int) -> None:
    """Another version, another address, nobody: each refused before anything is opened."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    async def main() -> None:
        app = CallApp(CallService())
        async with served(app) as url:
            token, _ = await app.tokens.issue("alice")
            given: dict[str, Any] = {
                "subprotocols": ["statecore.v1"],
                "additional_headers": {"Authorization": f"Bearer {token}"},
                **change,
            }
            address = url.replace("http", "ws") + given.pop("path", "/v1/signaling")
            with pytest.raises(InvalidStatus) as caught:
                await connect(address, **given)
            assert caught.value.response.status_code == why
            assert b'"code"' in (caught.value.response.body or b"")
            ok = {"subprotocols": ["statecore.v1", f"statecore.token.{token}"], "origin": url}
            async with connect(url.replace("http", "ws") + "/v1/signaling", **ok) as page:
                assert page.subprotocol == "statecore.v1"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"origin": "https://evil.example"}, ("signaling_refused", 1008)),
        ({"subprotocols": ["statecore.v9", "statecore.token.x"]}, ("unsupported_version", 1008)),
        ({"subprotocols": ["statecore.v1", "statecore.token.x"]}, ("token_malformed", 1008)),
        ({"subprotocols": None}, ("unsupported_version", 1008)),
        ({"drained": True}, ("signaling_lost", 1013)),
    ],
)
def test_a_browser_is_told_why_it_may_not_connect(served: Any, change: dict[str, Any], told: tuple[str, int]) -> None:
    """It could not read an answer: so it is let in, told in a message, and shut out, before it is served anything."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async def main() -> None:
        app = CallApp(CallService())
        async with served(app) as url:
            token, _ = await app.tokens.issue("alice")
            good = {"subprotocols": ["statecore.v1", f"statecore.token.{token}"], "origin": url, "drained": False}
            given: dict[str, Any] = {**good, **change}
            if given.pop("drained"):
                app.drain()
            async with connect(url.replace("http", "ws") + "/v1/signaling", **given) as page:
                assert page.subprotocol == (given["subprotocols"] or [None])[0]
                refused = json.loads(await page.recv())
                assert (refused["m"], refused["n"], refused["code"]) == ("refused", 0, told[0])
                with pytest.raises(ConnectionClosed) as caught:
                    await page.recv()
                assert caught.value.rcvd is not None
                assert (caught.value.rcvd.reason, caught.value.rcvd.code) == told
            assert not await app.service.online("alice")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("https://example.org", "https://example.org"),
        ("HTTPS://Example.org:443/", "https://example.org"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://[::1]:80", "http://[::1]"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("null", "null"),
    ],
)
def test_an_origin_is_what_browsers_say(given: str, said: str) -> None:
    """However it is written that an application may be given."""
    assert CallApp(CallService(), origins=[given])._origins == {said}


@pytest.mark.parametrize(
    "origins",
    [
        *(["foo"], ["*"], [""], ["example.org"], ["https://"], ["https://example.org/page"], ["https://a.org?x"]),
        *(["https://me@a.org"], ["https://bücher.org"], ["https://a b.org"], ["https://a.org:port"], ["https://[::1"]),
        "https://a.org",
    ],
)
def test_what_no_browser_says_is_no_origin(origins: Any) -> None:
    """It is refused, as it would let nobody in, and so is one text in the place of several."""
    with pytest.raises(InvalidArgument, match="is no web origin"):
        CallApp(CallService(), origins=origins)


def test_an_application_may_know_its_users_itself(served: Any) -> None:
    """Its own check stands in for the service's tokens; one that breaks lets nobody in."""

    async def check(token: str) -> str:
        if token == "old":
            raise TokenExpired
        if token == "odd":
            raise RuntimeError
        return token.removeprefix("user-")

    async def main() -> None:
        app = CallApp(CallService(), authenticate=check)
        app.service.add_user("alice")
        async with served(app) as url:
            async with CallClient(WebSocketSignaling(url, "user-alice", user="alice")) as client:
                assert client.connected
            for token, error in (("old", TokenExpired), ("odd", SignalingLost)):
                with pytest.raises(error):
                    await WebSocketSignaling(url, token, user="alice").connect()

    asyncio.run(main())


@pytest.mark.parametrize("odd", [None, 5, "", "a b", "a\nb", "x" * 129, ".."])
def test_an_application_s_check_gives_a_user_s_id(served: Any, odd: Any) -> None:
    """One that gives anything else lets nobody in, and nobody becomes known by it."""

    async def check(_: str) -> Any:
        return odd

    async def main() -> None:
        app = CallApp(CallService(), authenticate=check)
        async with served(app) as url:
            with pytest.raises(SignalingRefused):
                await WebSocketSignaling(url, "token", user="alice").connect()
            assert await app.service.users() == []

    asyncio.run(main())


def test_a_server_that_stops_sends_its_devices_away(served: Any) -> None:
    """They are told, nothing is left, and what lived is still in the store."""

    async def main() -> None:
        app = CallApp(CallService())
        gone = asyncio.Event()
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(served(app))
            app.service.add_user("alice")
            link = WebSocketSignaling(url, (await app.tokens.issue("alice"))[0])
            channel = await link.connect()
            reading = asyncio.create_task(_read(channel, gone))
        await asyncio.wait_for(gone.wait(), 5)
        await reading
        await channel.close()
        with pytest.raises(SignalingLost):
            await link.connect()

    asyncio.run(main())


def test_a_service_that_stops_before_its_server_is_tried_again(served: Any) -> None:
    """A device that meets it in between is not refused for good, and goes on trying until another one is there."""

    async def main() -> None:
        app = CallApp(CallService())
        async with served(app) as url:
            app.service.add_user("alice")
            link = WebSocketSignaling(url, (await app.tokens.issue("alice"))[0])
            await app.close()
            with pytest.raises(SignalingLost, match="503") as lost:
                await link.connect()
            assert lost.value.retryable

    asyncio.run(main())


async def _read(channel: Any, gone: asyncio.Event) -> None:
    try:
        while True:
            await channel.receive()
    except SignalingLost:
        gone.set()


class _Slow(MemoryStore):
    """A store that can be told to let commits wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.may = asyncio.Event(), asyncio.Event()
        self.may.set()

    async def commit(self, writes: Any) -> bool:
        """Commit, as soon as it may."""
        if not self.may.is_set():
            self.waiting.set()
            await self.may.wait()
        return await super().commit(writes)


def test_a_server_that_stops_finishes_what_it_was_deciding(served: Any, way: Any) -> None:
    """Alice hangs up while the server is told to stop: that is decided and written before it is gone, and both hear of
    it from the server that comes after it."""

    async def main() -> None:
        store = _Slow()
        async with AsyncExitStack() as clients:
            async with AsyncExitStack() as first:
                app = CallApp(CallService(store=store))
                url = await first.enter_async_context(served(app))
                ways = [way(url) for _ in range(2)]
                people = []
                for user, between in zip(("alice", "bob"), ways, strict=True):
                    clients.push_async_callback(between.close)
                    app.service.add_user(user)
                    link = _Link(between, (await app.tokens.issue(user))[0], user)
                    people.append(await clients.enter_async_context(CallClient(link, FakeMedia())))
                alice, bob = people
                over: asyncio.Queue[str | None] = asyncio.Queue()
                bob.on("incoming_call_received", partial(_until_the_end, over))
                session = await clients.enter_async_context(alice.call("bob", type="audio"))
                store.may.clear()
                leaving = asyncio.create_task(session.leave())
                await store.waiting.wait()
                stopping = asyncio.create_task(first.aclose())
                while alice.connected:  # noqa: ASYNC110 - there is no event of a client for that
                    await asyncio.sleep(0.01)
                store.may.set()
                await stopping
            (call,) = await CallService(store=store).call_log()
            assert call.end_reason is not None
            assert call.end_reason.what == "hangup"
            url = await clients.enter_async_context(served(CallApp(CallService(store=store))))
            for between in ways:
                between.lead(url)
            await leaving
            assert await over.get() == "hangup"

    asyncio.run(main())


async def _until_the_end(over: asyncio.Queue[str | None], call: Call) -> None:
    async with call.answer() as session:
        over.put_nowait((await session.wait_ended()).what)
