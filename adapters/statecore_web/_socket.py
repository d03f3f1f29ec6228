"""The service's end of one device's WebSocket, for any ASGI server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

from statecore.errors import SignalingLost

from ._door import without_token
from ._outbox import Outbox
from ._refusals import Refusal

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_GOING_AWAY = 1001
_NORMAL = 1000
_POLICY = 1008
_TRY_AGAIN = 1013


class Socket:
    """A `Channel` over an accepted WebSocket. `pump` is to run for as long as it lives: it writes."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._outbox = Outbox(limit)
        self._code = _NORMAL
        self._gone = False
        self._leaving = False
        self._reading = False

    def send(self, message: bytes) -> None:
        """Queue a message. Raises SignalingLost when closed."""
        self._outbox.put(message)

    async def receive(self) -> bytes:
        """The next message. Raises SignalingLost when the socket is closed. Safe to cancel."""
        if self._gone or self._leaving:
            raise SignalingLost
        self._reading = True
        try:
            event = await self._receive()
        finally:
            self._reading = False
        if event["type"] != "websocket.receive":
            self._gone = True
            self._outbox.close()
        if self._outbox.closed:  # by either end: what still comes is said by nobody any more
            raise SignalingLost
        text = event.get("text")
        data: bytes = text.encode() if text is not None else event["bytes"]
        return data

    async def close(self) -> None:
        """Close; what was sent before is written first. Idempotent."""
        self._outbox.close()

    def going_away(self) -> None:
        """Close because this server stops: the device is to connect again, to another. What it has said last is dealt
        with and answered first: whoever reads is told of the end with the next message, and closes then."""
        self._code = _GOING_AWAY
        self._leaving = True
        if self._reading:
            self._outbox.close()

    async def pump(self) -> None:
        """Write what is sent, until the socket is closed by either end."""
        try:
            while (message := await self._outbox.get()) is not None and not self._gone:
                await self._send({"type": "websocket.send", "text": message.decode()})
            if not self._gone:
                await self._send({"type": "websocket.close", "code": self._code})
        except (OSError, RuntimeError):  # how servers say that the other end is gone
            pass
        finally:
            self._gone = True
            self._outbox.close()


async def deny(scope: Scope, send: Send, refused: Refusal) -> None:
    """Refuse a WebSocket before it stands, with a reason where the server can say one. A browser shows no page what was
    answered to it: what comes from one is accepted, told why, and closed."""
    if any(name.lower() == b"origin" for name, _ in scope["headers"]):
        await _tell(scope, send, refused)
        return
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    start = {"type": "websocket.http.response.start", "status": refused.status, "headers": refused.headers}
    with suppress(OSError):
        await send(start)
        await send({"type": "websocket.http.response.body", "body": refused.body})


async def _tell(scope: Scope, send: Send, refused: Refusal) -> None:
    """By the first subprotocol that was offered, whatever its version: without one a browser breaks off unheard."""
    code = _TRY_AGAIN if refused.status in (429, 503) else _POLICY
    with suppress(OSError, RuntimeError):  # how servers say that the other end is gone
        chosen = next(iter(without_token(scope.get("subprotocols", []))), None)
        await send({"type": "websocket.accept", "subprotocol": chosen})
        await send({"type": "websocket.send", "text": refused.message.decode()})
        await send({"type": "websocket.close", "code": code, "reason": refused.code})
