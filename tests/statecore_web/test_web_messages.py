"""The call on the page of messages: said again to a server, it answers as the page has it."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from statecore import CallService, wire
from statecore_web import CallApp

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "messages.md"
_LINE = re.compile(r"^([a-z]+)-phone ([<>]) (\{.*\})$", re.MULTILINE)


def test_a_server_says_what_the_page_says(served: Any) -> None:
    """Every message of the page is sent as it stands there, and what comes back is what stands there, but for times
    and tokens. No kind of message is missing on the page."""
    lines = [(user, way, json.loads(text)) for user, way, text in _LINE.findall(PAGE.read_text(encoding="utf-8"))]
    said = {way: {message["m"] for _, between, message in lines if between == way} for way in "<>"}
    assert said[">"] == _tags(wire.Up)
    assert said["<"] == _tags(wire.Down)

    async def main() -> None:
        async with (
            CallService() as service,
            served(CallApp(service, authenticate=_user)) as url,
            AsyncExitStack() as stack,
        ):
            ways: dict[str, ClientConnection] = {}
            tokens: dict[str, str] = {}
            for user in sorted({user for user, _, _ in lines}):
                service.add_user(user)
                address = url.replace("http", "ws", 1) + "/v1/signaling"
                head = {"Authorization": f"Bearer {user}"}
                ways[user] = await stack.enter_async_context(
                    connect(address, subprotocols=[Subprotocol("statecore.v1")], additional_headers=head)
                )
            for user, way, message in lines:
                if way == ">":
                    token = {"token": tokens[user]} if "token" in message else {}
                    await ways[user].send(json.dumps(message | token))
                else:
                    async with asyncio.timeout(10):
                        heard = json.loads(await ways[user].recv())
                    tokens[user] = heard.get("token", tokens.get(user, ""))
                    assert _timeless(heard) == _timeless(message)
            await asyncio.gather(*(way.wait_closed() for user, way in ways.items() if user == "alice"))

    asyncio.run(main())


def _tags(union: Any) -> set[str]:
    return {cls.__struct_config__.tag for cls in union.__args__}


async def _user(token: str) -> str:
    return token


def _timeless(value: Any) -> Any:
    """Without ages, with what tells whether a time is set, and in an order of its own."""
    if isinstance(value, list):
        return [_timeless(each) for each in value]
    if not isinstance(value, dict):
        return value
    told = {name: _timeless(each) for name, each in value.items() if name != "age"}
    told |= {name: sorted(told[name]) for name in ("flags", "grants") if name in told}
    told |= {name: True for name in ("left", "token", "joined_at") if told.get(name)}
    return told | ({"at": [time > 0 for time in told["at"]]} if "at" in told else {})
