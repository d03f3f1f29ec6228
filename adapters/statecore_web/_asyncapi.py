"""The protocol of the WebSocket, as an AsyncAPI document made of the message types."""

from __future__ import annotations

import functools
import inspect
from typing import Any, get_args

import msgspec

from statecore import __version__, wire

from .client import SUBPROTOCOL

_SCHEMAS = "#/components/schemas/{name}"


def asyncapi(mount: str = "") -> dict[str, Any]:
    """What a device says and hears, with a JSON Schema for each message. Unknown fields are tolerated, and may come.
    `mount` is the path that the application stands below."""
    document = _document()
    signaling = document["channels"]["signaling"]
    return {**document, "channels": {"signaling": {**signaling, "address": mount + signaling["address"]}}}


@functools.cache
def _document() -> dict[str, Any]:
    up, down = get_args(wire.Up), get_args(wire.Down)
    _, schemas = msgspec.json.schema_components([wire.Up, wire.Down], ref_template=_SCHEMAS)
    kinds = {kind.__name__: kind for kind in (*up, *down)}

    def said(those: tuple[type[Any], ...]) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/signaling/messages/{kind.__name__}"} for kind in those]

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"statecore: {SUBPROTOCOL}",
            "version": __version__,
            "description": "How a device speaks with the call service. It says `Hello` first, and is told `Welcome`.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "signaling": {
                "address": "/v1/signaling",
                "description": f"A WebSocket of the subprotocol `{SUBPROTOCOL}`; an auth token goes into "
                "`Authorization`, or beside the subprotocol as `statecore.token.<token>`. A guest, without a login, "
                "shows a call token, as `Authorization: Guest <token>`, or as `statecore.guest.<token>`. Who may not "
                "connect is answered with an HTTP status; a browser, which sends an `Origin`, is told `Refused` and "
                "closed with 1008, or 1013 if it may try again.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in kinds},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "say": {"action": "receive", "channel": {"$ref": "#/channels/signaling"}, "messages": said(up)},
            "tell": {"action": "send", "channel": {"$ref": "#/channels/signaling"}, "messages": said(down)},
        },
        "components": {
            "messages": {
                name: {
                    "name": kind.__struct_config__.tag,
                    "summary": (inspect.getdoc(kind) or "").partition("\n")[0],
                    "payload": {"$ref": _SCHEMAS.format(name=name)},
                }
                for name, kind in kinds.items()
            },
            "schemas": schemas,
        },
    }


__all__ = ["asyncapi"]
