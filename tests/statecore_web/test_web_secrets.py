"""No secret is in any log, whatever is logged and by whom."""

from __future__ import annotations

import asyncio
import logging
import traceback
from contextlib import AsyncExitStack
from typing import Any

import pytest

from statecore import Call, CallClient, CallService, TurnCredentials
from statecore.errors import InvalidArgument, SignalingLost, SignalingRefused, StatecoreError, TokenMalformed
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


_TOKEN = "YWxpY2U.what-the-token-is"
_UNSAYABLE = (_TOKEN + "\n", "\r" + _TOKEN, f"{_TOKEN}\0x", f"{_TOKEN}é", f" {_TOKEN}", f"{_TOKEN}\x7f", f"{_TOKEN}一")


def _all_of(error: BaseException) -> str:
    """Everything that a log may show of an error."""
    data = error.data if isinstance(error, StatecoreError) else {}
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.args) + repr(data)


@pytest.mark.parametrize("token", _UNSAYABLE)
def test_a_token_that_no_header_carries(token: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused where it is given, or given up at once if a source gives it, and neither an error nor a log shows
    it, at whatever level."""
    asked: list[str] = []

    def source() -> str:
        asked.append(token)
        return token

    async def main() -> list[BaseException]:
        link = WebSocketSignaling("ws://127.0.0.1:9", source, user="alice")
        with pytest.raises(TokenMalformed) as given_up:
            async with CallClient(link, FakeMedia()):
                pass
        assert len(asked) == 2, "a source is asked once more"
        with pytest.raises(SignalingRefused, match="malformed") as refused:
            await link.ice_servers()
        return [given_up.value, refused.value]

    with caplog.at_level(logging.DEBUG):
        with pytest.raises(TokenMalformed) as raised:
            WebSocketSignaling("ws://127.0.0.1:9", token)
        shown = [_all_of(error) for error in (raised.value, *asyncio.run(main()))]
    assert "given up" in caplog.text
    assert not [text for text in (*shown, caplog.text) if "what-the-token-is" in text]


def test_what_an_answer_quotes_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A server, or what stands between, that answers with headers which are wrong and quote what was sent to it: the
    link is lost, and neither the error nor a log shows the token."""

    async def quote(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        upgrade = b"websocket" in request
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: " if upgrade else b"HTTP/1.1 200 OK\r\nX\0: ")
        writer.write(_TOKEN.encode() + b"\r\n\r\n")
        writer.close()

    async def main() -> list[str]:
        async with await asyncio.start_server(quote, "127.0.0.1", 0) as server:
            link = WebSocketSignaling(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", _TOKEN)
            shown = []
            for attempt in (link.connect, link.ice_servers):
                with pytest.raises(SignalingLost, match=r"InvalidUpgrade|RemoteProtocolError") as raised:
                    await attempt()
                shown.append(_all_of(raised.value))
            return shown

    with caplog.at_level(logging.INFO):
        shown = asyncio.run(main())
    assert not [text for text in (*shown, caplog.text) if "what-the-token-is" in text]


@pytest.mark.parametrize("key", ["an-api-key\n", "an-api-key\0", "ein-schlüssel", " an-api-key"])
def test_an_api_key_that_no_header_carries(key: str) -> None:
    """It is refused, as nobody could show it, and the error does not say it."""
    with pytest.raises(InvalidArgument, match="no request can bring") as raised:
        CallApp(CallService(), api_key=key)
    assert key.strip() not in _all_of(raised.value)
