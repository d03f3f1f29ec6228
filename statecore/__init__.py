"""statecore: call sessions as explicit state machines, with the proof that they end well.

The names most programs need are here. All but the errors are loaded when they are first asked for, so that
`import statecore` stays light, and asyncio is loaded only by who uses it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors
from .errors import StatecoreError

if TYPE_CHECKING:
    from .aio import (
        Call,
        CallClient,
        CallPage,
        CallQuery,
        CallService,
        Decision,
        MemoryBus,
        MemoryLink,
        MemoryStore,
        Newest,
        Session,
        TurnCredentials,
        join_session,
    )
    from .flow import RINGING, SESSION, Flow, Timers
    from .listeners import CallListener, ListenerRegistry, OngoingCallListener
    from .model import EndReason, Participant, Reason, Status, User
    from .settings import CallSettings, CallSettingsBuilder, IceServer, IceServers, ServiceSettings

__version__ = "0.1.0"

_LATER = {
    name: module
    for module, names in {
        "aio": (
            "Call",
            "CallClient",
            "CallPage",
            "CallQuery",
            "CallService",
            "Decision",
            "MemoryBus",
            "MemoryLink",
            "MemoryStore",
            "Newest",
            "Session",
            "TurnCredentials",
            "join_session",
        ),
        "flow": ("RINGING", "SESSION", "Flow", "Timers"),
        "listeners": ("CallListener", "ListenerRegistry", "OngoingCallListener"),
        "model": ("EndReason", "Participant", "Reason", "Status", "User"),
        "settings": ("CallSettings", "CallSettingsBuilder", "IceServer", "IceServers", "ServiceSettings"),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'statecore' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "RINGING",
    "SESSION",
    "Call",
    "CallClient",
    "CallListener",
    "CallPage",
    "CallQuery",
    "CallService",
    "CallSettings",
    "CallSettingsBuilder",
    "Decision",
    "EndReason",
    "Flow",
    "IceServer",
    "IceServers",
    "ListenerRegistry",
    "MemoryBus",
    "MemoryLink",
    "MemoryStore",
    "Newest",
    "OngoingCallListener",
    "Participant",
    "Reason",
    "ServiceSettings",
    "Session",
    "StatecoreError",
    "Status",
    "Timers",
    "TurnCredentials",
    "User",
    "__version__",
    "errors",
    "join_session",
]
