"""Tokens that are not good, over real sockets: each is refused by its name, lets nobody in, and shows in no log."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import AsyncExitStack
from typing import Any

import pytest

from statecore import CallClient, CallService
from statecore.errors import (
    CallGone,
    StatecoreError,
    TokenExpired,
    TokenForeign,
    TokenForged,
    TokenMalformed,
    TokenNotYetValid,
    TokenRevoked,
)
from statecore.testing import FakeMedia
from statecore.tokens import JwtSigner, Keys, Role, issue
from statecore_web import CallApp, WebSocketSignaling

KEY = b"the key of this service's tokens"


def _part(data: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def _signed(user: str, session: str, *, key: bytes = KEY, since: float = 0.0, number: str = "1") -> str:
    """A token as the service signs it, from so many seconds ago, for a minute."""
    now = round((time.time() - since) * 1000)
    claims = issue(
        issuer="statecore", user=user, session=session, token_id=number, now=now, lifetime=60.0, role=Role.HOST
    )
    return JwtSigner(Keys("1", key), "statecore").sign(claims)


def _without_signature(token: str) -> str:
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{token.split('.')[1]}."


def _for_somebody_else(token: str, user: str) -> str:
    head, claims, signature = token.split(".")
    data = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return ".".join((head, _part({**data, "sub": user}), signature))


def test_no_bad_call_token_lets_anybody_in(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Forged, expired, not yet valid, foreign, revoked, without a signature, of an ended call: Mallory, who has an
    account, is let into nobody's session by any, and the people in it do not notice."""

    async def main() -> list[str]:
        app = CallApp(CallService(key=KEY))
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(served(app))
            clients = {}
            for user in ("alice", "bob", "mallory"):
                app.service.add_user(user)
                link = WebSocketSignaling(url, (await app.tokens.issue(user))[0], device=f"{user}-phone")
                clients[user] = await stack.enter_async_context(CallClient(link, FakeMedia()))
            room = [
                await clients[user].start_session(await clients[user].generate_token("room"), type="audio")
                for user in ("alice", "bob")
            ]
            hers, his = (_signed(user, "room") for user in ("alice", "mallory"))
            revoked = _signed("mallory", "room", number="2")
            await app.service.revoke_token(revoked)
            await app.service.end_call(await _ended(clients["alice"], app))
            bad: list[tuple[str, type[StatecoreError]]] = [
                ("nonsense", TokenMalformed),
                ("a.b.c", TokenMalformed),
                (hers, TokenForeign),
                (_signed("mallory", "room", key=b"the key of some other service...."), TokenForged),
                (his[:-4] + "AAAA", TokenForged),
                (_without_signature(his), TokenMalformed),
                (_for_somebody_else(hers, "mallory"), TokenForged),
                (_signed("mallory", "room", since=3600), TokenExpired),
                (_signed("mallory", "room", since=-3600), TokenNotYetValid),
                (revoked, TokenRevoked),
                (_signed("mallory", "over"), CallGone),
            ]
            for token, error in bad:
                with pytest.raises(error):
                    await clients["mallory"].start_session(token, type="audio")
                assert not clients["mallory"].calls
            for session in room:
                assert session.state == "active"
                assert {one.uid for one in session.participants} == {"alice", "bob"}
            await (await clients["mallory"].start_session(his, type="audio")).leave()
            return [token for token, _ in bad] + [his]

    caplog.set_level(logging.DEBUG, "statecore")
    tokens = asyncio.run(main())
    for token in tokens[2:]:
        assert token not in caplog.text
        assert token.split(".")[-1] == "" or token.split(".")[-1] not in caplog.text


async def _ended(client: CallClient, app: CallApp) -> str:
    """The id of a session that is over."""
    await (await client.start_session(await client.generate_token("over"), type="audio")).leave()
    return "over"


def test_a_token_that_was_used_is_of_no_use_to_another(served: Any) -> None:
    """Replayed by somebody else, with an account of his own, a good token is foreign, and its owner stays in."""

    async def main() -> None:
        app = CallApp(CallService(key=KEY))
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(served(app))
            clients = []
            for user in ("alice", "eve"):
                app.service.add_user(user)
                link = WebSocketSignaling(url, (await app.tokens.issue(user))[0])
                clients.append(await stack.enter_async_context(CallClient(link, FakeMedia())))
            token = await app.service.generate_token("alice", "room")
            await clients[0].start_session(token, type="audio")
            with pytest.raises(TokenForeign):
                await clients[1].start_session(token, type="audio")
            assert (await app.service.fetch("room")).participants[0].uid == "alice"

    asyncio.run(main())


@pytest.mark.parametrize("refreshed", [True, False])
def test_an_auth_token_runs_out_while_the_link_is_cut(served: Any, way: Any, refreshed: bool) -> None:
    """The connection breaks in the middle of a call, and the token it was made with is good no more. From a source that
    gives a new one, the device is back and its call goes on; without, it is told so, its call ends, and it tries no
    more."""

    async def main() -> None:
        app = CallApp(CallService())
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(served(app))
            cut = way(url)
            stack.push_async_callback(cut.close)
            await cut.open()
            app.service.add_user("alice")
            tokens = [(await app.tokens.issue("alice"))[0]]

            async def newest() -> str:
                return tokens[-1]

            link = WebSocketSignaling(cut.url, newest if refreshed else tokens[0], user="alice")
            client = await stack.enter_async_context(CallClient(link, FakeMedia()))
            session = await client.start_session(await client.generate_token("room"), type="audio")
            lost, back, failed = asyncio.Event(), asyncio.Event(), asyncio.Event()
            session.on("connection_lost", lambda *_: lost.set())
            session.on("connection_restored", lambda *_: back.set())
            session.on("connection_failed", lambda *_: failed.set())
            cut.cut()
            async with asyncio.timeout(10):
                await lost.wait()
                await app.tokens.revoke("alice")
                tokens.append((await app.tokens.issue("alice"))[0])
                cut.mend()
                await (back if refreshed else failed).wait()
            assert client.connected == refreshed
            assert session.state == ("active" if refreshed else "ended")

    asyncio.run(main())
