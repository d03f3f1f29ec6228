"""`GET /v1/ice`: the STUN and TURN servers that a user may use now, for devices and for pages of allowed origins."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from statecore.settings import IceServer, IceServers

from ._door import Door
from ._page import App
from ._refusals import refusal
from ._socket import Scope, Send

PATH = "/v1/ice"
_METHODS = ("GET", "HEAD")
_NOT_THAT = 405, b'{"code": "method_not_allowed", "message": "this can only be read"}'


class ServerBody(msgspec.Struct, omit_defaults=True):
    """A server as a browser takes it."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


class IceBody(msgspec.Struct):
    """What is handed out. `lifetime` is in seconds; null is for ever."""

    ice_servers: list[ServerBody]
    ice_policy: str
    lifetime: float | None


def from_body(data: bytes) -> IceServers:
    """What a service has answered. Raises ValueError or RecursionError."""
    body = msgspec.json.decode(data, type=IceBody)
    servers = [IceServer(urls=s.urls, username=s.username, credential=s.credential) for s in body.ice_servers]
    policy: Any = body.ice_policy  # looked at by what it goes into
    return IceServers(servers=servers, policy=policy, lifetime=body.lifetime)


def to_body(ice: IceServers) -> bytes:
    """What a service answers."""
    servers = [ServerBody(server.urls, server.username, server.credential) for server in ice.servers]
    return msgspec.json.encode(IceBody(servers, ice.policy, ice.lifetime))


class IceDesk:
    """Answers devices that show an auth token, and guests' that show a call token."""

    def __init__(self, app: App, door: Door, origins: Collection[str]) -> None:
        self._app = app
        self._door = door
        self._origins = origins

    async def serve(self, scope: Scope, send: Send, path: str, headers: dict[str, str]) -> bool:
        """Answer a request if it is for this; tells whether it was."""
        if path != PATH:
            return False
        more = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), *self._allowed(headers)]
        if scope["method"] == "OPTIONS":  # a page of another origin asks whether it may ask
            await _answer(send, 204, b"", more)
            return True
        status, body = await self._told(headers) if scope["method"] in _METHODS else _NOT_THAT
        hints = {401: (b"www-authenticate", b"Bearer, Guest"), 405: (b"allow", b"GET, HEAD, OPTIONS")}
        more += [hints[status]] if status in hints else []
        await _answer(send, status, body, [*more, (b"content-type", b"application/json")])
        return True

    async def _told(self, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            visitor = await self._door.who(headers)
            return 200, to_body(await self._app.service.ice_servers(visitor.user))
        except Exception as error:  # noqa: BLE001 - also the application's own, and whatever it is
            return refusal(error)[:2]

    def _allowed(self, headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
        origin = headers.get("origin")
        if origin not in self._origins or origin is None:
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-headers", b"authorization"),
            (b"vary", b"origin"),
        ]


def ice_path(components: dict[str, Any]) -> dict[str, Any]:
    """Its part of the OpenAPI document, whose components get what it names."""
    refused = {"$ref": "#/components/schemas/ErrorBody"}
    components["securitySchemes"]["auth_token"] = {
        "type": "http", "scheme": "bearer", "description": "A user's auth token."
    }  # fmt: skip
    components["securitySchemes"]["call_token"] = {
        "type": "http", "scheme": "guest", "description": "The call token of a guest, who has no login."
    }  # fmt: skip
    schemas = msgspec.json.schema_components([IceBody], ref_template="#/components/schemas/{name}")[1]
    components["schemas"] |= schemas
    answers = {
        "200": ("Its servers.", {"$ref": "#/components/schemas/IceBody"}),
        "401": ("The token is missing or not good.", refused),
        "403": ("This user may not connect.", refused),
        "503": ("Not now.", refused),
    }
    return {
        PATH: {
            "get": {
                "tags": ["devices"],
                "summary": "The STUN and TURN servers of a user",
                "description": "Credentials are made for the asking, and good for `lifetime` seconds.",
                "operationId": "IceServers",
                "security": [{"auth_token": []}, {"call_token": []}],
                "responses": {
                    status: {"description": text, "content": {"application/json": {"schema": schema}}}
                    for status, (text, schema) in answers.items()
                },
            }
        }
    }


async def _answer(send: Send, status: int, body: bytes, more: list[tuple[bytes, bytes]]) -> None:
    length = [(b"content-length", str(len(body)).encode())] if status != 204 else []
    await send({"type": "http.response.start", "status": status, "headers": [*more, *length]})
    await send({"type": "http.response.body", "body": body})
