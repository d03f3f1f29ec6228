"""The call service on a network, and the way to it: WebSocket and HTTP, as one ASGI application.

app = CallApp(CallService())                                        # uvicorn module:app
client = CallClient(WebSocketSignaling("wss://calls.example.org", token))
"""

from __future__ import annotations

from .app import CallApp
from .auth import Authenticate, AuthToken, AuthTokens
from .client import WebSocketChannel, WebSocketSignaling
from .webhook import Webhook, verify_webhook

__all__ = [
    "AuthToken",
    "AuthTokens",
    "Authenticate",
    "CallApp",
    "WebSocketChannel",
    "WebSocketSignaling",
    "Webhook",
    "verify_webhook",
]
