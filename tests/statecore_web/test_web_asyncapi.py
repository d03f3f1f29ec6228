"""The description of the protocol, held to the messages themselves."""

from __future__ import annotations

import asyncio
import json
from typing import Any, get_args

import jsonschema_rs
import pytest
from hypothesis import given

from statecore import CallService, wire
from statecore.errors import MalformedMessage
from statecore.testing.strategies import messages_down, messages_up
from statecore_web import CallApp
from statecore_web._asyncapi import asyncapi


def _validator(names: list[str]) -> Any:
    schema = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}
    return jsonschema_rs.validator_for({**schema, "components": asyncapi()["components"]})


_UP = _validator([kind.__name__ for kind in get_args(wire.Up)])
_DOWN = _validator([kind.__name__ for kind in get_args(wire.Down)])


@given(messages_up())
def test_whatever_a_device_says_is_described(message: Any) -> None:
    """Every message up, as it is encoded."""
    _UP.validate(json.loads(wire.encode(message)))


@given(messages_down())
def test_whatever_a_device_hears_is_described(message: Any) -> None:
    """Every message down, as it is encoded."""
    _DOWN.validate(json.loads(wire.encode(message)))


@pytest.mark.parametrize("wrong", [{}, {"m": "hello"}, {"m": "dance"}, {"m": "command", "session": 1}, []])
def test_what_is_no_message_is_not_described(wrong: Any) -> None:
    """The description is no blank cheque, and what it turns down the service does, too."""
    assert not _UP.is_valid(wrong)
    with pytest.raises(MalformedMessage):
        wire.decode_up(json.dumps(wrong).encode())


def test_every_reference_leads_somewhere() -> None:
    """And each message is named in one operation or both."""
    document = asyncapi()
    for reference in _references(document):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    said = {each["$ref"] for operation in document["operations"].values() for each in operation["messages"]}
    assert len(said) == len(document["components"]["messages"]) == len({*get_args(wire.Up), *get_args(wire.Down)})


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in _references(inner)]
    return [each for inner in value for each in _references(inner)] if isinstance(value, list) else []


def test_it_is_served(served: Any, ask: Any) -> None:
    """To anybody, as JSON."""

    async def main() -> None:
        async with served(CallApp(CallService())) as url:
            assert await ask(url, "GET", "/asyncapi.json", None, None) == (200, json.loads(json.dumps(asyncapi())))

    asyncio.run(main())
