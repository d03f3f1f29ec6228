"""A bare echo on the server library of `statecore serve`, with its options: what the library alone can carry."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn


async def _app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    await receive()
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


def main() -> None:
    """Serve on a free port until terminated, which is a clean end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # Uvicorn raises it again once it has stopped
    config = uvicorn.Config(
        _app, ws="websockets-sansio", ws_per_message_deflate=False, log_level="error", lifespan="off"
    )
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
        uvicorn.Server(config).run([listening])
