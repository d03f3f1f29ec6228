"""What the tests of the endpoint share: Alice's device, a moment, and effects that compare."""

from __future__ import annotations

from typing import Any

from msgspec.structs import astuple

from statecore.endpoint import Effect, Endpoint, LocalLeg
from statecore.errors import StatecoreError
from statecore.wire import Peer

NOW = 1_000_000
FAR = 10**7
HERE = frozenset({"joined", "connected"})
BOTH = frozenset({"audio", "video"})
GRANTS = frozenset({"audio", "video", "screen"})
BOB, CAROL = Peer("2", "bob", "b1", joined=2), Peer("3", "carol", "c1", joined=3)


def device(*legs: LocalLeg, **more: Any) -> Endpoint:
    """Alice's device, with these legs; of itself it has nothing to do for long."""
    plain: dict[str, Any] = {
        "online": True, "conn": 1, "n": 9, "confirmed": NOW, "beat_due": NOW + FAR, "heartbeat": FAR, "lease": FAR,
    }  # fmt: skip
    return Endpoint("alice", "a1", "a1-1", {leg.session: leg for leg in legs}, **{**plain, **more})


def told(effects: list[Effect]) -> list[tuple[Any, ...]]:
    """Everything about each effect, so that they compare: an error by its code and data."""
    return [(type(each).__name__, *(_plain(value) for value in astuple(each))) for each in effects]


def _plain(value: Any) -> Any:
    return (value.code, dict(value.data)) if isinstance(value, StatecoreError) else value
