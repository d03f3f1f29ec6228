"""The test kit: for programs that use statecore, for adapters, and for statecore itself.

Virtual time, leaks, stores that refuse, media in memory, conformance suites, a simulated world with its oracle. Each
name is loaded when it is first asked for, and with it the libraries it needs: NumPy for media, pytest for the suites.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .buses import BusConformance
    from .invariants import assert_invariants
    from .leaks import assert_fully_reaped
    from .loop import Deadlock, FastLoop, VirtualClock, VirtualLoop, run_virtual
    from .media import ClockPicture, FakeMedia, FakeSession, MediaConformance, MeetingRoom, RoomHost, Tone
    from .network import FaultyLink, FaultyNetwork
    from .oracle import Service, Watch, assert_always, assert_deaf, assert_over, assert_settled
    from .pair import CallPair
    from .signaling import SignalingConformance
    from .stores import RefusingStore, SlowStore, StoreConformance
    from .world import Plan, World

_LATER = {
    "BusConformance": "buses",
    "CallPair": "pair",
    "assert_fully_reaped": "leaks",
    "assert_invariants": "invariants",
    **dict.fromkeys(("Deadlock", "FastLoop", "VirtualClock", "VirtualLoop", "run_virtual"), "loop"),
    **dict.fromkeys(
        ("ClockPicture", "MediaConformance", "MeetingRoom", "FakeMedia", "FakeSession", "RoomHost", "Tone"), "media"
    ),
    **dict.fromkeys(("FaultyLink", "FaultyNetwork"), "network"),
    **dict.fromkeys(("Service", "Watch", "assert_always", "assert_deaf", "assert_over", "assert_settled"), "oracle"),
    "SignalingConformance": "signaling",
    **dict.fromkeys(("RefusingStore", "SlowStore", "StoreConformance"), "stores"),
    **dict.fromkeys(("Plan", "World"), "world"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'statecore.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "BusConformance",
    "CallPair",
    "ClockPicture",
    "Deadlock",
    "FakeMedia",
    "FakeSession",
    "FastLoop",
    "FaultyLink",
    "FaultyNetwork",
    "MediaConformance",
    "MeetingRoom",
    "Plan",
    "RefusingStore",
    "RoomHost",
    "Service",
    "SignalingConformance",
    "SlowStore",
    "StoreConformance",
    "Tone",
    "VirtualClock",
    "VirtualLoop",
    "Watch",
    "World",
    "assert_always",
    "assert_deaf",
    "assert_fully_reaped",
    "assert_invariants",
    "assert_over",
    "assert_settled",
    "run_virtual",
]
