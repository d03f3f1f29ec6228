"""The wire: what is said is what is heard, and what does not fit is refused with an error of ours."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecore.endpoint import Endpoint, EndpointMachine, Received
from statecore.errors import MalformedMessage, UnsupportedVersion
from statecore.model import Reason
from statecore.testing.world import World
from statecore.wire import (
    MAX_SIZE,
    VERSION,
    Ask,
    Beat,
    Bye,
    Command,
    Free,
    Hello,
    Peer,
    Refused,
    Relay,
    Relayed,
    Token,
    TokenRequest,
    Unknown,
    View,
    Welcome,
    decode_down,
    decode_up,
    encode,
)

UP = [
    Hello("d", "e", 1, name="N", flows={"ringing": "abc"}, sessions={"S": 3}),
    Command("S", 1, "initiate", "2", flow="ringing", receiver="bob", flags=frozenset({"camera"}), data={"a": [1]}),
    Relay("S", "2", "offer", "v=0"), Ask("S", "2"), Free("S", "2"), TokenRequest("S", 4), Beat(), Bye(),
]  # fmt: skip
DOWN = [
    Welcome("alice"),
    View("S", 1, "2", "ended", "alice", reason=Reason.HANGUP, peers=(Peer("1", "alice"),), offers={"1": 2}),
    Refused("S", 1, "token", {"why": "x"}), Unknown("S", 2), Relayed("S", "1", "data", "x"), Token("S", 1, "t"), Beat(),
]  # fmt: skip


@pytest.mark.parametrize("message", UP, ids=lambda message: type(message).__name__)
def test_what_goes_up_arrives_as_it_was_said(message: Any) -> None:
    """Encoding and decoding is the identity, and unknown fields of a newer peer are tolerated."""
    assert decode_up(encode(message)) == message
    newer = json.dumps({**json.loads(encode(message)), "added": {"x": 1}}).encode()
    assert decode_up(newer) == message


@pytest.mark.parametrize("message", DOWN, ids=lambda message: type(message).__name__)
def test_what_comes_down_arrives_as_it_was_said(message: Any) -> None:
    """The same for the service's messages."""
    assert decode_down(encode(message)) == message


def test_another_version_is_refused_as_such() -> None:
    """Both greetings carry the version, and another one is its own error, whatever else that version would say."""
    for decode, message in ((decode_up, Hello("d", "e", 1, v=VERSION + 1)), (decode_down, Welcome("a", v=VERSION + 1))):
        with pytest.raises(UnsupportedVersion) as caught:
            decode(encode(message))
        assert caught.value.theirs == VERSION + 1
    for decode, m in ((decode_up, "hello"), (decode_down, "welcome")):
        for said, error in (
            ({"v": VERSION + 1}, UnsupportedVersion), ({"v": VERSION}, MalformedMessage), ({}, MalformedMessage),
            ({"v": str(VERSION + 1)}, MalformedMessage),
        ):  # fmt: skip
            with pytest.raises(error):
                decode(json.dumps({"m": m, "of another time": 1, **said}).encode())
    with pytest.raises(MalformedMessage):
        decode_up(b'{"m":"command","v":2}')


def test_too_long_a_message_is_refused_before_it_is_read() -> None:
    """The limit is in bytes; exactly at it is valid."""
    message = Relay("S", "2", "data", "")
    fits = encode(msgspec.structs.replace(message, body="x" * (MAX_SIZE - len(encode(message)))))
    assert isinstance(decode_up(fits), Relay)
    with pytest.raises(MalformedMessage):
        decode_up(fits + b" ")
    assert decode_down(b'{"m":"beat"}', limit=12) == Beat()
    with pytest.raises(MalformedMessage):
        decode_down(b'{"m":"beat"} ', limit=12)


def test_no_secret_shows_in_a_repr() -> None:
    """A message that carries a token does not print it."""
    view = View("S", 1, "1", "x", "a", token="hush")
    for message in (Command("S", 1, "join", token="hush"), Token("S", 1, "hush"), view):
        assert "hush" not in repr(message)
        assert "S" in repr(message)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_known = [json.loads(encode(message)) for message in (*UP, *DOWN)]


@st.composite
def _bent(draw: st.DrawFn) -> bytes:
    """A message of ours in which something was replaced, added or left out."""
    message = dict(draw(st.sampled_from(_known)))
    for _ in range(draw(st.integers(1, 2))):
        key = draw(st.sampled_from(sorted(message) or ["m"]) | st.text(max_size=6))
        if draw(st.booleans()):
            message.pop(key, None)
        else:
            message[key] = draw(_json)
    return json.dumps(message).encode()


@settings(max_examples=settings().max_examples * 4, deadline=None)
@given(st.binary(max_size=80) | _bent() | _json.map(lambda value: json.dumps(value).encode()))
def test_anything_at_all_is_accepted_or_refused(data: bytes) -> None:
    """Whatever comes: a message of ours, MalformedMessage or UnsupportedVersion. What is accepted can be said again."""
    for decode in (decode_up, decode_down):
        try:
            message = decode(data)
        except (MalformedMessage, UnsupportedVersion):
            continue
        assert decode(encode(message)) == message


@settings(max_examples=settings().max_examples * 3 // 2, deadline=None)
@given(_bent())
def test_whatever_is_accepted_harms_neither_side(data: bytes) -> None:
    """A message that decodes is taken by both cores without any error of Python's own, and calls of others go on."""
    made = World({"a1": "alice", "b1": "bob"}).settle()
    made.say("a1", "initiate", flow="ringing", receiver="bob")
    try:
        message = decode_up(data)
    except (MalformedMessage, UnsupportedVersion):
        pass
    else:
        made._serve("b1", message)
    try:
        fact = decode_down(data)
    except (MalformedMessage, UnsupportedVersion):
        pass
    else:
        EndpointMachine().step(Endpoint("alice", "x", "x-1"), Received(fact), 5)
    assert made.record("S").session_id == "S"


def test_nesting_without_end_is_refused() -> None:
    """Depth is no way to crash a reader."""
    deep = b'{"m":"command","session":"S","n":1,"trigger":"x","data":' + b'{"a":' * 20_000
    with pytest.raises(MalformedMessage):
        decode_up(deep)
