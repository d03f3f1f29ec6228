"""What is fuzzed: everything that decodes. A target takes any bytes, and raises only where statecore is at fault."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings

from statecore import CallSettings, ServiceSettings
from statecore.errors import (
    InvalidFlow,
    InvalidSettings,
    InvalidTrace,
    MalformedMessage,
    TokenError,
    UnsupportedVersion,
)
from statecore.flow import Flow, Timers
from statecore.machine import compiled
from statecore.settings import IceServer
from statecore.testing import strategies as made
from statecore.tokens import JwtSigner, Keys, session_of
from statecore.trace import read, replay
from statecore.wire import decode_down, decode_up, encode

SIGNER = JwtSigner(Keys("k1", b"a secret of at least thirty-two bytes"), issuer="statecore")
NOW = 1_780_000_000_000
_QUIET = settings(database=None, deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))


def wire_up(data: bytes) -> None:
    """A device's message: taken, and said again the same; or refused."""
    with contextlib.suppress(MalformedMessage, UnsupportedVersion):
        message = decode_up(data)
        assert decode_up(encode(message)) == message


def wire_down(data: bytes) -> None:
    """A service's message, likewise."""
    with contextlib.suppress(MalformedMessage, UnsupportedVersion):
        message = decode_down(data)
        assert decode_down(encode(message)) == message


def token(data: bytes) -> None:
    """A call token: claims, or a TokenError; and the same of a look at its session."""
    text = data.decode("latin-1")
    with contextlib.suppress(TokenError):
        SIGNER.verify(text, NOW)
    with contextlib.suppress(TokenError):
        session_of(text)


def session_settings(data: bytes) -> None:
    """Settings from JSON: built, or InvalidSettings; a name that is none is Python's own error."""
    for kind in (CallSettings, ServiceSettings, IceServer, Timers):
        values = _object(data, kind)
        with contextlib.suppress(InvalidSettings):
            assert kind(**values) == kind(**values)


def _object(data: bytes, kind: Any) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {"urls": ()} if kind is IceServer else {}
    names = {field.name for field in kind.__attrs_attrs__}
    chosen = {name: each for name, each in value.items() if name in names} if isinstance(value, dict) else {}
    return {"urls": (), **chosen} if kind is IceServer else chosen


def trace(data: bytes) -> None:
    """A trace: read and replayed, or InvalidTrace."""
    with contextlib.suppress(InvalidTrace):
        replay(read(data.decode("latin-1").splitlines(keepends=True)))


# Where noise would be refused at the door, Hypothesis makes the input out of the bytes: nearly whole, and so let in.


@_QUIET
@given(made.damaged_messages())
def _messages(data: bytes) -> None:
    wire_up(data)
    wire_down(data)


@_QUIET
@given(made.damaged_tokens(SIGNER))
def _tokens(text: str) -> None:
    token(text.encode("latin-1", "replace"))


@_QUIET
@given(made.damaged_flows())
def _flows(values: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidFlow):
        compiled(Flow(**values))


def made_messages(data: bytes) -> None:
    """Messages that are nearly right."""
    _messages.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]


def made_tokens(data: bytes) -> None:
    """Tokens that are nearly genuine."""
    _tokens.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]


def made_flows(data: bytes) -> None:
    """Tables that nearly keep the rules: built, or InvalidFlow."""
    _flows.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (wire_up, wire_down, token, session_settings, trace, made_messages, made_tokens, made_flows)
}
