"""Guests over real sockets: the call token is enough, in a header or a subprotocol, and never in an address."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from statecore import CallClient, CallService, TurnCredentials, join_session
from statecore.errors import (
    StatecoreError,
    TokenExpired,
    TokenForeign,
    TokenForged,
    TokenMalformed,
    TokenMissing,
    TokenNotYetValid,
    TokenRevoked,
)
from statecore.model import Reason
from statecore.settings import ServiceSettings
from statecore.testing import FakeMedia
from statecore.tokens import JwtSigner, Keys, issue
from statecore_web import CallApp, WebSocketSignaling

KEY = b"the key of this service's tokens"


def _signed(*, since: float = 0.0, key: bytes = KEY, issuer: str = "statecore", number: str = "1", **more: Any) -> str:
    """A token for a guest, signed so many seconds ago, for a minute."""
    now = round((time.time() - since) * 1000)
    said = {"user": "gast", "session": "room", "lifetime": 60.0, **more}
    return JwtSigner(Keys("1", key), issuer).sign(issue(issuer=issuer, now=now, token_id=number, **said))


def test_the_token_is_enough(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A guest without an account is in the session with a user who has one; the token opens nothing that is a user's,
    and stands in no log."""

    async def main() -> str:
        app = CallApp(CallService(key=KEY), api_key="key")
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(served(app, log_level="debug"))
            app.service.add_user("alice")
            link = WebSocketSignaling(url, (await app.tokens.issue("alice"))[0])
            alice = await stack.enter_async_context(CallClient(link, FakeMedia()))
            hers = await alice.start_session(await alice.generate_token("room"), type="audio")
            token = await app.service.generate_token("gast", "room")
            guest = WebSocketSignaling.guest(url, token)
            assert guest.user == "gast"
            async with join_session(guest, token, FakeMedia(), type="audio") as session:
                assert {one.uid for one in session.participants} == {"alice", "gast"}
                await session.mute_audio()
            await hers.leave()
            with pytest.raises(TokenMalformed, match="guest"):
                await WebSocketSignaling(url, token).connect()
            assert [user.uid for user in await app.service.users()] == ["alice"]
            return token

    caplog.set_level(logging.DEBUG)
    token = asyncio.run(main())
    texts = [record.getMessage() for record in caplog.records if record.name != "websockets.client"]
    assert not any(token in text for text in texts)


def test_no_bad_token_admits_a_guest(served: Any) -> None:
    """Expired, not yet valid, revoked, forged, of another issuer, malformed, missing: the connection is refused with
    401, and the client raises each by its name, without a second try."""

    async def main() -> None:
        app = CallApp(CallService(key=KEY))
        async with served(app) as url:
            revoked = _signed(number="2")
            await app.service.revoke_token(revoked)
            bad: list[tuple[str, type[StatecoreError]]] = [
                (_signed(since=3600), TokenExpired),
                (_signed(since=-3600), TokenNotYetValid),
                (revoked, TokenRevoked),
                (_signed(key=b"the key of some other service...."), TokenForged),
                (_signed(issuer="elsewhere"), TokenForeign),
                (_signed()[:-4] + "AAAA", TokenForged),
                ("a.b.c", TokenMalformed),
            ]
            for token, error in bad:
                link = WebSocketSignaling.guest(url, token, user="gast")
                with pytest.raises(error):
                    async with CallClient(link, FakeMedia()):
                        raise AssertionError("it is in")
                with pytest.raises(InvalidStatus) as caught:
                    await connect(
                        link.url, subprotocols=[Subprotocol("statecore.v1"), Subprotocol(f"statecore.guest.{token}")]
                    )
                assert caught.value.response.status_code == 401
            with pytest.raises(TokenMissing):
                await WebSocketSignaling.guest(url, "", user="gast").connect()
            assert not await app.service.store.scan("line")

    asyncio.run(main())


def test_another_device_is_told_so(served: Any) -> None:
    """The token of a guest who has joined lets no other device in: connecting raises TokenForeign; a browser, which
    shows it in a subprotocol, is told the same."""

    async def main() -> None:
        app = CallApp(CallService(key=KEY))
        token = _signed()
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(served(app))
            link = WebSocketSignaling.guest(url, token, device="phone")
            await stack.enter_async_context(join_session(link, token, FakeMedia(), type="audio"))
            with pytest.raises(TokenForeign, match="device"):
                async with CallClient(WebSocketSignaling.guest(url, token, device="other")):
                    raise AssertionError("it is connected")
            protocols = [Subprotocol("statecore.v1"), Subprotocol(f"statecore.guest.{token}")]
            async with connect(link.url, subprotocols=protocols) as socket:
                assert socket.subprotocol == "statecore.v1"
                await socket.send('{"m": "hello", "device": "tab", "epoch": "1", "conn": 1}')
                assert '"code":"token_foreign"' in str(await socket.recv())

    asyncio.run(main())


@pytest.mark.parametrize("refreshed", [True, False])
def test_a_call_token_runs_out_while_the_link_is_cut(served: Any, way: Any, refreshed: bool) -> None:
    """A guest whose token has expired meanwhile is back by a new one from its source, which is asked once more; without
    one the session ends at once as expired, and says so."""

    async def main() -> None:
        signer, clock = JwtSigner(Keys("1", KEY)), [0.0]

        class Signer:
            """One whose time a test can move."""

            sign = signer.sign

            def verify(self, token: str | None, now: int) -> Any:
                return signer.verify(token, now + round(clock[0] * 1000))

        app = CallApp(CallService(signer=Signer()))
        asked: list[str] = []

        def source() -> str:
            asked.append(_signed(since=-clock[0] if refreshed else 0.0, number=str(len(asked))))
            return asked[-1]

        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(served(app))
            cut = way(url)
            stack.push_async_callback(cut.close)
            await cut.open()
            link = WebSocketSignaling.guest(cut.url, source, user="gast", device="phone")
            client = await stack.enter_async_context(CallClient(link, FakeMedia()))
            session = await client.start_session(asked[0], type="audio")
            lost, back, failed = asyncio.Event(), asyncio.Event(), list[Any]()
            session.on("connection_lost", lambda *_: lost.set())
            session.on("connection_restored", lambda *_: back.set())
            session.on("connection_failed", lambda *told: failed.append(told))
            cut.cut()
            async with asyncio.timeout(10):
                await lost.wait()
                clock[0] = 3600.0
                before = len(asked)
                cut.mend()
                if refreshed:
                    await back.wait()
                    assert session.state == "active"
                    return
                reason = await session.wait_ended()
            assert reason.what is Reason.EXPIRED
            assert failed == [("token_expired", False)]
            await asyncio.sleep(0)
            assert len(asked) - before <= 3, "asked again and again"

    asyncio.run(main())


def test_a_guest_gets_the_servers_too(served: Any) -> None:
    """STUN and TURN servers are handed out to who shows a good call token, and to no other guest."""

    async def main() -> None:
        turn = TurnCredentials(turn="turn:127.0.0.1:3478", secret="hunter2")
        app = CallApp(CallService(key=KEY, ice=turn))
        async with served(app) as url:
            token = _signed()
            (server,) = (await WebSocketSignaling.guest(url, token).ice_servers()).servers
            assert server.username is not None
            assert server.username.endswith(":gast")
            with pytest.raises(StatecoreError, match="expired"):
                await WebSocketSignaling.guest(url, _signed(since=3600)).ice_servers()

    asyncio.run(main())


def test_guests_take_no_socket_from_the_user(served: Any) -> None:
    """As many sockets as a token's holder may open leave the user's own device room."""

    async def main() -> None:
        app = CallApp(CallService(key=KEY, settings=ServiceSettings(devices_per_user=1)))
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(served(app))
            app.service.add_user("gast")
            token = _signed()
            link = WebSocketSignaling.guest(url, token)
            for _ in range(2):
                stack.push_async_callback((await link.connect()).close)
            with pytest.raises(StatecoreError, match="connections"):
                await link.connect()
            mine = WebSocketSignaling(url, (await app.tokens.issue("gast"))[0])
            async with CallClient(mine) as client:
                assert client.connected

    asyncio.run(main())
