"""statecore: call sessions as explicit state machines, with the proof that they end well.

The names most programs need are here. The asyncio side (`CallClient`, `CallService`, `Session`, `join_session` ...) is
loaded when it is first asked for, so that `import statecore` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors
from .errors import StatecoreError
from .flow import RINGING, SESSION, Flow, Timers
from .listeners import CallListener, ListenerRegistry, OngoingCallListener
from .model import EndReason, Participant, Reason, Status, User
from .settings import CallSettings, CallSettingsBuilder, IceServer, ServiceSettings

if TYPE_CHECKING:
    from .aio import Call, CallClient, CallService, MemoryLink, MemoryStore, Session, join_session

__version__ = "0.1.0"

_LATER = ("Call", "CallClient", "CallService", "MemoryLink", "MemoryStore", "Session", "join_session")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from . import aio  # noqa: PLC0415 - asyncio is loaded by who uses it

        return getattr(aio, name)
    raise AttributeError(f"module 'statecore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "RINGING",
    "SESSION",
    "Call",
    "CallClient",
    "CallListener",
    "CallService",
    "CallSettings",
    "CallSettingsBuilder",
    "EndReason",
    "Flow",
    "IceServer",
    "ListenerRegistry",
    "MemoryLink",
    "MemoryStore",
    "OngoingCallListener",
    "Participant",
    "Reason",
    "ServiceSettings",
    "Session",
    "StatecoreError",
    "Status",
    "Timers",
    "User",
    "__version__",
    "errors",
    "join_session",
]
