"""No secret is in any log, whatever is logged and by whom."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest

from statecore import Call, CallClient, CallService, TurnCredentials
from statecore.testing import FakeMedia
from statecore_web import CallApp, Webhook, WebSocketSignaling

_QUERY = "the-query-of-the-hook"
_SIGNED_BY = "what-the-hook-is-signed-by"
_SHARED = "what-turn-shares"


class _Hook:
    """Takes notices, and notes with which query they came."""

    def __init__(self) -> None:
        self.queries: set[bytes] = set()
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Take one."""
        self.queries.add(scope["query_string"])
        if b'"ended"' in (await receive())["body"]:
            self.ended.set()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def _a_call(served: Any) -> list[str]:
    """Two call each other, with everything that has a secret; gives the secrets."""
    async with AsyncExitStack() as stack:
        hook = _Hook()
        there = await stack.enter_async_context(served(hook, lifespan="off"))
        webhook = Webhook(f"{there}/took?key={_QUERY}", _SIGNED_BY)
        turn = TurnCredentials(turn="turn:127.0.0.1:9", secret=_SHARED)
        app = CallApp(
            CallService(notifier=webhook, ice=turn, key=b"the-key-that-signs-call-tokens!!"), api_key="apikey"
        )
        url = await stack.enter_async_context(served(app))
        tokens, clients = [], []
        for user in ("alice", "bob"):
            app.service.add_user(user)
            tokens.append((await app.tokens.issue(user))[0])
            clients.append(
                await stack.enter_async_context(CallClient(WebSocketSignaling(url, tokens[-1]), FakeMedia()))
            )
        alice, bob = clients
        serving = asyncio.create_task(bob.serve(_stay))
        call = await alice.initiate_call("bob", type="audio")
        await call.answered()
        tokens.append(await alice.generate_token(call.session_id))
        session = await alice.start_session(tokens[-1])
        await session.end()
        await asyncio.wait_for(hook.ended.wait(), 5)
        serving.cancel()
        await asyncio.wait([serving])
        ice = await WebSocketSignaling(url, tokens[0]).ice_servers()
        assert hook.queries == {f"key={_QUERY}".encode()}
        credential = ice.servers[0].credential
        assert credential is not None
        return [*(part for token in tokens for part in token.split(".")[1:]), credential]


async def _stay(call: Call) -> None:
    async with call.answer(type="audio") as session:
        await session.wait_ended()


def test_no_secret_is_in_any_log(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, by every logger, through a whole call with webhooks and a TURN server: no auth token, call token, TURN
    login, secret or query of an address. Where the requests went is there, so it was looked for in the right place."""
    with caplog.at_level(logging.DEBUG):
        secrets = asyncio.run(_a_call(served))
    assert "/took" in caplog.text
    assert {"httpx", "httpcore.http11"} <= {record.name for record in caplog.records}
    for secret in (*secrets, _QUERY, _SIGNED_BY, _SHARED, "the-key-that-signs"):
        found = [record for record in caplog.records if secret in record.getMessage() or secret in str(record.args)]
        assert not found, f"{found[0].name} shows a secret"
