"""The asyncio shells around the pure core: thin, and deciding nothing."""

from __future__ import annotations

from ._find import CallPage, CallQuery
from ._notices import Newest
from ._observing import Decision
from .bus import MemoryBus
from .call import Call
from .client import CallClient, join_session
from .ice import TurnCredentials
from .link import MemoryChannel, MemoryLink
from .service import CallService
from .session import Session
from .store import MemoryStore

__all__ = [
    "Call",
    "CallClient",
    "CallPage",
    "CallQuery",
    "CallService",
    "Decision",
    "MemoryBus",
    "MemoryChannel",
    "MemoryLink",
    "MemoryStore",
    "Newest",
    "Session",
    "TurnCredentials",
    "join_session",
]
